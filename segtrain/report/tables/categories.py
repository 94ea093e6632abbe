"""What categories change: the table of each, and whether the class-aware track says anything new."""

from typing import Any

from segtrain.report.tables.cells import (
    METRICS,
    Column,
    Results,
    Row,
    Table,
    cells,
    is_oracle,
    mark_best,
    ranking,
    track_table,
)

_HINTS = {column.key: column.hint for column in METRICS}
CATEGORY_METRICS = (
    Column("annotations", "objects", "True objects of this category", None, 0),
    Column("mask_ap", "mask AP", _HINTS["mask_ap"]),
    Column("mask_ap50", "AP50", _HINTS["mask_ap50"]),
    Column("box_ap", "box AP", _HINTS["box_ap"]),
    Column("iou", "IoU", "Intersection over union of this category's pixels"),
    Column("f1_50", "F1", _HINTS["f1_50"]),
    Column("pq", "PQ", _HINTS["pq"]),
    Column("boundary_iou", "boundary IoU", _HINTS["boundary_iou"]),
)


def category_table(results: Results) -> Table:
    """Class-aware numbers, one row for each category and method; the best are marked within each category."""
    found: dict[Any, list[Row]] = {}
    for name in ranking(results):
        for entry in (results["methods"][name].get("class_aware") or {}).get("per_category") or []:
            if not entry["annotations"]:
                continue  # none of its numbers is defined
            row = Row(name, cells(CATEGORY_METRICS, entry), str(entry["name"]), is_oracle(results["methods"][name]))
            found.setdefault(entry["id"], []).append(row)
    rows = [row for group in found.values() for row in mark_best(CATEGORY_METRICS, group)]
    return Table(CATEGORY_METRICS, tuple(rows))


def tracks_agree(results: Results) -> bool:
    """Whether the class-aware track repeats the class-agnostic one, as it does on data of a single category."""
    first, second = (
        {row.method: [cell.text for cell in row.cells] for row in track_table(results, track).rows}
        for track in ("class_agnostic", "class_aware")  # type: tuple[Track, Track]
    )
    return bool(second) and all(first.get(name) == shown for name, shown in second.items())
