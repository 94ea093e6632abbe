"""Choices of what annotations mean: objects drawn as boxes, crowd flags, and polygons inside others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

import segtrain
from segtrain import masks
from segtrain.data.check.command import main
from segtrain.data.check.load import CheckMode, load_index
from segtrain.data.coco.index import CocoIndex, require_instances
from segtrain.data.coco.rules import COCO_RULES, AnnotationRules
from segtrain.errors import SegtrainError
from segtrain.masks.parse import from_drawable, from_rings
from tests.data.test_issues import FAR, annotation, coco, image, rle, write
from tests.helpers.file_mutations import picture

# pycocotools 2.0.11 under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZE = (10, 20)
OUTER, HOLE, ISLAND = ([a, a, b, a, b, b, a, b] for a, b in ((0, 10), (2, 8), (4, 6)))
EMPTY = [
    [],
    None,
    ...,
    [[]],
    [None],
    {},
    {"size": [10, 20], "counts": []},
    {"counts": ""},
    "",
    [[10.2, 2, 4.9, 3]],
    [10, 2, 14, 5],
    [[10, 2, 14, 5], []],
]


def load(folder: Path, *entries: Any, check: CheckMode = "strict", **rules: Any) -> CocoIndex:
    return load_index(write(folder, coco(*entries)), check, AnnotationRules(**rules))


def boxed(**changes: Any) -> dict[str, Any]:
    values = {"id": 6, "segmentation": [], "bbox": [10.2, 2, 4.9, 3], "area": 14.7}
    return annotation(**values | changes)


@pytest.mark.parametrize("segmentation", EMPTY, ids=str)
@pytest.mark.parametrize("check", ["strict", "off"])
@pytest.mark.parametrize("choice", ["ignore", "box"])
def test_a_box_without_a_mask(segmentation: Any, check: CheckMode, choice: Any, tmp_path: Path) -> None:
    entry = boxed(segmentation=segmentation)
    index = load(tmp_path, annotation(), entry, check=check, boxes_without_masks=choice)
    _, truth = index.truths(7)
    assert truth["iscrowd"] == (choice == "ignore")
    assert (truth["bbox"], truth["area"]) == ([10.2, 2, 4.9, 3], 14.7)
    (expected,) = coco_mask.frPyObjects(np.array([truth["bbox"]]), *SIZE)
    assert truth["segmentation"]["counts"] == expected["counts"].decode()
    assert (index.counts.used, index.counts.crowd, index.counts.dropped) == (
        (1, 1, 0) if choice == "ignore" else (2, 0, 0)
    )


@pytest.mark.parametrize("segmentation", EMPTY, ids=str)
def test_the_choices_are_named_by_default(segmentation: Any, tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match=r"7\.png, annotation 6: the object has the box .* and no mask") as caught:
        load(tmp_path, annotation(), boxed(segmentation=segmentation))
    assert all(f"={choice}" in str(caught.value) for choice in ("ignore", "box", "error"))
    with pytest.raises(SegtrainError, match="annotation 6"):
        load(tmp_path, annotation(), boxed(segmentation=segmentation), check="off").truths(7)


@pytest.mark.parametrize("box", [[10, 2, 0, 3], [30, 2, 4, 3], None, ..., "x"], ids=str)
@pytest.mark.parametrize("choice", ["error", "ignore", "box"])
def test_nothing_stands_for_a_mask_without_a_plausible_box(box: Any, choice: Any, tmp_path: Path) -> None:
    index = load(tmp_path, annotation(), boxed(bbox=box), check="warn", boxes_without_masks=choice)
    assert index.issues["segmentation-empty"].count == 1
    assert (index.counts.used, index.counts.dropped) == (1, 1)


def test_a_segmentation_that_is_broken_is_not_empty(tmp_path: Path) -> None:
    broken = boxed(**rle([0, 7]))
    others = boxed(segmentation="x"), boxed(segmentation=[[1, 2, 3]]), boxed(segmentation=[[10, 2, 14, 5], [1, 2, 3]])
    index = load(tmp_path, annotation(), broken, *others, check="warn", boxes_without_masks="box")
    assert (index.counts.used, index.counts.dropped) == (1, 4)


@pytest.mark.parametrize(
    "form",
    [
        {"type": "Polygon", "coordinates": [[[1, 1], [5, 1], [5, 4]]]},
        {"bitmap": {"data": "eJwBgQ", "origin": [1, 1]}},
        {"polygons": [[1, 1, 5, 1, 5, 4]]},
        {"size": list(SIZE), "Counts": "0"},
    ],
    ids=lambda form: next(iter(form)),
)
def test_a_mask_of_an_unknown_form_is_not_missing(form: Any, tmp_path: Path) -> None:
    index = load(tmp_path, annotation(), boxed(segmentation=form), check="warn", boxes_without_masks="box")
    assert (index.counts.used, index.counts.dropped) == (1, 1)
    (example,) = index.issues["segmentation-type"].examples
    assert all(key in example for key in form)


def test_boxes_of_crowds_stay_crowds(tmp_path: Path) -> None:
    entries = annotation(), boxed(iscrowd=1)
    assert load(tmp_path, *entries, boxes_without_masks="box").counts.crowd == 1
    assert load(tmp_path, *entries, boxes_without_masks="box", crowd="objects").counts.crowd == 0
    assert load(tmp_path, *entries, boxes_without_masks="ignore", crowd="objects").counts.crowd == 1


@given(
    st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.floats(0.01, 60), st.floats(0.01, 60)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_boxes_are_drawn_as_coco_draws_them(box: tuple[float, ...], size: tuple[int, int]) -> None:
    (expected,) = coco_mask.frPyObjects(np.array([box]), *size)
    theirs = coco_mask.decode(expected).astype(np.bool_)
    ours = masks.decode(masks.from_box(box, size))
    # An outline that is cut at the border may gain or lose a pixel there against one that is cut after drawing.
    differing = np.argwhere(ours != theirs)
    x, y = np.array([box[0], box[0] + box[2]]), np.array([box[1], box[1] + box[3]])
    assert all((abs(r + 0.5 - y).min() <= 1) or (abs(c + 0.5 - x).min() <= 1) for r, c in differing)


def test_a_box_far_larger_than_the_image(tmp_path: Path) -> None:
    entry = boxed(bbox=[-1e12, -5, 2e12, 1e9])
    (truth,) = load(tmp_path, entry, boxes_without_masks="box").truths(7)
    assert int(masks.area([truth["segmentation"]])[0]) == SIZE[0] * SIZE[1]


@pytest.mark.parametrize("check", ["strict", "off"])
def test_crowds_as_objects(check: CheckMode, tmp_path: Path) -> None:
    entries = annotation(iscrowd=1, segmentation=[FAR]), annotation(iscrowd=1, **rle([0, 30, 170])), annotation()
    assert load(tmp_path, *entries, check=check).counts.crowd == 2
    index = load(tmp_path, *entries, check=check, crowd="objects")
    assert [truth["iscrowd"] for truth in index.truths(7)] == [0, 0, 0]
    assert len(index.objects(0)[0]) == 3


def xor(polygons: list[list[float]], size: tuple[int, int]) -> Any:
    """Even-odd rule on the masks that pycocotools draws of the single polygons."""
    planes = [coco_mask.decode(coco_mask.frPyObjects([polygon], *size))[..., 0] for polygon in polygons]
    return np.bitwise_xor.reduce(planes)


def square(x: float, y: float, side: float) -> list[float]:
    return [x, y, x + side, y, x + side, y + side, x, y + side]


@st.composite
def nested(draw: st.DrawFn) -> list[list[float]]:
    """Groups of squares side by side, each a chain of squares inside one another, in any order."""
    found = []
    for group in range(draw(st.integers(1, 3))):
        x, y, side = 40.0 * group + draw(st.floats(0, 2)), draw(st.floats(0, 2)), draw(st.floats(30, 36))
        while side > 3 and len(found) < 12:
            found.append(square(x, y, side))
            step = draw(st.floats(1.5, 8))
            x, y, side = x + step, y + step, side - 2 * step - draw(st.floats(0, 3))
    return draw(st.permutations(found))


@given(nested())
def test_nested_rings_follow_the_even_odd_rule(polygons: list[list[float]]) -> None:
    size = (40, 130)
    mask, bad = from_drawable(polygons, size, "even_odd")
    assert not bad
    assert np.array_equal(masks.decode(mask), xor(polygons, size))
    union, _ = from_drawable(polygons, size)
    assert union["counts"] == coco_mask.merge(coco_mask.frPyObjects(polygons, *size))["counts"].decode()


def test_an_island_in_a_hole_is_a_part() -> None:
    mask = masks.decode(from_rings([ISLAND, OUTER, HOLE], SIZE))
    expected = np.zeros(SIZE, np.bool_)
    expected[:10, :10] = True
    expected[2:8, 2:8] = False
    expected[4:6, 4:6] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    ("polygons", "pixels"),
    [
        ([OUTER, OUTER], 100),  # a repetition is no hole in itself
        ([OUTER, HOLE, HOLE], 64),  # nor is a repeated hole a part
        ([square(0, 0, 4), square(4, 0, 4)], 32),  # parts that touch
        ([square(0, 0, 6), square(3, 3, 6)], 63),  # parts that overlap
        ([OUTER, square(1, 1, 4), square(3, 3, 4)], 72),  # holes that overlap
        ([OUTER, square(0, 2, 4)], 84),  # a hole that touches the outline
        ([square(0, 0, 4), [30, 30, 40, 30, 40, 40]], 16),  # a ring outside of the image
    ],
    ids=["repeated", "repeated hole", "touching", "overlapping", "overlapping holes", "bay", "outside"],
)
def test_rings_that_are_not_simply_nested(polygons: list[list[float]], pixels: int) -> None:
    assert int(masks.area([from_rings(polygons, SIZE)])[0]) == pixels


@pytest.mark.parametrize("check", ["strict", "off"])
def test_rings_of_a_file(check: CheckMode, tmp_path: Path) -> None:
    entry = annotation(segmentation=[OUTER, HOLE], area=64, bbox=[0, 0, 10, 10])
    for rings, pixels in (("union", 100), ("even_odd", 64)):
        index = load(tmp_path, entry, check=check, rings=rings)
        assert masks.area([truth["segmentation"] for truth in index.truths(7)]).tolist() == [pixels]
        assert masks.area(index.objects(0)[1]).tolist() == [pixels]
        assert masks.area(index.subset([7]).objects(0)[1]).tolist() == [pixels]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Every kind of annotation that has a choice, beside an ordinary one."""
    entries = [
        annotation(id=1),
        annotation(id=2, segmentation=[FAR], bbox=[10, 2, 4, 3], iscrowd=1),
        annotation(id=3, segmentation=[OUTER, HOLE], area=64, bbox=[0, 0, 10, 10]),
        boxed(id=4),
        boxed(id=5, segmentation=..., extra="kept"),
    ]
    (tmp_path / "7.png").write_bytes(picture(SIZE, "RGB", "PNG"))
    return write(tmp_path, coco(*entries)), tmp_path


ALL = [
    AnnotationRules(boxes, crowd, rings)
    for boxes in ("ignore", "box")
    for crowd in ("ignore", "objects")
    for rings in ("union", "even_odd")
]


@pytest.mark.parametrize("rules", ALL, ids=str)
def test_a_corrected_copy_needs_no_choices(rules: AnnotationRules, files: tuple[Path, Path]) -> None:
    path, folder = files
    options = [f"--{name.replace('_', '-')}={value}" for name, value in rules._asdict().items()]
    assert main([str(path), str(folder), "--fix", str(folder / "fixed.json"), *options]) == 0
    expected, fixed = load_index(path, "strict", rules), load_index(folder / "fixed.json")
    assert fixed.truths(7) == expected.truths(7)
    written = json.loads((folder / "fixed.json").read_text())["annotations"]
    assert written[4]["extra"] == "kept"
    log = (folder / "fixed.log").read_text()
    assert ("annotation entry 2: iscrowd 1 -> 0" in log) == (rules.crowd == "objects")
    assert ("annotation entry 3: segmentation" in log) == (rules.rings == "even_odd")
    assert "annotation entry 5: segmentation missing -> [[10.2, 2.0" in log


def test_a_corrected_copy_leaves_boxes_out_by_default(files: tuple[Path, Path]) -> None:
    path, folder = files
    assert main([str(path), str(folder), "--fix", str(folder / "fixed.json")]) == 1
    assert load_index(folder / "fixed.json").counts.annotations == 3
    assert "annotation 4 (entry 4) is left out: it has a box and no mask" in (folder / "fixed.log").read_text()


@pytest.mark.parametrize("rules", [COCO_RULES, *ALL], ids=str)
def test_from_python(rules: AnnotationRules, files: tuple[Path, Path]) -> None:
    path, folder = files
    if rules == COCO_RULES:
        with pytest.raises(SegtrainError, match="annotation 4"):
            segtrain.load_coco(path, folder)
        return
    data = segtrain.load_coco(path, folder, **rules._asdict())
    assert data.index.truths(7) == load_index(path, "strict", rules).truths(7)
    assert segtrain.check(data).errors == 0
    with pytest.raises(SegtrainError, match="'maybe' is no choice"):
        segtrain.load_coco(path, folder, crowd="maybe")


def test_an_image_may_hold_boxes_alone(tmp_path: Path) -> None:
    content = coco(annotation(), boxed(image_id=8), images=[image(), image(8)])
    index = load_index(write(tmp_path, content), "strict", AnnotationRules("ignore"))
    assert [truth["iscrowd"] for truth in index.truths(8)] == [1]


def flagged(number: int, image_id: int = 7, **changes: Any) -> dict[str, Any]:
    counts = [10 * number, 4, 196 - 10 * number]
    mask = annotation(id=100 + number, image_id=image_id, iscrowd=1, area=4, bbox=[number, 0, 1, 4], **rle(counts))
    return mask | changes


POLYGON_CROWD = {"segmentation": [[*FAR, 9.0, 3.0]], "bbox": [9, 2, 5, 3], "area": 14}
RECTANGLE = {"segmentation": [FAR], "bbox": [10, 2, 4, 3], "area": 12}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([annotation(), *map(flagged, range(8, 11))], True),  # brush masks among polygons
        (
            [annotation(id=n) for n in range(60)] + [flagged(8), flagged(9), flagged(10)],
            True,
        ),  # few, but several together
        ([annotation(id=n) for n in range(60)] + [flagged(8, 8), flagged(8, 9), flagged(8)], False),  # as COCO's crowds
        ([annotation(), flagged(8), flagged(9)], False),  # too few to tell
        (
            [annotation(id=n, **rle([2, 3, 195])) for n in range(60)] + [*map(flagged, range(8, 11))],
            0,
        ),  # of run lengths
        ([annotation(), *(flagged(n, **POLYGON_CROWD) for n in range(8, 11))], True),  # most of all
        (
            [annotation(), *(flagged(n, **RECTANGLE) for n in range(8, 11))],
            False,
        ),  # boxes to ignore, as --fix writes them
        ([annotation(), *(flagged(n, n) for n in range(7, 11))], True),  # one in each image, but most of all
    ],
    ids=["brush", "several", "genuine", "few", "others", "polygons", "rectangles", "alone"],
)
def test_flags_of_a_drawing_tool(entries: list[Any], found: bool, tmp_path: Path) -> None:
    images = [image(n) for n in range(7, 11)]
    path = write(tmp_path, coco(*entries, images=images))
    issue = load_index(path).issues["crowd-by-tool"]
    assert issue.count == int(found)
    assert not found or "data.crowd=objects" in issue.line
    assert load_index(path, "strict", AnnotationRules(crowd="objects")).issues["crowd-by-tool"].count == 0


@pytest.mark.parametrize(
    ("entries", "rules", "said"),
    [
        (
            [*map(flagged, range(3))],
            COCO_RULES,
            r"3 annotations, all crowd regions \(iscrowd 1\).*set data.crowd=objects",
        ),
        ([boxed(), boxed(id=7)], AnnotationRules("ignore"), "2 annotations, all boxes without masks.*=box takes"),
        (
            [boxed(), flagged(1)],
            AnnotationRules("ignore"),
            "crowd regions .*: 1 of 2 annotations; .*; boxes without masks: 1 of 2",
        ),
    ],
    ids=["crowds", "boxes", "both"],
)
def test_a_file_of_which_all_is_ignored(entries: list[Any], rules: AnnotationRules, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, coco(*entries))
    with pytest.raises(SegtrainError, match=said):
        load_index(path, "strict", rules)
    for check in ("warn", "off"):
        with pytest.raises(SegtrainError, match=f"no object to learn from: {said}"):
            require_instances(load_index(path, check, rules))


def test_unusable_annotations_are_named_before_ignored_ones(tmp_path: Path) -> None:
    index = load(tmp_path, flagged(1), boxed(), check="warn")
    with pytest.raises(SegtrainError, match=r"no usable annotation among 2 \(1 crowds, 1 dropped.*and no mask"):
        require_instances(index)


def test_an_area_of_the_box_says_nothing_about_holes(tmp_path: Path) -> None:
    outer, inner = [0, 0, 10, 0, 0, 10], [2, 2, 5, 2, 2, 5]
    entry = annotation(segmentation=[outer, inner], area=100, bbox=[0, 0, 10, 10])
    assert load(tmp_path, entry).issues["rings-as-holes"].count == 1
    entry["segmentation"] = [outer]
    assert not load(tmp_path, entry).issues["rings-as-holes"].count


@pytest.mark.parametrize(
    ("polygons", "area", "rings", "found"),
    [
        ([OUTER, HOLE], 64, "union", True),
        ([OUTER, HOLE], 66.5, "union", True),  # as polygons' exact areas differ from pixels
        ([OUTER, HOLE], 100, "union", False),
        ([OUTER, HOLE], 99, "union", False),
        ([OUTER, HOLE], 80, "union", False),  # fits neither
        ([OUTER, HOLE], ..., "union", True),
        ([OUTER, HOLE, ISLAND], 68, "union", True),
        ([OUTER, square(1, 1, 1)], 99, "union", False),  # a hole of a pixel is noise
        ([square(0, 0, 4), square(6, 0, 4)], 16, "union", False),  # parts side by side
        ([OUTER, OUTER], 100, "union", False),
        ([OUTER], 64, "union", False),
        ([OUTER, HOLE], 64, "even_odd", False),
        ([OUTER, HOLE], 100, "even_odd", True),
        ([OUTER, HOLE], ..., "even_odd", False),
    ],
)
def test_areas_tell_holes(polygons: Any, area: Any, rings: Any, found: bool, tmp_path: Path) -> None:
    entry = annotation(segmentation=polygons, area=area, bbox=[0, 0, 10, 10])
    issues = load(tmp_path, entry, rings=rings).issues
    kind, other = ("rings-as-holes", "rings-not-holes")[:: 1 if rings == "union" else -1]
    assert (issues[kind].count, issues[other].count) == (int(found), 0)
