// WebSocket clients of the daemon.

import WebSocket from "ws";
import { api, given, until } from "./browser.mjs";

/** Opens a connection; it says how it closed, and what it was sent. */
export async function connect(target = "/echo", agent = "page") {
  const socket = new WebSocket(given.listener + target, { headers: { "user-agent": agent } });
  const client = { socket, messages: [], closed: null };
  socket.on("message", (data) => client.messages.push(String(data)));
  socket.on("close", (code, reason) => (client.closed = { code, reason: String(reason) }));
  socket.on("error", () => {});
  await new Promise((resolve, reject) => socket.once("open", resolve).once("close", reject));
  const mine = (one) => one.user_agent === agent && one.direction === "inbound";
  client.record = await until("the connection in the list", async () =>
    (await api("/v1/connections?limit=1000")).json.connections.findLast(mine),
  );
  return client;
}

export const closed = (client) => until("the end of a connection", () => client.closed);
