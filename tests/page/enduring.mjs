// A daemon that goes away and comes back, a token that is withdrawn, keys alone, small and dark screens.

import { api, check, due, enter, given, inspect, open, outside, shoot, until, visit } from "./browser.mjs";
import { connect } from "./clients.mjs";
import { VIEWS } from "./looking.mjs";

export async function keys() {
  await check("the main path by keys alone", async () => {
    const client = await connect("/echo", "keys");
    const page = await open({ expects: ["401"] });
    await page.goto(`${given.control}/ui/`);
    await page.waitForSelector("#token");
    await page.keyboard.type(given.operator);
    await page.keyboard.press("Enter");
    await page.waitForSelector("h1");
    const tab = async (what, is) => {
      for (let presses = 0; presses < 60; presses += 1) {
        await page.keyboard.press("Tab");
        if (await page.evaluate(is)) return;
      }
      throw new Error(`${what} is not reached by Tab`);
    };
    await tab("the first link", () => document.activeElement.id === "skip" || document.activeElement.closest("#views") !== null);
    await tab("Connections", () => document.activeElement.textContent === "Connections");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement.textContent === "Connections" && document.activeElement.tagName === "H1");
    await page.waitForSelector("tbody tr");
    await tab("the field", () => document.activeElement.id === "find");
    await page.keyboard.type(client.record.id.slice(-12));
    await page.keyboard.press("Enter");
    await page.waitForSelector("#close");
    await tab("Close", () => document.activeElement.id === "close");
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    due("a focus that is seen", outline === "solid", outline);
    await page.keyboard.press("Enter");
    await page.waitForSelector("dialog[open]");
    // The focus stays in the dialog.
    for (let presses = 0; presses < 8; presses += 1) {
      await page.keyboard.press("Tab");
      const inside = await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest("dialog") !== null);
      due("the focus in the dialog", inside);
    }
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog", { state: "detached" });
    due("the focus where it was", await page.evaluate(() => document.activeElement.id === "close"));
    await page.keyboard.press("Enter");
    await page.waitForSelector("dialog[open]");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector("h1").textContent.startsWith("Ending"));
    await until("the Close", () => client.closed?.code === 1000);
    return page;
  });
}

export async function screens() {
  const page = await enter(given.operator);
  (await connect("/echo", "screens/ended")).socket.terminate();
  const ended = async () => (await api("/v1/endings?limit=1")).json.endings[0];
  const { id } = await until("an ending", ended);
  const client = await connect("/echo", "screens");
  const all = [...VIEWS, [`endings/${id}`, "Ending"], [`connections/${client.record.id}`, "Connection"]];
  for (const [colorScheme, width, isInspected] of [["light", 1280, true], ["dark", 1280], ["light", 360], ["dark", 360, true]]) {
    const wanted = isInspected ? "no scrolling sideways, accessible" : "no scrolling sideways";
    await check(`every view, ${colorScheme}, ${width} pixels wide: ${wanted}`, async () => {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      const faults = [];
      const look = async (name) => {
        await shoot(page, `${name}-${colorScheme}-${width}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (wide > 0) faults.push(`${name} is ${wide} pixels too wide`);
        if (isInspected) faults.push(...(await inspect(page)).map((fault) => `${name}: ${fault}`));
      };
      for (const [view, title] of all) {
        await visit(page, view, title);
        await look(view.includes("/") ? title.toLowerCase() : view);
      }
      await page.click("#close");
      await look("dialog");
      await page.keyboard.press("Escape");
      due("nothing wrong", faults.length === 0, faults);
    });
  }
  await page.context().close();
  client.socket.terminate();
}

export async function losses() {
  await check("a token that is withdrawn: the form again, and the same view", async () => {
    const page = await enter(given.operator, "endings");
    await page.selectOption("#filter-fault", "peer");
    await until("the filter", () => page.url().includes("fault=peer"));
    const before = page.url();
    await outside("withdraw");
    await page.waitForSelector("dialog[open] #token");
    due("why", (await page.textContent("dialog")).includes("no longer valid"));
    due("the view behind it", (await page.textContent("h1")) === "Endings" && page.url() === before);
    await page.fill("#token", given.next);
    await page.keyboard.press("Enter");
    await page.waitForSelector("dialog", { state: "detached" });
    due("the same view", (await page.textContent("h1")) === "Endings" && page.url() === before);
    return page;
  });

  await check("a daemon that goes away and comes back", async () => {
    const expects = ["401", "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_INCOMPLETE_CHUNKED_ENCODING"];
    const page = await enter(given.next, "events", { expects });
    await page.waitForSelector("text=Live.");
    await visit(page, "overview", "Overview");
    const opened = page.locator(".figures div:nth-child(2) .note");
    await until("what was opened", async () => (await opened.textContent()) !== "");
    await outside("stop");
    await page.waitForSelector("#lost:not([hidden])");
    const text = await page.textContent("#lost");
    due("the time of what is shown", /does not answer, .* What you see is from \d\d:\d\d:\d\d UTC\./.test(text), text);
    await shoot(page, "lost");
    await visit(page, "connections", "Connections");
    await outside("start");
    await page.waitForSelector("#lost", { state: "hidden", timeout: 15_000 });
    await page.waitForSelector("tbody tr");
    await visit(page, "events", "Events");
    await page.waitForSelector("text=Live.");
    return page;
  });
}
