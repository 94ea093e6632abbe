"""``report.md``: the report for a repository, a pull request, a mail."""

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader

from segtrain.report.figures.kinds import kind_tables, kind_words
from segtrain.report.provenance import checkpoints, data_title, facts
from segtrain.report.tables.categories import category_table, tracks_agree
from segtrain.report.tables.cells import Cell, Results, Table, is_oracle, ranking, track_table
from segtrain.report.tables.costs import cost_table
from segtrain.report.tables.errors import error_section
from segtrain.report.tables.f1 import f1_table
from segtrain.report.tables.limits import (
    calibration_sentences,
    calibration_table,
    ceiling_sentences,
    ceiling_table,
    reliability_rows,
)
from segtrain.report.tables.reasons import reason_lines
from segtrain.report.tables.seeds import seed_table
from segtrain.report.tables.standings import difference_table, headline_table
from segtrain.report.words import definitions, notes

_SPECIAL = re.compile(r"[\\`*\[\]|~#$]|(?<!\w)_|_(?!\w)")  # an underscore inside a word is no markup


def markdown_report(results: Results) -> str:
    """The report as GitHub-flavoured Markdown, without images.

    Args:
        results: the content of ``results.json``.
    """
    environment = Environment(
        loader=PackageLoader("segtrain.report"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: every foreign text passes `text`, `code` or `fenced`
    )
    environment.filters |= {"text": text, "code": code, "fenced": fenced}
    headline, errors = headline_table(results), error_section(results)
    return environment.get_template("report.md.jinja").render(
        results=results,
        sentences=results["verdict"],
        headline=table_text(headline),
        differences=table_text(differences) if (differences := difference_table(results)) else "",
        agnostic=table_text(track_table(results, "class_agnostic", intervals=False)),
        reference=results.get("reference") if results.get("comparisons") else None,
        with_intervals=any(cell.details for row in headline.rows for cell in row.cells),
        seeds=table_text(seeds) if (seeds := seed_table(results)) else "",
        oracles=any(is_oracle(method) for method in results["methods"].values()),
        order=ranking(results),
        class_aware=table_text(track_table(results, "class_aware", intervals=False)),
        categories=table_text(category_table(results)),
        f1=table_text(f1) if (f1 := f1_table(results)) else "",
        costs=table_text(cost_table(results)),
        errors=errors,
        error_tables={
            name: table_text(table)
            for name in ("agnostic", "aware", "touching")
            if (table := getattr(errors, name, None))
        },
        kind_tables={trait: table_text(table) for trait, table in kind_tables(results).items()},
        kind_words=kind_words(results),
        same_tracks=tracks_agree(results),
        notes=notes(results),
        reasons=reason_lines(results),
        ceiling=table_text(ceiling) if (ceiling := ceiling_table(results)) else "",
        ceiling_said=ceiling_sentences(results),
        calibration=table_text(calibration) if (calibration := calibration_table(results)) else "",
        calibration_said=calibration_sentences(results),
        reliability=_reliability(results),
        definitions=definitions(results),
        subject=data_title(results),
        facts=facts,
        checkpoints=checkpoints(results),
    )


def _reliability(results: Results) -> str:
    """The reliability diagrams as a table."""
    lines = [[code(name), scores, *numbers] for name, scores, numbers in reliability_rows(results)]
    return _aligned([["method", "scores", "detections", "mean score", "right", "mean IoU"], *lines], left=2)


def text(value: object) -> str:
    """Foreign text in a line of Markdown: nothing in it is markup, nothing breaks the line."""
    line = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda match: "\\" + match[0], line)


def code(value: object) -> str:
    """Foreign text as a code span that is safe inside a table too."""
    content = " ".join(str(value).split()).replace("`", "'").replace("|", "\\|")
    return f"`{content}`" if content else ""


def fenced(value: object) -> str:
    """Foreign text as a code block that it cannot close."""
    content = str(value)
    fence = "```"
    while fence in content:
        fence += "`"
    return f"{fence}sh\n{content}\n{fence}"


def table_text(table: Table) -> str:
    """A table with aligned columns, the best values in bold, oracles in italics; empty if it has no rows."""
    if not table.rows:
        return ""
    with_category = table.rows[0].category is not None
    names = ["category", "method"] if with_category else ["method"]
    lines = [[*names, *(column.title for column in table.columns)]]
    for row in table.rows:
        head = [text(row.category)] if with_category else []
        name = code(row.method)
        lines.append([*head, f"*{name}*" if row.oracle else name, *map(_cell, row.cells)])
    return _aligned(lines, left=len(names))


def _cell(cell: Cell) -> str:
    # An interval, a p stays on one line.
    number, *details = (part.replace(" ", "\N{NO-BREAK SPACE}") for part in (cell.text, *cell.details))
    return " ".join([f"**{number}**" if cell.best else number, *details])


def _aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    padded = [
        [cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in cells]
        for cells in (enumerate(zip(line, widths, strict=True)) for line in [lines[0], rule, *lines[1:]])
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in padded)
