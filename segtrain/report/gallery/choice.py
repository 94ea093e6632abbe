"""The images of a report's gallery, and what belongs to each."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image

from segtrain.benchmark.runner import Benchmark
from segtrain.data.coco.tables import ImageInfo
from segtrain.records import BoxPrediction, GroundTruth, Prediction
from segtrain.report.gallery.ranking import best_first, choose, per_image_f1, widest_first, worst_first
from segtrain.visualize import Pixels

logger = logging.getLogger(__name__)
LONGEST = 960  # longer side of an image in the page, in pixels; larger ones are scaled down as they are read


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
        best: by method, the image's place among all that were evaluated, 1 the one of highest F1; absent without F1.
        worst: likewise, 1 the one of lowest F1.
        apart: its place by how far the F1 of methods lie apart, 1 the farthest; None where they do not.
    """

    image_id: int
    file_name: str
    reason: str
    size: tuple[int, int]
    image: Pixels
    truths: Sequence[GroundTruth]
    predictions: dict[str, list[Prediction]]
    scores: dict[str, float]
    best: dict[str, int]
    worst: dict[str, int]
    apart: int | None


def build(
    images: Sequence[ImageInfo],
    truths: Sequence[GroundTruth],
    predictions: Mapping[str, Sequence[Prediction] | Sequence[BoxPrediction]],
    thresholds: Mapping[str, float],
    read: Callable[[ImageInfo], Pixels],
    each: int,
    oracles: Collection[str] = (),
    reference: str | None = None,
) -> list[GalleryItem]:
    """Choose images and gather what the report draws on them.

    Args:
        images: the images that were evaluated.
        truths: all their true instances.
        predictions: by method, all detections; rows of boxes only are left out of the gallery.
        thresholds: each method's score threshold.
        read: gives an image's pixels; called for the chosen ones only.
        each: how many images of each kind; see ``choose``.
        oracles: rows that were set with the truth in hand.
        reference: row that the others are compared with.

    Returns:
        Items in the order of the page, no image twice; empty if there are no masks to show.
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
    found = {name: _by_image(records) for name, records in shown.items()}
    true_of: dict[int, list[GroundTruth]] = {}
    for truth in truths:
        true_of.setdefault(truth["image_id"], []).append(truth)
    info = {image.id: image for image in images}
    objects = {i: len(true_of.get(i, [])) for i in ids}
    best = {name: _places(best_first(own, objects)) for name, own in scores.items()}
    worst = {name: _places(worst_first(own, objects)) for name, own in scores.items()}
    fair = {name: own for name, own in scores.items() if name not in oracles}
    apart = _places(widest_first(fair, objects))
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
            best={name: places[chosen] for name, places in best.items() if chosen in places},
            worst={name: places[chosen] for name, places in worst.items() if chosen in places},
            apart=apart.get(chosen),
        )
        for chosen, reason in choose(scores, objects, each, oracles, reference)
    ]


def at_threshold(records: Sequence[Prediction] | Sequence[BoxPrediction], threshold: float) -> list[Prediction]:
    """The masks among the records whose score reaches the threshold, best first."""
    masks = [cast(Prediction, r) for r in records if "segmentation" in r and r["score"] >= threshold]
    return sorted(masks, key=lambda record: -record["score"])


def _places(order: Sequence[int]) -> dict[int, int]:
    return {image_id: place for place, image_id in enumerate(order, 1)}


def _shrunk(image: Pixels) -> Pixels:
    picture = Image.fromarray(image)
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS, reducing_gap=3)
    return np.asarray(picture)


def _by_image(records: Sequence[Prediction]) -> dict[int, list[Prediction]]:
    grouped: dict[int, list[Prediction]] = {}
    for record in records:
        grouped.setdefault(record["image_id"], []).append(record)
    return grouped


def gallery(benchmark: Benchmark, each: int, reference: str | None) -> list[GalleryItem]:
    """The report's images, ``each`` of each kind; none without images."""
    reader, rows = benchmark.split.images, benchmark.rows
    if not each:
        return []
    if reader is None:
        logger.info("no images, so the report has no gallery; data.val_images names their folder")
        return []
    return build(
        benchmark.split.index.images,
        benchmark.ground_truth.truths,
        {name: row.detections.masks for name, row in rows.items() if row.detections.masks is not None},
        {name: row.detections.score_threshold for name, row in rows.items()},
        reader.read,
        each,
        [name for name, row in rows.items() if row.oracle],
        reference,
    )
