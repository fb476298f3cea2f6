// Node's ws against /echo: `node_client.mjs URL SCENARIO` prints one JSON summary.

import assert from "node:assert/strict";
import { once } from "node:events";
import WebSocket from "ws";

const SIZES = [0, 125, 126, 65535, 65536, 1 << 20];

async function received(ws) {
  const [data, isBinary] = await once(ws, "message");
  return isBinary ? data : data.toString();
}

// Each ends the connection, or awaits its end, and returns the close event that is due.
const SCENARIOS = {
  async echo(ws) {
    for (const size of SIZES) {
      const text = "x".repeat(size);
      ws.send(text);
      assert.equal(await received(ws), text);
      const binary = Buffer.from(Array.from({ length: size }, (_, i) => i % 251));
      ws.send(binary);
      assert.ok(binary.equals(await received(ws)), `${size} bytes came back changed`);
    }
    ws.close(1000, "done");
    return { code: 1000, reason: "done", wasClean: true };
  },
  async fragments(ws) {
    ws.send("three ", { fin: false });
    ws.send("frag", { fin: false });
    ws.send("ments ☂", { fin: true });
    assert.equal(await received(ws), "three fragments ☂");
    ws.send(Buffer.alloc(200), { fin: false });
    ws.send(Buffer.alloc(70000, 255), { fin: true });
    assert.equal((await received(ws)).length, 70200);
    ws.close(1000, "done");
    return { code: 1000, reason: "done", wasClean: true };
  },
  async ping(ws) {
    ws.ping("here?");
    const [payload] = await once(ws, "pong");
    assert.equal(payload.toString(), "here?");
    ws.close(1000, "done");
    return { code: 1000, reason: "done", wasClean: true };
  },
  async close_with_reason(ws) {
    ws.close(4001, "bis später");
    return { code: 4001, reason: "bis später", wasClean: true };
  },
  async close_without_code(ws) {
    ws.close();
    return { code: 1005, reason: "", wasClean: true };
  },
  async abort_with_reset(ws) {
    ws._socket.resetAndDestroy();
    return { code: 1006, reason: "", wasClean: false };
  },
  async abort_with_fin(ws) {
    ws.terminate();
    return { code: 1006, reason: "", wasClean: false };
  },
  async restart() {
    console.log("connected");
    return { code: 1012, reason: "service restart", wasClean: true };
  },
};

const [url, scenario] = process.argv.slice(2);
setTimeout(() => {
  console.log(JSON.stringify({ scenario, ok: false, error: "not over after 50 s" }));
  process.exit(1);
}, 50_000).unref();
const ws = new WebSocket(url, { headers: { "User-Agent": `node/${scenario}` } });
const closed = new Promise((resolve) => {
  ws.addEventListener("close", ({ code, reason, wasClean }) => resolve({ code, reason, wasClean }));
});
await once(ws, "open");
const due = await SCENARIOS[scenario](ws);
const seen = await closed;
const ok = JSON.stringify(seen) === JSON.stringify(due);
console.log(JSON.stringify({ scenario, ...seen, ok }));
process.exit(ok ? 0 : 1);
