// Writes numbers, times and names as the command line does. Times are UTC.

import { el } from "./dom.js";

const NUMBERS = new Intl.NumberFormat("en-US");
const RATES = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

/** Writes a number: `12,345`. */
export const number = (value) => NUMBERS.format(value);

/** Writes a number per second: `0.4`, `1,250`. */
export const rate = (value) => (value >= 100 ? NUMBERS.format(Math.round(value)) : RATES.format(value));

/** Writes a number of things: `1 message`, `9 messages`. */
export const count = (value, thing) => `${number(value)} ${thing}${value === 1 ? "" : "s"}`;

/** Writes a share in whole percent; what is not nothing is at least `<1 %`. */
export function share(part, whole) {
  const percent = whole === 0 ? 0 : (100 * part) / whole;
  return part > 0 && percent < 1 ? "<1 %" : `${Math.round(percent)} %`;
}

/** Writes a number of bytes: `12 bytes`, `1.5 KiB`. */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} byte${bytes === 1 ? "" : "s"}`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1023.95 && unit + 1 < units.length) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(1).replace(/\.0$/, "")} ${units[unit]}`;
}

/** Writes a duration for a sentence: `80 ms`, `12.3 s`, `3 h 12 min`. */
export const lasting = (millis) => parts(millis, [" ms", " s", " min", " h", " d"], " ");

/** Writes a duration for a table: `80ms`, `12.3s`, `3h12m`. */
export const lastingShort = (millis) => parts(millis, ["ms", "s", "m", "h", "d"], "");

function parts(millis, [ms, s, min, h, d], gap) {
  const seconds = Math.floor(millis / 1000);
  const two = (large, largeUnit, small, smallUnit) =>
    small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${gap}${small}${smallUnit}`;
  if (seconds === 0) return `${Math.floor(millis)}${ms}`;
  if (seconds < 60) {
    const tenths = Math.floor((millis % 1000) / 100);
    return tenths === 0 ? `${seconds}${s}` : `${seconds}.${tenths}${s}`;
  }
  if (seconds < 3600) return two(Math.floor(seconds / 60), min, seconds % 60, s);
  if (seconds < 86400) return two(Math.floor(seconds / 3600), h, Math.floor((seconds % 3600) / 60), min);
  return two(Math.floor(seconds / 86400), d, Math.floor((seconds % 86400) / 3600), h);
}

/** Writes a time of the API to the millisecond: `2026-03-01 12:00:12.595 UTC`. */
export const utc = (time) => `${time.slice(0, 10)} ${time.slice(11, 23)} UTC`;

/** Writes the time of day: `12:00:12`. */
export const clock = (millis) => new Date(millis).toISOString().slice(11, 19);

/** Writes date and time to the second: `2026-03-01 12:00:12`. */
export const dateAndClock = (millis) => new Date(millis).toISOString().slice(0, 19).replace("T", " ");

/** Writes how long ago something was: `3 minutes ago`. */
export function ago(millis) {
  const seconds = Math.floor(millis / 1000);
  if (seconds < 1) return "just now";
  if (seconds < 60) return `${count(seconds, "second")} ago`;
  if (seconds < 3600) return `${count(Math.floor(seconds / 60), "minute")} ago`;
  if (seconds < 86400) return `${count(Math.floor(seconds / 3600), "hour")} ago`;
  return `${count(Math.floor(seconds / 86400), "day")} ago`;
}

/** Makes a time that shows date and time to the second, and the whole when it is pointed at. */
export const moment = (time) =>
  el("time", { datetime: time, title: utc(time) }, el("span", { class: "date" }, `${time.slice(0, 10)} `), time.slice(11, 19));

/** Makes a time that shows the time of day, and the whole when it is pointed at. */
export const timeOfDay = (time) => el("time", { datetime: time, title: utc(time) }, time.slice(11, 19));

/** Returns the last 12 digits of an id, by which people name it. */
export const shortId = (id) => id.slice(-12);

/** Makes the link to a connection. */
export const connectionLink = (id) =>
  el("a", { class: "id", href: `#/connections/${encodeURIComponent(id)}` }, shortId(id));

/** Makes the link to an ending. */
export const endingLink = (id) =>
  el("a", { class: "id", href: `#/endings/${encodeURIComponent(id)}` }, shortId(id));

/** The faults, in the order in which they are stacked. */
export const FAULTS = ["none", "operator", "peer", "network", "backend", "local"];

/** Makes a kind, coloured by whose deed the ending was. */
export function kind(ending) {
  const text = ending.open_failure ? `${ending.kind} (${ending.open_failure})` : ending.kind;
  return el("span", { class: `badge ${faultClass(ending.fault)}` }, text);
}

/** Returns the class of a fault. */
export const faultClass = (fault) => (FAULTS.includes(fault) ? `fault-${fault}` : "fault-local");

/** Makes a state, green where all is well. */
export const state = (word, well) =>
  el("span", { class: `badge ${well.includes(word) ? "well" : "unwell"}` }, word);

/** Writes what was carried: `10 messages (1 KiB)`. */
export const carried = (messages, bytes) => `${count(messages, "message")} (${size(bytes)})`;

/** Writes a Close frame of a record: `1000 "bye"`. */
export function closeFrame(frame) {
  if (!frame) return null;
  if (frame.code === null) return "empty";
  return frame.reason ? `${frame.code} "${frame.reason}"` : String(frame.code);
}
