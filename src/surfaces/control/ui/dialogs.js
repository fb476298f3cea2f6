// Questions before something changes, and the form to sign in.

import { el, fill } from "./dom.js";

let fieldNumber = 0;

/**
 * Asks in a dialog, and carries out what was asked for while it is open, so that a refusal is read
 * where it can be corrected. Resolves to what `act` returned, or to null if it was cancelled.
 *
 * A field is `{ name, label, hint, type, value, options, required }`; `act` gets their values.
 */
export function ask({ title, text = [], fields = [], confirm, danger = false, act }) {
  return new Promise((resolve) => {
    const inputs = fields.map(input);
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const yes = el("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm);
    const no = el("button", { type: "button", click: () => dialog.close() }, "Cancel");
    const heading = `dialog-${(fieldNumber += 1)}`;
    let result = null;
    const submit = async (event) => {
      event.preventDefault();
      yes.disabled = true;
      error.hidden = true;
      const values = Object.fromEntries(inputs.map(({ name, read }) => [name, read()]));
      try {
        result = (await act(values)) ?? true;
        dialog.close();
      } catch (refused) {
        fill(error, refused.message);
        error.hidden = false;
      } finally {
        yes.disabled = false;
      }
    };
    const dialog = el(
      "dialog",
      { "aria-labelledby": heading, close: () => (dialog.remove(), resolve(result)) },
      el(
        "form",
        { submit },
        el("h2", { id: heading }, title),
        text.map((line) => el("p", {}, line)),
        inputs.map(({ row }) => row),
        error,
        el("div", { class: "buttons" }, no, yes),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    // What cannot be undone is not one key away.
    (inputs[0]?.element ?? (danger ? no : yes)).focus();
  });
}

function input({ name, label, hint, type = "text", value = "", options, required = false }) {
  const id = `field-${(fieldNumber += 1)}`;
  const described = hint ? `${id}-hint` : null;
  const common = { id, name, required, "aria-describedby": described };
  let element;
  if (options) {
    element = el("select", common, options.map(([word, shown]) => el("option", { value: word }, shown)));
    element.value = value;
  } else if (type === "textarea") {
    element = el("textarea", { ...common, rows: 4 });
    element.value = value;
  } else if (type === "checkbox") {
    element = el("input", { ...common, type });
    element.checked = Boolean(value);
  } else {
    element = el("input", { ...common, type, autocomplete: "off", spellcheck: "false" });
    element.value = value;
  }
  const read = () => (type === "checkbox" ? element.checked : element.value);
  const naming = el("label", { for: id }, label);
  const order = type === "checkbox" ? [element, naming] : [naming, element];
  const row = el(
    "div",
    { class: type === "checkbox" ? "field check" : "field" },
    order,
    hint && el("p", { class: "hint", id: described }, hint),
  );
  return { name, element, read, row };
}

/**
 * Asks for a token until one is taken. `attempt` tries it, and throws what is wrong. The view behind
 * it stays as it is.
 */
export function signIn({ why, attempt }) {
  return new Promise((resolve) => {
    const error = el("p", { class: "error", role: "alert", hidden: !why }, why ?? "");
    const token = el("input", {
      id: "token",
      type: "password",
      autocomplete: "off",
      spellcheck: "false",
      required: true,
      "aria-describedby": "token-hint",
    });
    const go = el("button", { type: "submit", class: "primary" }, "Sign in");
    const submit = async (event) => {
      event.preventDefault();
      go.disabled = true;
      try {
        await attempt(token.value.trim());
        dialog.close();
        dialog.remove();
        resolve();
      } catch (refused) {
        fill(error, refused.status === 401 ? "This token is not valid." : refused.message);
        error.hidden = false;
        token.select();
      } finally {
        go.disabled = false;
      }
    };
    const dialog = el(
      "dialog",
      {
        class: "sign-in",
        "aria-labelledby": "sign-in",
        keydown: (event) => event.key === "Escape" && event.preventDefault(),
        cancel: (event) => event.preventDefault(),
      },
      el(
        "form",
        { submit },
        el("h2", { id: "sign-in" }, "Sign in"),
        el(
          "div",
          { class: "field" },
          el("label", { for: "token" }, "Token"),
          token,
          el(
            "p",
            { class: "hint", id: "token-hint" },
            "One from the file control.token_file. It stays in the memory of this page until the page is closed.",
          ),
        ),
        error,
        el("div", { class: "buttons" }, go),
      ),
    );
    // What closes a dialog without asking, such as a gesture to go back.
    dialog.addEventListener("close", () => dialog.isConnected && dialog.showModal());
    document.body.append(dialog);
    dialog.showModal();
    token.focus();
  });
}
