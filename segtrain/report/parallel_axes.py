"""Parallel coordinates: an upright axis for each setting of a sweep and one for the value, a line for each job."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from segtrain.report.charts import NARROW, WIDE, Style, svg_tag, svg_text
from segtrain.report.labels import fit
from segtrain.report.text import number_text
from segtrain.training.sweep_journal import short_key

_MOST_TICKS = 6  # of an axis of numbers; options are all named
_LOG_FROM = 10.0  # ratio of the largest to the smallest number from which an axis is logarithmic


@dataclass(frozen=True)
class ParallelLine:
    """Line of a job.

    Attributes:
        values: its settings by key, as typed.
        result: value on the last axis.
        style: appearance.
        name: name of its series, in the legend.
        title: tooltip.
    """

    values: Mapping[str, str]
    result: float
    style: Style
    name: str
    title: str


def parallel_chart(keys: Sequence[str], result: str, lines: Sequence[ParallelLine]) -> Markup:
    """Draw parallel coordinates, once for a desktop and once for a phone.

    Args:
        keys: settings, one axis each.
        result: title of the last axis.
        lines: jobs, best first; the best is drawn last, on top.
    """
    return Markup("\n").join(
        _drawing(keys, result, lines, width, kind) for width, kind in ((WIDE, " wide"), (NARROW, " narrow"))
    )


def places_of(values: Sequence[str]) -> dict[str, float]:
    """Place the values of a setting on an axis from 0 to 1: numbers by their size, options at equal distances.

    >>> places_of(["1e-4", "1e-2", "1e-3"]), places_of(["b", "a"])
    ({'1e-4': 0.0, '1e-2': 1.0, '1e-3': 0.5}, {'b': 0.0, 'a': 1.0})
    """
    distinct = list(dict.fromkeys(values))
    try:
        numbers = [float(value) for value in distinct]
    except ValueError:
        numbers = [float(place) for place in range(len(distinct))]
    if not all(map(math.isfinite, numbers)):
        numbers = [float(place) for place in range(len(distinct))]
    if min(numbers) > 0 and max(numbers) / min(numbers) >= _LOG_FROM:
        numbers = [math.log10(number) for number in numbers]
    low, high = min(numbers), max(numbers)
    return {
        value: round((number - low) / (high - low), 6) if high > low else 0.5
        for value, number in zip(distinct, numbers, strict=True)
    }


def some_of(places: Mapping[str, float], most: int) -> list[tuple[str, float]]:
    """Choose values to name: all of few, else some at equal steps of their order, with both ends.

    Args:
        places: place of each value on its axis.
        most: largest number of values, at least 2.

    >>> some_of({"a": 0.0, "b": 0.25, "c": 1.0}, 2)
    [('a', 0.0), ('c', 1.0)]
    """
    ordered = sorted(places.items(), key=lambda entry: entry[1])
    if len(ordered) <= most:
        return ordered
    step = (len(ordered) - 1) / (most - 1)
    return [ordered[round(step * number)] for number in range(most)]


def _drawing(keys: Sequence[str], result: str, lines: Sequence[ParallelLine], width: float, kind: str) -> Markup:
    gap = (width - 70) / len(keys)
    top, bottom = 34.0, 0.36 * width + 140
    places = {key: places_of([line.values.get(key, "–") for line in lines]) for key in keys}
    results = [line.result for line in lines]
    low, high = min(results), max(results)

    def y_of(place: float) -> float:
        return bottom + place * (top - bottom)

    def height_of(value: float) -> float:
        return y_of((value - low) / (high - low) if high > low else 0.5)

    found = []
    for number, name in enumerate([*keys, result]):
        x = 14 + gap * number
        found.append(svg_tag("line", class_="axis", x1=x, x2=x, y1=top, y2=bottom))
        found.append(svg_text(x - 8, 14, fit(name if number == len(keys) else short_key(name, keys), gap - 6), "title"))
    for line in lines[::-1]:
        spots = [y_of(places[key][line.values.get(key, "–")]) for key in keys]
        spots.append(height_of(line.result))
        path = "M" + "L".join(f"{14 + gap * number:.1f} {y:.1f}" for number, y in enumerate(spots))
        found.append(
            svg_tag(
                "path", svg_tag("title", escape(line.title)), class_="curve", data_series=line.name, d=path,
                stroke_dasharray=line.style.dash or None, style=line.style.colour,
            )
        )  # fmt: skip
    for number, key in enumerate(keys):
        for value, place in some_of(places[key], _MOST_TICKS):
            found.append(_label(14 + gap * number, y_of(place), fit(value, gap - 12)))
    ends = dict.fromkeys([low, high])
    found += [_label(14 + gap * len(keys), height_of(value), number_text(value)) for value in ends]
    described = f"Parallel coordinates of {len(lines)} jobs: {', '.join(keys)}, and {result}."
    return svg_tag(
        "svg", *found, class_=f"figure{kind}", style=f"max-width: {width:.0f}px",
        viewBox=f"0 0 {width:.0f} {bottom + 14:.0f}", role="img", aria_label=described,
    )  # fmt: skip


def _label(x: float, y: float, text: str) -> Markup:
    return svg_text(x + 6, y + 4, text, "halo", style="--c: var(--ink)")
