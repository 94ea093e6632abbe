"""Doubts about the data at the head of the report."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segtrain.benchmark.results import Results
from segtrain.benchmark.runner import Benchmark
from segtrain.data.check.load import load_index
from segtrain.data.coco.rules import COCO_RULES, AnnotationRules
from segtrain.data.splits import Split
from segtrain.report.doubts import data_doubts
from segtrain.report.markdown import markdown_report
from tests.data.test_issues import annotation, coco, write
from tests.data.test_rules import HOLE, OUTER, boxed, flagged
from tests.helpers.result_file_bench import OBJECTS, Bench, perfect, record

WRONG = [record(1, 1, 180, 120, 6)]
SAID = "9 of 15 annotations are ignored in every number: 9 as crowd regions"


def test_ignored_truth_is_the_first_reason_and_the_first_caveat(tmp_path: Path) -> None:
    bench = Bench(tmp_path, OBJECTS[:6], crowds=OBJECTS[6:]).add("row", WRONG, ranked_by=None)
    results = bench.results()
    first, *others = results["reasons"]
    assert first["why"].startswith(SAID)
    assert "data.crowd=objects" in first["why"]
    assert {"mask_ap", "f1_50"} <= set(first["keys"])
    assert any(reason["why"].startswith("0 of 6 true objects are matched") for reason in others)
    assert not any(reason["why"] == first["why"] for reason in others)
    assert results["warnings"][0].startswith(SAID)
    assert SAID in markdown_report(Results.of(results))


def test_a_few_crowds_are_no_doubt(tmp_path: Path) -> None:
    bench = Bench(tmp_path, OBJECTS[:10], crowds=OBJECTS[10:12]).add("row", WRONG, ranked_by=None)
    results = bench.results()
    assert not any("ignored" in text for text in [*results["warnings"], *(r["why"] for r in results["reasons"])])


@pytest.mark.parametrize(
    ("entries", "rules", "said"),
    [
        ([annotation()], COCO_RULES, []),
        ([annotation(), boxed()], AnnotationRules("ignore"), ["1 of 2", "1 as boxes without masks", "=box"]),
        ([annotation(), boxed()], AnnotationRules("box"), []),
        ([annotation(), boxed(), flagged(1)], AnnotationRules("ignore"), ["2 of 3", "1 as crowd", " and 1 as boxes"]),
        ([annotation(id=n) for n in range(20)] + [*map(flagged, range(3))], COCO_RULES, ["3 of 23"]),  # a tool's flags
        ([annotation(id=n) for n in range(20)] + [flagged(1)], COCO_RULES, []),
        (
            [annotation(), boxed()],
            COCO_RULES,
            ["1 of 2 annotations are left out", "counts as wrong", "=ignore", "=box"],
        ),
        ([annotation(id=n) for n in range(20)] + [boxed()], COCO_RULES, []),
        ([annotation(segmentation=[OUTER, HOLE], area=64)], COCO_RULES, ["1 of 1 objects", "data.rings=even_odd"]),
        ([annotation(segmentation=[OUTER, HOLE], area=64)], AnnotationRules(rings="even_odd"), []),
    ],
)
def test_doubts(entries: list[object], rules: AnnotationRules, said: list[str], tmp_path: Path) -> None:
    doubts = data_doubts(load_index(write(tmp_path, coco(*entries)), "warn", rules), {})
    assert len(doubts) == bool(said)
    assert all(part in doubts[0] for part in said)


def bench_of(folder: Path, box: Callable[[list[float]], list[float]], *, areas: bool) -> Bench:
    """An evaluation of perfect masks on data whose boxes were changed, with areas of the masks or of these boxes."""
    bench = Bench(folder)
    content = json.loads((folder / "truth.json").read_text())
    for entry in content["annotations"]:
        entry["bbox"] = box(entry["bbox"])
        if not areas:
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
    (folder / "truth.json").write_text(json.dumps(content))
    bench.benchmark = Benchmark(Split("val", load_index(folder / "truth.json", "warn"), None, 0, 0), max_dets=100)
    return bench.add("row", perfect(), ranked_by=None)


def test_low_box_ap_is_explained_by_wrong_boxes(tmp_path: Path) -> None:
    results = bench_of(tmp_path, lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]], areas=True).results()
    (reason,) = results["reasons"]
    assert reason["keys"] == ["box_ap"]
    assert reason["why"] == (
        "9 of 15 boxes contradict their masks; they agree once read as [x1, y1, x2, y2]; box AP compares with them as "
        "they are; data.witnesses=masks takes the true boxes from the masks"
    )
    assert results["warnings"][0].startswith("9 of 15 boxes contradict their masks")


def test_masks_in_another_frame_are_the_first_caveat(tmp_path: Path) -> None:
    results = bench_of(tmp_path, lambda b: [*np.roll(b, 1)], areas=False).results()
    assert "15 run-length masks contradict their boxes" in results["warnings"][0]
    assert "data.witnesses=masks" in results["warnings"][0]


@pytest.mark.parametrize(
    ("greys", "said"),
    [
        ({}, ""),
        ({1: (0, 255), 2: (1, 1)}, ""),
        ({1: (0, 4), 2: (0, 4)}, ""),
        ({1: (0, 255), 2: (1, 1), 3: (2, 5)}, "2 of 3 images read as nearly constant, grey 1 to 5 of 255"),
        ({1: (0, 0)}, "1 of 1 images read as nearly constant"),
    ],
)
def test_images_in_which_nothing_can_be_seen(greys: dict[int, tuple[int, int]], said: str, tmp_path: Path) -> None:
    doubts = data_doubts(load_index(write(tmp_path, coco(annotation())), "warn"), greys)
    assert len(doubts) == bool(said)
    assert all(doubt.startswith(said) and "set data.intensity" in doubt for doubt in doubts)
