"""Suspect labels: annotations that methods of use contradict, ranked, and their file for re-annotation."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import segtrain
from segtrain import boxes, masks
from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.benchmark.runner import SUSPECTS, MethodResult
from segtrain.data.coco.index import CocoIndex
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.io import write_atomically
from segtrain.mask_records import column, reaching, rles_of
from segtrain.masks import Rle
from segtrain.metrics.pairs import Pairs, mask_pairs

Kind = Literal["missed", "unlabelled", "category", "outline", "merged"]
SHAPES: tuple[Kind, ...] = ("missed", "outline", "merged")
LEAST = 0.5  # least score of a suspect
MOST = 1000  # suspects of a file
_MATCH = 0.5  # IoU from which a detection is of an object
_NEAR = 0.1  # IoU below which a detection has nothing to do with an object
_INSIDE = 0.5  # share of a detection inside an object from which it is a part of it
_AGREES = 0.7  # IoU from which a detection confirms the outline of a label
_COVERS = 0.7  # share of a label that several detections inside it cover, if it stands for several objects
_LEAST_ERROR, _MOST_ERROR = 0.01, 0.95  # bounds of rates of error, so that no method decides alone


@dataclass(frozen=True)
class Suspect:
    """A label that methods contradict, or an object that has none.

    Attributes:
        kind: "missed": no method finds the labelled object; "unlabelled": methods find an object without a label;
            "category": found as another category; "outline": found with another outline; "merged": found as several.
        image_id: id of the image.
        annotation_id: number of the label among those of the file, from 1; None without one.
        score: 1 minus the rate at which the methods contradict labels so clearly, in [0, 1].
        methods: names of the methods that contradict the label.
        found: masks that the surest of them has found instead: several for "merged", none for "missed".
        category_id: category of the label; without a label, or for "category", the one that was found.
    """

    kind: Kind
    image_id: int
    annotation_id: int | None
    score: float
    methods: Sequence[str]
    found: Sequence[Rle]
    category_id: int


class _Voter:
    """Detections of a method at its operating point, beside the true objects.

    Args:
        name: name of the method.
        detections: its detections, with masks.
        truth: true objects.
    """

    def __init__(self, name: str, detections: Detections, truth: GroundTruthSet) -> None:
        self.name, self.aware = name, detections.class_aware and len(truth.categories) > 1
        found = reaching(detections.masks or (), detections.score_threshold)
        self.rles = rles_of(found)
        self.image, self.category = column(found, "image_id"), column(found, "category_id")
        scores = column(found, "score")
        # Scores of classical methods only rank.
        self.score = scores if detections.score_threshold > 0 else np.ones(len(scores))
        true_rles = rles_of(truth.truths)
        crowd = np.array([bool(own["iscrowd"]) for own in truth.truths], dtype=np.bool_)
        self.pairs = mask_pairs(self.rles, true_rles, self.image, column(truth.truths, "image_id"), crowd)
        self.best, self.best_detection = _best_of(self.pairs, len(truth.truths))
        areas = masks.area(self.rles).astype(np.float64)[self.pairs.detection]
        true_areas = masks.area(true_rles).astype(np.float64)[self.pairs.truth]
        shared = self.pairs.iou * np.where(crowd[self.pairs.truth], areas, (areas + true_areas) / (1 + self.pairs.iou))
        related = (self.pairs.iou >= _NEAR) | (shared >= _INSIDE * areas)
        self.unrelated = np.ones(len(self.rles), dtype=np.bool_)
        self.unrelated[self.pairs.detection[related]] = False
        hit = np.zeros(len(self.rles), dtype=np.bool_)
        hit[self.pairs.detection[self.pairs.iou >= _MATCH]] = True
        recall = float((self.best[~crowd] >= _MATCH).mean()) if (~crowd).any() else 0.0
        self.says_there = _evidence(1 - float(hit.mean()) if len(hit) else 1.0)
        self.says_nothing = _evidence(1 - recall)
        inside = self.pairs.where(shared >= _AGREES * areas)
        parts = np.bincount(inside.truth, minlength=len(crowd))
        covered = np.bincount(inside.truth, shared[shared >= _AGREES * areas], minlength=len(crowd))
        self.covered = np.where(parts > 1, covered / np.maximum(masks.area(true_rles), 1), 0.0)
        self.crowd, self._inside = crowd, inside

    def shape_evidence(self, area: FloatArray) -> dict[Kind, FloatArray]:
        """Return the evidence against the outline of each true object, by kind, (G,); 0 for none.

        Args:
            area: (G,) area of each true object in pixels.
        """
        confidence = np.zeros(len(area))
        seen = self.best_detection >= 0
        confidence[seen] = self.score[self.best_detection[seen]]
        missed = (self.best < _NEAR) & ~self.crowd
        merged = (self.covered >= _COVERS) & (self.best < _AGREES) & ~self.crowd & ~missed
        outline = (self.best < _AGREES) & ~missed & ~merged & ~self.crowd
        off = np.where(outline, confidence * (1 - self.best), 0.0)
        several = np.where(merged, confidence * (self.covered - np.minimum(self.best, self.covered)), 0.0)
        return {
            # Large objects are missed more seldom than small ones.
            "missed": _rarity(np.where(missed, area, 0.0), np.where(self.crowd, 0.0, area)),
            "outline": _rarity(off),
            "merged": _rarity(several),
        }

    def found_for(self, kind: Kind, number: int) -> list[Rle]:
        """Return the masks that speak against the outline of a true object.

        Args:
            kind: kind of the contradiction.
            number: index of the true object.
        """
        if kind == "missed":
            return []
        parts = self._inside.detection[self._inside.truth == number].tolist()
        return [self.rles[part] for part in (parts if kind == "merged" else [self.best_detection[number]])]

    def category_doubts(self, category: IntArray) -> tuple[FloatArray, IntArray]:
        """Find how much surer the method is of another category of each true object than of its own.

        Args:
            category: (G,) id of each true object's category.

        Returns:
            (G,) difference of the scores in [0, 1], and the detection of the other category, -1 for none.
        """
        near = self.pairs.where(self.pairs.iou >= _MATCH)
        right = self.category[near.detection] == category[near.truth]
        score = self.score[near.detection]
        own, other = np.zeros(len(category)), np.zeros(len(category))
        np.maximum.at(own, near.truth[right], score[right])
        np.maximum.at(other, near.truth[~right], score[~right])
        detection = np.full(len(category), -1)
        order = np.argsort(score[~right], kind="stable")
        detection[near.truth[~right][order]] = near.detection[~right][order]
        return np.clip(other - own, 0, 1), detection


def _evidence(error: float) -> float:
    """Return how much an observation says that a method makes by mistake at this rate: -log of the rate."""
    return float(-np.log(np.clip(error, _LEAST_ERROR, _MOST_ERROR)))


def _rarity(strength: FloatArray, of: FloatArray | None = None) -> FloatArray:
    """Return minus the logarithm of the share of entries that are at least as strong; 0 for a strength of 0.

    Args:
        strength: (N,) strengths.
        of: (N,) values among which the share is taken, of entries that reach the strength; None for all entries.
    """
    ordered = np.sort(strength)
    as_strong = len(strength) - np.searchsorted(ordered, strength)
    among = len(strength) if of is None else len(of) - np.searchsorted(np.sort(of), strength)
    return np.where(strength > 0, -np.log(as_strong / np.maximum(among, as_strong)), 0.0)


def _best_of(pairs: Pairs, truths: int) -> tuple[FloatArray, IntArray]:
    """Return the largest IoU of each true object, and the detection that has it, -1 for none."""
    best, detection = np.zeros(truths), np.full(truths, -1)
    order = np.argsort(pairs.iou, kind="stable")
    best[pairs.truth[order]], detection[pairs.truth[order]] = pairs.iou[order], pairs.detection[order]
    return best, detection


def voters(rows: Mapping[str, MethodResult], useful: Sequence[str], quality: Mapping[str, float]) -> list[str]:
    """Choose the methods whose contradiction counts.

    Those of one technique make the same mistakes, so that the best one speaks for them; every network and every result
    file speaks for itself. Methods far behind the best are left out, as are oracles, which were chosen by the labels.

    Args:
        rows: methods by name.
        useful: names of the methods that are of use.
        quality: F1 of each method at its operating point.
    """
    able = [name for name in useful if rows[name].detections.masks is not None and not rows[name].oracle]
    able.sort(key=lambda name: -quality[name])
    chosen: list[str] = []
    techniques: set[str] = set()
    for name in able:
        technique = rows[name].technique if rows[name].ranked_by is not None else None
        if technique not in techniques and 2 * quality[name] >= quality[able[0]]:
            chosen.append(name)
            if technique is not None:
                techniques.add(technique)
    return chosen


def find_suspects(rows: Mapping[str, MethodResult], truth: GroundTruthSet, names: Sequence[str]) -> list[Suspect]:
    """Find the labels that methods contradict, and objects without labels, the most suspect ones first.

    The evidence of a method is minus the logarithm of the rate at which it contradicts labels of these data in the same
    way, and at least as clearly: as most labels are right, this is the rate of its errors. What is rare is suspicious.
    The evidence of several methods is added, and that of methods which confirm the label is subtracted.

    Args:
        rows: methods by name.
        truth: true objects.
        names: names of the methods that count, see ``voters``; none: no suspect.
    """
    able = [_Voter(name, rows[name].detections, truth) for name in names]
    if not able:
        return []
    found = [*_contradicted(able, truth), *_unlabelled(able)]
    found = [suspect for suspect in found if suspect.score >= LEAST]
    return sorted(found, key=lambda own: (-own.score, own.image_id, own.annotation_id or 0))[:MOST]


def _contradicted(able: Sequence[_Voter], truth: GroundTruthSet) -> Iterator[Suspect]:
    """Yield a suspect for each label, of the kind that most speaks against it."""
    area = masks.area(rles_of(truth.truths)).astype(np.float64)
    category = column(truth.truths, "category_id")
    shapes = [own.shape_evidence(area) for own in able]
    confirmed = np.stack([np.where(own.best >= _AGREES, own.says_there, 0.0) for own in able])
    total: dict[Kind, FloatArray] = {kind: sum(own[kind] for own in shapes) - confirmed.sum(axis=0) for kind in SHAPES}
    aware = [own for own in able if own.aware]
    others = [own.category_doubts(category) for own in aware]
    names = [_rarity(doubt) for doubt, _ in others]
    total["category"] = sum(names, np.zeros(len(area)))
    doubtful = np.max(list(total.values()), axis=0) >= -np.log(1 - LEAST)
    for number in np.flatnonzero(doubtful).tolist():
        label = truth.truths[number]
        if label["iscrowd"]:
            continue
        kind = max(total, key=lambda kind: total[kind][number])
        if kind == "category":
            voices = [own[number] for own in names]
            voter = aware[int(np.argmax(voices))]
            detection = int(others[aware.index(voter)][1][number])
            found, named = [voter.rles[detection]], int(voter.category[detection])
            against = [own.name for own, voice in zip(aware, voices, strict=True) if voice > 0]
        else:
            voices = [own[kind][number] for own in shapes]
            found, named = able[int(np.argmax(voices))].found_for(kind, number), int(label["category_id"])
            against = [own.name for own, voice in zip(able, voices, strict=True) if voice > 0]
        score = 1 - float(np.exp(-total[kind][number]))
        yield Suspect(kind, int(label["image_id"]), int(label["id"]), score, against, found, named)


def _unlabelled(able: Sequence[_Voter]) -> Iterator[Suspect]:
    """Yield a suspect for each object that methods find where no label is, once for all methods."""
    rarity = [_rarity(np.where(own.unrelated, own.score, 0.0)) for own in able]
    taken: list[BoolArray] = [~own.unrelated for own in able]
    for number, first in enumerate(able):
        left = np.flatnonzero(~taken[number])
        left = left[np.argsort(-first.score[left], kind="stable")]
        rles = [first.rles[place] for place in left.tolist()]
        support = np.zeros((len(left), len(able)))
        support[:, number] = rarity[number][left]
        for later in range(number + 1, len(able)):
            other = able[later]
            pairs = mask_pairs(rles, other.rles, first.image[left], other.image)
            close = pairs.where((pairs.iou >= _MATCH) & ~taken[later][pairs.truth])
            np.maximum.at(support[:, later], close.detection, rarity[later][close.truth])
            taken[later][close.truth] = True
        own_pairs = mask_pairs(rles, rles, first.image[left], first.image[left])
        repeated = own_pairs.where((own_pairs.iou >= _MATCH) & (own_pairs.truth < own_pairs.detection))
        again = set(repeated.detection.tolist())
        for place, (detection, share) in enumerate(zip(left.tolist(), support, strict=True)):
            if place not in again:
                names = [own.name for own, part in zip(able, share, strict=True) if part > 0]
                denied = sum(own.says_nothing for own, part in zip(able, share, strict=True) if part == 0)
                score, category = 1 - float(np.exp(denied - share.sum())), int(first.category[detection])
                yield Suspect("unlabelled", int(first.image[detection]), None, score, names, [rles[place]], category)


def file_ids(index: CocoIndex) -> dict[int, int]:
    """Return the id in the file of each annotation by its number; the number itself where ids do not identify.

    Args:
        index: the data.
    """
    rows = index.annotations.rows
    known = rows["id"] if len(np.unique(rows["id"])) == len(rows) and (rows["id"] >= 0).all() else rows["number"]
    return dict(zip(rows["number"].tolist(), known.tolist(), strict=True))


def write_suspects(
    folder: Path, suspects: Sequence[Suspect], index: CocoIndex, truth: GroundTruthSet, methods: Sequence[str]
) -> None:
    """Write ``suspects.json``, a COCO file of the suspect labels and of the objects without one.

    Besides COCO's keys each annotation has ``kind``, ``score``, ``methods``, and for labels what was found instead:
    ``found_segmentations``, ``found_category_id``. Labels have the ids of the file, or their numbers where these are
    not unique whole numbers; objects without a label get new ones.

    Args:
        folder: folder of the evaluation.
        suspects: suspects, the most suspect ones first.
        index: evaluated data.
        truth: true objects.
        methods: names of the methods that counted.
    """
    labels = {int(own["id"]): own for own in truth.truths}
    known = {category.id for category in truth.categories}
    ids = file_ids(index)
    next_id, annotations = max(ids.values(), default=0) + 1, []
    for suspect in suspects:
        entry: dict[str, Any]
        if suspect.annotation_id is not None:
            entry = {**labels[suspect.annotation_id], "id": ids[suspect.annotation_id]}
            if suspect.found:
                entry["found_segmentations"] = list(suspect.found)
            if suspect.kind == "category":
                entry["found_category_id"] = suspect.category_id
        else:
            # A method without categories says only that there is something.
            named = suspect.category_id if suspect.category_id in known else min(known)
            entry = {
                "id": next_id,
                "image_id": suspect.image_id,
                "category_id": named,
                "segmentation": suspect.found[0],
                "bbox": boxes.xyxy_to_xywh(masks.boxes(suspect.found))[0].tolist(),
                "area": float(masks.area(suspect.found)[0]),
                "iscrowd": 0,
            }
            next_id += 1
        annotations.append({**entry, "kind": suspect.kind, "score": suspect.score, "methods": list(suspect.methods)})
    held = {suspect.image_id for suspect in suspects}
    said = f"Labels of {index.path} that {', '.join(methods)} contradict" if methods else "No method is of use"
    content = {
        "info": {"description": said, "version": segtrain.__version__},
        "images": [
            {"id": image.id, "file_name": image.file_name, "height": image.height, "width": image.width}
            for image in index.images
            if image.id in held
        ],
        "annotations": annotations,
        "categories": [{"id": category.id, "name": category.name} for category in truth.categories],
    }
    write_atomically(folder / SUSPECTS, json.dumps(content))
