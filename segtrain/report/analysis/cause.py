"""Why one number of one row is 0 or undefined."""

from enum import IntEnum
from typing import NamedTuple

from segtrain.evaluation import TrackName


class Gravity(IntEnum):
    """What a reason asks for, the gravest first."""

    DEFECT = 0  # something is to be mended
    POOR = 1  # little is right
    ABSENT = 2  # there was nothing to measure


class Note(NamedTuple):
    """One category that a reason concerns.

    Attributes:
        name: of the category.
        said: its name and what else is known of it.
    """

    name: str
    said: str


class Cause(NamedTuple):
    """Why a number is 0 or undefined.

    Attributes:
        track: the number's.
        key: the number; "per_category" for those of categories, "class_aware" for the whole track.
        why: a sentence without its capital and its full stop.
        gravity: what it asks for.
        categories: those that the sentence goes on to name; none: all that have such a number.
    """

    track: TrackName
    key: str
    why: str
    gravity: Gravity
    categories: tuple[Note, ...] = ()
