// The modules of the chat page that need no browser, run by `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { addChunk, messagesOf, newAnswer, NO_RESULT, numberOf, requestOf, titleOf, toolsOf } from "../../../page/answer.js";
import { exported, imported } from "../../../page/exchange.js";
import { parseInline, safeAddress } from "../../../page/inline.js";
import { GrowingText, parseBlocks } from "../../../page/markdown.js";
import { EVENT_CHARS_MAX, EventReader } from "../../../page/sse.js";

/** Numbers by chance, the same in every run (mulberry32). */
function chance(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function pieces(text, random) {
  const list = [];
  for (let at = 0; at < text.length;) {
    const length = 1 + random(random(4) === 0 ? 40 : 3);
    list.push(text.slice(at, at + length));
    at += length;
  }
  return list;
}

const MARKS = ["\n", "\n", "\n\n", " ", "  ", "    ", "- ", "* ", "1. ", "2) ", "> ", "# ", "### ", "```", "~~~", "````",
  "```js", "|", "| a | b |", "|---|:-:|", "---", "***", "**", "*", "_", "__", "~~", "`", "``", "[", "](", "](https://e.com)",
  "](javascript:x)", ")", "!", "![", "<", ">", "<br>", "<b>", "&amp;", "&#x41;", "&", "$", "$$", "\\(", "\\)", "\\[", "\\]",
  "\\", "https://a.b/c_d", "mailto:a@b.c", "word", "a", "é", "标", "：", "😀", "x ", "[x] ", "[ ] ", "\t", "\r\n", ".", "1"];

function anyText(random) {
  const length = 1 + random(60);
  return Array.from({ length }, () => MARKS[random(MARKS.length)]).join("");
}

/* Server-sent events */

function eventsOf(list) {
  const reader = new EventReader();
  return list.flatMap((piece) => reader.push(piece));
}

test("events are the same however the stream is split", () => {
  const stream = "\ufeff: hello\ndata: one\n\ndata:two\r\ndata: lines\r\n\r\nevent: named\rdata:\r\r\n: waiting\n\n"
    + "id: 7\nretry: 10\nunknown\ndata\n\ndata: {\"a\":1}\n\ndata: never ended\n";
  const whole = eventsOf([stream]);
  assert.deepEqual(whole, [
    { name: "message", data: "one" },
    { name: "message", data: "two\nlines" },
    { name: "named", data: "" },
    { name: "message", data: "" },
    { name: "message", data: '{"a":1}' },
  ]);
  for (let split = 0; split <= stream.length; split += 1) {
    assert.deepEqual(eventsOf([stream.slice(0, split), stream.slice(split)]), whole, `split at ${split}`);
  }
  assert.deepEqual(eventsOf([...stream]), whole);
  const random = chance(1);
  for (let round = 0; round < 2000; round += 1) {
    const signs = ["\r", "\n", "\r\n", "data", ":", " ", "x", "event", "\n\n", ": c"];
    const text = Array.from({ length: random(30) }, () => signs[random(signs.length)]).join("");
    assert.deepEqual(eventsOf(pieces(text, random)), eventsOf([text]), JSON.stringify(text));
  }
});

test("an event without an end is refused, and signs of life are no part of it", () => {
  const reader = new EventReader();
  const piece = "x".repeat(1 << 20);
  assert.throws(() => {
    for (let i = 0; i <= EVENT_CHARS_MAX >> 20; i += 1) reader.push(piece);
  }, RangeError);
  const living = new EventReader();
  for (let i = 0; i < 10; i += 1) {
    assert.deepEqual(living.push(`:${piece}\n\n`), []);
    assert.deepEqual(living.push(`: ${piece}\n: ${piece}\n`), []);
  }
});

/* Markdown */

test("blocks of a text", () => {
  const types = (text) => parseBlocks(text).map(({ type }) => type);
  assert.deepEqual(types("# a\nb\n- c\n\n> d\n\n***\n```\ne"), ["heading", "paragraph", "list", "quote", "rule", "code"]);
  const [heading] = parseBlocks("### A *b* ##");
  assert.deepEqual(heading, { type: "heading", level: 3, text: "A *b*" });
  assert.deepEqual(parseBlocks("#tag\nC# and C#"), [{ type: "paragraph", text: "#tag\nC# and C#" }]);
  const [code] = parseBlocks("````js x\n```\nlet a;\n  b\n````\n");
  assert.deepEqual(code, { type: "code", lang: "js", text: "```\nlet a;\n  b", isOpen: false });
  const [table] = parseBlocks("a | b\n--|:-:\n1 | `x\\|y` | 3\n2\n");
  assert.deepEqual(table, { type: "table", align: ["", "center"], head: ["a", "b"], rows: [["1", "`x|y`", "3"]] });
  assert.deepEqual(types("a | b\n--|--|--"), ["paragraph"]);
  const [list] = parseBlocks("3. a\n   - b\n     c\n\n4. [x] d");
  assert.equal(list.start, 3);
  assert.equal(list.isLoose, true);
  assert.deepEqual(list.items.map(({ task }) => task), [null, true]);
  assert.deepEqual(list.items[0].blocks[1].items[0].blocks, [{ type: "paragraph", text: "b\nc" }]);
  // A year at the start of a line is no list, and models indent by two under a number.
  assert.deepEqual(types("It was\n1984. A year"), ["paragraph"]);
  assert.equal(parseBlocks("1. a\n  - b")[0].items[0].blocks[1].type, "list");
});

function growing(list) {
  const text = new GrowingText();
  const closed = [];
  let [open, code] = [[], null];
  for (const piece of list) {
    text.push(piece);
    const step = text.take();
    if (step.ended) code.text += step.ended.added;
    if (step.ended) {
      closed.push({ ...code, text: code.text.replace(/\n$/, ""), isOpen: false });
      code = null;
    }
    closed.push(...step.closed);
    ({ open } = step);
    if (step.code) {
      code ??= { type: "code", lang: step.code.lang, text: "" };
      code.text += step.code.added;
      code.tail = step.code.tail;
    }
  }
  if (code) open = [{ type: "code", lang: code.lang, text: code.text + code.tail, isOpen: true }];
  return { closed, all: [...closed, ...open] };
}

test("a text that grows has the blocks of the whole, and closed blocks are never taken back", () => {
  // An open fence shows nothing of a line that may be its end, and no line end after its last line.
  const shown = (blocks) => blocks.map((block) => {
    const { tail, ...kept } = block;
    return kept.isOpen ? { ...kept, text: kept.text.replace(/\n?( {0,3}[`~]+ *)?$/, "") } : kept;
  });
  const random = chance(2);
  for (let round = 0; round < 6000; round += 1) {
    const text = anyText(random);
    const { all } = growing(pieces(text, random));
    assert.deepEqual(shown(all), shown(parseBlocks(text)), JSON.stringify(text));
  }
});

test("blocks close as the text goes on, so that only the end is drawn again", () => {
  const text = "A paragraph.\n\n- a list\n- of two\n\n```c\nint x;\n```\n\n".repeat(50);
  const { closed, all } = growing(pieces(text, chance(3)));
  assert.equal(all.length, 150);
  assert.ok(closed.length >= 147, `${closed.length} of 150`);
});

/** An inline text again, its marks as tags. */
function inline(text) {
  const open = [];
  const written = parseInline(text).map((event) => {
    if (event.text !== undefined) return event.text;
    if (event.code !== undefined) return `{${event.code}}`;
    if (event.math !== undefined) return `<math ${event.math}>`;
    if (event.line) return "/";
    if (event.close) return `</${open.pop()}>`;
    open.push(event.open);
    return event.href ? `<a ${event.href}>` : `<${event.open}>`;
  });
  assert.deepEqual(open, [], text);
  return written.join("");
}

test("marks inside a paragraph", () => {
  for (const [text, expected] of [
    ["a *b* **c** ***d*** ~~e~~", "a <em>b</em> <strong>c</strong> <em><strong>d</strong></em> <del>e</del>"],
    ["snake_case_name __init__ 2 * 3 * 4", "snake_case_name <strong>init</strong> 2 * 3 * 4"],
    ["*(**foo**)* **标题：**文字", "<em>(<strong>foo</strong>)</em> <strong>标题：</strong>文字"],
    ["`` a`b `` `x*y*` `open", "{a`b} {x*y*} `open"],
    ["[a](https://e.com/x_(y) \"t\") [b](mailto:a@b.c)", "<a https://e.com/x_(y)>a</a> <a mailto:a@b.c>b</a>"],
    ["[a](javascript:alert(1)) [b](/v1) [c](data:text/html,x)", "[a](javascript:alert(1)) [b](/v1) [c](data:text/html,x)"],
    ["![a](https://e.com/p.png)", "<a https://e.com/p.png>Image: a</a>"],
    ["see https://e.com/a_b_c, (https://e.com/x).", "see <a https://e.com/a_b_c>https://e.com/a_b_c</a>, (<a https://e.com/x>https://e.com/x</a>)."],
    ["$a_1 * b_1$ and \\(x*y*z\\) cost $5 or $6", "<math $a_1 * b_1$> and <math \\(x*y*z\\)> cost $5 or $6"],
    ["a\nb<br>c &lt;b&gt; &nothing; \\*d\\*", "a/b/c <b> &nothing; *d*"],
    ["<b>bold</b> <script>x</script>", "<b>bold</b> <script>x</script>"],
  ]) assert.equal(inline(text), expected);
});

test("only the web and mail may be followed", () => {
  for (const address of ["javascript:alert(1)", " JAVASCRIPT:alert(1)", "java\nscript:x", "data:text/html,x", "vbscript:x",
    "file:///x", "blob:http://a/b", "//e.com", "/v1", "x", "", `https://e.com/${"a".repeat(5000)}`]) {
    assert.equal(safeAddress(address), null, address);
  }
  assert.equal(safeAddress("HTTPS://e.com"), "https://e.com/");
});

test("any text is balanced, keeps its words and fails nowhere", () => {
  const random = chance(4);
  for (let round = 0; round < 6000; round += 1) {
    const text = anyText(random);
    const written = inline(text);
    const count = (t) => t.split("word").length;
    assert.ok(count(written) >= count(text), JSON.stringify([text, written]));
    for (const { href } of parseInline(text)) assert.ok(!href || /^(https?|mailto):/.test(href));
  }
});

test("time is linear in hostile texts", () => {
  const n = 100_000;
  const texts = {
    stars: "*a ".repeat(n), mixed: "**a*b_c~~".repeat(n / 4), brackets: "[".repeat(n), links: "[](a".repeat(n),
    images: "![a](".repeat(n / 2), ticks: Array.from({ length: 700 }, (_, i) => "`".repeat(i)).join("x"), dollars: "$a ".repeat(n),
    addresses: "https://a)".repeat(n / 4), closers: `https://a${")".repeat(n)}`, angles: "<https://a".repeat(n / 4), entities: "&a".repeat(n),
    formulas: "\\(".repeat(n), quotes: "[a](b '".repeat(n / 4), breaks: "<br".repeat(n), lines: "\n".repeat(n),
  };
  const blocks = {
    quotes: "> ".repeat(n), lists: "- ".repeat(n), rows: "a|b\n".repeat(n), gaps: `- a${"\n".repeat(n)}x`,
    bars: `${"|".repeat(n)}\n${"|-".repeat(n)}`, hashes: `# ${"# ".repeat(n)}`, spaces: `#${" ".repeat(n)}x`, rules: `${"- ".repeat(n)}x`,
    fences: "```\n".repeat(n / 2), items: "- a\n\n".repeat(n / 4), steps: Array.from({ length: 500 }, (_, i) => `${" ".repeat(2 * i)}- a`).join("\n"),
  };
  const timed = (name, work) => {
    const begun = performance.now();
    work();
    const took = performance.now() - begun;
    // A quadratic scan of these takes minutes.
    assert.ok(took < 4000, `${name} took ${took} ms`);
  };
  for (const [name, text] of Object.entries(texts)) timed(name, () => parseInline(text));
  for (const [name, text] of Object.entries(blocks)) timed(name, () => parseBlocks(text));
});

/* Answers and requests */

test("chunks add up to an answer", () => {
  const answer = newAnswer("m");
  const delta = (value, more = {}) => addChunk(answer, { choices: [{ index: 0, delta: value, ...more }] });
  delta({ role: "assistant", content: "" });
  delta({ reasoning_content: "Let " });
  delta({ reasoning: "me." });
  delta({ content: "Hello" });
  delta({ content: null });
  delta({ tool_calls: [{ index: 0, id: "c", type: "function", function: { name: "f", arguments: "" } }] });
  delta({ tool_calls: [{ index: 0, function: { arguments: "{\"a\"" } }] });
  delta({ tool_calls: [{ index: 1, id: "d", function: { name: "g", arguments: "{}" } }, { index: 0, function: { arguments: ":1}" } }] });
  delta({}, { finish_reason: "tool_calls" });
  addChunk(answer, { choices: [], usage: { completion_tokens: 3 } });
  assert.deepEqual(answer, {
    role: "assistant", model: "m", content: "Hello", reasoning: "Let me.", finish: "tool_calls", usage: { completion_tokens: 3 },
    calls: [{ id: "c", name: "f", arguments: '{"a":1}' }, { id: "d", name: "g", arguments: "{}" }],
  });
  assert.throws(() => addChunk(answer, { error: { message: "no", code: "x" } }), { message: "no", code: "x", isFromServer: true });
});

test("turns become messages: results follow their calls, and failed questions are left out", () => {
  const call = { id: "c", name: "f", arguments: "{}" };
  const turns = [
    { role: "user", content: "too long" },
    newAnswer("m"),
    { role: "user", content: "hi" },
    { ...newAnswer("m"), reasoning: "r", calls: [{ ...call, result: "7" }, { ...call, id: "d" }] },
    { ...newAnswer("m"), content: "seven" },
    { role: "user", content: "and?" },
  ];
  const tool_calls = ["c", "d"].map((id) => ({ id, type: "function", function: { name: "f", arguments: "{}" } }));
  assert.deepEqual(messagesOf(turns, "be kind"), [
    { role: "system", content: "be kind" },
    { role: "user", content: "hi" },
    { role: "assistant", content: null, reasoning_content: "r", tool_calls },
    { role: "tool", tool_call_id: "c", content: "7" },
    { role: "tool", tool_call_id: "d", content: NO_RESULT },
    { role: "assistant", content: "seven" },
    { role: "user", content: "and?" },
  ]);
});

test("settings are sent where they say something, and refused by name where they are wrong", () => {
  const turns = [{ role: "user", content: "hi" }];
  const of = (settings, abilities) => {
    const { model, messages, stream, stream_options, ...rest } = requestOf(turns, "m", settings, abilities);
    assert.deepEqual([model, stream, stream_options], ["m", true, { include_usage: true }]);
    return { messages, ...rest };
  };
  assert.deepEqual(of({}), { messages: turns });
  assert.deepEqual(of({ system: "s", temperature: "0.5", top_k: "4", seed: "7", thinking: "off", format: "json" }, { reasoning_switch: true }), {
    messages: [{ role: "system", content: "s" }, ...turns], temperature: 0.5, top_k: 4, seed: 7, reasoning_effort: "none",
    response_format: { type: "json_object" },
  });
  assert.equal(of({ thinking: "on" }, { reasoning_switch: false }).reasoning_effort, undefined);
  const tool = { name: "f", parameters: {} };
  assert.deepEqual(of({ tools: JSON.stringify([tool, { type: "function", function: tool }]) }).tools,
    [{ type: "function", function: tool }, { type: "function", function: tool }]);
  assert.deepEqual(of({ format: "schema", schema: "{}" }).response_format.json_schema.schema, {});
  for (const [setting, text] of [["temperature", "hot"], ["temperature", "3"], ["top_k", "1.5"], ["seed", "-1"], ["tools", "["], ["tools", "[1]"], ["tools", "[{}]"]]) {
    assert.throws(() => of({ [setting]: text }), (error) => error.setting === setting && error.message !== "", `${setting} ${text}`);
  }
  assert.throws(() => of({ format: "schema", schema: "[]" }), { setting: "schema" });
  assert.equal(numberOf("temperature", " "), null);
  assert.deepEqual(toolsOf(""), []);
});

test("titles are the beginning of the first question", () => {
  const title = (content) => titleOf([{ role: "user", content }]);
  assert.equal(title("  What\n is this? "), "What is this?");
  assert.equal(title(`${"word ".repeat(30)}`), `${"word ".repeat(11)}word…`);
  assert.equal(Array.from(title("😀".repeat(100))).length, 61);
  assert.equal(title(""), "New chat");
});

/* Export and import */

test("what is exported is imported, and nothing that was not asked for", () => {
  const chat = {
    id: "1", title: "T", created: 1, updated: 2, model: "m", settings: { seed: "7" },
    turns: [{ role: "user", content: "hi" }, {
      role: "assistant", content: "c", reasoning: "r", calls: [{ id: "c", name: "f", arguments: "{}", result: "7" }], model: "m",
      finish: "stop", isStopped: true, usage: { prompt_tokens: 3, prompt_tokens_details: { cached_tokens: 1 } }, timings: { total_ms: 4 },
    }],
  };
  assert.deepEqual(imported(exported([chat])), [chat]);
  const odd = { ...chat, evil: 1, settings: { seed: 7, __proto__: { x: "1" } }, turns: [{ role: "user", content: "hi", html: "<b>" }] };
  assert.deepEqual(imported(exported([odd])), [{ ...chat, settings: {}, turns: [{ role: "user", content: "hi" }] }]);
  for (const [text, says] of [
    ["{", "not JSON"], ["null", "not exported here"], ["[]", "not exported here"],
    [exported([]).replace('"version": 1', '"version": 9'), "form 9"],
    [exported([{ ...chat, title: 7 }]), "chats[0].title"],
    [exported([chat, { ...chat, turns: [{ role: "king", content: "" }] }]), "chats[1].turns[0].role"],
    [exported([{ ...chat, turns: {} }]), "chats[0].turns"],
    [exported([null]), "chats[0].turns"],
  ]) assert.throws(() => imported(text), (error) => error.message.includes(says), text);
});
