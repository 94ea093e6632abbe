"""What one row's detections have to do with the true objects, in the words that explain a 0."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.evaluation import Findings, Reference
from segtrain.instances import GroundTruth
from segtrain.metrics.matching import AREAS, match
from segtrain.metrics.mean_iou import pixel_counts
from segtrain.metrics.misread_boxes import AS_WRITTEN, Misreading, misreading
from segtrain.metrics.overlaps import best_overlaps

FloatArray = npt.NDArray[np.float64]
Kind = Literal["segm", "bbox"]
Origin = Literal["file", "learned", "classical"]
SIZES: Mapping[str, tuple[int, str]] = {  # key -> place in AREAS, and what objects of that size are called
    "mask_ap_small": (1, "below 32 × 32 pixels"),
    "mask_ap_medium": (2, "of 32 × 32 to 96 × 96 pixels"),
    "mask_ap_large": (3, "above 96 × 96 pixels"),
}
PIXELS = ("miou", "fg_iou", "boundary_iou")  # they need no match
PANOPTIC = ("pq", "sq", "rq")
DECIDED = ("miou", "fg_iou", "f1_50", *PANOPTIC, "boundary_iou")  # they use what reaches the score threshold


class Evidence:
    """One row against the truth, all categories made one; everything is computed when it is asked for.

    Args:
        findings: what the row found.
        reference: the truth.
        max_dets: detections per image that AP and AR use.
        origin: who found it: "file", "learned" or "classical".
    """

    def __init__(self, findings: Findings, reference: Reference, max_dets: int, origin: Origin) -> None:
        self._findings, self._reference = findings.class_agnostic(), reference.class_agnostic()
        self._max_dets, self._origin = max_dets, origin
        self._overlaps: dict[tuple[Kind, int], FloatArray] = {}
        self._ids = [category.id for category in self._reference.categories]
        self._real = [truth for truth in self._reference.truths if not truth["iscrowd"]]

    def zero(self, key: str) -> str:
        """Why a number is 0, or next to 0."""
        kind: Kind = "bbox" if key == "box_ap" else "segm"
        found = self._found(kind)
        if not found:
            return self._nothing()
        threshold = self._findings.score_threshold
        highest = max(record["score"] for record in found)
        if key in DECIDED and highest < threshold:
            return (
                f"no detection reaches the score threshold {threshold:g} (the highest score is {highest:.3g}); "
                "score_threshold=… sets a lower one"
            )
        return self._empty_masks(kind) or self.misread(kind) or self._too_far(key, kind) or self._too_few(key, kind)

    def misread(self, kind: Kind) -> str:
        """How the boxes of a file must be read to fit; nothing if they fit or nothing helps."""
        if self._origin != "file":
            return ""
        way = self._box_reading if kind == "bbox" else self._mask_reading
        return _reading(way, kind) if way else ""

    @cached_property
    def _box_reading(self) -> Misreading | None:
        return misreading(self._real, self._found("bbox"), self._reference.sizes)

    @cached_property
    def _mask_reading(self) -> Misreading | None:
        return misreading(self._real, self._found("segm"), self._reference.sizes)

    def _found(self, kind: Kind) -> Sequence[Any]:
        if kind == "bbox" and self._findings.boxes is not None:
            return self._findings.boxes
        return self._findings.masks or ()

    def _nothing(self) -> str:
        images = f"{len(self._reference.sizes):,} image{'s' if len(self._reference.sizes) > 1 else ''}"
        if self._origin == "file":
            return f"the file holds no detection for any of the {images}"
        remedy = {
            "learned": "train longer, or set a lower segmenter.min_score",
            "classical": "a smaller min_area or another foreground rule may find some",
        }
        return f"nothing was detected on any of the {images}; {remedy[self._origin]}"

    def _empty_masks(self, kind: Kind) -> str:
        if kind == "bbox":
            return ""
        found = self._found(kind)
        empty = int((masks.area([record["segmentation"] for record in found]) == 0).sum())
        if 2 * empty <= len(found):
            return ""
        return (
            f"{empty:,} of {len(found):,} masks have no pixel; polygons must be in pixels of the image, not in "
            "fractions of it"
        )

    def _too_far(self, key: str, kind: Kind) -> str:
        """No detection overlaps enough with a true object of the size that counts."""
        place, size = SIZES.get(key, (0, ""))
        overlaps = self._best_overlaps(kind, place)
        at = ""
        if key in DECIDED:
            threshold = self._findings.score_threshold
            overlaps = overlaps[[record["score"] >= threshold for record in self._found(kind)]]
            at = f" at the score threshold {threshold:g}" if threshold else ""
        best, needed = float(overlaps.max(initial=0.0)), _needed(key)
        if best >= needed and best:
            return ""
        what, true = ("box", "a true box") if kind == "bbox" else ("detection", "a true object")
        true += f" {size}" if size else ""
        if best == 0:
            return f"no {what}{at} shares a pixel with {true}"
        return (
            f"no {what}{at} overlaps {true} by {needed:.2f}: the best IoU of {len(overlaps):,} "
            f"detection{'s' if len(overlaps) > 1 else ''} is {best:.2f}"
        )

    def _best_overlaps(self, kind: Kind, place: int) -> FloatArray:
        if (kind, place) not in self._overlaps:
            self._overlaps[kind, place] = best_overlaps(of_size(self._real, place), self._found(kind), kind)
        return self._overlaps[kind, place]

    def _too_few(self, key: str, kind: Kind) -> str:
        """Some are right, but next to none."""
        if key in PIXELS:
            return self._pixels(key)
        place, size = SIZES.get(key, (0, ""))
        matches = match(
            self._reference.truths, self._found(kind), image_ids=list(self._reference.sizes), category_ids=self._ids,
            iou_type=kind, thresholds=np.array([_needed(key)]), areas=AREAS[place : place + 1],
        )  # fmt: skip
        decided = key in DECIDED
        taken = matches.score >= self._findings.score_threshold if decided else matches.rank < self._max_dets
        counted = taken & ~matches.ignored[0, 0]
        right = int((matches.truth[0, 0, counted] >= 0).sum())
        among = f"{int(counted.sum()):,} detections"
        if not decided and not taken.all():
            among += f" ({(~taken).sum():,} more lie beyond the {self._max_dets} that count in an image: data.max_dets)"
        objects = f"{len(of_size(self._real, place)):,} true objects{' ' + size if size else ''}"
        stricter = "; in PQ, besides, the IoU must exceed 0.50 and no pixel belongs to two objects"
        number = f"only {right:,}" if right else "none"
        found = f"{'is' if right < 2 else 'are'} found at IoU {_needed(key):.2f}"
        return f"{number} of {objects} {found}, among {among}{stricter if key in PANOPTIC else ''}"

    def _pixels(self, key: str) -> str:
        found = [record for record in self._found("segm") if record["score"] >= self._findings.score_threshold]
        counts = pixel_counts(self._reference.truths, found, category_ids=self._ids, sizes=self._reference.sizes)
        true, both, either = counts.counts.sum(axis=0)[1].tolist()
        seen = both + either - true  # pixels that were found
        shares = f"{both / max(true, 1):.1%} of the true pixels, and {1 - both / max(seen, 1):.1%} of what they cover"
        return f"detections cover {shares} is no object{', so outlines do not meet' if key == 'boundary_iou' else ''}"


def of_size(truths: Sequence[GroundTruth], place: int) -> list[GroundTruth]:
    """The true objects within one of COCO's ranges of area, ends included."""
    low, high = AREAS[place]
    return [truth for truth in truths if low <= truth["area"] <= high]


def _needed(key: str) -> float:
    """IoU from which on a detection counts for a number."""
    return 0.0 if key in PIXELS else 0.75 if key == "mask_ap75" else 0.5


def _reading(way: Misreading, kind: Kind) -> str:
    what = "boxes" if kind == "bbox" else "masks"
    head = f"{what} miss the true objects (median of the best IoU {way.before:.2f}), but "
    if way.shift:
        next_one = "next" if way.shift > 0 else "previous"
        return (
            f"{head}fit those of the {next_one} image ({way.after:.2f}); the image ids are one place off: write those "
            "of the annotation file"
        )
    parts = [] if way.layout == AS_WRITTEN else [f"read as {way.layout}"]
    if way.relative and way.factor == 1:
        parts.append("taken as fractions of the image's width and height")
    elif way.relative:
        side = f"{float(f'{1 / way.factor:.3g}'):,.0f}"  # as exact as it can be known
        parts.append(f"scaled from images of {side} × {side} pixels to the image's own size")
    elif way.factor != 1:
        parts.append(f"multiplied by {way.factor:.3g}")
    wanted = f"write {AS_WRITTEN} in pixels of the image" if kind == "bbox" else "write them in pixels of the image"
    return f"{head}fit ({way.after:.2f}) when {' and '.join(parts)}; {wanted}"
