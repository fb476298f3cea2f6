// Endings over time: a bar for each slot, stacked by value, drawn as SVG, with the same as a table.

import { button, el, fill, setText } from "./dom.js";
import { FAULTS, clock, count, dateAndClock, faultClass, number, share } from "./formatting.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 220;
const LEFT = 48;
const BOTTOM = 24;
const TOP = 8;
const MINUTE = 60_000;
const DAY = 1440 * MINUTE;

/** The distances between labels of the time axis. */
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880].map((minutes) => minutes * MINUTE);

/** How many values have a colour of their own, unless they are faults. */
const SERIES = 7;

function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** Divides counts into the series that are drawn, from the bottom up. */
export function series(overTime, by) {
  const values = overTime.values.map(({ value, counts }) => ({
    value,
    counts,
    total: counts.reduce((sum, one) => sum + one, 0),
  }));
  if (by === "fault") {
    const place = ({ value }) => (FAULTS.includes(value) ? FAULTS.indexOf(value) : FAULTS.length);
    return values
      .toSorted((a, b) => place(a) - place(b))
      .map((one) => ({ ...one, className: faultClass(one.value) }));
  }
  const own = values.slice(0, SERIES).map((one, index) => ({ ...one, className: `series-${index}` }));
  const rest = values.slice(SERIES);
  if (rest.length > 0) {
    const counts = rest[0].counts.map((_, slot) => rest.reduce((sum, one) => sum + one.counts[slot], 0));
    const total = rest.reduce((sum, one) => sum + one.total, 0);
    own.push({ value: count(rest.length, "other"), counts, total, className: "series-rest", isRest: true });
  }
  return own;
}

export class Chart {
  #drawing = el("div", { class: "drawing" });
  #readout = el("p", { class: "readout" });
  #legend = el("ul", { class: "legend" });
  #rows = el("div", { class: "scroll", role: "region", "aria-label": "Counts as a table", tabindex: 0 });
  #open;
  #data = null;

  /** `endingsAt` is told the slot that is clicked; `link` makes the target of a value's entry. */
  constructor({ endingsAt, link }) {
    this.endingsAt = endingsAt;
    this.link = link;
    this.#open = el("details", { toggle: () => this.#table() }, el("summary", {}, "The counts as a table"), this.#rows);
    this.element = el("figure", { class: "chart" }, this.#drawing, this.#readout, this.#legend, this.#open);
    new ResizeObserver(() => this.#draw()).observe(this.#drawing);
  }

  /** Shows the answer of a summary. */
  update(summary, by, range) {
    const { since, step_ms: step } = summary.over_time;
    const slots = summary.over_time.values[0]?.counts.length ?? 0;
    const all = series(summary.over_time, by);
    const sums = Array.from({ length: slots }, (_, slot) => all.reduce((sum, one) => sum + one.counts[slot], 0));
    this.#data = {
      all,
      sums,
      step,
      by,
      range,
      since: Date.parse(since),
      until: Date.parse(summary.over_time.until),
      total: summary.total,
    };
    setText(this.#readout, this.#summary());
    fill(this.#legend, all.map((one) => this.#entry(one)));
    this.#draw();
    this.#table();
  }

  #summary() {
    const { all, total, range, sums, since, step } = this.#data;
    if (total === 0) return `No endings in the last ${range}.`;
    const most = Math.max(...sums);
    const at = since + sums.indexOf(most) * step;
    const shares = all
      .toSorted((a, b) => b.total - a.total)
      .slice(0, 3)
      .map((one) => `${one.value} ${share(one.total, total)}`);
    return `${count(total, "ending")} in the last ${range}: ${shares.join(", ")}. The most, ${number(most)}, from ${this.#time(at)} to ${this.#time(at + step)}.`;
  }

  #entry(one) {
    const { by, total } = this.#data;
    const href = one.isRest ? null : this.link(by, one.value);
    const name = href ? el("a", { href }, one.value) : el("span", {}, one.value);
    const key = el("span", { class: `key ${one.className}` });
    const counted = el("span", { class: "number" }, `${number(one.total)} · ${share(one.total, total)}`);
    return el("li", {}, key, name, counted);
  }

  #time(millis) {
    return this.#data.step >= 60 * MINUTE ? dateAndClock(millis).slice(0, 16) : clock(millis);
  }

  #draw() {
    const width = Math.floor(this.#drawing.clientWidth);
    if (!this.#data || width < 60) return;
    const { all, sums, since, step, until } = this.#data;
    const slots = Math.max(sums.length, 1);
    const [plotWidth, plotHeight] = [width - LEFT - 4, HEIGHT - TOP - BOTTOM];
    const scale = nice(Math.max(1, ...sums));
    const x = (slot) => LEFT + (slot * plotWidth) / slots;
    const y = (value) => TOP + plotHeight * (1 - value / scale.top);
    const image = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
    image.setAttribute("aria-label", this.#readout.textContent);
    for (let value = 0; value <= scale.top; value += scale.step) {
      const at = Math.round(y(value)) + 0.5;
      image.append(svg("line", { class: value === 0 ? "axis" : "grid", x1: LEFT, x2: width - 4, y1: at, y2: at }));
      image.append(svg("text", { x: LEFT - 8, y: at + 4, class: "tick end" }, number(value)));
    }
    const distance = TICKS.find((ticks) => ((until - since) / ticks) * 72 <= plotWidth) ?? 7 * DAY;
    for (let at = Math.ceil(since / distance) * distance; at < until; at += distance) {
      const left = LEFT + ((at - since) / (step * slots)) * plotWidth;
      if (left > width - 30) break;
      const text = distance >= DAY ? dateAndClock(at).slice(5, 10) : clock(at).slice(0, 5);
      image.append(svg("line", { class: "axis", x1: left, x2: left, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }));
      image.append(svg("text", { x: left, y: HEIGHT - 6, class: "tick middle" }, text));
    }
    const gap = plotWidth / slots > 5 ? 1 : 0;
    sums.forEach((sum, slot) => {
      let below = 0;
      for (const one of all) {
        const value = one.counts[slot];
        if (value === 0) continue;
        const top = y(below + value);
        const [height, barWidth] = [Math.max(y(below) - top, 0.5), Math.max(plotWidth / slots - gap, 1)];
        image.append(svg("rect", { class: one.className, x: x(slot), y: top, width: barWidth, height }));
        below += value;
      }
      if (sum > 0) image.append(this.#target(slot, x(slot), plotWidth / slots, plotHeight));
    });
    this.#drawing.replaceChildren(image);
  }

  /** An invisible bar of full height, easier to point at than what is drawn. */
  #target(slot, left, width, height) {
    const target = svg("rect", { class: "target", x: left, y: TOP, width, height });
    target.addEventListener("pointerenter", () => setText(this.#readout, this.#slot(slot)));
    target.addEventListener("pointerleave", () => setText(this.#readout, this.#summary()));
    target.addEventListener("click", () => this.endingsAt(...this.#bounds(slot)));
    return target;
  }

  #bounds(slot) {
    const since = this.#data.since + slot * this.#data.step;
    return [since, since + this.#data.step];
  }

  #slot(slot) {
    const [since, until] = this.#bounds(slot);
    const parts = this.#data.all.filter((one) => one.counts[slot] > 0).map((one) => `${one.value} ${number(one.counts[slot])}`);
    return `${this.#time(since)} to ${this.#time(until)}: ${count(this.#data.sums[slot], "ending")}: ${parts.join(", ")}`;
  }

  #table() {
    if (!this.#open.open || !this.#data) return;
    const { all, sums } = this.#data;
    const rows = sums.map((sum, slot) => ({ sum, slot })).filter(({ sum }) => sum > 0).reverse();
    const heads = ["From (UTC)", "Endings", ...all.map((one) => one.value)];
    const row = ({ sum, slot }) => {
      const [since, until] = this.#bounds(slot);
      const show = button(this.#time(since), () => this.endingsAt(since, until), { class: "link" });
      const counts = all.map((one) => el("td", { class: "number" }, number(one.counts[slot])));
      return el("tr", {}, el("th", { scope: "row" }, show), el("td", { class: "number" }, number(sum)), counts);
    };
    fill(
      this.#rows,
      el(
        "table",
        {},
        el("caption", {}, "Newest first; without times in which nothing ended"),
        el("thead", {}, el("tr", {}, heads.map((head, index) => el("th", { scope: "col", class: index > 0 && "number" }, head)))),
        el("tbody", {}, rows.map(row)),
      ),
    );
  }
}

/** Returns the top of an axis that holds this much, and the distance of its lines. */
function nice(most) {
  const magnitude = 10 ** Math.floor(Math.log10(most / 4));
  const step = Math.max(1, [1, 2, 5, 10].map((factor) => factor * magnitude).find((one) => one * 4 >= most));
  return { step, top: Math.ceil(most / step) * step };
}
