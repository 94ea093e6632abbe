"""Labels of a chart: widths of texts, and positions for the names of points."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Pixels of a letter at 12 px in DejaVu Sans, the widest of the usual fonts; rounded up.
_LETTERS = {
    letter: width
    for letters, width in (("ijl.,:;'|! ", 4.0), ("frtI()[]/\\-", 5.0), ("ckvsxyz_", 7.1), ("mwMW@%…", 12.0))
    for letter in letters
}
_LOWER, _UPPER, _EAST_ASIAN = 7.7, 9.3, 12.0

_LINE = 13.0  # height of a line of text in pixels
_DOT = 6.0  # half a mark, with a little air
# Distances above or below the mark.
_LIFTS = (0, *(sign * lift for lift in (14, 22, 30, 42, 56, 70, 84, 98, 112) for sign in (-1, 1)))
_SHIFTS = (10, -8, 24, 40, 60)  # distances beside the mark; a negative one reaches over it
_NEAR = 12.0  # a label that is farther from its mark is connected to it by a line
_SWEEPS = 6  # most rounds in which every label is placed anew

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Spot = tuple[float, float]  # x, y in pixels


def width_of(text: str) -> float:
    """Compute an upper bound of the width of a text in pixels, at a font size of 12 px."""
    return sum(map(_letter, text))


def _letter(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return _EAST_ASIAN
    return _LETTERS.get(letter, _UPPER if letter.isupper() else _LOWER)


def fit(text: str, room: float) -> str:
    """Shorten a text in its middle to a number of pixels, as file names differ at their ends.

    >>> fit("threshold_otsu_of_my_images", 100)
    'thresh…images'
    """
    short, kept = text, len(text)
    while width_of(short) > room and kept > 2:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def fit_all(names: Sequence[str], room: float) -> list[str]:
    """Shorten names as `fit` does; one of several parts, such as that of a run, first loses the part before `` · ``.

    Args:
        names: names of a chart.
        room: width in pixels.

    >>> fit_all(["otsu", "mask_rcnn · lr 1e-3 · seed 0", "mask_rcnn · lr 1e-3 · seed 1"], 120)
    ['otsu', 'lr 1e-3 · seed 0', 'lr 1e-3 · seed 1']
    """
    rest = [name.partition(" · ")[2] for name in names]
    shorter = [
        other if other and width_of(name) > room and rest.count(other) == 1 else name
        for name, other in zip(names, rest, strict=True)
    ]
    return [fit(name, room) for name in shorter]


class Label(NamedTuple):
    """Position of a label: SVG's x, baseline y and text-anchor; ``leader`` is the end of a line from its mark."""

    x: float
    y: float
    anchor: str
    leader: Spot | None


class _Place(NamedTuple):
    """Candidate for a label's position: the label, the box that it covers, and points along its leader."""

    label: Label
    box: Box
    path: Sequence[Spot]


def place_labels(
    spots: Sequence[Spot], names: Sequence[str], whiskers: Sequence[tuple[float, float] | None], frame: Box
) -> list[Label]:
    """Place each label near its own mark, where it covers no mark, label or whisker.

    Where there is no such position, the one of least penalty after a few rounds is used.

    Args:
        spots: (x, y) of each mark in pixels.
        names: text of each label.
        whiskers: y of both ends of the vertical line through each mark; None without one.
        frame: rectangle that labels should not leave.
    """
    marks = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in spots]
    lines = [(x - 1, min(ends), x + 1, max(ends)) for (x, _), ends in zip(spots, whiskers, strict=True) if ends]
    choices = []
    for spot, name in zip(spots, names, strict=True):
        places = list(_places(spot, width_of(name)))
        choices.append([place for place in places if _inside(place.box, frame)] or places)
    chosen: dict[int, _Place] = {}
    for _ in range(_SWEEPS):
        before = dict(chosen)
        for i, spot in enumerate(spots):
            others = [place for j, place in chosen.items() if j != i]
            boxes = marks + [place.box for place in others]
            rivals = [other for j, other in enumerate(spots) if j != i]
            paths = [spot for place in others for spot in place.path]
            costs = [_cost(place, spot, rivals, boxes, lines, paths) for place in choices[i]]
            chosen[i] = choices[i][costs.index(min(costs))]
        if chosen == before:
            break
    return [chosen[i].label for i in range(len(names))]


def _places(spot: Spot, length: float) -> Iterator[_Place]:
    """Yield the positions beside, above and below a mark, preferred ones first."""
    x, y = spot
    for lift in _LIFTS:
        rows = [("start", x + shift, x + shift) for shift in _SHIFTS if lift or shift > 0]
        rows += [("end", x - shift, x - shift - length) for shift in _SHIFTS if lift or shift > 0]
        rows += [("middle", x, x - length / 2)] if lift else []
        for anchor, at, start in rows:
            box = (start, y + lift - _LINE / 2, start + length, y + lift + _LINE / 2)
            end = _nearest(box, spot)
            leads = math.dist(end, spot) > _NEAR
            path = [(x + (end[0] - x) * t / 8, y + (end[1] - y) * t / 8) for t in range(2, 8)] if leads else []
            yield _Place(Label(at, y + lift + 4, anchor, end if leads else None), box, path)


def _cost(
    place: _Place, own: Spot, rivals: Sequence[Spot], boxes: Sequence[Box], lines: Sequence[Box], paths: Sequence[Spot]
) -> float:
    """Compute the penalty of a position: for covered marks and labels, crossed leaders, and nearness to other marks."""
    box, distance = place.box, _distance(place.box, own)
    covered = sum(_overlap(box, other) for other in boxes)
    crossed = sum(_overlap(box, line) for line in lines)
    struck = sum(_within(spot, other) for other in boxes for spot in place.path)
    struck += sum(_within(spot, box) for spot in paths)
    nearest = min((_distance(box, rival) for rival in rivals), default=math.inf)
    ambiguous = min(30.0, max(0.0, distance + 2 - nearest))
    return 500.0 * covered + 40.0 * crossed + 20.0 * struck + 5.0 * ambiguous + distance


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _inside(box: Box, frame: Box) -> bool:
    """Return True if a label is in the frame, or slightly above or below it."""
    return frame[0] <= box[0] and box[2] <= frame[2] and frame[1] <= box[1] + 8 and box[3] - 8 <= frame[3]


def _within(spot: Spot, box: Box) -> bool:
    return box[0] < spot[0] < box[2] and box[1] < spot[1] < box[3]


def _nearest(box: Box, spot: Spot) -> Spot:
    """Find the point of a box that is nearest to a spot."""
    return min(max(spot[0], box[0]), box[2]), min(max(spot[1], box[1]), box[3])


def _distance(box: Box, spot: Spot) -> float:
    return math.dist(_nearest(box, spot), spot)
