"""Contrast that chance alone makes: the interval says so where it has nothing to do with what is found."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from segtrain.benchmark.results import ContrastGap
from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.metrics.bootstrap import draw_images
from segtrain.metrics.strata import thirds
from segtrain.records import Category
from segtrain.report.sections.object_strata import contrast_gap, resample_contrast
from tests.helpers.report_examples import prediction, square, truth

IMAGES, EACH = 40, 4
SIZE = (48, 64)


def drawn(rng: np.random.Generator) -> tuple[GroundTruthSet, dict[str, MethodResult]]:
    """Images with four objects each, in some of which most are found and in others few."""
    truths: list[Any] = []
    found = []
    for image in range(IMAGES):
        share = rng.random()
        for place in range(EACH):
            mask = square(2 + 12 * place, 5, 8)
            truths.append(truth(image, mask, len(truths) + 1))
            right = rng.random() < share
            found.append(prediction(image, mask if right else square(2 + 12 * place, 30, 8), rng.random()))
    reference = GroundTruthSet([Category(1, "object")], dict.fromkeys(range(IMAGES), SIZE), truths)
    tracks: Any = {"class_agnostic": SimpleNamespace(metrics={"mask_ap": 0.5})}
    return reference, {
        "otsu": MethodResult(
            Detections(found, None, True, 0.0), ranked_by="contrast", technique="threshold", tracks=tracks
        )
    }


def gap(rng: np.random.Generator, contrast: Any, resamples: int = 200) -> ContrastGap:
    reference, rows = drawn(rng)
    traits = {"contrast": thirds(contrast(rng, rows), ("lowest", "middle", "highest"))}
    draws = draw_images(IMAGES, resamples, 1)
    found = contrast_gap(rows, {"otsu": resample_contrast(rows["otsu"], reference, traits, 100, draws)})
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("by", [pytest.param("object", marks=pytest.mark.slow), "image"])
def test_a_contrast_drawn_by_lot_tells_nothing(by: str) -> None:
    """95 % of the intervals hold 0, but for what percentiles lack: 60 draws have 48 or more all but surely."""

    def contrast(rng: np.random.Generator, rows: Any) -> np.ndarray:
        return rng.random(IMAGES * EACH) if by == "object" else np.repeat(rng.random(IMAGES), EACH)

    gaps = [gap(np.random.default_rng(seed), contrast) for seed in range(60)]
    assert sum((found.low or 0) <= 0 <= (found.high or 0) for found in gaps) >= 48
    # The differences themselves are far from small.
    assert np.mean([abs(found.difference or 0) >= 0.02 for found in gaps]) > 0.8


def test_a_contrast_that_decides_is_seen() -> None:
    def contrast(rng: np.random.Generator, rows: Any) -> np.ndarray:
        found = rows["otsu"].detections.masks
        right = [p["segmentation"] == square(2 + 12 * (n % EACH), 5, 8) for n, p in enumerate(found)]
        return np.array(right) + rng.random(IMAGES * EACH)

    found = gap(np.random.default_rng(0), contrast)
    assert 0.3 < (found.low or 0) < (found.difference or 0) < (found.high or 0)
