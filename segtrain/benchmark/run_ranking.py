"""Ranking of training runs: paired differences of their configurations, and which of them the data can tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isnan, sqrt
from statistics import fmean, stdev

import numpy as np

from segtrain.arrays import FloatArray
from segtrain.benchmark.comparisons import Resampled, ScoredRow
from segtrain.benchmark.run_names import SEPARATOR, common_name
from segtrain.benchmark.run_results import Configuration, Run, RunDifference, RunPair, Runs
from segtrain.metrics.bootstrap import CLEAR, Difference, holm, paired_difference
from segtrain.metrics.registry import METRICS

_COMPARED = tuple(metric.key for metric in METRICS if metric.headline)


@dataclass(frozen=True)
class _Group:
    """Methods whose runs differ by their seed alone, with the values of a metric and their mean on each resample."""

    name: str
    values: Sequence[float]
    drawn: FloatArray | None

    @property
    def mean(self) -> float:
        """Mean over the runs; nan where one is undefined."""
        return fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the runs; None of a single one, or where one is undefined."""
        return stdev(self.values) if len(self.values) > 1 and not isnan(self.mean) else None


def rank_runs(
    runs: Sequence[Run],
    seeds: Sequence[Sequence[str]],
    rows: Mapping[str, ScoredRow],
    resampled: Mapping[str, Resampled],
) -> Runs | None:
    """Rank the configurations of training runs, and compare them in pairs.

    Two configurations are told apart where p, corrected for the number of pairs by Holm's method, is below 0.05, and
    where their difference exceeds twice its standard error by the spread of the seeds, as far as there are several.

    Args:
        runs: the runs of an evaluation.
        seeds: names of the methods of each group whose runs differ by their seed alone.
        rows: methods by name.
        resampled: metrics on resamples by method.

    Returns:
        None if there are less than two runs.
    """
    if len(runs) < 2:
        return None
    members = _configurations([run.row for run in runs], seeds)
    has_masks = any(not isnan(_value(rows[run.row], "mask_ap")) for run in runs)
    metric = "mask_ap" if has_masks else "box_ap"
    groups = {key: _groups(members, rows, resampled, key) for key in dict.fromkeys([metric, *_COMPARED])}
    order = sorted(groups[metric].values(), key=lambda group: -1.0 if isnan(group.mean) else group.mean, reverse=True)
    names = [group.name for group in order]
    differences = {key: _differences(names, own) for key, own in groups.items()}
    told = {pair: own for pair, own in differences[metric].items() if own.told}
    configurations = [
        Configuration(
            name=group.name,
            rows=members[group.name],
            mean=None if isnan(group.mean) else group.mean,
            deviation=group.deviation,
            ranks=(
                1 + sum(pair[1] == group.name for pair in told),
                len(order) - sum(pair[0] == group.name for pair in told),
            ),
        )
        for group in order
    ]
    pairs = [
        RunPair(*pair, {key: own[pair] for key, own in differences.items() if pair in own})
        for pair in combinations(names, 2)
    ]
    return Runs(runs, metric, configurations, [pair for pair in pairs if pair.differences])


def _configurations(rows: Sequence[str], seeds: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the methods of each configuration by its name, without that of the segmenter if there is only one."""
    of_row = {row: list(group) for group in seeds for row in group}
    groups = list({tuple(of_row.get(row, [row])): None for row in rows})
    one = len({row.partition(SEPARATOR)[0] for row in rows}) == 1
    names = [common_name(group) if len(group) > 1 else group[0] for group in groups]
    shown = [name.partition(SEPARATOR)[2] or name if one else name for name in names]
    unique = shown if len(set(shown)) == len(shown) else [" + ".join(group) for group in groups]
    return dict(zip(unique, map(list, groups), strict=True))


def _value(row: ScoredRow, key: str) -> float:
    track = row.tracks.get("class_agnostic")
    return float("nan") if track is None else track.value(key)


def _groups(
    members: Mapping[str, Sequence[str]], rows: Mapping[str, ScoredRow], resampled: Mapping[str, Resampled], key: str
) -> dict[str, _Group]:
    found = {}
    for name, own in members.items():
        drawn = [resampled[row].get("class_agnostic", {}).get(key) for row in own]
        known = [np.asarray(values) for values in drawn if values is not None]
        mean = np.mean(known, axis=0) if len(known) == len(own) else None
        found[name] = _Group(name, [_value(rows[row], key) for row in own], mean)
    return found


def _differences(names: Sequence[str], groups: Mapping[str, _Group]) -> dict[tuple[str, str], RunDifference]:
    """Compare all pairs of configurations on a metric; those without resamples are left out."""
    found: dict[tuple[str, str], Difference] = {}
    for pair in combinations(names, 2):
        first, second = (groups[name] for name in pair)
        if first.drawn is not None and second.drawn is not None:
            difference = paired_difference(first.mean, second.mean, first.drawn, second.drawn)
            if not isnan(difference.p):
                found[pair] = difference
    p = holm({"\0".join(pair): own.p for pair, own in found.items()})
    compared = {}
    for pair, own in found.items():
        corrected = p["\0".join(pair)]
        of_seeds = _spread_of_seeds(*(groups[name] for name in pair))
        compared[pair] = RunDifference(
            difference=own.difference,
            low=own.low,
            high=own.high,
            p=corrected,
            least_p=min(1.0, len(found) * own.least_p),
            of_seeds=of_seeds,
            told=corrected < CLEAR and abs(own.difference) > (of_seeds or 0.0),
        )
    return compared


def _spread_of_seeds(first: _Group, second: _Group) -> float | None:
    """Return twice the standard error of a difference by the seeds; a single run has the spread of the other side."""
    known = [own.deviation for own in (first, second) if own.deviation is not None]
    if not known:
        return None
    variances = [
        (own.deviation if own.deviation is not None else known[0]) ** 2 / len(own.values) for own in (first, second)
    ]
    return 2 * sqrt(sum(variances))
