"""Figures of a data set for the page of a check: sizes, objects per image, and positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from segtrain.arrays import FloatArray
from segtrain.data.coco.index import CocoIndex
from segtrain.report.charts import svg_tag

_CELLS = 16  # of the map of positions, along each side
_MOST_BOXES = 200_000  # whose positions are mapped; more would take seconds
_SIDE = 320.0  # pixels of the map


@dataclass(frozen=True)
class Bin:
    """Row of a histogram: its range, the number of entries, and their share of the largest row in percent."""

    name: str
    count: int
    width: float


@dataclass(frozen=True)
class DataFigures:
    """Figures of a data set.

    Attributes:
        sizes: objects by the square root of their area in pixels.
        crowding: images by their number of objects.
        positions: map of the centres of the boxes; None without boxes.
    """

    sizes: Sequence[Bin]
    crowding: Sequence[Bin]
    positions: Markup | None

    @classmethod
    def of(cls, index: CocoIndex) -> "DataFigures":
        """Compute the figures of the true objects of a data set."""
        rows = index.annotations.rows
        rows = rows[rows["usable"] & ~rows["crowd"]]
        sides = np.sqrt(rows["area"])
        return cls(octaves(sides[sides > 0]), octaves(index.objects_per_image), _positions(index, rows))


def octaves(values: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> list[Bin]:
    """Count values in ranges whose ends double: below 1, from 1 to below 2, from 2 to below 4, ...

    >>> [(row.name, row.count) for row in octaves(np.array([0, 1, 2, 3, 9]))]
    [('0', 1), ('1', 1), ('2 to 3', 2), ('4 to 7', 0), ('8 to 15', 1)]
    """
    if not len(values):
        return []
    numbers = np.floor(np.log2(np.maximum(values, 0.5))).astype(np.int64)
    first, last = int(numbers.min()), int(numbers.max())
    counts = np.bincount(numbers - first, minlength=last - first + 1).tolist()
    ends = [(2**number if number >= 0 else 0, 2 ** (number + 1) - 1) for number in range(first, last + 1)]
    names = [str(low) if low >= high else f"{low:,} to {high:,}" for low, high in ends]
    return [Bin(name, count, round(100 * count / max(counts), 1)) for name, count in zip(names, counts, strict=True)]


def _positions(index: CocoIndex, rows: npt.NDArray[np.void]) -> Markup | None:
    """Draw the density of the centres of boxes, relative to their image."""
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST_BOXES)).astype(np.int64)]
    boxes = index.annotations.valid_boxes(rows, index.images)
    known = np.isfinite(boxes).all(axis=1)
    if not known.any():
        return None
    sizes = np.array(index.images.sizes, dtype=np.float64)[rows["image"][known]]
    centres: FloatArray = (boxes[known, :2] + boxes[known, 2:] / 2) / sizes[:, ::-1]
    cells = np.clip((centres * _CELLS).astype(np.int64), 0, _CELLS - 1)
    counts = np.bincount(cells[:, 1] * _CELLS + cells[:, 0], minlength=_CELLS**2).reshape(_CELLS, _CELLS)
    side, most = _SIDE / _CELLS, int(counts.max())
    drawn = [
        svg_tag(
            "rect", svg_tag("title", Markup(f"{counts[row, column]:,} objects")),
            x=column * side, y=row * side, width=side, height=side,
            style=f"fill: var(--m0); fill-opacity: {counts[row, column] / most:.3f}",
        )
        for row in range(_CELLS) for column in range(_CELLS)
    ]  # fmt: skip
    frame = svg_tag("rect", x=0.0, y=0.0, width=_SIDE, height=_SIDE, style="fill: none; stroke: var(--soft)")
    return svg_tag(
        "svg", *drawn, frame, class_="figure", style=f"max-width: {_SIDE:.0f}px",
        viewBox=f"0 0 {_SIDE:.0f} {_SIDE:.0f}", role="img",
        aria_label=f"Positions of {known.sum():,} objects in their images.",
    )  # fmt: skip
