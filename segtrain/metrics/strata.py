"""Strata: true objects divided by size, contrast or crowding, and the metrics of each stratum.

Source of the contrast: the largest distance of two cumulative distributions (Kolmogorov, 1933; Smirnov, 1948). For grey
values it is the performance of the best single threshold: 1 minus the share of the object that it misses minus the
share of the surroundings that it takes for object.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.arrays import BoolArray, CountArray, FloatArray, IntArray
from segtrain.masks import Rle
from segtrain.metrics.matching import ALL, AREAS, IOU50, Matches, match_candidates
from segtrain.metrics.metric import MetricInput, mask_candidates
from segtrain.metrics.resampled_ap import resampled_precision

GreyArray = npt.NDArray[np.uint8]
_WINDOW = 2048  # pixels of a side within which the objects of a window begin
RING = 3  # width in pixels of the surroundings; those of the classical methods' contrast score
_ACROSS = np.arange(-RING, RING + 1)
_DISC = (_ACROSS**2 + _ACROSS[:, None] ** 2 <= RING**2).astype(np.uint8)


def ks_contrast(grey: GreyArray, rles: Sequence[Rle], others: Sequence[Rle] = ()) -> FloatArray:
    """Compute the distance between the grey values of each object and of its surroundings (Kolmogorov-Smirnov).

    The surroundings are the pixels within a distance of 3 that belong to no object; where there are none, all pixels
    within that distance.

    Args:
        grey: (H, W) grey values of the image.
        rles: masks of the objects.
        others: further masks that do not belong to the surroundings.

    Returns:
        (N,) in [0, 1]: 0 for equal distributions, 1 if a threshold separates them without an error; nan for an object
        without a pixel or without surroundings.

    >>> grey = np.zeros((8, 8), np.uint8)
    >>> grey[2:4, 2:4] = 200
    >>> grey[2, 2] = 0  # a quarter of the object looks like the background
    >>> square = np.zeros((8, 8))
    >>> square[2:4, 2:4] = 1
    >>> ks_contrast(grey, [masks.encode(square)]).tolist()
    [0.75]
    """
    height, width = grey.shape
    covered = masks.decode(masks.union([*rles, *others], (height, width)))
    found = np.full(len(rles), np.nan)
    for number, (crop, x, y) in enumerate(masks.decode_crops(rles)):
        inside, near, window = _neighbourhood(crop, x, y, grey.shape)
        free = near & ~covered[window]
        around = free if free.any() else near
        if inside.any() and around.any():
            found[number] = _distance(grey[window][inside], grey[window][around])
    return found


def ks_contrast_by_windows(
    read: Callable[[tuple[int, int, int, int]], GreyArray], rles: Sequence[Rle], others: Sequence[Rle] = ()
) -> FloatArray:
    """Compute `ks_contrast` in an image that is read by windows, each with the objects that begin in it.

    Args:
        read: reads the grey values of a window, given as xyxy in whole pixels.
        rles: masks of the objects.
        others: further masks that do not belong to the surroundings.

    Returns:
        See `ks_contrast`.

    >>> grey = np.zeros((8, 8), np.uint8)
    >>> grey[2:4, 2:4] = 200
    >>> ks_contrast_by_windows(lambda box: grey[box[1] : box[3], box[0] : box[2]], [masks.encode(grey)]).tolist()
    [1.0]
    """
    found = np.full(len(rles), np.nan)
    every = [*rles, *others]
    if not rles:
        return found
    height, width = rles[0]["size"]
    bounds = masks.boxes(every).astype(np.int64)
    cells = bounds[: len(rles), 1] // _WINDOW * (width // _WINDOW + 1) + bounds[: len(rles), 0] // _WINDOW
    for cell in np.unique(cells):
        own = np.flatnonzero(cells == cell)
        x0, y0 = np.maximum(bounds[own, :2].min(axis=0) - RING, 0).tolist()
        x1, y1 = np.minimum(bounds[own, 2:].max(axis=0) + RING, [width, height]).tolist()
        if x0 >= x1 or y0 >= y1:  # empty masks
            continue
        left, top, right, bottom = bounds.T
        meets = (left < x1) & (right > x0) & (top < y1) & (bottom > y0)
        meets[own] = False
        near = np.flatnonzero(meets)
        crops = [
            masks.encode_crop(crop, x - x0, y - y0, (y1 - y0, x1 - x0))
            for crop, x, y in masks.decode_crops([every[place] for place in (*own.tolist(), *near.tolist())])
        ]
        found[own] = ks_contrast(read((x0, y0, x1, y1)), crops[: len(own)], crops[len(own) :])
    return found


def _neighbourhood(
    crop: npt.NDArray[np.uint8], x: int, y: int, size: tuple[int, ...]
) -> tuple[BoolArray, BoolArray, tuple[slice, slice]]:
    """Return the pixels of an object and those of its surroundings, both within a window, and the window."""
    top, left = max(y - RING, 0), max(x - RING, 0)
    window = (slice(top, y + crop.shape[0] + RING), slice(left, x + crop.shape[1] + RING))
    inside = np.zeros((min(window[0].stop, size[0]) - top, min(window[1].stop, size[1]) - left), dtype=np.uint8)
    inside[y - top : y - top + crop.shape[0], x - left : x - left + crop.shape[1]] = crop
    near = cv2.dilate(inside, _DISC) if crop.size else inside
    return inside > 0, (near > 0) & (inside == 0), window


def _distance(first: GreyArray, second: GreyArray) -> float:
    shares = [np.cumsum(np.bincount(values, minlength=256)) / len(values) for values in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


@dataclass(frozen=True)
class Trait:
    """A property that divides the true objects into S strata.

    Attributes:
        names: names of the strata.
        bounds: (S - 1,) values that separate the strata; empty where the strata are not ranges.
        of: (N,) stratum of each true object; -1 for crowds and for objects without this property.
        sized: True if the property is the area.
    """

    names: Sequence[str]
    bounds: Sequence[float]
    of: IntArray
    sized: bool = False

    @property
    def objects(self) -> list[int]:
        """Number of true objects of each stratum."""
        return [int((self.of == number).sum()) for number in range(len(self.names))]


@dataclass(frozen=True)
class StratumNumbers:
    """Scores of a method for one stratum, in [0, 1]; nan without objects.

    Attributes:
        ap: average precision, mean over IoU .50 to .95.
        recall: share of the objects that are matched at IoU .50 at the operating point.
        iou: mean IoU of each object with the detection at the operating point that overlaps it most.
    """

    ap: float
    recall: float
    iou: float


def thirds(values: FloatArray, names: tuple[str, str, str], *, sized: bool = False) -> Trait:
    """Divide objects into three strata of nearly equal numbers.

    Equal values stay together. Where this leaves two strata they have the first and the last name; a single one is
    called "all".

    Args:
        values: (N,) value of each object; nan belongs to no stratum.
        names: names of the lowest, the middle and the highest third.
        sized: True if the values are areas.

    >>> trait = thirds(np.array([5.0, 1.0, 9.0, np.nan]), ("low", "middle", "high"))
    >>> trait.bounds, trait.of.tolist()
    ([3.0, 7.0], [1, 0, 2, -1])
    """
    distinct, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    below = np.cumsum(counts)[:-1]
    targets = [counts.sum() / 3, counts.sum() * 2 / 3] if len(below) else []
    cuts = np.unique(np.array([np.abs(below - target).argmin() for target in targets], dtype=np.int64))
    bounds = (distinct[cuts] + distinct[cuts + 1]) / 2
    of = np.where(np.isnan(values), -1, np.searchsorted(bounds, values))
    titles = {0: ("all",), 1: (names[0], names[2]), 2: names}[len(cuts)]
    return Trait(titles if len(distinct) else (), bounds.tolist(), of, sized)


def classes(values: IntArray, names: Sequence[str]) -> Trait:
    """Divide objects by class; classes without objects are left out.

    Args:
        values: (N,) index into ``names`` of each object; -1 belongs to no stratum.
        names: names of all classes.

    >>> trait = classes(np.array([2, 0, -1]), ["alone", "touching", "overlapping"])
    >>> trait.names, trait.of.tolist()
    (['alone', 'overlapping'], [1, 0, -1])
    """
    there = np.unique(values[values >= 0])
    return Trait([names[n] for n in there], (), np.where(values < 0, -1, np.searchsorted(there, values)))


def numbers_by_stratum(inputs: MetricInput, traits: Sequence[Trait]) -> list[list[StratumNumbers]]:
    """Compute the scores of a method for each stratum of each trait.

    Recall is computed from matches with all objects: with the others ignored, an object could be matched with a
    detection that fits another one better.

    Args:
        inputs: the N true objects and the detections, which have masks; of a single category.
        traits: traits of the true objects.

    >>> mask = masks.encode(np.ones((4, 4)))
    >>> truth = {"category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> truths = [truth | {"image_id": 1}, truth | {"image_id": 2}]
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> inputs = MetricInput(truths, [found], None, [1], {1: (4, 4), 2: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> trait = classes(np.array([0, 1]), ["alone", "touching"])
    >>> [stratum.recall for stratum in numbers_by_stratum(inputs, [trait])[0]]
    [1.0, 0.0]
    """
    once = np.ones((1, len(inputs.sizes)), dtype=np.int64)
    precision = iter(_precision(inputs, traits, once)[:, 0].tolist())
    matched = _matched(inputs.matches("segm"), len(inputs.truths), inputs.score_threshold)
    overlaps = inputs.once(mask_candidates).max_iou_per_truth(len(inputs.truths), inputs.score_threshold)
    return [
        [
            StratumNumbers(
                next(precision),
                float(matched[trait.of == number].mean()) if objects else float("nan"),
                float(overlaps[trait.of == number].mean()) if objects else float("nan"),
            )
            for number, objects in enumerate(trait.objects)
        ]
        for trait in traits
    ]


def resampled_by_stratum(inputs: MetricInput, trait: Trait, draws: CountArray) -> FloatArray:
    """Compute the AP of a method for each stratum on each resample, (S, B); nan without objects of the stratum.

    Args:
        inputs: the N true objects and the detections, which have masks; of a single category.
        trait: trait of the true objects; its strata are the same for all resamples.
        draws: (B, I) number of times that each image is drawn, images by increasing id.

    >>> mask = masks.encode(np.ones((4, 4)))
    >>> truth = {"category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> truths = [truth | {"image_id": 1}, truth | {"image_id": 2}]
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> inputs = MetricInput(truths, [found], None, [1], {1: (4, 4), 2: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> trait = classes(np.array([0, 1]), ["alone", "touching"])
    >>> resampled_by_stratum(inputs, trait, np.array([[1, 1], [2, 0]])).tolist()
    [[1.0, 1.0], [0.0, nan]]
    """
    return _precision(inputs, [trait], draws)


def _area(trait: Trait, number: int) -> tuple[float, float]:
    """Return the range of areas of a stratum: its own if the trait is the area, else all areas."""
    ends = [AREAS[ALL][0], *trait.bounds, AREAS[ALL][1]]
    return (ends[number], ends[number + 1]) if trait.sized else AREAS[ALL]


def _matched(matches: Matches, truths: int, score_threshold: float) -> BoolArray:
    """Find the true objects that are matched at IoU .50 at the operating point, (N,) bool."""
    detection = matches.detection[IOU50, ALL]
    kept = np.append(matches.score >= score_threshold, False)
    matched = np.zeros(truths, dtype=np.bool_)
    matched[matches.truth_record] = kept[detection]  # -1, for none, selects the last entry, which is False
    return matched


def _precision(inputs: MetricInput, traits: Sequence[Trait], draws: CountArray) -> FloatArray:
    """Compute the AP of each stratum on each resample, (strata, B)."""
    strata = [(trait, number) for trait in traits for number in range(len(trait.names))]
    if not strata:
        return np.zeros((0, len(draws)))
    # Each stratum ignores the objects of the others, so its matches are its own.
    matches = match_candidates(
        inputs.once(mask_candidates),
        areas=[_area(trait, number) for trait, number in strata],
        ignore=np.array([trait.of != number for trait, number in strata], dtype=np.bool_),
    )
    ignored = [*matches.truth_ignored, inputs.matches("segm").truth_ignored[ALL]]
    counted = [np.bincount(matches.truth_image[~own], minlength=draws.shape[1]) for own in ignored]
    objects = np.array(counted) @ draws.T
    sized = np.array([trait.sized for trait, _ in strata])
    weight = np.where(sized[:, None], 1.0, objects[:-1] / np.maximum(objects[-1], 1))
    precision = resampled_precision(matches, draws, max_dets=inputs.max_dets, false_weight=weight).precision
    return np.moveaxis(precision, 0, -1).copy().mean(axis=-1)  # type: ignore[no-any-return]
