"""Writer of an evaluation's files: ``results.json``, ``results.csv``, ``report.md`` and ``report.html``."""

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from segtrain.benchmark.results import MethodScores, Results
from segtrain.benchmark.runner import REPORT_FILES
from segtrain.console import with_progress
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS
from segtrain.io import without_controls, write_atomically
from segtrain.metrics.registry import METRICS
from segtrain.report.gallery.select import GalleryItem
from segtrain.report.gallery.suspect_crops import SuspectList
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.tables import SPEED, track_table

_TERMINAL = (*(metric.key for metric in METRICS if metric.in_terminal), SPEED.key)  # columns for 80 characters
_CSV_TIMES = ("data_seconds_median", "data_seconds_p95", "segmentation_seconds_median", "segmentation_seconds_p95")
_CSV_COUNTS = ("images", "detections", "images_without_detections")


def write_report(
    output_dir: Path,
    results: Results,
    images: Sequence[GalleryItem] = (),
    suspects: SuspectList | None = None,
    processes: int = 1,
) -> Path:
    """Write the four files of an evaluation, each under a temporary name first.

    Args:
        output_dir: the run's folder; made if it is missing.
        results: an evaluation.
        images: images of the gallery.
        suspects: labels to look at; None if they were not looked for.
        processes: number of processes that outline the objects of the gallery.

    Returns:
        The path of ``report.html``.

    Raises:
        SegtrainError: the folder cannot be written.
    """
    markdown = partial(markdown_report, suspects=suspects)
    html = partial(html_report, images=images, suspects=suspects, processes=processes)
    writers = (Results.to_json, csv_text, markdown, html)
    texts = [write(results) for write in with_progress("report", writers)]
    try:
        for name, text in zip(REPORT_FILES, texts, strict=True):
            # surrogatepass is no option: browsers reject it; a lone surrogate in a name is shown as "?".
            write_atomically(output_dir / name, without_controls(text).encode("utf-8", errors="replace"))
    except OSError as error:
        raise SegtrainError(
            f"{output_dir}: cannot write the report ({error.strerror}); choose another output_dir"
        ) from error
    return output_dir / "report.html"


def terminal_table(results: Results) -> RichTable:
    """Make the class-agnostic table for the terminal, best method first, the best of each column in bold."""
    content = track_table(results, "class_agnostic")
    kept = [i for i, column in enumerate(content.columns) if column.key in _TERMINAL]
    table = RichTable(title="Class-agnostic, every method", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("method", overflow="fold")  # a long name takes a line more rather than the numbers' room
    for i in kept:
        table.add_column(content.columns[i].title, justify="right", no_wrap=True)
    for row in content.rows:
        cells = [Text(row.cells[i].text, style="bold green" if row.cells[i].best else "") for i in kept]
        table.add_row(Text(row.method), *cells)
    return table


def csv_text(results: Results) -> str:
    """Write one line for each method and track, numbers in full precision, undefined ones empty."""
    keys = [metric.key for metric in METRICS]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header = ["method", "track", "score", "score_threshold", *keys, *_CSV_TIMES, "scoring_seconds_total", *_CSV_COUNTS]
    writer.writerow(header)
    for name, method in results.methods.items():
        for track in TRACKS:
            if (scores := method.track(track)) is not None:
                metrics = [scores.metrics.get(key) for key in keys]
                counts = [getattr(method.counts, key) for key in _CSV_COUNTS]
                line = [name, track, method.ranked_by, method.score_threshold, *metrics, *_times(method), *counts]
                writer.writerow(line)
    return stream.getvalue()


def _times(method: MethodScores) -> list[float | None]:
    """Collect the median and the 95th percentile of reading and segmenting an image, and the total of scoring, in s."""
    times: list[float | None] = []
    for spread in (method.timing.data, method.timing.segmentation):
        times += [spread.median, spread.p95] if spread else [None, None]
    return [*times, method.timing.scoring.total]
