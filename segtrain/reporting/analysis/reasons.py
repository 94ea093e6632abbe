"""Why numbers are 0 or undefined, in sentences with their remedy."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segtrain.evaluation import TRACKS, Findings, Reference
from segtrain.instances import GroundTruth
from segtrain.reporting.analysis.category_reasons import blank, category_reasons
from segtrain.reporting.analysis.evidence import SIZES, Evidence, Kind, Origin, of_size
from segtrain.reporting.row import Row
from segtrain.reporting.tables.cells import METRICS, SPEED, number

Reason = dict[str, Any]
LOW = 0.05  # an AP below it may be the work of misread boxes: a few of them always fit by chance
_KEYS = tuple(column.key for column in METRICS)


def reasons(
    rows: Mapping[str, Row], methods: Mapping[str, Mapping[str, Any]], reference: Reference, max_dets: int
) -> list[Reason]:
    """One entry for each cause: "rows", "tracks" and "keys" (of a track of ``results.json``), and "why", a sentence.

    Args:
        rows: by name.
        methods: their numbers as ``results.json`` has them.
        reference: the truth.
        max_dets: detections per image and category that AP and AR use.

    Returns:
        Nothing where no number is undefined or shown as 0. "per_category" is the key of what concerns some categories
        only, "class_aware" that of a whole track; "seconds" stands for the time.
    """
    merged: dict[tuple[str, str], Reason] = {}
    for name, row in rows.items():
        method = methods[name]
        for track, key, why in [*_of_row(row, method, reference, max_dets), *category_reasons(row, method, reference)]:
            entry = merged.setdefault((name, why), {"rows": [name], "tracks": [], "keys": [], "why": why})
            for values, value in ((entry["tracks"], track), (entry["keys"], key)):
                if value not in values:
                    values.append(value)
    result: dict[tuple[str, ...], Reason] = {}
    for entry in merged.values():
        same = result.setdefault((entry["why"], *entry["tracks"], "", *entry["keys"]), entry)
        if same is not entry:
            same["rows"] += entry["rows"]
    return list(result.values())


def _of_row(row: Row, method: Mapping[str, Any], reference: Reference, max_dets: int) -> Iterator[tuple[str, str, str]]:
    """Track, key and sentence for each number that wants one."""
    origin: Origin = "learned" if row.score is None else "classical"
    evidence = Evidence(row.findings, reference, max_dets, origin if row.findings.seconds or row.oracle else "file")
    agnostic = method.get("class_agnostic") or {}
    for track in TRACKS:
        for key in _KEYS:
            values = method.get(track) or {}
            # Where categories do not matter and it is blank all the same, they are not the cause.
            if key in values and blank(values[key]) and (track == "class_agnostic" or blank(agnostic.get(key, 0.0))):
                # SQ, a mean over matches, is undefined where the others are 0: for want of a match.
                undefined = number(values["pq" if key == "sq" else key]) is None
                yield track, key, _undefined(row.findings, key, reference.truths) if undefined else evidence.zero(key)
    kinds: tuple[tuple[str, Kind], ...] = (("box_ap", "bbox"), ("mask_ap", "segm"))
    for key, kind in kinds:
        for track in TRACKS:
            value = number((method.get(track) or {}).get(key))
            if value is not None and not blank(value) and value < LOW and (why := evidence.misread(kind)):
                yield track, key, why
    if not row.findings.seconds:
        yield "class_agnostic", SPEED.key, _untimed(row)


def _untimed(row: Row) -> str:
    if row.oracle:
        return "choosing settings with the truth in hand takes a time that says nothing, so it is not shown"
    return "read from a file, so there was nothing to time"


def _undefined(findings: Findings, key: str, truths: Sequence[GroundTruth]) -> str:
    if findings.masks is None and key != "box_ap":
        return "boxes only; with a segmentation in each record there would be mask numbers"
    real = [truth for truth in truths if not truth["iscrowd"]]
    if not real:
        crowds = f", only {len(truths):,} crowd region{'s' if len(truths) > 1 else ''}" if truths else ""
        return f"these images have no true object{crowds}; evaluate on images with labelled objects"
    if key in SIZES and not of_size(real, SIZES[key][0]):
        areas = [truth["area"] for truth in real]
        low, high = (f"{area**0.5:,.0f}" for area in (min(areas), max(areas)))
        return (
            f"no true object {SIZES[key][1]} is in these data: their areas range from {low} × {low} to {high} × {high}"
        )
    return "no true object has a pixel outside of crowd regions"
