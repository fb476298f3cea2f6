// A Socket.IO client: `socketio_client.mjs URL SCENARIO` prints one JSON summary.

import assert from "node:assert/strict";
import { io } from "socket.io-client";

// How each begins, and the ending it brings about, which returns what is to be seen of it.
const SCENARIOS = {
  upgraded: { transports: ["polling", "websocket"], end: clientLeaves },
  upgraded_and_sent_away: { transports: ["polling", "websocket"], end: serverLeaves },
  polling_only: { transports: ["polling"], end: clientLeaves },
  polling_only_and_sent_away: { transports: ["polling"], end: serverLeaves },
  websocket_only: { transports: ["websocket"], end: clientLeaves },
  websocket_only_and_sent_away: { transports: ["websocket"], end: serverLeaves },
  application_killed: { transports: ["polling", "websocket"], end: applicationDies },
};

const [url, scenario] = process.argv.slice(2);
setTimeout(() => {
  console.log(JSON.stringify({ scenario, ok: false, error: "not over after 30 s" }));
  process.exit(1);
}, 30_000).unref();

const { transports, end } = SCENARIOS[scenario];
const socket = io(url, {
  transports,
  extraHeaders: { "User-Agent": `socketio/${scenario}` },
  reconnectionDelay: 100,
  reconnectionDelayMax: 100,
});
await event(socket.io.engine, "open");
assert.equal(socket.io.engine.transport.name, transports[0]);
await settled();
const at = await exchange();
const seen = await end();
const { connection } = at;
console.log(JSON.stringify({ scenario, connection, seen }));
process.exit(0);

// Connected, on the last of the transports.
async function settled() {
  if (!socket.connected) await event(socket, "connect");
  const { engine } = socket.io;
  if (engine.transport.name !== transports.at(-1)) await event(engine, "upgrade");
}

// Events both ways, text and binary, all of them on the last of the transports.
async function exchange() {
  const last = transports.at(-1);
  const before = await ask("where");
  assert.equal(before.transport, last);
  for (const value of ["text ☂", "x".repeat(70_000), Buffer.alloc(100_000, 7), { deep: [1] }]) {
    assert.deepEqual(await ask("echo", value), value);
  }
  const news = event(socket, "news");
  socket.emit("ask", "how do you do");
  assert.equal((await news)[0], "how do you do, says the server");
  const after = await ask("where");
  assert.equal(after.polls > before.polls, last === "polling", "requests that poll");
  assert.equal(after.connection !== null, last === "websocket", "a relayed connection");
  return after;
}

async function clientLeaves() {
  const closed = transportClosed();
  socket.disconnect();
  return { why: "io client disconnect", ...(await closed) };
}

async function serverLeaves() {
  const closed = transportClosed();
  const left = event(socket, "disconnect");
  socket.emit("leave");
  const [why] = await left;
  return { why, ...(await closed) };
}

// It is started anew once this client was refused, and comes back to it by itself.
async function applicationDies() {
  const lost = event(socket, "disconnect");
  console.log("connected");
  const [why, details] = await lost;
  await event(socket.io, "reconnect_error");
  console.log("refused");
  await settled();
  const back = await exchange();
  await clientLeaves();
  return { why, code: details.context.code, back: back.connection };
}

// How the WebSocket ended, if it was one.
function transportClosed() {
  const { ws } = socket.io.engine.transport;
  if (!ws) return {};
  return new Promise((resolve) => {
    ws.addEventListener("close", ({ code, wasClean }) => resolve({ code, wasClean }));
  });
}

function ask(name, ...values) {
  return socket.timeout(10_000).emitWithAck(name, ...values);
}

function event(emitter, name) {
  return new Promise((resolve) => emitter.once(name, (...values) => resolve(values)));
}
