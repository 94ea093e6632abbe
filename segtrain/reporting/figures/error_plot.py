"""Bars of what each type of error costs a method."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segtrain.reporting.figures.axes import Frame, Tick, scale
from segtrain.reporting.figures.labels import shorten
from segtrain.reporting.tables.cells import Column, Results, Track, is_oracle, number, ranking

_LINE, _THICK = 26.0, 18.0  # pixels from one bar to the next, and of a bar
_NAMES, _NUMBERS = 132.0, 52.0  # pixels that names and numbers take
_LETTER = 6.4  # pixels of a letter, with a little air


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
    """One method."""

    top: float
    name: str
    text: str
    title: str
    oracle: bool
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class ErrorPlot:
    """All that is drawn.

    Attributes:
        title: what is shown.
        description: the same in words.
        frame: of the bars.
        thick: height of a bar.
        x_ticks: of the lengths.
        bars: in the order of the tables.
        types: slot and name of each type that has a colour.
        bounds_at: height of the line above the oracles; None without any.
    """

    title: str
    description: str
    frame: Frame
    thick: float
    x_ticks: Sequence[Tick]
    bars: Sequence[Bar]
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
    top, step = scale(longest) if longest <= 1 else (math.ceil(longest * 5) / 5, 0.2)
    fair = sum(not oracle for *_, oracle in found)
    gap = _LINE if fair < len(found) else 0.0
    foot = 20 + len(found) * _LINE + gap
    frame = Frame(width, foot + 40, _NAMES, 20, width - _NUMBERS, foot)
    unit = (frame.right - frame.left) / top
    bars = []
    for i, (name, ap50, known, oracle) in enumerate(found):
        stated = "–" if ap50 is None else f"{ap50:.3f}"
        words = ", ".join(f"{kind} {value:.3f}" for _, kind, value in known)
        bars.append(
            Bar(
                top=frame.top + i * _LINE + (_LINE - _THICK) / 2 + (gap if oracle else 0.0),
                name=shorten(name, 20),
                text=stated,
                title=f"{name}: AP50 {stated}; lost to {words}",
                oracle=oracle,
                pieces=_pieces(known, frame.left, unit),
            )
        )
    decimals = 1 if step >= 0.1 else 2 if step >= 0.01 else 3
    return ErrorPlot(
        title=title,
        description="; ".join(bar.title + (" (upper bound)" if bar.oracle else "") for bar in bars) + ".",
        frame=frame,
        thick=_THICK,
        x_ticks=[Tick(frame.left + i * step * unit, f"{i * step:.{decimals}f}") for i in range(round(top / step) + 1)],
        bars=bars,
        types=sorted({(slot, kind) for _, _, known, _ in found for slot, kind, _ in known}),
        bounds_at=frame.top + fair * _LINE + 0.25 * gap if gap else None,
    )


def _pieces(known: Sequence[tuple[int, str, float]], left: float, unit: float) -> list[Piece]:
    """The parts of a bar that are wide enough to be seen."""
    pieces = []
    for slot, kind, value in known:
        width = value * unit
        room = width > _LETTER * len(kind) + 8
        if width >= 0.5:
            pieces.append(Piece(left, width, slot, kind if room else "", f"{kind}: {value:.3f}"))
        left += width
    return pieces
