"""Label layers hold any instances, and give them back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrain.data.layers import Crop, pack, unpack


def tight(plane: np.ndarray) -> Crop:
    """The crop of a full plane that holds at least one pixel."""
    rows, columns = np.nonzero(plane)
    window = plane[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return Crop(window.astype(np.uint8), int(columns.min()), int(rows.min()))


@st.composite
def instances(draw: st.DrawFn) -> tuple[tuple[int, int], list[Crop]]:
    size = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    crops = []
    for _ in range(draw(st.integers(0, 12))):
        plane = np.zeros(size, dtype=bool)
        y, x = random.integers(0, size)
        plane[y : y + random.integers(1, 12), x : x + random.integers(1, 12)] = True
        plane &= random.random(size) < 0.8
        plane[y, x] = True
        crops.append(tight(plane))
    return size, crops


@settings(max_examples=200, deadline=None)
@given(instances())
def test_round_trip(drawn: tuple[tuple[int, int], list[Crop]]) -> None:
    size, crops = drawn
    layers = pack(crops, size)
    found = unpack(layers.planes, layers.owners)
    assert list(found) == list(range(len(crops)))
    for crop, back in zip(crops, found.values(), strict=True):
        assert back.box == crop.box
        assert np.array_equal(back.mask, crop.mask)
        assert back.mask.dtype == np.uint8
    depth = np.zeros(size, dtype=int)
    for crop in crops:
        x0, y0, x1, y1 = crop.box
        depth[y0:y1, x0:x1] += crop.mask
    assert depth.max(initial=0) <= len(layers.planes) <= len(crops)


def test_apart_instances_share_a_plane_up_to_255() -> None:
    crops = [Crop(np.ones((1, 1), np.uint8), x=n % 30, y=n // 30) for n in range(600)]
    layers = pack(crops, (20, 30))
    assert [len(owners) for owners in layers.owners] == [255, 255, 90]
    assert len(unpack(layers.planes, layers.owners)) == 600


def test_what_is_gone_is_left_out() -> None:
    crops = [Crop(np.ones((2, 2), np.uint8), x, 0) for x in (0, 4, 8)]
    layers = pack(crops, (4, 10))
    found = unpack([plane[:, 5:] for plane in layers.planes], layers.owners)
    assert [(n, crop.box) for n, crop in found.items()] == [(1, (0, 0, 1, 2)), (2, (3, 0, 5, 2))]
    assert unpack([], []) == {}
