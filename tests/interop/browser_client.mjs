// Chromium against /echo: `browser_client.mjs URL SCENARIO` prints one JSON summary.
//
// A page served on loopback opens the WebSocket, so that what a page's script is told
// (wasClean, code, reason) is what is judged.

import { createServer } from "node:http";
import { once } from "node:events";
import { chromium } from "playwright-core";
import { FLAGS } from "./browser_flags.mjs";

const SCENARIOS = {
  close_with_reason: { call: "ws.close(1000, 'bye')", code: 1000, reason: "bye" },
  close_without_code: { call: "ws.close()", code: 1005, reason: "" },
  restart: { call: "", code: 1012, reason: "service restart" },
};

const page = (url, call) => `<!doctype html><title>lastword</title><script>
  const ws = new WebSocket(${JSON.stringify(url)});
  window.opened = new Promise((resolve, reject) => {
    ws.onmessage = (event) => resolve(event.data);
    ws.onerror = () => reject(new Error("the WebSocket failed"));
  });
  window.outcome = new Promise((resolve) => {
    ws.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
  });
  ws.onopen = () => ws.send("hello");
  window.end = () => { ${call} };
</script>`;

const [url, scenario] = process.argv.slice(2);
const { call, code, reason } = SCENARIOS[scenario];
setTimeout(() => {
  console.log(JSON.stringify({ scenario, ok: false, error: "not over after 50 s" }));
  process.exit(1);
}, 50_000).unref();

const server = createServer((_, response) => {
  response.setHeader("content-type", "text/html");
  response.end(page(url, call));
}).listen(0, "127.0.0.1");
await once(server, "listening");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
});
// No authority has signed the certificate of a test.
const context = await browser.newContext({
  userAgent: `browser/${scenario}`,
  ignoreHTTPSErrors: url.startsWith("wss:"),
});
const tab = await context.newPage();
await tab.goto(`http://127.0.0.1:${server.address().port}/`);
const echoed = await tab.evaluate(() => window.opened);
if (scenario === "restart") console.log("connected");
const seen = await tab.evaluate(() => (window.end(), window.outcome));
await browser.close();
server.close();

const due = { code, reason, wasClean: true };
const ok = echoed === "hello" && JSON.stringify(seen) === JSON.stringify(due);
console.log(JSON.stringify({ scenario, ...seen, ok }));
process.exit(ok ? 0 : 1);
