"""Random instances as full planes: one pixel, touching, nested, identical, ragged, many; and their crops."""

import numpy as np
from hypothesis import strategies as st

from segtrain import masks
from segtrain.data.label_layers import Crops, Layers, pack, unpack

Planes = list[np.ndarray]


def scene(rng: np.random.Generator, size: tuple[int, int], count: int) -> Planes:
    """Draw at most ``count`` planes, none of them empty."""
    planes: Planes = []
    for _ in range(count):
        plane = np.zeros(size, dtype=bool)
        y, x = (int(rng.integers(side)) for side in size)
        reach = int(rng.integers(1, max(size) // 2 + 2))
        kind = rng.integers(6)
        if kind == 0:
            plane[y, x] = True
        elif kind == 1 and planes:
            plane = planes[rng.integers(len(planes))].copy()  # identical
        elif kind == 2 and planes:
            plane = np.roll(planes[rng.integers(len(planes))], 1, axis=int(rng.integers(2)))  # shifted, mostly touching
        elif kind == 3 and planes:
            plane = planes[rng.integers(len(planes))] & (rng.random(size) < 0.5)  # nested
        elif kind == 4:
            plane[y : y + reach, x : x + reach] = rng.random(plane[y : y + reach, x : x + reach].shape) < 0.7
        else:
            plane[y : y + reach, x : x + int(rng.integers(1, reach + 1))] = True
        planes += [plane] if plane.any() else []
    return planes


@st.composite
def scenes(draw: st.DrawFn, least: int = 1, most: int = 24) -> tuple[tuple[int, int], Planes]:
    size = draw(st.tuples(st.integers(least, most), st.integers(least, most)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return size, scene(rng, size, draw(st.integers(0, 14)))


def layers_of(planes: Planes, size: tuple[int, int]) -> Layers:
    return pack([masks.encode(plane) for plane in planes], size)


def left(layers: Layers, planes: list[np.ndarray] | None = None, least: int = 1) -> Crops:
    """Unpack the instances that are left in some planes, or in the layers' own."""
    count = sum(map(len, layers.owners))
    return unpack(layers.planes if planes is None else planes, layers.owners, np.full(count, least))


def assert_same(crops: Crops, planes: Planes, least: int = 1) -> None:
    """Assert that the crops are those of the planes with enough pixels: same instances, tight boxes, equal masks."""
    kept = [number for number, plane in enumerate(planes) if plane.sum() >= least and plane.any()]
    assert crops.instances.tolist() == kept
    assert len(crops) == len(crops.boxes) == len(crops.masks) == len(kept)
    for number, box, mask in zip(kept, crops.boxes.tolist(), crops.masks, strict=True):
        rows, columns = np.nonzero(planes[number])
        x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        assert box == [x0, y0, x1, y1]
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, planes[number][y0:y1, x0:x1])
