"""Numbers by kind of object, as tables and as lines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from segtrain.report.figures.axes import Frame, scale, ticks
from segtrain.report.figures.drawing import Curve, Figure, hues, line
from segtrain.report.tables.cells import (
    Cell,
    Column,
    Results,
    Row,
    Table,
    cells,
    contenders,
    is_oracle,
    mark_best,
    ranking,
)
from segtrain.report.tables.cells import number as defined
from segtrain.report.tables.reasons import is_zero, with_reasons

TRAITS = ("size", "contrast", "crowding")
_NUMBERS = (
    ("ap", "AP", "Mask AP of the objects of this kind", "Next to none of these objects is found."),
    ("recall", "recall", "Share of these objects that are matched at IoU 0.50, at the row's score threshold",
     "Next to none of these objects is found at IoU 0.50 by what reaches the row's score threshold."),
    ("iou", "IoU", "Mean IoU of these objects with the detection that overlaps each most, at the row's threshold",
     "What reaches the row's score threshold overlaps next to none of these objects."),
)  # fmt: skip
_DOT = 1.2  # radius in pixels of the circle at a value, whose line fills it

Strata = Sequence[Mapping[str, Any]]


def kind_tables(results: Results) -> dict[str, Table]:
    """For each trait the numbers of every row that has any, one column for each number and stratum."""
    found = {}
    for trait, strata in _traits(results).items():
        columns = [
            Column(f"{key} {i}", f"{title} {stratum['name']}", f"{hint}: {stratum['name']}")
            for key, title, hint, _ in _NUMBERS
            for i, stratum in enumerate(strata)
        ]
        rows = []
        for name in ranking(results):
            values = {f"{key} {i}": n.get(key) for i, n in enumerate(_of(results, name, trait)) for key, *_ in _NUMBERS}
            if values:
                rows.append(Row(name, cells(columns, values), oracle=is_oracle(results["methods"][name])))
        if rows:
            found[trait] = with_reasons(Table(tuple(columns), mark_best(columns, rows)), _why)
    return found


def _why(row: Row, column: Column, cell: Cell) -> str:
    (why,) = (why for key, *_, why in _NUMBERS if column.key.startswith(f"{key} "))
    return why if is_zero(cell.value) else ""


def kind_figures(results: Results, width: float) -> list[Figure]:
    """For each trait of more than one stratum AP over the strata, a line for each method; oracles rank nowhere.

    Args:
        results: the content of ``results.json``.
        width: of a figure in pixels.
    """
    names, look = contenders(results), hues(results)
    strata = {trait: found for trait, found in _traits(results).items() if len(found) > 1}
    values = {
        trait: {name: [defined(n.get("ap")) for n in _of(results, name, trait)] for name in names} for trait in strata
    }
    known = [ap for of in values.values() for aps in of.values() for ap in aps if ap is not None]
    if not known:
        return []
    height = 0.86 * width
    frame = Frame(width, height, 40, 28, width - 10, height - 44)
    top, step = scale(max(known))
    figures = []
    for trait, found in strata.items():
        curves = []
        for name in names:
            places = [
                frame.at((i + 0.5) / len(found), ap / top) for i, ap in enumerate(values[trait][name]) if ap is not None
            ]
            if places:
                curves.append(Curve(name, look[name], line(places) + "".join(map(_dot, places))))
        figures.append(
            Figure(
                title=f"AP by {trait}",
                description=f"AP over {trait}, one line each for {', '.join(curve.method for curve in curves)}.",
                frame=frame,
                x_title=trait,
                y_title="mask AP",
                x_ticks=frame.x_ticks(((i + 0.5) / len(found), stratum["name"]) for i, stratum in enumerate(found)),
                y_ticks=frame.y_ticks(ticks(top, step)),
                curves=curves[::-1],  # the best method's line is drawn last, on top
            )
        )
    return figures


def kind_words(results: Results) -> dict[str, str]:
    """For each trait its strata in words: bounds and numbers of objects."""
    return {
        trait: "; ".join(
            f"{stratum['name']}{_range(stratum, trait)}, {stratum['objects']:,} object{'s'[: stratum['objects'] != 1]}"
            for stratum in strata
        )
        for trait, strata in _traits(results).items()
    }


def _traits(results: Results) -> dict[str, Strata]:
    known = results.get("strata") or {}
    return {trait: known[trait] for trait in TRAITS if known.get(trait)}


def _of(results: Results, name: str, trait: str) -> Strata:
    """A row's numbers by stratum; none for a row of boxes only."""
    return (results["methods"][name].get("strata") or {}).get(trait) or ()


def _range(stratum: Mapping[str, Any], trait: str) -> str:
    low, high = (
        None if value is None else f"{math.floor(value):,}" if trait == "size" else f"{value:.3f}"
        for value in (defined(stratum.get("low")), defined(stratum.get("high")))
    )
    if low is None and high is None:
        return ""
    span = f"up to {high}" if low is None else f"above {low}" if high is None else f"{low} to {high}"
    return f" ({span}{' pixels' if trait == 'size' else ''})"


def _dot(place: tuple[float, float]) -> str:
    """A circle as part of a line, so that one legend entry raises both."""
    x, y = place
    half = f"a{_DOT} {_DOT} 0 1 0"
    return f"M{x - _DOT:.1f} {y:.1f}{half} {2 * _DOT:.1f} 0{half} {-2 * _DOT:.1f} 0"
