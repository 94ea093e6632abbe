"""Curves of training runs as sections of a page: losses, quality, learning rate and time, several runs in one chart."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from segtrain.metrics.registry import METRICS
from segtrain.report.blocks import Block, Charts, Paragraph, Section
from segtrain.report.charts import Axis, Chart, Line, Style, axis_from_zero, series_styles
from segtrain.training.run_history import RunHistory, Series

MOST_POINTS = 120  # of a line; entries of the log between them are averaged
_DASHED = "2 3"  # of training losses beside validation losses of several runs
_PARTS = {"training": Style(0), "validation": Style(1)}  # of the losses of a single run
_QUALITY = ("mask_ap", "mask_ap50", "f1_50", "miou", "box_ap")
_TITLES = {metric.key: metric.title for metric in METRICS} | {"loss": "validation loss"}
_TIME = {
    "train/images_per_second": "images per second",
    "train/data_wait_share": "share of time waiting for data",
    "validation/seconds": "seconds of a validation",
}


def title_of(monitor: str) -> str:
    """Return the title of a number of the validations.

    Args:
        monitor: its name, as in ``trainer.monitor``.

    >>> title_of("mask_ap50"), title_of("loss")
    ('AP50', 'validation loss')
    """
    return _TITLES[monitor]


def curve_sections(runs: Mapping[str, RunHistory], styles: Mapping[str, Style] | None = None) -> list[Section]:
    """Draw losses, quality, learning rate and time of runs, as far as there are curves of them.

    Args:
        runs: numbers of each run by its name, at least one.
        styles: style of each run; None to choose them in the order of the runs.
    """
    chosen = series_styles(list(runs)) if styles is None else styles
    sections = (make(runs, chosen) for make in (_losses, _quality, _rate, _time))
    return [section for section in sections if section is not None]


def _section(key: str, title: str, lead: str, drawn: Sequence[Chart | None]) -> Section | None:
    """Make a section of the charts that have lines, with a legend if there are several names; None without any."""
    charts = [chart for chart in drawn if chart is not None]
    if not charts:
        return None
    several = len({name for chart in charts for name in chart.legend}) > 1
    blocks: list[Block] = [Paragraph(lead)] if lead else []
    return Section(key, title, [*blocks, Charts(charts, legend=several)])


def _losses(runs: Mapping[str, RunHistory], styles: Mapping[str, Style]) -> Section | None:
    names = [name for name in _names(runs, "train/loss") if name != "loss_scale"]
    several = " Solid lines are losses of validation, dotted ones those of training." if len(runs) > 1 else ""
    lead = (
        "Training losses are means of neighbouring entries of the log, of augmented images; validation losses are "
        f"those of the validation images as they are, with the averaged weights.{several} High values at the start may "
        "be cut."
    )
    return _section("losses", "Losses", lead, [_loss_chart(runs, styles, name) for name in names])


def _loss_chart(runs: Mapping[str, RunHistory], styles: Mapping[str, Style], name: str) -> Chart | None:
    lines: list[Line | None] = []
    for run, history in runs.items():
        training, validation = (history.of(f"{part}/{name}") for part in ("train", "validation"))
        if len(runs) == 1:
            lines += [
                _line(validation, _PARTS["validation"], "validation"),
                _line(training, _PARTS["training"], "training"),
            ]
        else:
            dotted = replace(styles[run], dash=_DASHED)
            lines += [_line(validation, styles[run], run), _line(training, dotted, run)]
    return _chart("sum of the terms" if name == "loss" else name, "steps", "loss", lines)


def _quality(runs: Mapping[str, RunHistory], styles: Mapping[str, Style]) -> Section | None:
    charts = []
    for key, title in ((key, title_of(key)) for key in _QUALITY):
        charts.append(_of_each(runs, styles, f"validation/{key}", title, title))
        if key == "mask_ap":
            charts.append(_of_each(runs, styles, f"validation/{key}", f"{title} over time", title, by_minutes=True))
    lead = "Of the validation images, all categories; a run with a single validation has no curve here."
    return _section("quality", "Quality", lead, charts)


def _rate(runs: Mapping[str, RunHistory], styles: Mapping[str, Style]) -> Section | None:
    charts = [
        _of_each(runs, styles, "train/learning_rate", "learning rate", "learning rate"),
        _of_each(runs, styles, "train/gradient_norm", "norm of the gradient", "norm"),
    ]
    return _section("rate", "Learning rate", "", charts)


def _time(runs: Mapping[str, RunHistory], styles: Mapping[str, Style]) -> Section | None:
    charts = [_of_each(runs, styles, name, title, title) for name, title in _TIME.items()]
    return _section("time", "Time", "", charts)


def _of_each(
    runs: Mapping[str, RunHistory],
    styles: Mapping[str, Style],
    name: str,
    title: str,
    y: str,
    *,
    by_minutes: bool = False,
) -> Chart | None:
    """Draw a number of each run; None if no run has two values of it."""
    lines = [
        _line(history.of(name), styles[run], run, history.minutes_at if by_minutes else float)
        for run, history in runs.items()
    ]
    return _chart(title, "minutes of training" if by_minutes else "steps", y, lines)


def _line(series: Series, style: Style, name: str, x: Callable[[int], float] = float) -> Line | None:
    """Make a line of means over neighbouring values; None of less than two values, which are no curve."""
    if len(series) < 2:
        return None
    size = math.ceil(len(series) / MOST_POINTS)
    groups = [series[start : start + size] for start in range(0, len(series), size)]
    points = [
        (sum(x(step) for step, _ in group) / len(group), sum(value for _, value in group) / len(group))
        for group in groups
    ]
    return Line(points, style, name, dots=len(points) < 30)


def _chart(title: str, x: str, y: str, lines: Sequence[Line | None]) -> Chart | None:
    drawn = [line for line in lines if line is not None]
    if not drawn:
        return None
    axes = [_axis(name, [point[place] for line in drawn for point in line.points]) for place, name in enumerate((x, y))]
    top = axes[1].high or 1.0
    cut = [replace(line, points=[(at, min(value, top)) for at, value in line.points]) for line in drawn]
    return Chart(title, axes[0], axes[1], cut[::-1], aspect=0.7)


def _axis(title: str, values: Sequence[float]) -> Axis:
    """Make an axis from 0 to the largest value, or to one that a few high values at the start exceed."""
    ordered = sorted(values)
    high = ordered[-1]
    usual = ordered[int(0.9 * (len(ordered) - 1))]
    if len(ordered) > 10 and high > 3 * usual:
        high = 1.5 * usual
    return axis_from_zero(title, high)


def _names(runs: Mapping[str, RunHistory], start: str) -> list[str]:
    """List the names of training losses, without their part, in the order of the log."""
    found = [name for history in runs.values() for name in history.series if name.startswith(start)]
    return list(dict.fromkeys(name.partition("/")[2] for name in found))
