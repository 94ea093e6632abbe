"""Section on errors: what each type costs of AP50, and objects that are merged or split."""

from collections.abc import Mapping, Sequence

from segtrain.benchmark.results import ErrorCosts, MergesAndSplits, MethodScores, Results
from segtrain.console import counted
from segtrain.evaluation import Detections, GroundTruthSet, TrackName, metric_input
from segtrain.mask_records import reaching
from segtrain.masks import Rle
from segtrain.metrics.tide import error_costs
from segtrain.metrics.touching import merges_and_splits
from segtrain.report.blocks import Block, Charts, Heading, Paragraph, Section, Term
from segtrain.report.charts import NARROW, WIDE, Axis, Bar, Chart, Lane, Lanes
from segtrain.report.tables import (
    Cell,
    Column,
    Row,
    Table,
    Values,
    cell_reasons,
    explain,
    is_blank,
    method_table,
)
from segtrain.report.text import number_text

TYPES = (
    Column("category", "category", "AP50 gained if objects that were found had the right category", None),
    Column("location", "location", "AP50 gained if masks that overlap an object too little fitted it", None),
    Column("both", "both", "AP50 gained without detections of wrong category and too little overlap", None),
    Column("duplicates", "duplicates", "AP50 gained without second detections of an object", None),
    Column("background", "background", "AP50 gained without detections where there is no object", None),
    Column("misses", "misses", "AP50 gained if objects without any near detection did not count", None),
)
_AP50 = Column("ap50", "AP50", "Average precision of masks at IoU 0.50, with all errors", None)
_TOUCHING = (
    Column("found", "found", "Touching objects that are found at all", None, 0),
    Column("merged", "merged", "Touching objects that share a detection with another", None, 0),
    Column("merged_share", "merged, %", "Share of the touching objects", None, 1, 100.0),
    Column("split", "split", "Touching objects that were found in pieces", None, 0),
    Column("split_share", "split, %", "Share of the touching objects", None, 1, 100.0),
)
_FAINT = 0.05  # AP50 below which a bar is faded: it is short however much is wrong
_DEFINITIONS = (
    Term(
        "Errors",
        "After TIDE (Bolya et al., 2020), at IoU 0.50. Location: the mask overlaps an object of its category, but by "
        "less. Category: it would match an object of another one. Duplicate: its object has a better-scored match. "
        "Background: no IoU above 0.10. Both: none of these. Miss: an object without a match, which no error of "
        "location or category is about. To correct them, such an error is made a match, or removed where its object "
        "has one; duplicates, background and both are removed; missed objects no longer count. All scores take part. "
        "Unlike here, the authors' program lets only the best-scored of an object's errors of both kinds become its "
        "match, and counts an IoU of exactly 0.50 as too little.",
    ),
    Term(
        "Touching, merged, split",
        "Objects touch if one of them, dilated by a pixel, meets the other. Merged: a detection covers more than half "
        "of the object and of another that touches one (after Matula et al., 2015). Split, the other way round: two or "
        "more detections lie in it by more than half, and not mostly in each other. Pixels that true objects share do "
        "not count.",
    ),
)


def errors(results: Results) -> Section | None:
    """Show what the types of errors cost; None where errors were not analysed."""
    agnostic = loss_table(
        results, "class_agnostic", "Errors, class-agnostic", "AP50, and what each type of error costs."
    )
    if not agnostic.rows:
        return None
    lead = (
        "Each false detection has one type; a true object without any near detection is a miss. The cost of a type is "
        "the rise of AP50 if its errors alone were corrected. Costs need not add up: one error can hide another."
    )
    blocks: list[Block] = [Paragraph(lead)]
    blocks += [*_chart(results, "class_agnostic", "AP50 lost to each type of error"), agnostic]
    aware = loss_table(results, "class_aware", "Errors, class-aware", "The category must be right too.")
    if aware.rows and len(aware.columns) > len(agnostic.columns):  # with a single category it repeats the other
        title = "Class-aware: AP50 lost to each type of error"
        blocks += [Heading("Class-aware"), *_chart(results, "class_aware", title), aware]
    if touching := touching_table(results):
        objects = max(_touching_objects(method) for method in results.methods.values())
        lead = (
            f"{objects:,} of {counted(results.data.used, 'object')} touch{'es' if objects == 1 else ''} or "
            f"overlap{'s' if objects == 1 else ''} another. Found: more than half lies under one detection, or in "
            "pieces. Merged: found together with another as one. Split: found in pieces. At the score threshold; a "
            "method that finds little merges and splits little."
        )
        blocks += [Heading("Objects that touch"), Paragraph(lead), touching]
    return Section("errors", "Errors", blocks, definitions=_DEFINITIONS)


def error_chart(results: Results, track: TrackName, title: str) -> Chart | None:
    """Draw the costs of every method, laid end to end; None where nothing is lost.

    Args:
        results: an evaluation.
        track: class-agnostic or class-aware.
        title: title of the chart.
    """
    lanes: list[Lane] = []
    bars = []
    for name in results.ranked:
        losses = _losses(results.methods[name], track)
        pieces = [
            (slot, column.title, max(0.0, value))
            for slot, column in enumerate(TYPES)
            if losses and (value := losses.lost.get(column.key)) is not None
        ]
        if losses and pieces:
            said = ", ".join(f"{kind} {number_text(value)}" for _, kind, value in pieces)
            stated = number_text(losses.ap50)
            faint = losses.ap50 is not None and losses.ap50 < _FAINT
            bars.append(Bar(len(lanes), pieces))
            lanes.append(
                Lane(name, stated, f"{name}: AP50 {stated}; lost to {said}", results.methods[name].oracle, faint)
            )
    if not any(value for bar in bars for *_, value in bar.pieces):
        return None
    return Chart(title, Axis("AP50 lost to each type"), Lanes(lanes, "AP50"), bars, (WIDE, NARROW))


def loss_table(results: Results, track: TrackName, label: str, caption: str) -> Table:
    """Make the table of AP50 and of the AP50 that each type of error costs.

    Args:
        results: an evaluation.
        track: class-agnostic or class-aware.
        label: name of the table.
        caption: line of description.
    """
    losses = {name: own for name, method in results.methods.items() if (own := _losses(method, track))}
    columns = [_AP50, *(c for c in TYPES if any(c.key in own.lost for own in losses.values()))]
    reasons = cell_reasons(results, track)

    def values(name: str, method: MethodScores) -> Values | None:
        return {"ap50": losses[name].ap50, **losses[name].lost} if name in losses else None

    def why(row: Row, column: Column, cell: Cell) -> str:
        if column is _AP50 or cell.value is None:
            return reasons.get((row.method, "mask_ap50"), "")
        return _costless(losses[row.method].counts.get(column.key) or 0) if is_blank(cell.value) else ""

    return explain(method_table(results, columns, values, label, caption), why)


def touching_table(results: Results) -> Table | None:
    """Make the table of merged and split objects; None without objects that touch."""

    def values(name: str, method: MethodScores) -> Values | None:
        objects = _touching_objects(method)
        if not method.errors or not objects:
            return None
        counts = method.errors.touching
        if not counts.found:  # nothing can be merged or split: that is no merit
            return {"found": 0}
        return {
            "found": counts.found,
            "merged": counts.merged,
            "merged_share": counts.merged / objects,
            "split": counts.split,
            "split_share": counts.split / objects,
        }

    def why(row: Row, column: Column, cell: Cell) -> str:
        return "" if cell.value is not None else "No object that touches another is found at the score threshold."

    table = method_table(results, _TOUCHING, values, "Merged and split objects", "Categories do not matter here.")
    return explain(table, why) if table.rows else None


def _chart(results: Results, track: TrackName, title: str) -> list[Charts]:
    chart = error_chart(results, track, title)
    if chart is None:
        return []
    caption = "A short bar at a low AP50 means that errors hide one another."
    if isinstance(chart.y, Lanes) and any(lane.faint for lane in chart.y.lanes):
        caption += f" Faded: AP50 below {_FAINT:.2f}."
    return [Charts([chart], caption, legend=True)]


def _losses(method: MethodScores, track: TrackName) -> ErrorCosts | None:
    if method.errors is None:
        return None
    return method.errors.class_agnostic if track == "class_agnostic" else method.errors.class_aware


def _touching_objects(method: MethodScores) -> int:
    return method.errors.touching.objects if method.errors else 0


def _costless(count: int) -> str:
    """Explain why a type of error costs nothing."""
    if not count:
        return "There is no such error."
    such = f"{count:,} such errors; without them" if count > 1 else "One such error; without it"
    return f"{such} AP50 would hardly rise."


def find_errors(
    detections: Detections, ground_truth: GroundTruthSet, max_dets: int, track: TrackName
) -> ErrorCosts | None:
    """Break down the errors of a method in a track.

    Args:
        detections: detections of the method.
        ground_truth: true objects, with their categories.
        max_dets: detections per image and category that count for AP.
        track: track of the errors.

    Returns:
        None for a method without masks, and in the class-aware track for one without categories.
    """
    if detections.masks is None or (track == "class_aware" and not detections.class_aware):
        return None
    return ErrorCosts.of(error_costs(metric_input(detections, ground_truth, max_dets, track)))


def find_merges(parts: Mapping[int, Sequence[Rle]], detections: Detections) -> MergesAndSplits | None:
    """Count the objects that a method merges and splits at its operating point; None without masks.

    Args:
        parts: objects that touch others, see ``segtrain.metrics.touching.touching_parts``.
        detections: detections of the method.
    """
    if detections.masks is None:
        return None
    return MergesAndSplits.of(merges_and_splits(parts, reaching(detections.masks, detections.score_threshold)))
