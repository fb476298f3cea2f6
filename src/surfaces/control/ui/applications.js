// Applications behind relays: their state, drains, and back again.

import { change, get } from "./api.js";
import { ask } from "./dialogs.js";
import { button, el, say } from "./dom.js";
import { DrainPanel, askDrainOf } from "./draining.js";
import { number, state, timeOfDay } from "./formatting.js";
import { Table } from "./table.js";

export function show(context) {
  const columns = [
    { title: "Route", cell: (one) => one.route, sort: (one) => one.route },
    { title: "Number", cell: (one) => number(one.number), number: true },
    { title: "Application", cell: (one) => one.url, wide: true },
    { title: "State", cell: (one) => state(one.state, ["serving"]), sort: (one) => one.state },
    { title: "Clients", cell: (one) => number(one.connections), sort: (one) => one.connections, number: true },
    { title: "Chosen", cell: (one) => number(one.chosen), sort: (one) => one.chosen, number: true, rank: 2 },
    { title: "Failures in a row", cell: (one) => number(one.failures), number: true, rank: 2 },
    { title: "Ejections", cell: (one) => number(one.ejections), number: true, rank: 2 },
    { title: "Ejected until", cell: (one) => one.ejected_until && timeOfDay(one.ejected_until), rank: 2 },
  ];
  if (context.operates) columns.push({ title: "Action", cell: (one) => action(one, refresh) });
  const table = new Table({
    caption: "Applications behind relays",
    columns,
    key: ({ route, number: at }) => `${route} ${at}`,
    empty: "No route relays to an application.",
  });
  const load = async () => table.update((await get("/v1/backends", context.signal)).backends);
  const refresh = () => load().then(() => context.status.refresh()).catch(() => {});
  const drain = new DrainPanel({ operates: context.operates, changed: refresh });
  context.onStatus((status) => {
    drain.element.hidden = status.drain?.phase !== "running";
    drain.update(status);
  });
  context.every(3000, load);
  return { title: "Applications", content: [drain.element, el("div", { class: "panel bare" }, table.element)] };
}

function action(one, refresh) {
  if (one.state !== "draining") {
    return button("Drain…", () => askDrainOf(one).then(refresh), { "aria-label": `Drain application ${one.number} of ${one.route}` });
  }
  const resume = () =>
    ask({
      title: `Resume application ${one.number} of ${one.route}`,
      text: [`${one.url} gets clients again. Its drain is cancelled if it is still running.`],
      confirm: "Resume",
      act: async () => {
        await change("DELETE", `/v1/backends/${encodeURIComponent(one.route)}/${one.number}/drain`);
        say(`Application ${one.number} of ${one.route} gets clients again.`);
      },
    }).then(refresh);
  return button("Resume…", resume, { "aria-label": `Resume application ${one.number} of ${one.route}` });
}
