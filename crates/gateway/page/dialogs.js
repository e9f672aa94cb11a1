// Questions to the user, and short messages that go away.

import { byId, h } from "./dom.js";

/** Shows the dialog with these children; resolves with its form's fields, or null when closed. */
function open(title, children, { ok, isDanger = false }) {
  const dialog = byId("ask");
  return new Promise((resolve) => {
    let answer = null;
    const form = h("form", {
      method: "dialog",
      onsubmit: () => {
        answer = new FormData(form);
      },
    });
    form.append(
      h("h2", { id: "ask-title" }, title),
      ...children,
      h("div", { class: "buttons" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button", { type: "submit", class: isDanger ? "danger" : "primary" }, ok)),
    );
    dialog.setAttribute("aria-labelledby", "ask-title");
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => {
      dialog.replaceChildren();
      resolve(answer);
    }, { once: true });
    dialog.showModal();
    form.querySelector("input")?.select();
  });
}

/** Whether the user agrees. */
export async function askWhether(title, text, ok) {
  return (await open(title, [h("p", {}, text)], { ok, isDanger: true })) !== null;
}

/** A line of text, or null. */
export async function askText(title, label, value, ok) {
  const field = h("label", {}, label,
    h("input", { type: "text", name: "text", value, required: true, dir: "auto", maxLength: 200, autocomplete: "off" }));
  return (await open(title, [field], { ok }))?.get("text").trim() || null;
}

/** The key and whether to keep it, or null. */
export async function askKey(reason, message) {
  const answer = await open("This server asks for a key", [
    h("p", {}, "Whoever runs the server can make one with “freehold keys”."),
    reason ? h("p", { class: "detail" }, reason) : null,
    message ? h("p", { class: "wrong", role: "alert" }, message) : null,
    h("label", {}, "API key",
      h("input", { type: "password", name: "key", required: true, autocomplete: "off", spellcheck: false })),
    h("label", { class: "check" },
      h("input", { type: "checkbox", name: "keep" }), "Remember it in this browser"),
    h("p", { class: "detail" }, "Otherwise it is forgotten when this tab is closed."),
  ].filter(Boolean), { ok: "Use this key" });
  return answer && { key: answer.get("key"), isKept: answer.get("keep") !== null };
}

/** A message for some seconds, with something to do about it where `action` is given. */
export function toast(text, action = null) {
  const element = h("div", { class: "toast" }, h("span", {}, text));
  const remove = () => element.remove();
  if (action) {
    element.append(h("button", {
      type: "button",
      class: "text",
      onclick: () => {
        remove();
        action.run();
      },
    }, action.label));
  }
  byId("toasts").replaceChildren(element);
  let timer = setTimeout(remove, action ? 9000 : 5000);
  // Who reads it or is about to press it is not hurried.
  const stay = () => clearTimeout(timer);
  const go = () => {
    clearTimeout(timer);
    timer = setTimeout(remove, 4000);
  };
  element.addEventListener("pointerenter", stay);
  element.addEventListener("focusin", stay);
  element.addEventListener("pointerleave", go);
  element.addEventListener("focusout", go);
}
