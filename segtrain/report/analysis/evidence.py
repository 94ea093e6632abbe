"""What one row's detections have to do with the true objects, in the words that explain a 0."""

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, Literal

from segtrain import masks
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.metrics.box_formats import AS_WRITTEN, BoxFormatMismatch, box_format_mismatch
from segtrain.report.analysis.shortfall import DECIDED, Kind, shortfall

Origin = Literal["file", "learned", "classical"]


class Evidence:
    """One row against the truth, all categories made one; everything is computed when it is asked for.

    Args:
        detections: what the row found.
        ground_truth: the truth.
        max_dets: detections per image that AP and AR use.
        origin: who found it: "file", "learned" or "classical".
    """

    def __init__(self, detections: Detections, ground_truth: GroundTruthSet, max_dets: int, origin: Origin) -> None:
        self._findings, self._ground_truth = detections.class_agnostic(), ground_truth.class_agnostic()
        self._max_dets, self._origin = max_dets, origin
        self._real = [truth for truth in self._ground_truth.truths if not truth["iscrowd"]]

    def defect(self, key: str) -> str:
        """What keeps a number at 0 whatever the quality: no detection that counts, or none that is read rightly."""
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
        return self._empty_masks(kind) or self.misread(kind)

    def shortfall(self, keys: Collection[str]) -> str:
        """How little was found, in one sentence for all numbers that are 0 or next to 0 without a defect."""
        return shortfall(keys, self._findings, self._ground_truth, self._max_dets)

    def misread(self, kind: Kind) -> str:
        """How the boxes of a file must be read to fit; nothing if they fit or nothing helps."""
        if self._origin != "file":
            return ""
        way = self._box_reading if kind == "bbox" else self._mask_reading
        return _reading(way, kind) if way else ""

    @cached_property
    def _box_reading(self) -> BoxFormatMismatch | None:
        return box_format_mismatch(self._real, self._found("bbox"), self._ground_truth.sizes)

    @cached_property
    def _mask_reading(self) -> BoxFormatMismatch | None:
        return box_format_mismatch(self._real, self._found("segm"), self._ground_truth.sizes)

    def _found(self, kind: Kind) -> Sequence[Any]:
        if kind == "bbox" and self._findings.boxes is not None:
            return self._findings.boxes
        return self._findings.masks or ()

    def _nothing(self) -> str:
        number = len(self._ground_truth.sizes)
        images = f"any of the {number:,} images" if number > 1 else "the only image"
        if self._origin == "file":
            return f"the file holds no detection for {images}"
        remedy = {
            "learned": "train longer",
            "classical": "a smaller min_area or another foreground rule may find some",
        }
        return f"nothing was detected on {images}; {remedy[self._origin]}"

    def _empty_masks(self, kind: Kind) -> str:
        if kind == "bbox":
            return ""
        found = self._found(kind)
        empty = int((masks.area([record["segmentation"] for record in found]) == 0).sum())
        if 2 * empty <= len(found):
            return ""
        have = f"{empty:,} of {len(found):,} masks have no pixel" if len(found) > 1 else "the only mask has no pixel"
        remedy = "; polygons must be in pixels of the image, not in fractions of it"
        return f"{have}{remedy if self._findings.polygons else ''}"


def _reading(way: BoxFormatMismatch, kind: Kind) -> str:
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
