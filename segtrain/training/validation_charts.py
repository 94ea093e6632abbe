"""Charts and pictures of a validation: what was found, missed and false, and with which scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtrain import masks
from segtrain.arrays import BoolArray, FloatArray
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.images.large_image import read_picture
from segtrain.data.splits import Split
from segtrain.evaluation import Detections
from segtrain.masks import Rle
from segtrain.metrics.calibration import Calibration, calibration
from segtrain.metrics.matching import ALL, IOU50, Matches
from segtrain.metrics.metric import MetricInput
from segtrain.metrics.registry import MetricValues
from segtrain.records import Category
from segtrain.training.logger import RunLogger
from segtrain.training.run_state import VALIDATION
from segtrain.training.trackers.tracker import PrecisionRecall
from segtrain.visualize import ERROR_COLOURS, Colour, Pixels, draw, draw_reliability, side_by_side

LONGEST = 512  # pixels of a drawn image's longer side
THRESHOLDS: FloatArray = np.linspace(0, 1, 101)  # scores of a precision-recall curve


@dataclass(frozen=True)
class Validated:
    """A validation.

    Attributes:
        step: optimizer steps taken.
        found: detections.
        inputs: detections beside the ground truth, class-aware, with what was computed of them.
        values: metrics, those of the categories as well.
    """

    step: int
    found: Detections
    inputs: MetricInput
    values: MetricValues


class ValidationCharts:
    """Recorder of the charts of each validation, and of what was found in the same few images.

    Args:
        run_logger: logger that receives them; None to record nothing.
        split: validation images with their true objects.
        images: number of images, spread evenly over the split.
        categories: largest number of categories with curves of their own, those with most objects.
    """

    def __init__(self, run_logger: RunLogger | None, split: Split, images: int, categories: int) -> None:
        self._run_logger, self._split = run_logger, split
        every = split.index.images
        self._watched: Sequence[ImageInfo] = every[:: max(1, len(every) // images)][:images] if images else []
        counts = {category.id: 0 for category in split.index.categories}
        for image in every:
            for truth in split.index.truths(image.id):
                counts[truth["category_id"]] += not truth["iscrowd"]
        known = [category for category in split.index.categories if counts[category.id]]
        ranked = sorted(known, key=lambda category: -counts[category.id])[:categories]
        self._categories: list[Category] = ranked if len(split.index.categories) > 1 else []

    def __call__(self, done: Validated) -> None:
        """Record a validation."""
        if self._run_logger is None:
            return
        matches, step = done.inputs.matches("segm"), done.step
        self._log_numbers(self._run_logger, done)
        numbers = {category_id: number for number, category_id in enumerate(matches.category_ids.tolist())}
        curves = {"all categories": None, **{own.name: numbers[own.id] for own in self._categories}}
        for name, number in curves.items():
            self._run_logger.log_precision_recall(step, name, precision_recall(matches, number))
        right = matches.truth(IOU50, ALL) >= 0
        counted = ~matches.ignored(IOU50, ALL)
        self._run_logger.log_histogram(step, "scores/hits", matches.score[right & counted])
        self._run_logger.log_histogram(step, "scores/false detections", matches.score[~right & counted])
        found = [record["segmentation"] for record in done.inputs.operating_point]
        true = [truth["segmentation"] for truth in done.inputs.truths if not truth["iscrowd"]]
        self._run_logger.log_histogram(step, "mask sizes/found (square root of pixels)", _sides(found))
        self._run_logger.log_histogram(step, "mask sizes/true (square root of pixels)", _sides(true))
        for image in self._watched:
            self._run_logger.log_image(step, image.file_name, self._picture(done, image))

    def _log_numbers(self, run_logger: RunLogger, done: Validated) -> None:
        """Record the metrics of single categories, and the calibration of the scores."""
        values = {
            f"{VALIDATION}categories/{category.name}/{key}": done.values.per_category[category.id][key]
            for category in self._categories
            for key in ("mask_ap", "mask_ap50", "f1_50")
        }
        found = calibration(done.inputs)
        if found is not None:
            values[f"{VALIDATION}calibration_error"] = found.ece
            run_logger.log_image(done.step, "calibration", _reliability(found))
        if values:
            run_logger.log_scalars(done.step, values)

    def _picture(self, done: Validated, image: ImageInfo) -> Pixels:
        """Draw the ground truth, the prediction and its errors side by side."""
        assert self._split.images is not None
        inputs, names = done.inputs, {category.id: category.name for category in self._split.index.categories}
        hit, missed = self._outcome(done, image)
        here = [n for n, record in enumerate(inputs.masks or ()) if n in hit and record["image_id"] == image.id]
        found = [(inputs.masks or ())[n] for n in here]
        truths = self._split.index.truths(image.id)

        def panel(records: Sequence[tuple[Rle, int]], colours: Sequence[Colour] | None = None) -> Pixels:
            labels = [names.get(category_id, "") for _, category_id in records] if len(names) > 1 else None
            return draw(pixels, [rle for rle, _ in records], labels, colours, longest=LONGEST)

        lost = [inputs.truths[n] for n in missed]
        records: Sequence[Any] = [*truths, *found, *lost]
        pixels, rles = read_picture(self._split.images, image, [record["segmentation"] for record in records])
        shown = [(rle, record["category_id"]) for rle, record in zip(rles, records, strict=True)]
        ends = len(truths), len(truths) + len(found)
        truth_records, found_records, lost_records = shown[: ends[0]], shown[ends[0] : ends[1]], shown[ends[1] :]
        kinds = ["missed"] * len(lost) + ["hit" if hit[n] else "false" for n in here]
        errors = panel([*lost_records, *found_records], [ERROR_COLOURS[kind] for kind in kinds])
        captions: list[str | list[tuple[str, Colour]]] = [
            f"ground truth: {len(truths)}",
            f"prediction: {len(found)}",
            [(f"{kinds.count(kind)} {kind}  ", ERROR_COLOURS[kind]) for kind in ERROR_COLOURS],
        ]
        return side_by_side([panel(truth_records), panel(found_records), errors], captions)

    def _outcome(self, done: Validated, image: ImageInfo) -> tuple[dict[int, bool], list[int]]:
        """Return the detections of an image at the operating point, true for hits, and the objects that are missed.

        Detections that are matched with a crowd are neither.
        """
        matches = done.inputs.matches("segm")
        number = int(np.searchsorted(matches.image_ids, image.id))
        kept: BoolArray = (matches.image == number) & matches.reaching(done.inputs.least_scores)
        counted = np.flatnonzero(kept & ~matches.ignored(IOU50, ALL))
        right = matches.truth(IOU50, ALL, counted) >= 0
        own = np.flatnonzero((matches.truth_image == number) & ~matches.truth_ignored[ALL])
        last = matches.detection[IOU50, ALL, own]
        missed = own[(last < 0) | ~np.append(kept, False)[last]]
        hit = dict(zip(matches.record[counted].tolist(), right.tolist(), strict=True))
        return hit, matches.truth_record[missed].tolist()


def precision_recall(matches: Matches, category: int | None) -> PrecisionRecall:
    """Count hits, false detections and missed objects over the score, at IoU .50.

    Args:
        matches: matches of the masks of all detections.
        category: number of a category; None for all together, each compared with its own objects.
    """
    chosen = ~matches.ignored(IOU50, ALL)
    true = ~matches.truth_ignored[ALL]
    if category is not None:
        chosen, true = chosen & (matches.category == category), true & (matches.truth_category == category)
    right = matches.truth(IOU50, ALL)[chosen] >= 0
    scores = matches.score[chosen]

    def above(values: FloatArray) -> FloatArray:
        counts: FloatArray = len(values) - np.searchsorted(np.sort(values), THRESHOLDS, side="left").astype(np.float64)
        return counts

    hits = above(scores[right])
    return PrecisionRecall(THRESHOLDS, hits, above(scores[~right]), float(true.sum()) - hits)


def _sides(rles: Sequence[Rle]) -> FloatArray:
    """Return the square roots of the areas of some masks."""
    sides: FloatArray = np.sqrt(np.asarray(masks.area(rles), dtype=np.float64)) if len(rles) else np.zeros(0)
    return sides


def _reliability(found: Calibration) -> Pixels:
    bins = [(own.low, own.high, own.precision, own.count) for own in found.bins if own.count]
    return draw_reliability(bins, f"expected calibration error {found.ece:.3f}")
