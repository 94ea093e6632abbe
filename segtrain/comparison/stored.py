"""Changes between two evaluations by the numbers and intervals that these have stored."""

from segtrain.benchmark.results import Results
from segtrain.comparison.changes import Key, unpaired_change
from segtrain.comparison.compared_results import Change
from segtrain.evaluation import TRACKS
from segtrain.metrics.registry import METRICS

BY_CATEGORY = tuple(metric for metric in METRICS if metric.key in ("mask_ap", "box_ap", "f1_50"))


def stored_changes(first: Results, second: Results, name: str) -> dict[Key, Change]:
    """Compute the changes of a method; categories and strata have no stored intervals, and so no test.

    Args:
        first: the earlier evaluation.
        second: the later evaluation.
        name: name of a method of both.

    Returns:
        The changes by path, see `Pair.changes`.
    """
    changes = {
        **metric_changes(first, second, name),
        **_categories(first, second, name),
        **_strata(first, second, name),
    }
    return {path: own for path, own in changes.items() if (own.before, own.after) != (None, None)}


def metric_changes(first: Results, second: Results, name: str) -> dict[Key, Change]:
    """Compute the changes of the metrics of a method in both tracks.

    Args:
        first: the earlier evaluation.
        second: the later evaluation.
        name: name of a method of both.
    """
    found: dict[Key, Change] = {}
    for track in TRACKS:
        before, after = (results.methods[name].track(track) for results in (first, second))
        if before is None or after is None:
            continue
        for key in (metric.key for metric in METRICS):
            values = before.metrics.get(key), after.metrics.get(key)
            found[track, key] = unpaired_change(*values, before.intervals.get(key), after.intervals.get(key))
    return found


def _categories(first: Results, second: Results, name: str) -> dict[Key, Change]:
    """Compute the changes of the categories of one name."""
    before, after = (results.methods[name].class_aware for results in (first, second))
    if before is None or after is None or len(before.per_category) < 2:
        return {}
    known = {own.name: own for own in after.per_category}
    found: dict[Key, Change] = {}
    for own in before.per_category:
        other = known.get(own.name)
        for metric in BY_CATEGORY if other is not None else ():
            key = str(metric.category_key)
            values = own.metrics.get(key), other.metrics.get(key) if other is not None else None
            found["categories", own.name, metric.key] = unpaired_change(*values, None, None)
    return found


def _strata(first: Results, second: Results, name: str) -> dict[Key, Change]:
    """Compute the changes of the strata of one name; each evaluation divides its own objects."""
    ap: list[dict[Key, float | None]] = []
    for results in (first, second):
        scores = results.methods[name].strata or {}
        ap.append(
            {
                ("strata", trait, stratum.name, "mask_ap"): own.ap
                for trait, strata in results.strata.items()
                for stratum, own in zip(strata, scores.get(trait, ()), strict=False)
            }
        )
    return {path: unpaired_change(ap[0][path], ap[1][path], None, None) for path in ap[0] if path in ap[1]}
