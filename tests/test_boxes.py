"""Overlapping boxes, against all pairs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segtrain import boxes

# Whole numbers touch often; sides are often 0, and rarely negative.
corners = st.one_of(st.integers(0, 8).map(float), st.floats(0, 1e4))
sides = st.one_of(st.integers(-1, 6).map(float), st.floats(0, 1e4), st.sampled_from([1e-9, 1e9, np.nan, np.inf]))


def lists(count: int) -> st.SearchStrategy[np.ndarray]:
    return st.tuples(
        hnp.arrays(float, (count, 2), elements=corners), hnp.arrays(float, (count, 2), elements=sides)
    ).map(lambda parts: np.concatenate([parts[0], parts[0] + parts[1]], axis=1))


@given(st.data())
def test_overlapping_boxes_are_those_of_all_pairs(data: st.DataObject) -> None:
    counts = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 12))
    first, second = (data.draw(lists(count)) for count in counts)
    groups = [data.draw(hnp.arrays(int, count, elements=st.integers(-1, 1))) for count in counts]
    with np.errstate(invalid="ignore"):
        area = boxes.shared_area(first[:, None], second)
    finite = np.isfinite(first).all(axis=1)[:, None] & np.isfinite(second).all(axis=1)
    expected = np.argwhere((area > 0) & finite & (groups[0][:, None] == groups[1]))
    found = np.stack(boxes.overlapping(first, second, *groups), axis=1)
    np.testing.assert_array_equal(found, expected)


def test_many_boxes_take_no_table_of_all_pairs() -> None:
    corner = np.stack(np.meshgrid(np.arange(300.0), np.arange(300.0)), axis=-1).reshape(-1, 2)
    squares = np.concatenate([corner, corner + 1], axis=1)
    group = np.zeros(len(squares), dtype=int)
    one, other = boxes.overlapping(squares, squares, group, group)
    assert np.array_equal(one, np.arange(90_000))
    assert np.array_equal(other, np.arange(90_000))
