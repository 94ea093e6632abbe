"""The index: every annotation accounted for, every bad file refused in one line."""

import json
import os
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from segtrain import masks
from segtrain.data.check.load import CheckMode, load_index
from segtrain.data.coco.index import CocoIndex, require_instances
from segtrain.errors import SegtrainError

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with real data")
# pycocotools 2.0.11 under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 5.0, 2.0, 5.0]  # 4 x 3 pixels
IMAGE = {"id": 7, "file_name": "a.png", "height": 10, "width": 20}
CATEGORIES = [{"id": 9, "name": "nine"}, {"id": 3, "name": "three"}]
ANNOTATION = {
    "id": 5,
    "image_id": 7,
    "category_id": 3,
    "segmentation": [SQUARE],
    "bbox": [2.5, 2.5, 1.5, 1.5],
    "area": 4.25,
    "iscrowd": 0,
}


def annotation(**changes: Any) -> dict[str, Any]:
    """A good annotation with some changes; ``...`` removes a key."""
    return {key: value for key, value in (ANNOTATION | changes).items() if value is not ...}


def write(folder: Path, content: Any) -> Path:
    path = folder / "coco.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def load(folder: Path, *annotations: dict[str, Any], check: CheckMode = "strict", **changes: Any) -> CocoIndex:
    content = {"images": [IMAGE], "annotations": list(annotations), "categories": CATEGORIES} | changes
    return load_index(write(folder, content), check)


def test_valid_values_are_never_touched(tmp_path: Path) -> None:
    index = load(tmp_path, annotation())
    (truth,) = index.truths(7)
    assert (truth["area"], truth["bbox"], truth["iscrowd"]) == (4.25, [2.5, 2.5, 1.5, 1.5], 0)
    assert index.counts.repaired == 0


def test_labels_are_contiguous_and_ids_start_at_one(tmp_path: Path) -> None:
    index = load(tmp_path, annotation(id=0), annotation(id=2**40, category_id=9), annotation(id=0))
    assert [category.id for category in index.categories] == [3, 9]
    assert index.label_of == {3: 1, 9: 2}
    assert [truth["id"] for truth in index.truths(7)] == [1, 2, 3]
    assert [truth["category_id"] for truth in index.truths(7)] == [3, 9, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"area": ...},
        {"area": None},
        {"area": 0},
        {"area": -3},
        {"area": "12"},
        {"area": True},
        {"area": 10**400},
        {"bbox": ...},
        {"bbox": []},
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, 3, 0]},
        {"bbox": [1, 2, -3, 4]},
        {"bbox": [1, 2, "c", 4]},
        {"bbox": {"x": 1}},
        {"iscrowd": ...},
        {"iscrowd": None},
        {"iscrowd": []},
        {"segmentation": [SQUARE, [1.0, 1.0, 2.0, 2.0]]},
        {"segmentation": [[], SQUARE]},
        {"segmentation": [SQUARE, SQUARE[:7]]},
        {"segmentation": [SQUARE, None, "x", {}]},
        {"segmentation": [SQUARE, [1e9, 0, 0, 1e9, 5, 5]]},
    ],
    ids=str,
)
def test_what_can_be_mended_is_mended_and_counted(tmp_path: Path, changes: dict[str, Any]) -> None:
    index = load(tmp_path, annotation(**changes), annotation())
    truth, whole = index.truths(7)
    assert truth["segmentation"] == whole["segmentation"]
    assert truth["area"] == (12 if "area" in changes else 4.25)
    assert truth["bbox"] == ([2, 2, 4, 3] if "bbox" in changes else [2.5, 2.5, 1.5, 1.5])
    assert truth["iscrowd"] == 0
    assert asdict(index.counts) == {
        "images": 1, "annotations": 2, "used": 2, "crowd": 0, "repaired": 1, "dropped": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("written", "crowd"), [(2, 1), ("1", 1), (0.0, 0), ("0", 0), ("no", 0), (None, 0), (True, 1)])
def test_a_crowd_is_what_coco_takes_for_one(tmp_path: Path, written: Any, crowd: int) -> None:
    index = load(tmp_path, annotation(iscrowd=written), check="warn")
    assert [truth["iscrowd"] for truth in index.truths(7)] == [crowd]
    assert index.counts.repaired == (type(written) not in (bool, float))
    beside_others = load(tmp_path, annotation(iscrowd=written), annotation(iscrowd=None), annotation(iscrowd=3))
    assert [truth["iscrowd"] for truth in beside_others.truths(7)] == [crowd, 0, 1]


@pytest.mark.parametrize(
    "segmentation",
    [
        ...,
        None,
        [],
        [[]],
        "x",
        [1.0, 2.0, 3.0],
        [[1.0, 1.0, 2.0, 2.0]],
        [[50.0, 50.0, 60.0, 50.0, 60.0, 60.0]],
        {},
        {"size": [10, 20], "counts": [200]},
        {"size": [20, 10], "counts": [0, 200]},
        {"size": [10, 20], "counts": [0, 100]},
        {"size": [10, 20], "counts": "~~~"},
        {"size": [10, 20], "counts": "é"},
        {"size": [10, 20], "counts": ""},
        {"size": [10, 20]},
    ],
    ids=str,
)
def test_an_annotation_without_a_mask_is_dropped_and_counted(tmp_path: Path, segmentation: Any) -> None:
    index = load(tmp_path, annotation(segmentation=segmentation), annotation(id=6, iscrowd=1), check="warn")
    assert [truth["id"] for truth in index.truths(7)] == [2]
    assert (index.counts.used, index.counts.crowd, index.counts.dropped, index.counts.repaired) == (0, 1, 1, 0)
    assert [line for line in index.issues.lines(("error", "warning")) if "a.png, annotation 5: " in line]
    with pytest.raises(SegtrainError, match=r"coco\.json: no usable annotation among 2 \(1 crowds, 1 dropped; a\.png"):
        require_instances(index)


def test_every_kind_of_mask_gives_the_same_pixels(tmp_path: Path) -> None:
    plane = np.zeros((10, 20), dtype=np.uint8)
    plane[2:5, 2:6] = 1
    compressed = masks.encode(plane)
    counts = masks.counts_of(compressed).tolist()
    kinds = [[SQUARE], dict(compressed), {"size": [10, 20], "counts": counts}]
    index = load(tmp_path, *(annotation(segmentation=s, iscrowd=c) for s in kinds for c in (0, 1)))
    assert all(np.array_equal(masks.decode(truth["segmentation"]), plane) for truth in index.truths(7))
    assert (index.counts.used, index.counts.crowd) == (3, 3)


GOOD = {"images": [IMAGE], "annotations": [ANNOTATION], "categories": CATEGORIES}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"  \n", "the file is empty"),
        (b"{", "not a json file"),
        (b"\xff\xd8\xff", "not a json file"),
        (b"[" * 100_000, "not a json file|array"),
        ([], "Expected `object`, got `array`.*lists images, annotations and categories"),
        ({"annotations": [], "categories": []}, "missing required field `images`"),
        ({"images": [], "categories": []}, "missing required field `annotations`"),
        ({"images": [], "annotations": []}, "missing required field `categories`"),
        (GOOD | {"images": []}, "images is empty"),
        (GOOD | {"categories": []}, "categories is empty"),
        (GOOD | {"images": {"a": 1}}, r"Expected `array`, got `object` - at `\$\.images`"),
        (GOOD | {"images": [{"id": 7, "height": 1, "width": 1}]}, r"images\[0\]\.file_name is missing"),
        (GOOD | {"images": [IMAGE, IMAGE]}, "image id 7 occurs twice"),
        (GOOD | {"images": [IMAGE | {"height": 0}]}, r"images\[0\] \(image 7\) has height 0 and width 20"),
        (GOOD | {"images": [IMAGE | {"width": 2.5}]}, r"images\[0\] \(image 7\) has height 10 and width 2.5"),
        (GOOD | {"images": [IMAGE | {"height": 1e6, "width": 1e6}]}, r"images\[0\] \(image 7\) has height 1000000"),
        (GOOD | {"categories": [*CATEGORIES, CATEGORIES[0]]}, "category id 9 occurs twice"),
        (GOOD | {"annotations": [annotation(image_id=8)]}, "annotation 5 names the unknown image 8"),
        (GOOD | {"annotations": [annotation(category_id=4)]}, "annotation 5 names the unknown category 4"),
        (GOOD | {"annotations": [annotation(id=..., category_id=4)]}, "annotation number 1 names the unknown"),
        (GOOD | {"annotations": [annotation(image_id=...)]}, "annotation 5 names no image"),
        (GOOD | {"annotations": [5]}, r"annotations\[0\] is no object"),
    ],
    ids=str,
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(SegtrainError, match=message) as caught:
        load_index(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(SegtrainError, match="cannot read the annotations"):
            load_index(path)


def test_tolerates_what_exporters_add(tmp_path: Path) -> None:
    content = {
        "images": [IMAGE | {"height": 10.0, "difficulty": "hard", "license": 0}],
        "annotations": [annotation(id=..., attributes={"x": 1})],
        "categories": [{"id": 3, "name": "three", "supercategory": ""}],
        "info": None,
    }
    index = load_index(write(tmp_path, b"\xef\xbb\xbf" + json.dumps(content).encode()))
    assert index.images[0].size == (10, 20)
    assert index.images[0].difficulty == "hard"
    assert index.counts.used == 1


def test_subset_counts_its_own_annotations(tmp_path: Path) -> None:
    images = [IMAGE | {"id": i} for i in (4, 1, 3, 2)]
    annotations = [annotation(image_id=i, segmentation=[SQUARE] if i != 3 else []) for i in (1, 4, 3, 1, 3)]
    index = load(tmp_path, *annotations, images=images, check="warn")
    part = index.subset([3, 1])
    assert [image.id for image in part.images] == [1, 3]
    assert part.truths(1) == index.truths(1)
    assert (part.counts.images, part.counts.annotations, part.counts.used, part.counts.dropped) == (2, 4, 2, 2)
    assert [truth["id"] for truth in part.truths(1)] == [1, 4]
    assert index.subset([2]).truths(2) == []
    copy = pickle.loads(pickle.dumps(part))
    assert copy.truths(1) == index.truths(1)
    with pytest.raises(KeyError):
        part.truths(4)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=7)
        | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner, max_size=3)
        | st.fixed_dictionaries({"size": st.just([10, 20]), "counts": inner})
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {"image_id": st.just(7), "category_id": st.just(3)},
            optional=dict.fromkeys(("id", "segmentation", "bbox", "area", "iscrowd"), json_values),
        ),
        max_size=4,
    )
)
def test_no_annotation_breaks_loading(tmp_path: Path, annotations: list[dict[str, Any]]) -> None:
    counts = load(tmp_path, *annotations, annotation(), check="warn").counts
    assert counts.used + counts.crowd + counts.dropped == counts.annotations == len(annotations) + 1
    assert counts.repaired <= counts.used + counts.crowd


def compare_with_pycocotools(path: Path, every: int, capsys: pytest.CaptureFixture[str]) -> None:
    index, reference = load_index(path), COCO(str(path))
    capsys.readouterr()  # it prints
    for image in index.images[::every]:
        entries = reference.loadAnns(reference.getAnnIds(imgIds=image.id))
        truths = index.truths(image.id)
        assert len(truths) == len(entries)
        for truth, entry in zip(truths, entries, strict=True):
            assert np.array_equal(masks.decode(truth["segmentation"]), reference.annToMask(entry))
            assert all(truth[key] == entry[key] for key in ("category_id", "bbox", "area", "iscrowd"))


@needs_real_data
@pytest.mark.parametrize("name", ["coco/annotations/instances_val2017.json", "nuclei/annotations/instances_val.json"])
def test_real_masks_equal_pycocotools(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    compare_with_pycocotools(REAL / name, 10, capsys)


@needs_real_data
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "coco/annotations/instances_train2017.json",
        "coco/annotations/instances_val2017.json",
        "nuclei/annotations/instances_train.json",
        "nuclei/annotations/instances_val.json",
    ],
)
def test_all_real_masks_equal_pycocotools(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    compare_with_pycocotools(REAL / name, 1, capsys)


@needs_real_data
def test_every_real_annotation_is_accounted_for() -> None:
    expected = {
        "coco/annotations/instances_train2017.json": (92, 829, 820, 9, 0, 0),
        "coco/annotations/instances_val2017.json": (66, 560, 552, 8, 0, 0),
        "nuclei/annotations/instances_val.json": (100, 3814, 3814, 0, 0, 0),
        "nasty/coco_mini/coco_instances/annotations/instances_train.json": (1, 1, 0, 0, 0, 1),
        "nasty/coco_mini/coco_instances/annotations/instances_val.json": (1, 2, 1, 1, 0, 0),
    }
    for name, counts in expected.items():
        assert tuple(asdict(load_index(REAL / name, "warn").counts).values()) == counts, name
