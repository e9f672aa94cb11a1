// Chats as a file: what export writes and import reads, checked piece by piece.

export const FORMAT = "freehold-chats";
const VERSION = 1;
/** Largest file that is read, in bytes, and most chats in one. */
export const FILE_BYTES_MAX = 256 << 20;
const CHATS_MAX = 100_000;

/** The text of a file with these chats. */
export function exported(chats) {
  return JSON.stringify({ format: FORMAT, version: VERSION, chats }, null, 1);
}

/**
 * The chats of a file's text, with nothing in them that was not asked for.
 * Throws an Error that says what is wrong and where.
 */
export function imported(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON.");
  }
  if (file?.format !== FORMAT) throw new Error("This file was not exported here: it has no chats.");
  if (file.version !== VERSION) throw new Error(`This file has the form ${file.version}; this page reads ${VERSION}.`);
  if (!Array.isArray(file.chats)) throw new Error("chats: expected a list");
  if (file.chats.length > CHATS_MAX) throw new Error(`chats: more than ${CHATS_MAX}`);
  return file.chats.map((chat, index) => chatOf(chat, `chats[${index}]`));
}

function chatOf(chat, where) {
  const turns = listOf(chat, "turns", where).map((turn, index) => turnOf(turn, `${where}.turns[${index}]`));
  return {
    id: textOf(chat, "id", where),
    title: textOf(chat, "title", where),
    created: numberOf(chat, "created", where),
    updated: numberOf(chat, "updated", where),
    model: chat.model === null ? null : textOf(chat, "model", where),
    settings: settingsOf(chat.settings),
    turns,
  };
}

function settingsOf(settings) {
  const entries = Object.entries(settings ?? {}).filter(([, value]) => typeof value === "string");
  return Object.fromEntries(entries);
}

function turnOf(turn, where) {
  const role = textOf(turn, "role", where);
  const content = textOf(turn, "content", where);
  if (role === "user") return { role, content };
  if (role !== "assistant") throw new Error(`${where}.role: expected user or assistant, got “${role}”`);
  const calls = listOf(turn, "calls", where).map((call, index) => callOf(call, `${where}.calls[${index}]`));
  const made = { role, content, calls, reasoning: textOf(turn, "reasoning", where) };
  for (const name of ["model", "finish"]) {
    if (typeof turn[name] === "string") made[name] = turn[name];
  }
  if (turn.isStopped === true) made.isStopped = true;
  for (const name of ["usage", "timings"]) {
    if (turn[name]) made[name] = numbersOf(turn[name]);
  }
  return made;
}

/** The numbers of an object, and those of the objects in it. */
function numbersOf(object) {
  const kept = {};
  for (const [name, value] of Object.entries(object)) {
    if (typeof value === "number") kept[name] = value;
    else if (name.endsWith("_details") && value) kept[name] = numbersOf(value);
  }
  return kept;
}

function callOf(call, where) {
  const made = {};
  for (const name of ["id", "name", "arguments"]) made[name] = textOf(call, name, where);
  if (call.result !== undefined) made.result = textOf(call, "result", where);
  return made;
}

function listOf(object, name, where) {
  if (!Array.isArray(object?.[name])) throw new Error(`${where}.${name}: expected a list`);
  return object[name];
}

function textOf(object, name, where) {
  if (typeof object?.[name] !== "string") throw new Error(`${where}.${name}: expected a text`);
  return object[name];
}

function numberOf(object, name, where) {
  if (!Number.isFinite(object?.[name])) throw new Error(`${where}.${name}: expected a number`);
  return object[name];
}
