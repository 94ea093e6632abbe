"""What a search maximises: a metric of the benchmark on training images."""

import time
from collections.abc import Sequence
from math import isnan, nan
from typing import Literal, Protocol

from segtrain.evaluation import OBJECT
from segtrain.metrics.average_precision import average_precision
from segtrain.metrics.mean_iou import mean_iou
from segtrain.records import Prediction, to_predictions
from segtrain.tuning.space import Node, build_segmenter
from segtrain.tuning.training_images import TrainingImages

Metric = Literal["mask_ap", "miou"]
RUNGS = (6, 3)  # a trial is first scored on a sixth of the images, then on a third, then on all


class Trial(Protocol):
    """One set of settings, as the sampler sees it."""

    def report(self, value: float, step: int) -> None:
        """Take note of the metric on the first ``step`` images."""
        ...

    def should_prune(self) -> bool:
        """Whether other trials were so much better there that this one is not worth finishing."""
        ...


class Objective:
    """Scores settings on training images, on few of them first.

    Args:
        images: the training images.
        metric: class-agnostic; mIoU takes every detection.
        max_dets: detections per image that average precision uses.
        deadline: of ``time.perf_counter``; None for none.
    """

    def __init__(self, images: TrainingImages, metric: Metric, max_dets: int, deadline: float | None) -> None:
        self._images, self._metric, self._max_dets, self._deadline = images, metric, max_dets, deadline
        count = len(images.ids)
        self._rungs = sorted({max(1, count // rung) for rung in RUNGS} | {count})

    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and time.perf_counter() >= self._deadline

    def __call__(self, node: Node, trial: Trial) -> float:
        """The metric on all images; nan if the trial was ended early, or the time ran out.

        Args:
            node: a segmenter's.
            trial: is told the metric on the first images, and may end it there.
        """
        segmenter, found, value = build_segmenter(node), list[Prediction](), nan
        for start, stop in zip([0, *self._rungs], self._rungs, strict=False):
            for image_id, image in self._images.read(self._images.ids[start:stop]):
                if self.late():
                    return nan
                found += to_predictions(segmenter.segment([image])[0], image_id, [OBJECT])
            value = self._score(found, self._images.ids[:stop])
            if stop < len(self._images.ids) and not isnan(value):
                trial.report(value, stop)
                if trial.should_prune():
                    return nan
        return value

    def _score(self, found: Sequence[Prediction], ids: Sequence[int]) -> float:
        reference = self._images.reference
        sizes = {image_id: reference.sizes[image_id] for image_id in ids}
        if self._metric == "miou":
            return mean_iou(reference.truths, found, category_ids=[OBJECT.id], sizes=sizes).miou
        precision = average_precision(
            reference.truths, found, image_ids=ids, category_ids=[OBJECT.id], max_dets=self._max_dets, iou_type="segm",
            sizes=sizes,
        )  # fmt: skip
        return precision.stats[0]
