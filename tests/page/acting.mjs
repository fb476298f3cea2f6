// What an operator does: every action, each after a question.

import { api, check, due, enter, given, until, visit } from "./browser.mjs";
import { closed, connect } from "./clients.mjs";

/** Opens the view of a connection. */
async function show(page, client) {
  await visit(page, `connections/${client.record.id}`, "Connection");
  await page.waitForSelector("#close");
}

const dialog = (page) => page.locator("dialog[open]");

export async function actions() {
  // Refusals of codes, and a connection that has gone, are due.
  const page = await enter(given.operator, "overview", { expects: ["400", "401", "404"] });

  await check("connection: send a text", async () => {
    const client = await connect();
    await show(page, client);
    await page.click("#send");
    due("a question that names the connection", (await dialog(page).textContent()).includes(client.record.peer));
    await page.fill("dialog textarea", "good <b>evening</b>");
    await page.click("dialog button[type=submit]");
    await until("the message", () => client.messages.includes("good <b>evening</b>"));
    await until("what was done", async () => (await page.textContent("#said")).includes("queued"));
    client.socket.terminate();
  });

  await check("connection: close with a code and a reason", async () => {
    const client = await connect();
    await show(page, client);
    await page.click("#close");
    await page.fill("dialog input[name=code]", "1005");
    await page.click("dialog button[type=submit]");
    await page.waitForSelector("dialog .error:not([hidden])");
    const error = await page.textContent("dialog .error");
    due("the API's own refusal", error.includes("1005"), error);
    await page.fill("dialog input[name=code]", "4001");
    await page.fill("dialog input[name=reason]", "enough");
    await page.click("dialog button[type=submit]");
    await page.waitForFunction(() => document.querySelector("h1").textContent.startsWith("Ending"));
    const { code, reason } = await closed(client);
    due("a Close 4001", code === 4001 && reason === "enough", { code, reason });
    const { json: ending } = await api(`/v1/endings/${client.record.id}`);
    due("the name of the token in the record", ending.by === "api:ops", ending.by);
  });

  await check("connection: abort", async () => {
    const client = await connect();
    await show(page, client);
    await page.click("#abort");
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog", { state: "detached" });
    due("an open connection after Escape", client.closed === null);
    await page.click("#abort");
    await page.click("dialog button[type=submit]");
    await page.waitForFunction(() => document.querySelector("h1").textContent.startsWith("Ending"));
    await closed(client);
    due("aborted", (await page.textContent("main")).includes("aborted"));
  });

  await check("connection: one that ends while it is looked at", async () => {
    const client = await connect();
    await show(page, client);
    client.socket.close(4000, "\u202egpj.<img src=x>\u0007");
    await page.waitForSelector("main .notice:not([hidden]) a");
    due("no more actions", (await page.locator("#close").count()) === 0);
    await page.click("main .notice a");
    await page.waitForFunction(() => document.querySelector("h1").textContent.startsWith("Ending"));
    const shown = await page.textContent("main");
    due("characters that cannot be seen, written out", shown.includes("u{202e}gpj.<img src=x>"), shown.slice(0, 300));
    due("no element from a peer", (await page.locator("main img").count()) === 0);
    due("no bare mark of direction", !/[\u202e\u0007]/.test(await page.evaluate(() => document.body.innerText)));
  });

  await check("drain: start, progress and cancel", async () => {
    await visit(page, "overview", "Overview");
    const clients = await Promise.all([1, 2, 3, 4].map((one) => connect("/echo", `drained/${one}`)));
    await page.click("#drain-start");
    await page.fill("dialog input[name=within]", "60s");
    await page.selectOption("dialog select[name=pace]", "rate");
    await page.fill("dialog input[name=amount]", "1");
    await page.fill("dialog input[name=route]", "echo");
    await page.click("dialog button[type=submit]");
    await page.waitForSelector("#drain-cancel");
    await page.waitForSelector("progress:not([hidden])");
    await until("a part that is closed", async () => /^[1-9]\d* of \d+ closed/.test(await page.textContent(".drain .told")));
    await page.click("#drain-cancel");
    await page.click("dialog button[type=submit]");
    await page.waitForSelector("#drain-start");
    const text = await page.textContent(".drain");
    due("a cancelled drain", text.includes("was cancelled"), text);
    due("some that stay open", clients.some((client) => client.closed === null));
    clients.forEach((client) => client.socket.terminate());
  });

  await check("application: the question has the number of clients of now", async () => {
    await visit(page, "applications", "Applications");
    await page.waitForSelector("td >> text=Drain…");
    const clients = async () => Number(await page.textContent("tbody td:nth-child(5)"));
    const before = await clients();
    const client = await connect("/chat/asked", "asked");
    await until("one more client", async () => (await clients()) === before + 1);
    await page.click("td >> text=Drain…");
    const asked = await dialog(page).textContent();
    due(`${before + 1} clients`, new RegExp(` and ${before + 1} clients? will be closed`).test(asked), asked);
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog", { state: "detached" });
    client.socket.terminate();
  });

  await check("application: drain and resume", async () => {
    await visit(page, "applications", "Applications");
    const state = async () => (await api("/v1/backends")).json.backends[0].state;
    await page.click("td >> text=Drain…");
    await page.click("dialog button[type=submit]");
    await page.click("td >> text=Resume…");
    due("an application that drains", (await state()) === "draining");
    await page.click("dialog button[type=submit]");
    await page.waitForSelector("td >> text=Drain…");
    due("an application that serves", (await state()) === "serving", await state());
  });

  await check("dialer: pause, resume, rotate; dial and remove", async () => {
    await visit(page, "dialers", "Dialers");
    const press = async (name) => {
      await page.getByRole("button", { name, exact: true }).click();
      await page.click("dialog button[type=submit]");
      await page.waitForSelector("dialog", { state: "detached" });
    };
    const state = async (name = "feed") => (await api(`/v1/dialers/${name}`)).json;
    await press("Pause feed");
    await until("a pause", async () => (await state()).state === "paused");
    await press("Resume feed");
    await until("a ready dialer", async () => (await state()).state === "ready");
    const { connection } = await state();
    await press("Rotate feed");
    await until("another connection", async () => ![null, connection].includes((await state()).connection));
    const present = (await state()).connection.slice(-12);
    await page.waitForSelector(`td >> text=${present}`);
    await page.getByRole("button", { name: "Pause feed", exact: true }).click();
    const asked = await dialog(page).textContent();
    due("the present connection in the question", asked.includes(present), asked);
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog", { state: "detached" });
    await page.click("#dial");
    await page.fill("dialog input[name=url]", `${given.listener}/echo`);
    await page.check("dialog input[name=keep]");
    await page.fill("dialog input[name=name]", "made");
    await page.click("dialog button[type=submit]");
    await page.waitForSelector("td >> text=made");
    await press("Remove made");
    await until("no such dialer", async () => (await api("/v1/dialers/made")).status === 404);
  });

  await page.context().close();
}
