"""Stratified draws of images: a validation split, or the folds of a cross-validation, alike in their categories."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain.data.coco.index import CategoryCounts

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
# Gain in squared deviation below which no unit is moved: about that of a category whose share is 0.3 % off.
_NEGLIGIBLE = 1e-5


def stratified(
    counts: CategoryCounts, ids: _Ints, fraction: float, seed: int, groups: _Ints | None = None
) -> npt.NDArray[np.bool_]:
    """Draw the images of a validation split, stratified by category.

    Iterative stratification: units (images or groups of images) are assigned one by one, those of the category with the
    fewest remaining units first, each to the split that lacks it more. The lack is measured in objects, since units
    hold several, and over all categories of the unit; images, and images without objects, count as two more categories.
    Then single units change sides as long as this moves the shares closer to the fraction, or adds a category to a
    split without it.

    Args:
        counts: number of true objects of each image and category.
        ids: (N,) ids of the images, unique; they determine the order, so the order in the file does not matter.
        fraction: share of the validation split, in (0, 1).
        seed: seed of the draw, not negative.
        groups: (N,) group of each image, at least two different ones; a group stays in one split. None to draw each
            image by itself.

    Returns:
        (N,), true for validation; neither all nor none. A category of several units is in both splits, unless every
        move that would add it to one removes another category.

    Source: K. Sechidis, G. Tsoumakas, I. Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD 2011.

    >>> labels = np.array([1, 1, 1, 1, 2, 2])  # one object in each of six images
    >>> counts = CategoryCounts(images=np.arange(6), labels=labels, objects=np.ones(6, np.int64))
    >>> val = stratified(counts, np.arange(6), 0.5, seed=0)
    >>> sorted(labels[val].tolist())
    [1, 1, 2]
    """
    unit = _shuffled_units(ids, groups, seed)
    pairs = _Pairs.of(counts, unit)
    chosen: npt.NDArray[np.bool_] = _give_away(pairs, [1 - fraction, fraction]) == 1
    _improve(pairs, fraction, chosen)
    return chosen[unit]


def stratified_folds(counts: CategoryCounts, ids: _Ints, folds: int, seed: int, groups: _Ints | None = None) -> _Ints:
    """Divide images into folds of about as many images, and objects of each category.

    Units (images or groups of images) are assigned as by ``stratified``, each to the fold that lacks it most.

    Args:
        counts: number of true objects of each image and category.
        ids: (N,) ids of the images, unique; they determine the order, so the order in the file does not matter.
        folds: number of folds, from 2 to the number of units.
        seed: seed of the draw, not negative.
        groups: (N,) group of each image; a group stays in one fold. None to draw each image by itself.

    Returns:
        (N,) number of each image's fold, from 0; no fold is empty.

    >>> labels = np.array([1, 1, 1, 2, 2, 2])  # one object in each of six images
    >>> counts = CategoryCounts(images=np.arange(6), labels=labels, objects=np.ones(6, np.int64))
    >>> fold = stratified_folds(counts, np.arange(6), 3, seed=0)
    >>> [sorted(labels[fold == number].tolist()) for number in range(3)]
    [[1, 2], [1, 2], [1, 2]]
    """
    unit = _shuffled_units(ids, groups, seed)
    fold = _give_away(_Pairs.of(counts, unit), [1 / folds] * folds)
    for empty in np.setdiff1d(np.arange(folds), fold):
        largest = np.bincount(fold).argmax()
        fold[np.flatnonzero(fold == largest)[-1]] = empty
    return fold[unit]


def _shuffled_units(ids: _Ints, groups: _Ints | None, seed: int) -> _Ints:
    """Number the unit of each image, at random, but independently of the order of the images."""
    unit = np.unique(ids if groups is None else _by_smallest(groups, ids), return_inverse=True)[1]
    shuffled: _Ints = np.random.default_rng(seed).permutation(unit.max() + 1)[unit]
    return shuffled


def _by_smallest(groups: _Ints, ids: _Ints) -> _Ints:
    """Identify each image's group by the smallest image id in it."""
    group = np.unique(groups, return_inverse=True)[1]
    smallest = np.full(group.max() + 1, ids.max())
    np.minimum.at(smallest, group, ids)
    return smallest[group]


@dataclass(frozen=True)
class _Pairs:
    """Amount of each class in each unit; classes are the categories, images, and images without objects.

    Attributes:
        units: (P,) number of each pair's unit, not decreasing; every unit occurs.
        classes: (P,) number of each pair's class; 0 for images.
        shares: (P,) share of all objects of the class that the unit holds, in (0, 1].
    """

    units: _Ints
    classes: _Ints
    shares: _Floats

    @property
    def weights(self) -> _Floats:
        """Weights of the classes, (C,).

        Images weigh as much as all other classes together; otherwise validation would hold more images than its share,
        those with few objects.
        """
        return np.append(float(self.classes.max()), np.ones(self.classes.max()))

    @classmethod
    def of(cls, counts: CategoryCounts, unit: _Ints) -> "_Pairs":
        empty = np.setdiff1d(np.arange(len(unit)), counts.images)
        many = int(counts.labels.max(initial=0)) + 2
        classes = np.concatenate([counts.labels, np.zeros(len(unit), np.int64), np.full(len(empty), many - 1)])
        keys = unit[np.concatenate([counts.images, np.arange(len(unit)), empty])] * many + classes
        numbers = np.concatenate([counts.objects, np.ones(len(unit) + len(empty), np.int64)])
        found, place = np.unique(keys, return_inverse=True)
        held = np.bincount(place, numbers)
        units, classes = np.divmod(found, many)
        return cls(units, classes, held / np.bincount(classes, held)[classes])


def _give_away(pairs: _Pairs, parts: Sequence[float]) -> _Ints:
    """Assign every unit to the part that lacks it most.

    Args:
        pairs: amount of each class in each unit.
        parts: share of each part; their sum is 1.

    Returns:
        Number of each unit's part; of parts that lack it equally the first.
    """
    count, many = int(pairs.units[-1]) + 1, int(pairs.classes.max()) + 1
    first = np.searchsorted(pairs.units, np.arange(count + 1)).tolist()
    by_class = np.argsort(pairs.classes, kind="stable")
    holders = np.split(pairs.units[by_class], np.searchsorted(pairs.classes[by_class], np.arange(1, many)))
    left = np.array([len(units) or count + 1 for units in holders])
    # Plain lists are faster than arrays in a loop over single numbers.
    classes, shares, weights = pairs.classes.tolist(), pairs.shares.tolist(), pairs.weights.tolist()
    missed = [[share] * many for share in parts]
    given: dict[int, int] = {}
    while len(given) < count:
        rarest = int(left.argmin())
        for unit in holders[rarest].tolist():
            if unit in given:
                continue
            own = range(first[unit], first[unit + 1])
            # How the weighted sum over classes of (missed share)^2 / (part's share) changes if a part takes the unit.
            changes = [
                sum(weights[classes[k]] * shares[k] * (shares[k] - 2 * lacking[classes[k]]) for k in own) / share
                for lacking, share in zip(missed, parts, strict=True)
            ]
            part = given[unit] = changes.index(min(changes))
            for k in own:
                missed[part][classes[k]] -= shares[k]
            left[pairs.classes[own]] -= 1
        left[rarest] = count + 1
    return np.array([given[unit] for unit in range(count)], dtype=np.int64)


def _improve(pairs: _Pairs, fraction: float, chosen: npt.NDArray[np.bool_]) -> None:
    """Move single units to the other split, the one with the largest gain first, until no move is worth it."""
    units, classes, shares, weights = pairs.units, pairs.classes, pairs.shares, pairs.weights[pairs.classes]
    holders = np.bincount(classes)[classes]
    absence = 2 * pairs.weights.sum() * (holders > 1)  # worse than any deviation
    for _ in range(len(chosen)):
        side = chosen[units]
        held = np.bincount(classes, side)[classes]  # units of validation that hold the class
        here, there = np.where(side, (held, holders - held), (holders - held, held))
        deviation = (np.bincount(classes, shares * side) - fraction)[classes]
        nearer = weights * shares * (np.where(side, 2 * deviation, -2 * deviation) - shares)
        gains = np.bincount(units, nearer + absence * ((there == 0) * 1.0 - (here == 1)))
        best = int(gains.argmax())
        if gains[best] < _NEGLIGIBLE:
            return
        chosen[best] = not chosen[best]
