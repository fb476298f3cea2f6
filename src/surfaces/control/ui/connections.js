// Open connections: the list, and one of them.

import { Refused, change, get } from "./api.js";
import { ask } from "./dialogs.js";
import { button, el, fill, pairs, panel, refresh, say, setText } from "./dom.js";
import { whole } from "./draining.js";
import { carried, connectionLink, count, lasting, lastingShort, moment, number, shortId, size, state, utc } from "./formatting.js";
import { explanation, origin } from "./records.js";
import { Pages, Table, filters } from "./table.js";

const STATES = ["open", "close_sent", "close_received", "closed"];
const LIMIT = 100;

const FILTERS = [
  { name: "route", label: "Route" },
  { name: "state", label: "State", options: STATES },
  { name: "direction", label: "Direction", options: ["inbound", "outbound"] },
  { name: "subject", label: "Subject" },
  { name: "peer", label: "Peer", hint: "address", size: 16 },
  { name: "path", label: "Path", hint: "as recorded", size: 16 },
  { name: "tag", label: "Tag", hint: "name:value" },
];

const COLUMNS = [
  { title: "Id", cell: ({ id }) => connectionLink(id) },
  { title: "State", cell: (one) => state(one.state, ["open"]) },
  { title: "Direction", cell: (one) => one.direction.replace("bound", ""), rank: 3 },
  { title: "Route", cell: (one) => one.route ?? one.dialer, rank: 1 },
  { title: "Peer", cell: (one) => one.peer },
  { title: "Subject", cell: (one) => one.subject, rank: 2 },
  // The oldest has been open for longest.
  { title: "Open for", cell: (one) => lastingShort(one.open_ms), order: "opened_at", reversed: true, number: true },
  { title: "Idle", cell: (one) => one.last_activity_ms !== null && lastingShort(one.last_activity_ms), order: "last_activity_ms", number: true, rank: 2 },
  { title: "In", cell: (one) => number(one.messages_in), order: "messages_in", number: true, rank: 2 },
  { title: "Out", cell: (one) => number(one.messages_out), order: "messages_out", number: true, rank: 2 },
  { title: "Queued", cell: queued, order: "queued_bytes", number: true, rank: 1 },
];

function queued(one) {
  return one.queued_messages === 0 ? "0" : `${number(one.queued_messages)} (${size(one.queued_bytes)})`;
}

/** Shows the list. */
export function show(context) {
  const { cursor, sort = "opened_at", ...set } = context.query;
  const isSelected = Object.keys(set).length > 0;
  const table = new Table({
    caption: sort === "opened_at" ? "Open connections, oldest first" : `Open connections, the first ${LIMIT} in this order`,
    columns: COLUMNS,
    key: ({ id }) => id,
    empty: isSelected ? "No open connection is like this." : "No connection is open.",
    order: { now: sort, choose: (order) => context.go("/connections", { ...set, sort: order }) },
  });
  const order = sort === "opened_at" ? {} : { sort };
  const pages = new Pages((next) => context.href("/connections", { ...set, ...order, ...(next && { cursor: next }) }));
  const form = filters(FILTERS, set, (chosen) => context.go("/connections", { ...chosen, ...(set.search && { search: set.search }), ...order }));
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const shown = el("p", { class: "quiet" });
  // Told once: it changes all the time.
  let isTold = !isSelected;
  const load = async () => {
    const query = new URLSearchParams({ ...context.query, limit: LIMIT });
    const page = await get(`/v1/connections?${query}`, context.signal);
    table.update(page.connections);
    pages.update(cursor, page.next);
    const found = isSelected ? `${count(page.total, "connection")} of ${number(context.status.last.accounting.open)} like this.` : `${count(page.total, "connection")} open.`;
    setText(shown, found);
    if (!isTold) say(found);
    isTold = true;
  };
  context.every(5000, load, error);
  return { title: "Connections", content: [find(context, set), form, error, shown, table.element, pages.element] };
}

/** A field that opens one connection by its id, or its ending, or searches in all names. */
function find(context, set) {
  const id = "find";
  const field = el("input", { id, type: "search", size: 28, autocomplete: "off", spellcheck: "false", placeholder: "id, address, subject, path…" });
  field.value = set.search ?? "";
  const submit = (event) => {
    event.preventDefault();
    const text = field.value.trim();
    const isId = /^[0-9a-f]{12}$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);
    const { search, ...others } = set;
    if (isId) context.go(`/connections/${text}`);
    else context.go("/connections", text === "" ? others : { ...others, search: text });
  };
  return el(
    "form",
    { class: "find", role: "search", submit },
    el("label", { for: id }, "Search"),
    field,
    el("button", { type: "submit", id: "find-go" }, "Search"),
  );
}

/** Shows one connection, and what may be done with it. */
export function showOne(context, id) {
  const path = `/v1/connections/${encodeURIComponent(id)}`;
  const details = el("div", { class: "details" });
  const said = el("div", { class: "panel explanation" });
  const gone = el("div", { class: "notice", role: "status", hidden: true });
  let connection = null;
  const toEnding = (ending) => context.go(`/endings/${ending.id}`);
  const actions = el("div", { class: "buttons" });
  if (context.operates) {
    fill(
      actions,
      button("Send text…", () => send(connection), { id: "send" }),
      button("Close…", () => close(connection).then((ending) => ending && toEnding(ending)), { id: "close" }),
      button("Abort…", () => abort(connection).then((ending) => ending && toEnding(ending)), { id: "abort", class: "danger" }),
    );
  }
  context.every(2000, async () => {
    try {
      connection = await get(`${path}?explain=true`, context.signal);
      refresh(details, describe(connection));
      refresh(said, explanation(connection.explanation));
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      actions.remove();
      if (refused.status === 404) {
        const ending = await get(`/v1/endings/${encodeURIComponent(id)}`, context.signal).catch(() => null);
        if (ending && connection === null) return context.replace(`/endings/${ending.id}`);
        fill(gone, ending ? ["It has ended: ", ending.detail, ". ", el("a", { href: `#/endings/${ending.id}` }, "Why it ended")] : refused.message);
      } else {
        fill(gone, refused.message);
      }
      gone.hidden = false;
      context.stop();
    }
    return undefined;
  });
  return {
    title: `Connection ${shortId(id)}`,
    back: ["#/connections", "Connections"],
    content: [gone, actions, said, panel("What is known", details)],
  };
}

function describe(one) {
  const waiting = one.queued_messages > 0 && one.oldest_queued_ms !== null ? `, the oldest for ${lasting(one.oldest_queued_ms)}` : "";
  return pairs([
    ["id", one.id],
    ["state", state(one.state, ["open"])],
    ["opened", moment(one.opened_at)],
    ["expires", one.expires_at && moment(one.expires_at)],
    ["open for", lasting(one.open_ms)],
    ...origin(one),
    ["received", carried(one.messages_in, one.bytes_in)],
    ["sent", carried(one.messages_out, one.bytes_out)],
    ["queued", carried(one.queued_messages, one.queued_bytes) + waiting],
    ["discarded", count(one.discarded_messages, "message")],
    ["last message", one.last_activity_ms === null ? "none so far" : `${lasting(one.last_activity_ms)} ago`],
    ["last ping", one.ping_rtt_ms === null ? "none answered so far" : `${one.ping_rtt_ms} ms`],
    ["node", `${one.node} (lastword ${one.version})`],
  ]);
}

/** Names a connection in a question. */
function named(one) {
  const where = one.route ? ` on ${one.route}` : one.dialer ? ` of ${one.dialer}` : "";
  const who = one.subject ? `, ${one.subject}` : "";
  return `${shortId(one.id)}: ${one.peer ?? "a peer without an address"}${who}${where}, open since ${utc(one.opened_at)}.`;
}

function send(one) {
  return ask({
    title: `Send a text message to ${shortId(one.id)}`,
    text: [named(one)],
    fields: [{ name: "text", label: "Text", type: "textarea" }],
    confirm: "Send",
    act: async ({ text }) => {
      await change("POST", `/v1/connections/${one.id}/messages`, { text });
      say(`The message to ${shortId(one.id)} is queued.`);
    },
  });
}

function close(one) {
  return ask({
    title: `Close ${shortId(one.id)}`,
    text: [named(one), "Its ending is awaited, at most for close.timeout."],
    fields: [
      { name: "code", label: "Close code", value: "1000", required: true, hint: "1000 to 1003, 1007 to 1014, or 3000 to 4999" },
      { name: "reason", label: "Reason", hint: "At most 123 bytes; the peer sees it." },
    ],
    confirm: "Close the connection",
    danger: true,
    act: ({ code, reason }) => end(one, change("POST", `/v1/connections/${one.id}/close`, { code: whole("The close code", code), reason })),
  });
}

function abort(one) {
  return ask({
    title: `Abort ${shortId(one.id)}`,
    text: [named(one), "No Close is sent, and TCP is reset. What is queued is lost."],
    confirm: "Abort the connection",
    danger: true,
    act: () => end(one, change("DELETE", `/v1/connections/${one.id}`)),
  });
}

/** Returns the ending, or null while it is not recorded yet. */
async function end(one, asked) {
  const answer = await asked;
  if (answer.kind === undefined) {
    say(`${shortId(one.id)} is closing (${answer.state}).`);
    return null;
  }
  say(`${shortId(one.id)} has ended: ${answer.detail}`);
  return answer;
}
