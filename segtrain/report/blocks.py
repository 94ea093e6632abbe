"""Building blocks of a report: sections and their content, independent of the medium."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from segtrain.report.charts import SMALL, Bar, Chart, Lanes, Style
from segtrain.report.gallery.encode import EncodedImage
from segtrain.report.gallery.outcomes import KINDS
from segtrain.report.gallery.suspect_crops import Crop
from segtrain.report.tables import Table


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; ``{}`` in its text stands for ``code``. ``style`` is its class in the style sheet."""

    text: str
    code: str = ""
    style: str = "lead"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    entries: Sequence[str]


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    text: str


@dataclass(frozen=True)
class Term:
    """A term and its text; ``more`` is a further part that is folded at first, and lists ``more_count`` items."""

    name: str
    text: str
    more: str = ""
    more_count: int = 0


@dataclass(frozen=True)
class Terms:
    """A list of terms.

    Attributes:
        entries: terms in their order.
        style: class in the style sheet.
        methods: True if the terms are names of methods, which have colours.
    """

    entries: Sequence[Term]
    style: str = ""
    methods: bool = False


@dataclass(frozen=True)
class Charts:
    """Charts side by side.

    Attributes:
        charts: charts, at least one.
        caption: sentence below the charts.
        legend: True for a legend of the lines, or of the colours of bars.
        table: the same data as a table, for media without images.
    """

    charts: Sequence[Chart]
    caption: str = ""
    legend: bool = False
    table: Table | None = None

    @property
    def layout(self) -> str:
        """Class in the style sheet: one chart over the full width, charts of lanes, small charts, or a grid."""
        first = self.charts[0]
        if first.widths == (SMALL,):
            return "charts small"
        return "single" if len(first.widths) > 1 else "charts wide" if isinstance(first.y, Lanes) else "charts"

    @property
    def lines(self) -> dict[str, Style]:
        """Styles of the lines that the legend names."""
        charts = self.charts if self.legend else ()
        return {name: style for chart in charts for name, style in chart.legend.items()}

    @property
    def bars(self) -> list[tuple[int, str]]:
        """Colour slots and names of the parts of bars that the legend names."""
        bars = [series for chart in self.charts for series in chart.series if isinstance(series, Bar)]
        return sorted({(slot, name) for bar in bars for slot, name, _ in bar.pieces}) if self.legend else []


@dataclass(frozen=True)
class Folded:
    """Blocks that a reader unfolds."""

    summary: str
    blocks: Sequence["Block"]


@dataclass(frozen=True)
class Figures:
    """A few key numbers with their names, shown large."""

    entries: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Command:
    """A command to type."""

    text: str


@dataclass(frozen=True)
class Gallery:
    """Images with the detections of the methods; shown in HTML only.

    Attributes:
        items: images with their layers.
        methods: names of the layers after the truth.
        upper_bounds: names of the methods that are upper bounds.
        opening: method that is shown first; None without methods.
        images: number of evaluated images.
        ratio: width over height of a card.
        categories: names of the categories, in the order of their numbers; empty for a single one.
    """

    items: Sequence[EncodedImage]
    methods: Sequence[str]
    upper_bounds: Sequence[str]
    opening: str | None
    images: int
    ratio: float
    categories: Sequence[str]

    @property
    def kinds(self) -> dict[str, str]:
        """Names of the kinds of outcomes that occur in any image."""
        layers = [layer.outcomes for item in self.items for layer in item.layers if layer.outcomes]
        return {kind: name for kind, name in KINDS.items() if any(counts[kind] for counts in layers)}


class CellImages(NamedTuple):
    """Images of a cell of a matrix: some of their file names, their number, and whether it is a lower bound."""

    names: Sequence[str]
    number: int
    at_least: bool = False


@dataclass(frozen=True)
class Matrix:
    """A matrix of counts, such as that of confusions; a cell is shaded by its share of the row.

    Attributes:
        rows: names of the rows.
        columns: names of the columns.
        counts: numbers of each row.
        caption: sentence above the matrix.
        label: name of the matrix.
        mixed: number of the row and column whose common cell is neither right nor wrong; None without one.
        method: name of the method.
        groups: numbers of the categories of each row and column; the last one stands for no object.
        images: images of the cells that are not 0, by row and column.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]
    caption: str
    label: str
    mixed: int | None = None
    method: str = ""
    groups: Sequence[Sequence[int]] = ()
    images: Mapping[tuple[int, int], CellImages] = field(default_factory=dict)

    @property
    def listed(self) -> dict[str, Any]:
        """Names of the images once, and of each cell its number of images and the places of their names."""
        names = list(dict.fromkeys(name for cell in self.images.values() for name in cell.names))
        place = {name: number for number, name in enumerate(names)}
        cells = {
            f"{row} {column}": [cell.number, int(cell.at_least), *(place[name] for name in cell.names)]
            for (row, column), cell in self.images.items()
            if cell.names
        }
        return {"method": self.method, "groups": self.groups, "names": names, "cells": cells}

    def kind(self, row: int, column: int) -> str:
        """Return "right", "wrong" or "mixed" for a cell: what is on the diagonal is right, but in the last column."""
        if row == column == self.mixed:
            return "mixed"
        return "right" if row == column < len(self.columns) - 1 else "wrong"

    def share(self, row: int, column: int) -> float:
        """Return a cell's share of its row, in [0, 1]."""
        return self.counts[row][column] / max(sum(self.counts[row]), 1)


@dataclass(frozen=True)
class Listing:
    """A table of words.

    Attributes:
        heads: headers of the columns.
        rows: texts of each row; the first one is the name of a method, which may have a colour.
        label: name for screen readers.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    label: str


class CropItem(NamedTuple):
    """A part of an image, None where it cannot be read, with a title, facts, its file name, and methods."""

    crop: Crop | None
    title: str
    facts: Sequence[str]
    file_name: str
    methods: str


@dataclass(frozen=True)
class Crops:
    """Parts of images, side by side.

    Attributes:
        items: parts in their order.
        listing: the same as a table, for media without images.
    """

    items: Sequence[CropItem]
    listing: Listing


Block = (
    Paragraph
    | Bullets
    | Heading
    | Terms
    | Charts
    | Table
    | Listing
    | Crops
    | Matrix
    | Folded
    | Figures
    | Command
    | Gallery
)


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        key: anchor of the section.
        title: heading.
        blocks: content.
        short: name in the table of contents; by default the title.
        definitions: terms that the section uses, for the glossary.
    """

    key: str
    title: str
    blocks: Sequence[Block]
    short: str = ""
    definitions: Sequence[Term] = field(default=())
