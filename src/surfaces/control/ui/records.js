// What records of connections and of endings have in common.

import { el } from "./dom.js";
import { lasting } from "./formatting.js";

/** What is known from the opening handshake of a connection. */
export function origin(one) {
  const tags = Object.entries(one.tags ?? {}).map(([name, value]) => `${name}:${value}`);
  return [
    ["direction", one.direction],
    ["listener", one.listener],
    ["dialer", one.dialer],
    ["route", one.route],
    ["backend", one.backend],
    ["peer", one.peer],
    ["via", one.via],
    ["local address", one.local_addr],
    ["tls", one.tls],
    ["host", one.host],
    ["path", one.path],
    ["subprotocol", one.subprotocol],
    ["user agent", one.user_agent],
    ["traceparent", one.traceparent],
    ["subject", one.subject],
    ["tags", tags.join(", ")],
    ["upstream", one.upstream && answered(one.upstream)],
  ];
}

/** Describes an application and its answer. Records of older versions lack some of it. */
function answered({ url, addr, connect_ms: connect, status }) {
  return [
    url,
    addr && `at ${addr}`,
    connect != null && `connected in ${lasting(connect)}`,
    status != null && `answered ${status}`,
  ]
    .filter(Boolean)
    .join(", ");
}

/** Makes what the daemon tells about an ending or a connection, in its own words. */
export function explanation(told) {
  return [
    el("p", { class: "headline" }, told.headline),
    el("dl", { class: "story" }, told.paragraphs.map(({ topic, text }) => el("div", {}, el("dt", {}, topic), el("dd", {}, text)))),
  ];
}
