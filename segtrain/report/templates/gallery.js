// Gallery: which images are shown, in which order, and the enlarged view. Layers switch by CSS.
// Without a truth, as of predictions, there are no filters, which go by F1, and no true outlines.
const gallery = document.getElementById("gallery");
const filters = document.getElementById("filters");
const cards = gallery ? [...gallery.querySelectorAll(".card")] : [];
const choices = gallery ? [...gallery.querySelectorAll("input[name='layer']")] : [];
const chosenLayer = () => choices.findIndex((choice) => choice.checked);

// Facets: category, kind of outcome, least score, and the cell of a confusion matrix; what does not fit them fades.
const facets = document.getElementById("facets");
const facet = (name) => document.getElementById(`facet-${name}`);
let shownCell = null;
const kinds = new Set(facets ? [...facet("kind").options].map((option) => option.value) : []);
const kindOf = (shape) => [...shape.classList].find((name) => kinds.has(name));
const cardOf = (name) => cards.find((card) => card.dataset.name === name);
const shapesOf = (root) => [...root.querySelectorAll(`.layer-${choices[chosenLayer()].value} path`)];
const leastScore = () => (facets && !facet("score-label").hidden ? Number(facet("score").value) : -Infinity);

function fitsCell(shape, { truth, found, isMissed, isFalse }) {
  const kind = kindOf(shape), own = Number(shape.dataset.c);
  if (isMissed) return kind === "missed" && truth.includes(own);
  if (isFalse) return ["location", "duplicates", "background", "both"].includes(kind) && found.includes(own);
  if (kind === "hit") return truth.includes(own) && found.includes(own);
  return kind === "category" && found.includes(own) && truth.includes(Number(shape.dataset.t));
}
function fits(shape) {
  const category = facet("category")?.value ?? "", kind = facet("kind").value;
  if (shownCell && !fitsCell(shape, shownCell)) return false;
  if (category !== "" && shape.dataset.c !== undefined && ![shape.dataset.c, shape.dataset.t].includes(category)) return false;
  if (category !== "" && shape.dataset.c === undefined) return false;
  return kind === "" || kindOf(shape) === undefined || kindOf(shape) === kind;
}
const isBelow = (shape) => shape.dataset.s !== undefined && Number(shape.dataset.s) < leastScore();
const isNarrowed = () => Boolean(facets) && (shownCell !== null || (facet("category")?.value ?? "") !== "" || facet("kind").value !== "");

function markShapes(root) {
  if (!facets) return;
  for (const shape of shapesOf(root)) {
    shape.classList.toggle("off", isNarrowed() && !fits(shape));
    shape.classList.toggle("gone", isBelow(shape));
  }
}

// Scores of the chosen method's detections in the gallery, from the lowest to the highest.
const ranges = new Map();
function setScores() {
  const layer = choices[chosenLayer()].value;
  if (!ranges.has(layer)) {
    const scores = shapesOf(gallery).map((shape) => shape.dataset.s).filter((score) => score !== undefined).map(Number);
    ranges.set(layer, scores.length ? [scores.reduce((a, b) => Math.min(a, b)), scores.reduce((a, b) => Math.max(a, b))] : null);
  }
  const range = ranges.get(layer), slider = facet("score");
  facet("score-label").hidden = range === null;
  if (range === null) return;
  if (slider.dataset.layer !== layer) {
    [slider.min, slider.max] = range;
    slider.step = range[1] - range[0] > 2 ? "any" : "0.01";
    slider.value = range[0];
    slider.dataset.layer = layer;
  }
  facet("score-said").textContent = Number(slider.value).toFixed(2);
}

// Objects of a cell of a confusion matrix: in all images of the gallery, or enlarged in the one of that name.
function showCell(method, cell, name) {
  shownCell = cell;
  const title = (choice) => choice.nextElementSibling.textContent;
  const layer = choices.find((choice) => title(choice) === method);
  if (layer) layer.checked = true;
  for (const control of ["category", "kind"]) if (facet(control)) facet(control).value = "";
  gallery.querySelector("input[name='filter'][value='all']").checked = true;
  document.getElementById("colour-outcome").checked = true;
  filterGallery();
  gallery.scrollIntoView();
  if (name !== null) cardOf(name).querySelector(".enlarge").click();
  else facet("cell").focus({ preventScroll: true });
}

// Places are those among all images that were evaluated: what is shown of an order is its beginning, without a gap.
function filterGallery() {
  if (!filters) return;
  const filter = gallery.querySelector("input[name='filter']:checked").value;
  // An image or the truth has no F1: the method with which the gallery opened stands in.
  const chosen = choices[chosenLayer()];
  const method = /^\d+$/.test(chosen.value) ? chosen : choices.find((choice) => choice.defaultChecked);
  const placeOf = (card) => Number((filter === "apart" ? card : card.querySelector(`.says-${method.value}`)).dataset[filter]);
  const shown = filter === "all" ? cards
    : [...cards].sort((a, b) => (placeOf(a) || Infinity) - (placeOf(b) || Infinity) || 0).filter((card, i) => placeOf(card) === i + 1);
  if (facets) setScores();
  const narrowed = isNarrowed();
  const kept = narrowed ? shown.filter((card) => shapesOf(card).some((shape) => fits(shape) && !isBelow(shape))) : shown;
  cards.forEach((card) => { card.hidden = !kept.includes(card); });
  gallery.querySelector(".cards").append(...kept, ...cards.filter((card) => card.hidden));
  cards.forEach(markShapes);
  const name = method.nextElementSibling.textContent;
  const order = { all: "", worst: `: the lowest F1 of ${name}, lowest first`, best: `: the highest F1 of ${name}, highest first`,
    apart: ": where the F1 of the methods differ most" }[filter];
  const status = document.getElementById("filter-status");
  const details = [];
  if (narrowed) details.push("with such objects among those that are drawn");
  if (facets && !facet("score-label").hidden && leastScore() > Number(facet("score").min))
    details.push("hits, errors and misses are those of the score threshold, whatever the slider hides");
  if (facets) {
    facet("cell").hidden = shownCell === null;
    facet("cell").textContent = shownCell ? `${shownCell.label} ×` : "";
    facet("cell").setAttribute("aria-label", shownCell ? `Show all objects again, not only: ${shownCell.label}` : "");
  }
  status.textContent = `${kept.length} of ${status.dataset.total} image${status.dataset.total === "1" ? "" : "s"}${order}${details.map((detail) => `; ${detail}`).join("")}`;
}

// What is said of a shape: category, score, and the error if there is one. Paths of several objects have no name.
function nameShape(shape) {
  const option = (select, value) => [...(facet(select)?.options ?? [])].find((one) => one.value === value)?.textContent;
  const { c, t, s } = shape.dataset, kind = kindOf(shape);
  if (c === undefined && s === undefined) return "";
  const about = [c === undefined ? "" : option("category", c), s === undefined ? "" : Number(s).toFixed(2)].filter(Boolean).join(" ");
  if (kind === undefined || kind === "hit") return about;
  return `${about}: ${t === undefined ? option("kind", kind) : `is ${option("category", t)}`}`;
}

function openGallery() {
  const viewer = document.getElementById("viewer");
  const [layer, truth, names, withTruth] = ["viewer-layer", "viewer-truth", "viewer-names", "with-truth"].map((id) => document.getElementById(id));
  let current = null;
  choices.forEach((choice) => layer.add(new Option(choice.nextElementSibling.textContent, choice.value)));

  function show(card) {
    current = card;
    const stack = card.querySelector(".stack").cloneNode(true);
    const image = stack.querySelector("img");
    stack.style.setProperty("--ratio", image.getAttribute("width") / image.getAttribute("height"));
    document.getElementById("viewer-stage").replaceChildren(stack);
    document.getElementById("viewer-name").textContent = card.dataset.name;
    const says = [...card.querySelectorAll(".says, .reason")].map((entry) => entry.cloneNode(true));
    document.getElementById("viewer-says").replaceChildren(...says);
    layer.value = choices[chosenLayer()].value;
    if (truth) truth.checked = withTruth.checked;
    label();
  }
  // Names, scores and errors beside the outlines, the largest objects first; those that would cover others are left out.
  function label() {
    const svg = document.querySelector("#viewer-stage svg");
    markShapes(svg);
    svg.querySelector(".names")?.remove();
    if (!names?.checked || !facets) return;
    const size = 12 * svg.viewBox.baseVal.width / svg.getBoundingClientRect().width;
    const group = document.createElementNS(svg.namespaceURI, "g");
    group.setAttribute("class", "names"); group.setAttribute("font-size", size);
    const seen = shapesOf(svg).map((shape) => [shape, shape.getBBox()]).filter(([shape, box]) => box.width && !shape.matches(".off, .gone"));
    seen.sort((a, b) => b[1].width * b[1].height - a[1].width * a[1].height);
    svg.append(group);
    const placed = [];
    for (const [shape] of seen) {
      const said = nameShape(shape);
      if (!said) continue;
      const text = document.createElementNS(svg.namespaceURI, "text");
      const [x, y] = shape.getAttribute("d").slice(1).split(/[a-z]/)[0].split(" ").map(Number);  // its highest point
      text.setAttribute("x", x); text.setAttribute("y", Math.max(size, y - 0.3 * size));
      text.textContent = said;
      group.append(text);
      const own = text.getBBox();
      text.setAttribute("x", Math.max(0, Math.min(x, svg.viewBox.baseVal.width - own.width - 0.3 * size)));
      const place = text.getBBox();
      const covers = (other) => place.x < other.x + other.width && other.x < place.x + place.width
        && place.y < other.y + other.height && other.y < place.y + place.height;
      if (placed.some(covers)) text.remove();
      else placed.push(place);
    }
  }
  function move(step) {
    const shown = [...gallery.querySelectorAll(".card:not([hidden])")];
    show(shown[(shown.indexOf(current) + step + shown.length) % shown.length]);
  }
  function choose(place) {
    choices[(place + choices.length) % choices.length].checked = true;
    layer.value = choices[chosenLayer()].value;
    if (facets) setScores();
    label();
  }
  for (const card of cards) {
    card.querySelector(".enlarge").addEventListener("click", () => { viewer.showModal(); show(card); });
  }
  viewer.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: () => move(-1), ArrowRight: () => move(1),
      ArrowUp: () => choose(chosenLayer() - 1), ArrowDown: () => choose(chosenLayer() + 1) };
    if (!steps[event.key] || event.target === layer || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    steps[event.key]();
  });
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => {
    filterGallery();
    const seen = current.hidden ? gallery.querySelector(".card:not([hidden])") : current;
    seen?.querySelector(".enlarge").focus();
  });
  layer.addEventListener("change", () => choose(choices.findIndex((choice) => choice.value === layer.value)));
  names?.addEventListener("change", label);
  truth?.addEventListener("change", () => { withTruth.checked = truth.checked; });
  document.getElementById("viewer-close").addEventListener("click", () => viewer.close());
  document.getElementById("viewer-back").addEventListener("click", () => move(-1));
  document.getElementById("viewer-on").addEventListener("click", () => move(1));
}

if (facets) {
  facets.hidden = false;
  document.getElementById("looks").open = window.matchMedia("(min-width: 760px)").matches;
  facet("score").addEventListener("input", filterGallery);
  facet("cell").addEventListener("click", () => { shownCell = null; filterGallery(); facet("kind").focus(); });
}
if (filters) {
  filters.hidden = false;
  gallery.querySelector(".toolbar").addEventListener("change", filterGallery);
  filterGallery();
}
if (cards.length) openGallery();
