"""Sections of all numbers: class-agnostic, class-aware, and of each category."""

from segtrain.benchmark.results import Results
from segtrain.metrics.registry import METRICS
from segtrain.report.blocks import Folded, Paragraph, Section
from segtrain.report.tables import (
    Cell,
    Column,
    Row,
    Table,
    cell_reasons,
    explain,
    is_blank,
    make_cells,
    mark_best,
    track_table,
)
from segtrain.report.text import sentence

_BY_CATEGORY = tuple(metric for metric in METRICS if metric.category_key)
_COLUMNS = (
    Column("annotations", "objects", "True objects of this category", None, 0),
    *(
        Column(str(metric.category_key), metric.category_title or metric.title, metric.category_hint or metric.hint)
        for metric in _BY_CATEGORY
    ),
)
_THRESHOLD = Column(
    "threshold", "score from", "Least score of the detections of this category that count, but for AP", None, 2
)
_METRIC_OF = {metric.category_key: metric.key for metric in _BY_CATEGORY} | {"iou": "fg_iou"}


def numbers(results: Results) -> Section:
    """Show all class-agnostic metrics."""
    table = track_table(results, "class_agnostic", "All class-agnostic numbers", "Marked: best of its column.")
    lead = Paragraph("Class-agnostic, as at the head, without intervals.")
    return Section("numbers", "All numbers", [lead, table])


def class_aware(results: Results) -> Section:
    """Show all class-aware metrics, folded where they repeat the class-agnostic ones."""
    caption = "Means over the categories; the category must be right too."
    table = track_table(results, "class_aware", "Class-aware results", caption)
    if not table.rows:
        return Section("aware", "Class-aware", [Paragraph("No method here tells categories apart.")])
    if tracks_agree(results):
        lead = "The data have one category, so the class-aware numbers repeat the class-agnostic ones."
        return Section("aware", "Class-aware", [Paragraph(lead), Folded("The class-aware numbers", [table])])
    lead = "The category must be right too. Methods that know no categories have no row here."
    return Section("aware", "Class-aware", [Paragraph(lead), table])


def categories(results: Results) -> Section | None:
    """Show the metrics of each category; None where that would repeat the class-aware ones."""
    table = category_table(results)
    return Section("categories", "Per category", [table]) if table.rows and not tracks_agree(results) else None


def category_table(results: Results) -> Table:
    """Make the table of class-aware metrics by category and method, the best marked within each category."""
    groups: dict[int, list[Row]] = {}
    differ = any(method.category_thresholds for method in results.methods.values())
    columns = (*_COLUMNS, _THRESHOLD) if differ else _COLUMNS
    for name in results.ranked:
        method = results.methods[name]
        track = method.class_aware
        for entry in track.per_category if track else ():
            if entry.annotations:  # otherwise none of its numbers is defined
                threshold = method.category_thresholds.get(entry.name, method.score_threshold)
                values = {"annotations": entry.annotations, "threshold": threshold, **entry.metrics}
                row = Row(name, make_cells(columns, values), entry.name, method.oracle)
                groups.setdefault(entry.id, []).append(row)
    rows = tuple(row for group in groups.values() for row in group)
    caption = "Class-aware. Marked: best within its category, where there is more than one method."
    return _explained(mark_best(Table(columns, rows, "Results for each category", caption)), results)


def tracks_agree(results: Results) -> bool:
    """Return True if the class-aware track repeats the class-agnostic one, as on data of a single category."""
    agnostic, aware = (
        {row.method: [cell.text for cell in row.cells] for row in table.rows}
        for table in (track_table(results, "class_agnostic"), track_table(results, "class_aware"))
    )
    return bool(aware) and all(agnostic.get(name) == texts for name, texts in aware.items())


def _explained(table: Table, results: Results) -> Table:
    """Add to blank cells the reason of their category, else that of the method's whole track."""
    whole = cell_reasons(results, "class_aware")
    named: dict[tuple[str, str | None], str] = {}
    for reason in results.reasons:
        for row in reason.rows if "per_category" in reason.keys else ():
            for note in reason.categories:
                named.setdefault((row, note.name), sentence(f"{reason.why}: {note.said}"))

    def why(row: Row, column: Column, cell: Cell) -> str:
        if not is_blank(cell.value) or column.key == "annotations":
            return ""
        own = named.get((row.method, row.category)) or whole.get((row.method, "per_category"))
        return own or whole.get((row.method, _METRIC_OF[column.key]), "")

    return explain(table, why)
