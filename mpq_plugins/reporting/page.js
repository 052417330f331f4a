"use strict";
const root = document.documentElement, theme = document.getElementById("theme"), modes = ["auto", "light", "dark"];
function show(mode) {
  if (mode === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = mode;
  theme.textContent = "theme: " + mode;
}
let mode = "auto";
try { mode = localStorage.getItem("mpq-theme") || "auto"; } catch (e) { /* a page without storage */ }
show(mode);
theme.hidden = false;
theme.addEventListener("click", () => {
  mode = modes[(modes.indexOf(mode) + 1) % modes.length];
  try { localStorage.setItem("mpq-theme", mode); } catch (e) { /* as above */ }
  show(mode);
});
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], first = [...body.rows];
  const key = (row, i) => row.cells[i].dataset.sort ?? row.cells[i].textContent.trim();
  heads.forEach((head, i) => head.firstElementChild.addEventListener("click", () => {
    const was = head.getAttribute("aria-sort");
    const next = was === "ascending" ? "descending" : was === "descending" ? null : "ascending";
    heads.forEach(h => h.removeAttribute("aria-sort"));
    if (next) head.setAttribute("aria-sort", next);
    const rows = [...first];
    if (next) rows.sort((a, b) => {
      const x = key(a, i), y = key(b, i), numbers = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
      return (numbers ? x - y : x.localeCompare(y, undefined, { numeric: true })) * (next === "ascending" ? 1 : -1);
    });
    body.append(...rows);
  }));
}
