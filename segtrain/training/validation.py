"""Validation during training, and the choice of the score threshold at its end."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import isnan
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segtrain import distributed
from segtrain.console import Stage, progress
from segtrain.data.coco.index import CocoIndex
from segtrain.data.dataset import plain_sample
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.loader import evaluation_images
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import SCORE_THRESHOLD, Detections, GroundTruthSet, gathered, metric_input, predict
from segtrain.metrics.f1 import count_matches, f1_of_sums
from segtrain.metrics.matching import IOU50, match
from segtrain.metrics.registry import METRICS, metric_values
from segtrain.records import OBJECT
from segtrain.segmenters import Trainable
from segtrain.segmenters.tiles import tiled
from segtrain.training.checkpoint import load_checkpoint, restore_weights
from segtrain.training.validation_charts import Validated
from segtrain.training.validation_losses import ValidationLosses, evaluating

Show = Callable[[Validated], None]
logger = logging.getLogger(__name__)
THRESHOLDS = [number / 20 for number in range(1, 20)]


class Validation:
    """Class-aware scoring of a segmenter on a split.

    Images that are larger than what the network has seen are cut into windows; AP then uses as many detections as all
    windows of an image have together.

    Args:
        split: validation images, all readable, with their true objects.
        max_dets: detections per image or window, and category, that AP uses.
        score_threshold: operating point of mIoU and F1.
        show: function that receives every validation, in the first process.
        losses: True to compute the loss terms as well.
        seed: seed of the draws within the losses.

    Raises:
        SegtrainError: the split has no images.
    """

    def __init__(
        self, split: Split, max_dets: int, score_threshold: float, show: Show, *, losses: bool = False, seed: int = 0
    ) -> None:
        if split.images is None:
            raise SegtrainError("data.val_images is null; name the folder of the validation images")
        self._index, self._images = split.index, split.images
        self._ground_truth = GroundTruthSet.of(split.index)
        self._max_dets, self._score_threshold, self._show = max_dets, score_threshold, show
        self._losses, self._seed = losses, seed

    def __call__(self, segmenter: Trainable, step: int) -> dict[str, float]:
        """Return the metrics of a segmenter by their names in ``results.json``; undefined ones are nan.

        With `losses` the loss terms come first: ``loss``, their sum, and each term by its name.
        """
        windows = tiled(segmenter).summarise(self._index.images.sizes)
        losses = ValidationLosses(segmenter, self._seed) if self._losses else None
        with progress("validation", len(self._index.images), transient=True) as stage, evaluating(segmenter):
            found = detect(segmenter, self._index, self._images, self._score_threshold, stage, losses)
            means = {} if losses is None else losses.means()
            stage.update(state="scoring")
            return means | distributed.from_first(lambda: self._score(found, step, self._max_dets * windows.most))

    def _score(self, found: Detections | None, step: int, max_dets: int) -> dict[str, float]:
        assert found is not None
        inputs = metric_input(found, self._ground_truth, max_dets, "class_aware")
        scores = metric_values(inputs, [metric for metric in METRICS if metric.validated])
        self._show(Validated(step, found, inputs, scores))
        return scores.values


def detect(
    segmenter: Trainable,
    index: CocoIndex,
    images: ImageReader,
    score_threshold: float,
    stage: Stage,
    losses: ValidationLosses | None = None,
) -> Detections | None:
    """Segment all images of an index, each in one of the processes that train together.

    Args:
        segmenter: network of this process, the same in all of them.
        index: the images.
        images: reader of their files.
        score_threshold: operating point of the detections.
        stage: advances by the processes' number with each image of this one.
        losses: receives the images that are not cut into windows, with their true objects; None to segment alone.

    Returns:
        The detections in all images; None in all processes but the first.
    """
    positions = distributed.share(range(len(index.images)))
    infos, network = [index.images[position] for position in positions], tiled(segmenter)

    def read() -> Iterator[tuple[int, Tensor]]:
        for position, (image_id, image) in zip(positions, evaluation_images(infos, images), strict=True):
            if losses is not None and network.windows(index.images[position].size) == 1:
                losses.add(plain_sample(index, position, image))
            yield image_id, image

    def advance() -> None:
        stage.update(min(stage.done + distributed.size(), len(index.images)))

    found = predict(network, read(), index.categories, score_threshold, advance)
    return gathered(found, [image.id for image in index.images])


def select_score_threshold(folder: Path, segmenter: Trainable, split: Split, *, images: int, seed: int) -> None:
    """Choose the score thresholds of a run's checkpoints and store them there.

    The threshold is the one of .05, .10, ..., .95 with the highest class-agnostic F1 at IoU .50 on training images
    without augmentation; among equals the one nearest to .50.

    Args:
        folder: folder of ``best.pt``, ``last.pt`` or both.
        segmenter: network of the run; its weights are replaced by the checkpoints'.
        split: training images and their truth.
        images: largest number of images to use.
        seed: seed of the draw of these images.

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
        for path in paths:
            replace(load_checkpoint(path), score_threshold=threshold, threshold_images=len(drawn)).save(path)
        logger.info(
            f"score threshold {threshold:g}: F1 {value:.4f} on {len(drawn)} training "
            f"image{'s' * (len(drawn) > 1)}, stored in {' and '.join(path.name for path in paths)}"
        )


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
    values: dict[float, float] = {}
    for threshold in THRESHOLDS:
        value = float(f1_of_sums(count_matches(matches, threshold, IOU50)[:, 0].sum(axis=0)))
        values[threshold] = 0.0 if isnan(value) else value
    best = max(THRESHOLDS, key=lambda threshold: (values[threshold], -abs(threshold - SCORE_THRESHOLD)))
    return best, values[best]


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
