"""``report.md``: the report without images, for a repository, a pull request or a mail."""

import re
from collections.abc import Sequence
from functools import singledispatch

from segtrain.benchmark.results import Results
from segtrain.report.blocks import (
    Bullets,
    Charts,
    Command,
    Crops,
    Figures,
    Folded,
    Gallery,
    Heading,
    Listing,
    Matrix,
    Paragraph,
    Section,
    Term,
    Terms,
)
from segtrain.report.gallery.suspect_crops import SuspectList
from segtrain.report.sections import build_sections
from segtrain.report.sections.about import data_title, notes, summary
from segtrain.report.tables import Cell, Table

_SPECIAL = re.compile(r"[\\`*\[\]|~#$]|(?<!\w)_|_(?!\w)")  # an underscore inside a word is no markup


def markdown_report(results: Results, suspects: SuspectList | None = None) -> str:
    """Write the report as GitHub-flavoured Markdown.

    Args:
        results: an evaluation.
        suspects: labels to look at; None if they were not looked for.
    """
    subject = data_title(results)
    parts = [f"# Segmentation benchmark{f': {text(subject)}' if subject else ''}", f"{text(summary(results))}."]
    for section in build_sections(results, suspects=suspects):
        parts += _section(section)
        if section.key == "verdict":
            parts.append("\n>\n".join(f"> {text(note)}" for note in notes(results)))
    parts.append("Images, curves and plots: `report.html`, beside this file.")
    return "\n\n".join(filter(None, parts)) + "\n"


def _section(section: Section) -> list[str]:
    return [f"## {text(section.title)}", *map(block_text, section.blocks)]


@singledispatch
def block_text(block: object) -> str:
    """Write a block of a section; empty if Markdown has no form for it."""
    raise TypeError(f"no Markdown for {type(block).__name__}")


@block_text.register
def _(block: Paragraph) -> str:
    before, placeholder, after = block.text.partition("{}") if block.code else (block.text, "", "")
    return text(before) + (code(block.code) if placeholder else "") + text(after)


@block_text.register
def _(block: Bullets) -> str:
    return "\n".join(f"- {text(entry)}" for entry in block.entries)


@block_text.register
def _(block: Heading) -> str:
    return f"### {text(block.text)}"


@block_text.register
def _(block: Terms) -> str:
    names = [code(term.name) if block.methods else f"**{text(term.name)}**" for term in block.entries]
    return "\n".join(_term(term, name) for term, name in zip(block.entries, names, strict=True))


@block_text.register
def _(block: Charts) -> str:
    return table_text(block.table) if block.table else ""


@block_text.register
def _(block: Listing) -> str:
    lines = [list(map(text, block.heads)), *([code(name), *map(text, words)] for name, *words in block.rows)]
    return _aligned(lines, left=len(block.heads))


@block_text.register
def _(block: Crops) -> str:
    return block_text(block.listing)


@block_text.register
def _(block: Matrix) -> str:
    lines = [["", *map(text, block.columns)]]
    lines += [
        [text(name), *(f"{count:,}" for count in row)] for name, row in zip(block.rows, block.counts, strict=True)
    ]
    return f"{_aligned(lines, left=1)}\n\n{text(block.caption)}"


@block_text.register
def _(block: Folded) -> str:
    content = "\n\n".join(map(block_text, block.blocks))
    return f"<details><summary>{text(block.summary)}</summary>\n\n{content}\n\n</details>"


@block_text.register
def _(block: Figures) -> str:
    return _aligned([[name for name, _ in block.entries], [f"{number:,}" for _, number in block.entries]], left=0)


@block_text.register
def _(block: Command) -> str:
    return fenced(block.text)


@block_text.register
def _(block: Gallery) -> str:
    return ""


@block_text.register
def table_text(table: Table) -> str:
    """Write a table with aligned columns, the best values in bold, upper bounds in italics; empty without rows."""
    if not table.rows:
        return ""
    lines = [[*table.heads, *(text(column.title) for column in table.columns)]]
    for row in table.rows:
        names = [] if row.category is None else [text(row.category)]
        if row.method:
            names.append(f"*{code(row.method)}*" if row.upper_bound else code(row.method))
        lines.append([*names, *map(_cell, row.cells)])
    written = _aligned(lines, left=len(table.heads))
    return f"{written}\n\n{text(table.caption)}" if table.caption else written


def text(value: object) -> str:
    """Escape foreign text for a line of Markdown, so that it contains neither markup nor line breaks."""
    line = re.sub(r"\s+", " ", str(value)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda match: "\\" + match[0], line)


def code(value: object) -> str:
    """Write foreign text as a code span that is safe inside a table too."""
    content = " ".join(str(value).split()).replace("`", "'").replace("|", "\\|")
    return f"`{content}`" if content else ""


def fenced(value: object) -> str:
    """Write foreign text as a code block that it cannot close."""
    content = str(value)
    fence = "```"
    while fence in content:
        fence += "`"
    return f"{fence}sh\n{content}\n{fence}"


def _term(term: Term, name: str) -> str:
    line = f"- {name}: {text(term.text)}"
    if term.more:
        line += f" <details><summary>and {term.more_count} more</summary>{text(term.more)}</details>\n"
    return line


def _cell(cell: Cell) -> str:
    # An interval, a p-value stays on one line.
    number, *details = (part.replace(" ", "\N{NO-BREAK SPACE}") for part in (cell.text, *cell.details))
    return " ".join([f"**{number}**" if cell.best else number, *details])


def _aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    """Pad the cells of a table, the first line being its header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    padded = [
        [cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in cells]
        for cells in (enumerate(zip(line, widths, strict=True)) for line in [lines[0], rule, *lines[1:]])
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in padded)
