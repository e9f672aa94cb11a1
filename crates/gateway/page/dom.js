// Making elements without ever giving text to an HTML parser.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with properties and children. A property whose name begins with `on` is a listener,
 * one with `-` or without a property of that name is an attribute; strings become text.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  // Children first: with `dir=auto` a browser looks at all of them again for each that is added.
  element.append(...children.filter((child) => child !== null && child !== undefined));
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name.includes("-") || !(name in element)) element.setAttribute(name, value);
    else element[name] = value;
  }
  return element;
}

/** One of the drawings that stand in the page. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button with a drawing, whose words are its label and hint. */
export function iconButton(name, label, onclick, properties = {}) {
  return h("button", {
    type: "button", class: "quiet", title: label, "aria-label": label, onclick, ...properties,
  }, icon(name));
}

/** The one element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Copies text and shows on the button that it did, for a moment. */
export async function copy(text, button) {
  let [name, label] = ["check", "Copied"];
  try {
    await writeClipboard(text);
  } catch {
    [name, label] = ["warning", "The browser did not allow copying"];
  }
  const before = button.getAttribute("aria-label");
  if (button.dataset.label === undefined) button.dataset.label = before;
  const use = button.querySelector("use");
  use.setAttribute("href", `#icon-${name}`);
  button.setAttribute("aria-label", label);
  announce(label);
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => {
    use.setAttribute("href", "#icon-copy");
    button.setAttribute("aria-label", button.dataset.label);
  }, 1600);
}

async function writeClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Over plain HTTP from another machine there is no clipboard interface.
  const area = h("textarea", { class: "hidden-text", value: text, readOnly: true });
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  if (!isCopied) throw new Error("not allowed");
  return undefined;
}

/** Says something to those who hear the page, when they are not hearing something else. */
export function announce(text) {
  const region = byId("announcer");
  // The same words twice are a change too.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}
