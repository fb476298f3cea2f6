// Endings: the list, and why one of them was.

import { Refused, get } from "./api.js";
import { el, fill, pairs, panel } from "./dom.js";
import { FAULTS, ago, carried, closeFrame, connectionLink, count, endingLink, kind, lasting, lastingShort, moment, number, shortId } from "./formatting.js";
import { explanation, origin } from "./records.js";
import { Pages, Table, filters } from "./table.js";

const KINDS = [
  "clean", "closed_prematurely", "connection_reset", "path_lost", "tls_truncated", "transport_error",
  "close_timeout", "pong_timeout", "protocol_violation", "invalid_payload", "message_too_big",
  "slow_consumer", "backend_failed", "actor_failed", "aborted", "drain_deadline", "process_died",
  "open_failed",
];
const CAUSES = [
  "peer", "api", "embedder", "drain", "idle_timeout", "max_age", "backend", "relay_peer",
  "rate_limited", "auth_expired", "replaced", "revoked", "slow_consumer", "keepalive", "violation",
  "stale", "rotated", "none",
];
const LIMIT = 100;

const FILTERS = [
  { name: "since", label: "Since", hint: "1h, or a time", size: 14 },
  { name: "until", label: "Until", hint: "10m, or a time", size: 14 },
  { name: "kind", label: "Kind", options: KINDS },
  { name: "fault", label: "Fault", options: FAULTS },
  { name: "cause", label: "Cause", options: CAUSES },
  { name: "code", label: "Code", size: 5 },
  { name: "route", label: "Route" },
  { name: "subject", label: "Subject" },
  { name: "peer", label: "Peer", hint: "address", size: 16 },
  { name: "path", label: "Path", hint: "as recorded", size: 16 },
];

const COLUMNS = [
  { title: "Id", cell: ({ id }) => endingLink(id) },
  { title: "Ended", cell: (one) => moment(one.ended_at), sort: (one) => one.ended_at },
  { title: "Kind", cell: kind, sort: (one) => one.kind },
  { title: "Code", cell: (one) => one.close_code, sort: (one) => one.close_code, number: true, rank: 1 },
  { title: "Fault", cell: (one) => one.fault, sort: (one) => one.fault, rank: 2 },
  { title: "Lived", cell: (one) => lastingShort(one.open_ms), sort: (one) => one.open_ms, number: true, rank: 2 },
  { title: "Route", cell: (one) => one.route ?? one.dialer, sort: (one) => one.route ?? one.dialer, rank: 2 },
  { title: "Peer", cell: (one) => one.peer, sort: (one) => one.peer, rank: 1 },
  { title: "Subject", cell: (one) => one.subject, sort: (one) => one.subject, rank: 3 },
  { title: "Detail", cell: (one) => one.detail, wide: true, rank: 1 },
];

/** Shows the list. */
export function show(context) {
  const { cursor, ...set } = context.query;
  const table = new Table({
    caption: "Endings, newest first",
    columns: COLUMNS,
    key: ({ id }) => id,
    empty: Object.keys(set).length > 0 ? "No ending is like this." : "Nothing has ended yet.",
  });
  const pages = new Pages((next) => context.href("/endings", next ? { ...set, cursor: next } : set));
  const form = filters(FILTERS, set, (chosen) => context.go("/endings", chosen));
  const error = el("p", { class: "error", role: "alert", hidden: true });
  // A page further on does not change.
  const every = cursor ? 60_000 : 5000;
  const load = async () => {
    const query = new URLSearchParams({ ...context.query, limit: LIMIT });
    const page = await get(`/v1/endings?${query}`, context.signal);
    table.update(page.endings);
    pages.update(cursor, page.next);
  };
  context.every(every, load, error);
  return { title: "Endings", content: [form, error, table.element, pages.element] };
}

/** Shows one ending. */
export function showOne(context, id) {
  const body = el("div", { class: "stack" });
  context.every(60_000, async () => {
    try {
      const ending = await get(`/v1/endings/${encodeURIComponent(id)}?explain=true`, context.signal);
      fill(body, describe(ending));
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      fill(body, el("p", { class: "notice" }, refused.message));
    }
    context.stop();
  });
  return { title: `Ending ${shortId(id)}`, back: ["#/endings", "Endings"], content: [body] };
}

function describe(one) {
  const { explanation: told, ...record } = one;
  return [
    el("p", { class: "quiet" }, kind(one), " · ended ", moment(one.ended_at), ` (${ago(Date.now() - Date.parse(one.ended_at))})`),
    el("div", { class: "panel explanation" }, explanation(told)),
    panel("The record", pairs(facts(one))),
    el("details", { class: "panel" }, el("summary", {}, "The record as JSON"), el("pre", { tabindex: 0 }, pretty(record))),
  ];
}

/** Writes a record line by line, since a line break in a text would be written out. */
const pretty = (record) => JSON.stringify(record, null, 2).split("\n").map((line) => [line, el("br")]);

function facts(one) {
  const { retry_after_ms: wait, limit, tcp } = one;
  const has = (value, write) => (value === null || value === undefined ? null : write(value));
  return [
    ["id", one.id],
    ["kind", kind(one)],
    ["detail", one.detail],
    ["fault", one.fault],
    ["cause", one.cause],
    ["by", one.by],
    ["first Close", one.first_close],
    ["state", one.state],
    ["Close sent", closeFrame(one.close_sent)],
    ["Close received", closeFrame(one.close_received)],
    ["close code", one.close_code],
    ["TCP ended by", one.transport_end],
    ["closing handshake", has(one.handshake_ms, lasting)],
    ["reconnect", one.retry + (wait ? `, after ${lasting(wait[0])} to ${lasting(wait[1])}` : "")],
    ["limit", limit && `${limit.name}: ${limit.limit}, observed ${limit.observed}`],
    ["opened", has(one.opened_at, moment)],
    ["ended", moment(one.ended_at)],
    ["open for", lasting(one.open_ms)],
    ...origin(one),
    ["other leg of the relay", has(one.relay_peer, connectionLink)],
    ["received", has(one.messages_in, () => carried(one.messages_in, one.bytes_in))],
    ["sent", has(one.messages_out, () => carried(one.messages_out, one.bytes_out))],
    ["undelivered", has(one.undelivered_messages, () => carried(one.undelivered_messages, one.undelivered_bytes))],
    ["discarded", has(one.discarded_messages, (messages) => count(messages, "message"))],
    ["oldest queued", has(one.oldest_queued_ms, lasting)],
    ["last message", has(one.last_activity_ms, (millis) => `${lasting(millis)} before the end`)],
    ["last ping", has(one.ping_rtt_ms, (millis) => `${millis} ms`)],
    ["TCP", tcp && `${count(tcp.retransmits ?? 0, "retransmit")}, ${number(tcp.unacked_bytes ?? 0)} bytes not acknowledged, round trip ${number(tcp.rtt_us ?? 0)} µs`],
    ["node", `${one.node} (lastword ${one.version})`],
  ];
}
