// Tables: a click on a header sorts, a second one turns the order round; undefined values stay at the end.
// Upper bounds have a body of their own and stay below.
function sortBody(body, column, ascending) {
  const valueOf = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const difference = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
    return ascending ? difference : -difference;
  };
  const rows = [...body.rows].filter((row) => !row.classList.contains("banner")).sort((a, b) => compare(valueOf(a), valueOf(b)));
  rows.forEach((row) => row.classList.remove("group"));
  body.append(...rows);
}
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const now = header.getAttribute("aria-sort");
      const first = header.dataset.first === "ascending";
      const ascending = now === null ? first : now !== "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      [...table.tBodies].forEach((body) => sortBody(body, column, ascending));
    });
  });
}

// An edge beyond which there are more columns fades.
const markEdge = (box) => { box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 1); };
const edges = new ResizeObserver((seen) => seen.forEach(({ target }) => markEdge(target)));
for (const box of document.querySelectorAll(".scroll")) {
  edges.observe(box);
  box.addEventListener("scroll", () => markEdge(box), { passive: true });
}

// Curves: a legend entry under the pointer, or pressed, stands out.
const charts = [...document.querySelectorAll(".charts")];
const entries = [...document.querySelectorAll(".legend button")];
function highlight(series) {
  for (const chart of charts) {
    chart.classList.toggle("dimmed", series !== null);
    for (const curve of chart.querySelectorAll(".curve")) curve.classList.toggle("on", curve.dataset.series === series);
  }
}
const pressed = () => entries.find((entry) => entry.getAttribute("aria-pressed") === "true")?.dataset.series ?? null;
for (const entry of entries) {
  entry.addEventListener("pointerenter", () => highlight(entry.dataset.series));
  entry.addEventListener("pointerleave", () => highlight(pressed()));
  entry.addEventListener("click", () => {
    const on = entry.getAttribute("aria-pressed") !== "true";
    // A method has an entry under each set of curves.
    const same = (other) => other.dataset.series === entry.dataset.series;
    entries.forEach((other) => other.setAttribute("aria-pressed", String(on && same(other))));
    highlight(pressed());
  });
}

// Contents: a column that stays open where there is room for one, else folded; the section being read is marked.
const contents = document.querySelector(".contents details");
const roomy = window.matchMedia("(min-width: 1100px)");
const fold = () => { contents.open = roomy.matches; };
roomy.addEventListener("change", fold);
fold();
contents.addEventListener("click", (event) => { if (event.target.closest("a")) fold(); });
const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
const watcher = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) {
    if (!isIntersecting) continue;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(target.id)?.setAttribute("aria-current", "true");
  }
}, { rootMargin: "-15% 0px -75% 0px" });
document.querySelectorAll("main > section[id]").forEach((section) => watcher.observe(section));

// Paper has no switches: what is folded is printed too.
const folded = [];
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("main details:not([open])")) { folded.push(details); details.open = true; }
});
window.addEventListener("afterprint", () => { while (folded.length) folded.pop().open = false; });
