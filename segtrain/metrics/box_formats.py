"""Mismatched box formats: boxes that fit the true ones in another notation, scale or order of images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from segtrain import boxes
from segtrain.arrays import FloatArray
from segtrain.boxes import AS_WRITTEN, LAYOUTS
from segtrain.metrics.candidates import IouType
from segtrain.records import GroundTruth

Pairs = list[tuple[FloatArray, FloatArray]]  # predicted and true boxes of each image, (D, 4) and (G, 4) xywh
POOR, GOOD = 0.3, 0.5  # median IoU: of boxes as written below the first, of boxes read correctly above the second
IMAGES, EACH = 20, 50  # largest number of images, and of detections per image, that are compared
FEWEST_BOXES, FEWEST_PAIRS = 8, 10  # boxes, and pairs of neighbouring images: fewer fit by chance
WHOLE = 0.8  # share of the image; a box inside its image that covers more fits any large object
ALIKE = 0.08  # largest difference between the logarithms of a pair's four ratios


@dataclass(frozen=True)
class BoxFormatMismatch:
    """Notation in which predicted boxes fit the true ones.

    Attributes:
        layout: meaning of the four numbers; a key of ``LAYOUTS``.
        relative: True if the numbers are shares of the image's width and height instead of pixels.
        factor: further factor that the numbers must be multiplied by.
        shift: offset, in the order of ids, of the image that the boxes belong to.
        before: median over detections of the best IoU with a true box, for the boxes as written.
        after: the same median for the boxes in this notation.
    """

    layout: str
    relative: bool
    factor: float
    shift: int
    before: float
    after: float

    def describe(self, iou_type: IouType) -> str:
        """Describe the mistake and its remedy, as a sentence without capital and full stop.

        Args:
            iou_type: "segm" if masks were compared by their boxes, "bbox" for boxes of their own.
        """
        what = "boxes" if iou_type == "bbox" else "masks"
        opening = f"{what} miss the true objects (median of the best IoU {self.before:.2f}), but "
        if self.shift:
            neighbour = "next" if self.shift > 0 else "previous"
            return (
                f"{opening}fit those of the {neighbour} image ({self.after:.2f}); the image ids are shifted by one: "
                "write those of the annotation file"
            )
        parts = [] if self.layout == AS_WRITTEN else [f"read as {self.layout}"]
        if self.relative and self.factor == 1:
            parts.append("taken as fractions of the image's width and height")
        elif self.relative:
            side = f"{float(f'{1 / self.factor:.3g}'):,.0f}"  # as exact as it can be known
            parts.append(f"scaled from images of {side} × {side} pixels to the image's own size")
        elif self.factor != 1:
            parts.append(f"multiplied by {self.factor:.3g}")
        remedy = (
            f"write {AS_WRITTEN} in pixels of the image" if iou_type == "bbox" else "write them in pixels of the image"
        )
        return f"{opening}fit ({self.after:.2f}) when {' and '.join(parts)}; {remedy}"


def box_format_mismatch(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Any],
    sizes: Mapping[int, tuple[int, int]],
) -> BoxFormatMismatch | None:
    """Find the simplest notation in which most boxes fit; None if they fit as written, or in no notation.

    Only the detections with the highest scores are compared, at most as many in an image as it has true objects, and
    none that covers nearly all of it.

    Args:
        truths: true objects; crowds are left out.
        predictions: detections with ``bbox`` or mask.
        sizes: image id -> (H, W) of every image.

    >>> corners = [[8.0 * n, 4.0 * n, 8.0 * n + 6, 4.0 * n + 3] for n in range(1, 9)]  # [x1, y1, x2, y2]
    >>> truths = [{"image_id": 1, "iscrowd": 0, "bbox": [x, y, 6.0, 3.0]} for x, y, _, _ in corners]
    >>> predictions = [{"image_id": 1, "score": 0.9, "bbox": box} for box in corners]
    >>> box_format_mismatch(truths, predictions, {1: (50, 100)}).layout
    '[x1, y1, x2, y2]'
    """
    true_boxes: defaultdict[int, list[list[float]]] = defaultdict(list)
    for truth in truths:
        if not truth["iscrowd"]:
            true_boxes[truth["image_id"]].append(truth["bbox"])
    found = _best_scored(predictions, {image_id: len(own) for image_id, own in true_boxes.items()}, sizes)
    order = sorted(sizes)

    def pairs(shift: int = 0) -> tuple[list[tuple[int, int]], Pairs]:
        places = [(a, order[n + shift]) for n, a in enumerate(order) if 0 <= n + shift < len(order)]
        both = [(a, b) for a, b in places if a in found and b in true_boxes]
        both = both[:: -(-len(both) // IMAGES) or 1]
        return [sizes[a] for a, _ in both], [(found[a], np.array(true_boxes[b], dtype=np.float64)) for a, b in both]

    image_sizes, own = pairs()
    before = _fit(own)
    if before >= POOR or _count(own) < FEWEST_BOXES:
        return None
    tried: list[tuple[int, BoxFormatMismatch]] = []  # with the number of deviations from the expected notation
    for shift in (-1, 1):
        moved = pairs(shift)[1]
        if len(moved) >= FEWEST_PAIRS and _count(moved) >= FEWEST_BOXES:
            tried.append((1, BoxFormatMismatch(AS_WRITTEN, False, 1.0, shift, before, _fit(moved))))
    for (layout, read), relative in product(LAYOUTS.items(), (False, True)):
        units = [np.array([w, h, w, h]) if relative else np.ones(4) for h, w in image_sizes]
        scaled = [(read(f) * unit, t) for (f, t), unit in zip(own, units, strict=True)]
        wrong = (layout != AS_WRITTEN) + relative
        for factor in filter(None, (1.0, _common_factor(scaled))):
            after = _fit([(f * factor, t) for f, t in scaled])
            tried.append((wrong + (factor != 1.0), BoxFormatMismatch(layout, relative, factor, 0, before, after)))
    highest = max(way.after for _, way in tried)
    fitting = [(wrong, way) for wrong, way in tried if way.after >= max(GOOD, highest - 0.05)]
    return min(fitting, key=lambda entry: entry[0])[1] if fitting else None


def _best_scored(
    predictions: Sequence[Any], count: Mapping[int, int], sizes: Mapping[int, tuple[int, int]]
) -> dict[int, FloatArray]:
    """Select the boxes with the highest scores of each image, without those that cover nearly all of it."""
    every = boxes.of_predictions(predictions)
    image = np.array([sizes[p["image_id"]] for p in predictions], dtype=np.float64).reshape(-1, 2)[:, ::-1]
    inside = (every[:, :2] >= 0).all(axis=1) & (every[:, :2] + every[:, 2:] <= image).all(axis=1)
    whole = inside & (every[:, 2:].prod(axis=1) > WHOLE * image.prod(axis=1))
    numbers: defaultdict[int, list[int]] = defaultdict(list)
    for number in sorted(np.flatnonzero(~whole).tolist(), key=lambda n: -predictions[n]["score"]):
        numbers[predictions[number]["image_id"]].append(number)
    return {image_id: every[own[: min(EACH, count.get(image_id, EACH))]] for image_id, own in numbers.items()}


def _count(pairs: Pairs) -> int:
    return sum(len(found) for found, _ in pairs)


def _fit(pairs: Pairs) -> float:
    """Compute the median over all detections of the best IoU with a true box of their image; 0 without any."""
    best = [boxes.iou(found, true, np.zeros(len(true), np.bool_)).max(axis=1) for found, true in pairs if len(found)]
    return float(np.median(np.concatenate(best))) if best else 0.0


def _common_factor(pairs: Pairs) -> float | None:
    """Estimate the factor between predicted and true boxes.

    A pair of boxes votes if the ratios of both centre coordinates and both sides are alike; the factor is the median of
    the largest group of votes. None without votes, or if the factor is about 1.
    """
    votes = [np.zeros(0)]
    for found, true in pairs:
        own, real = (_logarithms(part) for part in (found, true))
        ratios = real[None] - own[:, None]
        alike = ratios.max(axis=2) - ratios.min(axis=2) < ALIKE
        votes.append(ratios.mean(axis=2)[alike])
    ratio = np.sort(np.concatenate(votes))
    if not len(ratio):
        return None
    within = np.searchsorted(ratio, ratio + ALIKE) - np.arange(len(ratio))
    start = int(within.argmax())
    factor = float(np.exp(np.median(ratio[start : start + within[start]])))
    return None if abs(np.log(factor)) < ALIKE else factor


def _logarithms(xywh: FloatArray) -> FloatArray:
    """Compute the logarithms of centre and sides, (N, 4), of the boxes where all four are positive."""
    values = np.concatenate([xywh[:, :2] + xywh[:, 2:] / 2, xywh[:, 2:]], axis=1)
    result: FloatArray = np.log(values[(values > 0).all(axis=1)])
    return result
