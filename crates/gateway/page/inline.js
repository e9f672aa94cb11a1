// The inside of a paragraph: Markdown's inline marks as one flat list of events.
//
// Flat, so that no text, however deep its marks nest, can exhaust a stack; and every scan either
// consumes what it reads or is bounded, so that the time is linear in the text.

/** How deep marks nest; deeper ones are left out and their text stays. */
const DEPTH_MAX = 24;
/** How many open marks are looked through for the partner of one that closes. */
const PARTNERS_MAX = 64;
/** Longest address of a link, and longest formula between single dollars. */
const ADDRESS_CHARS_MAX = 4096;
const FORMULA_CHARS_MAX = 1000;

const SPECIAL = /[\\`*_~[\]!<&$\n]|https?:\/\//g;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const SPACE = /\s/u;
const EAST_ASIAN =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\u3000-\u303f\uff00-\uffef]/u;
const DESTINATION =
  /\(\s*(<[^<>\n]*>|[^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*)(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;
const ANGLE_LINK = /<((?:https?:\/\/|mailto:)[^\s<>]+)>/y;
const LINE_BREAK = /<br\s{0,8}\/?>/iy;
const ENTITY = /&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([a-z]{2,8}));/y;
const ENTITIES = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", times: "×",
  mdash: "—", ndash: "–", hellip: "…", rarr: "→", larr: "←", deg: "°", le: "≤", ge: "≥", ne: "≠",
};
const SAFE_SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** The address as it may be followed, or null: only the web and mail, never scripts or data. */
export function safeAddress(address) {
  if (address.length > ADDRESS_CHARS_MAX) return null;
  try {
    const url = new URL(address);
    return SAFE_SCHEMES.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/**
 * Events of a paragraph's text, in order: `{ text }`, `{ code }`, `{ math }`, `{ line: true }`,
 * `{ open: "em" | "strong" | "del" | "a", href }` and `{ close: true }`, balanced.
 */
export function parseInline(text) {
  return new Inline(text).run();
}

class Inline {
  constructor(text) {
    this.text = text;
    this.at = 0;
    /** Pieces in order; a run of marks is one piece until all partners are known. */
    this.pieces = [];
    this.runs = [];
    this.brackets = [];
    /** What was looked for and is not there any more, so that nobody looks again. */
    this.absent = new Set();
    this.ticks = null;
  }

  run() {
    const { text } = this;
    while (this.at < text.length) {
      SPECIAL.lastIndex = this.at;
      const found = SPECIAL.exec(text);
      const next = found ? found.index : text.length;
      if (next > this.at) this.say(text.slice(this.at, next));
      this.at = next;
      if (found) this.special(found[0]);
    }
    pair(this.runs);
    return flatten(this.pieces);
  }

  say(text) {
    this.pieces.push({ text });
  }

  /** The special character itself, as text. */
  literal(length = 1) {
    this.say(this.text.slice(this.at, this.at + length));
    this.at += length;
  }

  special(mark) {
    switch (mark) {
      case "\\": return this.backslash();
      case "`": return this.codeSpan();
      case "*": case "_": case "~": return this.marks(mark);
      case "[": return this.openBracket(false);
      case "]": return this.closeBracket();
      case "!": return this.text[this.at + 1] === "[" ? this.openBracket(true) : this.literal();
      case "<": return this.angle();
      case "&": return this.entity();
      case "$": return this.dollar();
      case "\n": this.pieces.push({ line: true }); this.at += 1; return undefined;
      default: return this.bareLink();
    }
  }

  /** The position of `what` at or after `from`, or -1. */
  find(what, from) {
    if (this.absent.has(what)) return -1;
    const found = this.text.indexOf(what, from);
    if (found < 0) this.absent.add(what);
    return found;
  }

  /** Everything up to and with `end` as a formula, or false where it does not end. */
  formula(end) {
    const close = this.find(end, this.at + 2);
    if (close < 0) return false;
    this.pieces.push({ math: this.text.slice(this.at, close + end.length) });
    this.at = close + end.length;
    return true;
  }

  backslash() {
    const next = this.text[this.at + 1];
    if (next === "(" && this.formula("\\)")) return;
    if (next === "[" && this.formula("\\]")) return;
    // Formulas without their other end keep the backslash too.
    if (next !== undefined && next !== "(" && next !== "[" && /[!-/:-@[-`{-~]/.test(next)) {
      this.say(next);
      this.at += 2;
    } else {
      this.literal();
    }
  }

  dollar() {
    const { text, at } = this;
    if (text[at + 1] === "$") {
      if (!this.formula("$$")) this.literal(2);
      return;
    }
    const close = this.find("$", at + 1);
    const isFormula = close > at + 1 && close - at <= FORMULA_CHARS_MAX
      && !SPACE.test(text[at + 1]) && !SPACE.test(text[close - 1])
      && !/\d/.test(text[close + 1] ?? "");
    if (!isFormula) return this.literal();
    this.pieces.push({ math: text.slice(at, close + 1) });
    this.at = close + 1;
  }

  codeSpan() {
    const { text, at } = this;
    let end = at;
    while (text[end] === "`") end += 1;
    const length = end - at;
    const close = this.nextTicks(length, end);
    if (close < 0) return this.literal(length);
    let code = text.slice(end, close).replaceAll("\n", " ");
    if (code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "") code = code.slice(1, -1);
    this.pieces.push({ code });
    this.at = close + length;
  }

  /** Where the next run of exactly `length` backticks begins, at or after `from`. */
  nextTicks(length, from) {
    this.ticks ??= tickRuns(this.text);
    const runs = this.ticks.get(length);
    if (!runs) return -1;
    while (runs.next < runs.places.length && runs.places[runs.next] < from) runs.next += 1;
    return runs.places[runs.next] ?? -1;
  }

  marks(mark) {
    const { text, at } = this;
    let end = at;
    while (text[end] === mark) end += 1;
    const count = end - at;
    this.at = end;
    if (mark === "~" && count !== 2) return this.say(mark.repeat(count));
    const run = { mark, count, length: count, opens: [], closes: [], ...flanks(text, at, end, mark) };
    this.pieces.push({ run });
    this.runs.push(run);
  }

  openBracket(isImage) {
    const piece = { text: isImage ? "![" : "[" };
    this.brackets.push({ piece, isImage, from: this.at, run: this.runs.length });
    this.pieces.push(piece);
    this.at += isImage ? 2 : 1;
  }

  closeBracket() {
    const bracket = this.brackets.pop();
    if (!bracket) return this.literal();
    DESTINATION.lastIndex = this.at + 1;
    const found = DESTINATION.exec(this.text);
    const written = found?.[1] ?? "";
    const href = found && safeAddress(written.startsWith("<") ? written.slice(1, -1) : written);
    // What may not be followed is shown as it was written.
    if (!href) return this.literal();
    pair(this.runs.splice(bracket.run));
    bracket.piece.text = "";
    bracket.piece.open = "a";
    bracket.piece.href = href;
    // Images of others are not fetched: a link says where they are.
    if (bracket.isImage) bracket.piece.text = "Image: ";
    this.pieces.push({ close: true });
    this.at = DESTINATION.lastIndex;
    // Links do not hold links.
    this.brackets.length = 0;
  }

  angle() {
    for (const [pattern, make] of [[LINE_BREAK, () => this.pieces.push({ line: true })],
      [ANGLE_LINK, (found) => this.link(found[1], found[1])]]) {
      pattern.lastIndex = this.at;
      const found = pattern.exec(this.text);
      if (found) {
        this.at = pattern.lastIndex;
        return make(found);
      }
    }
    return this.literal();
  }

  link(address, shown) {
    const href = this.brackets.length === 0 && safeAddress(address);
    if (!href) return this.say(shown);
    this.pieces.push({ open: "a", href, text: "" }, { text: shown }, { close: true });
  }

  bareLink() {
    const { text, at } = this;
    if (at > 0 && /[\p{L}\p{N}_]/u.test(text[at - 1])) return this.literal(4);
    let end = at;
    while (end < text.length && !/[\s<>"`*|\\^{}\]]/.test(text[end])) end += 1;
    // What ends a sentence or closes a bracket from before does not belong to the address.
    let n_closed = count(text.slice(at, end), ")") - count(text.slice(at, end), "(");
    for (; end > at; end -= 1) {
      const last = text[end - 1];
      if (last === ")" && n_closed > 0) n_closed -= 1;
      else if (!/[.,;:!?'_~]/.test(last)) break;
    }
    const address = text.slice(at, end);
    this.at = at + address.length;
    this.link(address, address);
  }

  entity() {
    ENTITY.lastIndex = this.at;
    const found = ENTITY.exec(this.text);
    if (!found) return this.literal();
    const [all, decimal, hex, name] = found;
    const code = decimal ? Number(decimal) : Number.parseInt(hex ?? "0", 16);
    const isCharacter = code > 31 && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
    const character = name
      ? (Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : null)
      : isCharacter ? String.fromCodePoint(code) : null;
    this.say(character ?? all);
    this.at += all.length;
  }
}

/** Runs of backticks by their length, with a pointer that only goes forward. */
function tickRuns(text) {
  const runs = new Map();
  for (const found of text.matchAll(/`+/g)) {
    const { length } = found[0];
    if (!runs.has(length)) runs.set(length, { places: [], next: 0 });
    runs.get(length).places.push(found.index);
  }
  return runs;
}

function count(text, character) {
  return text.split(character).length - 1;
}

/**
 * Whether a run of marks may open and close emphasis: CommonMark's flanking rules, without
 * their dependence on spaces and punctuation where East Asian text has neither.
 */
function flanks(text, at, end, mark) {
  const before = text[at - 1] ?? " ";
  const after = text[end] ?? " ";
  const punctuated = (character) => PUNCTUATION.test(character) && !EAST_ASIAN.test(character);
  const loose = (character) =>
    SPACE.test(character) || PUNCTUATION.test(character) || EAST_ASIAN.test(character);
  const left = !SPACE.test(after) && (!punctuated(after) || loose(before));
  const right = !SPACE.test(before) && (!punctuated(before) || loose(after));
  if (mark !== "_") return { canOpen: left, canClose: right };
  return {
    canOpen: left && (!right || PUNCTUATION.test(before)),
    canClose: right && (!left || PUNCTUATION.test(after)),
  };
}

/** Finds which runs belong together, as CommonMark's "process emphasis" does. */
function pair(runs) {
  const open = [];
  for (const run of runs) {
    while (run.canClose && run.count > 0) {
      const place = partner(open, run);
      if (place < 0) break;
      const opener = open[place];
      // What opened between the two has no partner any more.
      open.length = place + 1;
      const used = opener.count >= 2 && run.count >= 2 ? 2 : 1;
      const tag = run.mark === "~" ? "del" : used === 2 ? "strong" : "em";
      opener.count -= used;
      run.count -= used;
      opener.opens.push(tag);
      run.closes.push(tag);
      if (opener.count === 0) open.pop();
    }
    if (run.canOpen && run.count > 0) open.push(run);
  }
}

function partner(open, closer) {
  const lowest = Math.max(0, open.length - PARTNERS_MAX);
  for (let place = open.length - 1; place >= lowest; place -= 1) {
    const opener = open[place];
    if (opener.mark !== closer.mark) continue;
    const isAmbiguous = (opener.canClose || closer.canOpen)
      && (opener.length + closer.length) % 3 === 0
      && (opener.length % 3 !== 0 || closer.length % 3 !== 0);
    if (!isAmbiguous) return place;
  }
  return -1;
}

/** Pieces as events: texts joined, nesting bounded. */
function flatten(pieces) {
  const events = [];
  let depth = 0;
  const say = (text) => {
    if (text === "") return;
    const last = events.at(-1);
    if (last?.text !== undefined) last.text += text;
    else events.push({ text });
  };
  const open = (event) => {
    depth += 1;
    if (depth <= DEPTH_MAX) events.push(event);
  };
  const close = () => {
    if (depth <= DEPTH_MAX) events.push({ close: true });
    depth -= 1;
  };
  for (const piece of pieces) {
    if (piece.run) {
      piece.run.closes.forEach(close);
      say(piece.run.mark.repeat(piece.run.count));
      // The partner that was found last is the outermost.
      piece.run.opens.reverse().forEach((tag) => open({ open: tag }));
    } else if (piece.open) {
      open({ open: piece.open, href: piece.href });
      say(piece.text);
    } else if (piece.close) {
      close();
    } else if (piece.text !== undefined) {
      say(piece.text);
    } else {
      events.push(piece);
    }
  }
  return events;
}
