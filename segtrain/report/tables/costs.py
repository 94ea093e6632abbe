"""What each method cost: time, memory, and what had to be there before it could run."""

from collections.abc import Mapping
from typing import Any

from segtrain.report.tables.cells import (
    SPEED,
    Cell,
    Column,
    Results,
    Row,
    Table,
    cells,
    is_oracle,
    mark_best,
    number,
    ranking,
)
from segtrain.report.tables.reasons import by_cell, with_reasons

COSTS = (
    Column("read", "read, ms", "Median milliseconds to read an image", None, 1, 1000.0),
    Column("segment", "segment, ms", "Median milliseconds to segment an image", "low", 1, 1000.0),
    Column("slow", "p95, ms", "95 of 100 images are segmented in fewer milliseconds", "low", 1, 1000.0),
    Column("training_minutes", "train, min", "Minutes that training took", None, 1),
    Column(
        "tuning_seconds",
        "tuning, s",
        "Seconds that the search for settings took: on training images; an oracle's, on all evaluated images",
        None,
        0,
    ),
    Column(
        "training_images",
        "train images",
        "Training images used, those without objects included",
        None,
        0,
    ),
    Column("training_objects", "train objects", "Labelled objects in them", None, 0),
    Column(
        "peak_memory_gib",
        "memory, MiB",
        "Peak memory above that at the row's start, with its network loaded",
        None,
        0,
        1024.0,
    ),
    Column("detections", "detections", "Detections on all images, whatever their score", None, 0),
    Column("without", "empty images", "Images on which nothing was detected", None, 0),
)
_OPTIONAL = ("training_minutes", "tuning_seconds", "training_images", "training_objects", "peak_memory_gib")


def cost_table(results: Results) -> Table:
    """What each method took and how much it returned, in the order of the other tables."""
    found = {}
    for name in ranking(results):
        timing, counts, costs = (results["methods"][name].get(key) or {} for key in ("timing", "counts", "costs"))
        data, segmentation = (timing.get(part) or {} for part in ("data", "segmentation"))
        found[name] = {
            **costs,
            "read": data.get("median"),
            "segment": segmentation.get("median"),
            "slow": segmentation.get("p95"),
            "detections": counts.get("detections"),
            "without": counts.get("images_without_detections"),
        }
    columns = tuple(
        column
        for column in COSTS
        if column.key not in _OPTIONAL or any(number(values.get(column.key)) is not None for values in found.values())
    )
    rows = [
        Row(name, cells(columns, values), oracle=is_oracle(results["methods"][name])) for name, values in found.items()
    ]
    untimed = by_cell(results, "class_agnostic")

    def why(row: Row, column: Column, cell: Cell) -> str:
        if cell.value is not None:
            return ""
        return untimed.get((row.method, SPEED.key)) or _unknown(column.key, results["methods"][row.method])

    return with_reasons(Table(columns, mark_best(columns, rows)), why)


def _unknown(key: str, method: Mapping[str, Any]) -> str:
    """Why a cost of a row that was run here is not known."""
    if key == "tuning_seconds":
        return "No settings were searched for this row."
    if key.startswith("training"):
        return "The checkpoint does not say." if method.get("score") is None else "This method is not trained."
    return "Not measured."
