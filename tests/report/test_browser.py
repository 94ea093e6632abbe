"""The report in a real browser: no error, no request, nothing wider than the window, and all that can be pressed works.

Playwright drives the Chromium that the system has (Debian: apt-get install chromium); without one the tests skip.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain import report
from segtrain.benchmark.results import Results
from segtrain.report.gallery.found_images import encode_found
from segtrain.report.prediction_page import PagePlace, prediction_page
from segtrain.report.writer import write_report
from tests.helpers.report_examples import (
    HOSTILE,
    METRICS,
    complete,
    gallery,
    method,
    prediction,
    results,
    square,
    truth,
    with_kinds,
    with_limits,
)

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install '.[dev]')")
CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"),
]
LONG = "a_method_with_a_name_that_nobody_would_choose_because_it_never_ends_" * 2
METHODS = ("mask_rcnn", "threshold_otsu", "kmeans", "kmeans_oracle")
F1 = {"mask_rcnn": (0.9, 0.5, 0.7, 0.2), "threshold_otsu": (0.1, 0.5, 0.8, np.nan), "kmeans": (0.5, 0.4, 0.75, 0.2)}
# Places among six images, of which the page has the four above.
BEST = {"mask_rcnn": (1, 4, 2, 6), "threshold_otsu": (5, 3, 1, None)}
WORST = {"mask_rcnn": (6, 2, 5, 1), "threshold_otsu": (1, 2, 5, None)}
APART = (1, 2, 4, None)
# The rows that methods=all gives.
ALL_ROWS = (
    "mask_rcnn", "threshold_mean", "threshold_otsu", "threshold_local", "threshold_multi", "threshold_tuned",
    "threshold_oracle", "edge_sobel", "edge_laplace", "edge_canny", "edge_tuned", "edge_oracle", "kmeans", "kmeans_lab",
    "kmeans_tuned", "kmeans_oracle",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that has everything, with four of six images."""
    content = with_limits(with_kinds(complete()))
    content["data"]["images"] = 6
    for compared in content["comparisons"].values():  # the widest table
        compared |= {key: {"difference": -0.39, "low": -0.45, "high": -0.33, "p": 0.012} for key in METRICS}
    items = []
    for i, item in enumerate(gallery(count=4)):
        found = {name: [prediction(i, square(6 + 9 * n, 6, 9))] for n, name in enumerate(METHODS)}
        scores = {name: values[i] for name, values in F1.items()} | {"kmeans_oracle": float(i == 3)}
        best, worst = ({n: places[i] for n, places in of.items() if places[i]} for of in (BEST, WORST))
        places = {"best": best, "worst": worst, "apart": APART[i]}
        items.append(replace(item, file_name=f"{i}.png", predictions=found, scores=scores, **places))
    return write_report(tmp_path_factory.mktemp("whole"), Results.of(content), items)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose every name is a script, or longer than a line."""
    evil, names = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>", ("round", HOSTILE, LONG)
    content = with_kinds(complete(categories=(*names, evil)))
    for name in (evil, LONG):
        content["methods"][name] = method(0.2, 0.004, [*names, evil], aware=True)
        content["comparisons"][name] = {"mask_ap": {"difference": -0.1, "low": -0.2, "high": 0.1, "p": 0.2}}
    content = with_limits(content)
    for name in (evil, LONG):
        content["methods"][name]["calibration"] = content["methods"]["mask_rcnn"]["calibration"]
    content["verdict"] += [evil, LONG * 3]
    content["claims"] = [evil, LONG * 3]
    content["warnings"] = [evil]
    content["environment"] = {evil: evil}
    content["data"]["name"], content["command"] = evil, f"{evil} predictions.x={LONG * 3}"
    items = gallery(count=3, file_name=f"{evil}{LONG}.png")
    for item in items:
        for name in (evil, LONG):
            item.predictions[name], item.scores[name] = item.predictions["mask_rcnn"], 0.5
    return write_report(tmp_path_factory.mktemp("hostile"), Results.of(content), items)


@pytest.fixture
def load(browser: Any) -> Iterator[Any]:
    """Opens a page; at the end of the test nothing may have gone to the console or left the page."""
    contexts, said = [], []

    def open_page(path: Path, width: int = 1400, **settings: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: r.url.startswith(("data:", path.as_uri())) or said.append(r.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def wait_until(page: Any, condition: str) -> None:
    """Playwright's own waiting evaluates text within the page, which the page's policy forbids."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {condition}")


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_nothing_is_wider_than_the_window(load: Any, whole: Path, hostile: Path, width: int) -> None:
    outside = """() => [...document.querySelectorAll("body *")]
        .filter((e) => !e.closest(".scroll, .layers, .skip, .hidden"))
        .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
        .map((e) => e.outerHTML.slice(0, 200))"""
    for path in (whole, hostile):
        page = load(path, width)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(outside) == []
        page.locator(".enlarge").first.click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("(({left, right}) => left >= 0 && right <= innerWidth)(viewer.getBoundingClientRect())")
        assert page.evaluate("viewer.scrollWidth <= viewer.clientWidth")


SIZES = """() => [...document.querySelectorAll("svg.figure")].filter((s) => s.checkVisibility())
    .map((s) => 12 * s.getBoundingClientRect().width / s.viewBox.baseVal.width)"""
COLLISIONS = """() => [...document.querySelectorAll("svg.figure")].filter((s) => s.checkVisibility()).flatMap((s) => {
  const found = [], axis = s.querySelector("line.axis").getBoundingClientRect().left;
  const ticks = [...s.querySelectorAll("text.tick[text-anchor=middle]")].map((t) => t.getBoundingClientRect());
  ticks.forEach((t, i) => { if (i && t.left < ticks[i - 1].right + 2) found.push([s.ariaLabel, i]); });
  for (const name of s.querySelectorAll("g > text[x='0']"))
    if (name.getBoundingClientRect().right > axis) found.push(name.textContent);
  return found;
})"""


@pytest.mark.parametrize(("width", "least", "most"), [(360, 10, 13), (768, 10, 13), (1400, 11.7, 13)])
def test_text_in_figures_has_one_size_and_room(
    load: Any, whole: Path, hostile: Path, width: int, least: float, most: float
) -> None:
    for path in (whole, hostile):
        page = load(path, width)
        sizes = page.evaluate(SIZES)
        assert len(sizes) > 8
        assert least <= min(sizes) <= max(sizes) <= most
        assert page.evaluate(COLLISIONS) == []


def test_names_are_never_executed(load: Any, hostile: Path) -> None:
    page = load(hostile)
    for chip in page.locator(".chip").all():
        chip.click()
    page.locator("#filters .chip").first.click()  # all: the row that is on has no best images, as it found nothing
    page.locator(".enlarge").first.click()
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 1
    assert page.locator("#viewer-name").inner_text().startswith("<script>")


def test_headers_sort_and_oracles_stay_below(load: Any, whole: Path) -> None:
    page = load(whole)
    table = page.locator("#headline table")
    time = table.get_by_role("button", name="ms/image")
    header = table.locator("th", has_text="ms/image")

    def order() -> list[str]:
        return table.locator("tbody th[scope=row]").all_inner_texts()

    assert order() == ["mask_rcnn", "threshold_otsu", "kmeans", "boxes", "kmeans_oracle"]
    assert table.locator("th[aria-sort]").all_inner_texts() == ["mask AP"]
    time.click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert order() == ["threshold_otsu", "kmeans", "mask_rcnn", "boxes", "kmeans_oracle"]
    page.keyboard.press("Enter")  # the header has the focus
    assert header.get_attribute("aria-sort") == "descending"
    assert order() == ["mask_rcnn", "kmeans", "threshold_otsu", "boxes", "kmeans_oracle"]
    assert table.locator("th[aria-sort]").count() == 1
    assert "Upper bounds" in table.locator("tbody").last.locator("tr").first.inner_text()


def test_gallery_shows_the_chosen_layer(load: Any, whole: Path) -> None:
    page = load(whole)
    card = page.locator(".card").first

    def seen() -> list[str | None]:
        shown = "(layers) => layers.filter((l) => getComputedStyle(l).display !== 'none').map((l) => l.classList[1])"
        return card.locator(".layer").evaluate_all(shown)

    assert seen() == ["layer-0"]
    assert "mask_rcnn: 1 object (1 hit), F1 0.90" in card.inner_text()
    page.get_by_role("radio", name="threshold_otsu").press("ArrowDown")
    assert seen() == ["layer-2"]
    assert "kmeans: 1 object (1 nothing there), 1 missed, F1 0.50" in card.inner_text()
    page.locator("#with-truth").check()
    assert seen() == ["layer-2", "layer-t"]
    page.get_by_role("radio", name="truth", exact=True).check()
    assert seen() == ["layer-t"]
    assert "truth: 1 object" in card.inner_text()
    page.locator("#with-truth").uncheck()
    page.get_by_role("radio", name="image", exact=True).check()
    assert seen() == []


def test_gallery_filters(load: Any, whole: Path) -> None:
    page = load(whole)

    def shown(choice: str) -> list[str | None]:
        page.locator("#filters").get_by_role("radio", name=choice, exact=True).check()
        return [card.get_attribute("data-name") for card in page.locator(".card:visible").all()]

    # Those from the first place on without a gap: the third worst is not on the page, so no later one is shown.
    assert shown("worst") == ["3.png", "1.png"]
    assert page.locator("#filter-status").inner_text() == "2 of 6 images: the lowest F1 of mask_rcnn, lowest first"
    assert shown("best") == ["0.png", "2.png"]
    assert shown("disagreement") == ["0.png", "1.png"]
    page.get_by_role("radio", name="threshold_otsu").check()
    assert shown("best") == ["2.png"]
    assert shown("worst") == ["0.png", "1.png"]
    page.get_by_role("radio", name="truth", exact=True).check()
    assert shown("worst") == ["3.png", "1.png"]  # of the row with which the gallery opened
    assert shown("all") == [f"{i}.png" for i in range(4)]
    assert page.locator("#filter-status").inner_text() == "4 of 6 images"


@pytest.fixture(scope="module")
def confused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories: 0.png has a hit and a cat that is taken for a dog, 1.png a missed dog; 2.png is not shown."""
    names = ("cat", "dog")
    row = method(0.5, 0.1, [*names], aware=True)
    cells = [(1, 1, ["0.png"]), (1, 2, ["2.png", "0.png"]), (2, None, ["1.png"]), (None, 2, ["0.png"])]
    row["confusion"] = [
        {"true": true, "found": found, "count": len(images), "in_images": len(images), "images": images}
        for true, found, images in cells
    ]
    first, second = gallery(count=2)
    cats = [truth(0, square(5, 5, 9)), truth(0, square(30, 5, 9), 2)]
    found = [prediction(0, square(5, 5, 9), 0.9), prediction(0, square(30, 5, 9), 0.7, category_id=2)]
    wrong = prediction(0, square(50, 30, 9), 0.6, category_id=2)
    dog = {**truth(1, square(5, 5, 9)), "category_id": 2}
    items = [
        replace(first, file_name="0.png", truths=cats, predictions={"net": [*found, wrong]}),
        replace(second, file_name="1.png", truths=[dog], predictions={"net": []}),
    ]
    content = results({"net": row}, names)
    return write_report(tmp_path_factory.mktemp("confused"), Results.of(content), items)


def visible_shapes(page: Any) -> list[str]:
    """Categories and kinds of the shapes of the first method that are neither hidden nor faded."""
    shown = """(paths) => paths.filter((p) => p.checkVisibility() && getComputedStyle(p).opacity === "1")
        .map((p) => `${p.dataset.c} ${p.classList[1]}`)"""
    return sorted(page.locator(".card .layer-0 path").evaluate_all(shown))


def test_a_cell_leads_to_its_images(load: Any, confused: Path) -> None:
    """With the keyboard alone."""
    page = load(confused)
    page.locator("table.matrix button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    said = page.locator(".cell-images")
    assert "cat taken for dog: 2 objects, in 2 images." in said.inner_text()
    assert "Not in the gallery: 2.png." in said.inner_text()
    assert said.get_by_role("button").all_text_contents() == ["0.png", "Show these objects in the gallery"]
    page.get_by_role("button", name="Show these objects in the gallery").press("Enter")
    assert page.locator(".card:visible").count() == 1
    assert visible_shapes(page) == ["1 category"]
    assert page.evaluate("document.activeElement.id") == "facet-cell"
    page.keyboard.press("Enter")
    assert page.locator(".card:visible").count() == 2
    page.locator("table.matrix button[data-cell='2 1']").click()
    assert "dog found where there is no object: 1 time, in 1 image." in said.inner_text()
    page.get_by_role("button", name="0.png", exact=True).click()
    assert page.locator("#viewer-name").inner_text() == "0.png"
    assert page.locator("#viewer-stage .names text").all_text_contents() == ["dog 0.60: nothing there"]


def test_objects_are_chosen_by_category_kind_and_score(load: Any, confused: Path) -> None:
    page = load(confused)
    every = ["0 hit", "1 background", "1 category", "1 missed"]
    assert visible_shapes(page) == every
    page.locator("#facet-category").select_option(label="cat")
    assert visible_shapes(page) == ["0 hit", "1 category"]
    assert page.locator("#filter-status").inner_text().startswith("1 of 4 images; with such objects")
    page.locator("#facet-category").select_option(label="all")
    page.locator("#facet-kind").select_option(label="missed")
    assert visible_shapes(page) == ["1 missed"]
    page.locator("#facet-kind").select_option(label="all")
    page.locator("#facet-score").fill("0.65")
    assert visible_shapes(page) == ["0 hit", "1 category", "1 missed"]
    assert "are those of the score threshold" in page.locator("#filter-status").inner_text()
    page.locator("#facet-score").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert visible_shapes(page) == ["0 hit", "1 missed"]
    page.get_by_label("each object").check()
    assert visible_shapes(page) == ["0 hit"]


def test_the_bar_of_the_gallery_is_low_on_a_phone(load: Any, tmp_path: Path) -> None:
    content = results({name: method(0.3, 0.1, ["a"], aware=False) for name in ALL_ROWS}, categories=("a",))
    items = [replace(item, predictions={name: [] for name in ALL_ROWS}) for item in gallery()]
    page = load(write_report(tmp_path, Results.of(content), items), 360)
    chips = page.locator(".layers .chip").all()
    assert len(chips) == 2 + len(ALL_ROWS)
    assert all(chip.bounding_box()["height"] < 32 for chip in chips)  # a single line
    assert page.locator(".toolbar").bounding_box()["height"] < 200
    page.get_by_role("radio", name="edge_tuned").check()  # what lies beyond the edge can be reached
    assert 0 < chips[-1].bounding_box()["width"] < 360


def test_an_edge_that_hides_columns_fades(load: Any, whole: Path) -> None:
    page = load(whole, 360)
    faded = "document.querySelector('#headline .scroll').classList.contains('more')"
    wait_until(page, faded)
    page.evaluate("document.querySelector('#headline .scroll').scrollTo({left: 9999})")
    wait_until(page, f"!{faded}")
    assert "more" not in page.locator("#data .scroll").get_attribute("class")


def test_an_image_enlarges_and_the_focus_returns(load: Any, whole: Path) -> None:
    page = load(whole)
    viewer = page.get_by_role("dialog")
    page.locator(".enlarge").nth(1).focus()
    page.keyboard.press("Enter")
    assert viewer.is_visible()
    assert page.locator("#viewer-name").inner_text() == "1.png"
    assert page.evaluate("viewer.contains(document.activeElement)")
    stage = page.locator("#viewer-stage .stack")
    assert stage.bounding_box()["width"] > 2 * page.locator(".card .stack").first.bounding_box()["width"]
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert page.evaluate("document.activeElement.ariaLabel") == "Enlarge 1.png"
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-name").inner_text() == "0.png"  # round the end
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert page.locator("#viewer-name").inner_text() == "3.png"
    assert page.locator("#viewer-layer").input_value() == "1"
    assert "threshold_otsu: 1 object (1 nothing there), 1 missed, F1 –" in page.locator("#viewer-says").inner_text()
    page.locator("#viewer-layer").select_option(label="truth")
    assert "truth: 1 object" in page.locator("#viewer-says").inner_text()
    assert stage.locator(".layer-t").is_visible()
    page.get_by_role("button", name="Close").click()
    assert page.evaluate("document.activeElement.ariaLabel") == "Enlarge 3.png"
    assert "truth: 1 object" in page.locator(".card").last.inner_text()


def test_curves_stand_out(load: Any, whole: Path) -> None:
    page = load(whole)
    entry = page.locator(".legend button").first
    entry.click()
    assert entry.get_attribute("aria-pressed") == "true"
    names = page.locator("#curves .curve.on").evaluate_all("(curves) => curves.map((c) => c.dataset.series)")
    assert names == ["mask_rcnn"] * 3
    # The same entry under the other set of curves is pressed too, and releases both.
    kinds = page.locator("#kinds .legend button").first
    assert kinds.get_attribute("aria-pressed") == "true"
    assert page.locator("#kinds .curve.on").count() == 3
    kinds.click()
    assert entry.get_attribute("aria-pressed") == "false"
    kinds.hover()
    page.mouse.move(0, 0)
    assert page.locator(".dimmed").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_theme_follows_the_system_until_it_is_switched(load: Any, whole: Path, scheme: str) -> None:
    page = load(whole, color_scheme=scheme)
    lightness = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0) / 765"
    assert (page.evaluate(lightness) > 0.5) == (scheme == "light")
    page.locator("#theme").click()
    assert (page.evaluate(lightness) > 0.5) == (scheme == "dark")
    page.emulate_media(media="print")
    assert page.evaluate(lightness) > 0.95 or page.evaluate(lightness) == 0  # paper is light, or has no colour


# Names on pictures are white with a black edge.
CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest("script, style, title, .names")) continue;
    const style = getComputedStyle(e);
    const ink = luminance(channels(e.closest("svg") ? style.fill : style.color)), paper = luminance(ground(e));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) low.push([walker.currentNode.data.trim().slice(0, 40), ratio.toFixed(2)]);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(load: Any, whole: Path, scheme: str) -> None:
    page = load(whole, color_scheme=scheme)
    assert page.evaluate(CONTRAST) == []
    page.locator(".enlarge").first.click()
    assert page.evaluate(CONTRAST) == []


def test_contents_fold_where_there_is_no_room_for_a_column(load: Any, whole: Path) -> None:
    narrow, wide = load(whole, 360), load(whole, 1400)
    links = "nav.contents a"
    assert wide.locator(links).first.is_visible()
    assert not narrow.locator(links).first.is_visible()
    narrow.locator("nav.contents summary").click()
    narrow.locator(links, has_text="Gallery").click()
    assert not narrow.locator(links).first.is_visible()
    wait_until(narrow, "Math.abs(document.getElementById('gallery').getBoundingClientRect().top) < 200")
    wide.evaluate("document.getElementById('data').scrollIntoView({behavior: 'instant'})")
    wait_until(wide, "document.querySelector('nav.contents a[aria-current]')?.hash === '#data'")
    assert 0 <= wide.locator(links).first.bounding_box()["y"] < 900  # sticky


def test_paper_has_no_controls_and_no_cut_tables(load: Any, whole: Path) -> None:
    page = load(whole, 700, color_scheme="dark")  # the width of A4 between its margins
    page.emulate_media(media="print")
    for control in ("#theme", "nav.contents", ".toolbar", "#viewer", "#headline caption .on-screen"):
        assert page.locator(control).count()
        assert not page.locator(control).first.is_visible()
    for kept in ("#kinds summary", "#headline caption"):  # what tells tables apart
        assert page.locator(kept).first.is_visible()
    # Chromium paints no text of a box's own in a header that it repeats on the next page.
    boxes = page.locator("thead button").evaluate_all("(all) => all.map((b) => getComputedStyle(b).display)")
    assert set(boxes) == {"contents"}
    cut = "(boxes) => boxes.filter((b) => b.scrollWidth > b.clientWidth + 1).map((b) => b.ariaLabel)"
    assert page.locator(".scroll").evaluate_all(cut) == []
    assert len(page.pdf(prefer_css_page_size=True)) > 20_000


def test_no_picture_waits_until_it_is_scrolled_to(load: Any, whole: Path) -> None:
    """Pictures that do are blank on paper: a browser prints at once, and loads nothing before."""
    templates = Path(report.__file__).parent / "templates"
    assert not [path.name for path in templates.glob("*.jinja") if re.search(r"loading=.lazy", path.read_text())]
    page = load(whole)
    assert page.evaluate("[...document.images].every((image) => image.complete && image.loading !== 'lazy')")


def test_page_without_anything(load: Any, tmp_path: Path) -> None:
    content = Results.of(results({"kmeans": method(0.2, None, [], aware=False)}, categories=()))
    page = load(write_report(tmp_path, content))
    assert page.locator("h1").is_visible()
    load(write_report(tmp_path / "none", Results.of(results({}, categories=()))))


def test_layers_work_without_scripts(load: Any, whole: Path) -> None:
    page = load(whole, java_script_enabled=False)
    page.locator("label.chip", has_text="kmeans").first.click()
    assert "kmeans: 1 object (1 nothing there), 1 missed, F1 0.50" in page.locator(".card").first.inner_text()
    assert page.locator("#theme").is_hidden()


@pytest.mark.parametrize("width", [360, 1400])
def test_pages_of_predictions(load: Any, tmp_path: Path, width: int) -> None:
    found, dark = [square(6, 6, 9), square(30, 20, 12)], np.zeros((48, 64, 3), np.uint8)
    images = [encode_found(name, dark, found, [LONG, "b"], [0.9, 0.5]) for name in ("0.png", HOSTILE, LONG)]
    (tmp_path / "index.html").write_text(prediction_page(LONG, LONG, [LONG], images, PagePlace(1, 9, 1, 500)))
    page = load(tmp_path / "index.html", width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    layer = page.locator(".card .layer").first
    assert layer.is_visible()
    page.get_by_label("image", exact=True).check()
    assert not layer.is_visible()
    page.get_by_label("objects", exact=True).check()
    page.locator(".enlarge").first.click()
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-name").inner_text().split() == HOSTILE.split()
    assert "2 objects" in page.locator("#viewer-says").inner_text()
    assert page.locator("#viewer-stage title").all_text_contents() == ["b 0.50", f"{LONG} 0.90"]
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    page.get_by_role("button", name="Dark theme").click()
    assert page.get_by_role("link", name="Page 9").is_visible()
