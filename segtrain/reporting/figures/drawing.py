"""What a figure is made of, and how methods look in all of them; ``templates/figures.svg.jinja`` draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from segtrain.reporting.figures.axes import Frame, Tick
from segtrain.reporting.figures.labels import Label
from segtrain.reporting.tables.cells import Results, contenders, ranking

PALETTE = 10  # colours --m0 to --m9 of templates/report.css.jinja; --m10 is that of all oracles


@dataclass(frozen=True)
class Hue:
    """How a method looks everywhere: a colour of the palette and, from its second round on, rings and dashes."""

    slot: int
    ring: bool
    dash: str


@dataclass(frozen=True)
class Point:
    """A mark with its label; ``title`` is what a pointer over it shows, ``whisker`` the y of its interval's ends."""

    x: float
    y: float
    text: str
    label: Label
    hue: Hue
    title: str
    whisker: tuple[float, float] | None = None


@dataclass(frozen=True)
class Curve:
    """A line through the figure, as SVG path data."""

    method: str
    hue: Hue
    path: str


@dataclass(frozen=True)
class Figure:
    """All that is drawn; ``description`` says the same to those who cannot see it."""

    title: str
    description: str
    frame: Frame
    x_title: str
    y_title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    points: Sequence[Point] = ()
    curves: Sequence[Curve] = ()
    frontier: str = ""


def hues(results: Results) -> dict[str, Hue]:
    """Each method's look, given out by rank, so that tables and figures agree; oracles look alike."""
    dashes = ("", "7 4", "2 3")
    fair = {
        name: Hue(i % PALETTE, i >= PALETTE, dashes[min(i // PALETTE, len(dashes) - 1)])
        for i, name in enumerate(contenders(results))
    }
    return {name: fair.get(name, Hue(PALETTE, True, "2 3")) for name in ranking(results)}


def line(places: Sequence[tuple[float, float]]) -> str:
    """SVG path data of a line through places."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
