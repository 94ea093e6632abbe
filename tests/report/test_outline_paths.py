"""Masks as paths: what a path encloses is the mask, at any scale."""

import re
import time
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import ndimage

from segtrain import masks
from segtrain.masks import Rle
from segtrain.report.gallery import outline_paths as module
from segtrain.report.gallery.encode import encode
from segtrain.report.gallery.outline_paths import GRID, MOST, Mark, grid, outlines
from tests.helpers.random_instances import scene
from tests.helpers.report_examples import gallery, prediction, square


def path(mask: Rle, scale: float) -> str:
    """The path of a mask in its image."""
    return module.path(*masks.decode_crop(mask), scale)


def polygons(data: str) -> list[list[tuple[int, int]]]:
    """The absolute places of each closed line of a path."""
    found = []
    for line in re.findall(r"M(.*?)z", data):
        start, steps = re.split("[lh]", line, maxsplit=1)
        x, y = map(int, start.split())
        places = [(x, y)]
        numbers = [int(n) for n in re.findall(r"-?\d+", steps)]
        if "v" not in steps:
            for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
                places.append((places[-1][0] + dx, places[-1][1] + dy))
        found.append(places)
    return found


def filled(data: str, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The pixels inside any line of the path and under it, holes filled; drawn by Pillow."""
    picture = Image.new("1", (size[1], size[0]))
    pen = ImageDraw.Draw(picture)
    for places in polygons(data):
        if len(places) > 2:
            pen.polygon(places, fill=1, outline=1)
        pen.line([*places, places[0]], fill=1)
    return np.asarray(picture)


def test_a_square_is_four_corners_through_its_border_pixels() -> None:
    (corners,) = polygons(path(square(5, 3, 9), 1.0))
    assert set(corners) == {(5, 3), (13, 3), (13, 11), (5, 11)}


@given(st.integers(0, 2**32 - 1))
def test_a_path_encloses_the_mask_within_a_pixel(seed: int) -> None:
    for plane in scene(np.random.default_rng(seed), (48, 64), 3):
        mask = ndimage.binary_fill_holes(plane)
        drawn = filled(path(masks.encode(mask), 1.0), (48, 64))
        assert not (drawn & ~ndimage.binary_dilation(mask, np.ones((3, 3)))).any()
        assert not (mask & ~ndimage.binary_dilation(drawn, np.ones((3, 3)))).any()


def test_a_hole_is_a_line_that_turns_the_other_way() -> None:
    ring = np.zeros((48, 64), bool)
    ring[5:30, 5:30] = True
    ring[12:20, 12:20] = False

    def turn(places: list[tuple[int, int]]) -> int:
        pairs = zip(places, places[1:] + places[:1], strict=True)
        return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)

    outer, inner = sorted((turn(p) for p in polygons(path(masks.encode(ring), 1.0))), key=abs, reverse=True)
    assert outer * inner < 0  # so the nonzero rule leaves the hole open


@pytest.mark.parametrize(("height", "width"), [(3000, 4000), (4000, 3000), (700, 480), (48, 64), (1, 5000)])
def test_large_images_are_scaled_into_the_grid(height: int, width: int) -> None:
    across, down, scale = grid((height, width))
    assert max(across, down) <= GRID
    assert scale <= 1
    assert across / scale == pytest.approx(width, abs=0.51 / scale)
    mask = masks.encode_crop(np.ones((1, width // 2)), width // 4, 0, (height, width))
    xs = [x for places in polygons(path(mask, scale)) for x, _ in places]
    assert min(xs) == pytest.approx(width / 4 * scale, abs=1)
    assert max(xs) == pytest.approx(width * 3 / 4 * scale, abs=1)


def test_what_becomes_a_dot_is_still_there() -> None:
    assert path(square(1000, 500, 3, (3000, 4000)), 0.12) == "M120 60h1v1h-1z"


def test_the_largest_objects_are_drawn_and_keep_their_colours() -> None:
    found = [square(2, 2, 3), square(20, 2, 9), masks.empty((48, 64)), square(2, 20, 6)]
    drawn = outlines(found, 1.0, colours=3)
    assert drawn.count == 4
    assert drawn.slots == [1, 0, 0]
    assert drawn.paths == [path(found[1], 1.0), path(found[3], 1.0), path(found[0], 1.0)]
    assert drawn.joined(2) == {(0, Mark()): drawn.paths[1], (1, Mark()): drawn.paths[0]}
    assert drawn.joined(9) == {(0, Mark()): drawn.paths[1] + drawn.paths[2], (1, Mark()): drawn.paths[0]}
    assert outlines([], 1.0, 10).joined(5) == {}


def test_thousands_of_specks_are_cheap() -> None:
    column = [square(0, y, 2, (400, 400)) for y in range(0, 400, 4)]
    specks = 100 * column
    start = time.process_time()
    drawn = outlines(specks, 1.0, 10)
    assert time.process_time() - start < 1
    assert (drawn.count, len(drawn.paths)) == (10_000, MOST)


def test_ragged_regions_of_one_method_take_no_object_from_another() -> None:
    rng = np.random.default_rng(0)
    noise = [prediction(0, masks.encode(rng.random((96, 128)) < 0.4)) for _ in range(20)]
    (item,) = gallery(1, size=(96, 128))
    rows = {"mask_rcnn": [prediction(0, square(9 * n, 9 * n, 7, (96, 128))) for n in range(9)], "kmeans": noise}
    budget = 60_000
    (shown,) = encode([replace(item, predictions=rows)], ["kmeans", "mask_rcnn"], budget)
    layers = {layer.title: layer for layer in shown.layers}
    assert layers["truth"].drawn == 1
    assert layers["mask_rcnn"].drawn == 9
    assert 0 < layers["kmeans"].drawn < 20
    written = len(shown.uri) + sum(len(path) for layer in shown.layers for _, path in layer.paths)
    longest = max(len(path(prediction["segmentation"], 1.0)) for prediction in noise)
    assert budget - longest - 1_000 < written <= budget
    (bare,) = encode([replace(item, predictions=rows)], ["kmeans", "mask_rcnn"], 1)
    assert [layer.drawn for layer in bare.layers] == [0, 0, 0]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.07, 0.2, 0.6]))
def test_holes_too_small_to_be_seen_change_nothing_but_themselves(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random((60, 70)), 0.6) > 0.48
    mask = masks.encode(np.pad(ndimage.label(noise, np.ones((3, 3)))[0] == 1, 3))
    crop, x, y = masks.decode_crop(mask)
    contours, _ = cv2.findContours(crop, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    whole = []
    for contour in contours:
        corners = cv2.approxPolyDP(contour, module._SMOOTH / scale, closed=True)[:, 0]
        places = np.rint((corners + np.array([x + 0.5, y + 0.5])) * scale - 0.5)
        whole.append(module._closed(places.astype(np.int64)))
    seen = [part for part in whole if not part.endswith("h1v1h-1z")] or whole[:1]
    assert sorted(path(mask, scale).split("M")) == sorted("".join(seen).split("M"))
