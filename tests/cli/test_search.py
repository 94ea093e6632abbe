"""Searches: sweeps whose jobs Optuna draws, ends early, and goes on with after a kill; the trainings are stand-ins."""

import math
import shlex
from pathlib import Path
from typing import Any

import pytest

from segtrain.cli.command_line import Command
from segtrain.cli.optuna_sweeper import judge_of
from segtrain.training.sweep_journal import SweepJob, read_journal
from tests.helpers.scripts import Finished, message, run

SPACE = ["--multirun", "hydra/sweeper=segtrain_optuna", "optimizer.lr=tag(log, interval(1e-5, 1e-1))"]
HERE = ["output_dir=sweep", "trainer.epochs=4", "trainer.max_minutes=null"]


class Killed(BaseException):
    """End of a process in the middle of a job."""


def search(folder: Path, *arguments: str, killed_at: int | None = None) -> tuple[Finished | None, list[int]]:
    """Run a search of trainings whose AP is highest at a rate of 0.01; returns also the numbers of its jobs."""
    begun: list[int] = []

    def task(config: dict[str, Any], output_dir: Path, command: Command) -> float:
        (output_dir / "checkpoints").mkdir(exist_ok=True)  # the job has begun
        begun.append(int(output_dir.name))
        judge = judge_of(command)
        assert judge is not None
        reached = 1 / (1 + abs(math.log10(config["optimizer"]["lr"]) + 2))
        for epoch in range(1, 5):
            if begun[-1] == killed_at:
                raise Killed
            if judge(epoch / 4, reached * epoch / 4) is not None:
                return reached * epoch / 4
        return reached

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.helpers.scripts.load_task", lambda name: task)
        try:
            return run("train", *SPACE, *HERE, *arguments, folder=folder), begun
        except Killed:
            return None, begun


def jobs_of(folder: Path) -> list[SweepJob]:
    return read_journal(folder / "sweep")


def check_best(finished: Finished, jobs: list[SweepJob]) -> SweepJob:
    """Check what is printed of the best job, and return it."""
    best = max((job for job in jobs if job.state == "finished"), key=lambda job: job.value or 0.0)
    rate = f"optimizer.lr={best.settings['optimizer.lr']}"
    assert f"Best: job {best.number}, mask_ap {best.value:.4f} ({rate})" in finished.out
    (line,) = [line for line in finished.out.splitlines() if line.startswith("Train with its settings: ")]
    words = shlex.split(line.partition(": ")[2])
    assert words == ["python", "train.py", "trainer.epochs=4", "trainer.max_minutes=null", rate]
    return best


def test_a_search_begins_with_the_preset_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    trials = "hydra.sweeper.n_trials=3"
    assert search(tmp_path, trials, killed_at=1) == (None, [0, 1])
    assert [job.state for job in jobs_of(tmp_path)] == ["finished", "running"]
    drawn = jobs_of(tmp_path)[1].settings
    finished, begun = search(tmp_path, trials)
    assert finished is not None
    assert (finished.code, finished.err, begun) == (0, "", [1, 2])
    jobs = jobs_of(tmp_path)
    assert [job.number for job in jobs] == [0, 1, 2]
    assert jobs[0].settings["optimizer.lr"] == "0.001"  # the preset's own
    assert jobs[1].settings == drawn
    assert "job 2 of 3 (optimizer.lr=" in finished.out
    check_best(finished, jobs)
    assert 'id="search"' in (tmp_path / "sweep" / "sweep.html").read_text()
    other = search(tmp_path, trials, "optimizer.weight_decay=0.1")[0]
    assert other is not None
    assert "the search was begun with no optimizer.weight_decay, and now has" in message(other)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
@pytest.mark.parametrize("pruner", ["median", "asha", "none"])
def test_a_search_finds_better_settings_than_the_preset(tmp_path: Path, sampler: str, pruner: str) -> None:
    given = ["hydra.sweeper.n_trials=12", f"hydra.sweeper.sampler={sampler}", f"hydra.sweeper.pruner={pruner}"]
    finished, begun = search(tmp_path, *given)
    assert finished is not None
    assert (finished.code, finished.err, begun) == (0, "", list(range(12)))
    jobs = jobs_of(tmp_path)
    assert {job.state for job in jobs} == ({"finished"} if pruner == "none" else {"finished", "pruned"})
    assert (check_best(finished, jobs).value or 0.0) > (jobs[0].value or 1.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hydra.sweeper.sampler=grid"], "hydra.sweeper.sampler=grid: choose tpe, gp or random"),
        (["optimizer.weight_decay=tag(log, interval(0, 1))"], "a logarithmic scale needs numbers above 0"),
        (["optimizer.lr=1e-3"], "nothing to search"),
        (["trainer.ema_decay=0.9,2"], "trainer.ema_decay=2: give"),
        (["trainer.monitor=loss", "trainer.validation_losses=false"], "needs trainer.validation_losses=true"),
    ],
)
def test_a_mistake_is_one_line_before_any_job(tmp_path: Path, arguments: list[str], said: str) -> None:
    finished, begun = search(tmp_path, *arguments)
    assert finished is not None
    assert said in message(finished)
    assert begun == []
    assert list(tmp_path.iterdir()) == []
