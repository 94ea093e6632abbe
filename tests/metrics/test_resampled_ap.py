"""Resampled average precision against pycocotools, run on the images of the resample under new ids."""

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.metrics import resampled_ap as module
from segtrain.metrics.average_precision import average_precision
from segtrain.metrics.matching import match
from segtrain.metrics.resampled_ap import ResampledPrecision, hits_needed, resampled_precision
from tests.helpers.coco_referee import referee
from tests.helpers.random_scenes import CATEGORIES, Scene, scene

IouType = Literal["segm", "bbox"]


def repeated(drawn: Scene, draws: np.ndarray) -> Scene:
    """The scene in which each image stands as often as it was drawn, images by id, copies side by side."""
    sizes: dict[int, Any] = {}
    truths: list[Any] = []
    predictions: list[Any] = []
    for image_id, times in zip(sorted(drawn.sizes), draws, strict=True):
        for _ in range(times):
            number = len(sizes) + 1
            sizes[number] = drawn.sizes[image_id]
            truths += [{**t, "image_id": number} for t in drawn.truths if t["image_id"] == image_id]
            predictions += [{**p, "image_id": number} for p in drawn.predictions if p["image_id"] == image_id]
    return Scene(sizes, [{**t, "id": number} for number, t in enumerate(truths, 1)], predictions)  # type: ignore[arg-type]


def ours(drawn: Scene, draws: np.ndarray, iou_type: IouType, max_dets: int) -> ResampledPrecision:
    found = drawn.predictions if iou_type == "segm" else drawn.box_predictions
    matches = match(drawn.truths, found, image_ids=list(drawn.sizes), category_ids=CATEGORIES, iou_type=iou_type)
    return resampled_precision(matches, draws, max_dets=max_dets)


def mean(values: np.ndarray) -> float:
    return float(values[values > -1].mean()) if (values > -1).any() else float("nan")


def assert_same(drawn: Scene, draws: np.ndarray, iou_type: IouType, max_dets: int) -> None:
    result = ours(drawn, draws, iou_type, max_dets)
    assert result.precision.shape == result.recall.shape == (10, 4, len(draws))
    for b, times in enumerate(draws):
        copy = repeated(drawn, times)
        found = copy.predictions if iou_type == "segm" else copy.box_predictions
        tables: Any = referee(copy.truths, found, copy.sizes, CATEGORIES, iou_type, max_dets).eval if copy.sizes else {}
        for t in range(10):
            for a in range(4):
                expected = (
                    [mean(tables["precision"][t, :, :, a]), mean(tables["recall"][t, :, a])] if tables else [np.nan] * 2
                )
                got = [result.precision[t, a, b], result.recall[t, a, b]]
                np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def draws_of(rng: np.random.Generator, images: int, resamples: int) -> np.ndarray:
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize(("seed", "max_dets"), [(0, 1000), (1, 4), (2, 20)])
def test_a_resample_is_the_evaluator_run_again(seed: int, max_dets: int, iou_type: IouType) -> None:
    """Few scores, so that nearly all are tied, within an image and between images."""
    drawn = scene(seed, predictions=250)
    assert_same(drawn, draws_of(np.random.default_rng(seed), len(drawn.sizes), 5), iou_type, max_dets)


@pytest.mark.parametrize("constant", [True, False])
def test_scores_all_equal_or_all_different(constant: bool) -> None:
    drawn = scene(4, predictions=200)
    for number, prediction in enumerate(drawn.predictions):
        prediction["score"] = 0.5 if constant else (number * 37 % 211) / 211
    assert_same(drawn, draws_of(np.random.default_rng(0), len(drawn.sizes), 5), "segm", 1000)


@pytest.mark.parametrize(("truths", "predictions"), [(0, 40), (40, 0), (0, 0), (1, 1), (3, 200)])
def test_little_or_nothing(truths: int, predictions: int) -> None:
    drawn = scene(3, truths, predictions)
    assert_same(drawn, draws_of(np.random.default_rng(1), len(drawn.sizes), 4), "segm", 100)


@given(st.integers(0, 2**32), st.lists(st.integers(0, 4), min_size=9, max_size=9), st.sampled_from([1, 3, 100]))
def test_any_draws(seed: int, draws: list[int], max_dets: int) -> None:
    """Also of more or fewer images than there are, or of none."""
    assert_same(scene(seed, 20, 60), np.array([draws]), "segm", max_dets)


@pytest.mark.parametrize(("name", "value"), [("_LANE", 3), ("_LANE", 1000), ("_TABLE", 0)])
def test_ways_of_the_computation_that_large_data_take(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many lanes; rows of more detections than a narrow type can count in long lanes; a search for each recall."""
    monkeypatch.setattr(module, name, value)
    drawn = scene(7, truths=25, predictions=400)
    draws = draws_of(np.random.default_rng(3), len(drawn.sizes), 3)
    if value == 1000:
        draws = np.minimum(draws, 2)
        assert module._Drawn.of(draws).longest == 16
    assert_same(drawn, draws, "segm", 1000)


def test_an_image_that_is_drawn_very_often() -> None:
    drawn = scene(8, truths=20, predictions=60)
    draws = np.ones((1, len(drawn.sizes)), dtype=np.int64)
    draws[0, 0] = 70
    assert module._Drawn.of(draws).times.dtype == np.int32
    assert_same(drawn, draws, "segm", 100)


@pytest.mark.parametrize("entries", [1023, 1024, 2**15])
def test_sums_that_just_fit_a_type_or_just_do_not(entries: int) -> None:
    drawn = module._Drawn.of(np.array([[32], [1]]))
    line = np.zeros(entries, dtype=np.int64)
    assert drawn.sums(line, line, 2).tolist() == [[32 * entries, entries], [0, 0]]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_every_image_once_is_the_number_itself(iou_type: IouType) -> None:
    drawn = scene(5, predictions=300)
    result = ours(drawn, np.ones((1, len(drawn.sizes)), dtype=np.int64), iou_type, 50)
    found = drawn.predictions if iou_type == "segm" else drawn.box_predictions
    stats = average_precision(
        drawn.truths, found, image_ids=list(drawn.sizes), category_ids=CATEGORIES, max_dets=50, iou_type=iou_type,
        sizes=drawn.sizes,
    ).stats  # fmt: skip
    got = [*result.precision.mean(axis=0)[:, 0], result.precision[0, 0, 0], result.recall.mean(axis=0)[0, 0]]
    expected = [stats[0], *stats[3:6], stats[1], stats[8]]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_a_recall_of_hundredths_is_reached_as_the_evaluator_reaches_it() -> None:
    """.29 is less than 29 / 100 in floating point or more: both are asked the same question."""
    for truths in range(1, 301):
        recall = np.arange(truths + 1) / truths
        expected = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
        assert np.array_equal(hits_needed(np.array([truths]))[:, 0], expected)


def test_memory_is_bounded_and_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = scene(6, predictions=300)
    draws = draws_of(np.random.default_rng(2), len(drawn.sizes), 40)
    once = np.ones((1, len(drawn.sizes)), dtype=np.int64)
    whole, of_all = ours(drawn, draws, "segm", 100), ours(drawn, once, "segm", 100)
    monkeypatch.setattr(module, "_CELLS", 64)
    monkeypatch.setattr(module, "_DRAWS", 500)
    parts = ours(drawn, draws, "segm", 100)
    # Sums of floating point are taken in another order where a piece has another shape.
    np.testing.assert_allclose(parts.precision, whole.precision, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(parts.recall, whole.recall)
    for name in ("category_precision", "category_recall"):
        np.testing.assert_array_equal(getattr(ours(drawn, once, "segm", 100), name), getattr(of_all, name))
