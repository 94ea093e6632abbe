"""The corrected copy: complete, accepted by pycocotools and by the check, and the same data as loading repairs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from segtrain import masks
from segtrain.data.check.fix import write_fixed
from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.rules import COCO_RULES, AnnotationRules
from segtrain.errors import SegtrainError
from tests.data.test_issues import CELL, FINDINGS, NAN, RULES, SQUARE, annotation, coco, image, rle, write

# pycocotools 2.0.11 under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
KEPT = {
    "box-outside",
    "box-contradicts-mask",
    "area-far-off",
    "category-same-name",
    "category-alike",
    "crowd-by-tool",
    "rings-as-holes",
}  # valid, only warned of


def fix(
    folder: Path, content: Any, lost: dict[int, str] | None = None, rules: AnnotationRules = COCO_RULES
) -> tuple[CocoIndex, CocoIndex, str]:
    """The index of a file, that of its corrected copy, and the log."""
    path, out = write(folder, content), folder / "fixed.json"
    before = path.read_bytes()
    index = load_index(path, "warn", rules)
    copy = write_fixed(index, lost or {}, out)
    assert path.read_bytes() == before
    return index, load_index(out), copy.log.read_text()


@pytest.mark.parametrize("kind", FINDINGS)
def test_every_finding_is_mended(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = FINDINGS[kind][0]
    whole = {**content, "annotations": [*content["annotations"], annotation(id=77, area=11)]}
    index, fixed, _ = fix(tmp_path, whole, rules=RULES.get(kind, COCO_RULES))
    assert {issue.kind for issue in fixed.issues if issue.severity != "note"} <= KEPT
    assert (fixed.counts.dropped, fixed.counts.repaired) == (0, 0)
    assert (fixed.counts.used, fixed.counts.crowd) == (index.counts.used, index.counts.crowd)
    reference = COCO(str(tmp_path / "fixed.json"))
    assert sorted(reference.anns) == list(range(1, len(fixed.annotations.rows) + 1))
    for entry in fixed.images:
        planes = [masks.decode(truth["segmentation"]) for truth in fixed.truths(entry.id)]
        theirs = [reference.annToMask(a) for a in reference.loadAnns(reference.getAnnIds(imgIds=entry.id))]
        assert np.array_equal(planes, theirs)


def test_the_copy_says_what_loading_repairs(tmp_path: Path) -> None:
    entries = [
        annotation(id="a", bbox=..., area=...),
        annotation(segmentation=[[1, 2, 3, 4], SQUARE, [1, 2, NAN, 4, 5, 6]], area=-1),
        annotation(iscrowd=1, **rle([0, 30, 170]), bbox=[0, 0, 0, 0]),
        annotation(segmentation=[], extra="lost"),
        annotation(area=12.25, bbox=[2.25, 2.25, 3.5, 2.5]),
    ]
    index, fixed, _ = fix(tmp_path, coco(*entries))
    before, after = index.truths(7), fixed.truths(7)
    assert [truth["id"] for truth in after] == [1, 2, 3, 4]
    assert [{**truth, "id": 0} for truth in before] == [{**truth, "id": 0} for truth in after]
    written = json.loads((tmp_path / "fixed.json").read_text())["annotations"]
    assert written[1]["segmentation"] == [SQUARE]
    assert [(entry["area"], entry["bbox"]) for entry in written] == [
        (12, [2, 2, 4, 3]), (12, [2, 2, 4, 3]), (12, [0, 0, 3, 10]), (12.25, [2.25, 2.25, 3.5, 2.5]),
    ]  # fmt: skip


def test_what_segtrain_does_not_know_is_kept(tmp_path: Path) -> None:
    fix(
        tmp_path,
        {
            **coco(annotation(attributes={"x": [1, "é"]}), images=[image(height=10.0, license=4, patient="p")]),
            "info": {"year": 2020},
            "licenses": [{"id": 4}],
            "categories": [CELL | {"supercategory": "s"}],
        },
    )
    written = json.loads((tmp_path / "fixed.json").read_text())
    assert (written["info"], written["licenses"]) == ({"year": 2020}, [{"id": 4}])
    assert written["images"] == [image(license=4, patient="p")]
    assert written["annotations"][0]["attributes"] == {"x": [1, "é"]}
    assert written["categories"] == [CELL | {"supercategory": "s"}]


def test_the_copy_says_how_many_annotations_it_keeps(tmp_path: Path) -> None:
    index = load_index(
        write(tmp_path, coco(annotation(), annotation(id=6, segmentation="x"), annotation(id=7))), "warn"
    )
    copy = write_fixed(index, {}, tmp_path / "some.json")
    assert str(copy).startswith(f"Written: {tmp_path / 'some.json'}, with 2 of 3 annotations and 1 of 1 image; ")
    whole = write_fixed(load_index(tmp_path / "some.json"), {}, tmp_path / "all.json")
    assert str(whole).startswith(f"Corrected: {tmp_path / 'all.json'}, all 2 annotations and 1 image kept ")


def test_no_copy_without_annotations_is_written(tmp_path: Path) -> None:
    index = load_index(write(tmp_path, coco(annotation(segmentation="x"), annotation(id=6, image_id=99))), "warn")
    with pytest.raises(SegtrainError, match="none of its 2 annotations can be used, so no copy is written"):
        write_fixed(index, {}, tmp_path / "fixed.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["coco.json"]


def test_ids_that_change_are_in_the_log(tmp_path: Path) -> None:
    content = coco(
        annotation(id=0, image_id=0, category_id=0),
        annotation(image_id="x"),
        images=[image(0), image("x"), image(7)],
        categories=[{"id": 0, "name": "zero"}, CELL],
    )
    _, fixed, log = fix(tmp_path, content)
    assert [entry.id for entry in fixed.images] == [9, 8, 7]
    assert [category.id for category in fixed.categories] == [3, 4]
    assert [truth["category_id"] for truth in fixed.truths(9)] == [4]
    assert len(fixed.truths(8)) == 1
    for line in ("image entry 1: id 0 -> 9", "image entry 2: id 'x' -> 8", "category entry 1: id 0 -> 4"):
        assert line in log.splitlines()
    assert "annotation entry 1: id 0 -> 1" in log


def test_offenders_are_dropped_and_named(tmp_path: Path) -> None:
    content = coco(
        annotation(id=1),
        annotation(id=2, image_id=99),
        annotation(id=3, **rle("~~")),
        annotation(id=4, image_id=8),
        images=[image(), image(8)],
    )
    _, fixed, log = fix(tmp_path, content, lost={8: "8.png: the file breaks off"})
    assert [entry.id for entry in fixed.images] == [7]
    assert (fixed.counts.annotations, fixed.counts.used) == (1, 1)
    assert "image 8 is left out: 8.png: the file breaks off" in log
    assert "annotation 2 (entry 2) is left out: its image or category is not listed" in log
    assert "annotation 3 (entry 3) is left out: the run-length string '~~' is corrupt" in log
    assert "annotation 4 (entry 4) is left out: its image is left out" in log


@pytest.mark.parametrize("name", ["coco.json", "other.json", "other.log"])
def test_nothing_is_written_over(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, coco(annotation()))
    if name.startswith("other"):
        (tmp_path / name).write_text("precious")
    out = tmp_path / ("coco.json" if name == "coco.json" else "other.json")
    with pytest.raises(SegtrainError, match="exists already"):
        write_fixed(load_index(path), {}, out)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted({"coco.json", name})


def test_every_mended_value_is_in_the_log(tmp_path: Path) -> None:
    content = coco(
        annotation(bbox=..., area=-1, iscrowd=None),
        annotation(id=2, segmentation=[[1, 2, 3], SQUARE], image_id="7"),
        5,
        images=[image(height=10.5), image(), image(), 4],
        categories=[CELL, {"id": 4, "name": ""}, CELL],
    )
    _, fixed, log = fix(tmp_path, content)
    assert [entry.id for entry in fixed.images] == [7]
    assert [category.id for category in fixed.categories] == [3, 4]
    lines = log.splitlines()
    for line in (
        "annotation entry 1: area -1 -> 12.0",
        "annotation entry 1: bbox missing -> [2.0, 2.0, 4.0, 3.0]",
        "annotation entry 1: iscrowd missing -> 0",
        "annotation entry 2: image_id '7' -> 7",
        "annotation number 3 (entry 3) is left out: it is no annotation",
        "category entry 2: name '' -> 'category 4'",
        "category entry 3 is left out: it cannot be used, or repeats another",
        "image entry 1 is left out: it cannot be used, or repeats another",
        "image entry 3 is left out: it cannot be used, or repeats another",
    ):
        assert line in lines
    assert any(line.startswith("annotation entry 2: segmentation ") for line in lines)


@pytest.mark.parametrize("written", [-1, 1.5, 2**70, "q", [1], {"a": 1}])
def test_what_names_a_replaced_id_stays_with_it(written: Any, tmp_path: Path) -> None:
    content = coco(annotation(category_id=written), annotation(id=6), categories=[{"id": written, "name": "x"}, CELL])
    index, fixed, _ = fix(tmp_path, content)
    assert (index.counts.used, fixed.counts.used) == (2, 2)
    by_name = {category.name: category.id for category in fixed.categories}
    assert [truth["category_id"] for truth in fixed.truths(7)] == [by_name["x"], 3]
