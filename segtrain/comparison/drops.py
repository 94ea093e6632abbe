"""Falls of numbers beyond the limits that a user has set, for checks that run by themselves."""

from collections.abc import Iterator, Mapping, Sequence

from segtrain.comparison.compared_results import Change, ComparedResults, Drop
from segtrain.errors import SegtrainError
from segtrain.metrics.registry import METRICS
from segtrain.nodes import nearest

_AWARE = "class_aware."
_TOLERANCE = 1e-9  # a fall of exactly the limit is none beyond it


def read_limits(given: Sequence[str]) -> dict[str, float]:
    """Read limits such as ``mask_ap=0.02``, several in one text separated by commas.

    Args:
        given: texts of the form KEY=LIMIT; KEY is a ``Metric.key``, with ``class_aware.`` before it for the class-aware
            number.

    Raises:
        SegtrainError: a key is unknown, or a limit is no number in [0, 1].

    >>> read_limits(["mask_ap=0.02,class_aware.f1_50=0"])
    {'mask_ap': 0.02, 'class_aware.f1_50': 0.0}
    """
    known = [metric.key for metric in METRICS]
    limits = {}
    for entry in (part for text in given for part in text.split(",")):
        key, _, value = entry.strip().partition("=")
        if key.removeprefix(_AWARE) not in known:
            raise SegtrainError(f"--max-drop {entry}: no such metric; {nearest(key.removeprefix(_AWARE), known)}")
        try:
            limits[key] = float(value)
        except ValueError:
            limits[key] = -1.0
        if not 0 <= limits[key] <= 1:
            raise SegtrainError(f"--max-drop {entry}: give a limit from 0 to 1, such as {key}=0.02")
    return limits


def find_drops(compared: ComparedResults, limits: Mapping[str, float], *, beyond_chance: bool = False) -> list[Drop]:
    """Find the methods whose number has fallen by more than a limit, or is not defined any more.

    Upper bounds are not looked at.

    Args:
        compared: comparison of two evaluations.
        limits: largest fall by key, see `read_limits`.
        beyond_chance: True to count falls only that chance does not explain (corrected p below 0.05).

    Raises:
        SegtrainError: no method has a number with a limit.
    """
    drops = []
    for key, limit in limits.items():
        changes = dict(_changes_of(compared, key))
        if not changes:
            raise SegtrainError(f"--max-drop {key}={limit:g}: no method that both evaluations have has a {key}")
        drops += [
            Drop(name, key, limit, change) for name, change in changes.items() if _is_drop(change, limit, beyond_chance)
        ]
    return drops


def _changes_of(compared: ComparedResults, key: str) -> Iterator[tuple[str, Change]]:
    """Yield the change of each method whose number the first evaluation defines."""
    for name, own in compared.methods.items():
        changes = own.class_aware if key.startswith(_AWARE) else own.class_agnostic
        change = changes.get(key.removeprefix(_AWARE))
        if change is not None and change.before is not None and not own.oracle:
            yield name, change


def _is_drop(change: Change, limit: float, beyond_chance: bool) -> bool:
    if change.difference is None:
        return True
    return -change.difference > limit + _TOLERANCE and (not beyond_chance or change.outcome == "fell")
