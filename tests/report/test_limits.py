"""Mask R-CNN's limits: which rows they are measured for, what is said of them, and how they are shown."""

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain import masks
from segtrain.benchmark.results import Results
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.metrics.scores import plain
from segtrain.records import GroundTruth
from segtrain.report.charts import Point
from segtrain.report.sections.limits import (
    calibration_sentences,
    calibration_table,
    ceiling_sentences,
    ceiling_table,
    compute_mask_resolution_limit,
    limits,
    measure_calibration,
    reliability_charts,
    reliability_table,
)
from segtrain.report.writer import write_report
from segtrain.segmenters import MaskGrid
from segtrain.segmenters.mask_rcnn.mask_geometry import MaskGeometry, resample_through_mask_head
from segtrain.segmenters.mask_rcnn.preprocess import InputSize
from tests.helpers.coco_referee import twelve_numbers
from tests.helpers.random_scenes import CATEGORIES, NAMED, ground_truth_of, scene
from tests.helpers.report_examples import HOSTILE, method, results, with_limits

EXACT = MaskGeometry(InputSize(None, 10_000, 2.0), "exact", aligned=False)


@dataclass(frozen=True)
class Row:
    detections: Detections = field(default_factory=lambda: Detections([], None, True, 0.5))
    ranked_by: str | None = None
    oracle: bool = False
    mask_grid: MaskGrid | None = None


def grid_of(geometry: MaskGeometry) -> MaskGrid:
    redraw = partial(resample_through_mask_head, geometry=geometry)
    return MaskGrid(28, redraw, geometry.mask_paste, geometry.aligned)


def ellipses(seed: int, count: int = 30, crowds: int = 3) -> GroundTruthSet:
    """Smooth objects of all of COCO's sizes in three images."""
    rng = np.random.default_rng(seed)
    sizes = {4: (260, 300), 2: (220, 220), 9: (240, 320)}
    truths = []
    for number in range(1, count + 1):
        image_id = int(rng.choice([4, 2]))  # the third one is empty
        y, x = np.mgrid[: sizes[image_id][0], : sizes[image_id][1]]
        a, b = rng.uniform(3, 65, 2)
        cy, cx = rng.uniform(20, 200, 2)
        rle = masks.encode(((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 + 0.3 * np.sin(x / 3 + y / 5) <= 1)
        x0, y0, x1, y1 = masks.boxes([rle])[0].tolist()
        truths.append(
            GroundTruth(
                id=number, image_id=image_id, category_id=int(rng.choice(CATEGORIES)), segmentation=rle,
                bbox=[x0, y0, x1 - x0, y1 - y0], area=float(masks.area([rle])[0]), iscrowd=int(number <= crowds),
            )
        )  # fmt: skip
    return GroundTruthSet(NAMED, sizes, truths)


@pytest.mark.parametrize("count", [30, 250])
@pytest.mark.parametrize("geometry", [EXACT, MaskGeometry(InputSize(None, 10_000, 1.0), "torchvision", aligned=False)])
def test_the_ceiling_is_cocos_numbers_of_the_truth_made_coarse(count: int, geometry: MaskGeometry) -> None:
    """All objects count, even where an image has more than the hundred of COCO."""
    reference = ellipses(1, count)
    rows = {
        "kmeans": Row(),
        "mask_rcnn": Row(mask_grid=grid_of(geometry)),
        "other": Row(mask_grid=grid_of(replace(EXACT, aligned=True))),
    }
    ceiling = compute_mask_resolution_limit(rows, reference)
    assert ceiling is not None
    real: list[Any] = [{**t, "category_id": 1} for t in reference.truths if not t["iscrowd"]]
    found, overlaps = [], []
    for truth in real:
        size = reference.sizes[truth["image_id"]]
        ((left,),) = resample_through_mask_head([[truth["segmentation"]]], [size], geometry)
        overlaps.append(masks.iou([left], [truth["segmentation"]], [0])[0, 0])
        found.append({"image_id": truth["image_id"], "category_id": 1, "segmentation": left, "score": 1.0})

    class Drawn:
        sizes, truths = reference.sizes, real

    expected = twelve_numbers(Drawn, found, [1], "segm", 1000)  # type: ignore[arg-type]
    keys = ("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large")
    values: list[Any] = [np.nan if (value := getattr(ceiling, key)) is None else value for key in keys]
    np.testing.assert_allclose(values, expected[:6], atol=1e-12, equal_nan=True)
    assert ceiling.mean_iou == pytest.approx(np.mean(overlaps))
    assert ceiling.objects == count - 3
    assert ceiling.most_objects == max(Counter(t["image_id"] for t in real).values())
    assert ceiling.resolution == 28
    assert ceiling.input_of == "mask_rcnn"
    assert (ceiling.mask_paste, ceiling.aligned) == (geometry.mask_paste, False)
    assert 0.7 < float(ceiling.mask_ap or 0) <= 1


def test_no_ceiling_without_true_objects() -> None:
    rows = {"mask_rcnn": Row(mask_grid=grid_of(EXACT))}
    assert compute_mask_resolution_limit(rows, ellipses(2, count=3)) is None
    assert compute_mask_resolution_limit(rows, GroundTruthSet(NAMED, {1: (5, 5)}, [])) is None


def test_no_ceiling_without_a_mask_rcnn_whatever_the_names() -> None:
    rows = {"kmeans": Row(ranked_by="contrast"), "mask_rcnn": Row()}  # the second is a result file, or another network
    assert compute_mask_resolution_limit(rows, ellipses(1)) is None


def test_a_true_object_without_a_pixel_is_found_by_nobody() -> None:
    reference = ellipses(3, count=4, crowds=0)
    reference.truths[0]["segmentation"] = masks.empty(reference.sizes[reference.truths[0]["image_id"]])
    ceiling = compute_mask_resolution_limit({"mask_rcnn": Row(mask_grid=grid_of(EXACT))}, reference)
    assert ceiling is not None
    assert 0 < float(ceiling.mean_iou or 0) < 0.75


def test_only_learned_scores_of_masks_are_calibrated() -> None:
    drawn = scene(3)
    reference = ground_truth_of(drawn)
    found = Detections(drawn.predictions, None, True, 0.5)
    rows = {
        "learned": Row(found),
        "classical": Row(found, ranked_by="contrast"),
        "oracle": Row(found, oracle=True),
        "boxes": Row(Detections(None, drawn.box_predictions, True, 0.5)),
        "nothing": Row(),
        "logits": Row(Detections([{**p, "score": 9.0} for p in drawn.predictions], None, True, 0.5)),
    }
    result = {name: measure_calibration(row, reference, 100) for name, row in rows.items()}
    assert {name for name, own in result.items() if own} == {"learned"}
    own = result["learned"]
    assert own is not None
    assert len(own.bins) == 10
    # Categories do not matter.
    unknown = Detections([{**p, "category_id": -1} for p in drawn.predictions], None, False, 0.5)
    assert measure_calibration(Row(unknown), reference, 100) == own


KNOWN = ("mask_rcnn", "mask_rcnn/seed1")


def known() -> Any:
    content = with_limits(results())
    close = [
        {**part, "precision": part["mean_score"] + 0.01}
        for part in content["methods"]["mask_rcnn"]["calibration"]["bins"]
    ]
    own = {"calibration": {"bins": close, "ece": 0.01, "ece_iou": 0.31}, "technique": "mask_rcnn"}
    content["methods"]["mask_rcnn/seed1"] = method(0.3, 0.2, ["a"], aware=True) | own
    return plain(content)


def test_sentences_give_the_numbers() -> None:
    first, own, seed = ceiling_sentences(Results.of(known()))
    assert "28 × 28 cells" in first
    assert "reach a mask AP of 0.787 on these data, a mean IoU of 0.908 with the 3,814 true" in first
    assert own == "mask_rcnn has 0.500, 64 % of it."
    assert seed.startswith("mask_rcnn/seed1 has 0.300")
    assert "Masks are exact" in first
    assert "too far to the left and above, are moved back" in first
    content = known()
    content["mask_ceiling"]["aligned"] = True
    assert "stay where they are" in ceiling_sentences(Results.of(content))[0]
    content["mask_ceiling"]["mask_paste"] = "torchvision"
    assert "cut to whole pixels first" in ceiling_sentences(Results.of(content))[0]
    said = calibration_sentences(Results.of(known()))
    assert said[0].startswith("mask_rcnn: scores are 0.200 too high on average (mean score 0.830, share of right")
    assert said[1].startswith("mask_rcnn/seed1: scores are about right on average")
    content = known()
    content["mask_ceiling"]["most_objects"] = 101
    assert (
        ceiling_sentences(Results.of(content))[1]
        == "mask_rcnn, at the 100 best-scored detections of an image, has 0.500, 64 % of it."
    )
    content["mask_ceiling"] |= {"most_objects": 100, "mask_ap": 0.4}
    assert ceiling_sentences(Results.of(content))[1].startswith("mask_rcnn has 0.500, more, since")


def test_methods_of_the_same_technique_share_the_ceiling() -> None:
    """Whatever it is called; methods without a technique share nothing."""
    content = known()
    for name in KNOWN:
        content["methods"][name]["technique"] = "query_masks"
    assert [said.split(" has ")[0] for said in ceiling_sentences(Results.of(content))[1:]] == list(KNOWN)
    for name in KNOWN:
        del content["methods"][name]["technique"]
    assert [said.split(" has ")[0] for said in ceiling_sentences(Results.of(content))[1:]] == ["mask_rcnn"]


def test_tables_hold_the_ceiling_and_the_learned_rows() -> None:
    ceiling, calibration = ceiling_table(Results.of(known())), calibration_table(Results.of(known()))
    assert ceiling is not None
    assert calibration is not None
    assert [row.method for row in ceiling.rows] == ["perfect 28 × 28 masks", "mask_rcnn", "mask_rcnn/seed1"]
    assert [cell.text for cell in ceiling.rows[0].cells] == ["0.787", "0.990", "0.896", "0.772", "0.968", "–"]
    assert [cell.text for cell in calibration.rows[0].cells] == ["100", "0.830", "0.630", "0.400", "0.200", "0.310"]
    assert [row.cells[4].best for row in calibration.rows] == [False, True]
    assert [(row.method, row.category) for row in reliability_table(Results.of(known())).rows][:2] == [
        ("mask_rcnn", "0.7 to 0.8"),
        ("mask_rcnn", "0.9 to 1.0"),
    ]


def test_dots_stand_where_the_numbers_are_and_their_area_counts() -> None:
    chart = reliability_charts(Results.of(known()))[0]
    assert chart.title == "mask_rcnn"
    points = [series for series in chart.series if isinstance(series, Point)]
    filled = sorted((point for point in points if point.style.mark == ""), key=lambda point: point.x)
    np.testing.assert_allclose([(point.x, point.y) for point in filled], [(0.75, 0.55), (0.95, 0.75)])
    assert (filled[1].radius / filled[0].radius) ** 2 == pytest.approx(40 / 60)
    assert len(points) == 4
    assert chart.note == "ECE 0.200"
    assert "60 detections" in chart.description


def test_both_reports_show_the_section_and_without_the_keys_neither(tmp_path: Path) -> None:
    content = known()
    content["methods"][HOSTILE] = content["methods"].pop("mask_rcnn/seed1")
    write_report(tmp_path, Results.of(content))
    page, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    assert page.count("alert('x')") == 0
    for said in ('<section id="limits">', '<a href="#limits">', 'aria-label="mask_rcnn. score', "ECE 0.200"):
        assert said in page
    for said in ("## Mask R-CNN's limits", "| `perfect 28 × 28 masks` ", "| 0.7 to 0.8 |", "**Calibration, ECE**"):
        assert said in text
    content["mask_ceiling"] = None
    for row in content["methods"].values():
        row["calibration"] = None
    write_report(tmp_path, Results.of(content))
    page, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    assert "#limits" not in page.split("<body>")[1]
    assert "limits" not in text.split("## Definitions")[0]
    assert limits(Results.of(content)) is None


def test_the_ceiling_alone(tmp_path: Path) -> None:
    content = known()
    for row in content["methods"].values():
        row["calibration"] = None
    write_report(tmp_path, Results.of(content))
    page, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    assert '<section id="limits">' in page
    assert "Can the scores be trusted" not in page
    assert "perfect 28 × 28 masks" in text
    assert "Detections by their score" not in text
    content["mask_ceiling"] = None  # these data have no objects
    write_report(tmp_path, Results.of(content))
    assert '<section id="limits">' not in (tmp_path / "report.html").read_text()
