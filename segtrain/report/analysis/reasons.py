"""Why numbers are 0 or undefined, in sentences with their remedy."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import TRACKS, Detections, GroundTruthSet, TrackName
from segtrain.records import GroundTruth
from segtrain.report.analysis.category_reasons import category_reasons
from segtrain.report.analysis.cause import Cause, Gravity, Note
from segtrain.report.analysis.evidence import Evidence, Origin
from segtrain.report.analysis.mappings import METRICS, blank, is_zero, number
from segtrain.report.analysis.shortfall import SIZES, Kind, of_size
from segtrain.report.tables import SPEED

Reason = dict[str, Any]
LOW = 0.05  # an AP below it may be the work of misread boxes: a few of them always fit by chance
_KEYS = tuple(column.key for column in METRICS)


def reasons(
    rows: Mapping[str, MethodResult],
    methods: Mapping[str, Mapping[str, Any]],
    ground_truth: GroundTruthSet,
    max_dets: int,
) -> list[Reason]:
    """One entry for each cause: "rows", "tracks" and "keys" (of a track of ``results.json``), and "why", a sentence.

    Args:
        rows: by name.
        methods: their numbers as ``results.json`` has them.
        ground_truth: the truth.
        max_dets: detections per image and category that AP and AR use.

    Returns:
        Nothing where no number is undefined or shown as 0; the gravest first. "per_category" is the key of what
        concerns some categories only, "class_aware" that of a whole track; "seconds" stands for the time. Where the
        sentence goes on to name categories, "categories" has the "name" of each and what is "said" of it.
    """
    found: list[tuple[Gravity, Reason]] = []
    for name, row in rows.items():
        merged: dict[tuple[str, tuple[Note, ...]], tuple[Gravity, Reason]] = {}
        for cause in _of_row(row, methods[name], ground_truth, max_dets):
            notes = {"categories": [note._asdict() for note in cause.categories]} if cause.categories else {}
            new: Reason = {"rows": [name], "tracks": [], "keys": [], "why": cause.why, **notes}
            _, entry = merged.setdefault((cause.why, cause.categories), (cause.gravity, new))
            _add(entry, tracks=[cause.track], keys=[cause.key])
        found += merged.values()
    result: list[Reason] = []
    for _, entry in sorted(found, key=lambda pair: pair[0]):
        alike = [same for same in result if all(same.get(k) == entry.get(k) for k in ("why", "keys", "categories"))]
        if alike:
            _add(alike[0], rows=entry["rows"], tracks=entry["tracks"])
        else:
            result.append(entry)
    return result


def _add(entry: Reason, **values: Sequence[str]) -> None:
    """Lengthen the lists of an entry by what they do not hold yet."""
    for key, new in values.items():
        entry[key] += [value for value in new if value not in entry[key]]


def _of_row(
    row: MethodResult, method: Mapping[str, Any], ground_truth: GroundTruthSet, max_dets: int
) -> Iterator[Cause]:
    origin: Origin = "learned" if row.score is None else "classical"
    evidence = Evidence(
        row.detections, ground_truth, max_dets, origin if row.detections.seconds or row.oracle else "file"
    )
    agnostic = method.get("class_agnostic") or {}
    few: list[tuple[TrackName, str]] = []  # numbers that are 0 because little is right
    for track in TRACKS:
        values = method.get(track) or {}
        for key in _KEYS:
            # Where categories do not matter and it is blank all the same, they are not the cause.
            if key in values and blank(values[key]) and (track == "class_agnostic" or blank(agnostic.get(key, 0.0))):
                # SQ, a mean over matches, is undefined where the others are 0: for want of a match.
                if not is_zero(values["pq" if key == "sq" else key]):
                    yield Cause(track, key, _undefined(row.detections, key, ground_truth.truths), Gravity.ABSENT)
                elif defect := evidence.defect(key):
                    yield Cause(track, key, defect, Gravity.DEFECT)
                else:
                    few.append((track, key))
    if few:
        why = evidence.shortfall([key for _, key in few])
        yield from (Cause(track, key, why, Gravity.POOR) for track, key in few)
    misread = ""
    kinds: tuple[tuple[str, Kind], ...] = (("box_ap", "bbox"), ("mask_ap", "segm"))
    for key, kind in kinds:
        for track in TRACKS:
            value = number((method.get(track) or {}).get(key))
            if value is not None and value < LOW and (why := evidence.misread(kind)):
                misread = why
                if not blank(value):
                    yield Cause(track, key, why, Gravity.DEFECT)
    yield from category_reasons(row, method, ground_truth, misread)
    if not row.detections.seconds:
        yield from (Cause(track, SPEED.key, _untimed(row), Gravity.ABSENT) for track in TRACKS if method.get(track))


def _untimed(row: MethodResult) -> str:
    if row.oracle:
        return "choosing settings with the truth in hand takes a time that says nothing, so it is not shown"
    return "read from a file, so there was nothing to time"


def _undefined(detections: Detections, key: str, truths: Sequence[GroundTruth]) -> str:
    if detections.masks is None and key != "box_ap":
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
