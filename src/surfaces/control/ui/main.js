// Starts the page: signs in, follows the daemon's status, and shows the view that the address names.

import { Lost, Refused, get, hasToken, hooks, lastAnswer, sleep, tryToken } from "./api.js";
import * as applications from "./applications.js";
import * as connections from "./connections.js";
import * as dialers from "./dialers.js";
import { signIn } from "./dialogs.js";
import { button, el, fill, setText } from "./dom.js";
import * as endings from "./endings.js";
import * as events from "./events.js";
import { ago, clock } from "./formatting.js";
import * as overview from "./overview.js";

const VIEWS = { overview, connections, endings, applications, dialers, events };
const STATUS_EVERY = 2000;
const main = document.getElementById("main");

/** What the daemon last said of itself, and who is told of it. */
const status = {
  last: null,
  at: 0,
  rates: {},
  isLost: false,
  listeners: new Set(),
  /** Resolves when the daemon answers again. */
  restored: Promise.resolve(),
  refresh,
};

async function refresh() {
  const fresh = await get("/v1/status");
  const at = performance.now();
  const { last } = status;
  const isSame = last?.started_at === fresh.started_at;
  const seconds = (at - status.at) / 1000;
  if (isSame && seconds > 0.2) {
    const per = (now, before) => Math.max(0, now - before) / seconds;
    status.rates = {
      opened: per(fresh.accounting.opened, last.accounting.opened),
      ended: per(fresh.accounting.ended, last.accounting.ended),
      in: per(fresh.messages.in, last.messages.in),
      out: per(fresh.messages.out, last.messages.out),
    };
  } else if (!isSame) {
    status.rates = {};
  }
  const allowed = (one) => JSON.stringify(one?.caller);
  const isOther = last !== null && allowed(last) !== allowed(fresh);
  status.last = fresh;
  status.at = at;
  setText(document.getElementById("node"), fresh.node);
  setText(document.getElementById("version"), `lastword ${fresh.version}.`);
  showCaller(fresh.caller);
  // A token that may do other things than the last one: other things are offered.
  if (isOther) show();
  for (const told of status.listeners) told(fresh, status.rates);
}

function showCaller({ name, scope }) {
  const caller = document.getElementById("caller");
  const text = name === null ? "" : `${name} (${scope === "read" ? "may only read" : "may operate"})`;
  if (caller.dataset.shown === text) return;
  caller.dataset.shown = text;
  // What the page knows goes with it.
  const out = hasToken() && button("Sign out", () => location.reload(), { id: "sign-out" });
  fill(caller, el("span", {}, text), out);
}

let restore = () => {};

hooks.lost = () => {
  if (!status.isLost) {
    status.isLost = true;
    status.restored = new Promise((resolve) => (restore = resolve));
  }
  showLost();
};

hooks.reached = () => {
  if (!status.isLost) return;
  status.isLost = false;
  showLost();
  restore();
};

function showLost() {
  const notice = document.getElementById("lost");
  notice.hidden = !status.isLost;
  document.body.classList.toggle("stale", status.isLost);
  const since = lastAnswer === 0 ? "" : ` What you see is from ${clock(lastAnswer)} UTC.`;
  setText(document.getElementById("lost-text"), status.isLost ? `The daemon does not answer, and this page goes on trying.${since}` : "");
  setText(document.getElementById("lost-ago"), lastAnswer === 0 ? "" : `That was ${ago(Date.now() - lastAnswer)}.`);
}

let signingIn = null;

hooks.needToken = () => {
  const why = hasToken() ? "The token is no longer valid. Sign in again; the page stays as it is." : null;
  signingIn ??= signIn({ why, attempt: tryToken }).finally(() => (signingIn = null));
  return signingIn;
};

/** Follows the status: every two seconds, and more slowly while the daemon does not answer. */
async function watch() {
  let pause = 500;
  for (;;) {
    try {
      await refresh();
      clearProblem(status);
      pause = 500;
      await sleep(STATUS_EVERY);
    } catch (error) {
      if (!(error instanceof Lost || error instanceof Refused)) throw error;
      if (error instanceof Refused) showProblem(error, status);
      pause = Math.min(pause * 2, 8000);
      await sleep(pause);
      showLost();
    }
    await shown();
  }
}

/** Resolves once the page can be seen. */
function shown() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

let problemOf = null;

/** Shows why something is refused, until it no longer is. */
function showProblem(error, of) {
  const notice = document.getElementById("problem");
  setText(notice, error.message);
  notice.hidden = false;
  problemOf = of;
}

function clearProblem(of) {
  if (problemOf !== of) return;
  document.getElementById("problem").hidden = true;
  problemOf = null;
}

/** What a view may use. */
class Context {
  #controller = new AbortController();
  #first = [];
  #listeners = [];
  signal = this.#controller.signal;
  status = status;

  constructor(query) {
    this.query = query;
    this.operates = status.last.caller.scope === "operate";
    this.mayDial = status.last.caller.may_dial;
  }

  /**
   * Runs a task now and again, while the view is shown and the daemon answers. `error` is where to
   * tell why the API refuses it; without one, that is told at the top of the page.
   */
  every(millis, task, error) {
    this.#first.push(this.#repeat(millis, task, error));
  }

  async #repeat(millis, task, error) {
    await this.#try(task, error);
    (async () => {
      while (!this.signal.aborted) {
        await sleep(millis, this.signal);
        await status.restored;
        await shown();
        if (!this.signal.aborted) await this.#try(task, error);
      }
    })();
  }

  async #try(task, error) {
    try {
      await task();
      clearProblem(this);
      if (error) error.hidden = true;
    } catch (thrown) {
      if (this.signal.aborted || thrown instanceof Lost) return;
      if (error && thrown instanceof Refused) {
        fill(error, thrown.message);
        error.hidden = false;
      } else {
        showProblem(thrown, this);
      }
    }
  }

  /** Calls back with the status, now and when it changes. */
  onStatus(told) {
    this.#listeners.push(told);
    status.listeners.add(told);
    told(status.last, status.rates);
  }

  /** Resolves when the first of everything is there. */
  ready() {
    return Promise.all(this.#first);
  }

  /** Ends what is repeated; the view stays. */
  stop() {
    this.#controller.abort();
    for (const told of this.#listeners) status.listeners.delete(told);
  }

  href(path, query = {}) {
    const search = new URLSearchParams(query).toString();
    return `#${path}${search ? `?${search}` : ""}`;
  }

  go(path, query) {
    location.hash = this.href(path, query);
  }

  /** Goes there instead of here: Back leads past it. */
  replace(path, query) {
    location.replace(this.href(path, query));
  }
}

let context = null;
let shownPath = null;

/** Shows the view that the address names. */
async function show() {
  const [path, search = ""] = location.hash.replace(/^#/, "").split("?");
  const [, name = "", id = ""] = path.split("/");
  const view = VIEWS[name];
  if (!view || (id && !view.showOne)) {
    location.replace("#/overview");
    return;
  }
  const before = context;
  const next = new Context(Object.fromEntries(new URLSearchParams(search)));
  context = next;
  before?.stop();
  clearProblem(before);
  const { title, content, back } = id ? view.showOne(next, decode(id)) : view.show(next);
  // The view changes at once, or a moment later with its data, so that it does not flicker.
  await Promise.race([next.ready(), sleep(300)]);
  if (context !== next) return;
  const focused = document.activeElement?.id;
  const heading = el("h1", { tabindex: -1 }, title);
  fill(main, back && el("p", { class: "back" }, el("a", { href: back[0] }, `← ${back[1]}`)), heading, content);
  document.title = `${title} · ${status.last.node} · lastword`;
  for (const link of document.querySelectorAll("#views a")) {
    const isHere = link.getAttribute("href") === `#/${name}`;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const isOther = shownPath !== null && shownPath !== path;
  if (isOther) {
    heading.focus();
    window.scrollTo(0, 0);
  } else if (focused) {
    document.getElementById(focused)?.focus();
  }
  shownPath = path;
}

function decode(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

async function start() {
  document.getElementById("skip").addEventListener("click", (event) => {
    // The address names the view, so the link must not change it.
    event.preventDefault();
    main.focus();
  });
  while (status.last === null) {
    try {
      await refresh();
    } catch (error) {
      if (error instanceof Refused) showProblem(error, status);
      await sleep(1000);
    }
  }
  window.addEventListener("hashchange", show);
  clearProblem(status);
  await show();
  // Rates need two looks.
  await sleep(STATUS_EVERY / 2);
  await watch();
}

start();
