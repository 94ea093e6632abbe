"""Pages of predictions: few images on each, links between them, and names as text."""

import re

import numpy as np
import pytest

from segtrain import masks
from segtrain.report.gallery.encode import EncodedImage
from segtrain.report.gallery.found_images import encode_found
from segtrain.report.gallery.outline_paths import MOST
from segtrain.report.prediction_page import PagePlace, page_name, prediction_page
from tests.helpers.report_examples import HOSTILE, square


def image(name: str = "a.png", number: int = 3) -> EncodedImage:
    found = [square(4 * n, 4 * n, 5 + n) for n in range(number)]
    categories = ["round", "round", "long"][:number]
    return encode_found(name, np.zeros((64, 64, 3), np.uint8), found, categories, [0.9, 0.8, 0.5][:number], "b/a.png")


def page(place: PagePlace, *images: EncodedImage) -> str:
    return prediction_page("Found", "3 objects", ["predictions.json"], images, place)


def test_an_image_says_what_was_found() -> None:
    text = " ".join(page(PagePlace(1, 1, 1, 1), image()).split())
    assert "3 objects (2 round, 1 long), scores 0.50 to 0.90" in text
    hints = re.findall("><title>([^<]*)</title></path>", text)
    assert hints == ["long 0.50", "round 0.80", "round 0.90"]  # largest first
    assert '<a href="b/a.png">a.png</a>' in text
    assert "Image 1 of 1" in text
    assert "predictions.json" in text
    assert 'aria-label="Pages"' not in text


def test_an_image_without_objects() -> None:
    (layer,) = encode_found("a.png", np.zeros((9, 9, 3), np.uint8), [], [], []).layers
    assert (layer.objects, layer.paths, layer.about) == (0, [], "")


def test_pages_lead_to_each_other() -> None:
    first, second, last = (page(PagePlace(n, 30, 60 * n - 59, 1790), image()) for n in (1, 2, 30))
    assert set(re.findall(r'href="([^"]*\.html)"', first)) == {page_name(n) for n in (2, 3, 4, 5, 30)} | {"index.html"}
    assert 'href="../index.html">← Previous' in second
    assert 'href="../index/0003.html">Next' in second
    assert "Next page" not in last
    assert 'href="../b/a.png"' in second


def test_names_are_text() -> None:
    text = page(PagePlace(1, 1, 1, 1), image(HOSTILE))
    assert HOSTILE not in text
    assert "<script>" in HOSTILE


def test_no_image() -> None:
    assert "No image could be read" in page(PagePlace(1, 1, 1, 0))


@pytest.mark.slow
@pytest.mark.parametrize("side", [200, 1000])
def test_an_image_keeps_to_its_share_of_the_page(side: int) -> None:
    """However much noise it has, and however ragged its objects are."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    found = [masks.encode(random.random((side, side)) < 0.4) for _ in range(2)]
    one = encode_found("a.png", pixels, found, ["a"] * 2, [0.5] * 2)
    (layer,) = one.layers
    assert len(one.uri) + sum(len(path) for _, path in layer.paths) < 8_000_000 / 60
    assert layer.drawn == len(layer.paths) == len(layer.hints) < min(MOST, layer.objects)
