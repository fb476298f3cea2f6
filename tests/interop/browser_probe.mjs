// Chromium tests itself on the page of `lastword probe --listen`: `browser_probe.mjs URL` prints one JSON
// summary of what the page shows.

import { chromium } from "playwright-core";
import { FLAGS } from "./browser_flags.mjs";

const [url, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
});
const page = await browser.newPage();
const errors = [], requests = [];
// That a WebSocket failed is what many cases are about.
page.on("console", (message) => {
  if (message.type() === "error" && !/WebSocket connection/.test(message.text())) errors.push(message.text());
});
page.on("pageerror", (error) => errors.push(String(error)));
page.on("request", (request) => requests.push(request.url()));
await page.goto(url);
await page.waitForSelector("#state[data-done]", { timeout: 90_000 });
const rows = await page.$$eval("#cases tr", (all) =>
  all.map((row) => Object.fromEntries(
    ["id", "does", "told", "due", "saw", "verdict"].map((name, at) => [name, row.cells[at].textContent]),
  )),
);
const outside = requests.filter((it) => !it.startsWith(url) && !it.startsWith(url.replace("http:", "ws:")));
const state = await page.textContent("#state");
if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
await browser.close();
console.log(JSON.stringify({ state, rows, errors, outside }));
