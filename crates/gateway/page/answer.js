// A conversation as the browser keeps it, and as `/v1/chat/completions` takes and gives it.
//
// A turn is `{ role: "user", content }` or an answer:
// `{ role: "assistant", content, reasoning, calls, model, … }`, where each call has `id`, `name`,
// `arguments` and, once somebody has said it, `result`.

/** What a tool is said to have answered where the user went on without a result. */
export const NO_RESULT = "(no result was given)";

/** An answer that has said nothing yet. */
export function newAnswer(model) {
  return { role: "assistant", content: "", reasoning: "", calls: [], model };
}

/**
 * Adds one chunk of a stream to an answer.
 * Throws an Error for a chunk that reports one, with the server's message.
 */
export function addChunk(answer, chunk) {
  if (chunk.error) {
    const { message, code } = chunk.error;
    throw Object.assign(new Error(message ?? String(chunk.error)), { code, isFromServer: true });
  }
  if (chunk.usage) answer.usage = chunk.usage;
  if (chunk.timings) answer.timings = chunk.timings;
  const choice = chunk.choices?.find(({ index }) => (index ?? 0) === 0);
  if (!choice) return;
  const delta = choice.delta ?? {};
  answer.content += delta.content ?? "";
  answer.reasoning += delta.reasoning_content ?? delta.reasoning ?? "";
  for (const piece of delta.tool_calls ?? []) addCall(answer.calls, piece);
  if (choice.finish_reason) answer.finish = choice.finish_reason;
}

function addCall(calls, piece) {
  const { index = 0, id, function: { name, arguments: text } = {} } = piece;
  // Calls come in order, so a new one has the next place.
  const place = Math.min(index, calls.length);
  calls[place] ??= { id: "", name: "", arguments: "" };
  const call = calls[place];
  if (id) call.id = id;
  call.name += name ?? "";
  call.arguments += text ?? "";
}

/** Whether an answer has nothing that could be shown or sent. */
export function isEmpty(answer) {
  return answer.content === "" && answer.reasoning === "" && answer.calls.length === 0;
}

/** Whether every call of an answer has a result, and there is one. */
export function isAnswered(answer) {
  return answer.calls.length > 0 && answer.calls.every(({ result }) => result !== undefined);
}

/**
 * The turns as messages. A question that got no answer is left out once another follows: it may
 * be why there was none, and templates want the roles in turns.
 */
export function messagesOf(turns, system) {
  const messages = system ? [{ role: "system", content: system }] : [];
  turns.forEach((turn, index) => {
    const next = turns[index + 1];
    if (turn.role === "assistant") {
      if (!isEmpty(turn)) addAnswer(messages, turn);
    } else if (!next || (next.role === "assistant" && !isEmpty(next))) {
      messages.push({ role: "user", content: turn.content });
    }
  });
  return messages;
}

function addAnswer(messages, turn) {
  const isSilent = turn.content === "" && turn.calls.length > 0;
  const message = { role: "assistant", content: isSilent ? null : turn.content };
  if (turn.reasoning) message.reasoning_content = turn.reasoning;
  if (turn.calls.length > 0) {
    message.tool_calls = turn.calls.map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments },
    }));
  }
  messages.push(message);
  for (const call of turn.calls) {
    messages.push({ role: "tool", tool_call_id: call.id, content: call.result ?? NO_RESULT });
  }
}

/** The numbers that may be set, their ranges, and whether they are whole. */
export const NUMBERS = {
  temperature: { label: "Temperature", min: 0, max: 2, step: 0.05 },
  top_p: { label: "Top-p", min: 0, max: 1, step: 0.01 },
  min_p: { label: "Min-p", min: 0, max: 1, step: 0.01 },
  top_k: { label: "Top-k", min: 0, max: 1e6, step: 1, isWhole: true },
  max_tokens: { label: "Most tokens", min: 1, max: 1e9, step: 1, isWhole: true },
  seed: { label: "Seed", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, isWhole: true },
};

/**
 * The number that a field says, or null where it is empty: the model's own default holds.
 * Throws an Error that says what was expected.
 */
export function numberOf(name, text) {
  const { label, min, max, isWhole } = NUMBERS[name];
  const trimmed = text.trim();
  if (trimmed === "") return null;
  const value = Number(trimmed);
  if (!Number.isFinite(value) || value < min || value > max || (isWhole && !Number.isInteger(value))) {
    const kind = isWhole ? "a whole number" : "a number";
    throw new Error(`${label}: expected ${kind} from ${min} to ${max}, got “${trimmed}”`);
  }
  return value;
}

/**
 * The tools of the settings' text: OpenAI's list, or functions without their wrapper.
 * Throws an Error that says what is wrong.
 */
export function toolsOf(text) {
  if (text.trim() === "") return [];
  const given = parsed("Tools", text);
  const list = Array.isArray(given) ? given : [given];
  return list.map((tool, index) => {
    const wrapped = tool?.type === "function" && tool.function ? tool : { type: "function", function: tool };
    if (typeof wrapped.function?.name !== "string" || wrapped.function.name === "") {
      throw new Error(`Tools: number ${index + 1} has no name`);
    }
    return wrapped;
  });
}

function parsed(label, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${label}: this is not JSON (${error.message})`);
  }
}

function formatOf({ format, schema }) {
  if (format === "json") return { type: "json_object" };
  if (format !== "schema") return null;
  const value = parsed("JSON schema", schema ?? "");
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Error("JSON schema: expected an object");
  }
  return { type: "json_schema", json_schema: { name: "answer", schema: value } };
}

/**
 * The body of a call.
 * Throws an Error, with the name of the setting in `setting`, for settings that cannot be sent.
 */
export function requestOf(turns, model, settings, capabilities) {
  const body = {
    model,
    messages: messagesOf(turns, (settings.system ?? "").trim()),
    stream: true,
    stream_options: { include_usage: true },
  };
  const set = (setting, name, make) => {
    try {
      const value = make();
      if (value !== null) body[name] = value;
    } catch (error) {
      throw Object.assign(error, { setting });
    }
  };
  for (const name of Object.keys(NUMBERS)) {
    set(name, name, () => numberOf(name, settings[name] ?? ""));
  }
  set("tools", "tools", () => {
    const tools = toolsOf(settings.tools ?? "");
    return tools.length > 0 ? tools : null;
  });
  set("schema", "response_format", () => formatOf(settings));
  // Where the model has no switch the choice would be without effect.
  if (capabilities?.reasoning_switch && settings.thinking) {
    body.reasoning_effort = settings.thinking === "off" ? "none" : "medium";
  }
  return body;
}

/** A chat's name: the beginning of its first question. */
export function titleOf(turns) {
  const first = turns.find(({ role }) => role === "user")?.content ?? "";
  const line = first.trim().replaceAll(/\s+/g, " ");
  const characters = Array.from(line);
  if (characters.length <= 60) return line || "New chat";
  const cut = characters.slice(0, 60);
  const space = cut.lastIndexOf(" ");
  return `${cut.slice(0, space < 40 ? 60 : space).join("")}…`;
}
