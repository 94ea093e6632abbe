"""From rows to numbers by kind of object, and how a report shows them."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segtrain.benchmark.results import Results, Stratum, StratumScores, TimeBySize, TrueBoxes
from segtrain.benchmark.runner import MethodResult
from segtrain.data.images.image_reader import ImageReader
from segtrain.evaluation import TRACKS, Detections, GroundTruthSet
from segtrain.masks import Rle
from segtrain.records import Category, GroundTruth
from segtrain.report.blocks import Terms
from segtrain.report.charts import Axis, Line
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.row_analysis import Analyst
from segtrain.report.sections.object_strata import (
    contrast_gap,
    make_strata,
    resample_contrast,
    score_strata,
    score_true_boxes,
    strata,
    strata_charts,
    strata_tables,
    time_by_size,
)
from tests.helpers.random_scenes import xywh
from tests.helpers.report_examples import HOSTILE, complete, prediction, results, square, truth, with_kinds

SIZE = (48, 64)


def row(records: Any, seconds: Any = (), boxes: Any = None, threshold: float = 0.0) -> Any:
    found = Detections(records, boxes, True, threshold, {"segmentation": list(seconds)})
    return MethodResult(found)


def reference(truths: list[GroundTruth], sizes: dict[int, tuple[int, int]]) -> GroundTruthSet:
    return GroundTruthSet([Category(1, "a"), Category(2, "b")], sizes, truths)


def objects() -> list[tuple[Rle, int]]:
    """Six squares in two images, as masks and images: one alone, two touching, two overlapping, one alone."""
    places = [(2, 2, 4, 1), (10, 2, 5, 1), (15, 2, 6, 1), (30, 20, 7, 1), (34, 24, 8, 1), (20, 20, 9, 2)]
    return [(square(x, y, side), image_id) for x, y, side, image_id in places]


@pytest.fixture
def split(tmp_path: Path) -> Any:
    """The images of ``objects``: image 1 is blank but for noise, in image 2 the object is bright."""
    rng = np.random.default_rng(0)
    for image_id in (1, 2):
        grey = rng.integers(90, 110, SIZE).astype(np.uint8)
        if image_id == 2:
            grey[20:29, 20:29] = 255
        Image.fromarray(grey).save(tmp_path / f"{image_id}.png")
    images = [SimpleNamespace(id=i, file_name=f"{i}.png", size=SIZE) for i in (1, 2)]
    return SimpleNamespace(index=SimpleNamespace(images=images), images=ImageReader(tmp_path, "auto", 10**6))


def scene() -> GroundTruthSet:
    truths = [
        {**truth(image_id, mask, number), "bbox": xywh(mask), "category_id": 1 + number % 2}
        for number, (mask, image_id) in enumerate(objects(), 1)
    ]
    crowd = {**truth(1, square(40, 2, 12), 99, iscrowd=1), "bbox": [40, 2, 12, 12]}
    return reference([*truths, crowd], {1: SIZE, 2: SIZE, 3: SIZE})  # type: ignore[list-item]


def analysed(rows: dict[str, Any], split: Any, true: GroundTruthSet, resamples: int = 0) -> Any:
    """Strata, the scores of the rows in them, and the gap of contrast."""
    analyst = Analyst(split, true, 100, TRACKS, resamples, seed=0)
    traits = analyst.traits
    contrasts = {name: resample_contrast(row, true, traits, 100, analyst.draws) for name, row in rows.items()}
    return SimpleNamespace(
        strata={key: make_strata(trait, true) for key, trait in traits.items()},
        methods={name: score_strata(row.detections, true, traits, 100) for name, row in rows.items()},
        contrast_gap=contrast_gap(rows, contrasts),
        true_boxes=score_true_boxes(true),
    )


def test_every_object_has_one_place_in_each_trait(split: Any) -> None:
    found = analysed({}, split, scene())
    assert found.strata["size"] == [
        Stratum("smallest", low=None, high=30.5, objects=2, images=1),
        Stratum("middle", low=30.5, high=56.5, objects=2, images=1),
        Stratum("largest", low=56.5, high=None, objects=2, images=2),
    ]
    assert [(s.name, s.objects) for s in found.strata["crowding"]] == [
        ("alone", 2), ("touching", 2), ("overlapping", 2)
    ]  # fmt: skip
    assert sum(s.objects for s in found.strata["contrast"]) == 6
    assert [s.name for s in found.strata["contrast"]] == ["lowest", "middle", "highest"]
    assert found.true_boxes == TrueBoxes(mask_ap=pytest.approx(1), filled=1)


def test_rows_have_numbers_for_each_kind(split: Any) -> None:
    """Whatever the category says; the object of highest contrast is the largest, and alone."""
    largest = prediction(2, objects()[-1][0], 0.9, category_id=2)
    rows = {
        "all": row([prediction(i, mask, category_id=2) for mask, i in objects()]),
        "largest": row([largest]),
        "unsure": row([largest], threshold=0.95),
        "boxes": row(None, boxes=[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 1.0}]),
        "nothing": row([]),
    }
    found = analysed(rows, split, scene(), 0).methods
    assert found["boxes"] is None
    perfect = StratumScores(ap=pytest.approx(1), recall=1, iou=1)
    assert found["all"] == {trait: [perfect] * 3 for trait in ("size", "contrast", "crowding")}
    none = StratumScores(ap=0, recall=0, iou=0)
    half = StratumScores(ap=pytest.approx(51 / 101), recall=0.5, iou=0.5)
    assert found["largest"] == {
        "size": [none, none, half], "contrast": [none, none, half], "crowding": [half, none, none]
    }  # fmt: skip
    assert found["unsure"]["size"][2] == StratumScores(ap=half.ap, recall=0, iou=0)
    assert found["nothing"] == {trait: [none] * 3 for trait in ("size", "contrast", "crowding")}


def test_without_images_there_is_no_contrast(split: Any, caplog: pytest.LogCaptureFixture) -> None:
    split.images.path("1.png").unlink()
    with caplog.at_level(logging.WARNING):
        found = analysed({"a": row([])}, split, scene(), 0)
    assert [s.objects for s in found.strata["contrast"]] == [1]
    assert "1.png" in caplog.text
    split.images = None
    found = analysed({"a": row([])}, split, scene(), 0)
    assert found.strata.keys() == {"size", "crowding"}
    assert (found.methods["a"] or {}).keys() == {"size", "crowding"}


def test_without_objects_there_are_no_kinds(split: Any) -> None:
    found = analysed({"a": row([prediction(1, square(1, 1, 4))])}, split, reference([], {1: SIZE}))
    assert found.strata == {}
    assert found.methods == {"a": {}}


def test_the_gap_of_contrast_is_that_of_the_best_threshold_that_can_be_had(split: Any) -> None:
    def named(records: Any, ap: float, technique: str | None = "threshold", oracle: bool = False) -> Any:
        tracks = {"class_agnostic": SimpleNamespace(metrics={"mask_ap": ap})}
        return SimpleNamespace(detections=row(records).detections, technique=technique, oracle=oracle, tracks=tracks)

    largest = [prediction(2, objects()[-1][0], 0.9, category_id=2)]
    everything = [prediction(i, mask, category_id=2) for mask, i in objects()]
    rows = {
        "my_favourite": named(largest, 0.5),
        "threshold_mean": named(everything, 0.4),
        "threshold_oracle": named(everything, 0.9, oracle=True),
        "threshold_of_a_file": named(everything, 0.9, technique=None),
        "kmeans": named(everything, 0.9, technique="kmeans"),
    }
    found = analysed(rows, split, scene(), 200)
    gap, contrast = found.contrast_gap, (found.methods["my_favourite"] or {})["contrast"]
    assert gap is not None
    assert gap.row == "my_favourite"
    assert gap.difference == pytest.approx((contrast[-1].ap or 0) - (contrast[0].ap or 0))
    assert (gap.low or 0) <= gap.difference <= (gap.high or 0)
    rows["my_favourite"] = named(everything, 0.5)
    equal = analysed(rows, split, scene(), 200).contrast_gap
    assert equal is not None
    assert (equal.low, equal.difference, equal.high) == (0, 0, 0)
    alone = analysed(rows, split, scene(), 0).contrast_gap
    assert alone is not None
    assert alone.low is None
    assert analysed({"kmeans": rows["kmeans"]}, split, scene(), 0).contrast_gap is None
    split.images = None
    assert analysed(rows, split, scene(), 0).contrast_gap is None


def test_times_of_the_smallest_and_the_largest_images() -> None:
    """The first image, which warms up, counts in neither."""
    sides = [10, 10, 12, 20, 50, 60, 100]
    truth = reference([], {i: (side, side) for i, side in enumerate(sides)})
    found = row([], [99.0, 0.1, 0.2, 0.5, 3.0, 5.0, 7.0]).detections
    assert time_by_size(found, truth) == TimeBySize(pixels=(144, 3600), seconds=(0.2, 5), images=(3, 3))
    assert time_by_size(row([]).detections, truth) is None
    assert time_by_size(row([], [1.0]).detections, reference([], {1: (9, 9)})) is None


def test_tables_hold_every_row_with_masks_and_mark_no_oracle() -> None:
    content = with_kinds(complete())
    tables = strata_tables(Results.of(content))
    assert list(tables) == ["size", "contrast", "crowding"]
    titles = [column.title for column in tables["crowding"].columns]
    assert titles == ["AP alone", "AP touching", "recall alone", "recall touching", "IoU alone", "IoU touching"]
    rows = {r.method: r for r in tables["size"].rows}
    assert rows.keys() == {"mask_rcnn", "threshold_otsu", "kmeans", "kmeans_oracle"}
    assert [cell.text for cell in rows["threshold_otsu"].cells[:3]] == ["0.100", "0.200", "0.300"]
    assert all(cell.best for cell in rows["mask_rcnn"].cells)
    assert not any(cell.best for cell in rows["kmeans_oracle"].cells)


def test_charts_share_a_scale_and_show_contenders() -> None:
    content = with_kinds(complete())
    charts = strata_charts(Results.of(content))
    assert [chart.x.title for chart in charts] == ["size", "contrast", "crowding"]
    for chart in charts:
        assert list(chart.legend) == ["mask_rcnn", "threshold_otsu", "kmeans"]
        assert isinstance(chart.y, Axis)
        assert [label for _, label in chart.y.ticks or ()] == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]
    # mask_rcnn: half of 0.5 at low contrast, 0.5 at high contrast.
    best = charts[1].series[-1]
    assert isinstance(best, Line)
    assert best.name == "mask_rcnn"
    assert [y for _, y in best.points] == pytest.approx([0.25, 0.5])
    content["strata"]["crowding"] = content["strata"]["crowding"][:1]
    assert [chart.x.title for chart in strata_charts(Results.of(content))] == ["size", "contrast"]


def test_strata_in_words() -> None:
    section = strata(Results.of(with_kinds(complete())))
    assert section is not None
    (terms,) = (block for block in section.blocks if isinstance(block, Terms))
    words = {term.name: term.text for term in terms.entries}
    assert words["size"] == (
        "smallest (up to 147 pixels), 7 objects; middle (147 to 1,514 pixels), 7 objects; "
        "largest (above 1,514 pixels), 6 objects"
    )
    assert words["contrast"] == "lowest (up to 0.500), 10 objects; highest (above 0.500), 10 objects"
    assert words["crowding"] == "alone, 19 objects; touching, 1 object"


def test_reports_have_the_section_where_results_have_it() -> None:
    page, text = (
        html_report(Results.of(with_kinds(complete())), []),
        markdown_report(Results.of(with_kinds(complete()))),
    )
    for content in (page, text):
        assert "By kind of object" in content
        assert "Boxes say nothing." in content
        assert "smallest (up to 147 pixels), 7 objects" in content
        assert "Hoiem" in content
    assert text.count("| AP smallest") == 1
    page, text = html_report(Results.of(results()), []), markdown_report(Results.of(results()))
    for content in (page, text):
        assert "kind of object" not in content
        assert "textbooks" not in content
        assert "Hoiem" not in content


def test_claims_show_without_strata_and_names_are_text() -> None:
    content = results() | {"claims": [HOSTILE]}
    page, text = html_report(Results.of(content), []), markdown_report(Results.of(content))
    assert "What textbooks say" in page
    assert "<script>alert('x')" not in page
    assert "<script>" not in text
    nothing = with_kinds(results({}, ()))
    assert "By kind of object" in html_report(Results.of(nothing), [])
