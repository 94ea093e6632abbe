"""Training runs behind evaluated checkpoints: their settings, and the numbers of their training."""

from collections.abc import Mapping
from math import ceil

from segtrain.benchmark.checkpoints import EvaluatedCheckpoint, settings_of_runs
from segtrain.benchmark.run_names import run_folder
from segtrain.benchmark.run_results import Run
from segtrain.training.run_history import RunHistory, Series

_KEPT = ("train/loss", "validation/loss", "validation/mask_ap", "train/minutes")
_MOST_POINTS = 120  # of a number; entries of the log between them are averaged


def runs_of(checkpoints: Mapping[str, EvaluatedCheckpoint]) -> list[Run]:
    """Describe the training runs of an evaluation; a single checkpoint is not worth it.

    Args:
        checkpoints: checkpoint of each trained method by its name.
    """
    if len({own.path for own in checkpoints.values()}) < 2:
        return []
    known = {name: own for name, own in checkpoints.items() if own.path is not None and own.checkpoint is not None}
    found = []
    for (name, own), settings in zip(known.items(), settings_of_runs(list(known.values())), strict=True):
        assert own.path is not None
        assert own.checkpoint is not None
        folder = run_folder(own.path)
        found.append(
            Run(
                row=name,
                settings=settings,
                folder=str(folder),
                seed=own.checkpoint.seed,
                minutes=own.checkpoint.minutes,
                steps=own.checkpoint.step,
                history=_history(RunHistory.read(folder)),
            )
        )
    return found


def _history(history: RunHistory) -> dict[str, list[tuple[float, float]]]:
    return {name: _thinned(series) for name in _KEPT if (series := history.of(name))}


def _thinned(series: Series) -> list[tuple[float, float]]:
    """Average neighbouring entries of a number, so that few are left.

    >>> _thinned([(step, float(step)) for step in range(1, 241)])[:2]
    [(1.5, 1.5), (3.5, 3.5)]
    """
    size = ceil(len(series) / _MOST_POINTS)
    groups: list[Series] = [series[start : start + size] for start in range(0, len(series), size)]
    return [
        (sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group)) for group in groups
    ]
