"""Segmentations, boxes and numbers in forms of other tools: rewritten where they have one meaning, else left alone."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import masks
from segtrain.masks.forms import usual_box, usual_form, usual_number

SIZE = (12, 20)
RING = [2.0, 2.0, 6.0, 2.5, 6.0, 5.0, 2.0, 5.0]
PAIRS = [[2.0, 2.0], [6.0, 2.5], [6.0, 5.0], [2.0, 5.0]]
SQUARE = [9.0, 1.0, 12.0, 1.0, 12.0, 4.0]
SQUARE_PAIRS = [[9.0, 1.0], [12.0, 1.0], [12.0, 4.0]]
BLOB = np.zeros(SIZE, dtype=np.bool_)
BLOB[3:9, 5:8] = BLOB[4, 8:15] = True
RLE: Any = masks.encode(BLOB)
RUNS = masks.counts_of(RLE).tolist()
BOX = [5.0, 3.0, 10.0, 6.0]


@pytest.mark.parametrize(
    "written",
    [
        RING,
        PAIRS,
        [PAIRS],
        [[RING]],
        [[[[x, y]] for x, y in PAIRS]],
        [{"x": x, "y": y} for x, y in PAIRS],
        [[{"x": x, "y": y} for x, y in PAIRS]],
        [list(map(str, RING))],
        list(map(str, RING)),
        json.dumps([RING]),
        json.dumps(PAIRS),
        [json.dumps(RING)],
        {"all_points_x": RING[::2], "all_points_y": RING[1::2], "name": "polygon"},
        {"x": RING[::2], "y": RING[1::2]},
        str([tuple(pair) for pair in PAIRS]),
        " ".join(f"{x},{y}" for x, y in PAIRS),
        ";".join(f"{x},{y}" for x, y in PAIRS),
    ],
    ids=lambda written: json.dumps(written)[:40],
)
def test_one_outline_in_any_form_is_a_list_of_polygons(written: Any) -> None:
    found, form = usual_form(written, SIZE)
    assert found == [RING]
    assert form


@pytest.mark.parametrize(
    "written",
    [
        str({"size": list(SIZE), "counts": RLE["counts"].encode()}),
        str({"size": SIZE, "counts": RLE["counts"]}),
        {"size": list(SIZE), "counts": " ".join(map(str, RUNS))},
    ],
    ids=["bytes", "text", "numbers"],
)
def test_run_lengths_in_a_text_are_read(written: Any) -> None:
    found, form = usual_form(written, SIZE)
    assert np.array_equal(masks.decode(masks.from_runs(masks.counts_of(found) if isinstance(found["counts"], str)
                          else np.array(found["counts"]), SIZE)), BLOB)  # fmt: skip
    assert form


@pytest.mark.parametrize(
    "text", ["1,2 3,4", "1,2,3 4,5,6", "a,b c,d e,f", "(1, 2", "{1: [", "[open('x')]", "1 2 3 4 5 6"]
)
def test_other_texts_stay(text: str) -> None:
    assert usual_form(text, SIZE) == (text, None)


def test_a_plane_is_a_mask_and_no_polygons() -> None:
    plane = BLOB.astype(int).tolist()
    assert usual_form(plane, SIZE) == (RLE, "a plane of 0 and 1")
    assert usual_form(json.dumps(plane), SIZE) == (RLE, "json inside a text")
    for other in (plane[1:], [[2, *row[1:]] for row in plane]):
        assert usual_form(other, SIZE) == (other, None)


@pytest.mark.parametrize(
    "written", [[PAIRS, SQUARE_PAIRS], [[RING, SQUARE]], json.dumps([PAIRS, SQUARE_PAIRS])], ids=str
)
def test_several_outlines_stay_several(written: Any) -> None:
    assert usual_form(written, SIZE)[0] == [RING, SQUARE]


@pytest.mark.parametrize(
    "written",
    [
        [RLE],
        {**RLE, "counts": repr(RLE["counts"].encode())},
        {**RLE, "counts": list(RLE["counts"].encode())},
        {**RLE, "size": "[12, 20]"},
        {**RLE, "size": ["12", "20"]},
        {"counts": RLE["counts"]},
        RLE["counts"],
        json.dumps(RLE),
        json.dumps({"size": list(SIZE), "counts": RUNS}),
        {"size": list(SIZE), "counts": json.dumps(RUNS)},
        {"size": list(SIZE), "counts": list(map(str, RUNS))},
        {"size": list(SIZE), "counts": list(map(float, RUNS))},
        {"counts": RUNS},
    ],
    ids=lambda written: json.dumps(written)[:40],
)
def test_run_lengths_in_any_form_are_the_same_mask(written: Any) -> None:
    found, form = usual_form(written, SIZE)
    assert form
    assert found["size"] == list(SIZE)
    assert found["counts"] in (RLE["counts"], RUNS)


def test_a_swapped_size_is_read_as_the_box_says() -> None:
    transposed = masks.encode(BLOB.T)
    wrongly_named = {"size": [20, 12], "counts": RLE["counts"]}
    for written in (transposed, wrongly_named):
        found, form = usual_form(written, SIZE, BOX)
        assert form == "run lengths with the size [width, height]"
        assert np.array_equal(masks.decode(found), BLOB)
        assert usual_form(written, SIZE) == (written, None)
        assert usual_form(written, SIZE, [0, 0, 2, 2]) == (written, None)


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [[]],
        [None],
        "",
        "x",
        "12 3 4 5",
        "[1, 2",
        '"[1]"',
        "1e999",
        5,
        {},
        [RING],
        [RING, [1.0, 2.0]],
        [[1.0, 2.0], RING],
        [RING, SQUARE[:5]],
        [RING, None],
        RLE,
        {"size": list(SIZE), "counts": RUNS},
        {"size": list(SIZE), "counts": "b'\\xff'"},
        {"size": list(SIZE), "counts": "b'unclosed"},
        {"size": list(SIZE), "counts": "[1, 2"},
        {"size": [7, 7], "counts": RUNS},
        {"size": list(SIZE)},
        {"counts": [1, 2, 3]},
        [RLE, RLE],
        [["NaN", 1, 2, 3, 4, 5]],
        [[True, 1, 2, 3, 4, 5]],
        {"x": [1, 2], "y": [1, 2]},
        {"x": [1, 2, 3], "y": [1, 2]},
        [[[[[[[[1, 2, 3, 4, 5, 6]]]]]]]],
    ],
    ids=lambda segmentation: repr(segmentation)[:40],
)  # fmt: skip
def test_what_is_usual_or_unclear_is_left_alone(segmentation: Any) -> None:
    assert usual_form(segmentation, SIZE, BOX) == (segmentation, None)


rings = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 12)), min_size=3, max_size=8)
garbage = st.recursive(
    st.none() | st.integers() | st.floats() | st.booleans() | st.text(max_size=6) | st.just(RLE["counts"]),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.sampled_from(["x", "y", "size", "counts", "all_points_x", "all_points_y"]), inner)
        | inner.map(lambda value: json.dumps(value))
    ),
    max_leaves=20,
)


@given(st.lists(rings, min_size=1, max_size=3))
def test_every_form_of_polygons_has_their_meaning(outlines: list[list[tuple[int, int]]]) -> None:
    plain = [[number for point in outline for number in point] for outline in outlines]
    for written in (
        [[list(point) for point in outline] for outline in outlines],
        [[{"x": x, "y": y} for x, y in outline] for outline in outlines],
        [[str(number) for number in ring] for ring in plain],
        [plain],
        json.dumps(plain),
    ):
        assert usual_form(written, SIZE)[0] == plain
    assert usual_form(plain, SIZE) == (plain, None)


@given(garbage, st.none() | st.just(BOX))
def test_nothing_raises(segmentation: Any, box: list[float] | None) -> None:
    found, form = usual_form(segmentation, SIZE, box)
    if form is None:
        assert found is segmentation
    usual_box(segmentation)
    usual_number(segmentation)


@pytest.mark.parametrize(
    ("written", "box"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        (["1", "2.5", 3, 4], [1, 2.5, 3, 4]),
        ("[1, 2, 3, 4]", [1, 2, 3, 4]),
        ([[1, 2, 3, 4]], [1, 2, 3, 4]),
        ({"x": 1, "y": 2, "width": 3, "height": 4}, [1, 2, 3, 4]),
        ({"h": "4", "w": 3, "x": 1, "y": 2}, [1, 2, 3, 4]),
        ({"left": 1, "top": 2, "width": 3, "height": 4}, [1, 2, 3, 4]),
        ({"xmin": 1, "ymin": 2, "xmax": 4, "ymax": 6}, [1, 2, 3, 4]),
        ({"x1": 1, "y1": 2, "x2": 4, "y2": 6}, [1, 2, 3, 4]),
        ([[1, 2], [3, 4]], None),
        ([1, 2, 3], None),
        ([1, 2, "c", 4], None),
        ([1, 2, float("nan"), 4], None),
        ({"x": 1, "y": 2}, None),
        ("1, 2, 3, 4", None),
        (None, None),
    ],
    ids=str,
)
def test_boxes(written: Any, box: list[float] | None) -> None:
    assert usual_box(written) == box
