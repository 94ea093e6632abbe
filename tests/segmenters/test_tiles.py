"""Large images in windows: the windows, the joining of what they share, and the rule by which images are cut."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label

from segtrain import masks
from segtrain.arrays import IntArray
from segtrain.masks import PackedRles
from segtrain.masks.placing import pixels_inside, placed
from segtrain.records import Instances
from segtrain.segmenters.inputs import KnownInputs
from segtrain.segmenters.mask_rcnn.preprocess import InputSize
from segtrain.segmenters.seams import SeamJoiner
from segtrain.segmenters.tiles import TiledSegmenter, Tiling, tiled
from segtrain.segmenters.windows import WindowGrid
from tests.helpers.perfect_segmenter import PerfectSegmenter, coloured
from tests.helpers.tiny_networks import picture, tiny

SIDES = st.integers(1, 90)


@given(st.tuples(SIDES, SIDES), st.tuples(st.integers(16, 40), st.integers(16, 40)), st.integers(1, 7))
def test_windows_cover_an_image_and_cores_divide_it(
    size: tuple[int, int], window: tuple[int, int], overlap: int
) -> None:
    grid = WindowGrid(size, window, (overlap, overlap))
    covered, divided = np.zeros(size, int), np.zeros(size, int)
    for number, own in enumerate(grid):
        assert own.size == (min(size[0], window[0]), min(size[1], window[1]))
        core = grid.core(number)
        covered[own.y0 : own.y1, own.x0 : own.x1] += 1
        divided[core.y0 : core.y1, core.x0 : core.x1] += 1
        assert own.x0 <= core.x0 < core.x1 <= own.x1
        assert own.y0 <= core.y0 < core.y1 <= own.y1
        shared = [other for other in range(number) if _shared(own, grid[other]) > 0]
        assert grid.before(number) == shared
    assert covered.min() == 1
    assert (divided == 1).all()
    for starts, length, side in zip(grid.starts, size, window, strict=True):
        assert len(starts) == 1 or max(np.diff(starts)) <= side - overlap
        assert len(starts) <= max(1, -(-(length - overlap) // (side - overlap)))


def _shared(one: Any, other: Any) -> int:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    return width * (min(one.y1, other.y1) - max(one.y0, other.y0)) if width > 0 else 0


@given(st.integers(0, 2**32), SIDES, SIDES)
def test_masks_of_a_window_in_the_image(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    planes = rng.random((3, height, width)) < [[[0.5]], [[0]], [[1]]]
    x, y, right, bottom = (int(n) for n in rng.integers(0, 9, 4))
    whole = [np.pad(plane, ((y, bottom), (x, right))) for plane in planes]
    moved = placed(PackedRles.of([masks.encode(plane) for plane in planes]), (x, y), whole[0].shape)
    assert list(moved) == [masks.encode(plane) for plane in whole]
    x0, x1 = sorted(rng.integers(0, width + 9, 2).tolist())
    y0, y1 = sorted(rng.integers(0, height + 9, 2).tolist())
    assert pixels_inside(moved, (x0, y0, x1, y1)).tolist() == [int(plane[y0:y1, x0:x1].sum()) for plane in whole]
    assert len(placed(moved[:0], (0, 0), (2, 2))) == len(pixels_inside(moved[:0], (0, 0, 1, 1))) == 0


def regions(rng: np.random.Generator, size: tuple[int, int]) -> IntArray:
    """Draw connected regions, some of them larger than any window."""
    drawn = np.zeros(size, dtype=np.int64)
    for number in range(1, int(rng.integers(2, 50))):
        height, width = rng.integers(3, rng.choice([20, 100]), 2)
        y, x = int(rng.integers(0, size[0] - 3)), int(rng.integers(0, size[1] - 3))
        drawn[y : y + height, x : x + width] = number
    found: IntArray = label(drawn, connectivity=1)
    return found


@given(st.integers(0, 2**32), st.integers(16, 60), st.floats(0.02, 0.49))
def test_true_regions_are_joined_whatever_the_windows_are(seed: int, tile: int, overlap: float) -> None:
    rng = np.random.default_rng(seed)
    drawn = regions(rng, (int(rng.integers(20, 150)), int(rng.integers(20, 150))))
    (found,) = TiledSegmenter(PerfectSegmenter(), Tiling(tile, overlap)).segment([coloured(drawn)])
    (whole,) = PerfectSegmenter().segment([coloured(drawn)])
    assert sorted(rle["counts"] for rle in found.rles) == sorted(rle["counts"] for rle in whole.rles)
    assert found.boxes.tolist() == masks.boxes(found.rles).tolist()
    assert found.size == whole.size


def instances(size: tuple[int, int], *found: tuple[tuple[int, int, int, int], int, float], **more: Any) -> Instances:
    """Make rectangular instances of (xyxy, label, score)."""
    boxes = np.array([box for box, _, _ in found], np.float32).reshape(-1, 4)
    rles = [masks.encode_crop(np.ones((y1 - y0, x1 - x0)), x0, y0, size) for (x0, y0, x1, y1), _, _ in found]
    labels = np.array([own for _, own, _ in found], np.int64)
    return Instances(size, boxes, labels, np.array([score for *_, score in found], np.float32), rles, **more)


GRID = WindowGrid((20, 70), (20, 40), (10, 10))  # columns 0 to 40 and 30 to 70; the cores meet at 35


def joined(first: Instances, second: Instances) -> list[tuple[list[float], int, float]]:
    joiner = SeamJoiner(GRID)
    joiner.add(first)
    joiner.add(second)
    found = joiner.joined()
    assert masks.boxes(found.rles).tolist() == found.boxes.tolist()
    rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    return [(box, own, round(score, 3)) for box, own, score in rows]


def test_a_complete_view_replaces_one_that_its_window_cuts() -> None:
    cut, whole = ((25, 2, 40, 12), 1, 0.9), ((0, 2, 15, 12), 1, 0.6)
    assert joined(instances((20, 40), ((25, 2, 40, 12), 1, 0.9)), instances((20, 40), ((2, 2, 17, 12), 1, 0.6))) == [
        ([32, 2, 47, 12], 1, 0.6)
    ]
    # The second window cuts its view, too: both become one, with the higher score.
    assert joined(instances((20, 40), cut), instances((20, 40), whole)) == [([25, 2, 45, 12], 1, 0.9)]


def test_views_of_other_labels_are_others() -> None:
    found = joined(instances((20, 40), ((25, 2, 40, 12), 1, 0.9)), instances((20, 40), ((0, 2, 15, 12), 2, 0.6)))
    assert found == [([25, 2, 40, 12], 1, 0.9), ([30, 2, 45, 12], 2, 0.6)]


def test_an_instance_without_a_second_view_is_kept_by_the_core_that_holds_it() -> None:
    inside, outside = ((20, 2, 30, 12), 1, 0.9), ((36, 2, 39, 12), 1, 0.8)
    assert joined(instances((20, 40), inside, outside), Instances.empty((20, 40))) == [([20, 2, 30, 12], 1, 0.9)]


def test_of_two_complete_views_the_core_chooses() -> None:
    first, second = ((31, 2, 37, 12), 1, 0.5), ((2, 2, 7, 12), 1, 0.9)
    assert joined(instances((20, 40), first), instances((20, 40), second)) == [([31, 2, 37, 12], 1, 0.5)]


def test_touching_objects_are_not_joined() -> None:
    upper, lower = ((25, 2, 40, 10), 1, 0.9), ((0, 10, 15, 18), 1, 0.8)
    assert len(joined(instances((20, 40), upper), instances((20, 40), lower))) == 2


def test_limits_and_predicted_boxes_of_windows() -> None:
    first = instances((20, 40), ((25, 2, 40, 12), 1, 0.9), complete_above=0.3)
    second = instances((20, 40), ((0, 2, 15, 12), 1, 0.6))
    joiner = SeamJoiner(GRID)
    joiner.add(replace(first, predicted_boxes=first.boxes - 1))
    joiner.add(replace(second, predicted_boxes=second.boxes + 1))
    found = joiner.joined()
    assert found.complete_above == 0.3
    assert found.predicted_boxes is not None
    assert found.predicted_boxes.tolist() == [[24, 1, 46, 13]]


def known(size: InputSize, training: list[tuple[int, int]], validation: list[tuple[int, int]], **more: Any) -> Any:
    return KnownInputs.of(size.factor, training, validation, **more)


def test_the_sizes_of_a_training() -> None:
    demo = known(InputSize(None, 1333, 2.0), [(128, 128)] * 3, [(128, 128)])
    assert demo == KnownInputs(2.0, (256, 256), (128, 128))
    assert KnownInputs.from_plain(demo.to_plain()) == demo
    # The limit shrinks the largest image by 4 %: it still counts, and stays whole.
    nuclei = known(InputSize(None, 1333, 2.0), [(256, 256), (520, 696)], [(696, 300)])
    assert nuclei == KnownInputs(2.0, (995, 1333), (520, 696))
    assert nuclei.window((2000, 3000)) == (497, 666)
    assert nuclei.window((3000, 2000)) == (666, 497)
    # By the size of the image: the scale is the median, and every image counts.
    photos = known(InputSize(800, 1333, None), [(480, 640)] * 3 + [(1000, 1000)], [(640, 480)])
    assert photos.scale == pytest.approx(800 / 480)
    assert (photos.input, photos.image) == ((800, 1066), (1000, 1000))


def test_the_scale_of_a_training_on_crops() -> None:
    size, large = InputSize(None, 400, 2.0), [(1000, 1000)]
    crops = known(size, large, large, drawn=lambda: [(150, 150)] * 3)
    assert crops == KnownInputs(2.0, (400, 400), (0, 0))
    assert Tiling("auto", 0.25, crops).grid((1000, 1000)) is not None
    assert Tiling("auto", 0.25, crops).grid((150, 200)) is None
    shrunk = known(size, large, large, drawn=lambda: large)
    assert shrunk == KnownInputs(0.4, (400, 400), (1000, 1000))
    assert Tiling("auto", 0.25, shrunk).grid((1000, 1000)) is None


def test_sizes_that_are_not_known() -> None:
    assert KnownInputs.presumed(InputSize(None, 1333, 2.0).factor) == KnownInputs(2.0, (1333, 1333), (833, 833))
    assert KnownInputs.presumed(InputSize(800, 1333, None).factor) is None
    assert KnownInputs.presumed(lambda height, width: 1.0) is None


def test_which_images_are_cut() -> None:
    inputs = KnownInputs(2.0, (256, 256), (128, 160))
    auto = Tiling("auto", 0.25, inputs)
    assert auto.grid((160, 128)) is auto.grid((20, 30)) is None
    assert auto.grid((161, 128)) == WindowGrid((161, 128), (128, 128), (32, 32))
    assert Tiling("off", 0.25, inputs).grid((5000, 5000)) is None
    assert Tiling("auto").grid((5000, 5000)) is None
    assert Tiling(64).grid((64, 64)) is None
    assert Tiling(64).grid((64, 65)) == WindowGrid((64, 65), (64, 64), (16, 16))
    segmenter = PerfectSegmenter()
    TiledSegmenter(segmenter, Tiling(64)).segment([torch.zeros(3, 64, 100, dtype=torch.uint8)])
    assert segmenter.sizes == [(64, 64), (64, 64)]


def test_a_network_sees_windows_at_the_scale_of_its_training() -> None:
    network = tiny(scale=None, min_size=128).eval()
    network.inputs = KnownInputs(2.0, (128, 128), (64, 64))
    image, _ = picture(3, 64, 150, 6)
    segmenter = tiled(network)
    (found,) = segmenter.segment([image])
    assert segmenter.windows((64, 150)) == 3
    joiner = SeamJoiner(WindowGrid((64, 150), (64, 64), (16, 16)))
    for x in (0, 43, 86):
        joiner.add(network.segment([image[:, :, x : x + 64]])[0])  # 64 pixels become 128 by the rule for whole images
    expected = joiner.joined()
    assert len(found) > 3
    assert list(found.rles) == list(expected.rles)
    assert found.complete_above > 0


def test_images_that_are_shrunk() -> None:
    network = tiny(max_size=100, scale=1.0)
    network.inputs, network.tile = KnownInputs(1.0, (100, 100), (100, 100)), "off"
    sizes = [(100, 100), (120, 120), (200, 50), (200, 50)]
    assert tiled(network).summarise(sizes) == (1, 0, 2)
    network.tile = "auto"
    assert tiled(network).summarise(sizes) == (4, 3, 0)
    by_size = tiny(min_size=50, max_size=100, scale=None)
    assert tiled(by_size).summarise([(50, 60), (300, 300)]) == (1, 0, 1)  # of before sizes were recorded
    assert TiledSegmenter(PerfectSegmenter()).summarise([(9000, 9000)]) == (1, 0, 0)
