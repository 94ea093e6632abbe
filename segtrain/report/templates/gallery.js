// Gallery: which images are shown, in which order, and the enlarged view. Layers switch by CSS.
// Without a truth, as of predictions, there are no filters, which go by F1, and no true outlines.
const gallery = document.getElementById("gallery");
const filters = document.getElementById("filters");
const cards = gallery ? [...gallery.querySelectorAll(".card")] : [];
const choices = gallery ? [...gallery.querySelectorAll("input[name='layer']")] : [];
const chosenLayer = () => choices.findIndex((choice) => choice.checked);

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
  cards.forEach((card) => { card.hidden = !shown.includes(card); });
  gallery.querySelector(".cards").append(...shown, ...cards.filter((card) => card.hidden));
  const name = method.nextElementSibling.textContent;
  const order = { all: "", worst: `: the lowest F1 of ${name}, lowest first`, best: `: the highest F1 of ${name}, highest first`,
    apart: ": where the F1 of the methods differ most" }[filter];
  const status = document.getElementById("filter-status");
  status.textContent = `${shown.length} of ${status.dataset.total} image${status.dataset.total === "1" ? "" : "s"}${order}`;
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
    if (truth) truth.checked = withTruth.checked;
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
  truth?.addEventListener("change", () => { withTruth.checked = truth.checked; });
  document.getElementById("viewer-close").addEventListener("click", () => viewer.close());
  document.getElementById("viewer-back").addEventListener("click", () => move(-1));
  document.getElementById("viewer-on").addEventListener("click", () => move(1));
}

if (filters) {
  filters.hidden = false;
  gallery.querySelector(".toolbar").addEventListener("change", filterGallery);
  filterGallery();
}
if (cards.length) openGallery();
