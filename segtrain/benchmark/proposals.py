"""Proposals of settings: the candidates' own first, then variations of the best ones so far and new draws."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from segtrain.benchmark.search_space import Candidate, Dimension, Node

_NEW = 0.25  # share of settings that are drawn anew
_JOINED = 0.4  # share of variations that take about half of their values from a second parent
_CHANGES = 2.0  # mean number of values that a variation changes
_NEIGHBOUR = 0.7  # share of changes of ordered values that go to the next one
_TRIES = 50  # draws of known settings, after which the first unknown one of the grid is taken


class Setting(NamedTuple):
    """Values of a candidate's settings.

    Settings are ordered by candidate, then by their values from the first step of the candidate to the last, so that
    neighbours have most steps in common.

    Attributes:
        candidate: index of the candidate.
        places: index of each dimension's value in its list of values.
    """

    candidate: int
    places: tuple[int, ...]


class Proposals:
    """Source of settings, none of which is proposed twice.

    Args:
        candidates: candidates and the values to try.
        seed: seed of all draws.
        known: settings that are not proposed, as an interrupted search has tried them.
    """

    def __init__(self, candidates: Sequence[Candidate], seed: int, known: Iterable[Setting] = ()) -> None:
        self._candidates, self._rng = candidates, np.random.default_rng(seed)
        self._searched = [number for number, candidate in enumerate(candidates) if candidate.dimensions]
        self._known = set(known)
        self._count = sum(candidate.size for candidate in candidates)

    def standing(self) -> list[Setting]:
        """Return the candidates with their own settings."""
        found = [Setting(number, tuple(_own_places(candidate))) for number, candidate in enumerate(self._candidates)]
        self._known.update(found)
        return found

    def draw(self, count: int, parents: Sequence[Setting]) -> list[Setting]:
        """Propose settings, in their order.

        Args:
            count: number of settings; there are fewer only if all others are known.
            parents: best settings so far, the best one first.
        """
        varied = [parent for parent in parents if parent.candidate in self._searched]
        found = [self._unknown(varied) for _ in range(min(count, self._count - len(self._known)))]
        return sorted(found)

    def node(self, setting: Setting) -> Node:
        """Return the configuration of the segmenter with these settings."""
        return self._candidates[setting.candidate].with_values(self._values(setting))

    def described(self, setting: Setting) -> dict[str, Any]:
        """Return the settings by name, after the name of the candidate, which has no value."""
        candidate = self._candidates[setting.candidate]
        names = [dimension.path[-1] for dimension in candidate.dimensions]
        return {candidate.name: "", **dict(zip(names, self._values(setting), strict=True))}

    def _values(self, setting: Setting) -> list[Any]:
        dimensions = self._candidates[setting.candidate].dimensions
        return [dimension.values[place] for dimension, place in zip(dimensions, setting.places, strict=True)]

    def _note(self, setting: Setting) -> Setting:
        self._known.add(setting)
        return setting

    def _unknown(self, parents: Sequence[Setting]) -> Setting:
        for _ in range(_TRIES):
            is_new = not parents or self._rng.random() < _NEW
            setting = self._drawn() if is_new else self._varied(parents)
            if setting not in self._known:
                return self._note(setting)
        return self._note(next(setting for setting in self._grid() if setting not in self._known))

    def _grid(self) -> Iterator[Setting]:
        for number in self._searched:
            ranges = (range(len(dimension.values)) for dimension in self._candidates[number].dimensions)
            yield from (Setting(number, places) for places in product(*ranges))

    def _drawn(self) -> Setting:
        number = self._searched[self._rng.integers(len(self._searched))]
        dimensions = self._candidates[number].dimensions
        return Setting(number, tuple(int(self._rng.integers(len(dimension.values))) for dimension in dimensions))

    def _varied(self, parents: Sequence[Setting]) -> Setting:
        """Vary a parent, a better one more often than a worse one."""
        weights = np.arange(len(parents), 0, -1)
        parent = parents[self._rng.choice(len(parents), p=weights / weights.sum())]
        others = [other for other in parents if other.candidate == parent.candidate and other != parent]
        places = list(parent.places)
        if others and self._rng.random() < _JOINED:
            other = others[self._rng.integers(len(others))]
            taken = self._rng.random(len(places)) < 0.5
            places = [theirs if take else own for own, theirs, take in zip(places, other.places, taken, strict=True)]
        dimensions = self._candidates[parent.candidate].dimensions
        changed = self._rng.random(len(places)) < min(1.0, _CHANGES / len(places))
        changed[self._rng.integers(len(places))] = True
        for number in np.flatnonzero(changed).tolist():
            places[number] = self._changed(dimensions[number], places[number])
        return Setting(parent.candidate, tuple(places))

    def _changed(self, dimension: Dimension, place: int) -> int:
        """Choose another value: of ordered ones often a neighbour."""
        count = len(dimension.values)
        if dimension.ordered and self._rng.random() < _NEIGHBOUR:
            step = 1 if self._rng.random() < 0.5 else -1
            return min(max(place + step, 0), count - 1)
        return int(self._rng.integers(count))


def _own_places(candidate: Candidate) -> Iterator[int]:
    """Yield the position of the candidate's own value of each dimension in its list of values."""
    for dimension, own in zip(candidate.dimensions, candidate.own_values(), strict=True):
        yield dimension.values.index(own)
