"""Mean IoU against its definition, spelled out on full planes."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import masks
from segtrain.metrics.mean_iou import MeanIou, mean_iou
from segtrain.records import GroundTruth, Prediction
from tests.helpers.builders import prediction, truth_of
from tests.helpers.random_scenes import CATEGORIES, scene

Sizes = dict[int, tuple[int, int]]


def brute_force(
    truths: list[GroundTruth], predictions: list[Prediction], category_ids: list[int], sizes: Sizes
) -> tuple[float, float, dict[int, float]]:
    """The definition, on planes: sums over images, then one division for each layer."""
    layers = ["background", "foreground", *category_ids]
    both, either, true = (dict.fromkeys(layers, 0) for _ in range(3))
    for image_id, size in sizes.items():

        def plane(records: list, keep: object, image_id: int = image_id, size: tuple[int, int] = size) -> np.ndarray:
            result = np.zeros(size, dtype=bool)
            for record in records:
                if record["image_id"] == image_id and (keep is None or record["category_id"] == keep):
                    result |= masks.decode(record["segmentation"])
            return result

        void = plane([t for t in truths if t["iscrowd"]], None)
        real = [t for t in truths if not t["iscrowd"] and t["category_id"] in category_ids]
        found = [p for p in predictions if p["category_id"] in category_ids]
        for layer in layers:
            keep = layer if layer in category_ids else None
            g, p = plane(real, keep), plane(found, keep)
            if layer == "background":
                g, p = ~g, ~p
            g, p = g & ~void, p & ~void
            both[layer] += (g & p).sum()
            either[layer] += (g | p).sum()
            true[layer] += g.sum()
    iou = {layer: both[layer] / either[layer] if true[layer] else float("nan") for layer in layers}
    background = both["background"] / either["background"] if either["background"] else float("nan")
    values = [v for v in (background, *(iou[c] for c in category_ids)) if not isnan(v)]
    return np.mean(values) if values else float("nan"), iou["foreground"], {c: iou[c] for c in sorted(category_ids)}


def assert_same(got: MeanIou, expected: tuple[float, float, dict[int, float]]) -> None:
    assert list(got.per_category) == list(expected[2])
    np.testing.assert_allclose(
        [got.miou, got.fg_iou, *got.per_category.values()],
        [expected[0], expected[1], *expected[2].values()],
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("category_ids", [CATEGORIES, [3], []], ids=str)
def test_random_scenes(seed: int, category_ids: list[int]) -> None:
    drawn = scene(seed, 15, 15)
    assert_same(
        mean_iou(drawn.truths, drawn.predictions, category_ids=category_ids, sizes=drawn.sizes),
        brute_force(drawn.truths, drawn.predictions, category_ids, drawn.sizes),
    )


rectangles = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(0, 8)] * 2)
records = st.lists(st.tuples(rectangles, st.integers(1, 3), st.integers(1, 3), st.integers(0, 4)), max_size=8)


@given(st.dictionaries(st.integers(1, 3), st.tuples(st.integers(1, 7), st.integers(1, 7))), records, records)
def test_wild_scenes(sizes: Sizes, real: list, found: list) -> None:
    """Few pixels: covered images, images all crowd, categories that are only predicted, nothing at all."""

    def rle(place: tuple[int, int, int, int], image_id: int) -> masks.Rle:
        x, y, width, height = place
        return masks.encode_crop(np.ones((height, width)), x, y, sizes[image_id])

    truths = [
        truth_of(rle(place, i), c, image_id=i, iscrowd=int(dice == 0)) for place, i, c, dice in real if i in sizes
    ]
    predictions = [prediction(rle(place, i), c, image_id=i) for place, i, c, _ in found if i in sizes]
    # Category 3 belongs to no one: only its crowds matter.
    got = mean_iou(truths, predictions, category_ids=[1, 2], sizes=sizes)
    assert_same(got, brute_force(truths, predictions, [1, 2], sizes))


SIZES: Sizes = {1: (2, 10), 2: (2, 10)}


def columns(start: int, stop: int) -> masks.Rle:
    """2 x (stop - start) pixels."""
    plane = np.zeros((2, 10))
    plane[:, start:stop] = 1
    return masks.encode(plane)


def test_counted_by_hand() -> None:
    got = mean_iou([truth_of(columns(0, 4))], [prediction(columns(2, 6))], category_ids=[1], sizes=SIZES)
    assert got.per_category == {1: 4 / 12}
    assert got.fg_iou == 4 / 12
    # Background: 20 + 8 pixels of 20 + 16, image 2 included.
    assert got.miou == pytest.approx((4 / 12 + 28 / 36) / 2)


def test_one_division_for_all_images() -> None:
    """A mean of per-image ratios would be (1 + 1/5) / 2."""
    truths = [truth_of(columns(0, 1)), truth_of(columns(0, 5), image_id=2)]
    predictions = [prediction(columns(0, 1)), prediction(columns(0, 1), image_id=2)]
    assert mean_iou(truths, predictions, category_ids=[1], sizes=SIZES).fg_iou == 4 / 12


def test_a_crowd_of_any_category_is_ignored_in_all() -> None:
    truths = [truth_of(columns(0, 4)), truth_of(columns(2, 8), 77, iscrowd=1)]
    got = mean_iou(truths, [prediction(columns(0, 10))], category_ids=[1], sizes={1: (2, 10)})
    assert got.per_category == {1: 4 / 8}
    assert got.miou == pytest.approx((4 / 8 + 0) / 2)


def test_a_category_only_predicted_has_no_iou_but_costs_the_background() -> None:
    got = mean_iou([truth_of(columns(0, 4))], [prediction(columns(0, 4)), prediction(columns(4, 6), 2)],
                   category_ids=[1, 2], sizes={1: (2, 10)})  # fmt: skip
    assert got.per_category[1] == 1
    assert isnan(got.per_category[2])
    assert got.fg_iou == 8 / 12
    assert got.miou == pytest.approx((1 + 8 / 12) / 2)


def test_pixels_may_belong_to_several_categories() -> None:
    truths = [truth_of(columns(0, 4)), truth_of(columns(2, 6), 2)]
    predictions = [prediction(columns(0, 4)), prediction(columns(2, 6), 2)]
    got = mean_iou(truths, predictions, category_ids=[1, 2], sizes=SIZES)
    assert (got.miou, got.fg_iou, got.per_category) == (1, 1, {1: 1, 2: 1})


def test_images_without_objects_are_all_background() -> None:
    got = mean_iou([], [], category_ids=[1], sizes=SIZES)
    assert got.miou == 1
    assert isnan(got.fg_iou)
    assert isnan(got.per_category[1])


def test_nothing_at_all_is_undefined() -> None:
    for sizes, truths in (({}, []), ({1: (2, 10)}, [truth_of(columns(0, 10), iscrowd=1)])):
        got = mean_iou(truths, [prediction(columns(0, 3))], category_ids=[1], sizes=sizes)  # type: ignore[arg-type]
        assert isnan(got.miou)
        assert isnan(got.fg_iou)
        assert isnan(got.per_category[1])
