"""The ids of a COCO file: whole numbers, each once; what is written otherwise is mended."""

import reprlib
from collections.abc import Sequence
from itertools import count
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segtrain.data.findings import Findings

IntArray = npt.NDArray[np.int64]
_INT32, _INT64 = 2**31, 2**63


class Ids:
    """The ids of a list's entries, and which entry an id names.

    Attributes:
        values: (N,) int64, one for each entry, all different.

    Args:
        written: as in the file.
        kind: of the entries.
        findings: receives what was mended.
    """

    def __init__(self, written: Sequence[Any], kind: Literal["image", "category"], findings: Findings) -> None:
        self._named: dict[int | str, int] | None = None  # where ids had to be mended: the place by what is written
        self.values = self._assign(written, kind, findings)
        self._index()

    def sort(self) -> IntArray:
        """Number the entries anew, by increasing id.

        Returns:
            (N,) the former place of each.
        """
        order = np.argsort(self.values)
        rank = np.argsort(order).tolist()
        self.values = self.values[order]
        if self._named is not None:
            self._named = {key: rank[place] for key, place in self._named.items()}
        self._index()
        return order

    def find_all(self, named: Sequence[Any]) -> tuple[IntArray, bool]:
        """The entries that ids name.

        Returns:
            (N,) their places, -1 where there is none; and whether all ids were whole numbers.
        """
        if set(map(type, named)) <= {int}:
            try:
                return self._lookup(np.array(named, dtype=np.int64)), True
            except OverflowError:
                pass
        return np.array([self._find(value) for value in named], dtype=np.int64), False

    def _index(self) -> None:
        """Make ready for ``_lookup``: a table by id where ids are dense, else ids in order."""
        keys, places = self.values, np.arange(len(self.values))
        if self._named is not None:
            known = [(key, place) for key, place in self._named.items() if isinstance(key, int)]
            keys, places = np.array(known, dtype=np.int64).reshape(-1, 2).T
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
        if isinstance(value, str) and self._named is not None and value in self._named:
            return self._named[value]
        number = as_whole_number(value)
        if number is None or not -_INT64 <= number < _INT64:
            return -1
        return int(self._lookup(np.array([number], dtype=np.int64))[0])

    def _assign(self, written: Sequence[Any], kind: str, findings: Findings) -> IntArray:
        lowest = 0 if kind == "category" else -_INT64  # -1 stands for "no category" in result files
        plain = set(map(type, written)) <= {int} and len(set(written)) == len(written)
        if not plain or (len(written) and not lowest <= min(written) <= max(written) < _INT64):
            values = self._mend(written, kind, lowest, findings)
        else:
            values = np.array(written, dtype=np.int64)
        for note, told in (("id-zero", values == 0), ("id-beyond-int32", (values >= _INT32) | (values < -_INT32))):
            findings.extend(note, np.flatnonzero(told), lambda place: f"{kind} {values[place]}")
        if kind == "category" and len(values) and np.ptp(values) + 1 > len(values):
            findings.add("id-gaps", f"{len(values)} categories, ids {values.min()} to {values.max()}")
        return values

    def _mend(self, written: Sequence[Any], kind: str, lowest: int, findings: Findings) -> IntArray:
        values: dict[int, int] = {}  # by place
        self._named = {}
        taken: set[int] = set()
        for stage in (int, float, str):  # what is a number already has the first claim to it
            for place, value in enumerate(written):
                number = as_whole_number(value) if type(value) is stage else None
                if number is None or not lowest <= number < _INT64:
                    continue
                if number not in taken:
                    values[place] = number
                    taken.add(number)
                    self._named[number] = place
                elif stage is not str:
                    example = f"{kind} id {number} occurs twice, again in entry {place + 1}"
                    findings.add(f"duplicate-{kind}-id", example)
        highest = max(taken | {0})
        free = (n for n in count(highest + 1 if highest < _INT32 else 1) if n not in taken)
        for place, value in enumerate(written):
            if place not in values:
                values[place] = next(free)
            if isinstance(value, str):
                self._named.setdefault(value, place)
            if type(value) is not int or not lowest <= value < _INT64:
                text = "is missing" if value is None else f"is {reprlib.repr(value)}"
                findings.add("id-not-integer", f"the id of {kind} entry {place + 1} {text}: {values[place]} instead")
        return np.array([values[place] for place in range(len(written))], dtype=np.int64)


def as_whole_number(value: Any) -> int | None:
    """The whole number that a value is or says; None if it is none."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and len(value) < 20 and value.strip().removeprefix("-").isascii():
        return int(value) if value.strip().removeprefix("-").isdigit() else None
    return None
