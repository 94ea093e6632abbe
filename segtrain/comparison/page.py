"""Page of a comparison of two evaluations, in the frame of the report."""

from collections.abc import Callable, Mapping, Sequence

from segtrain.comparison.compared_results import Change, ComparedResults, ComparedSide, MethodChanges
from segtrain.comparison.words import (
    HEADLINE,
    TITLES,
    by_category,
    by_stratum,
    change_text,
    describe_changes,
    describe_pairing,
    interval_text,
    outcome_text,
)
from segtrain.console import counted
from segtrain.metrics.registry import METRICS
from segtrain.report.blocks import Block, Bullets, Charts, Folded, Heading, Paragraph, Section, Term, Terms
from segtrain.report.charts import Axis, Chart, Lane, Lanes, Line, Point, Style, nice_scale, series_styles
from segtrain.report.html import page_environment
from segtrain.report.tables import Cell, Column, Row, Table
from segtrain.report.text import MISSING, number_text, p_phrase, p_text, time_text

_SIGNED = "{}: second evaluation minus first, with the two values, the 95 % interval and p"


def compare_page(compared: ComparedResults, judged: Sequence[str] = ()) -> str:
    """Write a comparison as one self-contained HTML page.

    Args:
        compared: comparison of two evaluations.
        judged: sentences on limits that the user has set.
    """
    makers: tuple[Callable[[ComparedResults], Section | None], ...] = (_methods, _categories, _strata, _all, _others)
    sections = [_verdict(compared, judged), *(make(compared) for make in makers)]
    return (
        page_environment()
        .get_template("compare.html.jinja")
        .render(
            styles=_styles(compared),
            title="Comparison of two evaluations",
            command="compare",
            facts=f"{_side(compared.first)} → {_side(compared.second)}",
            sections=[section for section in sections if section is not None],
        )
    )


def _styles(compared: ComparedResults) -> dict[str, Style]:
    bounds = [name for name, own in compared.methods.items() if own.oracle]
    return series_styles(list(compared.methods), bounds)


def _side(side: ComparedSide) -> str:
    return f"{side.path}{'' if side.date is None else f' ({side.date})'}"


def _verdict(compared: ComparedResults, judged: Sequence[str]) -> Section:
    first, *others = describe_changes(compared)
    blocks: list[Block] = [
        Paragraph(first, style="verdict"),
        Bullets([*others, *judged, *describe_pairing(compared), *compared.notes]),
    ]
    return Section("verdict", "What changed", blocks)


def _methods(compared: ComparedResults) -> Section:
    """Show the headline metrics of each method."""
    keys = [key for key in HEADLINE if any(key in own.class_agnostic for own in compared.methods.values())]
    columns = [Column(key, f"Δ {TITLES[key]}", _SIGNED.format(TITLES[key]), None, signed=True) for key in keys]
    rows = [
        Row(name, tuple(_cell(own.class_agnostic.get(key), own) for key in keys), upper_bound=own.oracle)
        for name, own in compared.methods.items()
    ]
    lead = (
        "Class-agnostic: all categories count as one. Each number is that of the second evaluation minus that of the "
        "first; below it both values, the 95 % interval of the difference, and p where the difference is more than "
        "chance. p is corrected for the number of methods (Holm), intervals are not."
    )
    blocks: list[Block] = [Paragraph(lead), Table(tuple(columns), tuple(rows), "Changes of each method")]
    charted = [metric.key for metric in METRICS if metric.charted]
    if charts := [chart for key in charted if (chart := _chart(compared, key))]:
        blocks.append(Charts(charts, "Lines: 95 % intervals of the differences. Right of 0: higher in the second one."))
    return Section("methods", "Every method", blocks)


def _cell(change: Change | None, own: MethodChanges) -> Cell:
    if change is None or change.difference is None:
        return Cell(None, MISSING, details=() if change is None else (_values(change),))
    if change.outcome == "same":
        return Cell(0.0, number_text(0.0, signed=True), details=(number_text(change.after), "unchanged"))
    details = [_values(change), interval_text(change)]
    if change.outcome in ("rose", "fell") and change.p is not None and not own.oracle:
        details.append(f"{change.outcome}, {p_phrase(change.p, change.least_p)}")
    return Cell(change.difference, number_text(change.difference, signed=True), details=tuple(filter(None, details)))


def _values(change: Change) -> str:
    return f"{number_text(change.before)} → {number_text(change.after)}"


def _chart(compared: ComparedResults, key: str) -> Chart | None:
    """Draw the change of a metric of every method with its interval; None if no method has it."""
    found = {name: own.class_agnostic[key] for name, own in compared.methods.items() if key in own.class_agnostic}
    known = {name: change for name, change in found.items() if change.difference is not None}
    if not known:
        return None
    styles = _styles(compared)
    ends = [abs(end) for change in known.values() for end in (change.difference, change.low, change.high) if end]
    top, step = nice_scale(max([*ends, 0.01]), room=70.0)
    ticks = [
        (sign * place * step, number_text(sign * place * step, 2 if step >= 0.01 else 3, signed=True))
        for sign in (-1, 1)
        for place in range(round(top / step) + 1)
        if place or sign > 0
    ]
    lanes: list[Lane] = []
    points: list[Point] = []
    for name, change in known.items():
        said = f"{name}: {TITLES[key]} {change_text(change)}"
        whisker = None if change.low is None or change.high is None else (change.low, change.high)
        points.append(Point(change.difference or 0.0, len(lanes), styles[name], said, x_interval=whisker, radius=4.5))
        lanes.append(Lane(name, number_text(change.difference, signed=True), said, compared.methods[name].oracle))
    zero = Line([(0.0, 0.0), (0.0, len(lanes) - 1.0)])
    title = f"Δ {TITLES[key]}"
    return Chart(title, Axis(title, -top, top, sorted(ticks)), Lanes(lanes), [zero, *points])


def _categories(compared: ComparedResults) -> Section | None:
    """Show the class-aware changes of single categories."""
    keys = ("mask_ap", "f1_50")
    groups = {
        name: {key: by_category(own, key) for key in keys}
        for name, own in compared.methods.items()
        if any(_moves(change) for key in keys for change in by_category(own, key).values())
    }
    names = dict.fromkeys(category for own in groups.values() for changes in own.values() for category in changes)
    rows = [
        Row(
            method,
            tuple(_cell(own[key].get(category), compared.methods[method]) for key in keys),
            category=category,
        )
        for category in names
        for method, own in groups.items()
    ]
    columns = tuple(Column(key, f"Δ {TITLES[key]}", _SIGNED.format(TITLES[key]), None, signed=True) for key in keys)
    lead = "Class-aware, methods with changes. p is corrected for the number of methods and categories."
    return (
        Section("categories", "Categories", [Paragraph(lead), Table(columns, tuple(rows), "Categories")])
        if rows
        else None
    )


def _strata(compared: ComparedResults) -> Section | None:
    """Show the changes of AP by kind of object, a table for each trait."""
    changed = {name: own for name, own in compared.methods.items() if any(map(_moves, by_stratum(own).values()))}
    lead = (
        "Mask AP, class-agnostic, of the methods with changes, by size, contrast and crowding of the objects. p is "
        "corrected for the number of methods and kinds."
    )
    if compared.same_data is False:
        lead += " Each evaluation divides its own objects, so that the kinds are not quite the same."
    blocks: list[Block] = [Paragraph(lead)]
    for trait in dict.fromkeys(trait for own in changed.values() for trait in own.strata):
        names = dict.fromkeys(name for own in changed.values() for name in own.strata.get(trait, ()))
        columns = tuple(Column(name, f"Δ {name}", _SIGNED.format("mask AP"), None, signed=True) for name in names)
        rows = tuple(
            Row(name, tuple(_cell(own.strata.get(trait, {}).get(stratum), own) for stratum in names))
            for name, own in changed.items()
        )
        blocks += [Heading(f"By {trait}"), Table(columns, rows, f"Changes by {trait}")]
    return Section("strata", "By kind of object", blocks) if changed else None


def _moves(change: Change) -> bool:
    return bool(change.difference) or change.outcome == "undecided"


def _all(compared: ComparedResults) -> Section:
    """Show every metric of both tracks."""
    columns = (
        Column("before", "first", "Value in the first evaluation", None),
        Column("after", "second", "Value in the second evaluation", None),
        Column("difference", "Δ", "Second minus first", None, signed=True),
        Column("p", "p", "Holm-corrected p-value of the difference", None),
    )
    blocks: list[Block] = []
    for title, track in (("Class-agnostic", "class_agnostic"), ("Class-aware", "class_aware")):
        rows = [
            Row(name, _numbers(change, own), category=TITLES[key])
            for key in TITLES
            for name, own in compared.methods.items()
            if (change := getattr(own, track).get(key)) is not None
        ]
        if rows:
            blocks.append(Folded(title, [Table(columns, tuple(rows), f"{title} metrics", first_head="metric")]))
    return Section("metrics", "Every metric", blocks)


def _numbers(change: Change, own: MethodChanges) -> tuple[Cell, ...]:
    p = Cell(change.p, MISSING if change.p is None else p_text(change.p, change.least_p))
    ends = (interval_text(change),) if change.low is not None else ()
    difference = Cell(change.difference, number_text(change.difference, signed=True), details=ends)
    outcome = outcome_text(change, own)
    if outcome in ("rose", "fell"):
        p = Cell(p.value, p.text, details=(outcome,))
    return (*(Cell(value, number_text(value)) for value in (change.before, change.after)), difference, p)


def _others(compared: ComparedResults) -> Section:
    """Show what else differs: times, versions and settings; and how both evaluations are repeated."""
    times: Mapping[str, Change] = {
        name: own.seconds for name, own in compared.methods.items() if own.seconds.difference is not None
    }
    terms = [
        Term(f"time per image of {name}", f"{time_text(change.before or 0.0)} → {time_text(change.after or 0.0)}")
        for name, change in times.items()
    ]
    terms += [Term(name, f"{first} → {second}") for name, (first, second) in compared.differing.items()]
    sides = [
        Term(which, f"{side.path}: {counted(side.images, 'image')}, {counted(side.objects, 'object')} of {side.data}; "
             f"{side.command}")
        for which, side in (("First evaluation", compared.first), ("Second evaluation", compared.second))
    ]  # fmt: skip
    return Section("others", "What else differs", [Terms(terms), Terms(sides)] if terms else [Terms(sides)])
