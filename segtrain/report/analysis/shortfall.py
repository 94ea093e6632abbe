"""How little of the truth a row found, in one sentence for all its numbers that are 0."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.metrics.matching import AREAS, Matches, match, max_iou
from segtrain.metrics.mean_iou import pixel_counts
from segtrain.records import GroundTruth

Kind = Literal["segm", "bbox"]
SIZES: Mapping[str, tuple[int, str]] = {  # key -> place in AREAS, and what objects of that size are called
    "mask_ap_small": (1, "below 32 × 32 pixels"),
    "mask_ap_medium": (2, "of 32 × 32 to 96 × 96 pixels"),
    "mask_ap_large": (3, "above 96 × 96 pixels"),
}
PIXELS = ("miou", "fg_iou", "boundary_iou")  # they need no match
PANOPTIC = ("pq", "sq", "rq")
DECIDED = ("miou", "fg_iou", "f1_50", *PANOPTIC, "boundary_iou")  # they use what reaches the score threshold
_IOUS = (0.5, 0.75)
# One key for all that count the same objects and detections, in the order of the sentence.
_COUNTED = ("mask_ap", "mask_ap75", *SIZES, "box_ap", "f1_50")
_SAME = {"mask_ap50": "mask_ap", "mask_ar": "mask_ap", **dict.fromkeys(PANOPTIC, "f1_50")}


@dataclass(frozen=True)
class _Count:
    """What a number counts.

    Attributes:
        key: the number.
        objects: true objects of the size that counts.
        found: those of them that a detection is matched to.
        detections: that count.
        beyond: detections that come behind the most that an image may have.
        best: the best IoU of a detection that counts with such an object.
    """

    key: str
    objects: int
    found: int
    detections: int
    beyond: int
    best: float

    @property
    def needed(self) -> float:
        """IoU from which on a detection counts."""
        return _IOUS[self.key == "mask_ap75"]


def shortfall(keys: Collection[str], detections: Detections, ground_truth: GroundTruthSet, max_dets: int) -> str:
    """Why these numbers are 0, or next to 0, although there are detections.

    Args:
        keys: of a track of ``results.json``; at least one.
        detections: what the row found; all categories made one.
        ground_truth: the truth; all categories made one.
        max_dets: detections per image that AP and AR use.
    """
    wanted = {_SAME.get(key, key) for key in keys}
    counts = _counts([key for key in _COUNTED if key in wanted], detections, ground_truth, max_dets)
    threshold = detections.score_threshold
    said = [_first(counts[0], threshold, max_dets)] if counts else []
    # Where nothing at all is found, nothing of a size is either.
    nothing = bool(counts) and counts[0].key == "mask_ap" and not counts[0].found
    for count in counts[1:]:
        told = replace(count, key=counts[0].key) == counts[0] and count.needed == counts[0].needed
        if count.key == "box_ap" or not (told or (nothing and not count.found)):
            said.append(_further(count, threshold))
    if "f1_50" not in keys and any(key in PANOPTIC for key in keys):
        said.append("in PQ, besides, the IoU must exceed 0.50 and no pixel belongs to two objects")
    apart = nothing and counts[0].best == 0
    if not apart and any(key in PIXELS for key in keys):
        said.append(_pixels(detections, ground_truth, outlines="boundary_iou" in keys))
    return "; ".join(said) or "the detections that count have next to nothing in common with the true objects"


def of_size(truths: Sequence[GroundTruth], place: int) -> list[GroundTruth]:
    """The true objects within one of COCO's ranges of area, ends included."""
    low, high = AREAS[place]
    return [truth for truth in truths if low <= truth["area"] <= high]


def _counts(keys: Sequence[str], detections: Detections, ground_truth: GroundTruthSet, max_dets: int) -> list[_Count]:
    real = [truth for truth in ground_truth.truths if not truth["iscrowd"]]
    matched: dict[Kind, Matches] = {}
    counts = []
    for key in keys:
        kind: Kind = "bbox" if key == "box_ap" else "segm"
        found: Any = detections.boxes if kind == "bbox" and detections.boxes is not None else detections.masks
        if kind not in matched:
            matched[kind] = match(
                ground_truth.truths, found, image_ids=list(ground_truth.sizes),
                category_ids=[category.id for category in ground_truth.categories], iou_type=kind,
                thresholds=np.array(_IOUS), areas=AREAS,
            )  # fmt: skip
        matches, place = matched[kind], SIZES.get(key, (0, ""))[0]
        strict = int(key == "mask_ap75")
        decided = key in DECIDED
        taken = matches.score >= detections.score_threshold if decided else matches.rank < max_dets
        counted = taken & ~matches.ignored[strict, place]
        objects = of_size(real, place)
        overlaps = max_iou(objects, [found[n] for n in matches.record[taken]], kind)
        counts.append(
            _Count(
                key,
                objects=len(objects),
                found=int((matches.truth[strict, place, counted] >= 0).sum()),
                detections=int(taken.sum()),
                beyond=0 if decided else int((~taken).sum()),
                best=float(overlaps.max(initial=0.0)),
            )
        )
    return counts


def _first(count: _Count, threshold: float, max_dets: int) -> str:
    """A whole sentence."""
    size = f" {SIZES[count.key][1]}" if count.key in SIZES else ""
    how = f" {at}" if (at := _how(count.key, threshold)) else ""
    if count.objects == 1:
        said = f"the one true object{size} is {'' if count.found else 'not '}found"
    else:
        number = f"only {count.found:,} of" if count.found else "none of the"
        said = f"{number} {count.objects:,} true objects{size} {'is' if count.found < 2 else 'are'} found"
    detections = f"{count.detections:,} detection{'s' if count.detections != 1 else ''}"
    said += f"{how} at IoU {count.needed:.2f}, among {detections}"
    if count.beyond:
        lie = "lies" if count.beyond == 1 else "lie"
        said += f" ({count.beyond:,} more {lie} beyond the {max_dets} that count in an image: data.max_dets)"
    if not count.best:
        return f"{said}: no pixel is shared"
    return said if count.found or count.best >= count.needed else f"{said}: the best IoU is {count.best:.2f}"


def _further(count: _Count, threshold: float) -> str:
    """The same in short, beside the sentence of another number."""
    place = SIZES[count.key][1] if count.key in SIZES else _how(count.key, threshold)
    if not place:
        place = "among all detections" if count.key in DECIDED else f"at IoU {count.needed:.2f}"
    best = f" (best IoU {count.best:.2f})" if not count.found and count.best < count.needed else ""
    return f"{count.found:,} of {count.objects:,} {place}{best}"


def _how(key: str, threshold: float) -> str:
    if key == "box_ap":
        return "by their boxes"
    return f"at the score threshold {threshold:g}" if key in DECIDED and threshold else ""


def _pixels(detections: Detections, ground_truth: GroundTruthSet, outlines: bool) -> str:
    threshold = detections.score_threshold
    at = f" at the score threshold {threshold:g}" if threshold else ""
    found = [record for record in detections.masks or () if record["score"] >= threshold]
    ids = [category.id for category in ground_truth.categories]
    counts = pixel_counts(ground_truth.truths, found, category_ids=ids, sizes=ground_truth.sizes)
    true, both, either = counts.sum(axis=0)[1].tolist()
    if not both:
        return f"no detection{at} shares a pixel with a true object"
    seen = both + either - true  # pixels that were found
    shares = f"{both / true:.1%} of the true pixels, and {1 - both / seen:.1%} of what they cover is no object"
    return f"detections{at} cover {shares}{', so outlines do not meet' if outlines else ''}"
