// Shortcuts. Those of a single letter do nothing while somebody types, and can be switched off.
const SINGLE = { p: "pen", e: "eraser", x: "clear", "[": "thinner", "]": "thicker", "?": "help" };

export function bindKeys(actions, single) {
  try { single.checked = localStorage.getItem("single-keys") !== "off"; } catch { /* storage may be forbidden */ }
  single.addEventListener("change", () => {
    try { localStorage.setItem("single-keys", single.checked ? "on" : "off"); } catch { /* the same */ }
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest?.("dialog, select, textarea, input:not([type=range])")) return;
    let name = "";
    if ((event.ctrlKey || event.metaKey) && !event.altKey) {
      const key = event.key.toLowerCase();
      if (key === "z") name = event.shiftKey ? "redo" : "undo";
      if (key === "y") name = "redo";
    } else if (!event.altKey && single.checked) name = SINGLE[event.key] ?? "";
    if (!name) return;
    event.preventDefault();
    actions[name]();
  });
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const tell = () => button.setAttribute("aria-pressed", String(dark()));
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* the same */ }
    tell();
  });
  tell();
}
