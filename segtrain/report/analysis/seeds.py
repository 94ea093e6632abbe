"""Runs that differ by their seed alone: their mean, and how far they lie apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from segtrain.evaluation import TRACKS
from segtrain.report.analysis.mappings import METRICS, number

Spread = dict[str, dict[str, float]]  # key of a number -> "mean", "deviation", "low", "high"


@dataclass(frozen=True)
class SeedGroup:
    """The runs of one configuration.

    Attributes:
        rows: their names.
        seeds: of each.
        class_agnostic: of each number that all runs have: mean, sample standard deviation, least and greatest value.
        class_aware: likewise.
    """

    rows: Sequence[str]
    seeds: Sequence[int]
    class_agnostic: Spread
    class_aware: Spread


def seed_groups(methods: Mapping[str, Any], seeds: Mapping[tuple[str, ...], Sequence[int]]) -> list[SeedGroup]:
    """Summarise runs of one configuration.

    Args:
        methods: of ``results.json``, by row.
        seeds: the rows of each configuration, two or more, and their seeds.
    """
    return [
        SeedGroup(names, own, *(_spread([methods[name].get(track) or {} for name in names]) for track in TRACKS))
        for names, own in seeds.items()
    ]


def _spread(tracks: Sequence[Mapping[str, Any]]) -> Spread:
    found = {}
    for column in METRICS:
        values = [number(track.get(column.key)) for track in tracks]
        known = [value for value in values if value is not None]
        if len(known) == len(tracks):
            found[column.key] = {
                "mean": fmean(known), "deviation": stdev(known), "low": min(known), "high": max(known)
            }  # fmt: skip
    return found
