// Asks the control API. The token lives in a variable of this module and nowhere else.

let token = null;

/** The daemon did not answer. */
export class Lost extends Error {}

/** The API refused; `message` is the problem's own detail. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the API answered ${status}`);
    this.status = status;
    this.problem = problem;
    this.word = String(problem.type || "").replace("urn:lastword:", "");
  }
}

/** What happens around requests; `main.js` sets both. */
export const hooks = {
  /** A token is needed, or the one in use is no longer valid; resolves once one is. */
  needToken: () => Promise.reject(new Error("no token")),
  /** Something came from the daemon, or nothing does. */
  reached: () => {},
  lost: () => {},
};

/** When the last answer came, in milliseconds since 1970. */
export let lastAnswer = 0;

/** Returns whether a token is in use. */
export const hasToken = () => token !== null;

/** Tries a token, and keeps it if the API takes it. */
export async function tryToken(candidate) {
  await ask("GET", "/v1/status", undefined, undefined, candidate);
  token = candidate;
}

/** Gets a record. If a token is needed, waits for one. */
export async function get(path, signal) {
  for (;;) {
    try {
      return await ask("GET", path, undefined, signal, token);
    } catch (error) {
      if (!(error instanceof Refused && error.word === "unauthorized")) throw error;
      await hooks.needToken(error);
    }
  }
}

/** Asks for a change, once. */
export async function change(method, path, body) {
  try {
    return await ask(method, path, body, undefined, token);
  } catch (error) {
    if (error instanceof Refused && error.word === "unauthorized") {
      hooks.needToken(error).catch(() => {});
      throw new Error("Nothing was changed, because the token is no longer valid. Sign in and try again.");
    }
    throw error;
  }
}

/** How long an answer may take: a close waits for its handshake. */
const PATIENCE = 60_000;

async function ask(method, path, body, signal, secret) {
  const response = await send(method, path, body, signal, secret, AbortSignal.timeout(PATIENCE));
  try {
    return await response.json();
  } catch (error) {
    throw signal?.aborted ? error : gone();
  }
}

async function send(method, path, body, signal, secret, timeout) {
  const headers = {};
  if (secret !== null) headers.Authorization = `Bearer ${secret}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw gone();
  }
  lastAnswer = Date.now();
  hooks.reached();
  if (response.ok) return response;
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // A proxy in front answered with a page of its own.
  }
  if (!problem.type && [502, 503, 504].includes(response.status)) throw gone();
  throw new Refused(response.status, problem);
}

function gone() {
  hooks.lost();
  return new Lost("The daemon does not answer.");
}

/** How long a stream may be silent: the daemon sends a comment every 15 s. */
const SILENCE = 40_000;

/**
 * Follows events until the signal is aborted: calls `event` with each, and `news` with what happens
 * to the stream. EventSource cannot send a token, so this reads the stream itself.
 */
export async function follow({ lastId, event, news, signal }) {
  let pause = 1000;
  while (!signal.aborted) {
    const silence = new AbortController();
    let timer;
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE);
    };
    try {
      wait();
      const response = await stream("/v1/events", lastId, AbortSignal.any([signal, silence.signal]));
      news("live");
      pause = 1000;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new Parser();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        wait();
        for (const read of parser.read(value)) {
          if (read.id !== undefined) lastId = read.id;
          if (read.data !== undefined) event(read);
        }
      }
      news("lost");
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof Refused && error.word === "unauthorized") {
        await hooks.needToken(error);
        continue;
      }
      news("lost", error instanceof Refused ? error.message : undefined);
    } finally {
      clearTimeout(timer);
    }
    await sleep(pause, signal);
    pause = Math.min(pause * 2, 10_000);
  }
}

async function stream(path, lastId, signal) {
  const headers = {};
  if (lastId !== undefined) headers["Last-Event-ID"] = lastId;
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { headers, cache: "no-store", redirect: "error", signal });
  if (response.ok) return response;
  throw new Refused(response.status, await response.json().catch(() => ({})));
}

/** Cuts a stream of Server-Sent Events into events. */
export class Parser {
  rest = "";
  fields = {};

  /** Returns the events that this part completes. */
  read(text) {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    const events = [];
    for (const line of lines) {
      if (line === "") {
        if (this.fields.data !== undefined || this.fields.id !== undefined) events.push(this.fields);
        this.fields = {};
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "data" && this.fields.data !== undefined) {
        this.fields.data += `\n${value}`;
      } else if (["data", "event", "id"].includes(field)) {
        this.fields[field] = value;
      }
    }
    return events;
  }
}

/** Waits, or until the signal is aborted. */
export function sleep(millis, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, millis);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
