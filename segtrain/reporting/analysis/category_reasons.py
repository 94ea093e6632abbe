"""Why numbers that need the right category are 0 or undefined where those without categories are not."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from segtrain.evaluation import Findings, Reference
from segtrain.metrics.matching import AREAS, match
from segtrain.metrics.overlaps import best_overlaps
from segtrain.reporting.row import Row
from segtrain.reporting.tables.cells import METRICS, number

AWARE = "class_aware"
_SHOWN = 5  # categories that a sentence lists


def category_reasons(row: Row, method: Mapping[str, Any], reference: Reference) -> Iterator[tuple[str, str, str]]:
    """Track, key and sentence; nothing where the data have one category.

    Args:
        row: of the benchmark.
        method: its numbers as ``results.json`` has them.
        reference: the truth.
    """
    if len(reference.categories) < 2:
        return
    from_file = not row.findings.seconds and not row.oracle
    track, agnostic = method.get(AWARE), method.get("class_agnostic") or {}
    if track is None:
        if from_file and not row.findings.class_aware:
            yield AWARE, AWARE, "all records carry category_id -1, which stands for none; write the data's ids"
        return
    keys = [column.key for column in METRICS if column.key in track]
    if worse := [key for key in keys if blank(track[key]) and not blank(agnostic.get(key))]:
        why = _confused(row.findings, reference)
        yield from ((AWARE, key, why) for key in worse)
    if absent := [entry["name"] for entry in track["per_category"] if not entry["annotations"]]:
        yield AWARE, "per_category", f"no true object of {_listed(absent)} is in these data; means leave them out"
    key = "box_ap" if row.findings.masks is None else "mask_ap50"
    if not _zero(track.get(key)):
        lost = [entry for entry in track["per_category"] if entry["annotations"] and _zero(entry[key])]
        yield from ((AWARE, "per_category", why) for why in _lost(lost, row.findings, reference))
        if silent := _silent(track["per_category"], row.findings):
            at = f"the score threshold {row.findings.score_threshold:g}"
            yield AWARE, "per_category", f"no detection of {_listed(silent)} reaches {at}"


def blank(value: object) -> bool:
    """Whether a number is undefined or shown as 0."""
    return number(value) is None or _zero(value)


def _silent(entries: Sequence[Mapping[str, Any]], findings: Findings) -> list[str]:
    """The categories that were found, but with no score that the operating point asks for."""
    masks = findings.masks or ()
    found = {record["category_id"] for record in masks}
    decided = {record["category_id"] for record in masks if record["score"] >= findings.score_threshold}
    return [entry["name"] for entry in entries if entry["annotations"] and entry["id"] in found - decided]


def _zero(value: object) -> bool:
    known = number(value)
    return known is not None and abs(known) < 0.0005


def _confused(findings: Findings, reference: Reference) -> str:
    """What categories those detections have that would be right without them."""
    merged, own = reference.class_agnostic(), findings.class_agnostic()
    found: Any = own.masks if own.masks is not None else own.boxes
    matches = match(
        merged.truths, found, image_ids=list(merged.sizes), category_ids=[c.id for c in merged.categories],
        iou_type="segm" if own.masks is not None else "bbox", thresholds=np.array([0.5]), areas=AREAS[:1],
    )  # fmt: skip
    right = (matches.truth[0, 0] >= 0) & ~matches.ignored[0, 0]
    given: Any = findings.masks if findings.masks is not None else findings.boxes
    votes: defaultdict[int, Counter[int]] = defaultdict(Counter)  # category found -> true categories
    for record, truth in zip(matches.record[right], matches.truth[0, 0, right], strict=True):
        votes[given[record]["category_id"]][reference.truths[truth]["category_id"]] += 1
    total = int(right.sum())
    agreeing = sum(true[category] for category, true in votes.items())
    names = {category.id: f"{category.name} (id {category.id})" for category in reference.categories}
    head = f"{agreeing:,} of the {total:,} detections that overlap a true object by 0.50 have the right category"
    if not total:
        return "the few detections that are right without categories are lost with them"
    commonest = {category: true.most_common(1)[0] for category, true in sorted(votes.items())}
    if sum(count for _, count in commonest.values()) >= 0.8 * total and len(commonest) > 1:
        mapping = _listed([f"{category} to {true}" for category, (true, _) in commonest.items()])
        return f"{head}; the ids would fit if {mapping} were changed: compare them with the annotation file's"
    category, (true, count) = max(commonest.items(), key=lambda entry: entry[1][1])
    return f"{head}; most often {names[true]} was called {names[category]} ({count:,} times)"


def _lost(entries: Sequence[Mapping[str, Any]], findings: Findings, reference: Reference) -> Iterator[str]:
    """The categories of which nothing was found, and those of which nothing fits."""
    kind: Any = "bbox" if findings.masks is None else "segm"
    given: Any = findings.masks if findings.masks is not None else findings.boxes
    never, beside = [], []
    for entry in entries:
        found = [record for record in given if record["category_id"] == entry["id"]]
        real = [truth for truth in reference.truths if truth["category_id"] == entry["id"]]
        best = float(best_overlaps(real, found, kind).max(initial=0.0))
        if not found:
            never.append(f"{entry['name']} ({entry['annotations']:,} true)")
        elif best < 0.5:
            beside.append(f"{entry['name']} (best IoU {best:.2f} of {len(found):,})")
        else:
            beside.append(f"{entry['name']} (next to none right of {len(found):,})")
    if never:
        yield f"nothing that was found is called {_listed(never)}"
    if beside:
        yield f"what is called by these names does not fit a true one by 0.50: {_listed(beside)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
