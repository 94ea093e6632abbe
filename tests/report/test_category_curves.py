"""Section of curves of categories."""

from typing import Any

import numpy as np
import pytest

from segtrain.evaluation import Detections, GroundTruthSet, score
from segtrain.metrics.scores import TrackScores
from segtrain.report.blocks import Charts, Paragraph
from segtrain.report.sections.category_curves import category_curves, find_category_curves
from tests.helpers.random_scenes import ground_truth_of, scene
from tests.helpers.report_examples import method, results, typed


def test_areas_below_the_curves_are_the_ap_of_the_categories() -> None:
    drawn = scene(2, predictions=80)
    truth, found = ground_truth_of(drawn), Detections(drawn.predictions, None, True, 0.5)
    curves = find_category_curves(found, truth, 100)
    aware = score(found, truth, 100)["class_aware"]
    assert curves is not None
    assert isinstance(aware, TrackScores)
    known = {entry.id: entry for entry in aware.per_category}
    for curve in curves:
        assert np.mean(curve.precision) == pytest.approx(known[curve.id].metrics["mask_ap50"], abs=1e-4)
    objects = [known[curve.id].annotations for curve in curves]
    assert objects == sorted(objects, reverse=True)
    assert len(curves) == sum(entry.annotations > 0 for entry in aware.per_category)
    one = GroundTruthSet(truth.categories[:1], truth.sizes, [])
    assert find_category_curves(found, one, 100) is None
    assert find_category_curves(Detections(drawn.predictions, None, False, 0.5), truth, 100) is None


def curve(category_id: int, height: float) -> dict[str, Any]:
    return {"id": category_id, "precision": [height] * 51 + [0.0] * 50}


def test_each_category_has_a_chart_with_a_line_of_each_method() -> None:
    names = ["cat", "dog", "rat"]
    rows = {name: method(quality, 0.1, names, aware=True) for name, quality in (("good", 0.5), ("poor", 0.2))}
    rows["good"]["category_curves"] = [curve(2, 0.4), curve(1, 0.9)]
    rows["poor"]["category_curves"] = [curve(2, 0.8), curve(1, 0.2)]
    section = category_curves(typed(results(rows, tuple(names))))
    assert section is not None
    lead, block = section.blocks
    assert isinstance(lead, Paragraph)
    assert lead.text.endswith("1 category with fewer objects is not drawn.")
    assert isinstance(block, Charts)
    assert block.layout == "charts small"
    assert [(chart.title, chart.note) for chart in block.charts] == [("dog", "0.404"), ("cat", "0.454")]
    assert list(block.lines) == ["good", "poor"]
    assert category_curves(typed(results())) is None
