"""True objects divided by what they are like, and the numbers of a method for each kind of them.

AP of a stratum ignores all other objects, as COCO's AP for small objects ignores large ones: what is matched to them
counts neither way. An unmatched detection counts by its own area where the stratum is one of sizes, which is COCO's
rule. Nothing tells to which contrast or crowding it belongs, so there each one counts as the stratum's share of all
objects, as if false detections were spread evenly. That is the precision that the same recall would have if there were
as many objects in every stratum as in all: the normalised precision of Hoiem, Chodpathumwan and Dai, Diagnosing Error
in Object Detectors (2012). Without it a rare kind of object would have a low AP because it is rare.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.instances import GroundTruth, Prediction
from segtrain.metrics.curves import RECALLS
from segtrain.metrics.matching import AREAS, Matches, match

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_ALL = AREAS[0]


@dataclass(frozen=True)
class Trait:
    """A property that divides the true objects into S strata.

    Attributes:
        names: of the strata.
        bounds: (S - 1,) the values between them; none where the strata are not ranges.
        of: (N,) each true instance's stratum; -1: crowds, and what has no such property.
        sized: whether the property is the area.
    """

    names: Sequence[str]
    bounds: Sequence[float]
    of: IntArray
    sized: bool = False

    @property
    def objects(self) -> list[int]:
        """How many true objects each stratum has."""
        return [int((self.of == number).sum()) for number in range(len(self.names))]


@dataclass(frozen=True)
class StratumNumbers:
    """A method's numbers for one stratum, in [0, 1]; nan without objects.

    Attributes:
        ap: mean over IoU .50 to .95.
        recall: share of the objects that are matched at IoU .50 at the operating point.
        iou: of each object with the detection at the operating point that overlaps it most; their mean.
    """

    ap: float
    recall: float
    iou: float


def thirds(values: FloatArray, names: tuple[str, str, str], *, sized: bool = False) -> Trait:
    """Divide objects into three parts of nearly the same number, so that each has enough to say something.

    Equal values stay together. Where they leave fewer than three parts the last name stands for the upper one of two,
    and "all" for the only one.

    Args:
        values: (N,); nan belongs to no stratum.
        names: of the lowest, the middle and the highest third.
        sized: the values are areas.
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
    """Divide objects by what they are; kinds that no object is of are left out.

    Args:
        values: (N,) the place of each one's name; -1 belongs to no stratum.
        names: of all kinds.
    """
    there = np.unique(values[values >= 0])
    return Trait([names[n] for n in there], (), np.where(values < 0, -1, np.searchsorted(there, values)))


def numbers_by_stratum(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    traits: Sequence[Trait],
    *,
    image_ids: Sequence[int],
    category_id: int,
    max_dets: int,
    score_threshold: float,
) -> list[list[StratumNumbers]]:
    """A method's numbers for each stratum of each trait; masks are compared once for the APs of all of them.

    Args:
        truths: all N true instances, of one category.
        predictions: all detections, of the same category.
        traits: of the true instances.
        image_ids: every image that was segmented; records of others are left out.
        category_id: that of the records.
        max_dets: detections kept per image for AP, best first.
        score_threshold: the operating point: recall and IoU leave detections of a lower score out.
    """
    strata = [(trait, number) for trait in traits for number in range(len(trait.names))]
    # One more for all objects: their matches decide the recall, so that no object gains by its rivals being ignored.
    areas = [*(_area(trait, number) for trait, number in strata), _ALL]
    aside = np.array([*(trait.of != number for trait, number in strata), np.zeros(len(truths))], dtype=np.bool_)
    matches = match(
        truths, predictions, image_ids=image_ids, category_ids=[category_id], iou_type="segm", areas=areas, aside=aside
    )
    matched = _matched(matches, len(truths), score_threshold)
    overlaps = best_found(truths, [p for p in predictions if p["score"] >= score_threshold], image_ids)
    everything = int(np.sum([not truth["iscrowd"] for truth in truths]))
    found = iter(range(len(strata)))
    return [
        [
            StratumNumbers(
                _average_precision(matches, next(found), 1.0 if trait.sized else objects / everything, max_dets),
                float(matched[trait.of == number].mean()) if objects else float("nan"),
                float(overlaps[trait.of == number].mean()) if objects else float("nan"),
            )
            for number, objects in enumerate(trait.objects)
        ]
        for trait in traits
    ]


def best_found(
    truths: Sequence[GroundTruth], predictions: Sequence[Prediction], image_ids: Sequence[int]
) -> FloatArray:
    """(N,) each true instance's highest IoU with a detection of its image, 0 without any."""
    real: dict[int, list[int]] = {image_id: [] for image_id in image_ids}
    found: dict[int, list[masks.Rle]] = {image_id: [] for image_id in image_ids}
    for number, truth in enumerate(truths):
        real.get(truth["image_id"], []).append(number)
    for prediction in predictions:
        found.get(prediction["image_id"], []).append(prediction["segmentation"])
    best = np.zeros(len(truths))
    for image_id, here in real.items():
        if here and found[image_id]:
            known = [truths[number] for number in here]
            crowd = [truth["iscrowd"] for truth in known]
            best[here] = masks.iou(found[image_id], [t["segmentation"] for t in known], crowd).max(axis=0)
    return best


def _area(trait: Trait, number: int) -> tuple[float, float]:
    """The areas that count in a stratum, by COCO's rule of areas where it is one of sizes."""
    ends = [_ALL[0], *trait.bounds, _ALL[1]]
    return (ends[number], ends[number + 1]) if trait.sized else _ALL


def _matched(matches: Matches, truths: int, score_threshold: float) -> npt.NDArray[np.bool_]:
    """(N,) whether each true instance is matched at IoU .50 at the operating point, where all objects count."""
    detection = matches.detection[0, -1]
    kept = np.append(matches.score >= score_threshold, False)
    matched = np.zeros(truths, dtype=np.bool_)
    matched[matches.truth_record] = kept[detection]  # -1, for none, is the last of them
    return matched


def _average_precision(matches: Matches, a: int, share: float, max_dets: int) -> float:
    """COCO's AP where unmatched detections count as a share of one."""
    objects = int((~matches.truth_ignored[a]).sum())
    if not objects:
        return float("nan")
    among = matches.rank < max_dets
    counted, right = ~matches.ignored[:, a, among], matches.truth[:, a, among] >= 0
    total = 0.0
    for hit, miss in zip(counted & right, counted & ~right, strict=True):
        # Between two hits the precision only falls: the places of the hits are enough.
        places = np.flatnonzero(hit)
        hits = np.arange(1, len(places) + 1)
        precision = hits / (hits + share * np.cumsum(miss)[places])
        best = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(hits / objects, RECALLS)
        total += float(np.append(best, 0.0)[reached].mean())
    return total / len(counted)
