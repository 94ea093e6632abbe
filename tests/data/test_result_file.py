"""COCO result files of other tools: what is read, and what is refused in one line."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segtrain import masks
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.coco.result_file import ResultFile, load_results
from segtrain.errors import SegtrainError
from segtrain.records import Category

IMAGES = [ImageInfo(3, "a/leaf_03.png", 6, 8), ImageInfo(7, "leaf_07.png", 5, 5)]
CATEGORIES = [Category(1, "leaf"), Category(90, "stem")]
SQUARE = masks.encode_crop(np.ones((2, 2)), 1, 1, (6, 8))
UNCOMPRESSED = {"size": [6, 8], "counts": masks.counts_of(SQUARE).tolist()}
POLYGON = [[1, 1, 3, 1, 3, 3, 1, 3]]


def record(**changes: Any) -> dict[str, Any]:
    """A good record of a mask, changed; a key set to ... is left out."""
    full = {"image_id": 3, "category_id": 1, "segmentation": SQUARE, "score": 0.5} | changes
    return {key: value for key, value in full.items() if value is not ...}


def box(**changes: Any) -> dict[str, Any]:
    return record(**({"segmentation": ..., "bbox": [1, 1, 2, 2.5]} | changes))


def load(path: Path, content: object) -> ResultFile:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_results(path, images=IMAGES, categories=CATEGORIES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "predictions.json"


@pytest.mark.parametrize("segmentation", [SQUARE, UNCOMPRESSED, POLYGON], ids=["compressed", "uncompressed", "polygon"])
def test_masks_of_any_spelling(path: Path, segmentation: object) -> None:
    result = load(path, [record(segmentation=segmentation), record(category_id=90, score=1, note="kept out")])
    assert result == ResultFile(
        masks=[
            {"image_id": 3, "category_id": 1, "segmentation": SQUARE, "score": 0.5},
            {"image_id": 3, "category_id": 90, "segmentation": SQUARE, "score": 1.0},
        ],
        boxes=None,
        class_aware=True,
        polygons=segmentation is POLYGON,
    )


@pytest.mark.parametrize("segmentation", [..., None, []])
def test_boxes_only(path: Path, segmentation: object) -> None:
    result = load(path, [box(segmentation=segmentation)])
    assert result.masks is None
    assert result.boxes == [{"image_id": 3, "category_id": 1, "bbox": [1.0, 1.0, 2.0, 2.5], "score": 0.5}]


@pytest.mark.parametrize(
    ("segmentations", "polygons"), [([SQUARE, UNCOMPRESSED], False), ([POLYGON], True), ([SQUARE, POLYGON], True)]
)
def test_polygons_are_remembered(path: Path, segmentations: list[object], polygons: bool) -> None:
    assert load(path, [record(segmentation=one) for one in segmentations]).polygons == polygons
    assert not load(path, [box()]).polygons


def test_both_are_kept_as_given_and_apart(path: Path) -> None:
    result = load(path, [record(bbox=[0, 0, 5, 5]), record(bbox=[1, 1, 1, 1])])
    assert result.masks is not None
    assert result.boxes is not None
    assert [p["segmentation"] for p in result.masks] == [SQUARE, SQUARE]
    assert "bbox" not in result.masks[0]
    assert [b["bbox"] for b in result.boxes] == [[0, 0, 5, 5], [1, 1, 1, 1]]


def test_a_file_without_categories(path: Path) -> None:
    result = load(path, [record(category_id=-1), record(category_id=-1)])
    assert not result.class_aware
    assert result.masks is not None
    assert {p["category_id"] for p in result.masks} == {-1}


def test_nothing_found_is_a_result(path: Path) -> None:
    assert load(path, []) == ResultFile(masks=[], boxes=None, class_aware=True)


def test_what_python_writes_beside_json_is_read(path: Path) -> None:
    """A byte order mark, and NaN where nobody looks."""
    assert load(path, "\ufeff" + json.dumps([record(spread=float("nan"))])).masks is not None


NAN, INF = float("nan"), float("inf")

BAD_RECORDS = {
    "unknown image": (record(image_id=4), "no such image"),
    "image as text": (record(image_id="3"), "no such image"),
    "image as list": (record(image_id=[3]), "no such image"),
    "image missing": (record(image_id=...), "no such image"),
    "image true": (record(image_id=True), "no such image"),
    "unknown category": (record(category_id=2), "no such category in the annotations: 2"),
    "category missing": (record(category_id=...), "no such category in the annotations: None"),
    "category as number": (record(category_id=1.5), "no such category in the annotations: 1.5"),
    "one without category": (record(category_id=-1), "-1 stands for none, in all records"),
    "score missing": (record(score=...), "score must be a finite number, not None"),
    "score NaN": (record(score=NAN), "score must be a finite number, not nan"),
    "score infinite": (record(score=-INF), "score must be a finite number, not -inf"),
    "score enormous": (record(score=10**400), "score must be a finite number"),
    "score as text": (record(score="high"), "score must be a finite number, not 'high'"),
    "score true": (record(score=True), "score must be a finite number"),
    "size of another image": (record(segmentation={**SQUARE, "size": [5, 5]}), r"size \[5, 5\], its image is \[6, 8\]"),
    "corrupt code": (record(segmentation={**SQUARE, "counts": SQUARE["counts"] + "~"}), "corrupt"),
    "code cut off": (record(segmentation={**SQUARE, "counts": SQUARE["counts"][:-1]}), "corrupt"),
    "code too short": (record(segmentation={**SQUARE, "counts": SQUARE["counts"][:-2]}), "do not sum to 6 x 8"),
    "runs too long": (record(segmentation={"size": [6, 8], "counts": [49]}), "6 x 8"),
    "empty segmentation": (record(segmentation=[]), "record 1 differs"),
    "polygon with NaN": (record(segmentation=[[1, 1, 3, 1, 3, NAN]]), "finite"),
    "without mask": (box(), "record 1 differs"),
    "mask and box": (record(bbox=[1, 1, 2, 2]), "record 1 differs"),
    "neither": (record(segmentation=...), "record 1 differs"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_record_is_named(path: Path, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(SegtrainError, match=message) as error:
        load(path, [record(), bad, record()])
    text = str(error.value)
    assert text.startswith(f"{path}: record 2 (image {bad.get('image_id')!r}): ")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            [{"image_id": 3}, {"image_id": 9}, {"image_id": "7"}, {"image_id": 9}, {"image_id": [7]}],
            "record 2 (image 9): no such image in the annotations: 4 of 5 records have unknown image ids (9, '7', [7]);"
            " the annotations have 3, 7; ",
        ),
        (
            [{"image_id": 2}, {"image_id": 2}],
            "record 1 (image 2): no such image in the annotations: 2 of 2 records have unknown image ids (2); the "
            "annotations have 3, 7; 'predictions.NAME={file: PATH, image_id_offset: 1}' would fit; ",
        ),
        (
            [{"category_id": n} for n in (0, 89, 0)],
            "no such category in the annotations: 0 (-1 stands for none, in all records): 3 of 3 records have unknown "
            "category ids (0, 89); the annotations have 1, 90; 'predictions.NAME={file: PATH, category_map: {0: 1, "
            "89: 90}}' would fit; ",
        ),
        (
            [{"category_id": n} for n in (1, 2, 3, 4, 5, 6)],
            "5 of 6 records have unknown category ids (2, 3, 4, …); the annotations have 1, 90; ",
        ),
        ([{"category_id": 5}, {}], "1 of 2 records has an unknown category id (5); the annotations have 1, 90; "),
    ],
)
def test_unknown_ids_are_counted_and_compared(path: Path, changes: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(SegtrainError, match=re.escape(said.replace("PATH", str(path)))) as error:
        load(path, [record(**change) for change in changes])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "bbox", [[1, 1, 2, NAN], [1, 1, 2], [1, 1, INF, 2], [1, 1, -2, 2], [1, 1, "b", 2], "box", [[1, 1], [2, 2]]]
)
def test_a_bad_box_is_named(path: Path, bbox: object) -> None:
    with pytest.raises(SegtrainError, match=r"record 2 \(image 3\): .*bbox"):
        load(path, [box(), box(bbox=bbox)])


def test_a_record_of_nothing_is_named(path: Path) -> None:
    with pytest.raises(SegtrainError, match=r"record 1 \(image 3\): there is neither segmentation nor bbox"):
        load(path, [record(segmentation=...)])


@pytest.mark.parametrize("first", [-1, 1])
def test_some_with_and_some_without_category_is_an_error(path: Path, first: int) -> None:
    with pytest.raises(SegtrainError, match="record 3") as error:
        load(path, [record(category_id=first), record(category_id=first), record(category_id=-first)])
    assert "annotations have -1" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a JSON file"),
        ("[{", "not a JSON file"),
        ('{"images": [', "not a JSON file"),
        ("\x00\xff", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ({"images": []}, "list of records"),
        ("NaN", "list of records"),
        ("null", "list of records"),
        ([1], "list of records"),
        ([record(), None], "list of records"),
    ],
    ids=range(10),
)
def test_what_is_no_result_file_is_refused(path: Path, content: object, message: str) -> None:
    with pytest.raises(SegtrainError, match=message) as error:
        load(path, content)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b'[{"image_id": "\xff\xfe"}]')
    with pytest.raises(SegtrainError, match="not a JSON file"):
        load_results(path, images=IMAGES, categories=CATEGORIES)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(SegtrainError, match="cannot read the predictions"):
            load_results(path, images=IMAGES, categories=CATEGORIES)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["size", "counts"]), inner),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["image_id", "category_id", "segmentation", "bbox", "score"]), values))
def test_wild_records_are_read_or_refused(path: Path, changes: dict[str, Any]) -> None:
    with contextlib.suppress(SegtrainError):
        result = load(path, [record(), record(**changes)])
        assert result.masks is not None
        assert len(result.masks) == 2
