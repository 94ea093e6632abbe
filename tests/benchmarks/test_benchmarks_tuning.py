"""The benchmark of the search for settings, on a few drawn cells."""

import argparse
from typing import Any

import pytest
import stand_ins
import tuning
from optuna import create_study


def test_the_candidates_own_settings_come_first_in_stock_too() -> None:
    row = tuning.tuned_row("threshold")
    trials = tuning._trials(create_study(), row.candidates)
    nodes: list[Any] = [next(trials)[1] for _ in range(6)]
    assert nodes[:4] == [candidate.node for candidate in row.candidates]
    assert all(node not in nodes[:4] for node in nodes[4:])


@pytest.mark.slow
def test_both_sides_search_on_drawn_cells() -> None:
    with stand_ins.nuclei(argparse.Namespace(nuclei=None)) as splits:
        rows = tuning.measure("threshold", splits[0], "threshold", seconds=6.0, repeats=1)
    assert [row.name for row in rows] == ["settings_threshold", "tuned_threshold"]
    assert all(row.ratio is not None and row.ratio >= 1 for row in rows)
