// The settings of a chat, folded away in a panel: what is empty is left to the model.

import { NUMBERS, numberOf, requestOf } from "./answer.js";
import { byId, h, iconButton } from "./dom.js";

const EXAMPLE = `[{"name": "weather", "description": "Weather of a place",
  "parameters": {"type": "object",
    "properties": {"place": {"type": "string"}},
    "required": ["place"]}}]`;

/**
 * Draws the panel of `settings`; `on` has `change(settings)`, `keepForNew()`, `reset()` and
 * `forgetKey()`, the last null where there is no key. `about` tells of the model, and
 * `capabilities` is what the server says of it.
 */
export function drawSettings(settings, about, capabilities, on) {
  const dialog = byId("settings");
  const set = (name, value) => {
    if (value === "") delete settings[name];
    else settings[name] = value;
    on.change(settings);
  };
  const close = iconButton("close", "Close settings", () => dialog.close());
  dialog.replaceChildren(
    h("div", { class: "panel-head" }, h("h2", { id: "settings-title" }, "Settings of this chat"), close),
    h("p", { class: "detail" }, about),
    h("label", { class: "field" }, "System prompt",
      area("system", settings, set, { rows: 4, placeholder: "How the model should behave" })),
    thinking(settings, set, capabilities),
    h("fieldset", {}, h("legend", {}, "Sampling"),
      h("p", { class: "detail" }, "What is empty is left to the model’s own defaults."),
      h("div", { class: "numbers" }, ...Object.keys(NUMBERS).map((name) => numberField(name, settings, set)))),
    tools(settings, set, capabilities),
    format(settings, set),
    h("div", { class: "buttons" },
      h("button", { type: "button", onclick: on.keepForNew }, "Use for new chats"),
      h("button", { type: "button", onclick: on.reset }, "Reset"),
      on.forgetKey ? h("button", { type: "button", onclick: on.forgetKey }, "Forget the key") : null),
  );
}

function area(name, settings, set, properties) {
  return h("textarea", {
    id: `set-${name}`, dir: "auto", value: settings[name] ?? "", spellcheck: name === "system",
    oninput: ({ target }) => set(name, target.value), ...properties,
  });
}

/** Under a field: what is wrong with it, as long as something is. */
function checked(field, check) {
  const wrong = h("span", { class: "wrong", id: `${field.id}-wrong` });
  const update = () => {
    let message = "";
    try {
      check(field.value);
    } catch (error) {
      ({ message } = error);
    }
    wrong.textContent = message;
    field.setAttribute("aria-invalid", String(message !== ""));
    field.setAttribute("aria-describedby", wrong.id);
  };
  field.addEventListener("change", update);
  field.addEventListener("input", () => wrong.textContent !== "" && update());
  update();
  return [field, wrong];
}

function numberField(name, settings, set) {
  const { label, min, max, step } = NUMBERS[name];
  const field = h("input", {
    id: `set-${name}`, type: "text", inputMode: "decimal", value: settings[name] ?? "", autocomplete: "off",
    placeholder: "default", oninput: ({ target }) => set(name, target.value.trim()),
    // The arrow keys count, as they do in fields of numbers, which would drop what they cannot read.
    onkeydown: (event) => {
      const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!direction) return;
      event.preventDefault();
      const now = Number(field.value || (name === "temperature" || name === "top_p" ? 1 : 0));
      const next = Math.min(max, Math.max(min, now + direction * step));
      field.value = String(Number(next.toFixed(4)));
      set(name, field.value);
    },
  });
  return h("label", {}, label, ...checked(field, (text) => numberOf(name, text)));
}

function thinking(settings, set, capabilities) {
  const hasSwitch = capabilities?.reasoning_switch === true;
  const choice = h("select", { id: "set-thinking", disabled: !hasSwitch, onchange: ({ target }) => set("thinking", target.value) },
    ...[["", "As the model does"], ["on", "Think first"], ["off", "Answer at once"]]
      .map(([value, text]) => h("option", { value, selected: (settings.thinking ?? "") === value }, text)));
  const note = hasSwitch ? null
    : h("span", { class: "detail" }, capabilities?.reasoning ? "This model always thinks first." : "This model has no switch for it.");
  return h("label", { class: "field" }, "Thinking", choice, note);
}

function tools(settings, set, capabilities) {
  const field = area("tools", settings, set, { rows: 5, class: "mono", placeholder: EXAMPLE, dir: "ltr" });
  const note = capabilities?.tool_calls === false ? "This model was not taught to call tools. " : "";
  return h("details", { class: "field", open: Boolean(settings.tools) },
    h("summary", {}, "Tools"),
    h("p", { class: "detail" }, `${note}Functions as JSON. When the model calls one, you type its result.`),
    h("label", {}, h("span", { class: "hidden-text" }, "Tools as JSON"),
      ...checked(field, (text) => requestOf([], "", { tools: text }, null))));
}

function format(settings, set) {
  const schema = area("schema", settings, set, { rows: 5, class: "mono", dir: "ltr", placeholder: '{"type": "object", "properties": {}}' });
  const box = h("label", { hidden: settings.format !== "schema" }, "JSON schema",
    ...checked(schema, (text) => text === "" || requestOf([], "", { format: "schema", schema: text }, null)));
  const choice = h("select", {
    id: "set-format",
    onchange: ({ target }) => {
      set("format", target.value);
      box.hidden = target.value !== "schema";
    },
  }, ...[["", "Text"], ["json", "A JSON object"], ["schema", "JSON by a schema"]]
    .map(([value, text]) => h("option", { value, selected: (settings.format ?? "") === value }, text)));
  return h("div", { class: "field" }, h("label", {}, "Form of the answer", choice), box);
}
