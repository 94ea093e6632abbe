"""Comparison of two evaluations, method by method: all images, single categories, and strata of objects."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from segtrain.benchmark.comparisons import caveats, images_behind
from segtrain.benchmark.results import Results
from segtrain.comparison.changes import Key, corrected, unpaired_change
from segtrain.comparison.compared_results import Change, ComparedResults, ComparedSide, MethodChanges
from segtrain.comparison.paired import Pair
from segtrain.comparison.sides import Side, differing_facts, same_data
from segtrain.comparison.stored import stored_changes
from segtrain.console import progress
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS
from segtrain.pool import Advance, in_processes

RESAMPLES = 1000  # where the first evaluation has made none


def compare_results(
    first: Side, second: Side, *, annotations: Path | None = None, resamples: int | None = None, processes: int = 1
) -> ComparedResults:
    """Compare two evaluations.

    Methods are paired by resampling the images if both evaluations are of the same data and the detections are there;
    otherwise their stored intervals are compared.

    Args:
        first: the earlier evaluation.
        second: the later evaluation.
        annotations: annotation file in place of the one that the evaluations state; None for that.
        resamples: number of resamples of the images; None for that of the first evaluation.
        processes: number of processes that share the methods.

    Raises:
        SegtrainError: the evaluations have no method in common, or the given annotations are others.
    """
    names = [name for name in first.results.methods if name in second.results.methods]
    only = [[name for name in own if name not in names] for own in (first.results.methods, second.results.methods)]
    if not names:
        raise SegtrainError(
            f"{first.path} and {second.path} have no method in common: {', '.join(only[0]) or 'none'} in the first, "
            f"{', '.join(only[1]) or 'none'} in the second"
        )
    count = resamples or first.results.bootstrap.resamples or RESAMPLES
    changes: dict[str, dict[Key, Change]] = {}
    unpaired: dict[str, str] = {}
    notes: list[str] = []
    try:
        pair = Pair.open(first, second, annotations, count)
    except SegtrainError as error:
        if annotations is not None:
            raise
        unpaired = dict.fromkeys(names, str(error))
    else:
        notes += caveats(len(pair.truths[0].sizes), images_behind(pair.truths[0]), 1, count)
        for name, (found, said) in _paired(pair, names, processes):
            if found is None:
                unpaired[name] = said[0]
            else:
                changes[name] = found
                notes += said
    changes |= {name: stored_changes(first.results, second.results, name) for name in unpaired}
    oracles = {name for name in names for side in (first, second) if side.results.methods[name].oracle}
    tested = _corrected({name: changes[name] for name in names if name not in oracles})
    return ComparedResults(
        first=_described(first),
        second=_described(second),
        same_data=same_data(first, second),
        unpaired={name: unpaired[name] for name in names if name in unpaired},
        methods={
            name: _nested(
                tested.get(name, changes[name]),
                _seconds(first.results, second.results, name),
                paired=name not in unpaired,
                oracle=name in oracles,
            )
            for name in names
        },
        only_first=only[0],
        only_second=only[1],
        differing=differing_facts(first, second),
        notes=notes,
        resamples=count,
    )


def _paired(
    pair: Pair, names: Sequence[str], processes: int
) -> Iterator[tuple[str, tuple[dict[Key, Change] | None, list[str]]]]:
    """Yield the changes of each method with notes on them; or no changes, and the reason why it cannot be paired."""
    with progress("comparing") as stage:

        def advance(number: int, share: float) -> None:
            stage.update(stage.done + share / len(names), names[number])

        for number, found in in_processes(partial(_changes, pair), names, processes, advance):
            yield names[number], found


def _changes(pair: Pair, name: str, advance: Advance) -> tuple[dict[Key, Change] | None, list[str]]:
    try:
        found = pair.changes(name)
    except SegtrainError as error:
        return None, [str(error)]
    advance(1.0)
    return found


def _corrected(methods: Mapping[str, Mapping[Key, Change]]) -> dict[str, dict[Key, Change]]:
    """Correct the p-values of each metric for the number of methods, and for that of their categories or strata."""
    families: dict[str, dict[Key, Change]] = {}
    for name, own in methods.items():
        for path, change in own.items():
            families.setdefault(path[0], {})[(name, *path)] = change
    found: dict[str, dict[Key, Change]] = {name: {} for name in methods}
    for family in families.values():
        for path, change in corrected(family).items():
            found[path[0]][path[1:]] = change
    return found


def _nested(changes: Mapping[Key, Change], seconds: Change, *, paired: bool, oracle: bool) -> MethodChanges:
    """Sort the changes of a method into its record."""
    tracks: dict[str, dict[str, Change]] = {track: {} for track in TRACKS}
    categories: dict[str, dict[str, Change]] = {}
    strata: dict[str, dict[str, Change]] = {}
    for path, change in changes.items():
        if path[0] == "categories":
            categories.setdefault(path[1], {})[path[2]] = change
        elif path[0] == "strata":
            strata.setdefault(path[1], {})[path[2]] = change
        else:
            tracks[path[0]][path[1]] = change
    return MethodChanges(
        paired=paired,
        class_agnostic=tracks["class_agnostic"],
        class_aware=tracks["class_aware"],
        categories=categories,
        strata=strata,
        seconds=seconds,
        oracle=oracle,
    )


def _seconds(first: Results, second: Results, name: str) -> Change:
    return unpaired_change(first.methods[name].seconds, second.methods[name].seconds, None, None)


def _described(side: Side) -> ComparedSide:
    data = side.results.data
    date = side.results.environment.get("date")
    return ComparedSide(
        path=str(side.path),
        date=None if date is None else str(date),
        command=side.results.command,
        data=data.name,
        images=data.images,
        objects=data.used,
        contents=data.contents,
    )
