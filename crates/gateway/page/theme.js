// Runs before the page is drawn, so that no other theme flashes and nothing moves.
"use strict";
try {
  const theme = localStorage.getItem("freehold.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  if (localStorage.getItem("freehold.sidebar") === "hidden") document.documentElement.dataset.sidebar = "hidden";
} catch {
  // A browser that forbids storage shows what the system prefers.
}
