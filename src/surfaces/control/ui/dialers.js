// Dialers: their state, pause, resume and rotate.

import { change, get } from "./api.js";
import { ask } from "./dialogs.js";
import { button, el, say } from "./dom.js";
import { connectionLink, endingLink, number, shortId, state, timeOfDay } from "./formatting.js";
import { Table } from "./table.js";

export function show(context) {
  const columns = [
    { title: "Name", cell: (one) => one.name, sort: (one) => one.name },
    { title: "State", cell: (one) => state(one.rotating ? `${one.state}, rotating` : one.state, ["open", "ready"]), sort: (one) => one.state },
    { title: "Since", cell: (one) => timeOfDay(one.since), sort: (one) => one.since, rank: 1 },
    { title: "URL", cell: (one) => one.url, wide: true, rank: 1 },
    { title: "Connection", cell: (one) => one.connection && connectionLink(one.connection), rank: 1 },
    { title: "Opened", cell: (one) => number(one.opened), sort: (one) => one.opened, number: true, rank: 2 },
    { title: "Gaps", cell: (one) => number(one.gaps), sort: (one) => one.gaps, number: true, rank: 3 },
    { title: "Failures", cell: (one) => number(one.attempts), number: true, rank: 3 },
    { title: "Next try", cell: (one) => one.next_try_at && timeOfDay(one.next_try_at), rank: 2 },
    { title: "Last ending", cell: lastEnding, wide: true, rank: 1 },
  ];
  if (context.operates) columns.push({ title: "Action", cell: (one) => actions(one, refresh) });
  const table = new Table({ caption: "Dialers", columns, key: ({ name }) => name, empty: "There are no dialers." });
  const load = async () => table.update((await get("/v1/dialers", context.signal)).dialers);
  const refresh = () => load().catch(() => {});
  context.every(3000, load);
  const dial = context.mayDial && el("div", { class: "buttons" }, button("Dial…", () => askDial(context, refresh), { id: "dial" }));
  return { title: "Dialers", content: [dial, el("div", { class: "panel bare" }, table.element)] };
}

function lastEnding(one) {
  const last = one.last_ending;
  if (!last) return one.why;
  return [endingLink(last.id), ` ${last.kind}: ${last.detail}`];
}

function actions(one, refresh) {
  const rests = ["paused", "given_up"].includes(one.state);
  const commands = [
    rests
      ? ["resume", "Resume", `${one.name} dials again.`]
      : ["pause", "Pause", `The connection of ${one.name} is closed, and it does not dial until it is resumed.`],
    one.state === "ready" && !one.rotating && ["rotate", "Rotate", `${one.name} opens a new connection, and closes the present one once the new one is ready.`],
  ].filter(Boolean);
  const buttons = commands.map(([command, title, text]) =>
    button(`${title}…`, () => ask(question(one, command, title, text)).then(refresh), { "aria-label": `${title} ${one.name}` }),
  );
  if (one.by?.startsWith("api:")) {
    const remove = {
      title: `Remove ${one.name}`,
      text: [`${one.name} stops dialling, and its connection is closed with 1000.`],
      confirm: "Remove",
      danger: true,
      act: async () => {
        await change("DELETE", `/v1/dialers/${encodeURIComponent(one.name)}`);
        say(`${one.name} is removed.`);
      },
    };
    buttons.push(button("Remove…", () => ask(remove).then(refresh), { "aria-label": `Remove ${one.name}` }));
  }
  return el("div", { class: "buttons tight" }, buttons);
}

const DONE = { pause: "is paused", resume: "dials again", rotate: "is rotating" };

function question(one, command, title, text) {
  return {
    title: `${title} ${one.name}`,
    text: [text, `It is ${one.state} now${one.connection ? `, with connection ${shortId(one.connection)}` : ""}.`],
    confirm: title,
    act: async () => {
      await change("POST", `/v1/dialers/${encodeURIComponent(one.name)}/${command}`);
      say(`${one.name} ${DONE[command]}.`);
    },
  };
}

function askDial(context, refresh) {
  return ask({
    title: "Dial",
    text: ["The node opens a connection to this address."],
    fields: [
      { name: "url", label: "URL", required: true, hint: "ws:// or wss://" },
      { name: "keep", label: "Dial again when it ends, as a dialer", type: "checkbox" },
      { name: "name", label: "Name of the dialer", hint: "Only for a dialer. Empty: one is made." },
    ],
    confirm: "Dial",
    act: async ({ url, keep, name }) => {
      const made = await change("POST", "/v1/connections", { url, ...(keep && { reconnect: {} }), ...(name && { name }) });
      say(keep ? `The dialer ${made.name} is made.` : `Connection ${shortId(made.id)} is open.`);
      return made;
    },
  }).then((made) => {
    refresh();
    if (made?.id && made.opened_at) context.go(`/connections/${made.id}`);
  });
}
