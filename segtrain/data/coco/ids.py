"""Ids of a COCO file: whole numbers, each once; other values are replaced."""

import json
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, Literal

import numpy as np

from segtrain.arrays import IntArray
from segtrain.data.coco.issues import Issues

_INT32, _INT64 = 2**31, 2**63


class Ids:
    """Ids of a list's entries, and a look-up of entries by id.

    Attributes:
        values: (N,) int64 id of each entry, all different.

    Args:
        written: id of each entry, as written in the file.
        kind: kind of the entries.
        issues: receives the ids that were repaired.
    """

    def __init__(self, written: Sequence[Any], kind: Literal["image", "category"], issues: Issues) -> None:
        self._known: dict[int, int] | None = None  # position by number, if any id had to be replaced ...
        self._named: dict[str, int] = {}  # ... and by the text of those that are no whole numbers
        self._names: Callable[[], Iterable[tuple[str, int]]] | None = None
        self._by_name: dict[str, int] | None = None
        self.values = self._assign(written, kind, issues)
        self._index()

    def sort(self) -> IntArray:
        """Sort the entries by increasing id.

        Returns:
            (N,) former position of each entry.
        """
        order = np.argsort(self.values)
        rank = np.argsort(order).tolist()
        self.values = self.values[order]
        if self._known is not None:
            self._known = {key: rank[place] for key, place in self._known.items()}
        self._named = {key: rank[place] for key, place in self._named.items()}
        self._index()
        return order

    def take_names(self, names: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Let texts that are no ids refer to entries by their names, if these are unique.

        Args:
            names: returns names with the positions of their entries; called when such a text occurs.
        """
        self._names = names

    def find_all(self, named: Sequence[Any]) -> tuple[IntArray, bool]:
        """Find the entries that ids refer to.

        Returns:
            (N,) positions of the entries, -1 where there is none; and true if all ids were whole numbers.
        """
        if set(map(type, named)) <= {int}:
            try:
                places = self._lookup(np.array(named, dtype=np.int64))
                if not self._named or (places >= 0).all():
                    return places, True
            except OverflowError:
                pass
        return np.array([self._find(value) for value in named], dtype=np.int64), False

    def _index(self) -> None:
        """Prepare ``_lookup``: a table by id if ids are dense, else sorted ids."""
        keys, places = self.values, np.arange(len(self.values))
        if self._known is not None:
            keys, places = np.array(list(self._known.items()), dtype=np.int64).reshape(-1, 2).T
        self._lowest = int(keys.min(initial=0))
        span = int(keys.max(initial=0)) - self._lowest + 1
        self._table = None
        if span <= 16 * len(keys) + 2**16:
            self._table = np.full(span, -1, dtype=np.int32)
            self._table[keys - self._lowest] = places
        order = np.argsort(keys)
        self._keys, self._places = keys[order], places[order]

    def _lookup(self, wanted: IntArray) -> IntArray:
        if not len(self._keys):
            return np.full(len(wanted), -1)
        if self._table is not None:
            spot = np.clip(wanted, self._lowest, self._lowest + len(self._table) - 1)
            return np.where(spot == wanted, self._table[spot - self._lowest], -1)
        spot = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[spot] == wanted, self._places[spot], -1)

    def _find(self, value: Any) -> int:
        if (key := _key(value)) in self._named:
            return self._named[key]
        number = as_whole_number(value)
        if number is None or not -_INT64 <= number < _INT64:
            return self._find_by_name(value) if isinstance(value, str) else -1
        return int(self._lookup(np.array([number], dtype=np.int64))[0])

    def _find_by_name(self, name: str) -> int:
        if self._by_name is None:
            named = set(() if self._names is None else self._names())
            times = Counter(one for one, _ in named)
            self._by_name = {one: place for one, place in named if one and times[one] == 1}
        return self._by_name.get(name, -1)

    def _assign(self, written: Sequence[Any], kind: str, issues: Issues) -> IntArray:
        lowest = 0 if kind == "category" else -_INT64  # -1 stands for "no category" in result files
        plain = set(map(type, written)) <= {int} and len(set(written)) == len(written)
        if not plain or (len(written) and not lowest <= min(written) <= max(written) < _INT64):
            values = self._mend(written, kind, lowest, issues)
        else:
            values = np.array(written, dtype=np.int64)
        for note, told in (("id-zero", values == 0), ("id-beyond-int32", (values >= _INT32) | (values < -_INT32))):
            issues.extend(note, np.flatnonzero(told), lambda place: f"{kind} {values[place]}")
        if kind == "category" and len(values) and np.ptp(values) + 1 > len(values):
            issues.add("id-gaps", f"{len(values)} categories, ids {values.min()} to {values.max()}")
        return values

    def _mend(self, written: Sequence[Any], kind: str, lowest: int, issues: Issues) -> IntArray:
        values: dict[int, int] = {}  # by place
        self._known = {}
        taken: set[int] = set()
        for stage in (int, float, str):  # an id that is written as a number keeps it
            for place, value in enumerate(written):
                number = as_whole_number(value) if type(value) is stage else None
                if number is None or not lowest <= number < _INT64:
                    continue
                if number not in taken:
                    values[place] = number
                    taken.add(number)
                    self._known[number] = place
                elif stage is not str:
                    example = f"{kind} id {number} occurs twice, again in entry {place + 1}"
                    issues.add(f"duplicate-{kind}-id", example)
        highest = max(taken | {0})
        free = (n for n in count(highest + 1 if highest < _INT32 else 1) if n not in taken)
        for place, value in enumerate(written):
            if place not in values:
                values[place] = next(free)
            if type(value) is not int or not lowest <= value < _INT64:
                if value is not None:
                    self._named.setdefault(_key(value), place)
                text = "is missing" if value is None else f"is {reprlib.repr(value)}"
                issues.add("id-not-integer", f"the id of {kind} entry {place + 1} {text}: {values[place]} instead")
        return np.array([values[place] for place in range(len(written))], dtype=np.int64)


def without_repetitions(
    places: list[int],
    identifiers: Sequence[Any],
    names: Sequence[Any],
    kind: Literal["image", "category"],
    issues: Issues,
) -> list[int]:
    """Leave out entries with the same id and name as an earlier one.

    Such repetitions occur in concatenated files. Annotations belong to the entry that stays; the repetition, with a new
    id, would count as an image without objects.

    Args:
        places: positions of the entries in the file's list.
        identifiers: id of each entry, as written.
        names: name of each entry, as written.
        kind: kind of the entries.
        issues: receives the repetitions.

    Returns:
        The positions of the other entries.
    """
    if set(map(type, identifiers)) <= {int} and len(set(identifiers)) == len(identifiers):
        return places
    seen: set[str] = set()
    kept = []
    for place, *pair in zip(places, identifiers, names, strict=True):
        key = _key(pair)
        if pair[0] is not None and key in seen:
            issues.add(
                f"duplicate-{kind}-id",
                f"{kind} id {reprlib.repr(pair[0])} occurs twice, entry {place + 1} is a repetition",
            )
        else:
            kept.append(place)
        seen.add(key)
    return kept


def _key(value: Any) -> str:
    """Convert a written value to a dictionary key; text is its own key."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def as_whole_number(value: Any) -> int | None:
    """Convert a number or text to a whole number; None if it is none.

    >>> as_whole_number(3.0), as_whole_number("7"), as_whole_number(2.5)
    (3, 7, None)
    """
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and len(value) < 20 and value.strip().removeprefix("-").isascii():
        return int(value) if value.strip().removeprefix("-").isdigit() else None
    return None
