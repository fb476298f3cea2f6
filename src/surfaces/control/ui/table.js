// A table whose rows are kept, so that focus and selection survive a refresh.

import { el, refresh, setText } from "./dom.js";

/**
 * A column is `{ title, cell, sort, order, number, rank }`: `cell` makes the content for a row; `sort`
 * the value to sort by; columns of a higher rank give way on narrow screens. Where the server sorts,
 * `order` is its name of the column, and the table is told the present order and how to change it.
 *
 * A row keeps one record while it is shown, updated in place, so that a button that is kept acts on
 * the present values.
 */
export class Table {
  #columns;
  #key;
  #rows = [];
  #shown = new Map();
  #body = el("tbody");
  #heads;
  #caption = el("caption");
  #empty;
  #sorted = null;
  #title;
  #order;

  constructor({ caption, columns, key, empty, order }) {
    this.#columns = columns;
    this.#title = caption;
    this.#order = order;
    this.#key = key;
    this.#heads = columns.map((column, index) => this.#head(column, index));
    const table = el("table", {}, this.#caption, el("thead", {}, el("tr", {}, this.#heads)), this.#body);
    this.#empty = el("p", { class: "empty", hidden: true }, empty);
    const scroll = el("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: 0 }, table);
    this.element = el("div", { class: "table" }, scroll, this.#empty);
    this.caption(caption);
  }

  caption(text) {
    setText(this.#caption, text);
  }

  /** Shows these rows. */
  update(rows) {
    this.#rows = rows;
    this.#empty.hidden = rows.length > 0;
    const shown = new Map();
    for (const row of this.#inOrder()) {
      const key = this.#key(row);
      const known = this.#shown.get(key) ?? this.#row();
      renew(known.record, row);
      this.#columns.forEach((column, index) => put(known.cells[index], column.cell(known.record)));
      shown.set(key, known);
    }
    for (const [key, { element }] of this.#shown) {
      if (!shown.has(key)) element.remove();
    }
    let before = this.#body.firstChild;
    for (const { element } of shown.values()) {
      if (element === before) {
        before = before.nextSibling;
      } else {
        this.#body.insertBefore(element, before);
      }
    }
    this.#shown = shown;
  }

  #row() {
    const cells = this.#columns.map((column) => el("td", { class: classOf(column) }));
    return { element: el("tr", {}, cells), cells, record: {} };
  }

  #head(column, index) {
    const properties = { scope: "col", class: classOf(column) };
    const pressed = () => (column.order ? this.#reorder(column) : this.#sort(index));
    if (!column.sort && !column.order) return el("th", properties, column.title);
    const id = column.order ? `sort-${column.order}` : null;
    const sort = el("button", { type: "button", class: "sort", id, click: pressed }, column.title);
    const now = column.order ? { [column.order]: 1, [`-${column.order}`]: -1 }[this.#order.now] ?? 0 : 0;
    const order = { 0: "none", 1: "ascending", "-1": "descending" }[column.reversed ? -now : now];
    return el("th", { ...properties, "aria-sort": order }, sort);
  }

  /** The largest first, then the smallest. */
  #reorder({ order, reversed }) {
    const [first, second] = reversed ? [order, `-${order}`] : [`-${order}`, order];
    this.#order.choose(this.#order.now === first ? second : first);
  }

  #sort(index) {
    const descending = this.#sorted?.index === index && !this.#sorted.descending;
    this.#sorted = { index, descending };
    this.caption(`${this.#title}; this page by ${this.#columns[index].title}`);
    this.#heads.forEach((head, at) => {
      if (!head.hasAttribute("aria-sort")) return;
      const order = descending ? "descending" : "ascending";
      head.setAttribute("aria-sort", at === index ? order : "none");
    });
    this.update(this.#rows);
  }

  #inOrder() {
    if (!this.#sorted) return this.#rows;
    const { index, descending } = this.#sorted;
    const value = this.#columns[index].sort;
    const compare = (a, b) => {
      const [left, right] = [value(a) ?? "", value(b) ?? ""];
      if (typeof left === "number" && typeof right === "number") return left - right;
      return String(left).localeCompare(String(right), "en", { numeric: true });
    };
    return this.#rows.toSorted((a, b) => (descending ? compare(b, a) : compare(a, b)));
  }
}

function classOf({ number, rank = 0, wide }) {
  const classes = [number && "number", rank > 0 && `rank-${rank}`, wide && "wide"].filter(Boolean);
  return classes.length > 0 ? classes.join(" ") : null;
}

function renew(record, fresh) {
  for (const name of Object.keys(record)) {
    if (!(name in fresh)) delete record[name];
  }
  Object.assign(record, fresh);
}

function put(cell, content) {
  const isMissing = content === null || content === undefined || content === false || content === "";
  refresh(cell, isMissing ? "–" : content);
  // What is cut off on the screen is shown when it is pointed at.
  if (cell.classList.contains("wide")) cell.title = cell.textContent;
}

/** A form of filters; `apply` gets those that are set. */
export function filters(fields, values, apply) {
  const inputs = fields.map(({ name, label, options, hint, size }) => {
    const id = `filter-${name}`;
    const input = options
      ? el("select", { id }, [["", "any"], ...options.map((word) => [word, word])].map(([word, shown]) => el("option", { value: word }, shown)))
      : el("input", { id, type: "text", placeholder: hint, size: size ?? 12, autocomplete: "off", spellcheck: "false" });
    input.value = values[name] ?? "";
    if (options) input.addEventListener("change", () => form.requestSubmit());
    return { name, input, row: el("div", { class: "filter" }, el("label", { for: id }, label), input) };
  });
  const submit = (event) => {
    event.preventDefault();
    const set = inputs.map(({ name, input }) => [name, input.value.trim()]).filter(([, value]) => value !== "");
    apply(Object.fromEntries(set));
  };
  const clear = el("button", { type: "button", id: "filter-clear", click: () => apply({}) }, "Clear");
  const form = el(
    "form",
    { class: "filters", "aria-label": "Filters", submit },
    inputs.map(({ row }) => row),
    el("div", { class: "filter buttons" }, el("button", { type: "submit", id: "filter-apply", class: "primary" }, "Filter"), clear),
  );
  // On a narrow screen they would hide the list.
  const isOpen = matchMedia("(min-width: 641px)").matches || fields.some(({ name }) => values[name]);
  return el("details", { class: "filter-box", open: isOpen }, el("summary", {}, "Filters"), form);
}

/** Links to the pages of a list that the server cuts. */
export class Pages {
  element = el("nav", { class: "pages", "aria-label": "Pages" });
  #link;

  /** `link` makes the link to the page with a cursor; without one, to the first page. */
  constructor(link) {
    this.#link = link;
  }

  update(cursor, next) {
    const links = [];
    if (cursor) links.push(el("a", { id: "page-first", href: this.#link(null) }, "First page"));
    if (next) links.push(el("a", { id: "page-next", href: this.#link(next), rel: "next" }, "Next page"));
    refresh(this.element, links);
  }
}
