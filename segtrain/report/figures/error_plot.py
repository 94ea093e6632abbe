"""Bars of what each type of error costs a method."""

from collections.abc import Sequence
from dataclasses import dataclass

from segtrain.report.figures.axes import Frame, scale, ticks
from segtrain.report.figures.drawing import Canvas
from segtrain.report.figures.lanes import lanes
from segtrain.report.figures.text import fit, width_of
from segtrain.report.tables.cells import Column, Results, Track, is_oracle, number, ranking

_FAINT = 0.05  # AP50 below which a bar is faded: it is short however much is wrong
_LANE, _THICK = 26.0, 18.0  # pixels from one bar to the next, and of a bar
_NAMES, _NUMBERS = 136.0, 52.0  # pixels that names take at most, and AP50 beside them


@dataclass(frozen=True)
class Piece:
    """What one type of error costs: its place in the bar, its colour, and its name where there is room for it."""

    x: float
    width: float
    slot: int
    text: str
    title: str


@dataclass(frozen=True)
class Bar:
    """One method; ``faint`` where its AP50 is so low that the errors hide one another."""

    top: float
    name: str
    text: str
    title: str
    oracle: bool
    faint: bool
    pieces: Sequence[Piece]


@dataclass(frozen=True, kw_only=True)
class ErrorPlot(Canvas):
    """All that is drawn.

    Attributes:
        numbers_at: right edge of the numbers beside the names.
        thick: height of a bar.
        bars: in the order of the tables.
        faint_below: AP50 of the faded bars is below this; None where none is faded.
        types: slot and name of each type that has a colour.
        bounds_at: height of the line above the oracles; None without any.
    """

    numbers_at: float
    thick: float
    bars: Sequence[Bar]
    faint_below: float | None
    types: Sequence[tuple[int, str]]
    bounds_at: float | None


def error_plot(results: Results, track: Track, losses: Sequence[Column], title: str, width: float) -> ErrorPlot | None:
    """The losses of every method, laid end to end, in the order of the tables; None where nothing is lost.

    Args:
        results: the content of ``results.json``.
        track: which one.
        losses: the types of error in their order.
        title: the figure's title.
        width: in pixels.
    """
    found = []
    for name in ranking(results):
        method = results["methods"][name]
        values = (method.get("errors") or {}).get(track) or {}
        lost = [(slot, c.title, number((values.get("lost") or {}).get(c.key))) for slot, c in enumerate(losses)]
        known = [(slot, kind, max(value, 0.0)) for slot, kind, value in lost if value is not None]
        if known:
            found.append((name, number(values.get("ap50")), known, is_oracle(method)))
    longest = max((sum(value for *_, value in known) for _, _, known, _ in found), default=0.0)
    if not longest:
        return None
    lane = lanes([oracle for *_, oracle in found], 20, _LANE)
    names = [fit(name, _NAMES) for name, *_ in found]
    numbers_at = max(map(width_of, names)) + _NUMBERS
    frame = Frame(width, lane.bottom + 40, numbers_at + 10, 20, width - 16, lane.bottom)
    top, step = scale(longest, frame.right - frame.left)
    bars = []
    for (name, ap50, known, oracle), short, middle in zip(found, names, lane.middles, strict=True):
        stated = "–" if ap50 is None else f"{ap50:.3f}"
        words = ", ".join(f"{kind} {value:.3f}" for _, kind, value in known)
        bars.append(
            Bar(
                top=middle - _THICK / 2,
                name=short,
                text=stated,
                title=f"{name}: AP50 {stated}; lost to {words}",
                oracle=oracle,
                faint=ap50 is not None and ap50 < _FAINT,
                pieces=_pieces(known, frame.left, (frame.right - frame.left) / top),
            )
        )
    return ErrorPlot(
        title=title,
        description="; ".join(bar.title + (" (upper bound)" if bar.oracle else "") for bar in bars) + ".",
        frame=frame,
        x_title="AP50 lost to each type",
        x_ticks=frame.x_ticks(ticks(top, step)),
        numbers_at=numbers_at,
        thick=_THICK,
        bars=bars,
        faint_below=_FAINT if any(bar.faint for bar in bars) else None,
        types=sorted({(slot, kind) for _, _, known, _ in found for slot, kind, _ in known}),
        bounds_at=lane.bounds_at,
    )


def _pieces(known: Sequence[tuple[int, str, float]], left: float, unit: float) -> list[Piece]:
    """The parts of a bar that are wide enough to be seen."""
    pieces = []
    for slot, kind, value in known:
        width = value * unit
        room = width > width_of(kind) + 8
        if width >= 0.5:
            pieces.append(Piece(left, width, slot, kind if room else "", f"{kind}: {value:.3f}"))
        left += width
    return pieces
