"""Every way to a 0 or a dash, made on purpose and followed to its sentence in the report."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain import masks
from segtrain.benchmark.results import Results
from segtrain.errors import SegtrainError
from segtrain.metrics.scores import plain
from segtrain.report.html import html_report
from segtrain.report.sections.categories import category_table
from segtrain.report.sections.cost import cost_table
from segtrain.report.sections.object_strata import strata_tables
from segtrain.report.sections.reasons import reason_terms
from segtrain.report.writer import write_report
from tests.helpers.result_file_bench import NAMES, OBJECTS, SIZE, Bench, Objects, boxes, perfect, record, square


def test_nothing_is_said_where_nothing_is_0_or_missing(tmp_path: Path) -> None:
    bench = Bench(tmp_path).add("row", perfect(), ranked_by=None).add("other", perfect(), ranked_by="contrast")
    results = bench.results()
    assert results["reasons"] == []
    assert reason_terms(Results.of(results)) == []
    write_report(tmp_path, Results.of(results))
    for name in ("report.html", "report.md"):
        assert "0 or missing" not in (tmp_path / name).read_text()


def test_no_true_object_of_a_size_is_said_once_for_all_rows(tmp_path: Path) -> None:
    few = [one for one in OBJECTS if one[4] < 96]
    bench = Bench(tmp_path, few)
    for name in ("a", "b", "c"):
        bench.add(name, perfect(few), ranked_by=None)
    results = bench.results()
    assert results["reasons"] == [
        {
            "rows": ["a", "b", "c"],
            "tracks": ["class_agnostic", "class_aware"],
            "keys": ["mask_ap_large"],
            "why": "these data have no true object above 96 × 96 pixels: their areas range from 10 × 10 to 60 × 60",
        }
    ]
    assert [line.name for line in reason_terms(Results.of(results))] == ["AP L of every method"]
    assert 'title="These data have no true object above 96' in html_report(Results.of(results))


def test_boxes_only_is_said_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path).add("row", boxes(), ranked_by=None).add("full", perfect(), ranked_by=None)
    results = bench.results()
    (entry,) = results["reasons"]
    assert entry["rows"] == ["row"]
    assert entry["why"].startswith("boxes only")
    assert "box_ap" not in entry["keys"]
    (line,) = reason_terms(Results.of(results))
    assert line.name == "every number but box AP of row"
    write_report(tmp_path, Results.of(results))
    text = (tmp_path / "report.md").read_text()
    assert text.lower().count("boxes only") == 1


def test_only_crowds(tmp_path: Path) -> None:
    bench = Bench(tmp_path, objects=(), crowds=OBJECTS).add("row", perfect(), ranked_by=None)
    for key in ("mask_ap", "mask_ap_large", "box_ap", "f1_50", "pq", "sq", "rq"):
        assert bench.why(key).startswith("these images have no true object, only 15 crowd regions;")
    assert bench.results()["mask_ceiling"] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "the file holds no detection for any of the 3 images"),
        ({"ranked_by": None}, "nothing was detected on any of the 3 images; train longer"),
        ({"ranked_by": "contrast"}, "nothing was detected on any of the 3 images; try a smaller min_area"),
    ],
)
def test_nothing_found(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    bench = Bench(tmp_path).add("row", [], **changes)
    for key in ("mask_ap", "mask_ap_small", "box_ap", "fg_iou", "f1_50", "pq", "sq", "rq", "boundary_iou"):
        assert bench.why(key).startswith(said)


def test_nothing_reaches_the_threshold(tmp_path: Path) -> None:
    bench = Bench(tmp_path).add("row", perfect(score=0.31), ranked_by=None)
    for key in ("fg_iou", "f1_50", "pq", "sq", "rq", "boundary_iou"):
        said = (
            "no detection reaches the score threshold 0.5 (the highest score is 0.31); score_threshold=… sets a lower"
        )
        assert bench.why(key).startswith(said)
    assert not [e for e in bench.results()["reasons"] if "mask_ap" in e["keys"]]


def test_nothing_overlaps_enough(tmp_path: Path) -> None:
    # Half of each object and as much beside it: an IoU of a third.
    beside = [(image, category, x + side // 2, y, side) for image, category, x, y, side in OBJECTS if x + side < 140]
    bench = Bench(tmp_path).add("row", perfect(beside), ranked_by=None)
    best = max(
        masks.iou([square(*a[2:])], [square(*b[2:])], [0])[0, 0] for a in beside for b in OBJECTS if a[0] == b[0]
    )
    assert 0.3 < best < 0.5
    said = "0 of 15 true objects are matched{how}, among {count} detections; the best IoU is {best:.2f}"
    how = {"mask_ap": " at IoU 0.50", "box_ap": " by their boxes at IoU 0.50"}
    how |= dict.fromkeys(("f1_50", "pq", "sq", "rq"), " at IoU 0.50 at the score threshold 0.5")
    how |= dict.fromkeys(("mask_ap50", "mask_ar"), how["mask_ap"])
    for key, words in how.items():
        assert bench.why(key) == said.format(how=words, count=len(beside), best=best)
    assert not [e for e in bench.results()["reasons"] if "fg_iou" in e["keys"]]  # pixels are shared


def test_half_an_overlap_matches_for_f1_and_not_for_pq(tmp_path: Path) -> None:
    half = masks.encode_crop(np.ones((5, 10)), 3, 3, SIZE)
    bench = Bench(tmp_path, [(1, 1, 3, 3, 10)], categories=1)
    bench.add("row", [{**record(1, 1, 3, 3, 10), "segmentation": half}], ranked_by=None)
    for key in ("pq", "sq", "rq"):
        assert bench.why(key) == (
            "1 of 1 true object is matched at IoU 0.50 at the score threshold 0.5, among 1 detection; the best IoU is "
            "0.50"
        )


def test_ap75_has_a_reason_of_its_own(tmp_path: Path) -> None:
    shifted = [(image, category, x + max(side // 6, 1), y, side) for image, category, x, y, side in OBJECTS]
    bench = Bench(tmp_path, [o for o in OBJECTS if o[4] > 10])
    bench.add("row", perfect([o for o in shifted if o[4] > 10]), ranked_by=None)
    best = max(
        masks.iou([square(*a[2:])], [square(*b[2:])], [0])[0, 0]
        for a, b in zip(shifted, OBJECTS, strict=True)
        if a[4] > 10
    )
    said = f"of 12 true objects are matched at IoU 0.50, among 12 detections; the best IoU is {best:.2f}"
    assert bench.why("mask_ap75").endswith(said)
    assert not [e for e in bench.results()["reasons"] if "mask_ap50" in e["keys"]]


def test_nothing_of_a_size_is_found(tmp_path: Path) -> None:
    bench = Bench(tmp_path).add("row", perfect([one for one in OBJECTS if one[4] < 96]), ranked_by=None)
    best = masks.iou([square(*one[2:]) for one in OBJECTS[:4]], [square(*OBJECTS[4][2:])], [0]).max()
    assert bench.why("mask_ap_large") == (
        "0 of 3 true objects above 96 × 96 pixels are matched at IoU 0.50, among 12 detections; the best IoU is "
        f"{best:.2f}"
    )


def test_one_right_among_very_many(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    false = [(int(rng.integers(1, 4)), 1, 100 + int(rng.integers(30)), 130, 8) for _ in range(1500)]
    objects = [one for one in OBJECTS if one[4] == 10]
    right = record(*objects[0], score=0.55)
    bench = Bench(tmp_path, objects).add("row", [right, *perfect(false)], ranked_by=None)
    bench.benchmark.max_dets = 100
    assert bench.why("mask_ap").startswith("0 of 3 true objects are matched at IoU 0.50, among 300 detections;")
    assert not [e for e in bench.results()["reasons"] if "f1_50" in e["keys"]]


def test_pixels_that_hardly_meet(tmp_path: Path) -> None:
    objects = [(1, 1, 0, 0, 100)]
    bench = Bench(tmp_path, objects).add("row", [record(1, 1, 98, 98, 60, score=0.9)], ranked_by=None)
    # 4 pixels of 10,000 are covered, of 3,600 found ones.
    overlap = masks.iou([square(98, 98, 60)], [square(0, 0, 100)], [0])[0, 0]
    assert bench.why("fg_iou") == (
        "0 of 1 true object is matched at IoU 0.50 at the score threshold 0.5, among 1 detection; the best IoU is "
        f"{overlap:.2f}"
    )


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]], "when read as [x1, y1, x2, y2];"),
        (lambda b: [b[0] / 200, b[1] / 160, b[2] / 200, b[3] / 160], "when taken as fractions of the image's width"),
        (lambda b: [v / 2 for v in b], "when multiplied by 2; write [x, y, width, height] in pixels"),
        (lambda b: [b[0] * 5, b[1] * 6.25, b[2] * 5, b[3] * 6.25], "when scaled from images of 1,000 × 1,000 pixels"),
    ],
)
def test_boxes_in_another_scale(tmp_path: Path, write: Callable[[list[float]], list[float]], said: str) -> None:
    written = [{**box, "bbox": write(box["bbox"])} for box in boxes()]
    bench = Bench(tmp_path).add("row", written)
    assert said in bench.why("box_ap")
    assert "boxes miss the true objects (median of the best IoU 0." in bench.why("box_ap")
    # Of our own methods nobody wrote boxes down.
    own = Bench(tmp_path).add("row", written, ranked_by=None)
    assert not [e for e in own.results()["reasons"] if "miss the true" in e["why"]]


def test_masks_of_images_of_half_the_size(tmp_path: Path) -> None:
    small = [(image, category, x / 2, y / 2, side / 2) for image, category, x, y, side in OBJECTS]
    bench = Bench(tmp_path).add("row", [record(*one) for one in small])
    for key in ("mask_ap", "f1_50"):
        assert "masks miss the true objects" in bench.why(key)
        assert "when multiplied by 2" in bench.why(key)


def test_masks_of_the_neighbouring_image(tmp_path: Path) -> None:
    apart = [(image, 1, 12 * image + x, 12 * (image - 1), 12) for image in range(1, 12) for x in (0, 30)]
    moved = [(image + 1, *rest) for image, *rest in apart if image < 11]
    bench = Bench(tmp_path, apart, images=11).add("row", [record(*one) for one in moved])
    assert "fit those of the previous image" in bench.why("mask_ap")


def test_masks_without_pixels(tmp_path: Path) -> None:
    def polygon(x: float, y: float, side: float) -> list[float]:
        corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
        return [value for a, b in corners for value in (a / 200, b / 160)]

    drawn = [one for one in OBJECTS if one[2] + one[4] < 80]
    n = len(drawn)
    empty = masks.encode_crop(np.zeros((1, 1)), 0, 0, SIZE)
    fractions = [{**record(*one), "segmentation": [polygon(*one[2:])]} for one in drawn]
    with pytest.raises(SegtrainError, match=r"polygons are smaller than a pixel.*fractions"):
        Bench(tmp_path).add("row", fractions).why("mask_ap")
    bench = Bench(tmp_path).add("row", [{**record(*one), "segmentation": empty} for one in drawn])
    assert bench.why("mask_ap") == f"{n} of {n} masks have no pixel"


# As many small squares as make a pattern of categories trustworthy: 36, of two categories in turn.
GRID: Objects = [(image, 1 + n % 2, 30 * (n % 6), 40 * (n // 6), 20) for image in (1, 2, 3) for n in range(12)]


def test_category_ids_that_do_not_meet(tmp_path: Path) -> None:
    swapped = [{**one, "category_id": 3 - one["category_id"]} for one in perfect(GRID)]
    bench = Bench(tmp_path, GRID).add("row", swapped, ranked_by=None)
    for key in ("mask_ap", "f1_50", "pq", "sq", "rq"):
        assert bench.why(key, track="class_aware") == (
            "0 of 36 detections that match a true object have the right category; more would if ids were "
            "changed: 1 to 2, 2 to 1; compare them with the annotation file's"
        )
    reasons = [entry for entry in bench.results()["reasons"] if "mask_ap" in entry["keys"]]
    assert [entry["tracks"] for entry in reasons] == [["class_aware"]]


@pytest.mark.parametrize("right", [1, 2])
def test_category_ids_of_which_a_few_meet_by_chance(tmp_path: Path, right: int) -> None:
    given = perfect(GRID)
    given = [{**one, "category_id": 3 - one["category_id"], "score": 0.9 - n / 100} for n, one in enumerate(given)]
    for one in given[-right:]:
        one["category_id"] = 3 - one["category_id"]
    bench = Bench(tmp_path, GRID).add("row", given, ranked_by=None)
    track = bench.results()["methods"]["row"]["class_aware"]
    assert 0.0005 < track["mask_ap"] < 0.05
    for key in ("mask_ap", "mask_ap50"):
        said = f"{right} of 36 detections that match a true object have the right category; more would"
        assert bench.why(key, track="class_aware").startswith(said)


def test_categories_that_are_right_give_no_such_reason(tmp_path: Path) -> None:
    # One of many objects is called rightly, but the others are called nothing else: they are not found.
    bench = Bench(tmp_path, GRID).add("row", perfect(GRID[:1]), ranked_by=None)
    assert not [entry for entry in bench.results()["reasons"] if "right category" in entry["why"]]


def test_few_matches_show_no_pattern_of_categories(tmp_path: Path) -> None:
    few = [{**one, "category_id": 3 - one["category_id"]} for one in perfect(GRID[:19])]
    bench = Bench(tmp_path, GRID).add("row", few, ranked_by=None)
    why = bench.why("mask_ap", track="class_aware")
    assert why == "0 of 19 detections that match a true object have the right category"


def test_few_matches_among_many_detections_show_no_pattern_of_categories(tmp_path: Path) -> None:
    few = [{**one, "category_id": 3 - one["category_id"]} for one in perfect(GRID[:20])]
    junk = [record(image, 1, 190, 100 + n % 20, 5) for image in (1, 2, 3) for n in range(27)]
    for number, clear in ((80, True), (81, False)):
        bench = Bench(tmp_path, GRID).add("row", [*few, *junk[:number]], ranked_by=None)
        assert ("were changed" in bench.why("mask_ap50", track="class_aware")) == clear


def test_misread_boxes_say_nothing_of_categories(tmp_path: Path) -> None:
    # Twice too small; by chance some meet a neighbour of the other category.
    written = [{**box, "bbox": [v / 2 for v in box["bbox"]]} for box in boxes(GRID)]
    crossing = [{**box, "bbox": [*box["bbox"][:2], 20, 20], "category_id": 3 - box["category_id"], "score": 0.1}
                for box in boxes(GRID[5:7])]  # fmt: skip
    bench = Bench(tmp_path, GRID).add("row", [*written, *crossing])
    reasons = bench.results()["reasons"]
    assert any("multiplied by 2" in entry["why"] for entry in reasons)
    assert not [entry for entry in reasons if "right category" in entry["why"] or "of this category" in entry["why"]]


def test_one_category_for_all(tmp_path: Path) -> None:
    one = [one for one in GRID if one[1] == 1]
    two = [(image, 1, x, y + 40, side) for image, _, x, y, side in one][:9]
    bench = Bench(tmp_path, [*one, *two]).add("row", perfect([*one, *two], category_id=2), ranked_by=None)
    assert "most often round (id 1) was called lobed (id 2) (27 times)" in bench.why("mask_ap", track="class_aware")


FEW = "few detections of this category overlap a true object of it by 0.50"


def named(bench: Bench) -> list[tuple[str, list[str]]]:
    """Of each reason for some categories: the sentence and what it goes on to name."""
    entries = [entry for entry in bench.results()["reasons"] if entry["keys"] == ["per_category"]]
    return [(entry["why"], [note["said"] for note in entry["categories"]]) for entry in entries]


def test_categories_without_objects_and_categories_never_found(tmp_path: Path) -> None:
    bench = Bench(tmp_path, categories=3).add(
        "row", [one for one in perfect() if one["category_id"] == 1], ranked_by=None
    )
    assert named(bench) == [
        (FEW, ["lobed (no detection, 6 true)"]),
        ("the data have no true object of this category, and means leave it out", ["flat"]),
    ]


def test_a_category_that_is_found_with_low_scores_alone(tmp_path: Path) -> None:
    records = [{**found, "score": 0.3 if found["category_id"] == 2 else 0.9} for found in perfect()]
    bench = Bench(tmp_path).add("mine", records)
    round_one, lobed = bench.results()["methods"]["mine"]["class_aware"]["per_category"]
    assert (lobed["mask_ap50"], lobed["f1_50"], round_one["f1_50"]) == (1, 0, 1)
    assert named(bench) == [(FEW, ["lobed (6 of 6, 0 of 0 at the score threshold 0.5, 6 true)"])]


def test_a_category_that_never_fits(tmp_path: Path) -> None:
    wrong = [{**record(image, 2, 180, 140, 9)} for image in (1, 2)]
    bench = Bench(tmp_path).add("row", [one for one in perfect() if one["category_id"] == 1] + wrong, ranked_by=None)
    assert named(bench) == [(FEW, ["lobed (0 of 2, 6 true)"])]


def test_a_category_that_hardly_ever_fits(tmp_path: Path) -> None:
    lobed = [one for one in perfect() if one["category_id"] == 2]
    false = [record(1 + n % 3, 2, 100, 130 + n % 7, 8, score=0.95) for n in range(2500)]
    bench = Bench(tmp_path).add("row", [*perfect(OBJECTS[:1]), lobed[0], *false], ranked_by=None)
    assert named(bench) == [(FEW, ["lobed (1 of 2,501, 6 true)"])]


def test_a_category_whose_sure_detections_are_wrong(tmp_path: Path) -> None:
    weak = [{**one, "score": 0.3 if one["category_id"] == 2 else 0.9} for one in perfect()]
    bench = Bench(tmp_path).add("row", [*weak, record(1, 2, 180, 140, 9, score=0.6)], ranked_by=None)
    assert named(bench) == [(FEW, ["lobed (6 of 7, 0 of 1 at the score threshold 0.5, 6 true)"])]


def test_every_category_is_named_and_every_cell_has_its_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [(1, n, 9 * n, 9 * n, 8) for n in range(1, 10)], categories=9)
    bench.add("row", perfect([(1, 1, 9, 9, 8)], score=0.9), ranked_by=None)
    results = plain(bench.results())
    (line,) = [line for line in reason_terms(Results.of(results)) if line.name.startswith("some categories")]
    assert line.text == f"F{FEW[1:]}: " + ", ".join(f"{NAMES[n]} (no detection, 1 true)" for n in range(1, 6))
    assert line.more_count == 3
    assert line.more == "c7 (no detection, 1 true), c8 (no detection, 1 true) and c9 (no detection, 1 true)."
    table = category_table(Results.of(results))
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            said = f"F{FEW[1:]}: {row.category} (no detection, 1 true)." if row.category != "round" else ""
            assert cell.why == (said if cell.value == 0 else ""), column.key
    write_report(tmp_path, Results.of(results))
    for name in ("report.html", "report.md"):
        assert "<summary>and 3 more</summary>c7 (no detection, 1 true), c8" in (tmp_path / name).read_text()


def test_the_gravest_comes_first_and_alike_rows_share_an_entry(tmp_path: Path) -> None:
    few = [one for one in OBJECTS if one[4] < 96]
    bench = Bench(tmp_path, few)
    bench.add("none", []).add("other", perfect(few, category_id=-1))
    bench.add("misses", [record(1, 1, 180, 120, 6)], ranked_by="contrast").add("full", perfect(few), ranked_by=None)
    entries = bench.results()["reasons"]
    assert entries[0]["why"] == "the file holds no detection for any of the 3 images"
    assert entries[1]["why"].startswith("0 of 12 true objects are matched")
    sizes = [entry for entry in entries if entry["why"].startswith("these data have no true object above")]
    assert [(entry["rows"], entry["tracks"]) for entry in sizes] == [
        (["none", "other", "misses", "full"], ["class_agnostic", "class_aware"])
    ]


def test_costs_and_kinds_say_why_they_are_missing_or_0(tmp_path: Path) -> None:
    missing = [record(image, 1, 180, 120, 6) for image in (1, 2, 3)]
    bench = (
        Bench(tmp_path)
        .add("file", perfect())
        .add("rule", missing, ranked_by="contrast")
        .add("net", missing, ranked_by=None)
    )
    bench.benchmark.rows["net"] = replace(bench.benchmark.rows["net"], costs={"training_minutes": 3.0})
    bench.benchmark.rows["rule"] = replace(bench.benchmark.rows["rule"], costs={"tuning_seconds": 3.0})
    results = plain(bench.results())
    costs = cost_table(Results.of(results))
    said = {
        (row.method, column.key): cell.why
        for row in costs.rows
        for column, cell in zip(costs.columns, row.cells, strict=True)
    }
    assert (
        said["file", "segment"] == said["file", "training_minutes"] == "Read from a file, so there was nothing to time."
    )
    assert said["rule", "training_minutes"] == "This method is not trained."
    assert said["net", "tuning_seconds"] == "No settings were searched for this method."
    assert said["net", "training_minutes"] == said["rule", "segment"] == ""
    for table in (costs, *strata_tables(Results.of(results)).values()):
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                assert bool(cell.why) == (cell.value is None or (cell.value == 0 and table is not costs)), column.key


def test_one_image_is_not_many(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [one for one in OBJECTS if one[0] == 1], images=1).add("row", [])
    assert bench.why("mask_ap") == "the file holds no detection for the only image"
    bench.benchmark.max_dets = 4
    assert "1 image has more objects than data.max_dets=4; AP and AR cannot count all" in bench.results()["warnings"]


def test_a_file_without_categories(tmp_path: Path) -> None:
    bench = Bench(tmp_path).add("row", perfect(category_id=-1))
    assert "category_id -1" in bench.why("class_aware", track="class_aware")
    assert bench.why("seconds").startswith("read from a file")
    single = Bench(tmp_path, [(1, 1, 3, 3, 10)], categories=1).add("row", [record(1, -1, 3, 3, 10)])
    assert not [e for e in single.results()["reasons"] if "class_aware" in e["keys"]]


def test_an_oracle_is_not_timed(tmp_path: Path) -> None:
    bench = Bench(tmp_path).add("row", perfect())
    bench.benchmark.rows["row"] = replace(bench.benchmark.rows["row"], oracle=True, ranked_by="contrast")
    assert bench.why("seconds").startswith("oracles are not timed")


def test_reasons_stand_in_both_reports_and_names_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    bench = Bench(tmp_path).add("row", [], ranked_by=None)
    bench.benchmark.rows[evil] = bench.benchmark.rows.pop("row")
    write_report(tmp_path, Results.of(bench.results()))
    page, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    assert "Why some numbers are 0 or missing" in page
    assert "Why some numbers are 0 or missing" in text
    assert page.count("<script>") == 1
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", text)
