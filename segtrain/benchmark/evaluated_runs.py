"""Training runs behind evaluated checkpoints: names, settings in which they differ, seeds, and histories."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from segtrain.benchmark.checkpoints import EvaluatedCheckpoint, loads_checkpoint
from segtrain.benchmark.fingerprints import PLACES
from segtrain.benchmark.run_names import SEPARATOR, differing_settings, name_runs, run_folder
from segtrain.benchmark.run_results import Run
from segtrain.data.splits import same_contents
from segtrain.nodes import flat_settings
from segtrain.training.run_history import RunHistory, Series
from segtrain.training.settings import WITHOUT_EFFECT

if TYPE_CHECKING:
    from segtrain.training.checkpoint import Checkpoint

_PLACES = [f"data.{key}" for key in PLACES]
_KEPT = ("train/loss", "validation/loss", "validation/mask_ap", "train/minutes")
_MOST_POINTS = 120  # of a number; entries of the log between them are averaged


def methods_of(
    name: str, node: Mapping[str, Any], checkpoints: Sequence[EvaluatedCheckpoint]
) -> dict[str, EvaluatedCheckpoint]:
    """Name the methods of a segmenter: ``NAME``, or for each of several checkpoints ``NAME · SETTINGS`` of its run.

    Args:
        name: name of the segmenter in the configuration.
        node: configuration of the segmenter.
        checkpoints: the evaluated checkpoints.

    Returns:
        The checkpoint of each method by its name.
    """
    if len(checkpoints) == 1 or not loads_checkpoint(node):
        return {name: checkpoints[0]}
    paths = [own.path for own in checkpoints if own.path is not None]
    runs = name_runs(paths, settings_of_runs(checkpoints))
    return {f"{name}{SEPARATOR}{run}": own for run, own in zip(runs, checkpoints, strict=True)}


def settings_of_runs(checkpoints: Sequence[EvaluatedCheckpoint]) -> list[dict[str, str]]:
    """Find the settings in which the runs of checkpoints differ, by run; see `differing_settings`.

    The place of the data does not count where their contents are known to be the same.

    Args:
        checkpoints: the evaluated checkpoints.
    """
    known = [own.checkpoint for own in checkpoints if own.checkpoint is not None]
    same = all(own.contents and _same_data(own, known[0]) for own in known)
    ignored = [*WITHOUT_EFFECT, *(_PLACES if same else ())]
    return differing_settings([own.config for own in known], ignored)


def seeds_of_one_configuration(checkpoints: Mapping[str, EvaluatedCheckpoint]) -> dict[tuple[str, ...], list[int]]:
    """Group methods whose runs differ by their seed alone.

    Args:
        checkpoints: checkpoint of each trained method by its name.

    Returns:
        The seeds of each group by the names of its methods; of equal seeds the first method.
    """
    similar: dict[tuple[str, str], list[dict[int, tuple[str, Checkpoint]]]] = {}
    for name, own in checkpoints.items():
        if own.checkpoint is None:
            continue
        segmenter = name.partition(SEPARATOR)[0] if SEPARATOR in name else ""
        groups = similar.setdefault((segmenter, _configuration(own.checkpoint)), [])
        on_same_data = (group for group in groups if _same_data(next(iter(group.values()))[1], own.checkpoint))
        group = next(on_same_data, None)
        if group is None:
            group = {}
            groups.append(group)
        group.setdefault(own.checkpoint.seed, (name, own.checkpoint))
    found = [group for groups in similar.values() for group in groups if len(group) > 1]
    return {tuple(name for name, _ in group.values()): list(group) for group in found}


def _configuration(checkpoint: "Checkpoint") -> str:
    """Return a text that is equal for runs whose settings differ by their seed alone."""
    ignored = ["seed", *WITHOUT_EFFECT]
    if checkpoint.contents:  # they tell more than the places of files
        ignored += _PLACES
    return repr(sorted(flat_settings(checkpoint.config, ignored=ignored).items()))


def _same_data(one: "Checkpoint", other: "Checkpoint") -> bool:
    """Return True if the contents of the data of two runs are equal, or not known of either."""
    return one.contents.keys() == other.contents.keys() and all(
        same_contents(text, other.contents[name]) for name, text in one.contents.items()
    )


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
