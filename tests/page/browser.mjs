// The browser, and what must never happen in it: errors, requests to anybody else, broken policy.

import axe from "axe-core";
import { chromium } from "playwright-core";
import { FLAGS } from "./browser_flags.mjs";

export const given = JSON.parse(process.argv[2]);

/** What went wrong behind the scenes, in any page. */
export const unwanted = [];

export const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
});

const POLL = 50;

/** Opens a page; `expects` are refusals that the browser tells its console of, and that are due. */
export async function open({ base = given.control, expects = [], ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(8000);
  page.on("console", (message) => {
    const text = message.text();
    const isDue = text.startsWith("Failed to load resource") && expects.some((due) => text.includes(due));
    if (["error", "warning"].includes(message.type()) && !isDue) unwanted.push(`console: ${text}`);
  });
  page.on("pageerror", (error) => unwanted.push(`error: ${error.stack}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== base) unwanted.push(`request to ${url.origin}`);
    if ([given.operator, given.reader, given.next].some((token) => request.url().includes(token))) {
      unwanted.push(`a token in ${url.pathname}`);
    }
  });
  await page.exposeFunction("violated", (what) => unwanted.push(`policy: ${what}`));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      window.violated(`${event.violatedDirective} by ${event.blockedURI}`);
    });
  });
  return page;
}

/** Opens the page and signs in, at a view. */
export async function enter(token, view = "overview", options = {}) {
  const page = await open({ expects: ["401"], ...options });
  await page.goto(`${given.control}/ui/#/${view}`);
  await page.fill("#token", token);
  await page.press("#token", "Enter");
  await page.waitForSelector("h1");
  return page;
}

/** Goes to a view of an open page. */
export async function visit(page, view, title) {
  await page.evaluate((hash) => (location.hash = hash), `#/${view}`);
  await page.waitForFunction((due) => document.querySelector("h1")?.textContent.startsWith(due), title);
}

/** Asks the API directly. */
export async function api(path, { method = "GET", token = given.operator, body, base = given.control } = {}) {
  const answer = await fetch(base + path, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { "content-type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  return { status: answer.status, json: await answer.json() };
}

/** Waits until something holds. */
export async function until(what, holds, within = 8000) {
  const deadline = Date.now() + within;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`awaited ${what} for ${within} ms`);
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

/** Fails the check with what is due. */
export function due(what, holds, seen = "") {
  if (!holds) throw new Error(`${what} is due${seen === "" ? "" : `, got ${JSON.stringify(seen)}`}`);
}

/** What the rules of WCAG 2.2 A and AA, and good practice, find wrong. */
export async function inspect(page) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0].target} ${nodes[0].failureSummary.split("\n").slice(1, 3).join(" ")}`);
}

export async function shoot(page, name) {
  await page.screenshot({ path: `${given.shots}/${name}.png` });
}

let answered = null;
process.stdin.on("data", () => answered?.());

/** Has something done outside. */
export function outside(what) {
  return new Promise((resolve) => {
    answered = resolve;
    console.log(JSON.stringify({ do: what }));
  });
}

/** Runs one check, and says how it went. */
export async function check(name, run) {
  const faults = [];
  let page;
  try {
    page = await run();
  } catch (error) {
    faults.push(error.message.split("\n").slice(0, 6).join(" | "));
  }
  faults.push(...unwanted.splice(0));
  if (page?.context) await page.context().close();
  console.log(JSON.stringify({ check: name, faults }));
}
