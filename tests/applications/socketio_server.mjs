// A Socket.IO application, and a page that streams: `socketio_server.mjs [PORT]` prints its port.

import { createServer } from "node:http";
import { Server } from "socket.io";

// The answer to /stream ends only after somebody who has read its beginning asks for /more.
let more = () => {};
const server = createServer((request, response) => {
  if (request.url === "/stream") {
    response.write("one ");
    more = () => response.end("two");
  } else if (request.url === "/more") {
    more();
    response.end();
  } else {
    response.writeHead(404).end();
  }
});

const io = new Server(server);
// What came for each session beside events: requests that poll, and the relayed WebSocket.
const sessions = new Map();
io.engine.use((request, _response, next) => {
  const id = request._query.sid;
  const session = sessions.get(id) ?? { polls: 0, connection: null };
  if (request.headers.upgrade) session.connection = request.headers["lastword-connection-id"];
  else session.polls += 1;
  if (id) sessions.set(id, session);
  next();
});

io.on("connection", (socket) => {
  socket.on("echo", (value, reply) => reply(value));
  socket.on("ask", (word) => socket.emit("news", `${word}, says the server`));
  socket.on("where", (reply) => {
    const first = socket.conn.request.headers["lastword-connection-id"] ?? null;
    const { polls, connection } = sessions.get(socket.conn.id) ?? { polls: 0, connection: first };
    reply({ transport: socket.conn.transport.name, polls, connection });
  });
  socket.on("leave", () => socket.disconnect(true));
});

server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => console.log(server.address().port));
