// All checks, one after the other: `checks.mjs JSON`, what is given to it.

import { actions } from "./acting.mjs";
import { browser, given } from "./browser.mjs";
import { keys, losses, screens } from "./enduring.mjs";
import { many, parts, reading, views } from "./looking.mjs";

// The last ones take away the token and the daemon.
const all = { parts, views, actions, reading, keys, screens, many, losses };
if (!given.crowded) delete all.many;
for (const [name, run] of Object.entries(all)) {
  if (!given.only || given.only === name) await run();
}
await browser.close();
process.exit(0);
