"use strict";

// A case lasts 15 s at most, and some clients report a little later.
const LONGEST_MS = 25000;
const AT_ONCE = 4;

const told = ({ wasClean, code, reason }) =>
  `${code}${reason ? ` "${reason.slice(0, 40)}"` : ""}, ${wasClean ? "clean" : "not clean"}`;

function cell(row, text, kind) {
  const made = row.insertCell();
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// Opens the WebSocket of a case, and resolves with its close event.
function play(test) {
  return new Promise((resolve) => {
    const url = new URL(`case/${test.id}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    const timer = setTimeout(() => resolve(null), LONGEST_MS);
    socket.onopen = () => test.client_closes && socket.close(1000, "bye");
    socket.onclose = (event) => {
      clearTimeout(timer);
      resolve(event);
    };
  });
}

// What the server saw, which it knows shortly after the browser does.
async function seen(id, after) {
  for (let attempt = 0; attempt < 80; attempt += 1) {
    const report = await (await fetch("report.json")).json();
    const agent = navigator.userAgent.slice(0, 200);
    const found = report.results.find((it) => it.id === id && it.user_agent === agent && it.number > after);
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return { observed: "nothing", verdict: "skipped", consequence: null };
}

async function run(test, row, after) {
  const event = await play(test);
  row.cells[2].textContent = event ? told(event) : "nothing in 25 s";
  const asDue = event && event.code === test.code && event.wasClean === test.clean;
  row.cells[2].className = asDue ? "pass" : "warn";
  const result = await seen(test.id, after);
  row.cells[4].textContent = result.observed;
  row.cells[5].textContent = result.verdict;
  row.cells[5].className = result.verdict;
  if (result.consequence) row.cells[5].title = result.consequence;
  return { asDue, verdict: result.verdict };
}

async function main() {
  const state = document.getElementById("state");
  const body = document.getElementById("cases");
  const tests = await (await fetch("cases.json")).json();
  const before = await (await fetch("report.json")).json();
  const after = Math.max(0, ...before.results.map((it) => it.number));
  const waiting = tests.map((test) => {
    const row = body.insertRow();
    row.id = test.id;
    cell(row, test.id);
    cell(row, test.does);
    cell(row, "…");
    cell(row, told({ wasClean: test.clean, code: test.code }));
    cell(row, "…");
    cell(row, "…");
    return { test, row };
  });
  const results = [];
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      results.push(await run(next.test, next.row, after));
      state.textContent = `${results.length} of ${tests.length} cases`;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const count = (verdict) => results.filter((it) => it.verdict === verdict).length;
  const wrong = results.filter((it) => !it.asDue).length;
  state.textContent =
    `All ${tests.length} cases are done: ${count("pass")} passed, ${count("warn")} warned, ` +
    `${count("fail")} failed, ${count("skipped")} skipped; the page was told something else than is due in ${wrong}.`;
  state.dataset.done = "true";
}

main().catch((error) => {
  document.getElementById("state").textContent = `The page has failed: ${error}`;
});
