// Chromium's EventSource against the control API: `browser_events.mjs CONTROL_URL WS_URL`.
//
// The page stands at the API's own origin, because the API is for no other. It follows endings,
// ends a WebSocket, and prints as one JSON what it was told of it.

import { chromium } from "playwright-core";
import { FLAGS } from "./browser_flags.mjs";

const [control, url] = process.argv.slice(2);
setTimeout(() => {
  console.log(JSON.stringify({ ok: false, error: "not over after 50 s" }));
  process.exit(1);
}, 50_000).unref();

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
});
const tab = await (await browser.newContext({ userAgent: "browser/events" })).newPage();
await tab.goto(`${control}/v1/status`);
const told = await tab.evaluate(async (url) => {
  const events = new EventSource("/v1/events?types=opened,ended");
  const next = (word) =>
    new Promise((resolve) => events.addEventListener(word, resolve, { once: true }));
  await new Promise((resolve) => { events.onopen = resolve; });
  const [opened, ended] = [next("opened"), next("ended")];
  const ws = new WebSocket(url);
  ws.onopen = () => ws.close(4000, "seen");
  await opened;
  const event = await ended;
  events.close();
  const { user_agent, close_code } = JSON.parse(event.data).ending;
  // A page of this origin may command, too.
  const command = await fetch("/v1/broadcast", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ text: "hello" }),
  });
  return { id: event.lastEventId, user_agent, close_code, command: command.status };
}, url);
await browser.close();

const due = { user_agent: "browser/events", close_code: 4000, command: 200 };
const ok = /^[0-9]+$/.test(told.id) && Object.keys(due).every((key) => told[key] === due[key]);
console.log(JSON.stringify({ ...told, ok }));
process.exit(ok ? 0 : 1);
