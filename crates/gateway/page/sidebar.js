// The list of chats: by day, searched, renamed, deleted.

import { byId, h, iconButton } from "./dom.js";

const DAY_MS = 24 * 60 * 60 * 1000;

/** Draws the list; `on` has `rename(head)` and `remove(head)`. */
export function drawChats(heads, currentId, runningIds, on) {
  // Drawing takes the focus away, so it is done only for what has changed.
  const shown = JSON.stringify([heads, currentId, [...runningIds.keys()], new Date().getDate()]);
  if (byId("chats").dataset.shown === shown) return;
  byId("chats").dataset.shown = shown;
  const groups = new Map();
  for (const head of heads) {
    const name = dayOf(head.updated);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(head);
  }
  const element = byId("chats");
  const { scrollTop } = element;
  const focused = document.activeElement?.closest?.("#chats li")?.querySelector("a").getAttribute("href");
  const row = (head) => h("li", { class: head.id === currentId ? "current" : null },
    h("a", {
      href: `#${head.id}`, dir: "auto", title: head.title,
      "aria-current": head.id === currentId ? "page" : null,
    }, head.title),
    runningIds.has(head.id) ? h("span", { class: "dot running", title: "answering" }) : null,
    iconButton("edit", `Rename “${head.title}”`, () => on.rename(head)),
    iconButton("delete", `Delete “${head.title}”`, () => on.remove(head)));
  const parts = [...groups].flatMap(([name, list]) => [h("h2", {}, name), h("ul", {}, ...list.map(row))]);
  element.replaceChildren(...parts);
  if (heads.length === 0) element.append(h("p", { class: "detail" }, "No chats."));
  element.scrollTop = scrollTop;
  if (focused) element.querySelector(`a[href=${JSON.stringify(focused)}]`)?.focus();
}

function dayOf(time, now = Date.now()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - DAY_MS) return "Yesterday";
  if (time >= midnight - 6 * DAY_MS) return "This week";
  return new Date(time).toLocaleDateString(undefined, { month: "long", year: "numeric" });
}

/** Wires the buttons that show and hide the list. */
export function wireSidebar() {
  const [button, root] = [byId("open-sidebar"), document.documentElement];
  const narrow = matchMedia("(max-width: 760px)");
  const isShown = () => (narrow.matches ? root.dataset.drawer === "open" : root.dataset.sidebar !== "hidden");
  const update = () => {
    button.setAttribute("aria-expanded", String(isShown()));
    byId("main").inert = narrow.matches && isShown();
  };
  const show = (isOn) => {
    if (narrow.matches) {
      root.dataset.drawer = isOn ? "open" : "closed";
    } else {
      root.dataset.sidebar = isOn ? "shown" : "hidden";
      try { localStorage.setItem("freehold.sidebar", root.dataset.sidebar); } catch { /* shown next time */ }
    }
    update();
    if (narrow.matches) (isOn ? byId("close-sidebar") : button).focus();
  };
  button.addEventListener("click", () => show(!isShown()));
  byId("close-sidebar").addEventListener("click", () => show(false));
  byId("shade").addEventListener("click", () => show(false));
  narrow.addEventListener("change", update);
  update();
  /** Closes the drawer of a narrow page; false where there was none. */
  return () => {
    if (!narrow.matches || !isShown()) return false;
    show(false);
    return true;
  };
}
