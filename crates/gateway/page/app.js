// The chat page: which chat is shown, what is being answered, and what the user did.

import { addChunk, isEmpty, newAnswer, requestOf, titleOf } from "./answer.js";
import * as api from "./api.js";
import { askKey, askText, askWhether, toast } from "./dialogs.js";
import { announce, byId, h } from "./dom.js";
import { FILE_BYTES_MAX, exported, imported } from "./exchange.js";
import { drawSettings } from "./settings.js";
import { drawChats, wireSidebar } from "./sidebar.js";
import { openStore } from "./store.js";
import { AnswerView, fit, isSend, questionElement } from "./turns.js";

/** How often a growing answer is kept, and how often a silent server is asked for the model's state. */
const SAVE_MS = 2000;
const ASK_MS = 1500;
/** How near to the end counts as at the end, in pixels. */
const END_PX = 48;

const IDEAS = [
  "Explain how a transformer predicts the next word, to a curious teenager",
  "Write a Python function that finds the longest common prefix of a list of words",
  "Compare SQLite and PostgreSQL in a table",
  "Help me word a friendly reminder about an unpaid invoice",
];

const local = api.localStorageOrNull();
const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("freehold");

let store;
let heads = [];
/** The chat on the page; it is kept once it has a turn. */
let chat;
/** Answers under way by chat id: `{ chat, answer, controller }`. */
const running = new Map();
let view = null;
let models = [];
let abilities = new Map();
let isAtEnd = true;
let drawing = 0;

/* Chats */

function newChat() {
  const model = local?.getItem("freehold.model") ?? null;
  let settings = {};
  try {
    settings = JSON.parse(local?.getItem("freehold.defaults") ?? "{}");
  } catch { /* what cannot be read is as if it were not there */ }
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, model, settings, turns: [] };
}

/** Over plain HTTP from another machine browsers have no `randomUUID`. */
function newId() {
  return crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
}

/** Shows the chat that the address names, or a new one. */
async function route() {
  const id = location.hash.slice(1);
  if (chat && id === chat.id) return;
  keepDraft();
  const found = running.get(id)?.chat ?? (id ? await store.get(id) : undefined);
  chat = found ?? newChat();
  if (id && !found) history.replaceState(null, "", location.pathname);
  drawAll();
  byId("question").value = draftOf(chat);
  fit(byId("question"));
  closeDrawer();
  if (matchMedia("(pointer: fine)").matches) byId("question").focus();
}

const draftKey = ({ turns, id }) => `freehold.draft.${turns.length > 0 ? id : ""}`;

function keepDraft() {
  try {
    if (!chat) return;
    const text = byId("question").value;
    if (text) sessionStorage.setItem(draftKey(chat), text);
    else sessionStorage.removeItem(draftKey(chat));
  } catch { /* it is a convenience */ }
}

function draftOf(ofChat) {
  try {
    return sessionStorage.getItem(draftKey(ofChat)) ?? "";
  } catch {
    return "";
  }
}

/** Keeps a chat; what the browser refuses is said once and stays on the page. */
async function save(saved) {
  try {
    await store.put(structuredClone(saved));
    channel?.postMessage({ id: saved.id });
  } catch (error) {
    const why = error?.name === "QuotaExceededError"
      ? "The browser has no more room for chats. Export them and delete some; this one is lost when the page is closed."
      : "The browser did not keep this chat; it is lost when the page is closed.";
    toast(why);
  }
  await refreshList();
}

async function refreshList() {
  heads = await store.heads();
  drawList();
}

let matches = null;

function drawList() {
  const shown = matches ? heads.filter(({ id }) => matches.has(id)) : heads;
  drawChats(shown, chat?.id, running, { rename, remove });
}

async function search() {
  const text = byId("search").value.trim();
  matches = text ? await store.search(text) : null;
  drawList();
}

async function rename(head) {
  const title = await askText("Rename chat", "Name", head.title, "Rename");
  if (!title) return;
  const renamed = head.id === chat.id ? chat : (running.get(head.id)?.chat ?? await store.get(head.id));
  renamed.title = title;
  await save(renamed);
  drawTitle();
}

async function remove(head) {
  giveUp(head.id);
  const removed = await store.get(head.id);
  await store.delete(head.id);
  channel?.postMessage({ id: head.id });
  if (head.id === chat.id) show(null);
  await refreshList();
  byId("new-chat").focus();
  toast("The chat was deleted.", removed && { label: "Undo", run: () => save(removed) });
}

async function removeAll() {
  if (heads.length === 0) return toast("There are no chats.");
  const text = `${heads.length} ${heads.length === 1 ? "chat is" : "chats are"} deleted for good. Export them first if you may want them again.`;
  if (!await askWhether("Delete all chats?", text, "Delete all")) return undefined;
  for (const id of [...running.keys()]) giveUp(id);
  await store.clear();
  channel?.postMessage({ id: null });
  show(null);
  await refreshList();
  toast("All chats were deleted.");
}

function show(id) {
  if (id) {
    location.hash = id;
  } else {
    chat = null;
    history.pushState(null, "", location.pathname);
    route();
  }
}

async function exportAll() {
  const text = exported(await store.all());
  const link = h("a", {
    href: URL.createObjectURL(new Blob([text], { type: "application/json" })),
    download: `freehold-chats-${new Date().toISOString().slice(0, 10)}.json`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function importFile(file) {
  try {
    if (file.size > FILE_BYTES_MAX) throw new Error(`The file is longer than ${FILE_BYTES_MAX >> 20} MiB.`);
    const chats = imported(await file.text());
    const known = new Set(heads.map(({ id }) => id));
    // A chat that is there already stays as it is; the file's becomes another one.
    for (const one of chats) {
      if (known.has(one.id) || !/^[\w.-]{1,64}$/.test(one.id)) one.id = newId();
      known.add(one.id);
    }
    await store.put(...chats);
    channel?.postMessage({ id: null });
    await refreshList();
    toast(`${chats.length} ${chats.length === 1 ? "chat was" : "chats were"} imported.`);
  } catch (error) {
    toast(`Nothing was imported. ${error.message}`);
  }
}

/* The conversation on the page */

/** What is on the page: `{ turn, element, answer }` for each turn. */
let drawn = [];

function drawAll() {
  drawTurns();
  byId("welcome").hidden = chat.turns.length > 0;
  isAtEnd = true;
  drawTitle();
  drawList();
  drawComposer();
  drawModels();
  toEnd();
}

/** Draws the turns; those that are on the page already stay, however long they are. */
function drawTurns() {
  const run = running.get(chat.id);
  const n_same = drawn.findIndex(({ turn }, index) => turn !== chat.turns[index]);
  const gone = drawn.splice(n_same < 0 ? drawn.length : n_same);
  for (const { element } of gone) element.remove();
  // It may have been the last one, and be so no more.
  drawn.at(-1)?.answer?.update(run?.answer === drawn.at(-1).turn);
  const added = chat.turns.slice(drawn.length).map((turn, index) => drawnTurn(turn, drawn.length + index, run));
  byId("turns").append(...added.map(({ element }) => element));
  drawn.push(...added);
  view = drawn.find(({ turn }) => turn === run?.answer)?.answer ?? null;
}

function drawnTurn(turn, index, run) {
  if (turn.role === "user") {
    return { turn, element: questionElement(turn, { edit: (text) => ask(text, index) }), answer: null };
  }
  const answer = new AnswerView(turn, {
    isLast: () => turn === chat.turns.at(-1),
    again: () => again(index),
    results: (list) => giveResults(turn, list),
    contextLength: (model) => models.find(({ id }) => id === model)?.context_length ?? null,
  }, run?.answer === turn);
  return { turn, element: answer.element, answer };
}

function drawTitle() {
  const title = chat.title || "New chat";
  byId("chat-title").textContent = title;
  document.title = chat.title ? `${title} · Freehold` : "Freehold";
}

function drawComposer() {
  const button = byId("send");
  const isRunning = running.has(chat.id);
  const [name, label] = isRunning ? ["stop", "Stop"] : ["send", "Send"];
  button.setAttribute("aria-label", label);
  button.title = isRunning ? "Stop (Esc)" : "Send (Enter)";
  button.querySelector("use").setAttribute("href", `#icon-${name}`);
  byId("composer").classList.toggle("running", isRunning);
}

function toEnd() {
  const scroller = byId("scroller");
  scroller.scrollTop = scroller.scrollHeight;
  byId("to-end").hidden = true;
}

function onScroll() {
  const scroller = byId("scroller");
  isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < END_PX;
  byId("to-end").hidden = isAtEnd;
}

/** Draws the answer that grows, once a frame at most. */
function scheduleDrawing() {
  if (drawing) return;
  drawing = requestAnimationFrame(() => {
    drawing = 0;
    if (!view || !running.has(chat.id)) return;
    if (!view.update(true)) scheduleDrawing();
    if (isAtEnd) toEnd();
    else onScroll();
  });
}

/* Asking and answering */

/**
 * Asks in this chat; with `index`, in place of that turn and of all that followed it.
 * False where nothing was sent.
 */
function ask(text, index = chat.turns.length) {
  const turns = [...chat.turns.slice(0, index), { role: "user", content: text }];
  return generate(turns, index < chat.turns.length - 1);
}

function again(index) {
  return generate(chat.turns.slice(0, index), index < chat.turns.length - 1);
}

function giveResults(turn, list) {
  turn.calls.forEach((call, index) => {
    call.result = list[index];
  });
  if (generate(chat.turns, false)) return;
  for (const call of turn.calls) delete call.result;
}

/** The body of a call that answers these turns, or null after the user was told what is missing. */
function bodyOf(turns) {
  if (!chat.model) {
    toast(models.length > 0 ? "None of the server’s models can chat." : "The server has no model to answer; “freehold serve MODEL” starts one.");
    return null;
  }
  try {
    return requestOf(turns, chat.model, chat.settings, abilities.get(chat.model));
  } catch (error) {
    openSettings(error);
    return null;
  }
}

/** Has the last of these turns answered, which take the place of the chat's own. */
function generate(turns, isShorter) {
  const asked = chat;
  const body = bodyOf(turns);
  if (!body) return false;
  if (running.has(asked.id)) stop(asked.id);
  const before = { turns: asked.turns, title: asked.title };
  const answer = newAnswer(asked.model);
  asked.turns = [...turns, answer];
  asked.title ||= titleOf(asked.turns);
  asked.updated = Date.now();
  const run = { chat: asked, answer, controller: new AbortController() };
  running.set(asked.id, run);
  if (location.hash.slice(1) !== asked.id) history.pushState(null, "", `#${asked.id}`);
  drawAll();
  announce("Answering");
  if (isShorter) offerUndo(asked, before);
  answerWith(run, body);
  return true;
}

function offerUndo(asked, before) {
  toast("Later messages were removed.", {
    label: "Undo",
    run: () => {
      giveUp(asked.id);
      Object.assign(asked, before);
      save(asked);
      if (asked === chat) drawAll();
    },
  });
}

async function answerWith(run, body) {
  const { chat: asked, answer, controller } = run;
  const begun = performance.now();
  let [first, isTold] = [null, false];
  const waiting = setInterval(() => wait(run, begun), ASK_MS);
  if (asked === chat) view?.wait("Waiting for the model …");
  const saving = setInterval(() => save(asked), SAVE_MS);
  save(asked);
  const onChunk = (chunk) => {
    addChunk(answer, chunk);
    if (isEmpty(answer)) return;
    first ??= performance.now();
    if (answer.reasoning && !answer.content && answer.calls.length === 0) answer.reasoningMs = performance.now() - first;
    if (asked === chat) scheduleDrawing();
  };
  try {
    await api.complete(body, controller.signal, onChunk);
  } catch (error) {
    isTold = true;
    await failed(run, error);
  } finally {
    clearInterval(waiting);
    clearInterval(saving);
  }
  // The user may have undone or replaced it meanwhile.
  if (running.get(asked.id) !== run) return;
  running.delete(asked.id);
  asked.updated = Date.now();
  if (asked === chat) {
    view?.update(false);
    view = null;
    drawComposer();
    if (isAtEnd) toEnd();
  }
  if (!isTold) announce(spoken(answer));
  save(asked);
  refreshModels();
}

/** What is said of a whole answer: itself where it is short. */
function spoken({ content, calls }) {
  if (calls.length > 0) return `The model calls ${calls.map(({ name }) => name).join(" and ")} and waits for the result.`;
  return content.length <= 400 ? `Answer: ${content}` : `The answer is complete, ${content.split(/\s+/).length} words.`;
}

async function failed(run, error) {
  const { answer } = run;
  if (error.name === "AbortError") {
    answer.isStopped = true;
    announce("Stopped");
    return;
  }
  const trouble = error.isFromServer ? api.troubleOf(500, error) : error;
  const { title, detail, status, retryAfter } = trouble;
  answer.error = title
    ? { title, detail, retryAfter }
    : { title: "The server said something that this page does not understand.", detail: error.message };
  if (status === 401 && await needKey(detail)) {
    // The same question again, now with a key, unless something else goes on.
    if (running.get(run.chat.id) === run && run.chat === chat) setTimeout(() => again(run.chat.turns.indexOf(answer)));
  }
}

/** Says what the silence is for: the model's load, or the prompt. */
async function wait(run, begun) {
  if (run.chat !== chat || !view || !isEmpty(run.answer)) return;
  const seconds = Math.round((performance.now() - begun) / 1000);
  await refreshModels();
  const state = models.find(({ id }) => id === run.answer.model)?.state;
  if (run.chat !== chat || !view || !isEmpty(run.answer) || !running.has(chat.id)) return;
  const doing = state === "cold" || state === "loading" ? `Loading ${run.answer.model} into memory` : "Reading the conversation";
  view.wait(`${doing} … ${seconds} s`);
}

function stop(id = chat.id) {
  running.get(id)?.controller.abort();
}

/** Stops, and keeps nothing of the answer. */
function giveUp(id) {
  stop(id);
  running.delete(id);
}

function submit() {
  const question = byId("question");
  const text = question.value.trim();
  if (text === "" || running.has(chat.id) || !ask(text)) return;
  question.value = "";
  fit(question);
  keepDraft();
}

/* Models, keys, settings */

let asking = null;

/** Asks for a key once, however many calls were refused; whether there is one now. */
function needKey(reason) {
  asking ??= (async () => {
    let message = "";
    for (;;) {
      const answer = await askKey(reason, message);
      if (!answer) return false;
      try {
        api.key.set(answer.key, answer.isKept);
        await api.models();
        await loadModels();
        return true;
      } catch (error) {
        if (error.status !== undefined && error.status !== 401) return true;
        message = error.status === 401 ? "The server does not know this key." : error.message;
        api.key.forget();
      }
    }
  })().finally(() => {
    asking = null;
  });
  return asking;
}

async function loadModels() {
  try {
    models = await api.models();
    notice("");
  } catch (error) {
    if (error.status === 401 && !asking) {
      if (await needKey(error.detail)) return;
      notice("Without a key this server answers nothing.", { label: "Enter a key", run: loadModels });
    } else if (error.status !== 401) {
      notice(error.title ?? error.message, { label: "Try again", run: loadModels });
    }
    return;
  }
  // Without it the page works; it only knows less.
  abilities = await api.capabilities().catch(() => new Map());
  drawModels();
}

async function refreshModels() {
  try {
    models = await api.models();
    drawModels();
  } catch { /* the call that goes on says what is wrong */ }
}

const STATES = { loading: "loading", cold: "not loaded", failed: "failed" };

function canChat({ id }) {
  return abilities.get(id)?.chat !== false;
}

function drawModels() {
  const select = byId("model");
  if (models.length === 0) {
    if (!select.disabled) select.replaceChildren(h("option", {}, "No models"));
    select.disabled = true;
    return;
  }
  const isThere = models.some((model) => model.id === chat.model && canChat(model));
  if (!isThere && !running.has(chat.id)) {
    chat.model = (models.find((model) => canChat(model) && model.state === "loaded") ?? models.find(canChat))?.id ?? null;
  }
  const options = models.map((model) => {
    const note = canChat(model) ? STATES[model.state] : "does not chat";
    return { id: model.id, text: note ? `${model.id} (${note})` : model.id, isOff: !canChat(model) };
  });
  const shown = JSON.stringify([options, chat.model]);
  if (select.dataset.shown === shown) return;
  select.dataset.shown = shown;
  select.disabled = false;
  select.replaceChildren(...options.map(({ id, text, isOff }) =>
    h("option", { value: id, selected: id === chat.model, disabled: isOff }, text)));
  const current = models.find(({ id }) => id === chat.model);
  byId("model-state").className = `dot ${current?.state ?? ""}`;
  select.title = current?.failure ? `Could not be loaded: ${current.failure}` : "Model";
}

/** A message above the field that stays until it is no longer true. */
function notice(text, action = null) {
  byId("notice").replaceChildren(...(text === "" ? [] : [h("span", {}, text)]));
  if (text !== "" && action) byId("notice").append(h("button", { type: "button", onclick: action.run }, action.label));
}

function about() {
  const model = abilities.get(chat.model);
  if (!model) return chat.model ?? "No model";
  const context = model.context_length ? `${model.context_length.toLocaleString()} tokens of context` : null;
  return [chat.model, model.family, model.quantization, context].filter(Boolean).join(" · ");
}

function openSettings(error = null) {
  const edited = chat;
  let saving = 0;
  drawSettings(edited.settings, about(), abilities.get(edited.model), {
    change: () => {
      clearTimeout(saving);
      if (edited.turns.length > 0) saving = setTimeout(() => save(edited), 400);
    },
    keepForNew: () => {
      local?.setItem("freehold.defaults", JSON.stringify(edited.settings));
      toast("New chats begin with these settings.");
    },
    reset: () => {
      edited.settings = {};
      if (edited.turns.length > 0) save(edited);
      openSettings();
    },
    forgetKey: api.key.get() === null ? null : () => {
      api.key.forget();
      byId("settings").close();
      toast("The key is forgotten.");
    },
  });
  const dialog = byId("settings");
  if (!dialog.open) dialog.showModal();
  if (error) {
    toast(error.message);
    const field = byId(`set-${error.setting}`);
    field?.closest("details")?.setAttribute("open", "");
    field?.focus();
  }
}

/* Theme and keys of the keyboard */

const THEMES = { auto: "as the system", light: "light", dark: "dark" };

function drawTheme() {
  const theme = document.documentElement.dataset.theme ?? "auto";
  const button = byId("theme");
  button.querySelector("use").setAttribute("href", `#icon-${theme}`);
  button.title = `Theme: ${THEMES[theme]}`;
  button.setAttribute("aria-label", button.title);
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const now = document.documentElement.dataset.theme ?? "auto";
  const next = names[(names.indexOf(now) + 1) % names.length];
  if (next === "auto") {
    delete document.documentElement.dataset.theme;
    local?.removeItem("freehold.theme");
  } else {
    document.documentElement.dataset.theme = next;
    local?.setItem("freehold.theme", next);
  }
  drawTheme();
  announce(byId("theme").title);
}

function onKey(event) {
  const isTyping = event.target.closest?.("input, textarea, select");
  const isOpen = document.querySelector("dialog[open]");
  const focuses = (event.key === "k" && (event.ctrlKey || event.metaKey)) || (event.key === "/" && !isTyping);
  if (focuses && !isOpen) {
    event.preventDefault();
    closeDrawer();
    byId("question").focus();
  } else if (event.key === "Escape" && !isOpen && !event.isComposing && !closeDrawer()) {
    stop();
  }
}

let closeDrawer = () => false;

function wire() {
  const on = (id, type, listener) => byId(id).addEventListener(type, listener);
  const question = byId("question");
  on("composer", "submit", (event) => {
    event.preventDefault();
    if (running.has(chat.id)) stop();
    else submit();
  });
  on("question", "keydown", (event) => {
    if (!isSend(event)) return;
    event.preventDefault();
    submit();
  });
  on("question", "input", () => fit(question));
  on("new-chat", "click", () => show(null));
  on("search", "input", search);
  on("export", "click", exportAll);
  on("import", "click", () => byId("import-file").click());
  on("import-file", "change", async ({ target }) => {
    if (target.files[0]) await importFile(target.files[0]);
    target.value = "";
  });
  on("delete-all", "click", removeAll);
  on("model", "change", ({ target }) => {
    chat.model = target.value;
    local?.setItem("freehold.model", target.value);
    drawModels();
    if (chat.turns.length > 0) save(chat);
  });
  on("open-settings", "click", () => openSettings());
  on("settings", "click", ({ target }) => target === byId("settings") && target.close());
  on("theme", "click", nextTheme);
  on("scroller", "scroll", onScroll);
  on("to-end", "click", () => {
    isAtEnd = true;
    toEnd();
  });
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", route);
  addEventListener("popstate", route);
  addEventListener("pagehide", () => {
    keepDraft();
    for (const run of running.values()) store.put(structuredClone(run.chat)).catch(() => {});
  });
  channel?.addEventListener("message", onOtherTab);
  byId("ideas").append(...IDEAS.map((idea) => h("button", {
    type: "button",
    onclick: () => {
      question.value = idea;
      fit(question);
      question.focus();
    },
  }, idea)));
}

/** Another tab changed a chat. */
async function onOtherTab({ data: { id } }) {
  await refreshList();
  if (!chat || chat.turns.length === 0 || running.has(chat.id) || (id !== null && id !== chat.id)) return;
  const now = await store.get(chat.id);
  if (!now) return show(null);
  chat = now;
  drawAll();
  return undefined;
}

async function start() {
  closeDrawer = wireSidebar();
  wire();
  drawTheme();
  store = await openStore();
  if (!store.isKept) byId("welcome-text").textContent = "The model runs on your own server. This browser keeps no chats: they end with the page.";
  await route();
  await refreshList();
  await loadModels();
}

start();
