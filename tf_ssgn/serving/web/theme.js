// Before anything is painted, so that a dark page does not flash white. The choice is kept; without one the system's holds.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch { /* storage may be forbidden */ }
