"""Choice of the score thresholds at the end of a training."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segtrain import distributed
from segtrain.arrays import IntArray
from segtrain.console import counted, progress
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import SCORE_THRESHOLD, Detections, GroundTruthSet
from segtrain.metrics.f1 import FN, TP, count_matches, f1_of_sums
from segtrain.metrics.matching import IOU50, Matches, match
from segtrain.records import OBJECT
from segtrain.score_thresholds import ScoreThresholds
from segtrain.segmenters import Trainable
from segtrain.training.checkpoint import load_checkpoint, restore_weights
from segtrain.training.validation import detect

logger = logging.getLogger(__name__)
THRESHOLDS = [number / 20 for number in range(1, 20)]
_FEWEST = 20  # objects of a category with a threshold of its own: one that is chosen on fewer is worse on other images
_NAMED = 10  # categories whose thresholds are logged


def select_score_threshold(
    folder: Path,
    segmenter: Trainable,
    split: Split,
    *,
    images: int,
    seed: int,
    given: Mapping[str, float] | None = None,
) -> None:
    """Choose the score thresholds of a run's checkpoints and store them there.

    The threshold is the one of .05, .10, ..., .95 with the highest class-agnostic F1 at IoU .50 on training images
    without augmentation; among equals the one nearest to .50. With several categories each that has 20 objects or more
    on these images gets a threshold of its own in the same way, with the highest F1 of that category.

    Args:
        folder: folder of ``best.pt``, ``last.pt`` or both.
        segmenter: network of the run; its weights are replaced by the checkpoints'.
        split: training images and their truth.
        images: largest number of images to use.
        seed: seed of the draw of these images.
        given: thresholds of single categories by name, which are not chosen.

    Raises:
        SegtrainError: no image can be read.
    """
    drawn = distributed.from_first(lambda: _readable(split, images, seed))
    index = split.index.subset(drawn)
    assert split.images is not None
    ground_truth = GroundTruthSet.of(index)
    for paths in distributed.from_first(lambda: _by_weights([folder / "best.pt", folder / "last.pt"])):
        weights = distributed.from_first(partial(_weights_of, paths[0]))
        restore_weights(segmenter, weights, str(paths[0]))
        with progress(f"score threshold of {paths[0].name}", len(drawn), transient=True) as stage:
            found = detect(segmenter, index, split.images, 0.0, stage)
            if found is None:
                continue
            stage.update(state="scoring")
            threshold, value = best_threshold(found, ground_truth)
            own = category_thresholds(found, ground_truth)
            names = [category.name for category in index.categories]
            chosen = ScoreThresholds(threshold, own).changed(given, names, "score_threshold")
        for path in paths:
            replace(
                load_checkpoint(path),
                score_threshold=chosen.overall,
                category_thresholds=dict(chosen.by_category),
                threshold_images=len(drawn),
            ).save(path)
        logger.info(
            f"score threshold {chosen.overall:g}: F1 {value:.4f} on {counted(len(drawn), 'training image')}, stored in "
            f"{' and '.join(path.name for path in paths)}"
        )
        if len(names) > 1:
            logger.info(_of_categories(chosen.by_category, len(names)))


def _of_categories(thresholds: Mapping[str, float], categories: int) -> str:
    """Say which categories have a threshold of their own."""
    if not thresholds:
        return f"score thresholds by category: none, as no category has {_FEWEST} objects here of which some are found"
    text = ", ".join(f"{name} {value:g}" for name, value in list(thresholds.items())[:_NAMED])
    if len(thresholds) > _NAMED:
        text += f" and {len(thresholds) - _NAMED} more"
    if others := categories - len(thresholds):
        text += f"; {others} with fewer than {_FEWEST} objects here, or none found, have that of all"
    return f"score thresholds by category: {text}"


def _weights_of(path: Path) -> dict[str, Tensor]:
    return load_checkpoint(path).model


def _by_weights(paths: Sequence[Path]) -> list[list[Path]]:
    """Group the checkpoints that exist by equal weights; a resumed run with nothing left to do may have none."""
    groups: list[list[Path]] = []
    weights: dict[str, Tensor] = {}
    for path in filter(Path.exists, paths):
        own = load_checkpoint(path).model
        if groups and all(name in weights and torch.equal(weights[name], value) for name, value in own.items()):
            groups[-1].append(path)
        else:
            groups.append([path])
        weights = own
    return groups


def best_threshold(found: Detections, ground_truth: GroundTruthSet) -> tuple[float, float]:
    """Return the threshold with the highest F1 at IoU .50, class-agnostic, and that F1.

    Args:
        found: detections of every score.
        ground_truth: true objects of the same images.
    """
    ground_truth, found = ground_truth.class_agnostic(), found.class_agnostic()
    matches = match(
        ground_truth.truths,
        found.masks or (),
        image_ids=list(ground_truth.sizes),
        category_ids=[OBJECT.id],
        iou_type="segm",
    )
    return _best(_counts_by_threshold(matches)[:, 0])


def category_thresholds(found: Detections, ground_truth: GroundTruthSet) -> dict[str, float]:
    """Return the threshold with the highest F1 at IoU .50 of each category that has 20 objects or more, by name.

    Categories of which none is found have no best threshold.

    Args:
        found: detections of every score.
        ground_truth: true objects of the same images.

    Returns:
        An empty dictionary for data of a single category, whose threshold is that of all.
    """
    categories = ground_truth.categories
    if len(categories) < 2:
        return {}
    matches = match(
        ground_truth.truths,
        found.masks or (),
        image_ids=list(ground_truth.sizes),
        category_ids=[category.id for category in categories],
        iou_type="segm",
    )
    counts = _counts_by_threshold(matches)
    objects = counts[0, :, TP] + counts[0, :, FN]
    best = {c.name: _best(counts[:, number]) for number, c in enumerate(categories) if objects[number] >= _FEWEST}
    return {name: threshold for name, (threshold, value) in best.items() if value > 0}


def _counts_by_threshold(matches: Matches) -> IntArray:
    """Count TP, FP and FN of each category in all images at each threshold, (thresholds, K, 3)."""
    return np.array([count_matches(matches, threshold, IOU50).sum(axis=0) for threshold in THRESHOLDS])


def _best(counts: IntArray) -> tuple[float, float]:
    """Return the threshold with the highest F1, and that F1.

    Args:
        counts: TP, FP and FN at each threshold, (thresholds, 3).
    """
    values = np.nan_to_num(f1_of_sums(counts.astype(np.float64))).tolist()
    best = max(range(len(values)), key=lambda n: (values[n], -abs(THRESHOLDS[n] - SCORE_THRESHOLD)))
    return THRESHOLDS[best], values[best]


def _readable(split: Split, count: int, seed: int) -> Sequence[int]:
    """Draw images that can be read; training has skipped the others, if it got here."""
    assert split.images is not None
    order = np.random.default_rng(seed).permutation(len(split.index.images))
    drawn: list[int] = []
    for image in (split.index.images[position] for position in order.tolist()):
        try:
            split.images.read(image)
        except SegtrainError:
            continue
        drawn.append(image.id)
        if len(drawn) == count:
            break
    if not drawn:
        raise SegtrainError(f"{split.images.folder}: no image can be read")
    return drawn
