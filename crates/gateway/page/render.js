// Blocks of Markdown as elements of the page, whole or while they are written.
//
// Elements are made one by one and text is set as text, so nothing that a model says is ever
// read as HTML. Images are not loaded and links go to the web or mail alone.

import { copy, h, iconButton } from "./dom.js";
import { highlight } from "./highlight.js";
import { parseInline } from "./inline.js";
import { GrowingText, parseBlocks } from "./markdown.js";

/** The share of time that a growing answer may take for being drawn. */
const DRAWING_SHARE = 0.2;

/** Elements for a whole text. */
export function renderWhole(text) {
  return parseBlocks(text).map(blockElement);
}

/** Draws a text into `parent` as it grows; blocks that are complete are left alone. */
export class GrowingView {
  #parent;
  #text = new GrowingText();
  #open = [];
  #code = null;
  #isNew = false;
  #notBefore = 0;

  constructor(parent) {
    this.#parent = parent;
  }

  push(text) {
    this.#text.push(text);
    this.#isNew = true;
  }

  /**
   * Draws what is new, unless that was done so short a time ago that drawing would take more than
   * its share; returns whether all is drawn. The last block is drawn anew each time, so a long
   * one is drawn less often; an open fence only grows.
   */
  draw(now = performance.now(), isLast = false) {
    if (!this.#isNew) return true;
    if (!isLast && now < this.#notBefore) return false;
    this.#isNew = false;
    const begun = performance.now();
    const { ended, closed, open, code } = this.#text.take();
    if (ended) this.#endCode(ended);
    for (const element of this.#open) element.remove();
    this.#open = [];
    this.#parent.append(...closed.map(blockElement));
    if (code) {
      this.#growCode(code);
    } else {
      this.#open = open.map(blockElement);
      this.#parent.append(...this.#open);
    }
    const took = performance.now() - begun;
    this.#notBefore = performance.now() + took / DRAWING_SHARE;
    return true;
  }

  #growCode({ lang, added, tail }) {
    if (!this.#code) {
      this.#code = codeElement(lang, "");
      this.#code.body.append("", "");
      this.#parent.append(this.#code.element);
    }
    const [whole, rest] = this.#code.body.childNodes;
    whole.appendData(added);
    rest.data = tail;
  }

  #endCode(ended) {
    this.#growCode({ ...ended, tail: "" });
    const { body, lang } = this.#code;
    const text = body.textContent.replace(/\n$/, "");
    body.replaceChildren(...highlight(text, lang));
    this.#code = null;
  }

  /** Draws everything, an open fence as if it ended here. */
  finish() {
    this.draw(0, true);
    if (this.#code) {
      const { body, lang } = this.#code;
      body.replaceChildren(...highlight(body.textContent.replace(/\n$/, ""), lang));
      this.#code = null;
    }
  }
}

function blockElement(block) {
  switch (block.type) {
    case "heading": {
      // The page's own headings are above those of an answer.
      const tag = `h${Math.min(block.level + 2, 6)}`;
      return h(tag, { dir: "auto", class: `level-${block.level}` }, inlineNodes(block.text));
    }
    case "code": return codeElement(block.lang, block.text).element;
    case "quote": return h("blockquote", { dir: "auto" }, ...block.blocks.map(blockElement));
    case "list": return listElement(block);
    case "table": return tableElement(block);
    case "rule": return h("hr");
    default: return h("p", { dir: "auto" }, inlineNodes(block.text));
  }
}

function codeElement(lang, text) {
  const body = h("code", {}, ...(text ? highlight(text, lang) : []));
  const button = iconButton("copy", "Copy code", () => copy(body.textContent, button));
  const head = h("div", { class: "code-head" }, h("span", {}, lang || "text"), button);
  const pre = h("pre", { tabIndex: 0, "aria-label": `Code${lang ? `, ${lang}` : ""}`, role: "region" }, body);
  return { element: h("div", { class: "code", dir: "ltr" }, head, pre), body, lang };
}

function listElement(block) {
  const items = block.items.map(({ task, blocks }) => {
    const elements = blocks.map(blockElement);
    if (task === null) return h("li", { dir: "auto" }, ...elements);
    const box = h("input", { type: "checkbox", checked: task, disabled: true, "aria-label": task ? "done" : "open" });
    return h("li", { dir: "auto", class: "task" }, box, h("div", {}, ...elements));
  });
  const properties = { dir: "auto", class: block.isLoose ? "loose" : "" };
  if (block.isOrdered && block.start !== 1) properties.start = block.start;
  return h(block.isOrdered ? "ol" : "ul", properties, ...items);
}

function tableElement({ align, head, rows }) {
  const cell = (tag) => (text, column) =>
    h(tag, { dir: "auto", class: align[column] ? `align-${align[column]}` : null }, inlineNodes(text));
  const row = (tag) => (cells) => h("tr", {}, ...cells.map(cell(tag)));
  const table = h("table", {}, h("thead", {}, row("th")(head)), h("tbody", {}, ...rows.map(row("td"))));
  return h("div", { class: "table", tabIndex: 0, role: "region", "aria-label": "Table" }, table);
}

function inlineNodes(text) {
  const fragment = document.createDocumentFragment();
  const open = [fragment];
  for (const event of parseInline(text)) {
    const parent = open.at(-1);
    if (event.text !== undefined) parent.append(event.text);
    else if (event.code !== undefined) parent.append(h("code", { dir: "ltr" }, event.code));
    else if (event.math !== undefined) parent.append(h("span", { class: "math", dir: "ltr" }, event.math));
    else if (event.line) parent.append(h("br"));
    else if (event.close) open.pop();
    else {
      const element = event.open === "a" ? link(event.href) : h(event.open);
      parent.append(element);
      open.push(element);
    }
  }
  return fragment;
}

function link(href) {
  return h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", title: href });
}
