"""Which detections count where a decision is needed: the score threshold, chosen on training images."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segtrain.data.loader import evaluation_images
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import Findings, Reference, predict
from segtrain.metrics.f1 import f1
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.training.checkpoint import PROVISIONAL_THRESHOLD, load_checkpoint, restore_weights

logger = logging.getLogger(__name__)
THRESHOLDS = [number / 20 for number in range(1, 20)]


def settle_thresholds(folder: Path, segmenter: MaskRCNN, split: Split, *, images: int, seed: int) -> None:
    """Choose the score thresholds of a run's checkpoints and store them there.

    It is the one of .05, .10, ..., .95 with the highest F1 at IoU .50 on training images as they are, all categories
    made one; of equal ones that nearest to .50.

    Args:
        folder: with ``best.pt``, ``last.pt`` or both.
        segmenter: of the run; takes the checkpoints' weights.
        split: "train", with its images.
        images: how many of them are looked at, at most.
        seed: draws them.

    Raises:
        SegtrainError: none of them can be read.
    """
    drawn = _readable(split, images, seed)
    index = split.index.subset(drawn)
    assert split.images is not None
    reference = Reference.of(index)
    weights: dict[str, Tensor] = {}
    for path in (folder / "best.pt", folder / "last.pt"):
        if not path.exists():  # a run that was resumed in a new folder, and had nothing left to do
            continue
        checkpoint = load_checkpoint(path)
        if not all(name in weights and torch.equal(weights[name], value) for name, value in checkpoint.model.items()):
            weights = checkpoint.model
            restore_weights(segmenter, weights, str(path))
            found = predict(segmenter.eval(), evaluation_images(index, split.images), reference.categories, 0.0)
            threshold, value = best_threshold(found, reference)
        replace(checkpoint, score_threshold=threshold, threshold_images=len(drawn)).save(path)
        logger.info(
            f"score threshold {threshold:g}: F1 {value:.4f} on {len(drawn)} training images, stored in {path.name}"
        )


def best_threshold(found: Findings, reference: Reference) -> tuple[float, float]:
    """The threshold with the highest F1 at IoU .50, class-agnostic, and that F1.

    Args:
        found: detections of every score.
        reference: the truth about the same images.
    """
    reference, found = reference.class_agnostic(), found.class_agnostic()
    values: dict[float, float] = {}
    for threshold in THRESHOLDS:
        kept = [record for record in found.masks or () if record["score"] >= threshold]
        value = f1(reference.truths, kept, category_ids=[1], image_ids=reference.sizes).f1
        values[threshold] = 0.0 if isnan(value) else value
    best = max(THRESHOLDS, key=lambda threshold: (values[threshold], -abs(threshold - PROVISIONAL_THRESHOLD)))
    return best, values[best]


def _readable(split: Split, count: int, seed: int) -> Sequence[int]:
    """A draw of images that can be read; training has skipped the others, if it got here."""
    assert split.images is not None
    order = np.random.default_rng(seed).permutation(len(split.index.images))
    drawn: list[int] = []
    for image in (split.index.images[place] for place in order.tolist()):
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
