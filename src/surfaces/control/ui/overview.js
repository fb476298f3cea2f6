// Overview: how many connections there are, how they end, and the drain.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { el, panel, setText } from "./dom.js";
import { DrainPanel } from "./draining.js";
import { count, lasting, number, rate, share, size } from "./formatting.js";

const MINUTE = 60_000;

/** The periods of the chart: name, length of a slot, number of slots, name in a sentence. */
const RANGES = [
  ["15m", MINUTE / 4, 60, "15 minutes"],
  ["1h", MINUTE, 60, "hour"],
  ["24h", 15 * MINUTE, 96, "24 hours"],
  ["7d", 120 * MINUTE, 84, "7 days"],
];
const PROPERTIES = ["fault", "kind", "cause"];

export function show(context) {
  const chosen = {
    range: RANGES.find(([name]) => name === context.query.range) ?? RANGES[1],
    by: PROPERTIES.includes(context.query.by) ? context.query.by : "fault",
  };
  const figures = new Figures();
  const accepting = el("div", { class: "notice warning", role: "status", hidden: true });
  const drain = new DrainPanel({ operates: context.operates, changed: () => context.status.refresh() });
  const link = (by, value) => context.href("/endings", { [by]: value, since: chosen.range[0] });
  const endingsAt = (since, until) =>
    context.go("/endings", { since: new Date(since).toISOString(), until: new Date(until).toISOString() });
  const chart = new Chart({ endingsAt, link });
  const choose = (name, value) => context.replace("/overview", { range: chosen.range[0], by: chosen.by, [name]: value });
  const error = el("p", { class: "error", role: "alert", hidden: true });

  context.onStatus((status, rates) => {
    figures.update(status, rates);
    drain.update(status);
    accepting.hidden = status.accepting;
    if (!status.accepting) setText(accepting, `New connections are refused: ${status.accepting_why}.`);
  });

  const load = async () => {
    const [, step, slots, sentence] = chosen.range;
    // Whole slots, so that bars do not move while a slot fills.
    const until = Math.ceil((Date.now() + 1) / step) * step;
    const query = new URLSearchParams({
      by: chosen.by,
      since: new Date(until - step * slots).toISOString(),
      until: new Date(until).toISOString(),
      slots,
    });
    chart.update(await get(`/v1/endings/summary?${query}`, context.signal), chosen.by, sentence);
  };
  context.every(Math.min(Math.max(chosen.range[1] / 12, 5000), MINUTE), load, error);

  return {
    title: "Overview",
    content: [
      accepting,
      figures.element,
      panel(
        "Endings over time",
        el(
          "div",
          { class: "choices" },
          choices("Count by", PROPERTIES.map((word) => [word, word]), chosen.by, (word) => choose("by", word)),
          choices("Period", RANGES.map(([name]) => [name, name.replace(/(\D)$/, " $1").replace(" m", " min")]), chosen.range[0], (name) => choose("range", name)),
        ),
        error,
        chart.element,
      ),
      drain.element,
    ],
  };
}

/** A group of radio buttons in a row. */
function choices(legend, options, chosen, choose) {
  const name = legend.toLowerCase().replace(" ", "-");
  const radios = options.map(([value, text]) => {
    const id = `${name}-${value}`;
    const radio = el("input", { type: "radio", id, name, value, change: () => choose(value) });
    radio.checked = value === chosen;
    return [radio, el("label", { for: id }, text)];
  });
  return el("fieldset", { class: "choice" }, el("legend", {}, legend), radios);
}

/** The numbers at the top. */
class Figures {
  #shown = new Map();
  element = el("dl", { class: "figures" });

  #put(name, value, note = "") {
    let shown = this.#shown.get(name);
    if (!shown) {
      shown = { value: el("dd", { class: "value" }), note: el("dd", { class: "note" }) };
      this.#shown.set(name, shown);
      this.element.append(el("div", {}, el("dt", {}, name), shown.value, shown.note));
    }
    setText(shown.value, value);
    setText(shown.note, note);
  }

  update(status, rates) {
    const { accounting, memory, ledger, messages } = status;
    const perSecond = (value) => (value === undefined ? "–" : `${rate(value)}/s`);
    this.#put("Open", number(accounting.open), accounting.balanced ? "opened less ended" : "not opened less ended");
    this.#put("Opened", perSecond(rates.opened), `${number(accounting.opened)} in all`);
    this.#put("Ended", perSecond(rates.ended), `${number(accounting.ended)} in all`);
    this.#put("Messages in", perSecond(rates.in), `${number(messages.in)} in all`);
    this.#put("Messages out", perSecond(rates.out), `${number(messages.out)} in all`);
    this.#put("Queue memory", size(memory.used), `${share(memory.used, memory.limit)} of ${size(memory.limit)}`);
    const unrecorded = ledger.unrecorded > 0 ? `${count(ledger.unrecorded, "ending")} not recorded` : "";
    const recovered = ledger.recovered > 0 ? `${number(ledger.recovered)} recovered` : "";
    this.#put("Ledger", ledger.state, ledger.problem ?? [unrecorded, recovered].filter(Boolean).join(", "));
    this.#put("Running for", lasting(status.uptime_ms), status.phase);
  }
}
