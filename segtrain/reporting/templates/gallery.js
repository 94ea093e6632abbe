// Gallery: which images are shown, in which order, and the enlarged view. Layers switch by CSS.
const gallery = document.getElementById("gallery");
const cards = gallery ? [...gallery.querySelectorAll(".card")] : [];
const choices = gallery ? [...gallery.querySelectorAll("input[name='layer']")] : [];
const chosenLayer = () => choices.findIndex((choice) => choice.checked);

// F1 by layer; without a number where nothing was to be found and nothing was found.
const scoresOf = (card) => new Map([...card.querySelectorAll(".says[data-f1]")]
  .filter((entry) => entry.dataset.f1 !== "")
  .map((entry) => [entry.dataset.layer, { f1: Number(entry.dataset.f1), oracle: "oracle" in entry.dataset }]));
function spreadOf(card) {
  const values = [...scoresOf(card).values()].filter((score) => !score.oracle).map((score) => score.f1);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.length < 2 ? NaN : Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

function filterGallery() {
  const filter = gallery.querySelector("input[name='filter']:checked").value;
  // An image or the truth has no F1: the first method of the page stands in.
  const choice = /^\d+$/.test(choices[chosenLayer()].value) ? choices[chosenLayer()].value : "0";
  const name = choices.find((other) => other.value === choice)?.nextElementSibling.textContent ?? "";
  const f1 = (card) => scoresOf(card).get(choice)?.f1 ?? NaN;
  const keys = { all: () => 0, worst: f1, best: (card) => -f1(card), disagreement: (card) => -spreadOf(card) };
  const ranked = cards.map((card) => [keys[filter](card), card]).filter(([key]) => !isNaN(key));
  ranked.sort(([a], [b]) => a - b);
  const shown = filter === "all" ? cards : ranked.slice(0, Math.ceil(ranked.length / 2)).map(([, card]) => card);
  cards.forEach((card) => { card.hidden = !shown.includes(card); });
  gallery.querySelector(".cards").append(...shown, ...cards.filter((card) => card.hidden));
  const order = { all: "", worst: `, lowest F1 of ${name} first`, best: `, highest F1 of ${name} first`,
    disagreement: ", where the F1 of the methods differ most first" }[filter];
  document.getElementById("filter-status").textContent = `${shown.length} of ${cards.length} images${order}`;
}

function openGallery() {
  const viewer = document.getElementById("viewer");
  const [layer, truth, withTruth] = ["viewer-layer", "viewer-truth", "with-truth"].map((id) => document.getElementById(id));
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
    truth.checked = withTruth.checked;
  }
  function move(step) {
    const shown = [...gallery.querySelectorAll(".card:not([hidden])")];
    show(shown[(shown.indexOf(current) + step + shown.length) % shown.length]);
  }
  function choose(place) {
    choices[(place + choices.length) % choices.length].checked = true;
    layer.value = choices[chosenLayer()].value;
  }
  for (const card of cards) {
    card.querySelector(".enlarge").addEventListener("click", () => { show(card); viewer.showModal(); });
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
  truth.addEventListener("change", () => { withTruth.checked = truth.checked; });
  document.getElementById("viewer-close").addEventListener("click", () => viewer.close());
  document.getElementById("viewer-back").addEventListener("click", () => move(-1));
  document.getElementById("viewer-on").addEventListener("click", () => move(1));
}

if (gallery) {
  document.getElementById("filters").hidden = false;
  gallery.querySelector(".toolbar").addEventListener("change", filterGallery);
  filterGallery();
  openGallery();
}
