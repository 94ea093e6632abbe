"""Charts of a validation: errors, precision and recall, against counting by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain import masks
from segtrain.arrays import FloatArray
from segtrain.data.coco.index import CocoIndex
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.splits import Split
from segtrain.evaluation import Detections, GroundTruthSet, metric_input
from segtrain.metrics.registry import METRICS, metric_values
from segtrain.training.trackers.tracker import PrecisionRecall
from segtrain.training.validation_charts import Validated, ValidationCharts, precision_recall
from segtrain.visualize import ERROR_COLOURS, Pixels
from tests.helpers.tiny_runs import IDS, write_data


class Record:
    """Stand-in for the logger of a run."""

    def __init__(self) -> None:
        self.scalars: dict[str, float] = {}
        self.images: dict[str, Pixels] = {}
        self.histograms: dict[str, FloatArray] = {}
        self.curves: dict[str, PrecisionRecall] = {}

    def log_scalars(self, step: int, values: dict[str, float]) -> None:
        self.scalars |= values

    def log_image(self, step: int, name: str, image: Pixels) -> None:
        self.images[name] = image

    def log_histogram(self, step: int, name: str, values: FloatArray) -> None:
        self.histograms[name] = values

    def log_precision_recall(self, step: int, name: str, curve: PrecisionRecall) -> None:
        self.curves[name] = curve


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CocoIndex:
    return write_data(tmp_path_factory.mktemp("data"), images=3)


def validated(index: CocoIndex) -> Validated:
    """Of the first image: one object found well, one found with a low score alone, and a false corner twice."""
    truths = index.truths(100)
    corner = np.zeros((64, 64), np.uint8)
    corner[60:, 60:] = 1
    found: list[Any] = [
        {**_record(truths[0]), "score": 0.9},
        {**_record(truths[1]), "score": 0.3},
        {"image_id": 100, "category_id": IDS[0], "segmentation": masks.encode(corner), "score": 0.8},
        {"image_id": 101, "category_id": IDS[0], "segmentation": masks.encode(corner), "score": 0.2},
    ]
    detections = Detections(found, None, True, 0.5)
    inputs = metric_input(detections, GroundTruthSet.of(index), 10, "class_aware")
    return Validated(7, detections, inputs, metric_values(inputs, [metric for metric in METRICS if metric.validated]))


def _record(truth: Any) -> dict[str, Any]:
    return {name: truth[name] for name in ("image_id", "category_id", "segmentation")}


def test_hits_misses_and_false_detections_have_their_colours(index: CocoIndex) -> None:
    record, folder = Record(), Path(index.path.parent)
    split = Split("val", index, ImageReader(folder, exif="auto", max_pixels=10**6))
    charts = ValidationCharts(record, split, images=1, categories=2)  # type: ignore[arg-type]
    done = validated(index)
    hit, missed = charts._outcome(done, index.images[0])
    assert hit == {0: True, 2: False}
    assert [done.inputs.truths[n]["id"] for n in missed] == [2]
    charts(done)
    assert set(record.images) == {"0.png", "calibration"}
    errors = record.images["0.png"][24:, -512:]
    assert all((errors == colour).all(axis=2).any() for colour in ERROR_COLOURS.values())
    assert not (record.images["0.png"][24:, :512] == ERROR_COLOURS["false"]).all(axis=2).any()
    assert sorted(record.histograms["scores/hits"].tolist()) == [0.3, 0.9]
    assert sorted(record.histograms["scores/false detections"].tolist()) == [0.2, 0.8]
    true = [truth["segmentation"] for truth in done.inputs.truths]
    assert record.histograms["mask sizes/true (square root of pixels)"] ** 2 == pytest.approx(masks.area(true))
    assert len(record.histograms["mask sizes/found (square root of pixels)"]) == 2
    per_category = done.values.per_category[IDS[1]]
    assert record.scalars["validation/categories/square/mask_ap"] == per_category["mask_ap"]
    assert record.scalars["validation/calibration_error"] == pytest.approx((0.1 + 0.8 + 0.7 + 0.2) / 4)
    assert set(record.curves) == {"all categories", "round", "square"}


def test_without_a_detection_every_object_is_missed(index: CocoIndex) -> None:
    split = Split("val", index, ImageReader(Path(index.path.parent), exif="auto", max_pixels=10**6))
    charts = ValidationCharts(Record(), split, images=1, categories=2)  # type: ignore[arg-type]
    inputs = metric_input(Detections([], None, True, 0.5), GroundTruthSet.of(index), 10, "class_aware")
    done = replace(validated(index), inputs=inputs)
    hit, missed = charts._outcome(done, index.images[0])
    assert (hit, len(missed)) == ({}, len(index.truths(index.images[0].id)))


def test_precision_and_recall_are_counts_above_each_score(index: CocoIndex) -> None:
    matches = validated(index).inputs.matches("segm")
    curve = precision_recall(matches, None)
    for threshold, hits, false, missed in zip(curve.thresholds, curve.hits, curve.false, curve.missed, strict=True):
        assert hits == sum(score >= threshold for score in (0.9, 0.3)), threshold
        assert false == sum(score >= threshold for score in (0.8, 0.2)), threshold
        assert hits + missed == 4
    assert curve.precision[[0, 85, 100]].tolist() == [0.5, 1.0, 1.0]
    assert curve.recall[[0, 85, 100]].tolist() == [0.5, 0.25, 0.0]
    square = precision_recall(matches, 1)
    assert (square.hits[0], square.false[0], square.missed[0]) == (1, 0, 1)


def test_a_single_category_has_no_curves_of_its_own(index: CocoIndex) -> None:
    record = Record()
    split = Split("val", index, ImageReader(index.path.parent, exif="auto", max_pixels=10**6))
    ValidationCharts(record, split, images=0, categories=0)(validated(index))  # type: ignore[arg-type]
    assert list(record.curves) == ["all categories"]
    assert list(record.scalars) == ["validation/calibration_error"]
