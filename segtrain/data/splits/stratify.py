"""Which images validation takes, so that both splits resemble the whole in every category."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain.data.index.counts import CategoryCounts

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
# Gain in squared deviation that is not worth a move: a category whose share is 0.3 % off.
_NEGLIGIBLE = 1e-5


def stratified(
    counts: CategoryCounts, ids: _Ints, fraction: float, seed: int, groups: _Ints | None = None
) -> npt.NDArray[np.bool_]:
    """Draw the images of a validation split.

    Iterative stratification: units (images or groups of images) are given away one by one, those of the category with
    the fewest left first, each to the split that misses it more. Source: K. Sechidis, G. Tsoumakas, I. Vlahavas, On the
    Stratification of Multi-Label Data, ECML PKDD 2011. What is missed is measured in objects, since units hold several,
    and over all categories of the unit; images, and images without objects, count as two more. Then single units change
    sides as long as that brings the shares nearer to the fraction, or a category into a split that has none of it.

    Args:
        counts: of the true instances.
        ids: (N,) of the images, unique; decide their order, so that the order in the file does not matter.
        fraction: share that validation takes, in (0, 1).
        seed: not negative.
        groups: (N,) numbers of the groups that must stay together, of at least two; None for each image by itself.

    Returns:
        (N,), true for validation; neither all nor none. A category that several units hold is in both splits, unless
        every move that would bring it into one takes another category out.
    """
    unit = np.unique(ids if groups is None else _by_smallest(groups, ids), return_inverse=True)[1]
    unit = np.random.default_rng(seed).permutation(unit.max() + 1)[unit]
    pairs = _Pairs.of(counts, unit)
    chosen = _give_away(pairs, fraction)
    _improve(pairs, fraction, chosen)
    return chosen[unit]


def _by_smallest(groups: _Ints, ids: _Ints) -> _Ints:
    """Each image's group, named by the smallest image id in it."""
    group = np.unique(groups, return_inverse=True)[1]
    smallest = np.full(group.max() + 1, ids.max())
    np.minimum.at(smallest, group, ids)
    return smallest[group]


@dataclass(frozen=True)
class _Pairs:
    """Which unit holds how much of which class: a category, images, or images without objects.

    Attributes:
        units: (P,) not decreasing; every unit occurs.
        classes: (P,); 0 for images.
        shares: (P,) of all the class's objects, in (0, 1].
    """

    units: _Ints
    classes: _Ints
    shares: _Floats

    @property
    def weights(self) -> _Floats:
        """(C,) of the classes: images count as much as all others together, or validation would take the images with
        few objects, of which it can have more."""
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


def _give_away(pairs: _Pairs, fraction: float) -> npt.NDArray[np.bool_]:
    """Every unit to the split that misses it more; true for validation."""
    count, many = int(pairs.units[-1]) + 1, int(pairs.classes.max()) + 1
    first = np.searchsorted(pairs.units, np.arange(count + 1)).tolist()
    by_class = np.argsort(pairs.classes, kind="stable")
    holders = np.split(pairs.units[by_class], np.searchsorted(pairs.classes[by_class], np.arange(1, many)))
    left = np.array([len(units) or count + 1 for units in holders])
    # Plain lists: the loop below is of single numbers.
    classes, shares, weights = pairs.classes.tolist(), pairs.shares.tolist(), pairs.weights.tolist()
    missed = {side: [part] * many for side, part in ((True, fraction), (False, 1 - fraction))}
    given: dict[int, bool] = {}
    while len(given) < count:
        rarest = int(left.argmin())
        for unit in holders[rarest].tolist():
            if unit in given:
                continue
            own = range(first[unit], first[unit + 1])
            # How the weighted sum over classes of (missed share)^2 / (split's share) changes if a split takes the unit.
            val, train = (
                sum(weights[classes[k]] * shares[k] * (shares[k] - 2 * missed[side][classes[k]]) for k in own) / part
                for side, part in ((True, fraction), (False, 1 - fraction))
            )
            given[unit] = val < train
            for k in own:
                missed[val < train][classes[k]] -= shares[k]
            left[pairs.classes[own]] -= 1
        left[rarest] = count + 1
    return np.array([given[unit] for unit in range(count)])


def _improve(pairs: _Pairs, fraction: float, chosen: npt.NDArray[np.bool_]) -> None:
    """Move single units to the other split, the most useful first, for as long as that helps."""
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
