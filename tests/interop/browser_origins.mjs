// Chromium opens WebSockets from pages of two origins: `browser_origins.mjs WS_URL OTHER_ORIGIN`.
//
// Both origins serve `/page`, which opens the WebSocket. The cookie belongs to the daemon's host, and
// cookies do not know ports: the browser sends it with the WebSocket of either page.

import { chromium } from "playwright-core";
import { FLAGS } from "./browser_flags.mjs";

const [url, other] = process.argv.slice(2);
setTimeout(() => {
  console.log(JSON.stringify({ ok: false, error: "not over after 50 s" }));
  process.exit(1);
}, 50_000).unref();

const own = `http://${new URL(url).host}`;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
});

async function visit(name, origin, cookie) {
  const context = await browser.newContext({ userAgent: `browser/${name}` });
  if (cookie) await context.addCookies([{ name: "session", value: "hunter2", url: own }]);
  const tab = await context.newPage();
  await tab.goto(`${origin}/page?${encodeURIComponent(url)}`);
  const seen = await tab.evaluate(() => window.outcome);
  await context.close();
  return seen;
}

const seen = {
  other: await visit("other", other, true),
  own: await visit("own", own, true),
  other_without_cookie: await visit("other_without_cookie", other, false),
};
await browser.close();

// A page that was refused learns nothing but 1006.
const due = { other: 1006, own: "hello", other_without_cookie: "hello" };
const ok = JSON.stringify(seen) === JSON.stringify(due);
console.log(JSON.stringify({ ...seen, ok }));
process.exit(ok ? 0 : 1);
