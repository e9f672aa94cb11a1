// What the page asks the server, and what went wrong in words for people.

import { EventReader } from "./sse.js";

const KEY = "freehold.key";

/** The key that goes with every call: for this tab, or kept where the user asked for that. */
export const key = {
  get() {
    return read(sessionStorageOrNull()) ?? read(localStorageOrNull());
  },
  /** Throws an Error for what no header can carry. */
  set(text, isKept) {
    const trimmed = text.trim();
    if (!/^[\x21-\x7e]+$/.test(trimmed)) throw new Error("A key is letters, digits and signs, without spaces.");
    key.forget();
    (isKept ? localStorageOrNull() : sessionStorageOrNull())?.setItem(KEY, trimmed);
    memory = trimmed;
  },
  forget() {
    memory = null;
    for (const place of [sessionStorageOrNull(), localStorageOrNull()]) place?.removeItem(KEY);
  },
};

let memory = null;

function read(place) {
  return place?.getItem(KEY) ?? memory;
}

// A browser may forbid its storage altogether.
function sessionStorageOrNull() {
  try { return sessionStorage; } catch { return null; }
}

export function localStorageOrNull() {
  try { return localStorage; } catch { return null; }
}

/** An error that a person can act on. */
export class Trouble extends Error {
  /** `detail` is the server's own message; `retryAfter` is in seconds. */
  constructor(title, { detail = "", status = 0, code = "", retryAfter = null } = {}) {
    super(title);
    Object.assign(this, { title, detail, status, code, retryAfter });
  }
}

/** Plain words for a response that is an error; `error` is its body's. */
export function troubleOf(status, error, retryAfter) {
  const code = error?.code ?? "";
  const detail = typeof error === "string" ? error : (error?.message ?? "");
  return new Trouble(titleOf(status, code), { detail, status, code, retryAfter });
}

function titleOf(status, code) {
  const byCode = {
    context_length_exceeded: "This conversation has become longer than the model can read. "
      + "Begin a new chat, edit an earlier message to be shorter, or start the server with a larger context.",
    model_not_found: "The server does not have this model. Choose another one above.",
    model_exceeds_memory: "This model needs more memory than the server may use.",
    model_not_loaded: "There is no room for this model until others are done.",
    model_load_failed: "The model could not be loaded.",
    queue_full: "The server is busy: too many are waiting already.",
    shutting_down: "The server is stopping.",
    unsupported_parameter: "The server does not support one of the settings.",
    foreign_host: "The server is not reached by this name.",
  };
  if (byCode[code]) return byCode[code];
  const byStatus = {
    400: "The server refused this request.",
    401: "The server asks for a key.",
    403: "This is not allowed here.",
    404: "The server does not have what was asked for.",
    408: "The request took too long to arrive.",
    413: "The conversation is larger than the server takes.",
    429: "The server is busy, or this key has used up its share for now.",
    503: "The server cannot answer at the moment.",
  };
  return byStatus[status] ?? (status >= 500 ? "Something went wrong in the server." : "The server refused this request.");
}

async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const said = key.get();
  if (said) headers.set("authorization", `Bearer ${said}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const retryAfter = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  throw troubleOf(response.status, body?.error, Number.isNaN(retryAfter) ? null : retryAfter);
}

/** The models: what `/v1/models` lists, each with its `capabilities` where the server tells them. */
export async function models() {
  const list = (await (await ask("/v1/models")).json()).data ?? [];
  return list;
}

/** By model id: what `/v1/capabilities` says of it. */
export async function capabilities() {
  const list = (await (await ask("/v1/capabilities")).json()).models ?? [];
  return new Map(list.map((model) => [model.id, model]));
}

/**
 * Sends a chat completion and gives each chunk of its stream to `onChunk`.
 * Aborting `signal` closes the connection, at which the server stops generating.
 */
export async function complete(body, signal, onChunk) {
  const response = await ask("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const events = new EventReader();
  try {
    for (;;) {
      const { value, done } = await read_(reader);
      const text = done ? decoder.decode() : decoder.decode(value, { stream: true });
      for (const { data } of events.push(text)) {
        if (data === "[DONE]") return;
        onChunk(JSON.parse(data));
      }
      if (done) break;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new Trouble("The answer broke off: the connection ended before it was complete.");
}

async function read_(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The answer broke off: the connection to the server was lost.");
  }
}
