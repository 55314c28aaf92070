// Light or dark before the first paint: what was chosen here last, else what the system prefers.
// A classic script in the head, since a module would run after the first paint.
"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem("clickfold.theme");
    } catch {
      return null; // storage is forbidden: follow the system
    }
  };
  const apply = () => {
    root.dataset.theme = chosen() ?? (dark.matches ? "dark" : "light");
    dispatchEvent(new Event("clickfold:theme"));
  };
  dark.addEventListener("change", apply);
  addEventListener("clickfold:toggle-theme", () => {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("clickfold.theme", next);
    } catch {
      // for this page only, then
    }
    apply();
    root.dataset.theme = next;
    dispatchEvent(new Event("clickfold:theme"));
  });
  apply();
})();
