"""Every issue about a json: a minimal file that shows it, its message, and what becomes of the annotation."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import masks
from segtrain.data.check.annotation_checks import crossing
from segtrain.data.check.load import load_index
from segtrain.data.check.set_checks import check_set, check_visibility
from segtrain.data.coco.issues import ISSUE_TYPES
from segtrain.data.coco.json_file import FileError
from segtrain.data.coco.rules import COCO_RULES, AnnotationRules
from segtrain.errors import SegtrainError

SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 5.0, 2.0, 5.0]  # 4 x 3 pixels
FAR = [10.0, 2.0, 14.0, 2.0, 14.0, 5.0, 10.0, 5.0]
NAN, INFINITY = float("nan"), float("inf")


def image(identifier: Any = 7, **changes: Any) -> dict[str, Any]:
    return {"id": identifier, "file_name": f"{identifier}.png", "height": 10, "width": 20} | changes


def annotation(**changes: Any) -> dict[str, Any]:
    good = {"id": 5, "image_id": 7, "category_id": 3, "segmentation": [SQUARE], "bbox": [2, 2, 4, 3], "area": 12}
    return {key: value for key, value in ({**good, "iscrowd": 0} | changes).items() if value is not ...}


def rle(counts: Any, size: Any = (10, 20)) -> dict[str, Any]:
    return {"segmentation": {"size": list(size), "counts": counts}}


def coco(*annotations: Any, **changes: Any) -> dict[str, Any]:
    lists = {"images": [image()], "annotations": list(annotations), "categories": [{"id": 3, "name": "cell"}]}
    return lists | changes


def write(folder: Path, content: Any) -> Path:
    path = folder / "coco.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


BRUSHED = [
    annotation(id=10 + n, iscrowd=1, segmentation={"size": [10, 20], "counts": [10 * n, 5, 195 - 10 * n]}, area=5,
               bbox=[n, 0, 1, 5])
    for n in (8, 9, 10)
]  # fmt: skip
CELL = {"id": 3, "name": "cell"}
MASK_BOX = {"bbox": [2, 2, 4, 3]}
# Kind -> file, the example that is shown, and the annotations that are left (used or crowd).
FINDINGS: dict[str, tuple[dict[str, Any], str, int]] = {
    "file-form": (coco() | {"annotations": {"5": annotation(id=...)}}, "annotations as an object keyed by id", 1),
    "wrong-type": (coco(annotation(), 5), "annotations[1] is no object", 1),
    "size-form": (coco(annotation(), images=[image(height="10")]), "images[0] (image 7) has height '10' and", 1),
    "duplicate-image-id": (
        coco(annotation(), images=[image(), image()]),
        "image id 7 occurs twice, entry 2 is a repetition",
        1,
    ),
    "duplicate-category-id": (
        coco(annotation(), categories=[CELL, {"id": 3, "name": "b"}]),
        "category id 3 occurs twice, again in entry 2",
        1,
    ),
    "unknown-image": (coco(annotation(image_id=8)), "annotation 5 names the unknown image 8", 0),
    "unknown-category": (coco(annotation(category_id=4)), "annotation 5 names the unknown category 4", 0),
    "duplicate-annotation-id": (coco(annotation(), annotation(**rle([0, 9, 191]))), "7.png, annotation 5 occurs 2", 2),
    "annotation-id-zero": (coco(annotation(id=0)), "7.png, annotation 0", 1),
    "id-not-integer": (coco(annotation(id="5a")), "annotation number 1 has the id '5a'", 1),
    "category-unnamed": (coco(annotation(), categories=[{"id": 3}]), "category 3 becomes 'category 3'", 1),
    "category-same-name": (coco(annotation(), categories=[CELL, CELL | {"id": 4}]), "category 4: 'cell'", 1),
    "category-alike": (coco(annotation(), categories=[CELL, {"id": 4, "name": "Cell "}]), "4: 'Cell ' and 'cell'", 1),
    "category-root": (
        coco(annotation(), categories=[CELL | {"supercategory": "cells"}, {"id": 0, "name": "cells"}]),
        "category 0 ('cells')",
        1,
    ),
    "id-zero": (coco(annotation(image_id=0), images=[image(0)]), "image 0", 1),
    "id-beyond-int32": (coco(annotation(id=2**31)), "7.png, annotation 2147483648", 1),
    "id-gaps": (coco(annotation(), categories=[CELL, {"id": 9, "name": "b"}]), "2 categories, ids 3 to 9", 1),
    "segmentation-type": (coco(annotation(segmentation="x")), "7.png, annotation 5: the segmentation is 'x'", 0),
    "mask-lost": (coco(annotation(segmentation=[[1, 2, 3]])), "7.png, annotation 5: a polygon has 3 numbers", 0),
    "rle-sum": (coco(annotation(**rle([0, 100]))), "annotation 5: the run lengths do not sum to 10 x 20", 0),
    "rle-corrupt": (coco(annotation(**rle("~~"))), "annotation 5: the run-length string '~~' is corrupt", 0),
    "rle-size": (coco(annotation(**rle([0, 200], (20, 10)))), "has size [20, 10], its image is [10, 20]", 0),
    "segmentation-form": (coco(annotation(segmentation=SQUARE)), "7.png, annotation 5: one flat list", 1),
    "box-without-mask": (
        coco(annotation(segmentation=[])),
        "7.png, annotation 5: the object has the box [2, 2, 4, 3] and no mask",
        0,
    ),
    "box-ignored": (coco(annotation(segmentation=...)), "7.png, annotation 5: [2, 2, 4, 3]", 1),
    "box-as-mask": (coco(annotation(segmentation=None)), "7.png, annotation 5: [2, 2, 4, 3]", 1),
    "segmentation-empty": (
        coco(annotation(segmentation=[], bbox=[2, 2, 0, 3])),
        "7.png, annotation 5: the segmentation is empty",
        0,
    ),
    "mask-empty": (
        coco(annotation(segmentation=[[50, 50, 60, 50, 60, 60]], bbox=[50, 50, 10, 10])),
        "the mask covers no pixel of the image",
        0,
    ),
    "object-without-pixel": (
        coco(annotation(segmentation=[[2.0, 2.0, 2.1, 2.0, 2.1, 2.1]])),
        "covers no pixel of the image, and the object has the box [2, 2, 4, 3]",
        0,
    ),
    "polygon-four-numbers": (coco(annotation(segmentation=[SQUARE, [1, 2, 3, 4]])), "a polygon has 4 numbers", 1),
    "polygon-few-points": (coco(annotation(segmentation=[SQUARE, [1, 2]])), "a polygon has only 2 numbers", 1),
    "polygon-odd-count": (coco(annotation(segmentation=[SQUARE, SQUARE[:7]])), "a polygon has 7 numbers", 1),
    "polygon-not-finite": (
        coco(annotation(segmentation=[SQUARE, [1, 2, NAN, 4, 5, 6]])),
        "annotation 5: a polygon coordinate is not a finite number: 'NaN'",
        1,
    ),
    "polygon-huge": (coco(annotation(segmentation=[SQUARE, [1, 2, 1e9, 4, 5, 6]])), "lies far outside the image", 1),
    "polygon-outside": (
        coco(annotation(segmentation=[[15, 5, 25, 5, 25, 9, 15, 9]], bbox=[15, 5, 10, 4], area=40)),
        "7.png, annotation 5: coordinates 5 to 25",
        1,
    ),
    "polygon-self-intersecting": (
        coco(annotation(segmentation=[[1, 1, 9, 9, 9, 1, 1, 9]], bbox=[1, 1, 8, 8], area=32)),
        "7.png, annotation 5",
        1,
    ),
    "box-missing": (coco(annotation(bbox=...)), "7.png, annotation 5", 1),
    "box-invalid": (coco(annotation(bbox=[1, 1, 0, 3])), "7.png, annotation 5: [1, 1, 0, 3]", 1),
    "box-outside": (coco(annotation(bbox=[2, 2, 40, 3])), "box [2, 2, 40, 3], image 20 wide and 10 high", 1),
    "box-contradicts-mask": (coco(annotation(bbox=[12, 2, 4, 3])), "box [12, 2, 4, 3], mask in [2, 2, 4, 3]", 1),
    "box-form": (coco(annotation(bbox="[2, 2, 4, 3]")), 'annotation 5: "[2, 2, 4, 3]" is read as [2.0, 2.0, 4.0', 1),
    "area-form": (coco(annotation(area=[12])), "7.png, annotation 5: [12]", 1),
    "area-missing": (coco(annotation(area=...)), "7.png, annotation 5", 1),
    "area-invalid": (coco(annotation(area=-3)), "7.png, annotation 5: -3", 1),
    "area-far-off": (coco(annotation(area=25)), "7.png, annotation 5: area 25, mask 12 pixels", 1),
    "crowd-missing": (coco(annotation(iscrowd=...)), "7.png, annotation 5", 1),
    "crowd-only": (coco(annotation(iscrowd=1)), "1 annotation, all crowd regions (iscrowd 1)", 1),
    "crowd-by-tool": (
        coco(annotation(id=4), *BRUSHED),
        "coco.json: 3 of 4 annotations have iscrowd 1, 3.0 per image and category; all are run-length masks, and no",
        4,
    ),
    "rings-as-holes": (
        coco(annotation(segmentation=[[0, 0, 8, 0, 8, 8, 0, 8], [2, 2, 6, 2, 6, 6, 2, 6]], area=48, bbox=[0, 0, 8, 8])),
        "7.png, annotation 5: area 48 fits the 48 pixels outside of holes",
        1,
    ),
    "rings-not-holes": (
        coco(annotation(segmentation=[[0, 0, 8, 0, 8, 8, 0, 8], [2, 2, 6, 2, 6, 6, 2, 6]], area=64, bbox=[0, 0, 8, 8])),
        "7.png, annotation 5: area 64 fits the 64 of the union of 2 polygons",
        1,
    ),
    "annotation-duplicate": (coco(annotation(), annotation(id=6)), "7.png, annotation 6: repeats entry 1", 2),
}
RULES = {
    "box-ignored": AnnotationRules(boxes_without_masks="ignore"),
    "box-as-mask": AnnotationRules(boxes_without_masks="box"),
    "rings-not-holes": AnnotationRules(rings="even_odd"),
}
FATAL = {
    "not-json": "{",
    "wrong-root": [],
    "missing-list": {"images": [image()], "categories": [CELL]},
    "empty-list": coco(images=[]),
}
# Of a file as a whole; tested in frames/test_judge.py and frames/test_correct.py.
WHOLE = {"frame", "frame-unknown", "frame-outside", "frame-corrected", "boxes-wrong", "areas-wrong", "areas-of-boxes",
         "mask-is-box", "masks-in-corner", "witnesses-replaced"}  # fmt: skip
SET = {
    "images-empty", "over-max-dets", "category-unused", "category-rare", "leak", "object-too-small", "no-objects",
    "category-not-learned", "category-not-validated", "category-left-out", "category-other-id",
    "same-file-merged", "same-file-contradictory", "annotation-repeated",
    "leak-of-source",
}  # fmt: skip


def test_every_kind_of_the_table_is_tested() -> None:
    of_files = {kind for kind in ISSUE_TYPES if kind.startswith("image-")}
    assert (
        set(ISSUE_TYPES) - of_files
        == {*FINDINGS, *FATAL, "file-unreadable", "size-missing", "size-turned", "files-joined"} | SET | WHOLE
    )


@pytest.mark.parametrize("kind", FINDINGS)
def test_a_minimal_file_shows_it(kind: str, tmp_path: Path) -> None:
    content, example, left = FINDINGS[kind]
    path = write(tmp_path, content)
    rules = RULES.get(kind, COCO_RULES)
    index = load_index(path, "warn", rules)
    assert (index.issues[kind].count, len(index.issues[kind].examples)) == (1, 1)
    assert example in index.issues[kind].examples[0]
    counts = index.counts
    assert counts.used + counts.crowd == left
    assert counts.used + counts.crowd + counts.dropped == counts.annotations
    errors = {issue.kind for issue in index.issues.of("error")}
    if not errors:
        assert load_index(path, "strict", rules).counts == counts
        return
    with pytest.raises(SegtrainError) as caught:
        load_index(path, "strict", rules)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert "data.check=warn" in text
    if kind in errors:
        assert example in text


@pytest.mark.parametrize("kind", FINDINGS)
def test_a_good_file_does_not_show_it(kind: str, tmp_path: Path) -> None:
    second = annotation(id=6, segmentation=[FAR], bbox=[10, 2, 4, 3])
    index = load_index(write(tmp_path, coco(annotation(), second, annotation(id=7, **rle([3, 2, 195]), area=2,
                                                                            bbox=[0, 3, 1, 2]))))  # fmt: skip
    assert index.issues[kind].count == 0


@pytest.mark.parametrize("kind", FATAL)
@pytest.mark.parametrize("check", ["strict", "warn", "off"])
def test_a_file_without_use_is_refused_in_any_mode(kind: str, check: Any, tmp_path: Path) -> None:
    with pytest.raises(FileError) as caught:
        load_index(write(tmp_path, FATAL[kind]), check)
    assert caught.value.kind == kind


def test_valid_values_stay_though_they_are_warned_of(tmp_path: Path) -> None:
    odd = annotation(area=99, bbox=[12, -5, 40, 8])
    index = load_index(write(tmp_path, coco(odd)))
    assert {"area-far-off", "box-outside", "box-contradicts-mask"} <= {issue.kind for issue in index.issues}
    (truth,) = index.truths(7)
    assert (truth["area"], truth["bbox"]) == (99, [12, -5, 40, 8])
    assert index.counts.repaired == 0


def test_findings_count_all_and_show_three(tmp_path: Path) -> None:
    index = load_index(write(tmp_path, coco(*(annotation(id=i, area=-1) for i in range(1, 9)))))
    issue = index.issues["area-invalid"]
    assert issue.count == 8
    assert issue.examples == [f"7.png, annotation {i}: -1" for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("written", "named", "id_of_first"),
    [("7", "7", 7), ("7", 7, 7), (7, "7", 7), (7, 7.0, 7), ("x", "x", 10), (7.0, 7, 7)],
)
def test_ids_of_other_types_find_their_image(written: Any, named: Any, id_of_first: int, tmp_path: Path) -> None:
    index = load_index(write(tmp_path, coco(annotation(image_id=named), images=[image(written), image(9)])))
    assert [entry.id for entry in index.images] == [id_of_first, 9]
    assert len(index.truths(id_of_first)) == 1
    assert index.issues["id-not-integer"].count >= (type(written) is not int) + (type(named) is not int)


@pytest.mark.parametrize("named", ["a/7.png", "7.png", "cell 7"])
def test_a_text_that_is_no_id_is_a_name(named: str, tmp_path: Path) -> None:
    images = [image(file_name="a/7.png"), image(8, file_name="a/cell 7.tif"), image(9, file_name="b/8.png")]
    content = coco(annotation(image_id=named, category_id="cell"), images=images)
    index = load_index(write(tmp_path, content))
    assert len(index.truths(8 if named == "cell 7" else 7)) == 1
    assert index.issues["id-not-integer"].count == 2


@pytest.mark.parametrize("named", ["7.png", "", "b"])
def test_a_name_of_two_entries_or_of_none_is_no_id(named: str, tmp_path: Path) -> None:
    images = [image(file_name="a/7.png"), image(8, file_name="b/7.png")]
    index = load_index(write(tmp_path, coco(annotation(image_id=named), images=images)), "warn")
    assert index.issues["unknown-image"].count == 1


@pytest.mark.parametrize("wild", [10**400, -(10**30), 2**63, True, None, [1], {"a": 1}, "", 1.5, 1e300])
def test_a_wild_id_is_replaced_or_refused(wild: Any, tmp_path: Path) -> None:
    index = load_index(write(tmp_path, coco(annotation(), images=[image(wild, file_name="w.png"), image()])))
    assert len({entry.id for entry in index.images}) == 2
    index = load_index(write(tmp_path, coco(annotation(), annotation(image_id=wild))), "warn")
    assert (index.counts.used, index.counts.dropped) == (1, 1)


def test_an_id_at_the_end_of_all_numbers_leaves_room(tmp_path: Path) -> None:
    last = 2**63 - 1
    index = load_index(write(tmp_path, coco(images=[image(last), image("a"), image("b")])))
    assert len({entry.id for entry in index.images}) == 3


@pytest.mark.parametrize("text", ["\ufeff", "utf-16", "utf-8"])
def test_other_encodings_are_read(text: str, tmp_path: Path) -> None:
    content = json.dumps(coco(annotation(), images=[image(file_name="größe_核.png")]), ensure_ascii=False)
    path = tmp_path / "coco.json"
    path.write_bytes(content.encode("utf-8-sig" if text == "\ufeff" else text))
    assert load_index(path).images[0].file_name == "größe_核.png"


def test_the_second_look_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, coco(annotation(bbox=...), annotation(segmentation=[], bbox=...)))
    first = load_index(path)
    monkeypatch.setattr("segtrain.data.check.load.AnnotationChecks", None)  # must not be asked again
    second = load_index(path)
    assert first.counts == second.counts
    assert first.issues.lines(("error", "warning", "note")) == second.issues.lines(("error", "warning", "note"))
    path.write_text(json.dumps(coco(annotation())))
    with pytest.raises(TypeError):  # the file is another one
        load_index(path)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_index(write(tmp_path, coco(annotation()))).counts.used == 1


def test_off_looks_at_no_mask_until_it_is_used(tmp_path: Path) -> None:
    index = load_index(write(tmp_path, coco(annotation(**rle("~~")))), "off")
    assert index.counts.used == 1
    with pytest.raises(SegtrainError, match=r"coco\.json: annotation 5: .*corrupt.*data\.check=warn"):
        index.truths(7)


def test_the_set_as_a_whole(tmp_path: Path) -> None:
    categories = [CELL, {"id": 4, "name": "unused"}]
    annotations = [annotation(id=i, area=i) for i in range(1, 5)]
    index = load_index(write(tmp_path, coco(*annotations, images=[image(), image(8)], categories=categories)))
    issues = check_set(index, max_dets=3)
    assert {issue.kind: issue.examples for issue in issues} == {
        "category-unused": ["category 4 (unused)"],
        "images-empty": ["8.png (image 8)"],
        "over-max-dets": ["7.png (image 7): 4 objects, max_dets is 3"],
        "category-rare": ["category 3 (cell): 4 objects in 1 image"],
    }
    assert not list(check_set(index, max_dets=4)["over-max-dets"].examples)
    small = check_visibility(index, [2.0, 2.0], stride=4)["object-too-small"]
    assert (small.count, small.examples[0].split(":")[0]) == (3, "7.png (image 7), annotation 1")


Point = tuple[int, int]


def side(a: Point, b: Point, c: Point) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def between(a: Point, b: Point, c: Point) -> bool:
    """Whether c, on the line through a and b, lies between them."""
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether two edges have a point in common, by exact arithmetic."""
    crossed = side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
    ends = [(a, b, c), (a, b, d), (c, d, a), (c, d, b)]
    return crossed or any(side(*end) == 0 and between(*end) for end in ends)


def meets_itself(points: list[Point]) -> bool:
    """Whether two edges meet elsewhere than where one follows the other, or one runs back along another."""
    edges = list(zip(points, points[1:] + points[:1], strict=True))
    for j, (c, d) in enumerate(edges):
        for i, (a, b) in enumerate(edges[:j]):
            follows = [(p, q, r) for p, q, r, s in ((a, b, d, c), (c, d, b, a)) if q == s]
            if (i + 1 == j or (i == 0 and j == len(edges) - 1)) and follows:
                if any(side(p, q, r) == 0 and not between(p, r, q) for p, q, r in follows):
                    return True
            elif meet(a, b, c, d):
                return True
    return False


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=9), max_size=12))
def test_crossing_polygons_against_all_pairs_of_edges(shapes: list[list[Point]]) -> None:
    distinct = [[p for n, p in enumerate(shape) if p != shape[n - 1]] for shape in shapes]
    kept = [s for s in distinct if len(s) > 2 and any(side(s[0], s[1], point) for point in s)]
    polygons = [np.array(shape, dtype=np.float64) for shape in kept]
    assert (crossing(polygons).tolist() if polygons else []) == [meets_itself(shape) for shape in kept]


def test_points_that_repeat_are_no_crossing() -> None:
    ring = [(0, 0), (4, 0), (4, 0), (4, 4), (0, 4), (0, 0)]
    assert crossing([np.array(ring, dtype=np.float64)]).tolist() == [False]


def test_many_like_objects_are_told_apart_at_once(tmp_path: Path) -> None:
    squares = []
    for n in range(3000):
        x, y = 17 * (n % 60), 17 * (n // 60)
        square = [x, y, x + 15, y, x + 15, y + 15, x, y + 15]
        squares.append(annotation(id=n + 1, segmentation=[square], bbox=[x, y, 15, 15], area=225))
    same = [annotation(id=5000 + n, segmentation=[[1, 1, 16, 1, 16, 16, 1, 16]]) for n in range(1000)]
    started = time.perf_counter()
    large = image(height=1000, width=1100)
    index = load_index(write(tmp_path, coco(*squares, *same, images=[large])))
    assert time.perf_counter() - started < 10  # by comparing every pair of masks it takes minutes
    assert index.issues["annotation-duplicate"].count == 999


@given(st.integers(0, 2**32 - 1))
def test_duplicates_against_all_pairs(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    planes = []
    for _ in range(12):
        if planes and rng.random() < 0.5:
            plane = planes[rng.integers(len(planes))].copy()
            plane[tuple(rng.integers(0, plane.shape))] ^= rng.random() < 0.5
        else:
            plane = np.zeros((10, 20), dtype=np.bool_)
            x, y = rng.integers(0, 10), rng.integers(0, 4)
            plane[y : y + rng.integers(1, 7), x : x + rng.integers(1, 11)] = True
        planes.append(plane)
    entries = [
        annotation(
            id=i + 1, segmentation=dict(masks.encode(plane)), category_id=int(rng.choice([3, 4])), area=1, bbox=...
        )
        for i, plane in enumerate(planes)
    ]
    content = coco(*entries, categories=[CELL, {"id": 4, "name": "b"}])
    index = load_index(write(tmp_path_factory.mktemp("duplicates"), content))
    expected = sum(
        any(
            entries[j]["category_id"] == entries[i]["category_id"]
            and (planes[i] & planes[j]).sum() > 0.98 * (planes[i] | planes[j]).sum() > 0
            for j in range(i)
        )
        for i in range(len(planes))
    )
    assert index.issues["annotation-duplicate"].count == expected
