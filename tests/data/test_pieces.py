"""Large files are read in pieces: the same index as from small ones, whatever they look like, or the slow way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segtrain.data.coco import json_file
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.json_file import open_in_pieces
from segtrain.data.coco.reader import read_index
from segtrain.errors import SegtrainError
from tests.data.test_issues import annotation, coco, image, rle


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "_LARGE", 0)
    monkeypatch.setattr(json_file, "_PIECE", 700)
    monkeypatch.setattr(json_file, "_HEAD", 50)


def slowly(path: Path) -> CocoIndex:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_file, "_LARGE", 2**60)
        return read_index(path)


def assert_same(path: Path) -> None:
    """Reading in pieces gives what reading as a whole gives, errors included."""
    results: list[CocoIndex | str] = []
    for read in (slowly, read_index):
        try:
            results.append(read(path))
        except SegtrainError as error:
            results.append(str(error))
    expected, index = results
    if isinstance(expected, str) or isinstance(index, str):
        assert index == expected
        return
    assert list(index.images) == list(expected.images)
    assert (index.categories, index.counts) == (expected.categories, expected.counts)
    rows, others = index.annotations.rows, expected.annotations.rows
    for name in ("image", "label", "number", "id", "area", "crowd", "usable", "repaired"):
        assert np.array_equal(rows[name], others[name], equal_nan=name == "area")
    for own, other in ((index.annotations, expected.annotations),):
        assert own.segmentations(rows) == other.segmentations(others)
        assert [own.box(row) for row in rows] == [other.box(row) for row in others]
    everything = ("error", "warning", "note")
    assert index.issues.lines(everything) == expected.issues.lines(everything)


def many(count: int = 40, **changes: Any) -> list[dict[str, Any]]:
    return [annotation(id=i + 1, image_id=7 + i % 3, area=1 + i, **changes) for i in range(count)]


IMAGES = [image(i) for i in (7, 8, 9)]
LAYOUTS: dict[str, tuple[Any, bool]] = {  # the file, and whether it is expected to be read in pieces
    "usual": (coco(*many(), images=IMAGES), True),
    "run lengths": (coco(*many(**rle([0, 9, 191])), images=IMAGES), True),
    "annotations last": ({k: coco(*many(), images=IMAGES)[k] for k in ("categories", "images", "annotations")}, True),
    "annotations first": ({k: coco(*many(), images=IMAGES)[k] for k in ("annotations", "images", "categories")}, True),
    "info behind": (coco(*many(), images=IMAGES) | {"info": {"a": 1}}, True),
    "many images behind": (
        {"annotations": many(), "images": [*IMAGES, *(image(i) for i in range(20, 60))], "categories": [{"id": 3}]},
        False,
    ),
    "texts that look like borders": (coco(*many(note='},{ "annotations": [{'), images=IMAGES), True),
    "nests of objects": (coco(*many(parts=[{"a": 1}, {"b": [{"c": 1}, {"d": 2}]}]), images=IMAGES), True),
    "annotations within images": (
        coco(*many(), images=[entry | {"annotations": [{"id": 1}]} for entry in IMAGES]),
        True,
    ),
    "one long entry": (coco(*many(3), annotation(note="x" * 5000), *many(3), images=IMAGES), True),
    "an entry that is none": (coco(*many(20), 5, *many(20), images=IMAGES), True),
    "unknown images": (coco(*many(30), images=[image(7)]), True),
    "no annotations": (coco(images=IMAGES), False),
    "no images": (coco(*many(), images=[]), False),
    "list": ([coco(*many())], False),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("style", ["compact", "usual", "indented", "marked"])
@pytest.mark.usefixtures("small_pieces")
def test_every_layout_gives_the_same_index(layout: str, style: str, tmp_path: Path) -> None:
    content, _ = LAYOUTS[layout]
    options: dict[str, Any] = {"compact": {"separators": (",", ":")}, "indented": {"indent": 2}}.get(style, {})
    path = tmp_path / "coco.json"
    path.write_bytes((b"\xef\xbb\xbf" if style == "marked" else b"") + json.dumps(content, **options).encode())
    assert_same(path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("small_pieces")
def test_pieces_are_tried_where_the_order_is_usual(layout: str, tmp_path: Path) -> None:
    content, expected = LAYOUTS[layout]
    (tmp_path / "coco.json").write_text(json.dumps(content))
    if layout != "annotations within images":
        assert (open_in_pieces(tmp_path / "coco.json") is not None) == expected


@pytest.mark.parametrize("cut", [100, 1000, 3000, -1, -2, -50])
@pytest.mark.usefixtures("small_pieces")
def test_a_damaged_file_is_refused_as_a_small_one_is(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    text = json.dumps(coco(*many(), images=IMAGES))
    for damaged in (text[:cut], text[:cut] + "{" + text[cut:], text.replace("[[2.0", "[[NaN", 3)):
        path.write_text(damaged)
        assert_same(path)


@pytest.mark.usefixtures("small_pieces")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "id": st.integers(-5, 2**70) | st.text(max_size=3),
                "image_id": st.sampled_from([7, 8, 99, "7", None]),
                "category_id": st.sampled_from([3, 4]),
                "area": st.none() | st.floats(allow_nan=True) | st.integers(),
                "iscrowd": st.sampled_from([0, 1, 2, None, True]),
                "segmentation": st.none() | st.lists(st.lists(st.floats(0, 9), max_size=8), max_size=3),
                "bbox": st.none() | st.lists(st.integers(-3, 30), max_size=5),
                "extra": st.text(alphabet='},{["]:a\\ \n', max_size=12),
            },
        ),
        max_size=60,
    ),
    st.integers(120, 900),
)
def test_any_annotations_give_the_same_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotations: list[dict[str, Any]], piece: int
) -> None:
    monkeypatch.setattr(json_file, "_PIECE", piece)
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco(*annotations, images=IMAGES)))
    assert_same(path)
