// Drains: their progress, and the question before one starts.

import { change } from "./api.js";
import { ask } from "./dialogs.js";
import { button, el, fill, say, setText } from "./dom.js";
import { count, lasting, number, rate, utc } from "./formatting.js";

const PACES = [
  ["", "as configured"],
  ["auto", "automatic: at once for few, over half of the time for many"],
  ["spread", "evenly, over this long"],
  ["rate", "so many per second"],
];

const fields = () => [
  { name: "within", label: "Within", hint: "A duration such as 60s or 10m. What is open after that is cut off. Empty: as configured." },
  { name: "pace", label: "Pace of the Closes", options: PACES },
  { name: "amount", label: "Over how long, or how many per second", hint: "30s, or 100. Only for the last two paces." },
  { name: "code", label: "Close code", hint: "Empty: as configured (1012, service restart)." },
  { name: "reason", label: "Reason", hint: "At most 123 bytes. Empty: as configured." },
];

const selection = () => [
  { name: "route", label: "Only of this route", hint: "Empty: all connections." },
  { name: "subject", label: "Only of this subject" },
  { name: "tag", label: "Only with this tag", hint: "name:value" },
  { name: "stay", label: "Go on refusing new connections afterwards", type: "checkbox" },
];

function body({ within, pace, amount, code, reason, route, subject, tag, stay }) {
  const body = {};
  if (within) body.within = within;
  if (pace === "auto") body.spread = "auto";
  if (pace === "spread") body.spread = amount;
  if (pace === "rate") body.rate = whole("The number per second", amount);
  if (code) body.code = whole("The close code", code);
  if (reason) body.reason = reason;
  const select = Object.fromEntries(Object.entries({ route, subject, tag }).filter(([, value]) => value));
  if (Object.keys(select).length > 0) body.select = select;
  if (stay) body.stay = true;
  return body;
}

/** Reads a whole number that was typed. */
export function whole(what, text) {
  if (!/^\d+$/.test(text.trim())) throw new Error(`${what} is not a whole number.`);
  return Number(text);
}

/** Asks how to drain, and starts it. */
function askDrain() {
  return ask({
    title: "Drain connections",
    text: ["Closes the selected connections at a pace. While all are drained, new ones are refused."],
    fields: [...fields(), ...selection()],
    confirm: "Start the drain",
    danger: true,
    act: async (values) => {
      await change("POST", "/v1/drain", body(values));
      say("The drain has started.");
    },
  });
}

/** Asks how to drain an application, and starts it. */
export function askDrainOf(backend) {
  const { route, number: at } = backend;
  return ask({
    title: `Drain application ${at} of ${route}`,
    text: [`${backend.url} gets no new clients until it is resumed, and ${count(backend.connections, "client")} will be closed.`],
    fields: fields(),
    confirm: "Start the drain",
    danger: true,
    act: async (values) => {
      await change("POST", `/v1/backends/${encodeURIComponent(route)}/${at}/drain`, body(values));
      say(`Application ${at} of ${route} is being drained.`);
    },
  });
}

/** The panel that shows the drain, and starts and cancels one. */
export class DrainPanel {
  #progress = el("progress", { "aria-label": "Connections closed" });
  #text = el("p", { class: "told" });
  #facts = el("p", { class: "quiet" });
  #buttons = el("div", { class: "buttons" });
  #offered = "";
  #phase = null;

  constructor({ operates, changed }) {
    this.operates = operates;
    this.changed = changed;
    this.element = el("section", { class: "panel drain" }, el("h2", {}, "Drain"), this.#progress, this.#text, this.#facts, this.#buttons);
  }

  update(status) {
    const drain = status.drain;
    const runs = drain?.phase === "running";
    this.#progress.hidden = !runs;
    if (runs) {
      this.#progress.max = Math.max(drain.total, 1);
      this.#progress.value = drain.total - drain.left;
    }
    const text = drain ? this.#say(drain) : "No drain since the start.";
    setText(this.#text, text);
    setText(this.#facts, drain ? this.#tell(drain) : "");
    // Its progress is not read aloud all the time; its end is.
    const phase = `${drain?.id} ${drain?.phase}`;
    if (this.#phase !== null && this.#phase !== phase && !runs) say(text);
    this.#phase = phase;
    this.#offer(runs ? "cancel" : status.accepting ? "start" : drain?.stay ? "accept" : "start");
  }

  #say(drain) {
    const done = drain.total - drain.left;
    if (drain.phase === "running") {
      return `${number(done)} of ${number(drain.total)} closed, ${this.#left(drain)}.`;
    }
    const cut = drain.cut > 0 ? `, ${number(drain.cut)} cut off at the deadline` : "";
    return `The last drain ${drain.phase === "finished" ? "has finished" : "was cancelled"}: ${number(done)} of ${number(drain.total)} closed in ${lasting(drain.took_ms)}${cut}.`;
  }

  #left({ left, stragglers, http_left: http }) {
    const some = [
      [stragglers.open, "not closed yet"],
      [stragglers.close_sent, "not answered yet"],
      [stragglers.close_received, "answering"],
      [stragglers.closed, "ending TCP"],
    ].filter(([amount]) => amount > 0);
    const states = some.length > 0 ? ` (${some.map(([amount, what]) => `${number(amount)} ${what}`).join(", ")})` : "";
    const clients = http > 0 ? `, and ${count(http, "plain HTTP client")}` : "";
    return `${number(left)} left${states}${clients}`;
  }

  #tell(drain) {
    const { route, subject, tag, upstream } = drain.select;
    const selected = [route && `route ${route}`, subject && `subject ${subject}`, tag && `tag ${tag}`, upstream && `application ${upstream}`].filter(Boolean);
    const pace = drain.phase === "running" && drain.took_ms > 0 ? `${rate((1000 * drain.asked) / drain.took_ms)} Closes per second so far` : null;
    const time = drain.phase === "running" ? `${lasting(drain.took_ms)} of ${lasting(drain.within_ms)}` : null;
    return [
      selected.length > 0 ? selected.join(", ") : "all connections",
      `Close ${drain.code} "${drain.reason}"`,
      time,
      pace,
      `started ${utc(drain.started_at)}${drain.by ? ` by ${drain.by}` : ""}`,
    ]
      .filter(Boolean)
      .join(" · ");
  }

  /** Keeps the button while it is the same, so that it keeps the focus. */
  #offer(what) {
    if (!this.operates || what === this.#offered) return;
    this.#offered = what;
    const cancel = async () => {
      const { phase } = await change("DELETE", "/v1/drain");
      say(phase === "cancelled" ? "The drain was cancelled." : "New connections are accepted again.");
    };
    const buttons = {
      start: () => button("Drain…", () => askDrain().then(this.changed), { id: "drain-start" }),
      cancel: () =>
        button("Cancel the drain…", () => this.#confirm("Cancel the drain", "Connections that have begun to close still do so.", cancel), { id: "drain-cancel" }),
      accept: () =>
        button("Accept new connections again…", () => this.#confirm("Accept new connections", "The drain has finished and still refuses new connections.", cancel), { id: "drain-accept" }),
    };
    fill(this.#buttons, buttons[what]());
  }

  #confirm(title, text, act) {
    return ask({ title, text: [text], confirm: title, act }).then(this.changed);
  }
}
