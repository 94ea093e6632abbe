"""Changes of numbers between two evaluations: paired on resamples, or from two separate intervals."""

from collections.abc import Mapping
from math import erfc, isnan, nan, sqrt

import msgspec

from segtrain.arrays import FloatArray
from segtrain.comparison.compared_results import Change
from segtrain.metrics.bootstrap import holm, paired_difference
from segtrain.metrics.scores import Interval

_QUANTILE = 1.959963984540054  # of the normal distribution at 97.5 %
Key = tuple[str, ...]  # path of a change, such as method, category and metric


def paired_change(
    before: float | None, after: float | None, resampled_before: FloatArray, resampled_after: FloatArray
) -> Change:
    """Compute the change of a number on the same resamples of the same images.

    Args:
        before: value in the first evaluation; None where it is undefined.
        after: value in the second evaluation.
        resampled_before: (B,) value of the first on each resample; nan where undefined.
        resampled_after: (B,) value of the second on the same resamples.
    """
    if before is None or after is None:
        return Change(before, after)
    found = paired_difference(after, before, resampled_after, resampled_before)
    if isnan(found.p):
        return Change(before, after, found.difference)
    if not (resampled_before - resampled_after).any():  # the same detections: nothing to test
        return Change(before, after, found.difference, 0.0, 0.0)
    return Change(before, after, found.difference, found.low, found.high, found.p, found.least_p)


def unpaired_change(
    before: float | None, after: float | None, ends_before: Interval | None, ends_after: Interval | None
) -> Change:
    """Compute the change of a number from its two separate 95 % intervals, as if these were independent.

    The interval of the difference is that of Zou and Donner: its arms are the roots of the sums of squares of the arms
    of the two intervals. p is that of a normal distribution with the arm towards 0, so that it is below 0.05 exactly
    where the interval excludes 0. Where the two evaluations share images, both are too careful.

    Args:
        before: value in the first evaluation; None where it is undefined.
        after: value in the second evaluation.
        ends_before: interval of the first value; None without one.
        ends_after: interval of the second value.

    Source: Zou and Donner, Construction of confidence limits about effect measures (2008).

    >>> change = unpaired_change(0.5, 0.6, Interval(0.47, 0.53), Interval(0.56, 0.64))
    >>> round(change.low, 3), round(change.high, 3), change.outcome
    (0.05, 0.15, 'rose')
    """
    if before is None or after is None:
        return Change(before, after)
    difference = after - before
    if ends_before is None or ends_after is None:
        return Change(before, after, difference)
    down = sqrt((after - ends_after.low) ** 2 + (ends_before.high - before) ** 2)
    up = sqrt((ends_after.high - after) ** 2 + (before - ends_before.low) ** 2)
    arm = down if difference > 0 else up
    distance = abs(difference) / arm if arm else nan
    p = 1.0 if not difference else 0.0 if isnan(distance) else erfc(_QUANTILE * distance / sqrt(2))
    return Change(before, after, difference, difference - down, difference + up, p)


def corrected(changes: Mapping[Key, Change]) -> dict[Key, Change]:
    """Correct the p-values of changes that are looked at together by Holm's method, metric by metric.

    Args:
        changes: changes by path, whose last part is the metric.

    >>> changes = {(name, "mask_ap"): Change(0.1, 0.2, 0.1, 0.0, 0.2, 0.03) for name in ("a", "b")}
    >>> corrected(changes)["a", "mask_ap"].p
    0.06
    """
    found = dict(changes)
    for metric in dict.fromkeys(path[-1] for path in changes):
        paths = [path for path, change in changes.items() if path[-1] == metric and change.p is not None]
        p = holm({"\0".join(path): changes[path].p or 0.0 for path in paths})
        for path in paths:
            least = changes[path].least_p
            found[path] = msgspec.structs.replace(
                changes[path],
                p=p["\0".join(path)],
                least_p=None if least is None else min(1.0, len(paths) * least),
            )
    return found
