"""Where the names of points in a scatter plot go."""

from collections.abc import Sequence
from typing import NamedTuple

_LETTER, _LINE = 6.7, 13.0  # width of a letter and height of a line at 12 px, for the widest of the usual fonts
_DOT = 6.0  # half a mark, with a little air
_LIFTS = (0, -14, 14, -28, 28, -42, 42, -56, 56, -70, 70)  # how far above or below the mark, nearest first

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class Label(NamedTuple):
    """A label's place: SVG's x, baseline y and text-anchor; ``leader`` says that a line joins it to its mark."""

    x: float
    y: float
    anchor: str
    leader: bool


def shorten(name: str, letters: int) -> str:
    """The name, its middle left out if it is longer than that many letters: both ends tell files apart."""
    half = (letters - 1) // 2
    return name if len(name) <= letters else f"{name[:half]}…{name[-half:]}"


def place_labels(spots: Sequence[tuple[float, float]], names: Sequence[str], frame: Box) -> list[Label]:
    """A place for each label where it covers neither a mark nor another label, as near as there is one.

    Args:
        spots: (x, y) of each mark, in pixels.
        names: the labels.
        frame: labels stay inside it where they can.
    """
    taken: list[Box] = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in spots]
    labels = []
    for spot, name in zip(spots, names, strict=True):
        candidates = _candidates(spot, _LETTER * len(name))
        _, label, box = min(((_cost(box, taken, frame) + away, label, box) for away, label, box in candidates))
        labels.append(label)
        taken.append(box)
    return labels


def _candidates(spot: tuple[float, float], length: float) -> list[tuple[float, Label, Box]]:
    """Distance, label and box of every place beside, above and below a mark."""
    x, y = spot
    found: list[tuple[float, Label, Box]] = []
    for lift in _LIFTS:
        for preference, anchor, at, start in (
            (0, "start", x + 10, x + 10),
            (1, "end", x - 10, x - 10 - length),
            (2, "middle", x, x - length / 2),
        ):
            box = (start, y + lift - _LINE / 2, start + length, y + lift + _LINE / 2)
            found.append((abs(lift) + preference, Label(at, y + lift + 4, anchor, abs(lift) > 20), box))
    return found


def _cost(box: Box, taken: Sequence[Box], frame: Box) -> float:
    outside = box[0] < frame[0] or box[2] > frame[2] or box[1] < frame[1] - 8 or box[3] > frame[3]
    covered = sum(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken)
    return 1000.0 * outside + 100.0 * covered
