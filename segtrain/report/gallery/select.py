"""Selection of the images of a report's gallery, with the reason for each, its truth and detections."""

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segtrain.benchmark.runner import Benchmark, MethodResult
from segtrain.console import with_progress
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.images.large_image import read_picture
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.mask_records import column, reaching, select
from segtrain.metrics.metric import MetricInput
from segtrain.metrics.registry import f1_50_counts
from segtrain.records import GroundTruth, Prediction, group_by_image
from segtrain.visualize import Pixels

logger = logging.getLogger(__name__)
LONGEST = 960  # longer side of an image in the page, in pixels; larger ones are scaled down as they are read

Scores = dict[int, float]  # image id -> F1 of the image, nan where there is nothing to find and nothing was found


@dataclass(frozen=True)
class GalleryItem:
    """Image of the gallery with its truth and the detections of every method.

    Attributes:
        image_id: COCO id.
        file_name: file name in the annotation file.
        reason: reason to show it.
        size: (H, W) of the image, and of the masks.
        image: (h, w, 3) uint8, the image or a smaller copy of it.
        truths: true objects, crowds included.
        predictions: detections at each method's score threshold, or those of its categories, by method.
        scores: F1 at IoU .50 by method, in [0, 1]; nan without true objects and detections.
        best: rank of the image among all evaluated ones, by method; 1 has the highest F1. Absent without F1.
        worst: rank of the image among all evaluated ones, by method; 1 has the lowest F1. Absent without F1.
        apart: rank by the standard deviation of F1 over methods, 1 the largest; None where they do not differ.
    """

    image_id: int
    file_name: str
    reason: str
    size: tuple[int, int]
    image: Pixels
    truths: Sequence[GroundTruth]
    predictions: dict[str, Sequence[Prediction]]
    scores: dict[str, float]
    best: dict[str, int]
    worst: dict[str, int]
    apart: int | None


def select_images(
    benchmark: Benchmark,
    scores: Mapping[str, Scores],
    each: int,
    reference: str | None,
    further: Sequence[tuple[str, str]] = (),
) -> list[GalleryItem]:
    """Select and read the images of a benchmark's gallery.

    Args:
        benchmark: benchmark with scored methods.
        scores: F1 of every image, by method; see ``per_image_f1``.
        each: number of images for each reason; 0 for no gallery.
        reference: method that the others are compared with.
        further: file names of further images, with the reason to show each.

    Returns:
        Items in the order of the page; empty without images.
    """
    if not each:
        return []
    if benchmark.split.images is None:
        logger.info("no images, so the report has no gallery; data.val_images names their folder")
        return []
    truth, images = benchmark.ground_truth, benchmark.split.index.images
    reader = benchmark.split.images
    ids = {image.file_name: image.id for image in images}
    chosen = [(ids[name], reason) for name, reason in further]
    return build(
        benchmark.rows, scores, truth, images, lambda image: read_picture(reader, image).pixels, each, reference, chosen
    )


def build(
    rows: Mapping[str, MethodResult],
    scores: Mapping[str, Scores],
    ground_truth: GroundTruthSet,
    images: Sequence[ImageInfo],
    read: Callable[[ImageInfo], Pixels],
    each: int,
    reference: str | None = None,
    further: Sequence[tuple[int, str]] = (),
) -> list[GalleryItem]:
    """Choose images, and gather their truth and detections.

    Args:
        rows: methods by name.
        scores: F1 of every image, by method; methods without, such as those of boxes only, are left out.
        ground_truth: true objects.
        images: evaluated images.
        read: reads the pixels of an image; called for the chosen ones only.
        each: number of images for each reason; see ``choose``.
        reference: method that the others are compared with.
        further: ids of further images, with the reason to show each.

    Returns:
        Items in the order of the page, no image twice; empty if there are no masks to show.
    """
    if not scores:
        return []
    oracles = [name for name in scores if rows[name].oracle]
    true_of = group_by_image(ground_truth.truths)
    info = {image.id: image for image in images}
    objects = {i: len(true_of[i]) for i in info}
    best = {name: _places(best_first(own, objects)) for name, own in scores.items()}
    worst = {name: _places(worst_first(own, objects)) for name, own in scores.items()}
    fair = {name: own for name, own in scores.items() if name not in oracles}
    apart = _places(widest_first(fair, objects))
    reasons: dict[int, str] = {}
    for image_id, reason in [*choose(scores, objects, each, reference=reference, oracles=oracles), *further]:
        reasons.setdefault(image_id, reason)
    return [
        GalleryItem(
            image_id=chosen,
            file_name=info[chosen].file_name,
            reason=reason,
            size=info[chosen].size,
            image=shrunk(read(info[chosen])),
            truths=true_of[chosen],
            predictions={name: _best_first(rows[name].detections, chosen) for name in scores},
            scores={name: values[chosen] for name, values in scores.items()},
            best={name: places[chosen] for name, places in best.items() if chosen in places},
            worst={name: places[chosen] for name, places in worst.items() if chosen in places},
            apart=apart.get(chosen),
        )
        for chosen, reason in with_progress("gallery", list(reasons.items()))
    ]


def _best_first(detections: Detections, image_id: int) -> Sequence[Prediction]:
    """Select the masks of an image at the operating point, by falling score."""
    found = detections.masks or ()
    own = select(found, np.flatnonzero(column(found, "image_id") == image_id))
    kept = reaching(own, detections.score_threshold, detections.category_thresholds)
    return select(kept, np.argsort(-column(kept, "score"), kind="stable"))


def _places(order: Sequence[int]) -> dict[int, int]:
    return {image_id: place for place, image_id in enumerate(order, 1)}


def shrunk(image: Pixels, longest: int = LONGEST) -> Pixels:
    """Scale an image (H, W, 3) down to what a page shows of it; smaller ones stay as they are."""
    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=3)
    return np.asarray(picture)


def per_image_f1(inputs: MetricInput) -> Scores:
    """Compute F1 at IoU .50 of each image, all categories together, from the counts behind the method's own F1."""
    counts = inputs.once(f1_50_counts).sum(axis=1).tolist()
    return {
        image_id: 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan
        for image_id, (tp, fp, fn) in zip(inputs.sizes, counts, strict=True)
    }


def best_first(scores: Scores, objects: Mapping[int, int]) -> list[int]:
    """List the images that have an F1, the highest first; among equals the one with more objects."""
    return sorted((i for i in scores if not math.isnan(scores[i])), key=lambda i: (-scores[i], -objects[i], i))


def worst_first(scores: Scores, objects: Mapping[int, int]) -> list[int]:
    """List the images that have an F1, the lowest first; among equals the one with more objects."""
    return sorted((i for i in scores if not math.isnan(scores[i])), key=lambda i: (scores[i], -objects[i], i))


def widest_first(scores: Mapping[str, Scores], objects: Mapping[int, int]) -> list[int]:
    """List the images on which the F1 of methods differ, those of the largest standard deviation first."""
    apart = {}
    for image_id in objects:
        known = [value for own in scores.values() if not math.isnan(value := own[image_id])]
        if len(set(known)) > 1:
            apart[image_id] = float(np.std(known))
    return sorted(apart, key=lambda i: (-apart[i], -objects[i], i))


def choose(
    scores: Mapping[str, Scores],
    objects: Mapping[int, int],
    each: int,
    *,
    reference: str | None = None,
    oracles: Collection[str] = (),
) -> list[tuple[int, str]]:
    """Choose the best and the worst images of every method, and those on which methods differ most.

    The reference (else the first method) comes first, with its median images, and with those where another beats it.

    Args:
        scores: F1 of every image, by method.
        objects: number of true objects of every image.
        each: number of images for each reason.
        reference: method that the others are compared with.
        oracles: methods whose settings were chosen with the ground truth, so that they are not compared with others.

    Returns:
        (image id, first reason) pairs; no image twice.
    """
    fair = {name: values for name, values in scores.items() if name not in oracles}
    name = reference if reference in fair else next(iter(fair or scores))
    own = scores[name]
    order = best_first(own, objects)
    middle = max(0, (len(order) - each) // 2)
    few = min(each, (len(order) + 1) // 2)  # of few images the better half is not the worst too
    lost = []
    for image_id in own:
        rivals = [(values[image_id], rival) for rival, values in fair.items() if rival != name]
        value, rival = max(((v, r) for v, r in rivals if not math.isnan(v)), default=(0.0, ""))
        # nan: nothing to find and rightly nothing found, which no rival can beat.
        if value > own[image_id]:
            lost.append((value - own[image_id], image_id, rival))
    lost.sort(key=lambda entry: (-entry[0], entry[1]))
    kinds = {
        "won": [(i, f"{rival} beats {name}") for _, i, rival in lost[:each]],
        "best": [(i, f"Best of {name}") for i in order[:few]],
        "worst": [(i, f"Worst of {name}") for i in worst_first(own, objects)[:few]],
        "median": [(i, f"Median of {name}") for i in order[middle : middle + each]],
        "apart": [(i, "Methods differ most") for i in widest_first(fair, objects)[:each]],
    }
    for other in scores:
        kinds[f"best of {other}"] = [(i, f"Best of {other}") for i in best_first(scores[other], objects)[:each]]
        kinds[f"worst of {other}"] = [(i, f"Worst of {other}") for i in worst_first(scores[other], objects)[:each]]
    # An image that several reasons apply to is shown once, for the first of them.
    seen: set[int] = set()
    for kind, picks in kinds.items():
        kinds[kind] = [pick for pick in picks if pick[0] not in seen]
        seen.update(i for i, _ in picks)
    first = [*kinds.pop("best"), *kinds.pop("median"), *kinds.pop("worst")[::-1], *kinds.pop("won")]
    return [*first, *(pick for picks in kinds.values() for pick in picks)]
