"""Ranking of training runs, and the section of the report that shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import pytest

from segtrain.benchmark.checkpoints import EvaluatedCheckpoint
from segtrain.benchmark.evaluated_runs import runs_of
from segtrain.benchmark.results import Results
from segtrain.benchmark.run_ranking import rank_runs
from segtrain.benchmark.run_results import Run, Runs
from segtrain.metrics.scores import TrackScores
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.sections.training_runs import ranking_words
from tests.helpers.report_examples import method, track, typed
from tests.helpers.report_examples import results as some_results
from tests.helpers.tiny_runs import checkpoint

DRAWS = 400
NOISE = np.random.default_rng(0).normal(0, 0.02, (9, DRAWS))  # of the images, in part shared by all runs


@dataclass(frozen=True)
class Scored:
    """A row that has scores."""

    tracks: Mapping[str, TrackScores | None]
    oracle: bool = False


def ranked(values: Mapping[str, float], seeds: Sequence[Sequence[str]] = (), *, resampled: bool = True) -> Runs:
    """Rank runs by invented values, whose resamples scatter little around them."""
    rows = {
        name: Scored({"class_agnostic": TrackScores.of(track(value, ["object"]))}) for name, value in values.items()
    }
    drawn = {
        name: {"class_agnostic": {"mask_ap": (value + NOISE[8] + 0.2 * NOISE[number]).tolist()}} if resampled else {}
        for number, (name, value) in enumerate(values.items())
    }
    history = {"validation/mask_ap": [(10.0, 0.1), (20.0, 0.2)], "train/loss": [(10.0, 2.0), (20.0, 1.0)]}
    runs = [
        Run(name, {"optimizer.lr": name, "seed": "0"}, f"/runs/{name}", 0, 1.5, 20, history if number else {})
        for number, name in enumerate(values)
    ]
    found = rank_runs(runs, seeds, rows, drawn)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_all_pairs_are_compared_and_corrected_together() -> None:
    values = {"net · a": 0.5, "net · b": 0.41, "net · c": 0.4}
    found = ranked(values)
    assert [own.name for own in found.configurations] == ["a", "b", "c"]
    p = {}
    for (first, high), (second, low) in combinations(enumerate(values.values()), 2):
        drawn = high - low + 0.2 * (NOISE[first] - NOISE[second])
        distance = abs(drawn - (high - low)) >= high - low
        p[first, second] = (1 + distance.sum()) / (DRAWS + 1)
        own = found.pairs[len(p) - 1].differences["mask_ap"]
        assert own.difference == pytest.approx(high - low)
        assert (own.low, own.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    corrected, largest = {}, 0.0
    for place, (pair, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        largest = corrected[pair] = max(largest, min(1.0, (3 - place) * value))
    assert [pair.differences["mask_ap"].p for pair in found.pairs] == pytest.approx([corrected[pair] for pair in p])
    assert [own.ranks for own in found.configurations] == [(1, 1), (2, 3), (2, 3)]
    said = "\n".join(ranking_words(found))
    assert "The data can tell that a is above b (+0.090" in said
    assert "Each configuration was trained once" in said


def test_what_the_data_cannot_tell_is_said() -> None:
    found = ranked({"net · a": 0.401, "net · b": 0.4})
    assert [own.ranks for own in found.configurations] == [(1, 2), (1, 2)]
    assert "The data cannot tell a from b." in ranking_words(found)
    found = ranked({"net · a": 0.5, "net · b": 0.4}, resampled=False)
    assert not found.pairs
    assert "without resamples no difference is tested" in ranking_words(found)[0]


def test_resamples_that_are_too_few_for_the_pairs_are_told() -> None:
    found = ranked({"net · a": 0.9, "net · b": 0.4, "net · c": 0.3999} | {f"net · {n}": 0.05 * n for n in range(1, 5)})
    assert {own.ranks for own in found.configurations} == {(1, 7)}  # 21 pairs, 400 resamples: p >= 0.052
    said = "\n".join(ranking_words(found))
    assert "So few resamples cannot tell a from b, c, 4, 3, 2 and 1, however different they are" in said
    assert "corrected for 21 pairs, no p can be below 0.05. Evaluate again with bootstrap.resamples=1000." in said
    assert "The data cannot tell" not in said


def test_seeds_are_a_mean_and_their_spread_is_considered() -> None:
    values = {"n · lr 1 · seed 0": 0.45, "n · lr 1 · seed 1": 0.55, "n · lr 2 · seed 0": 0.40, "n · lr 3 · seed 0": 0.2}
    found = ranked(values, [list(values)[:2]])
    first, second, third = found.configurations
    assert (first.name, first.rows, first.ranks) == ("lr 1", list(values)[:2], (1, 2))
    assert (first.mean, first.deviation) == (pytest.approx(0.5), pytest.approx(np.std([0.45, 0.55], ddof=1)))
    assert (second.name, second.deviation) == ("lr 2 · seed 0", None)
    own = found.pairs[0].differences["mask_ap"]
    assert own.difference == pytest.approx(0.1)
    assert own.of_seeds == pytest.approx(2 * np.sqrt(0.005 / 2 + 0.005))  # both have the spread of the one with seeds
    assert own.p < 0.05
    assert not own.told
    assert third.ranks == (3, 3)
    assert "within the spread of the seeds: lr 1 and lr 2 · seed 0" in "\n".join(ranking_words(found))
    alone = ranked({"n · seed 0": 0.4, "n · seed 1": 0.5}, [["n · seed 0", "n · seed 1"]])
    assert [own.rows for own in alone.configurations] == [["n · seed 0", "n · seed 1"]]
    assert rank_runs(alone.runs[:1], [], {}, {}) is None


def test_the_report_shows_settings_curves_and_the_ranking() -> None:
    names = ["mask_rcnn · lr 1e-3", "mask_rcnn · lr 2e-4"]
    rows = {name: method(value, 0.1, [], aware=False) for name, value in zip(names, (0.5, 0.4), strict=True)}
    found = ranked(dict.fromkeys(names[:1], 0.5) | dict.fromkeys(names[1:], 0.4))
    results = msgspec.structs.replace(typed(some_results(rows)), runs=found)
    page, text = html_report(results), markdown_report(results)
    for content in (page, text):
        for words in ("Settings and cost", "Paired differences", "Training curves", "/runs/mask_rcnn · lr 1e-3"):
            assert words in content
    assert 'id="runs"' in page
    assert "No metrics.jsonl lies beside the checkpoint of mask_rcnn · lr 1e-3" in text
    assert "| `lr 1e-3 − lr 2e-4` | +0.100\N{NO-BREAK SPACE}*" in text
    assert Results.of(results.to_builtins()).runs == found


def test_runs_are_read_from_checkpoints(tmp_path: Path) -> None:
    sources = {}
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        lines = [f'{{"step": {step}, "train/loss": {step / 2}, "other": 1}}' for step in range(1, 301)]
        (folder / "metrics.jsonl").write_text("\n".join(lines))
        own = checkpoint(seed=seed, config={**checkpoint().config, "seed": seed})
        sources[f"net · seed {seed}"] = EvaluatedCheckpoint(folder / "checkpoints" / "best.pt", own)
    first, second = runs_of(sources)
    assert (first.row, first.settings, first.folder) == ("net · seed 0", {"seed": "0"}, str(tmp_path / "0"))
    assert list(second.history) == ["train/loss"]
    assert len(second.history["train/loss"]) == 100
    assert second.history["train/loss"][0] == (2.0, 1.0)
    assert runs_of({"net · seed 0": sources["net · seed 0"]}) == []
