"""The files that an evaluation leaves: ``results.json``, ``results.csv``, ``report.md`` and ``report.html``."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from segtrain.benchmark.runner import REPORT_FILES
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.report.gallery.choice import GalleryItem
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.tables.cells import METRICS, Results, number, track_table

_TIMINGS = (("data", "median"), ("data", "p95"), ("segmentation", "median"), ("segmentation", "p95"))
_HEADLINE = ("mask_ap", "mask_ap50", "box_ap", "miou", "f1_50", "seconds")
_COUNTS = ("images", "detections", "images_without_detections")


def write_report(output_dir: Path, results: Results, gallery: Sequence[GalleryItem]) -> Path:
    """Write the four files of an evaluation, each under a temporary name first.

    Args:
        output_dir: the run's folder; made if it is missing.
        results: what ``results.json`` shall hold; NaN and infinities become null.
        gallery: images to show, may be empty.

    Returns:
        The path of ``report.html``.

    Raises:
        SegtrainError: the folder cannot be written.
    """
    results = plain(results)
    texts = (
        json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        csv_text(results),
        markdown_report(results),
        html_report(results, gallery),
    )
    try:
        for name, text in zip(REPORT_FILES, texts, strict=True):
            # surrogatepass is no option: browsers reject it; a lone surrogate in a name is shown as "?".
            write_atomically(output_dir / name, text.encode("utf-8", errors="replace"))
    except OSError as error:
        raise SegtrainError(
            f"{output_dir}: cannot write the report ({error.strerror}); choose another output_dir"
        ) from error
    return output_dir / "report.html"


def headline(results: Results) -> RichTable:
    """The class-agnostic table for the terminal, best method first, the best of each column in bold."""
    content = track_table(results, "class_agnostic")
    # What a terminal of 80 columns holds; the report has the rest.
    kept = [i for i, column in enumerate(content.columns) if column.key in _HEADLINE]
    table = RichTable(title="Class-agnostic, every method", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("method", overflow="fold")  # a long name takes a line more rather than the numbers' room
    for i in kept:
        table.add_column(content.columns[i].title, justify="right", no_wrap=True)
    for row in content.rows:
        cells = [Text(row.cells[i].text, style="bold green" if row.cells[i].best else "") for i in kept]
        table.add_row(Text(row.method), *cells)
    return table


def csv_text(results: Results) -> str:
    """One line for each method and track, numbers in full precision, undefined ones empty."""
    keys = [column.key for column in METRICS]
    times = [f"{part}_seconds_{statistic}" for part, statistic in _TIMINGS]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["method", "track", "score", "score_threshold", *keys, *times, "scoring_seconds_total", *_COUNTS])
    for name, method in results["methods"].items():
        timing, counts = method.get("timing") or {}, method.get("counts") or {}
        measured = [number((timing.get(part) or {}).get(statistic)) for part, statistic in _TIMINGS]
        measured.append(number((timing.get("scoring") or {}).get("total")))
        for track in ("class_agnostic", "class_aware"):
            if (values := method.get(track)) is not None:
                numbers = [method.get("score_threshold"), *(number(values.get(key)) for key in keys), *measured]
                writer.writerow([name, track, method.get("score"), *numbers, *(counts.get(key) for key in _COUNTS)])
    return stream.getvalue()


def plain(value: Any) -> Any:
    """The same value in JSON's own types: NumPy scalars unwrapped, undefined numbers None, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
