"""Section on training runs: its tables."""

import msgspec

from segtrain.benchmark.run_results import Configuration, Run, RunDifference, RunPair, Runs
from segtrain.report.blocks import Listing
from segtrain.report.sections.training_runs import runs
from segtrain.report.tables import Table
from tests.helpers.report_examples import method, results, typed


def test_differences_are_those_to_the_best() -> None:
    rows = {name: method(quality, 0.1, ["a"], aware=True) for name, quality in (("x", 0.5), ("y", 0.4))}
    found = Runs(
        [Run(name, {"augmentation.flip.p": value}, f"runs/{name}", 0, 2.0, 30, {}) for name, value in ("x1", "y2")],
        "mask_ap",
        [Configuration("x", ["x"], 0.5, None, (1, 1)), Configuration("y", ["y"], 0.4, None, (2, 2))],
        [RunPair("x", "y", {"mask_ap": RunDifference(0.1, 0.05, 0.2, 0.01, 0.001, None, told=True)})],
    )
    section = runs(msgspec.structs.replace(typed(results(rows, ("a",))), runs=found))
    assert section is not None
    ranking, pairs = (block for block in section.blocks if isinstance(block, Table))
    assert [row.category for row in ranking.rows] == ["1", "2"]
    best, other = (row.cells[1] for row in ranking.rows)
    assert (best.text, other.text, *other.details) == ("–", "−0.100", "[−0.200, −0.050]")
    (pair,) = pairs.rows
    assert (pair.cells[0].text, pair.cells[0].details[0]) == ("+0.100 *", "[+0.050, +0.200]")
    (listing,) = (block for block in section.blocks if isinstance(block, Listing))
    assert listing.heads[:2] == ["run", "flip.p"]
    assert [list(row[:4]) for row in listing.rows] == [["x", "1", "2.0", "30"], ["y", "2", "2.0", "30"]]
