// The turns of a conversation on the page: questions, and answers while and after they are written.

import { isAnswered, isEmpty } from "./answer.js";
import { copy, h, icon, iconButton } from "./dom.js";
import { GrowingView } from "./render.js";

/**
 * The element of a question; `on` has `edit(text)`.
 */
export function questionElement(turn, on) {
  const text = h("div", { class: "text", dir: "auto" }, turn.content);
  const copyButton = iconButton("copy", "Copy message", () => copy(turn.content, copyButton));
  const edit = iconButton("edit", "Edit and send again", () => editQuestion(element, turn, on));
  const element = h("article", { class: "question", "aria-label": "You" },
    text, h("div", { class: "actions" }, edit, copyButton));
  return element;
}

function editQuestion(element, turn, on) {
  const before = [...element.childNodes];
  const area = h("textarea", { dir: "auto", value: turn.content, "aria-label": "Edit your message" });
  const end = () => {
    element.classList.remove("edited");
    element.replaceChildren(...before);
    element.querySelector("button").focus();
  };
  const send = () => {
    const text = area.value.trim();
    if (text !== "") on.edit(text);
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      end();
    } else if (isSend(event)) {
      event.preventDefault();
      send();
    }
  });
  area.addEventListener("input", () => fit(area));
  element.classList.add("edited");
  element.replaceChildren(area, h("div", { class: "buttons" },
    h("button", { type: "button", onclick: end }, "Cancel"),
    h("button", { type: "button", class: "primary", onclick: send }, "Send")));
  fit(area);
  area.focus();
}

/** Whether a key sends: Enter alone, and not the one that ends the composition of a character. */
export function isSend(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

/** Makes a text field as high as its text, within what its style allows. */
export function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

/** An answer on the page. */
export class AnswerView {
  #turn;
  #on;
  #thought = null;
  #text;
  #shown = { content: 0, reasoning: 0, state: "" };
  #calls = h("div", { class: "calls" });
  #end = h("div", { class: "end" });
  #body = h("div", { class: "text" });
  #waiting = h("div", { class: "waiting" });

  /**
   * `on` has `again()`, `results(list)`, `contextLength(model)` and `isLast()`; a turn that
   * `isRunning` is drawn by `update` as it grows.
   */
  constructor(turn, on, isRunning) {
    this.#turn = turn;
    this.#on = on;
    this.element = h("article", { class: "answer", "aria-label": "Answer" },
      this.#waiting, this.#body, this.#calls, this.#end);
    this.#text = new GrowingView(this.#body);
    this.update(isRunning);
  }

  /** What is waited for, as long as nothing has come. */
  wait(text) {
    if (isEmpty(this.#turn)) {
      if (!this.#waiting.hasChildNodes()) this.#waiting.append(h("span", { class: "pulse" }), h("span"));
      this.#waiting.lastChild.textContent = text;
    } else {
      this.#waiting.replaceChildren();
    }
  }

  /** Draws what is new; returns whether everything is drawn. */
  update(isRunning) {
    const turn = this.#turn;
    if (!isRunning || !isEmpty(turn)) this.#waiting.replaceChildren();
    this.element.classList.toggle("running", isRunning);
    let isDrawn = this.#drawReasoning(isRunning);
    if (turn.content.length > this.#shown.content) {
      this.#text.push(turn.content.slice(this.#shown.content));
      this.#shown.content = turn.content.length;
    }
    isDrawn = this.#text.draw() && isDrawn;
    if (!isRunning) this.#text.finish();
    this.#drawCalls(isRunning);
    if (!isRunning) this.#drawEnd();
    return isDrawn;
  }

  #drawReasoning(isRunning) {
    const turn = this.#turn;
    if (turn.reasoning === "") return true;
    if (!this.#thought) this.#thought = this.#makeThought();
    const { summary, view, details } = this.#thought;
    const isThinking = isRunning && turn.content === "" && turn.calls.length === 0;
    const seconds = turn.reasoningMs ? Math.max(1, Math.round(turn.reasoningMs / 1000)) : null;
    const words = isThinking ? "Thinking" : "Thought";
    const label = seconds === null ? words : `${words} for ${seconds} s`;
    if (summary.textContent !== label) summary.textContent = label;
    details.classList.toggle("thinking", isThinking);
    if (turn.reasoning.length > this.#shown.reasoning) {
      view.push(turn.reasoning.slice(this.#shown.reasoning));
      this.#shown.reasoning = turn.reasoning.length;
    }
    // Nobody sees a closed fold, so it is drawn when it is opened.
    if (!details.open) return true;
    const isDrawn = view.draw();
    if (!isRunning) view.finish();
    return isDrawn;
  }

  #makeThought() {
    const inside = h("div", { class: "text" });
    const summary = h("summary");
    const view = new GrowingView(inside);
    const details = h("details", { class: "thought", ontoggle: () => details.open && view.draw(0, true) }, summary, inside);
    this.element.insertBefore(details, this.#body);
    return { summary, view, details };
  }

  #drawCalls(isRunning) {
    const { calls } = this.#turn;
    if (calls.length === 0) return;
    const state = `${isRunning} ${this.#on.isLast()} ${calls.map((call) => `${call.name} ${call.arguments.length} ${call.result}`).join()}`;
    if (state === this.#shown.state) return;
    this.#shown.state = state;
    const cards = calls.map((call) => h("section", { class: "call", "aria-label": `Call of ${call.name}` },
      h("h3", {}, icon("tool"), h("span", {}, "Calls "), h("code", { dir: "ltr" }, call.name)),
      h("pre", { tabIndex: 0, role: "region", "aria-label": "Arguments", dir: "ltr" }, pretty(call.arguments)),
      call.result === undefined ? null : h("h4", {}, "Result"),
      call.result === undefined ? null
        : h("pre", { tabIndex: 0, role: "region", "aria-label": "Result", dir: "auto" }, call.result)));
    const asks = !isRunning && !isAnswered(this.#turn) && this.#on.isLast();
    if (asks) this.#calls.replaceChildren(this.#resultForm(cards));
    else this.#calls.replaceChildren(...cards);
  }

  #resultForm(cards) {
    const { calls } = this.#turn;
    const fields = calls.map((call, index) => {
      const area = h("textarea", { rows: 2, dir: "auto", class: "mono", placeholder: "What the tool answers" });
      area.addEventListener("input", () => fit(area));
      cards[index].append(h("label", {}, `Result of ${call.name}`, area));
      return area;
    });
    const form = h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        this.#on.results(fields.map(({ value }) => value));
      },
    }, ...cards, h("div", { class: "buttons" },
      h("button", { type: "submit", class: "primary" }, calls.length > 1 ? "Send results" : "Send result")));
    form.addEventListener("keydown", (event) => {
      if (event.target.tagName === "TEXTAREA" && isSend(event)) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    return form;
  }

  #drawEnd() {
    const turn = this.#turn;
    const copyButton = iconButton("copy", "Copy answer", () => copy(turn.content, copyButton));
    const notes = this.#notes();
    this.#end.replaceChildren(
      ...notes.map((note) => h("p", { class: "note" }, note)),
      turn.error ? this.#trouble(turn.error) : "",
      h("div", { class: "actions" },
        turn.content === "" ? null : copyButton,
        iconButton("again", "Answer again", () => this.#on.again()),
        h("span", { class: "figures", title: figuresAtLength(turn) }, figures(turn, this.#on.contextLength(turn.model)))),
    );
  }

  #notes() {
    const { finish, isStopped, usage, model, error } = this.#turn;
    if (isEmpty(this.#turn) && !this.#on.isLast()) return ["Without an answer; later questions are sent without this one."];
    if (isStopped) return ["Stopped."];
    // The page was closed while it was written, or another tab writes it now.
    if (!finish && !error) return ["The answer is not complete."];
    if (finish && isEmpty(this.#turn)) return ["The model answered nothing."];
    if (finish !== "length") return [];
    const context = this.#on.contextLength(model);
    const isFull = context && usage && usage.prompt_tokens + usage.completion_tokens >= context;
    return [isFull ? "The answer was cut: the model’s context is full." : "The answer was cut: it reached its longest length."];
  }

  #trouble({ title, detail, retryAfter }) {
    const again = retryAfter ? `The server says to try again in ${retryAfter} s.` : "";
    return h("div", { class: "trouble", role: "alert" }, icon("warning"),
      h("div", {}, h("p", {}, title), detail && detail !== title ? h("p", { class: "detail", dir: "auto" }, detail) : null,
        again ? h("p", { class: "detail" }, again) : null),
      h("button", { type: "button", onclick: () => this.#on.again() }, "Try again"));
  }
}

/** Arguments as they are easy to read, once they are whole. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const number = (value) => value.toLocaleString(undefined, { maximumFractionDigits: value < 100 ? 1 : 0 });

/** The figures of an answer in a line. */
function figures({ usage, timings, model }, contextLength) {
  if (!usage) return model ?? "";
  const parts = [`${number(usage.completion_tokens)} tokens`];
  const speed = timings?.decode_tokens_per_second;
  if (speed) parts.push(`${number(speed)} tokens/s`);
  const total = usage.prompt_tokens + usage.completion_tokens;
  if (contextLength) parts.push(`context ${number(total)} of ${number(contextLength)}`);
  return parts.join(" · ");
}

function figuresAtLength({ usage, timings, model }) {
  const lines = [model ?? ""];
  if (usage) {
    const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
    const thought = usage.completion_tokens_details?.reasoning_tokens ?? 0;
    lines.push(`prompt: ${number(usage.prompt_tokens)} tokens${cached ? `, ${number(cached)} of them known from before` : ""}`);
    lines.push(`answer: ${number(usage.completion_tokens)} tokens${thought ? `, ${number(thought)} of them thinking` : ""}`);
  }
  if (timings?.first_token_ms) lines.push(`first token after ${number(timings.first_token_ms / 1000)} s`);
  if (timings?.prefill_tokens_per_second) lines.push(`prompt read at ${number(timings.prefill_tokens_per_second)} tokens per second`);
  return lines.filter(Boolean).join("\n");
}

