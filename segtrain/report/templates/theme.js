"use strict";

// Theme: follows the system until the reader chooses; the choice is kept where the browser allows it.
const root = document.documentElement;
const themeButton = document.getElementById("theme");
const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
const nameTheme = () => { themeButton.textContent = isDark() ? "Light theme" : "Dark theme"; };
try {
  const kept = localStorage.getItem("segtrain-theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
} catch { /* storage is closed to this page: the system's choice stands */ }
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("segtrain-theme", root.dataset.theme); } catch { /* as above */ }
  nameTheme();
});
systemDark.addEventListener("change", nameTheme);
nameTheme();
