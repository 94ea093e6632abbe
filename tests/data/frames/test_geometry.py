"""Masks moved into the frame of their images, against planes moved pixel by pixel."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import masks
from segtrain.data.frames.geometry import ORIENTATIONS, Geometry

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.sampled_from(sorted(ORIENTATIONS)), st.booleans())
def test_masks_move_as_their_planes(seed: int, orientation: str, empty: bool) -> None:
    rng = np.random.default_rng(seed)
    frame, size = rng.integers(1, 12, 2), rng.integers(1, 12, 2)
    geometry = Geometry(
        orientation, scale=tuple(rng.uniform(0.3, 3, 2).tolist()), shift=tuple(rng.uniform(-4, 4, 2).tolist())
    )
    plane = np.zeros(frame, dtype=bool) if empty else rng.random(frame) < 0.5
    found = masks.decode(geometry.rle(masks.encode(plane), tuple(size.tolist()), np.zeros(4)))

    expected = np.zeros(size, dtype=bool)
    ends = geometry.points(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), size[None], frame[None], np.zeros((1, 4)))
    to_image = np.stack([ends[1] - ends[0], ends[2] - ends[0]], axis=1)
    for y, x in np.ndindex(*size):
        source = np.floor(np.linalg.solve(to_image, np.array([x + 0.5, y + 0.5]) - ends[0])).astype(int)
        if (source >= 0).all() and source[0] < frame[1] and source[1] < frame[0]:
            expected[y, x] = plane[source[1], source[0]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", ["mirrored horizontally", "turned by 90 degrees clockwise"])
def test_the_stated_size_takes_no_memory(orientation: str) -> None:
    size = (100, 2**24)
    started = time.perf_counter()
    moved = Geometry(orientation).rle(masks.from_box([10, 20, 30, 40], size), size, np.zeros(4))
    assert time.perf_counter() - started < 1
    assert masks.area([moved]).tolist() == [1200]
