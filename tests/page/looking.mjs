// What is seen: signing in, each view, a token that may only read, and many rows.

import { api, check, due, enter, given, inspect, open, outside, shoot, until, visit } from "./browser.mjs";
import { connect } from "./clients.mjs";

export const VIEWS = [
  ["overview", "Overview"],
  ["connections", "Connections"],
  ["endings", "Endings"],
  ["applications", "Applications"],
  ["dialers", "Dialers"],
  ["events", "Events"],
];

export async function views() {
  await check("sign in", async () => {
    const page = await open({ expects: ["401"] });
    await page.goto(`${given.control}/ui`);
    await page.waitForSelector("dialog[open] #token");
    due("the focus in the field", await page.evaluate(() => document.activeElement.id === "token"));
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog[open] #token");
    due("the focus in the field still", await page.evaluate(() => document.activeElement.id === "token"));
    due("nothing of the node", !(await page.textContent("body")).includes("Endings over time"));
    await page.fill("#token", "wrong-0123456789");
    await page.keyboard.press("Enter");
    await page.waitForSelector("dialog .error:not([hidden])");
    due("what is wrong", (await page.textContent("dialog .error")).includes("not valid"));
    await shoot(page, "sign-in");
    const faults = await inspect(page);
    due("an accessible form", faults.length === 0, faults);
    await page.fill("#token", given.operator);
    await page.keyboard.press("Enter");
    await page.waitForSelector("h1");
    const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie, location.href].join(" "));
    due("a token in memory only", kept.startsWith("0 0  http") && !kept.includes(given.operator), kept);
    await page.waitForSelector("text=ops (may operate)");
    await page.click("#sign-out");
    await page.waitForSelector("dialog[open] #token");
    return page;
  });

  // A filter that means nothing is due to be refused.
  const page = await enter(given.operator, "overview", { expects: ["400", "401"] });

  await check("overview", async () => {
    for (let one = 0; one < 3; one += 1) (await connect("/echo", `overview/${one}`)).socket.close(1000, "bye");
    (await connect("/echo", "overview/reset")).socket.terminate();
    await until("an ending without a Close", async () => (await api("/v1/endings?kind=closed_prematurely")).json.endings.length > 0);
    await visit(page, "overview?range=1h&by=fault", "Overview");
    await page.waitForSelector(".drawing svg rect.fault-peer");
    const label = await page.getAttribute(".drawing svg", "aria-label");
    due("a sentence for the chart", /^\d+ endings in the last hour: .*none \d+ %/.test(label), label);
    await page.click("label[for=count-by-kind]");
    await page.waitForSelector(".legend >> text=closed_prematurely");
    due("an address that can be copied", page.url().endsWith("by=kind"), page.url());
    await page.click("summary");
    await page.waitForSelector("details table tbody tr");
    await until("a rate", async () => /^\d/.test(await page.textContent(".figures div:nth-child(2) .value")));
    await page.click("label[for=count-by-cause]");
    await page.waitForSelector(".legend a >> text=none");
    due("a link to the endings of a cause", (await page.getAttribute(".legend a:text-is('peer')", "href")).includes("cause=peer"));
    await page.click("label[for=count-by-kind]");
    await page.click(".legend >> text=closed_prematurely");
    await page.waitForSelector("td >> text=closed_prematurely");
    const kinds = await page.locator("tbody tr td:nth-child(3)").allTextContents();
    due("endings of this kind only", kinds.length > 0 && kinds.every((kind) => kind === "closed_prematurely"), kinds);
  });

  await check("connections: filter, sort, find, and one of them", async () => {
    const client = await connect("/echo?room=7", "found");
    await visit(page, "connections", "Connections");
    await page.fill("#filter-path", client.record.path);
    await page.keyboard.press("Enter");
    await until("one row", async () => (await page.locator("tbody tr").count()) === 1);
    await page.fill("#filter-tag", "nonsense");
    await page.keyboard.press("Enter");
    await page.waitForSelector("main .error:not([hidden])");
    due("the API's own words", (await page.textContent("main .error")).includes("nonsense"));
    await page.click("#filter-clear");
    await page.click("#sort-messages_in");
    await page.waitForSelector("th[aria-sort=descending] #sort-messages_in");
    due("an order by the server", page.url().includes("sort=-messages_in"), page.url());
    await page.fill("#find", client.record.peer);
    await page.keyboard.press("Enter");
    await page.waitForSelector("text=1 connection of");
    await page.fill("#find", client.record.id.slice(-12));
    await page.keyboard.press("Enter");
    await page.waitForSelector("text=What is known");
    const facts = await page.textContent(".details");
    for (const fact of [client.record.id, client.record.peer, "found", "public", "last ping"]) due(fact, facts.includes(fact), facts);
    due("the focus on the heading", await page.evaluate(() => document.activeElement.tagName === "H1"));
    // What is selected stays so while the view goes on.
    const selected = await page.evaluate(async () => {
      const [id] = document.querySelectorAll(".details dd");
      getSelection().selectAllChildren(id);
      const before = document.querySelector(".details").textContent;
      while (document.querySelector(".details").textContent === before) await new Promise((resolve) => setTimeout(resolve, 50));
      return [id.isConnected, String(getSelection())];
    });
    due("a selection that stays", selected[0] && selected[1] === client.record.id, selected);
    client.socket.terminate();
  });

  await check("endings: filter, and why one was, as the command tells it", async () => {
    await visit(page, "endings", "Endings");
    await page.selectOption("#filter-fault", "peer");
    await until("an address with the filter", () => page.url().includes("fault=peer"));
    await page.click("tbody tr td a");
    await page.waitForSelector(".story");
    const id = page.url().split("/").pop();
    const { json } = await api(`/v1/endings/${id}?explain=true`);
    const shown = await page.locator(".story dd").allTextContents();
    // Times that have passed are told with the moment of the question.
    const same = json.explanation.paragraphs.filter(({ text }, at) => text.replace(/\d+ seconds? ago|just now/g, "") === shown[at]?.replace(/\d+ seconds? ago|just now/g, ""));
    due("the same paragraphs", same.length === json.explanation.paragraphs.length && same.length > 5, shown);
    await shoot(page, "why");
  });

  await check("events as they come", async () => {
    await visit(page, "events", "Events");
    await page.waitForSelector("text=Live.");
    const client = await connect("/echo?room=1", "live");
    await page.waitForSelector(`.events >> text=${client.record.id.slice(-12)}`);
    await page.uncheck("#type-opened");
    due("none of a type that is not wanted", (await page.locator(".events .badge >> text=opened").count()) === 0);
    await page.click("#pause");
    client.socket.close(1000);
    await page.waitForSelector("#pause >> text=new");
    due("nothing new in a pause", (await page.locator(".events .badge >> text=ended").count()) === 0);
    await page.click("#pause");
    await page.waitForSelector(".events .badge >> text=ended");
    await shoot(page, "events");
    // The stream goes on where it was.
    await visit(page, "dialers", "Dialers");
    const [request] = await Promise.all([
      page.waitForRequest((one) => one.url().endsWith("/v1/events")),
      visit(page, "events", "Events"),
    ]);
    const resumed = await request.headerValue("last-event-id");
    due("a Last-Event-ID", /^\d+$/.test(resumed), resumed);
    await page.waitForSelector("text=Live.");
    due("the events from before", (await page.locator(".events .badge >> text=ended").count()) > 0);
  });
  await page.context().close();
}

export async function parts() {
  await check("numbers, times and names as the command writes them", async () => {
    // The browser looks for an icon of this file.
    const page = await open({ expects: ["401"] });
    await page.goto(`${given.control}/ui/style.css`);
    const wrong = await page.evaluate(async () => {
      const { ago, lasting, lastingShort, shortId, size, utc } = await import("/ui/formatting.js");
      const { visible } = await import("/ui/dom.js");
      const { Parser } = await import("/ui/api.js");
      const { series } = await import("/ui/chart.js");
      const stream = ": hello\n\nid: 7\nevent: ended\ndata: {\"a\":\ndata: 1}\n\nretry: 2000\n\nid: 8\ndata: x\n\n";
      // However the stream is cut, the events are the same.
      const cut = Array.from(stream, (_, at) => {
        const parser = new Parser();
        return JSON.stringify([...parser.read(stream.slice(0, at)), ...parser.read(stream.slice(at))]);
      });
      const many = { values: Array.from({ length: 9 }, (_, at) => ({ value: `v${at}`, counts: [9 - at, 1] })) };
      const drawn = series(many, "kind");
      const total = (all) => all.flatMap(({ counts }) => counts).reduce((sum, one) => sum + one, 0);
      return [
        [lasting(0), "0 ms"], [lasting(12_345), "12.3 s"], [lasting(3_599_999), "59 min 59 s"],
        [lasting(11_520_000), "3 h 12 min"], [lastingShort(1099), "1s"], [lastingShort(183_600_000), "2d3h"],
        [size(1), "1 byte"], [size(1023), "1023 bytes"], [size(1536), "1.5 KiB"], [size(2 ** 20 - 1), "1 MiB"],
        [ago(59_000), "59 seconds ago"], [ago(7_200_000), "2 hours ago"], [ago(90_000_000), "1 day ago"],
        [utc("2026-03-01T12:00:12.595Z"), "2026-03-01 12:00:12.595 UTC"],
        [shortId("01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17"), "5b8f0a6d4c17"],
        [visible("a\u202eb\u{e0041}\u009b\n\u00fc"), "a\\u{202e}b\\u{e0041}\\u{9b}\\u{a}\u00fc"],
        [[...new Set(cut)].join(), '[{"id":"7","event":"ended","data":"{\\"a\\":\\n1}"},{"id":"8","data":"x"}]'],
        [drawn.length, 8], [drawn[7].value, "2 others"], [total(drawn), total(many.values)],
      ].filter(([seen, wanted]) => seen !== wanted);
    });
    due("nothing wrong", wrong.length === 0, wrong);
    return page;
  });
}

/** What may be pressed that changes something: its text ends so, since a question follows. */
const changing = (page) => page.locator("main button", { hasText: "…" });

export async function reading() {
  await check("a token that may only read is offered nothing that changes", async () => {
    const client = await connect("/echo", "read");
    const page = await enter(given.reader);
    await page.waitForSelector("text=dash (may only read)");
    for (const [view, title] of [...VIEWS, [`connections/${client.record.id}`, "Connection"]]) {
      await visit(page, view, title);
      due(`nothing that changes in ${view}`, (await changing(page).count()) === 0, await changing(page).allTextContents());
    }
    for (const [method, path] of [
      ["POST", `/v1/connections/${client.record.id}/close`],
      ["DELETE", `/v1/connections/${client.record.id}`],
      ["POST", "/v1/drain"],
    ]) {
      const { status, json } = await api(path, { method, token: given.reader });
      due(`a refusal of ${method} ${path}`, status === 403 && json.type === "urn:lastword:scope", json);
    }
    due("an open connection", client.closed === null);
    client.socket.terminate();
    const operator = await enter(given.operator, "dialers");
    due("actions for an operator", (await changing(operator).count()) > 0);
    await operator.context().close();
    return page;
  });
}

/** The longest times to the first paint, and to the first rows from a debug build on a busy machine. */
const FIRST_PAINT = 1000;
const FIRST_ROWS = 4000;

export async function many() {
  await check(`a list of ${given.rows} connections, in pages`, async () => {
    await outside("fill");
    const base = given.crowded;
    const page = await open({ base });
    const began = Date.now();
    await page.goto(`${base}/ui/#/connections`);
    await page.waitForSelector("tbody tr:nth-child(100)");
    const took = Date.now() - began;
    due("no sign-in without tokens", (await page.locator("dialog").count()) === 0);
    const [paint] = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint").map((one) => one.startTime));
    due(`the first paint within ${FIRST_PAINT} ms`, paint <= FIRST_PAINT, paint);
    due(`the first rows within ${FIRST_ROWS} ms`, took <= FIRST_ROWS, took);
    await page.waitForSelector(`text=${given.rows.toLocaleString("en-US")} connections open.`);
    const ids = new Set();
    for (let at = 0; at < 5; at += 1) {
      const shown = await page.locator("tbody tr td:first-child").allTextContents();
      due("100 rows", shown.length === 100, shown.length);
      shown.forEach((id) => ids.add(id));
      const [first] = shown;
      await page.click("#page-next");
      await page.waitForFunction((before) => document.querySelector("tbody td").textContent !== before, first);
    }
    due("other rows on each page", ids.size === 500, ids.size);
    await page.click("#page-first");
    await until("the first page", async () => ids.has(await page.textContent("tbody td")));
    await shoot(page, "many");
    await visit(page, "dialers", "Dialers");
    due("no dialling without control.allow_dial", (await page.locator("#dial").count()) === 0);
    return page;
  });
}
