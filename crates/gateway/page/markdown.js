// Markdown's blocks, of a whole text or of one that grows.
//
// A block is a plain object: `{ type: "paragraph" | "heading" | "code" | "quote" | "list" |
// "table" | "rule", … }`. Nothing here knows of a document; `render.js` makes elements of it.
// It follows CommonMark and GitHub's tables, without raw HTML, indented code, underlined
// headings and link definitions, and reads lists as models write them.

/** How deep lists and quotes nest; what is deeper is a paragraph. */
const DEPTH_MAX = 12;

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const ITEM = /^([-*+]|\d{1,9}[.)])( +|$)/;

/** The blocks of a whole text. */
export function parseBlocks(text) {
  return blocksOf(text.split("\n").map(cleaned), 0).map(({ block }) => block);
}

/** A text that grows, and which of its blocks can change no more. */
export class GrowingText {
  /** The last line has not ended yet. */
  #lines = [""];
  /** Where the first block begins that may still change. */
  #from = 0;
  /** The open fence at `#from`, whose lines are given out once and not read again. */
  #fence = null;

  /** Adds text at the end. */
  push(text) {
    const pieces = text.split("\n");
    this.#lines[this.#lines.length - 1] += pieces[0];
    for (let i = 1; i < pieces.length; i += 1) {
      this.#endLine();
      this.#lines.push(pieces[i]);
    }
  }

  #endLine() {
    const last = this.#lines.length - 1;
    this.#lines[last] = cleaned(this.#lines[last]);
  }

  /**
   * What is new since the last call: `closed` blocks, which stay as they are; then either the
   * blocks that may still change (`open`), or the growth of an open fence (`code`), which is
   * `{ lang, added, tail, isClosed }`: whole lines to append, and what follows them for now.
   * A `code` that goes on or ends comes before the closed blocks.
   */
  take() {
    const step = { ended: null, closed: [], open: [], code: null };
    if (this.#fence) {
      const grown = this.#growFence();
      if (!grown.isClosed) return { ...step, code: grown };
      step.ended = grown;
    }
    const lines = this.#tail();
    const found = blocksOf(lines, 0);
    const settled = found.findIndex(({ next }) => !this.#isSettled(lines, next));
    const n_closed = settled < 0 ? found.length : settled;
    step.closed = found.slice(0, n_closed).map(({ block }) => block);
    const rest = found.slice(n_closed);
    this.#from += n_closed > 0 ? found[n_closed - 1].next : 0;
    const [first] = rest;
    if (rest.length === 1 && first.block.type === "code" && first.block.isOpen) {
      const opening = this.#from + first.at - (n_closed > 0 ? found[n_closed - 1].next : 0);
      // The line of the fence itself must be complete: it names the language.
      if (opening < this.#lines.length - 1) {
        this.#from = opening;
        this.#fence = { ...fenceAt(this.#lines[opening]), given: opening + 1 };
        return { ...step, code: this.#growFence() };
      }
    }
    return { ...step, open: rest.map(({ block }) => block) };
  }

  #tail() {
    const lines = this.#lines.slice(this.#from);
    lines[lines.length - 1] = cleaned(lines[lines.length - 1]);
    return lines;
  }

  /**
   * A block ends because of what follows it: one line that is not blank, and one more, since a
   * table begins with two. Both must be complete.
   */
  #isSettled(lines, next) {
    let at = next;
    while (at < lines.length - 1 && lines[at] === "") at += 1;
    return at + 1 < lines.length - 1;
  }

  #growFence() {
    const fence = this.#fence;
    const added = [];
    const last = this.#lines.length - 1;
    const grown = { lang: fence.lang, added: "", tail: "", isClosed: false };
    let at = fence.given;
    for (; at < last && !grown.isClosed; at += 1) {
      if (closes(this.#lines[at], fence)) grown.isClosed = true;
      else added.push(`${unindented(this.#lines[at], fence.indent)}\n`);
    }
    grown.added = added.join("");
    fence.given = at;
    if (grown.isClosed) {
      this.#from = at;
      this.#fence = null;
    } else {
      const tail = cleaned(this.#lines[last]);
      // What may become the closing fence is not shown before it is known.
      grown.tail = /^ {0,3}[`~]+ *$/.test(tail) ? "" : unindented(tail, fence.indent);
    }
    return grown;
  }
}

/** A line without its CR, with its leading tabs as four spaces; "" where it is blank. */
function cleaned(line) {
  let text = line.endsWith("\r") ? line.slice(0, -1) : line;
  if (/^ *\t/.test(text)) {
    text = text.replace(/^[ \t]+/, (lead) => lead.replaceAll("\t", "    "));
  }
  return /\S/.test(text) ? text : "";
}

function indentOf(line) {
  let indent = 0;
  while (line[indent] === " ") indent += 1;
  return indent;
}

function unindented(line, indent) {
  return line.slice(Math.min(indent, indentOf(line)));
}

/** Blocks of lines, each with the line where it begins (`at`) and where it has ended (`next`). */
function blocksOf(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (lines[at] === "") {
      at += 1;
      continue;
    }
    const { block, next } = blockAt(lines, at, depth);
    found.push({ block, at, next });
    at = next;
  }
  return found;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  if (fenceAt(line)) return code(lines, at);
  const head = headingAt(line);
  if (head) return { block: head, next: at + 1 };
  if (isRule(line)) return { block: { type: "rule" }, next: at + 1 };
  if (depth < DEPTH_MAX) {
    if (quoteAt(line)) return quote(lines, at, depth);
    if (itemAt(line)) return list(lines, at, depth);
  }
  if (isTable(lines, at)) return table(lines, at);
  return paragraph(lines, at, depth);
}

/** Whether a line begins a block that ends the paragraph before it. */
function interrupts(lines, at, depth) {
  const line = lines[at];
  if (fenceAt(line) || headingAt(line) || isRule(line)) return true;
  if (depth < DEPTH_MAX) {
    if (quoteAt(line)) return true;
    const item = itemAt(line);
    // A number at the start of a line is no list, unless it is the first.
    if (item && item.hasText && (!item.isOrdered || item.number === 1)) return true;
  }
  return isTable(lines, at);
}

function paragraph(lines, at, depth) {
  let next = at + 1;
  while (next < lines.length && lines[next] !== "" && !interrupts(lines, next, depth)) next += 1;
  const text = lines.slice(at, next).map((line) => line.trim()).join("\n");
  return { block: { type: "paragraph", text }, next };
}

function headingAt(line) {
  const indent = indentOf(line);
  let level = 0;
  while (line[indent + level] === "#") level += 1;
  const after = line[indent + level];
  if (indent > 3 || level < 1 || level > 6 || (after !== undefined && after !== " ")) return null;
  let text = line.slice(indent + level).trim();
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  if (end === 0 || text[end - 1] === " ") text = text.slice(0, end).trimEnd();
  return { type: "heading", level, text };
}

function isRule(line) {
  const marks = line.replaceAll(" ", "");
  const [mark] = marks;
  return indentOf(line) <= 3 && marks.length >= 3 && "-*_".includes(mark)
    && marks === mark.repeat(marks.length);
}

function fenceAt(line) {
  const found = FENCE.exec(line);
  if (!found) return null;
  const [all, marker] = found;
  const info = line.slice(all.length).trim();
  if (marker[0] === "`" && info.includes("`")) return null;
  return { marker, indent: all.length - marker.length, lang: info.split(/\s/, 1)[0] };
}

function closes(line, fence) {
  const found = FENCE.exec(line);
  return found !== null && found[1][0] === fence.marker[0]
    && found[1].length >= fence.marker.length && line.slice(found[0].length).trim() === "";
}

function code(lines, at) {
  const fence = fenceAt(lines[at]);
  let end = at + 1;
  while (end < lines.length && !closes(lines[end], fence)) end += 1;
  const text = lines.slice(at + 1, end).map((line) => unindented(line, fence.indent)).join("\n");
  const isOpen = end === lines.length;
  return { block: { type: "code", lang: fence.lang, text, isOpen }, next: isOpen ? end : end + 1 };
}

function quoteAt(line) {
  const indent = indentOf(line);
  return indent <= 3 && line[indent] === ">";
}

function quote(lines, at, depth) {
  const inside = [];
  let next = at;
  for (; next < lines.length && lines[next] !== ""; next += 1) {
    const line = lines[next];
    if (quoteAt(line)) {
      const text = line.slice(indentOf(line) + 1);
      inside.push(cleaned(text[0] === " " ? text.slice(1) : text));
    } else if (inside.at(-1) !== "" && !interrupts(lines, next, depth)) {
      // A paragraph goes on without its mark.
      inside.push(line);
    } else {
      break;
    }
  }
  const blocks = blocksOf(inside, depth + 1).map(({ block }) => block);
  return { block: { type: "quote", blocks }, next };
}

function itemAt(line) {
  const indent = indentOf(line);
  const found = ITEM.exec(line.slice(indent, indent + 64));
  if (!found) return null;
  const [, marker, spaces] = found;
  const width = spaces.length > 4 || spaces.length === 0 ? 1 : spaces.length;
  const isOrdered = marker.length > 1;
  return {
    indent,
    kind: isOrdered ? marker.at(-1) : marker,
    isOrdered,
    number: isOrdered ? Number(marker.slice(0, -1)) : 0,
    content: indent + marker.length + width,
    hasText: line.length > indent + found[0].length,
  };
}

function list(lines, at, depth) {
  const first = itemAt(lines[at]);
  const items = [];
  let [inside, isLoose, next, need, content] = [[], false, at, 0, 0];
  while (next < lines.length) {
    const ahead = lines[next] === "" ? nextText(lines, next) : next;
    if (ahead === lines.length) break;
    const line = lines[ahead];
    const indent = indentOf(line);
    const item = itemAt(line);
    const isSibling = item !== null && !isRule(line) && item.kind === first.kind
      && (items.length === 0 || indent < need);
    if (isSibling) {
      isLoose ||= ahead > next;
      ({ content } = item);
      // Models indent by two, whatever the width of the marker is.
      need = Math.min(content, item.indent + 2);
      inside = [cleaned(line.slice(content))];
      items.push(inside);
    } else if (indent >= need) {
      for (let blank = next; blank < ahead; blank += 1) inside.push("");
      inside.push(unindented(line, content));
    } else if (ahead === next && inside.at(-1) !== "" && !interrupts(lines, next, depth)) {
      inside.push(line);
    } else {
      break;
    }
    next = ahead + 1;
  }
  const block = { type: "list", isOrdered: first.isOrdered, start: first.number, isLoose };
  block.items = items.map((item) => itemBlocks(item, depth));
  return { block, next };
}

function itemBlocks(lines, depth) {
  const task = /^\[([ xX])\] /.exec(lines[0]);
  if (task) lines[0] = lines[0].slice(4);
  const blocks = blocksOf(lines, depth + 1).map(({ block }) => block);
  return { task: task ? task[1] !== " " : null, blocks };
}

function nextText(lines, at) {
  let next = at;
  while (next < lines.length && lines[next] === "") next += 1;
  return next;
}

/** The cells of a table's row: between bars that no backslash is before. */
function cellsOf(line) {
  const cells = [];
  let cell = "";
  const text = line.trim();
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] === "\\" && text[i + 1] === "|") {
      cell += "|";
      i += 1;
    } else if (text[i] === "|") {
      cells.push(cell.trim());
      cell = "";
    } else {
      cell += text[i];
    }
  }
  cells.push(cell.trim());
  if (text.startsWith("|")) cells.shift();
  if (cells.length > 1 && cells.at(-1) === "") cells.pop();
  return cells;
}

function isTable(lines, at) {
  const [head, rule] = [lines[at], lines[at + 1]];
  if (rule === undefined || !rule.includes("|") || !head.includes("|")) return false;
  if (!/^[\s|:-]+$/.test(rule)) return false;
  const marks = cellsOf(rule);
  return marks.every((mark) => /^:?-+:?$/.test(mark)) && cellsOf(head).length === marks.length;
}

function table(lines, at) {
  const align = cellsOf(lines[at + 1]).map((mark) => {
    const [left, right] = [mark.startsWith(":"), mark.endsWith(":")];
    return left && right ? "center" : right ? "right" : left ? "left" : "";
  });
  const head = cellsOf(lines[at]);
  const rows = [];
  let next = at + 2;
  for (; next < lines.length && lines[next].includes("|"); next += 1) {
    const cells = cellsOf(lines[next]);
    while (cells.length < head.length) cells.push("");
    rows.push(cells);
  }
  return { block: { type: "table", align, head, rows }, next };
}
