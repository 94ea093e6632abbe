"""Runs, patterns and sweeps that the key ``checkpoint`` of evaluate.py names."""

from pathlib import Path

import pytest

from segtrain.benchmark.named_checkpoints import find_named
from segtrain.errors import SegtrainError
from segtrain.training.sweep_journal import State, SweepJob, note


def run_in(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.pt").touch()
    return folder


def sweep_in(folder: Path, *states: State) -> Path:
    """A sweep over the seed: every job holds a checkpoint, but for those that have failed."""
    for number, state in enumerate(states):
        if state != "failed":
            run_in(folder / str(number))
        note(folder, SweepJob(number, [f"seed={number}", "output_dir=x"], state, str(number), error="broke"))
    return folder


def named(*given: str | Path) -> list[str]:
    found = find_named([str(path) for path in given]).paths
    assert found is not None
    return [Path(path).name for path in found]


def test_a_path_stays_as_it_is_and_none_is_none(tmp_path: Path) -> None:
    assert find_named(None) == (None, [])
    assert find_named("missing.pt") == (["missing.pt"], [])  # its reader says that there is none
    run = run_in(tmp_path / "run[1]")
    assert find_named([str(run), str(run)]) == ([str(run)] * 2, [])  # refused later


def test_the_finished_jobs_of_a_sweep_are_taken_and_the_others_named(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path / "rates", *["finished"] * 9, "failed", "finished", "running", "interrupted")
    assert named(sweep) == [*"012345678", "10"]
    (said,) = find_named(str(sweep)).notes
    assert said == (
        f"checkpoint={sweep}: 3 of 13 runs left out: 9 (seed=9) has failed, 11 (seed=11) is not finished, "
        "12 (seed=12) is not finished"
    )
    assert named(f"{sweep}/*") == named(sweep)  # in the order of their numbers
    (sweep / "0" / "checkpoints" / "best.pt").unlink()
    assert "0 holds no checkpoint" in find_named(str(sweep)).notes[0]
    with pytest.raises(SegtrainError, match=r"1 of 1 run left out: 0 has failed; finish one"):
        find_named(str(sweep_in(tmp_path / "bad", "failed")))


def test_a_sweep_without_a_journal_has_its_numbered_folders(tmp_path: Path) -> None:
    for number in (0, 2, 10):
        run_in(tmp_path / str(number))
    (tmp_path / "1").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "multirun.yaml").touch()
    found = find_named(str(tmp_path))
    assert named(tmp_path) == ["0", "2", "10"]
    assert found.notes == [f"checkpoint={tmp_path}: 1 of 4 runs left out: 1 holds no checkpoint"]


def test_patterns_match_runs_checkpoints_and_sweeps(tmp_path: Path) -> None:
    run_in(tmp_path / "b"), run_in(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    sweep_in(tmp_path / "sweep", "finished", "finished")
    assert named(f"{tmp_path}/*") == ["a", "b", "0", "1"]
    assert find_named(f"{tmp_path}/*").notes[0].endswith("1 of 5 runs left out: empty holds no checkpoint")
    assert named(f"{tmp_path}/?/checkpoints/*.pt") == ["best.pt", "best.pt"]
    assert named(tmp_path / "b", f"{tmp_path}/[ab]") == ["b", "a"]  # each once, the first one first
    with pytest.raises(SegtrainError, match=r"none\*: matches no folder"):
        find_named(f"{tmp_path}/none*")
    with pytest.raises(
        SegtrainError, match=r"is no folder of a run, but holds some; name them with 'checkpoint=.*/\*'"
    ):
        find_named(str(tmp_path))
