// Questions that must be answered before something happens: one modal dialog, which the browser keeps
// the focus in and closes on Escape.

import { el, fill } from "./dom.js";

const dialog = document.getElementById("ask");

/** Ask; resolves with the field's text ("" without a field) or null when it was cancelled. */
export function ask({ title, text, confirm, danger = false, field }) {
  const input = field
    ? el("input", { id: "ask-field", type: field.secret ? "password" : "text", autocomplete: "off", required: true })
    : null;
  const labelled = input ? el("label", { class: "field" }, field.label, input) : null;
  const cancel = el("button", { type: "button", click: () => dialog.close() }, "Cancel");
  const accept = el("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm);
  let answer = null;
  const submit = (event) => {
    event.preventDefault();
    answer = input?.value ?? "";
    dialog.close();
  };
  const paragraphs = [text].flat().map((one) => el("p", {}, one));
  const buttons = el("p", { class: "buttons" }, cancel, accept);
  fill(dialog, el("form", { submit }, el("h2", { id: "ask-title" }, title), paragraphs, labelled, buttons));
  if (!dialog.open) dialog.showModal();
  (input ?? cancel).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(answer), { once: true });
  });
}

/** Do something that may need another key: asks for one on 401 or 403, and uses it this once. */
export async function withKey(scope, action) {
  try {
    return await action(undefined);
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) throw error;
    const text = `${error.message}. The key is used for this one request and is not kept.`;
    const label = `Key with the scope ${scope}`;
    const once = await ask({ title: "A key is needed", text, confirm: "Use it", field: { label, secret: true } });
    return once ? action(once) : null;
  }
}
