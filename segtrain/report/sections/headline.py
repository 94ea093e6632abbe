"""Sections at the top of a report: the verdict, the main metrics, and every difference to the reference."""

from dataclasses import replace

from segtrain.benchmark.results import Results
from segtrain.metrics.metric import Metric
from segtrain.metrics.registry import METRICS
from segtrain.report.blocks import Block, Bullets, Charts, Paragraph, Section, Term
from segtrain.report.charts import Axis, Chart, Lane, Lanes, Point, series_styles
from segtrain.report.tables import (
    Cell,
    Column,
    Row,
    Table,
    make_cells,
    shown_difference,
    track_table,
)
from segtrain.report.text import MISSING, number_text, p_phrase, p_text

_RANKING = next(metric for metric in METRICS if metric.key == "mask_ap")


def verdict(results: Results) -> Section:
    """Show the verdict in sentences."""
    first, *others = results.verdict
    blocks: list[Block] = [Paragraph(first, style="verdict")]
    return Section("verdict", "Verdict", [*blocks, Bullets(others)] if others else blocks)


def headline(results: Results) -> Section:
    """Show the main metrics with their intervals, and the difference to the reference."""
    table = headline_table(results)
    with_intervals = any(cell.details for row in table.rows for cell in row.cells)
    lead = (
        "Class-agnostic: all categories count as one, so that every method can be compared. Higher is better, except "
        "for time."
    )
    if with_intervals:
        lead += " In brackets: the 95 % interval, from resampling the images."
    if results.comparisons:
        lead += (
            f" Δ: difference to {results.reference}; p: p-value of the paired bootstrap test, corrected for the number "
            "of methods (Holm)."
        )
    if any(method.oracle for method in results.methods.values()):
        lead += " Upper bounds: best setting per image, chosen with its ground truth; excluded from ranking."
    blocks: list[Block] = [Paragraph(lead), table]
    charts = [chart for metric in METRICS if metric.charted and (chart := interval_chart(results, metric.key))]
    if charts:
        caption = "Lines: 95 % intervals. Where two overlap widely, the data may not tell the methods apart."
        blocks.append(Charts(charts, caption if with_intervals else ""))
    return Section("headline", "Every method", blocks, definitions=_definitions(results))


def differences(results: Results) -> Section | None:
    """Show every difference to the reference; None where nothing was compared."""
    table, reference = difference_table(results), results.reference
    if table is None:
        return None
    lead = (
        f"Of every metric, on the same images: the method minus {reference}, its 95 % interval, and p, corrected for "
        "the number of comparisons."
    )
    return Section("differences", f"Differences to {reference}", [Paragraph(lead), table], short="Differences")


def headline_table(results: Results) -> Table:
    """Make the table of the headline metrics, with the difference to the reference and its p where they are known."""
    table = track_table(
        results,
        "class_agnostic",
        "Class-agnostic results",
        "Marked: best of its column. A dash: not defined.",
        keys=[metric.key for metric in METRICS if metric.headline],
        intervals=True,
    )
    if not results.comparisons:
        return table
    column = _difference_column(results, _RANKING)
    p = Column("p", "p", f"p-value of the difference of {_RANKING.title}, Holm-corrected", None)
    rows = []
    for row in table.rows:
        compared = results.comparison(row.method, _RANKING.key)
        p_cell = Cell(compared.p, p_text(compared.p, compared.least_p)) if compared else Cell(None, MISSING)
        rows.append(replace(row, cells=(*row.cells, _difference(results, row.method, column), p_cell)))
    return replace(table, columns=(*table.columns, column, p), rows=tuple(rows))


def difference_table(results: Results) -> Table | None:
    """Make the table of differences to the reference, with intervals and p; None where nothing was compared."""
    metrics = [m for m in METRICS if any(m.key in compared for compared in results.comparisons.values())]
    columns = [_difference_column(results, metric) for metric in metrics]
    rows = []
    for name in results.ranked:
        if name not in results.comparisons:
            continue
        cells = []
        for column in columns:
            cell, compared = _difference(results, name, column), results.comparison(name, column.key)
            if compared:
                cell = replace(cell, details=(*cell.details, p_phrase(compared.p, compared.least_p)))
            cells.append(cell)
        rows.append(Row(name, tuple(cells), upper_bound=results.methods[name].oracle))
    if not rows or not columns:
        return None
    label = f"Differences to {results.reference}"
    return Table(tuple(columns), tuple(rows), label, "A difference is significant where p is below 0.05.")


def interval_chart(results: Results, key: str) -> Chart | None:
    """Draw a class-agnostic metric of every method with its interval; None if no method has it."""
    title = next(metric.title for metric in METRICS if metric.key == key)
    styles = series_styles(results.ranked, results.oracles)
    lanes: list[Lane] = []
    points = []
    for name in results.ranked:
        track = results.methods[name].class_agnostic
        if track is None or (value := track.metrics.get(key)) is None:
            continue
        interval = track.intervals.get(key)
        said = value_title(name, title, value, interval)
        points.append(Point(value, len(lanes), styles[name], said, x_interval=interval, radius=4.5))
        lanes.append(Lane(name, number_text(value), said, results.methods[name].oracle))
    return Chart(title, Axis(title), Lanes(lanes), points) if lanes else None


def value_title(name: str, title: str, value: float, interval: tuple[float, float] | None = None) -> str:
    """Describe one value of a method: its tooltip.

    >>> value_title("otsu", "mask AP", 0.25, (0.2, 0.3))
    'otsu: mask AP 0.250, 95 % interval 0.200 to 0.300'
    """
    text = f"{name}: {title} {number_text(value)}"
    return f"{text}, 95 % interval {number_text(interval[0])} to {number_text(interval[1])}" if interval else text


def _difference_column(results: Results, metric: Metric) -> Column:
    hint = f"Difference to {results.reference}: {metric.hint[0].lower()}{metric.hint[1:]}"
    return Column(metric.key, f"Δ {metric.title}", hint, None, signed=True)


def _difference(results: Results, name: str, column: Column) -> Cell:
    """Make the cell of a difference to the reference, with its interval; undefined where it was not compared."""
    compared = results.comparison(name, column.key)
    if compared is None or results.reference is None:
        return Cell(None, MISSING)
    value = shown_difference(results, name, results.reference, column.key)
    return make_cells([column], {column.key: value}, {column.key: (compared.low, compared.high)})[0]


def _definitions(results: Results) -> list[Term]:
    """Define intervals, differences and p; nothing where the images were not resampled."""
    resamples = results.bootstrap.resamples
    if not resamples or not any(m.class_agnostic and m.class_agnostic.intervals for m in results.methods.values()):
        return []
    terms = [
        Term(
            "95 % interval",
            f"Percentile bootstrap over images: the images are drawn {resamples:,} times with replacement, the same "
            "draws for all methods; the interval holds the middle 95 % of the resulting values (Efron and Tibshirani, "
            "1993).",
        )
    ]
    if results.comparisons:
        terms.append(
            Term(
                "Δ, p",
                f"Δ is a method's value minus that of {results.reference}, as both are shown. p is the two-sided "
                "p-value of the paired bootstrap test on the same draws; ≤ marks the smallest p that so many draws can "
                "give. It is corrected for the number of methods (Holm, 1979); intervals are not, so an "
                "interval may exclude 0 although p is 0.05 or more: such a difference is not significant. Where the "
                f"verdict compares the best two and neither is {results.reference}, p is that of the pair alone.",
            )
        )
    return terms
