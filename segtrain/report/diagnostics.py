"""Diagnosis of metrics that are 0 or undefined: mistakes in detections, and one generic sentence for the rest."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from segtrain import masks
from segtrain.benchmark.results import AffectedCategory, Reason
from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import TRACKS, GroundTruthSet, TrackName, metric_input
from segtrain.mask_records import column, rles_of
from segtrain.metrics.box_formats import BoxFormatMismatch, box_format_mismatch
from segtrain.metrics.candidates import IouType
from segtrain.metrics.matching import ALL, AREAS, IOU50
from segtrain.metrics.mean_iou import pixel_counts
from segtrain.metrics.metric import Metric
from segtrain.metrics.registry import METRICS
from segtrain.metrics.scores import CategoryScores, TrackScores
from segtrain.records import GroundTruth
from segtrain.report.tables import is_blank, is_zero

MATCH_IOU = 0.5
LOW_AP = 0.05  # an AP below it may be the work of misread boxes: a few of them always fit by chance
LOW_SHARE = 0.1  # a class-aware value below this share of the class-agnostic one has lost nearly all to categories
LOW_SHARE_OF_MASKS = 0.5  # box AP below this share of mask AP: boxes of masks are seldom worse than these
CONFUSED = 0.5  # category ids do not agree if fewer of the matched detections have the right category
MIN_MATCHED, MIN_MATCHED_SHARE = 20, 0.2  # matched detections, and their share of all, before ids are compared
MIN_VOTES, MAJORITY = 3, 2 / 3  # detections that must agree on a true category, and their share of those of their own
LISTED_IDS = 5
_SIZES = {1: " below 32 × 32 pixels", 2: " of 32 × 32 to 96 × 96 pixels", 3: " above 96 × 96 pixels"}  # by AREAS
_REMEDIES = {"learned": "train longer", "classical": "try a smaller min_area or another foreground rule"}


class Severity(IntEnum):
    """Urgency of a reason, the most severe first."""

    DATA = 0  # the data were probably read in another sense than was meant
    DEFECT = 1  # an error that the user can correct
    POOR = 2  # little is right
    ABSENT = 3  # there was nothing to measure


class Diagnosis(NamedTuple):
    """Why one number of a method is 0 or undefined.

    Attributes:
        track: track of the number.
        key: key of the number, see ``Reason``.
        why: a sentence without capital and full stop.
        severity: urgency.
        categories: categories concerned; none: all that have such a number.
    """

    track: TrackName
    key: str
    why: str
    severity: Severity
    categories: tuple[AffectedCategory, ...] = ()


Tracks = Mapping[TrackName, TrackScores | None]  # scores by track; None where they were not computed


def diagnose(
    diagnoses: Mapping[str, Sequence[Diagnosis]],
    tracks: Mapping[str, Tracks],
    doubts: Sequence[str] = (),
    box_doubts: Sequence[str] = (),
) -> list[Reason]:
    """Explain every metric that is undefined or shown as 0.

    Args:
        diagnoses: what is known of such metrics by method name, see ``diagnose_row``.
        tracks: scores by method name.
        doubts: properties of the data that make all numbers doubtful, see `segtrain.report.doubts`.
        box_doubts: properties of the data that make box AP doubtful; given for values far below the masks' AP.

    Returns:
        One reason for each cause, the most severe first; methods with the same cause share it.
    """
    found: dict[tuple[Severity, str, tuple[AffectedCategory, ...], tuple[str, ...]], dict[str, list[str]]] = {}
    for name, known in diagnoses.items():
        causes: dict[tuple[Severity, str, tuple[AffectedCategory, ...]], list[Diagnosis]] = defaultdict(list)
        low = [diagnosis for diagnosis in known if diagnosis.severity != Severity.ABSENT]
        more = [own._replace(why=doubt, severity=Severity.DATA) for doubt in doubts for own in low]
        for diagnosis in (*known, *more, *_doubt_boxes(tracks[name], box_doubts)):
            causes[diagnosis.severity, diagnosis.why, diagnosis.categories].append(diagnosis)
        for cause, alike in causes.items():
            keys = tuple(dict.fromkeys(diagnosis.key for diagnosis in alike))
            entry = found.setdefault((*cause, keys), {"rows": [], "tracks": []})
            entry["rows"].append(name)
            entry["tracks"] += dict.fromkeys(d.track for d in alike if d.track not in entry["tracks"])
    ordered = sorted(found.items(), key=lambda item: item[0][0])
    return [
        Reason.of({**entry, "keys": keys, "why": why, "categories": categories})
        for (_, why, categories, keys), entry in ordered
    ]


def diagnose_row(row: MethodResult, tracks: Tracks, ground_truth: GroundTruthSet, max_dets: int) -> Iterator[Diagnosis]:
    """Explain every metric of a method that is undefined or shown as 0.

    Args:
        row: the method.
        tracks: its scores.
        ground_truth: true objects, with their categories.
        max_dets: detections per image and category that AP and AR use.
    """
    evidence = Evidence(row, ground_truth, max_dets)
    for track in TRACKS:
        track_scores, agnostic_scores = tracks.get(track), tracks.get("class_agnostic")
        for metric in METRICS:
            if track_scores is None or metric.key not in track_scores.metrics:
                continue
            value = track_scores.metrics[metric.key]
            agnostic = agnostic_scores.metrics.get(metric.key) if agnostic_scores else 0.0
            # Where the class-agnostic value is not blank, categories are the cause.
            if is_blank(value) and (track == "class_agnostic" or is_blank(agnostic)):
                undefined = evidence.undefined(metric) if value is None else ""
                if undefined:
                    yield Diagnosis(track, metric.key, undefined, Severity.ABSENT)
                elif mistake := evidence.mistake(metric):
                    yield Diagnosis(track, metric.key, mistake, Severity.DEFECT)
                else:
                    yield Diagnosis(track, metric.key, evidence.generic(metric), Severity.POOR)
            elif value is not None and value < LOW_AP and _is_precision(metric) and (why := evidence.misread(metric)):
                yield Diagnosis(track, metric.key, why, Severity.DEFECT)
    yield from _diagnose_categories(row, tracks, ground_truth, max_dets, evidence)
    if not row.detections.seconds:
        why = "oracles are not timed" if row.oracle else "read from a file, so there was nothing to time"
        yield from (Diagnosis(track, "seconds", why, Severity.ABSENT) for track in TRACKS if tracks.get(track))


def _doubt_boxes(tracks: Tracks, doubts: Sequence[str]) -> Iterator[Diagnosis]:
    """Yield the doubts about true boxes for each box AP that is far below the masks' AP."""
    for track in TRACKS:
        own = tracks.get(track)
        values = own.metrics if own else {}
        box, mask = values.get("box_ap"), values.get("mask_ap")
        if box is not None and (box < LOW_AP or (mask is not None and box < LOW_SHARE_OF_MASKS * mask)):
            yield from (Diagnosis(track, "box_ap", doubt, Severity.DATA) for doubt in doubts)


class Evidence:
    """Class-agnostic comparison of a method's detections with the true objects, computed on demand.

    Args:
        row: the method.
        ground_truth: true objects, with their categories.
        max_dets: detections per image that AP and AR use.
    """

    def __init__(self, row: MethodResult, ground_truth: GroundTruthSet, max_dets: int) -> None:
        self._row, self._max_dets = row, max_dets
        self._detections, self._ground_truth = row.detections.class_agnostic(), ground_truth.class_agnostic()
        self._inputs = metric_input(row.detections, ground_truth, max_dets)
        self._real = [truth for truth in self._ground_truth.truths if not truth["iscrowd"]]
        self.from_file = not row.detections.seconds and not row.oracle
        self._mismatches: dict[IouType, BoxFormatMismatch | None] = {}

    def undefined(self, metric: Metric) -> str:
        """Explain why a metric is undefined; empty if it is a mean over matches and there are none."""
        if self._detections.masks is None and metric.iou_type == "segm":
            return "boxes only; mask metrics need a segmentation in each record"
        if not self._real:
            count = len(self._ground_truth.truths)
            if not count:
                return "these images have no true object; evaluate on images with labelled objects"
            crowds = f"{count:,} crowd region{'s' if count > 1 else ''}"
            return (
                f"these images have no true object, only {crowds}; if these are objects, set data.crowd=objects, else "
                "evaluate on images with labelled objects"
            )
        area = metric.area
        if not self._of_size(area):
            areas = [truth["area"] for truth in self._real]
            low, high = (f"{area**0.5:,.0f}" for area in (min(areas), max(areas)))
            return (
                f"these data have no true object{_SIZES[area]}: their areas range from {low} × {low} to {high} × {high}"
            )
        return "" if self._has_true_pixels else "no true object has a pixel outside of crowd regions"

    def mistake(self, metric: Metric) -> str:
        """Name the mistake that keeps a metric at 0: nothing detected, all below the threshold, or misread units."""
        detections = self._found(metric.iou_type)
        if not detections:
            return self._nothing_detected()
        threshold = self._detections.score_threshold
        highest = column(detections, "score").max()
        if metric.uses == "operating_point" and highest < threshold:
            return (
                f"no detection reaches the score threshold {threshold:g} (the highest score is {highest:.3g}); "
                "score_threshold=… sets a lower one"
            )
        return self._empty_masks(metric) or self.misread(metric)

    def misread(self, metric: Metric) -> str:
        """Name the format in which boxes or masks of a file fit; empty if they fit as written, or in no format."""
        if not self.from_file:
            return ""
        iou_type = metric.iou_type
        if iou_type not in self._mismatches:
            sizes = self._ground_truth.sizes
            self._mismatches[iou_type] = box_format_mismatch(self._real, self._found(iou_type), sizes)
        mismatch = self._mismatches[iou_type]
        return mismatch.describe(iou_type) if mismatch else ""

    @property
    def misread_format(self) -> str:
        """Mistake that was found in boxes or masks, masks first."""
        types: tuple[IouType, IouType] = ("segm", "bbox")
        return next((way.describe(kind) for kind in types if (way := self._mismatches.get(kind))), "")

    def generic(self, metric: Metric) -> str:
        """State how many true objects are matched at IoU .50, and the best IoU of a detection."""
        iou_type, area, threshold = metric.iou_type, metric.area, self._detections.score_threshold
        matches = self._inputs.matches(iou_type)
        at_threshold = metric.uses == "operating_point" and threshold > 0
        used = matches.score >= threshold if metric.uses == "operating_point" else matches.rank < self._max_dets
        objects = self._of_size(area)
        right = int((matches.truth(IOU50, area, used & ~matches.ignored(IOU50, area)) >= 0).sum())
        candidates = self._inputs.candidates(iou_type)
        low, high = AREAS[area]
        counted = ~candidates.crowd & (candidates.truth_area >= low) & (candidates.truth_area <= high)
        best = candidates.highest_iou(used, counted)
        condition = f" at the score threshold {threshold:g}" if at_threshold else ""
        by_boxes = " by their boxes" if iou_type == "bbox" else ""
        what = f"{right:,} of {len(objects):,} true object{'s' if len(objects) > 1 else ''}{_SIZES.get(area, '')}"
        count = f"{int(used.sum()):,} detection{'s' if used.sum() != 1 else ''}"
        return (
            f"{what} {'is' if len(objects) == 1 else 'are'} matched{by_boxes} at IoU {MATCH_IOU:.2f}{condition}, among "
            f"{count}; the best IoU is {best:.2f}"
        )

    @cached_property
    def _has_true_pixels(self) -> bool:
        ids = [category.id for category in self._ground_truth.categories]
        counts = pixel_counts(self._ground_truth.truths, [], category_ids=ids, sizes=self._ground_truth.sizes)
        return bool(counts.sum(axis=0)[1, 0])

    def _of_size(self, area: int) -> list[GroundTruth]:
        low, high = AREAS[area]
        return [truth for truth in self._real if low <= truth["area"] <= high]

    def _found(self, iou_type: IouType) -> Sequence[Any]:
        if iou_type == "bbox" and self._detections.boxes is not None:
            return self._detections.boxes
        return self._detections.masks or ()

    def _nothing_detected(self) -> str:
        count = len(self._ground_truth.sizes)
        images = f"any of the {count:,} images" if count > 1 else "the only image"
        if self.from_file:
            return f"the file holds no detection for {images}"
        kind = "learned" if self._row.ranked_by is None else "classical"
        return f"nothing was detected on {images}; {_REMEDIES[kind]}"

    @cached_property
    def _empty_count(self) -> int:
        """Number of detected masks without a pixel."""
        return int((masks.area(rles_of(self._found("segm"))) == 0).sum())

    def _empty_masks(self, metric: Metric) -> str:
        if metric.iou_type == "bbox":
            return ""
        found = self._found("segm")
        empty = self._empty_count
        if 2 * empty <= len(found):
            return ""
        text = f"{empty:,} of {len(found):,} masks have no pixel" if len(found) > 1 else "the only mask has no pixel"
        remedy = "; polygons must be in pixels of the image, not in fractions of it"
        return f"{text}{remedy if self._detections.polygons else ''}"


def _is_precision(metric: Metric) -> bool:
    return metric.uses == "all" and metric.category_key is not None


def _diagnose_categories(
    row: MethodResult, tracks: Tracks, ground_truth: GroundTruthSet, max_dets: int, evidence: Evidence
) -> Iterator[Diagnosis]:
    """Explain class-aware metrics that are blank, or nearly so, although the class-agnostic ones are not."""
    if len(ground_truth.categories) < 2:
        return
    aware, agnostic_scores = tracks.get("class_aware"), tracks.get("class_agnostic")
    if aware is None:
        if evidence.from_file and not row.detections.class_aware:
            why = "all records carry category_id -1, which stands for no category; write the ids of the data"
            yield Diagnosis("class_aware", "class_aware", why, Severity.ABSENT)
        return
    agnostics = agnostic_scores.metrics if agnostic_scores else {}
    known = {key: (value, agnostics.get(key)) for key, value in aware.metrics.items()}
    lost = [
        key
        for key, (value, agnostic) in known.items()
        if agnostic is not None and not is_zero(agnostic)
        and (value is None or is_zero(value) or value < min(LOW_AP, LOW_SHARE * agnostic))
    ]  # fmt: skip
    whole = evidence.misread_format  # mistake that all categories suffer from
    if lost:
        votes = CategoryVotes.of(row, ground_truth, max_dets)
        why = whole or votes.describe(ground_truth)
        if votes.agreeing < CONFUSED * votes.total:
            whole = why
        yield from (
            Diagnosis("class_aware", key, why, Severity.DEFECT) for key in lost if whole or is_blank(known[key][0])
        )
    poor = [entry for entry in aware.per_category if entry.annotations and any(map(is_zero, entry.metrics.values()))]
    # Where nothing is right at all, the reasons of the whole track say so.
    if poor and any(not is_blank(aware.metrics.get(m.key)) for m in METRICS if _is_precision(m)):
        if whole:
            yield Diagnosis("class_aware", "per_category", whole, Severity.DEFECT)
        else:
            why, categories = _few_matches(poor, row, ground_truth, max_dets)
            yield Diagnosis("class_aware", "per_category", why, Severity.POOR, categories)
    if absent := [AffectedCategory(e.name, e.name) for e in aware.per_category if not e.annotations]:
        why = "the data have no true object of this category, and means leave it out"
        yield Diagnosis("class_aware", "per_category", why, Severity.ABSENT, tuple(absent))


def _few_matches(
    entries: Sequence[CategoryScores], row: MethodResult, ground_truth: GroundTruthSet, max_dets: int
) -> tuple[str, tuple[AffectedCategory, ...]]:
    """Count the detections of each category that overlap a true object of it by .50 or more."""
    inputs = metric_input(row.detections, ground_truth, max_dets, "class_aware")
    found = inputs.candidates("segm" if inputs.has("segm") else "bbox")
    right = found.max_iou_per_detection() >= MATCH_IOU
    least = np.broadcast_to(inputs.least_scores, len(inputs.category_ids))[found.category]
    above = found.score >= least
    notes = []
    for entry in entries:
        own = found.category_ids[found.category] == entry.id
        count = f"{int(right[own].sum()):,} of {int(own.sum()):,}" if own.any() else "no detection"
        if not above[own].all():
            kept = own & above
            count += f", {int(right[kept].sum()):,} of {int(kept.sum()):,} at the score threshold {least[own][0]:g}"
        notes.append(AffectedCategory(entry.name, f"{entry.name} ({count}, {entry.annotations:,} true)"))
    return f"few detections of this category overlap a true object of it by {MATCH_IOU:.2f}", tuple(notes)


class CategoryVotes(NamedTuple):
    """Categories of the detections that match a true object when categories do not matter.

    Attributes:
        detections: number of all detections.
        true: predicted category id -> how many of its detections match an object of each true category id.
    """

    detections: int
    true: Mapping[int, Counter[int]]

    @classmethod
    def of(cls, row: MethodResult, ground_truth: GroundTruthSet, max_dets: int) -> "CategoryVotes":
        """Match the detections of a method class-agnostically at IoU .50."""
        inputs = metric_input(row.detections, ground_truth, max_dets)
        matches = inputs.matches("segm" if inputs.has("segm") else "bbox")
        right = (matches.truth(IOU50, ALL) >= 0) & ~matches.ignored(IOU50, ALL)
        given: Any = row.detections.masks if row.detections.masks is not None else row.detections.boxes
        true: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for record, truth in zip(matches.record[right], matches.truth(IOU50, ALL, right), strict=True):
            true[given[record]["category_id"]][ground_truth.truths[truth]["category_id"]] += 1
        return cls(len(given), true)

    @property
    def total(self) -> int:
        """Number of matched detections."""
        return sum(counts.total() for counts in self.true.values())

    @property
    def agreeing(self) -> int:
        """Number of matched detections of the right category."""
        return sum(counts[category] for category, counts in self.true.items())

    def describe(self, ground_truth: GroundTruthSet) -> str:
        """State how many matched detections have the right category, and which ids are confused if that is clear."""
        if not self.total:
            return "the few detections that are right without categories do not count with them"
        text = f"{self.agreeing:,} of {self.total:,} detections that match a true object have the right category"
        if self.total < max(MIN_MATCHED, MIN_MATCHED_SHARE * self.detections):
            return text
        pairs = sorted(
            ((count, found, true) for found, counts in self.true.items() for true, count in counts.items()
             if found != true and count >= MIN_VOTES),
            key=lambda pair: (-pair[0], *pair[1:]),
        )  # fmt: skip
        clear = [pair for pair in pairs if pair[0] >= MAJORITY * self.true[pair[1]].total()]
        if len(clear) > 1 and 2 * sum(count for count, *_ in clear) >= self.total:
            more = f" and {len(clear) - LISTED_IDS:,} more" if len(clear) > LISTED_IDS else ""
            mapping = ", ".join(f"{found} to {true}" for _, found, true in clear[:LISTED_IDS])
            return f"{text}; more would if ids were changed: {mapping}{more}; compare them with the annotation file's"
        if pairs:
            count, found, true = pairs[0]
            names = {category.id: f"{category.name} (id {category.id})" for category in ground_truth.categories}
            return f"{text}; most often {names[true]} was called {names[found]} ({count:,} times)"
        return text
