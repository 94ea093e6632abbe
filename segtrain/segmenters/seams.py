"""Instances of overlapping windows joined into those of the whole image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segtrain import masks
from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.masks import PackedRles, sweep
from segtrain.masks.placing import pixels_inside, placed
from segtrain.records import Instances
from segtrain.segmenters.windows import WindowGrid

SAME_IOU = 0.5  # least IoU, in what two windows share, of two views of an object
SAME_IOS = 0.7  # least share of the smaller view inside the other one, if the edge of its window cuts it
_EDGE = 1  # pixels from the edge of its window within which an instance counts as cut


@dataclass(frozen=True)
class _Views:
    """Instances of a window in the frame of the image: `found` with `rles` of the image's size.

    Attributes:
        first: number of the first one among the instances of all windows.
        found: instances in the frame of the window.
        rles: masks of the image's size.
        bounds: (N, 4) xyxy of the masks in the image; of an empty mask that of the box.
        cut: (N,) true where the edge of the window cuts the instance.
        held: (N,) true where the window's core holds the centre of the instance.
    """

    first: int
    found: Instances
    rles: PackedRles
    bounds: FloatArray
    cut: BoolArray
    held: BoolArray

    def meeting(self, box: tuple[int, int, int, int]) -> IntArray:
        """Return the indices of instances that reach into a rectangle."""
        x0, y0, x1, y1 = box
        left, top, right, bottom = self.bounds.T
        return np.flatnonzero((left < x1) & (right > x0) & (top < y1) & (bottom > y0))


class SeamJoiner:
    """Collector of the instances of all windows of an image, which joins the views of objects that several show.

    Two instances of overlapping windows are views of one object if they have the same label, and agree in the part that
    both windows show: their IoU there is at least `SAME_IOU`, or the one that its window cuts lies inside the other by
    `SAME_IOS`. Of the views of an object the first choice is one that its window shows completely, then one that the
    window's core holds, then the highest score. If all views are cut, the object is their union with the highest score.
    An instance without a second view is kept by the window whose core holds its centre, and dropped by others.

    Args:
        grid: windows of the image.
    """

    def __init__(self, grid: WindowGrid) -> None:
        self._grid = grid
        self._views: list[_Views] = []
        self._pairs: list[IntArray] = []  # (P, 2) numbers of views of one object
        self._complete_above = 0.0

    def add(self, found: Instances) -> None:
        """Add the instances of the next window, row by row.

        Args:
            found: instances in the frame of the window.
        """
        number = len(self._views)
        first = self._views[-1].first + len(self._views[-1].found) if self._views else 0
        views = _views(self._grid, number, found, first)
        self._complete_above = max(self._complete_above, found.complete_above)
        for other in self._grid.before(number):
            self._pairs.append(self._same(number, views, other))
        self._views.append(views)

    def _same(self, number: int, views: _Views, other_number: int) -> IntArray:
        """Find the instances of two windows that are views of one object, each with at most one partner: (P, 2)."""
        other = self._views[other_number]
        window, other_window = self._grid[number], self._grid[other_number]
        own, theirs = views.meeting(other_window), other.meeting(window)
        if not len(own) or not len(theirs):
            return np.zeros((0, 2), dtype=np.int64)
        own_rles, their_rles = views.rles.where(own), other.rles.where(theirs)
        met = masks.overlaps(own_rles, their_rles)
        mine, yours = own[met.first], theirs[met.second]
        sizes = pixels_inside(own_rles, other_window)[met.first], pixels_inside(their_rles, window)[met.second]
        iou = met.pixels / (sizes[0] + sizes[1] - met.pixels)
        ios = met.pixels / np.minimum(*sizes)
        smaller_is_cut = np.where(sizes[0] < sizes[1], views.cut[mine], other.cut[yours])
        agree = (iou >= SAME_IOU) | ((ios >= SAME_IOS) & smaller_is_cut)
        agree &= views.found.labels[mine] == other.found.labels[yours]
        chosen = np.flatnonzero(agree)
        chosen = chosen[_best_of_both(mine[chosen], yours[chosen], iou[chosen])]
        return np.stack([mine[chosen] + views.first, yours[chosen] + other.first], axis=1)

    def joined(self) -> Instances:
        """Join what was added, best first."""
        every = _Columns.joined([_Columns.of(own) for own in self._views])
        objects = _components(len(every.scores), np.concatenate([np.zeros((0, 2), np.int64), *self._pairs]))
        order = np.lexsort((-every.scores, ~every.held, every.cut, objects))
        best = order[np.flatnonzero(np.diff(objects[order], prepend=-1))]  # view of each object
        alone = np.bincount(objects)[objects[best]] == 1
        kept = ~alone | every.held[best]
        best, alone = best[kept], alone[kept]
        whole = best[alone | ~every.cut[best]]
        parts = np.flatnonzero(np.isin(objects, np.setdiff1d(objects[best], objects[whole])))
        united = every.where(parts).united(objects[parts], self._grid.size)
        found = _Columns.joined([every.where(whole), united])
        order = np.argsort(-found.scores, kind="stable")
        return found.where(order).instances(self._grid.size, self._complete_above)


class _Columns(NamedTuple):
    """Instances of several windows in the frame of the image, by column; see `_Views` and `Instances`."""

    boxes: npt.NDArray[np.float32]
    predicted_boxes: npt.NDArray[np.float32] | None
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    rles: PackedRles
    cut: BoolArray
    held: BoolArray

    @classmethod
    def of(cls, views: _Views) -> "_Columns":
        """Take the instances of a window, whose boxes are in the frame of the image already."""
        own = views.found
        return cls(own.boxes, own.predicted_boxes, own.labels, own.scores, views.rles, views.cut, views.held)

    @classmethod
    def joined(cls, parts: Sequence["_Columns"]) -> "_Columns":
        """Concatenate several groups of instances."""
        predicts = any(own.predicted_boxes is not None for own in parts)
        predicted = [own.boxes if own.predicted_boxes is None else own.predicted_boxes for own in parts]
        return cls(
            np.concatenate([own.boxes for own in parts]),
            np.concatenate(predicted) if predicts else None,
            np.concatenate([own.labels for own in parts]),
            np.concatenate([own.scores for own in parts]),
            PackedRles.joined(own.rles for own in parts),
            np.concatenate([own.cut for own in parts]),
            np.concatenate([own.held for own in parts]),
        )

    def where(self, chosen: IntArray) -> "_Columns":
        """Select instances by index."""
        predicted = None if self.predicted_boxes is None else self.predicted_boxes[chosen]
        own = self.labels[chosen], self.scores[chosen], self.rles.where(chosen), self.cut[chosen], self.held[chosen]
        return _Columns(self.boxes[chosen], predicted, *own)

    def united(self, objects: IntArray, size: tuple[int, int]) -> "_Columns":
        """Unite the views of each object.

        Args:
            objects: (N,) number of each instance's object.
            size: (H, W) of the image.
        """
        if not len(objects):
            return self
        _, first, number = np.unique(objects, return_index=True, return_inverse=True)
        count = len(first)
        mask, starts, stops = self.rles.runs()
        mask, starts, stops = sweep.merged((number[mask], starts, stops), size[0] * size[1])
        flips = np.stack([starts, stops], axis=1).reshape(-1)
        scores = np.zeros(count, dtype=np.float32)
        np.maximum.at(scores, number, self.scores)
        return _Columns(
            _around(self.boxes, number, count),
            None if self.predicted_boxes is None else _around(self.predicted_boxes, number, count),
            self.labels[first],
            scores,
            masks.pack_flips(flips, np.repeat(mask, 2), count, size),
            self.cut[first],
            self.held[first],
        )

    def instances(self, size: tuple[int, int], complete_above: float) -> Instances:
        """Return the instances of an image of this size."""
        return Instances(size, self.boxes, self.labels, self.scores, self.rles, self.predicted_boxes, complete_above)


def _views(grid: WindowGrid, number: int, found: Instances, first: int) -> _Views:
    """Move the instances of a window into the frame of the image, and see where they lie in the window."""
    window, core = grid[number], grid.core(number)
    corner = np.array([window.x0, window.y0] * 2, dtype=np.float32)
    rles = placed(PackedRles.of(found.rles), (window.x0, window.y0), grid.size)
    moved = Instances(
        grid.size, found.boxes + corner, found.labels, found.scores, rles,
        None if found.predicted_boxes is None else found.predicted_boxes + corner,
    )  # fmt: skip
    bounds = masks.boxes(rles)
    bounds = np.where(bounds[:, 2:].any(axis=1, keepdims=True), bounds, moved.boxes)
    reach = np.stack(
        [bounds[:, 0] - window.x0, bounds[:, 1] - window.y0, window.x1 - bounds[:, 2], window.y1 - bounds[:, 3]]
    )
    cut: BoolArray = np.logical_or.reduce((reach <= _EDGE) & grid.inner_edges(number)[:, None])
    x, y = (bounds[:, :2] + bounds[:, 2:]).T / 2
    held = (x >= core.x0) & (x < core.x1) & (y >= core.y0) & (y < core.y1)
    return _Views(first, moved, rles, bounds, cut, held)


def _best_of_both(first: IntArray, second: IntArray, value: FloatArray) -> IntArray:
    """Return the indices of pairs of which no partner has a better pair."""
    order = np.argsort(-value, kind="stable")
    best = [order[np.unique(side[order], return_index=True)[1]] for side in (first, second)]
    both: IntArray = np.intersect1d(best[0], best[1])
    return both


def _components(count: int, pairs: IntArray) -> IntArray:
    """Number the objects: instances that pairs connect have one number, (``count``,)."""
    ones = np.ones(len(pairs), dtype=np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _around(boxes: npt.NDArray[np.float32], number: IntArray, count: int) -> npt.NDArray[np.float32]:
    """Return the box around the boxes of each number, (``count``, 4)."""
    around = np.tile(np.array([np.inf, np.inf, -np.inf, -np.inf], dtype=np.float32), (count, 1))
    np.minimum.at(around[:, :2], number, boxes[:, :2])
    np.maximum.at(around[:, 2:], number, boxes[:, 2:])
    return around
