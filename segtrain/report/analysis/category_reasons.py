"""Why numbers that need the right category are 0 or undefined where those without categories are not."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import Detections, GroundTruthSet, TrackName
from segtrain.metrics.matching import AREAS, match
from segtrain.report.analysis.cause import Cause, Gravity, Note
from segtrain.report.analysis.lost_categories import lost_categories
from segtrain.report.analysis.mappings import METRICS, blank, is_zero, number

AWARE: TrackName = "class_aware"
LOW, LOWER = 0.05, 0.1  # a number below the first, and below this share of the class-agnostic one, wants a reason
AGREEING = 0.5  # ids do not meet if fewer of the detections that fit have the right category
ENOUGH, SHARE = 20, 0.2  # detections that must fit, and their share of all, before ids are compared
VOTES, UNITED = 3, 2 / 3  # detections that must agree on a true category, and their share of those of their own
_SHOWN = 5  # ids that a sentence lists


def category_reasons(
    row: MethodResult, method: Mapping[str, Any], ground_truth: GroundTruthSet, misread: str
) -> Iterator[Cause]:
    """Nothing where the data have one category.

    Args:
        row: of the benchmark.
        method: its numbers as ``results.json`` has them.
        ground_truth: the truth.
        misread: how masks or boxes must be read to fit; empty if they are read rightly.
    """
    if len(ground_truth.categories) < 2:
        return
    from_file = not row.detections.seconds and not row.oracle
    track, agnostic = method.get(AWARE), method.get("class_agnostic") or {}
    if track is None:
        if from_file and not row.detections.class_aware:
            why = "all records carry category_id -1, which stands for none; write the data's ids"
            yield Cause(AWARE, AWARE, why, Gravity.ABSENT)
        return
    entries = track["per_category"]
    keys = [column.key for column in METRICS if column.key in track and column.key in agnostic]
    zero = [key for key in keys if blank(track[key]) and not blank(agnostic[key])]
    low = [key for key in keys if _low(track[key], agnostic[key])]
    whole = misread  # what all categories suffer from
    if zero or low:
        votes = _votes(row.detections, ground_truth)
        strange = votes.agreeing < AGREEING * votes.total
        why = misread or _confused(votes, ground_truth)
        if misread or strange:
            whole = why
        yield from (Cause(AWARE, key, why, Gravity.DEFECT) for key in keys if key in zero or (whole and key in low))
    # Where nothing is right at all, the reasons of the whole track say so.
    if not is_zero(track.get("box_ap" if row.detections.masks is None else "mask_ap50")):
        lost = lost_categories(entries, row.detections, ground_truth)
        if lost and whole:
            yield Cause(AWARE, "per_category", whole, Gravity.DEFECT)
        elif lost:
            yield from (Cause(AWARE, "per_category", why, Gravity.POOR, notes) for why, notes in lost.items())
    if absent := [entry["name"] for entry in entries if not entry["annotations"]]:
        notes = tuple(Note(name, name) for name in absent)
        yield Cause(AWARE, "per_category", "no true object is called so, and means leave it out", Gravity.ABSENT, notes)


@dataclass(frozen=True)
class _Votes:
    """What those detections are called that would be right without categories.

    Attributes:
        given: all detections.
        true: category found -> how many objects of each true category were called so.
    """

    given: int
    true: Mapping[int, Counter[int]]

    @property
    def total(self) -> int:
        return sum(counts.total() for counts in self.true.values())

    @property
    def agreeing(self) -> int:
        return sum(counts[category] for category, counts in self.true.items())


def _low(aware: object, agnostic: object) -> bool:
    """Whether categories take nearly all of a number."""
    known, without = number(aware), number(agnostic)
    return known is not None and without is not None and known < min(LOW, LOWER * without)


def _votes(detections: Detections, ground_truth: GroundTruthSet) -> _Votes:
    merged, own = ground_truth.class_agnostic(), detections.class_agnostic()
    found: Any = own.masks if own.masks is not None else own.boxes
    matches = match(
        merged.truths, found, image_ids=list(merged.sizes), category_ids=[c.id for c in merged.categories],
        iou_type="segm" if own.masks is not None else "bbox", thresholds=np.array([0.5]), areas=AREAS[:1],
    )  # fmt: skip
    right = (matches.truth[0, 0] >= 0) & ~matches.ignored[0, 0]
    given: Any = detections.masks if detections.masks is not None else detections.boxes
    true: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for record, truth in zip(matches.record[right], matches.truth[0, 0, right], strict=True):
        true[given[record]["category_id"]][ground_truth.truths[truth]["category_id"]] += 1
    return _Votes(len(given), true)


def _confused(votes: _Votes, ground_truth: GroundTruthSet) -> str:
    """How many of the detections that fit are called rightly, and what the others are called if that is clear."""
    total, agreeing = votes.total, votes.agreeing
    if not total:
        return "the few detections that are right without categories are lost with them"
    have = f"the {total:,} detections that overlap" if total > 1 else "the only detection that overlaps"
    head = f"{agreeing:,} of {have} a true object by 0.50 {'has' if agreeing == 1 else 'have'} the right category"
    if total == 1:
        head = f"{have} a true object by 0.50 has the wrong category"
    if total < max(ENOUGH, SHARE * votes.given):
        return head
    pairs = sorted(
        ((count, found, true) for found, counts in votes.true.items() for true, count in counts.items()
         if found != true and count >= VOTES),
        key=lambda pair: (-pair[0], *pair[1:]),
    )  # fmt: skip
    clear = [(count, found, true) for count, found, true in pairs if count >= UNITED * votes.true[found].total()]
    if len(clear) > 1 and 2 * sum(count for count, *_ in clear) >= total:
        more = f" and {len(clear) - _SHOWN:,} more" if len(clear) > _SHOWN else ""
        mapping = ", ".join(f"{found} to {true}" for _, found, true in clear[:_SHOWN])
        return f"{head}; more would if ids were changed: {mapping}{more}; compare them with the annotation file's"
    if pairs:
        count, found, true = pairs[0]
        names = {category.id: f"{category.name} (id {category.id})" for category in ground_truth.categories}
        return f"{head}; most often {names[true]} was called {names[found]} ({count:,} times)"
    return head
