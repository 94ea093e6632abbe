"""What a figure is made of, and how methods look in all of them; ``templates/figures.svg.jinja`` draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from segtrain.report.figures.axes import Frame, Tick
from segtrain.report.figures.labels import Label
from segtrain.report.tables.cells import Results, contenders, ranking

# Colours --m0 to --m6 of templates/report.css.jinja, which eyes that lack a cone tell apart too; --m7 is all oracles'.
PALETTE = 7
# From its second round on a colour has another mark (names of classes in the style sheet) and another line.
_MARKS = ("", "ring", "diamond", "ring diamond")
_DASHES = ("", "7 4", "2 3", "10 3 2 3", "12 3 2 3 2 3")


@dataclass(frozen=True)
class Hue:
    """How a method looks everywhere: a colour of the palette, the shape of its mark, the dashes of its line."""

    slot: int
    mark: str
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


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """What all figures have: axes, and a ``description`` that says the same to those who cannot see it."""

    title: str
    description: str
    frame: Frame
    x_title: str
    x_ticks: Sequence[Tick]
    y_title: str = ""
    y_ticks: Sequence[Tick] = ()


@dataclass(frozen=True, kw_only=True)
class Figure(Canvas):
    """Marks and lines between two axes."""

    points: Sequence[Point] = ()
    curves: Sequence[Curve] = ()
    frontier: str = ""


def hues(results: Results) -> dict[str, Hue]:
    """Each method's look, given out by rank, so that tables and figures agree; oracles look alike."""
    fair = {}
    for i, name in enumerate(contenders(results)):
        turn = i // PALETTE
        fair[name] = Hue(i % PALETTE, _MARKS[turn % len(_MARKS)], _DASHES[turn % len(_DASHES)])
    return {name: fair.get(name, Hue(PALETTE, "ring", "2 3")) for name in ranking(results)}


def line(places: Sequence[tuple[float, float]]) -> str:
    """SVG path data of a line through places."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
