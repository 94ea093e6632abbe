"""What the tables of a report hold; HTML, Markdown and the terminal only draw it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Results = Mapping[str, Any]  # the parsed results.json
Track = Literal["class_agnostic", "class_aware"]
MISSING = "–"


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        key: where the number stands in a track of ``results.json``.
        title: the header.
        hint: the header in plain words.
        better: which end of the column is marked; None marks nothing.
        decimals: digits behind the point.
        scale: the number is shown multiplied by this.
    """

    key: str
    title: str
    hint: str
    better: Literal["high", "low"] | None = "high"
    decimals: int = 3
    scale: float = 1.0


METRICS = (
    Column("mask_ap", "mask AP", "Average precision of masks, mean over IoU 0.50 to 0.95"),
    Column("mask_ap50", "AP50", "Average precision of masks at IoU 0.50"),
    Column("mask_ap75", "AP75", "Average precision of masks at IoU 0.75"),
    Column("mask_ap_small", "AP S", "Average precision of masks, objects below 32 × 32 pixels"),
    Column("mask_ap_medium", "AP M", "Average precision of masks, objects of 32 × 32 to 96 × 96 pixels"),
    Column("mask_ap_large", "AP L", "Average precision of masks, objects above 96 × 96 pixels"),
    Column("mask_ar", "AR", "Average recall of masks"),
    Column("box_ap", "box AP", "Average precision of boxes, mean over IoU 0.50 to 0.95"),
    Column("miou", "mIoU", "Mean intersection over union of background and classes"),
    Column("fg_iou", "fg IoU", "Intersection over union of all objects against background"),
    Column("f1_50", "F1", "F1 of matched objects at IoU 0.50, at the row's score threshold"),
    Column("pq", "PQ", "Panoptic quality: mean IoU of matched objects times their F1, no pixel used twice"),
    Column(
        "boundary_iou", "boundary IoU", "Intersection over union of the objects' outlines, 2 % of the diagonal wide"
    ),
)
SPEED = Column("seconds", "ms/image", "Median milliseconds to segment an image", "low", 1, 1000.0)
CATEGORY_METRICS = (
    Column("annotations", "objects", "True objects of this category", None, 0),
    Column("mask_ap", "mask AP", METRICS[0].hint),
    Column("mask_ap50", "AP50", METRICS[1].hint),
    Column("box_ap", "box AP", METRICS[7].hint),
    Column("iou", "IoU", "Intersection over union of this category's pixels"),
    Column("f1_50", "F1", METRICS[10].hint),
    Column("pq", "PQ", METRICS[11].hint),
    Column("boundary_iou", "boundary IoU", METRICS[12].hint),
)
COSTS = (
    Column("read", "read, ms", "Median milliseconds to read an image", None, 1, 1000.0),
    Column("segment", "segment, ms", "Median milliseconds to segment an image", "low", 1, 1000.0),
    Column("slow", "p95, ms", "95 of 100 images are segmented in fewer milliseconds", "low", 1, 1000.0),
    Column("score", "score, s", "Seconds to compute all metrics of all images", None, 1),
    Column("detections", "detections", "Detections on all images, whatever their score", None, 0),
    Column("without", "images without", "Images on which nothing was detected", None, 0),
)
SPENT = (  # each is left out where no row has it
    Column("training_minutes", "training, min", "Minutes of training", None, 1),
    Column("training_images", "images used", "Labelled training images that training or tuning used", None, 0),
    Column("training_objects", "objects used", "Labelled objects in those images", None, 0),
    Column("tuning_seconds", "tuning, s", "Seconds of search for the settings", None, 0),
    Column("peak_memory_gib", "memory, GiB", "Peak memory on these images, above that at the row's start", "low", 2),
)


@dataclass(frozen=True)
class Cell:
    """One number: as it is (None: undefined), as it is shown, and whether it is the best of its column."""

    value: float | None
    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One method's numbers; ``category`` is set in the per-category table only."""

    method: str
    cells: tuple[Cell, ...]
    category: str | None = None


@dataclass(frozen=True)
class Table:
    """Columns and rows, ready to draw."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def number(value: object) -> float | None:
    """A finite float, or None for everything that is undefined."""
    if value is None or isinstance(value, (str, bool)):
        return None
    result = float(value)  # type: ignore[arg-type]
    return result if math.isfinite(result) else None


def seconds(method: Mapping[str, Any]) -> float | None:
    """Median seconds per image of the segmentation alone."""
    return number(((method.get("timing") or {}).get("segmentation") or {}).get("median"))


def is_oracle(results: Results, name: str) -> bool:
    """Whether a row was shown the truth, and so is an upper bound that competes with no method."""
    return bool(results["methods"][name].get("oracle"))


def ranking(results: Results) -> list[str]:
    """Names of the methods, best class-agnostic mask AP first (box AP where a row has no masks); oracles come last."""

    def quality(name: str) -> tuple[bool, float, float]:
        track = results["methods"][name].get("class_agnostic") or {}
        mask, box = number(track.get("mask_ap")), number(track.get("box_ap"))
        return (not is_oracle(results, name), -1.0 if mask is None else mask, -1.0 if box is None else box)

    return sorted(results["methods"], key=quality, reverse=True)


def track_table(results: Results, track: Track) -> Table:
    """Every method that has this track, best first, with its speed in the last column."""
    columns = (*METRICS, SPEED)
    rows = []
    for name in ranking(results):
        method = results["methods"][name]
        if (values := method.get(track)) is not None:
            rows.append(Row(name, _cells(columns, {**values, "seconds": seconds(method)})))
    return Table(columns, _mark_best(results, columns, rows))


def category_table(results: Results) -> Table:
    """Class-aware numbers, one row for each category and method; the best are marked within each category."""
    found: dict[Any, list[Row]] = {}
    for name in ranking(results):
        for entry in (results["methods"][name].get("class_aware") or {}).get("per_category") or []:
            row = Row(name, _cells(CATEGORY_METRICS, entry), str(entry["name"]))
            found.setdefault(entry["id"], []).append(row)
    rows = [row for group in found.values() for row in _mark_best(results, CATEGORY_METRICS, group)]
    return Table(CATEGORY_METRICS, tuple(rows))


def cost_table(results: Results) -> Table:
    """What each method took and how much it returned, in the order of the other tables."""
    spent = [method.get("costs") or {} for method in results["methods"].values()]
    columns = (*COSTS, *(c for c in SPENT if any(number(costs.get(c.key)) is not None for costs in spent)))
    rows = []
    for name in ranking(results):
        timing, counts = (results["methods"][name].get(key) or {} for key in ("timing", "counts"))
        data, segmentation, scoring = (timing.get(part) or {} for part in ("data", "segmentation", "scoring"))
        values = {
            "read": data.get("median"),
            "segment": segmentation.get("median"),
            "slow": segmentation.get("p95"),
            "score": scoring.get("total"),
            "detections": counts.get("detections"),
            "without": counts.get("images_without_detections"),
            **(results["methods"][name].get("costs") or {}),
        }
        rows.append(Row(name, _cells(columns, values)))
    return Table(columns, _mark_best(results, columns, rows))


def tracks_agree(results: Results) -> bool:
    """Whether the class-aware track repeats the class-agnostic one, as it does on data of a single category."""
    first, second = (
        {row.method: [cell.text for cell in row.cells] for row in track_table(results, track).rows}
        for track in ("class_agnostic", "class_aware")  # type: tuple[Track, Track]
    )
    return first == second


def _cells(columns: Sequence[Column], values: Mapping[str, Any]) -> tuple[Cell, ...]:
    cells = []
    for column in columns:
        value = number(values.get(column.key))
        text = MISSING if value is None else f"{value * column.scale:.{column.decimals}f}"
        cells.append(Cell(value, text))
    return tuple(cells)


def _mark_best(results: Results, columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark what reads as the best: values shown alike are marked alike, and where all are alike nothing is best.

    Oracles neither win nor keep others from it.
    """
    marked = [list(row.cells) for row in rows]
    competing = [cells for row, cells in zip(rows, marked, strict=True) if not is_oracle(results, row.method)]
    for place, column in enumerate(columns):
        shown = [float(cells[place].text) for cells in competing if cells[place].value is not None]
        if column.better is None or len(set(shown)) < 2:
            continue
        best = max(shown) if column.better == "high" else min(shown)
        for cells in competing:
            if cells[place].value is not None and float(cells[place].text) == best:
                cells[place] = replace(cells[place], best=True)
    return tuple(replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True))
