"""Section by kind of object: metrics by size, contrast and crowding, and what textbooks claim."""

import math
from collections.abc import Sequence

from segtrain.benchmark.results import MethodScores, Results, Stratum, StratumScores
from segtrain.report.blocks import Block, Bullets, Charts, Folded, Heading, Paragraph, Section, Term, Terms
from segtrain.report.charts import Axis, Chart, Line, nice_scale, series_styles, step_ticks
from segtrain.report.tables import Cell, Column, Row, Table, Values, explain, is_zero, method_table
from segtrain.report.text import count_text, number_text, range_text

TRAITS = ("size", "contrast", "crowding")
# Attribute, title and hint of a number, and why it may be 0.
_NUMBERS = (
    ("ap", "AP", "Mask AP of the objects of this kind", "Next to none of these objects is found."),
    (
        "recall",
        "recall",
        "Share of these objects that are matched at IoU 0.50, at the score threshold",
        "Next to none of these objects is found at IoU 0.50 by detections that reach the score threshold.",
    ),
    (
        "iou",
        "IoU",
        "Mean IoU of these objects with the detection that overlaps each most, at the score threshold",
        "Detections that reach the score threshold overlap next to none of these objects.",
    ),
)


def strata(results: Results) -> Section | None:
    """Show every method's numbers by kind of object; None where objects were not divided and nothing is claimed."""
    traits = _traits(results)
    if not traits and not results.claims:
        return None
    lead = (
        "The true objects, divided by size, by contrast to their surroundings, and by distance to each other. AP is "
        "that of the objects of one kind; all others are ignored."
    )
    blocks: list[Block] = [Paragraph(lead)]
    if charts := strata_charts(results):
        blocks.append(Charts(charts, legend=True))
    blocks.append(Terms([Term(trait, _described(parts, trait)) for trait, parts in traits.items()], "small strata"))
    blocks += [Folded(f"Numbers by {trait}", [table]) for trait, table in strata_tables(results).items()]
    if results.claims:
        blocks += [Heading("What textbooks say, on these data"), Bullets(results.claims)]
    return Section("kinds", "By kind of object", blocks, definitions=_DEFINITIONS if traits else ())


def strata_tables(results: Results) -> dict[str, Table]:
    """Make a table for each trait, with a column for each number and stratum."""
    tables = {}
    for trait, parts in _traits(results).items():
        columns = [
            Column(f"{key} {i}", f"{title} {stratum.name}", f"{hint}: {stratum.name}")
            for key, title, hint, _ in _NUMBERS
            for i, stratum in enumerate(parts)
        ]

        def values(name: str, method: MethodScores, trait: str = trait) -> Values | None:
            scores = _scores(method, trait)
            return {f"{key} {i}": getattr(own, key) for i, own in enumerate(scores) for key, *_ in _NUMBERS} or None

        table = method_table(results, columns, values, f"Results by {trait}", "Marked: best of its column.")
        if table.rows:
            tables[trait] = explain(table, _why)
    return tables


def strata_charts(results: Results) -> list[Chart]:
    """Draw AP over the strata of each trait that has several, a line for each contender, all on one scale."""
    styles = series_styles(results.ranked, results.oracles)
    traits = {trait: parts for trait, parts in _traits(results).items() if len(parts) > 1}
    values = {
        trait: {
            name: [
                (i + 0.5, own.ap) for i, own in enumerate(_scores(results.methods[name], trait)) if own.ap is not None
            ]
            for name in results.contenders
        }
        for trait in traits
    }
    known = [ap for methods in values.values() for points in methods.values() for _, ap in points]
    if not known:
        return []
    top, step = nice_scale(max(known))
    return [
        Chart(
            f"AP by {trait}",
            Axis(trait, 0, len(parts), [(i + 0.5, stratum.name) for i, stratum in enumerate(parts)]),
            Axis("mask AP", 0, top, step_ticks(top, step)),
            [Line(points, styles[name], name, dots=True) for name, points in values[trait].items() if points][::-1],
        )
        for trait, parts in traits.items()
    ]


def _traits(results: Results) -> dict[str, Sequence[Stratum]]:
    return {trait: results.strata[trait] for trait in TRAITS if results.strata.get(trait)}


def _scores(method: MethodScores, trait: str) -> Sequence[StratumScores]:
    """The numbers of a method by stratum; none for boxes without masks."""
    return method.strata.get(trait, ()) if method.strata else ()


def _why(row: Row, column: Column, cell: Cell) -> str:
    (why,) = (why for key, *_, why in _NUMBERS if column.key.startswith(f"{key} "))
    return why if is_zero(cell.value) else ""


def _described(parts: Sequence[Stratum], trait: str) -> str:
    """Put the strata of a trait into words: their ranges and numbers of objects."""
    said = []
    for stratum in parts:
        low, high = (
            "" if end is None else f"{math.floor(end):,}" if trait == "size" else number_text(end)
            for end in (stratum.low, stratum.high)
        )
        span = range_text(low, high)
        bounds = f" ({span}{' pixels' if trait == 'size' else ''})" if span else ""
        said.append(f"{stratum.name}{bounds}, {count_text(stratum.objects, 'object')}")
    return "; ".join(said)


_DEFINITIONS = (
    Term(
        "By kind of object",
        "Sizes and contrasts are thirds of these data's own objects, so that each has enough of them; S, M and L have "
        "COCO's fixed bounds. An object is touching if a pixel of another one is next to one of its own, overlapping "
        "if they share one. AP of a kind ignores all other objects, and detections matched to them. An unmatched "
        "detection counts by its own area among sizes, as in COCO. Its contrast or crowding is unknown, so there it "
        "counts as the kind's share of all objects, lest a rare kind have a low AP for being rare (normalised "
        "precision, Hoiem et al., 2012). Recall is the share of objects matched at IoU 0.50, and IoU the mean over the "
        "objects of their best overlap with a detection, both at the operating point. All categories count as one.",
    ),
    Term(
        "Contrast",
        "Kolmogorov-Smirnov distance of an object's grey values to those within 3 pixels around it that belong to no "
        "object: the largest distance of the two cumulative distributions. At 1 some threshold separates them without "
        "a mistake; at 0 no threshold is any use.",
    ),
)
