// Events as they come.

import { follow } from "./api.js";
import { button, el, fill, setText } from "./dom.js";
import { clock, connectionLink, count, endingLink, faultClass, lasting, number } from "./formatting.js";

const TYPES = ["opened", "closing", "ended", "open_failed", "reconnecting", "dialer", "drain", "revocation", "gap"];
/** The events that are kept. */
const KEPT = 500;

// They stay while another view is open, and the stream goes on where it was.
const kept = [];
let lastId;
let hidden = new Set();

export function show(context) {
  const list = el("ol");
  const status = el("p", { class: "quiet", role: "status" }, "Connecting.");
  let paused = null;
  const add = (line) => {
    list.prepend(row(line));
    while (list.children.length > KEPT) list.lastChild.remove();
  };
  const keep = (line) => {
    kept.unshift(line);
    kept.length = Math.min(kept.length, KEPT);
    if (paused !== null) {
      paused += 1;
      setText(pause, `Go on (${number(paused)} new)`);
    } else if (!hidden.has(line.type)) {
      add(line);
    }
  };
  const redraw = () => fill(list, kept.filter(({ type }) => !hidden.has(type)).map(row));
  const pause = button("Pause", () => {
    paused = paused === null ? 0 : null;
    setText(pause, paused === null ? "Pause" : "Go on");
    if (paused === null) redraw();
  }, { id: "pause" });
  const clear = button("Clear", () => {
    kept.length = 0;
    redraw();
  }, { id: "clear" });
  const types = el(
    "fieldset",
    { class: "choice checks" },
    el("legend", {}, "Types"),
    TYPES.map((type) => {
      const id = `type-${type}`;
      const box = el("input", { type: "checkbox", id, change: () => (box.checked ? hidden.delete(type) : hidden.add(type), redraw()) });
      box.checked = !hidden.has(type);
      return [box, el("label", { for: id }, type)];
    }),
  );
  // Too many come to read each aloud.
  const log = el("div", { class: "events", role: "log", "aria-live": "off", "aria-label": "Events, newest first", tabindex: 0 }, list);
  redraw();
  follow({
    lastId,
    signal: context.signal,
    event: (read) => {
      if (read.id !== undefined) lastId = read.id;
      const line = describe(read);
      if (line) keep(line);
    },
    news: (what, why) =>
      setText(status, what === "live" ? `Live. The last ${KEPT} are kept.` : `${why ?? "The stream was interrupted."} Trying again.`),
  });
  return { title: "Events", content: [el("div", { class: "choices" }, types, el("div", { class: "buttons" }, pause, clear)), status, log] };
}

/** Makes the line of an event: when, its type, and what to say. */
function describe({ event, data }) {
  let read;
  try {
    read = JSON.parse(data);
  } catch {
    return null;
  }
  const type = read.event ?? event;
  const told = { opened, closing, ended, open_failed: ended, reconnecting, dialer, drain, revocation, gap }[type];
  const [at, text, className] = told ? told(read) : [Date.now(), [data]];
  return { type, at, text, className };
}

function row({ type, at, text, className }) {
  return el(
    "li",
    {},
    el("time", { datetime: new Date(at).toISOString() }, clock(at)),
    el("span", { class: `badge ${className ?? ""}` }, type),
    el("span", { class: "text" }, text),
  );
}

const opened = ({ connection }) => [
  Date.parse(connection.opened_at),
  [
    connectionLink(connection.id),
    ` ${connection.direction} ${connection.peer ?? "a peer without an address"}`,
    connection.route && ` on ${connection.route}`,
    connection.dialer && ` of ${connection.dialer}`,
    connection.subject && `, ${connection.subject}`,
    connection.path && `, ${connection.path}`,
  ],
];

const closing = ({ id, state, cause, at }) => [Date.parse(at), [connectionLink(id), ` ${state}, cause ${cause}`]];

const ended = ({ ending }) => [
  Date.parse(ending.ended_at),
  [endingLink(ending.id), ` ${ending.open_failure ?? ending.kind}: ${ending.detail}`],
  faultClass(ending.fault),
];

const reconnecting = (read) => [
  Date.parse(read.next_try_at) - read.wait_ms,
  [`${read.dialer} dials again in ${lasting(read.wait_ms)}, after `, endingLink(read.ending.id), ` ${read.ending.kind}: ${read.ending.detail}`],
];

const dialer = (read) => [
  Date.parse(read.at),
  [`${read.dialer} ${read.change}`, read.connection && [" ", connectionLink(read.connection)], read.gap && `, after a gap of ${lasting(read.gap.ms)}`, read.why && `: ${read.why}`],
];

const drain = ({ drain: one }) => [
  Date.parse(one.started_at) + one.took_ms,
  [`${one.phase}: ${number(one.total - one.left)} of ${number(one.total)} closed, ${number(one.left)} left`],
];

const revocation = ({ change, at, revocation: one }) => [
  Date.parse(at),
  [`revocation ${one.number} ${change}: ${one.subject ? `subject ${one.subject}` : `token ${one.jti}`}${one.by ? ` by ${one.by}` : ""}`],
];

const MISSING = {
  expired: "the ledger has removed them",
  not_stored: "some types are only sent live",
  too_slow: "this page was too slow",
};

const gap = ({ missed, why }) => [
  Date.now(),
  [`${missed === null ? "Events" : count(missed, "event")} may be missing here: ${MISSING[why] ?? why ?? "unknown"}`],
];
