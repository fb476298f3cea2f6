// Builds elements. Text goes in as text, and characters that cannot be seen are written out.

// Controls, line separators, marks of direction and invisible characters: the daemon's own list.
const UNPRINTABLE =
  /[\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** Returns a text whose invisible characters are written as `\u{…}`. */
export function visible(text) {
  return String(text).replace(UNPRINTABLE, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

/**
 * Makes an element. A property that is a function handles the event of that name; `true` sets an
 * attribute without a value; null, undefined and false leave it out.
 */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === "function") {
      element.addEventListener(key, value);
    } else if (value === true) {
      element.setAttribute(key, "");
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(key, visible(value));
    }
  }
  fill(element, ...children);
  return element;
}

/** Replaces the children of an element. */
export function fill(element, ...children) {
  const nodes = children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (child instanceof Node ? child : visible(child)));
  element.replaceChildren(...nodes);
}

/**
 * Brings the children of an element up to date and keeps those that are the same, so that what is
 * selected or has the focus stays so. An element that is kept keeps its handlers, too: they must not
 * hold what changes.
 */
export function refresh(element, ...children) {
  const wanted = el("div", {}, ...children);
  bring(element, [...wanted.childNodes]);
}

function bring(element, nodes) {
  nodes.forEach((fresh, index) => {
    const shown = element.childNodes[index];
    if (!shown) {
      element.append(fresh);
    } else if (!shown.isEqualNode(fresh)) {
      const isLike = shown.cloneNode().isEqualNode(fresh.cloneNode());
      if (isLike && shown.childElementCount > 0 && fresh.childElementCount > 0) bring(shown, [...fresh.childNodes]);
      else shown.replaceWith(fresh);
    }
  });
  while (element.childNodes.length > nodes.length) element.lastChild.remove();
}

/** Replaces the text of an element if it differs, so that it is announced and selected once. */
export function setText(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown;
}

/** Shows a short text at the foot of the page, where it is announced, for some seconds. */
export function say(text) {
  const said = document.getElementById("said");
  setText(said, text);
  clearTimeout(say.timer);
  say.timer = setTimeout(() => setText(said, ""), 10_000);
}

/** Makes a list of names and values; pairs without a value are left out. */
export function pairs(list) {
  const shown = list.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el(
    "dl",
    { class: "pairs" },
    shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

/** Makes a button. */
export function button(text, click, properties = {}) {
  return el("button", { type: "button", click, ...properties }, text);
}

/** Makes the panel of a section, with its heading. */
export function panel(title, ...children) {
  return el("section", { class: "panel" }, el("h2", {}, title), children);
}
