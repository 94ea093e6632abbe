"""Which validation images a report shows, and what belongs to each."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image

from segtrain.data.index.image_table import ImageInfo
from segtrain.instances import BoxPrediction, GroundTruth, Prediction
from segtrain.metrics.f1 import f1
from segtrain.reporting.analysis.comparisons import standard_of
from segtrain.reporting.overlays import Pixels

LONGEST = 960  # longer side of an image in the page, in pixels; larger ones are scaled down as they are read
Scores = dict[int, float]  # image id -> F1 of the image, nan where there is nothing to find and nothing was found


@dataclass(frozen=True)
class GalleryItem:
    """One image with the truth and what every method found in it.

    Attributes:
        image_id: COCO id.
        file_name: as in the annotation file.
        reason: why it is shown.
        size: (H, W) of the image, and of the masks.
        image: (h, w, 3) uint8, the image or a smaller copy of it.
        truths: its true instances, crowds included.
        predictions: by method, those at the method's score threshold.
        scores: F1 at IoU .50 by method, in [0, 1]; nan: nothing to find and nothing found.
    """

    image_id: int
    file_name: str
    reason: str
    size: tuple[int, int]
    image: Pixels
    truths: Sequence[GroundTruth]
    predictions: dict[str, list[Prediction]]
    scores: dict[str, float]


def build(
    images: Sequence[ImageInfo],
    truths: Sequence[GroundTruth],
    predictions: Mapping[str, Sequence[Prediction] | Sequence[BoxPrediction]],
    thresholds: Mapping[str, float],
    read: Callable[[ImageInfo], Pixels],
    each: int = 3,
    oracles: Collection[str] = (),
) -> list[GalleryItem]:
    """Choose images and gather what the report draws on them.

    Args:
        images: the images that were evaluated.
        truths: all their true instances.
        predictions: by method, all detections; rows of boxes only are left out of the gallery.
        thresholds: each method's score threshold.
        read: gives an image's pixels; called for the chosen ones only.
        each: images for each of the four reasons.
        oracles: rows that were set with the truth in hand; shown, but they decide nothing.

    Returns:
        At most 4 * ``each`` items, none twice; empty if there are no masks to show.
    """
    shown = {
        name: at_threshold(records, thresholds[name])
        for name, records in predictions.items()
        if not records or "segmentation" in records[0]
    }
    if not shown:
        return []
    ids = [image.id for image in images]
    scores = {name: per_image_f1(truths, records, ids) for name, records in shown.items()}
    fair = {name: values for name, values in scores.items() if name not in oracles}
    found = {name: _by_image(records) for name, records in shown.items()}
    true_of: dict[int, list[GroundTruth]] = {}
    for truth in truths:
        true_of.setdefault(truth["image_id"], []).append(truth)
    info = {image.id: image for image in images}
    return [
        GalleryItem(
            image_id=chosen,
            file_name=info[chosen].file_name,
            reason=reason,
            size=info[chosen].size,
            image=_shrunk(read(info[chosen])),
            truths=true_of.get(chosen, []),
            predictions={name: records.get(chosen, []) for name, records in found.items()},
            scores={name: values[chosen] for name, values in scores.items()},
        )
        for chosen, reason in choose(fair or scores, {i: len(true_of.get(i, [])) for i in ids}, each)
    ]


def choose(scores: Mapping[str, Scores], objects: Mapping[int, int], each: int = 3) -> list[tuple[int, str]]:
    """Best, median and worst images of Mask R-CNN (else the first method), and those where another one beats it.

    Args:
        scores: by method, F1 of every image.
        objects: true instances of every image; among equal scores the fuller image says more.
        each: images for each reason.

    Returns:
        (image id, reason) pairs; no image twice.
    """
    name = standard_of(scores) or next(iter(scores))
    own = scores[name]
    order = sorted((i for i in own if not math.isnan(own[i])), key=lambda i: (-own[i], -objects[i], i))
    middle = max(0, (len(order) - each) // 2)
    lost = []
    for image_id in own:
        rivals = [(values[image_id], rival) for rival, values in scores.items() if rival != name]
        value, rival = max(((v, r) for v, r in rivals if not math.isnan(v)), default=(0.0, ""))
        # nan: nothing to find and rightly nothing found, which no rival can beat.
        if value > own[image_id]:
            lost.append((value - own[image_id], image_id, rival))
    lost.sort(key=lambda entry: (-entry[0], entry[1]))
    kinds = {
        "won": [(i, f"{rival} beats {name}") for _, i, rival in lost[:each]],
        "worst": [(i, f"Worst of {name}") for i in order[::-1][:each]],
        "best": [(i, f"Best of {name}") for i in order[:each]],
        "median": [(i, f"Median of {name}") for i in order[middle : middle + each]],
    }
    # An image that several reasons apply to is shown once, for the first of them.
    seen: set[int] = set()
    for kind, picks in kinds.items():
        kinds[kind] = [pick for pick in picks if pick[0] not in seen]
        seen.update(i for i, _ in picks)
    return [*kinds["best"], *kinds["median"], *kinds["worst"][::-1], *kinds["won"]]


def at_threshold(records: Sequence[Prediction] | Sequence[BoxPrediction], threshold: float) -> list[Prediction]:
    """The masks among the records whose score reaches the threshold, best first."""
    masks = [cast(Prediction, r) for r in records if "segmentation" in r and r["score"] >= threshold]
    return sorted(masks, key=lambda record: -record["score"])


def per_image_f1(truths: Sequence[GroundTruth], predictions: Sequence[Prediction], image_ids: Sequence[int]) -> Scores:
    """Class-agnostic F1 at IoU .50 of each image."""
    one_truth: list[GroundTruth] = [{**truth, "category_id": 1} for truth in truths]
    one_prediction: list[Prediction] = [{**prediction, "category_id": 1} for prediction in predictions]
    counts = f1(one_truth, one_prediction, category_ids=[1], image_ids=image_ids).per_image
    return {
        i: 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan
        for i, (tp, fp, fn) in ((i, counts[i]) for i in image_ids)
    }


def _shrunk(image: Pixels) -> Pixels:
    picture = Image.fromarray(image)
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS, reducing_gap=3)
    return np.asarray(picture)


def _by_image(records: Sequence[Prediction]) -> dict[int, list[Prediction]]:
    grouped: dict[int, list[Prediction]] = {}
    for record in records:
        grouped.setdefault(record["image_id"], []).append(record)
    return grouped
