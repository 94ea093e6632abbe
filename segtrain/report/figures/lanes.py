"""Methods one below the other, the oracles apart from them under a line."""

from collections.abc import Sequence
from dataclasses import dataclass

_GAP, _LINE = 28.0, 7.0  # pixels between the last method and the first oracle, and from there to the line


@dataclass(frozen=True)
class Lanes:
    """Heights in pixels.

    Attributes:
        middles: of each method's lane.
        bottom: of the last lane.
        bounds_at: of the line above the oracles; None without any.
    """

    middles: Sequence[float]
    bottom: float
    bounds_at: float | None


def lanes(oracles: Sequence[bool], top: float, pitch: float) -> Lanes:
    """A lane for each method.

    Args:
        oracles: which of the methods are oracles; these come last.
        top: of the first lane, in pixels.
        pitch: height of a lane in pixels.
    """
    gap = _GAP if any(oracles) else 0.0
    fair = top + pitch * (len(oracles) - sum(oracles))
    return Lanes(
        middles=[top + (i + 0.5) * pitch + gap * oracle for i, oracle in enumerate(oracles)],
        bottom=top + len(oracles) * pitch + gap,
        bounds_at=fair + _LINE if gap else None,
    )
