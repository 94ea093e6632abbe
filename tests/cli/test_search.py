"""Searches: sweeps whose jobs Optuna draws, ends early, and goes on with after a kill; the trainings are stand-ins."""

import math
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from segtrain.cli.command_line import Command
from segtrain.cli.optuna_sweeper import judge_of
from segtrain.training.sweep_journal import SweepJob, best_job, read_journal
from tests.conftest import Workplace
from tests.helpers.processes import start
from tests.helpers.scripts import SMALL, Finished, data_of, message, run

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
    trials = "hydra.sweeper.n_trials=2"
    assert search(tmp_path, trials, killed_at=1) == (None, [0, 1])
    assert [job.state for job in jobs_of(tmp_path)] == ["finished", "running"]
    drawn = jobs_of(tmp_path)[1].settings
    finished, begun = search(tmp_path, trials)
    assert finished is not None
    assert (finished.code, finished.err, begun) == (0, "", [1])
    jobs = jobs_of(tmp_path)
    assert [job.number for job in jobs] == [0, 1]
    assert jobs[0].settings["optimizer.lr"] == "0.001"  # the preset's own
    assert jobs[1].settings == drawn
    assert "job 1 of 2 (optimizer.lr=" in finished.out
    check_best(finished, jobs)
    assert 'id="search"' in (tmp_path / "sweep" / "sweep.html").read_text()


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


@pytest.mark.slow
def test_a_search_by_the_command_goes_on_after_a_kill(workplace: Workplace, tmp_path: Path) -> None:
    given = [*SMALL, *data_of(workplace.data), "output_dir=sweep", "hydra.sweeper.n_trials=5", "trainer.epochs=4"]
    given = ["trainer.max_steps=null" if argument.startswith("trainer.max_steps") else argument for argument in given]
    process = start("train", *SPACE, *given, folder=tmp_path)
    until = time.monotonic() + 300
    while not (tmp_path / "sweep" / "2" / "metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.communicate()
    before = jobs_of(tmp_path)
    assert [job.state for job in before] == ["finished", "finished", "running"]
    process = start("train", *SPACE, *given, folder=tmp_path)
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 0, out
    jobs = jobs_of(tmp_path)
    assert jobs[:2] == before[:2]
    assert [job.settings for job in jobs[:3]] == [job.settings for job in before]
    assert [job.number for job in jobs] == list(range(5))
    assert {job.state for job in jobs} <= {"finished", "pruned"}
    best = best_job(jobs)
    assert best is not None
    assert (best.value or 0.0) >= (jobs[0].value or 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "package"), [("joblib", "joblib"), ("submitit_local", "submitit")])
def test_a_search_shares_its_study_among_processes(
    workplace: Workplace, tmp_path: Path, launcher: str, package: str
) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{package}_launcher", reason="needs an extra")
    given = [*SMALL, *data_of(workplace.data), "output_dir=sweep", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    process = start("train", *SPACE, f"hydra/launcher={launcher}", *given, folder=tmp_path)
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 0, out
    jobs = jobs_of(tmp_path)
    assert [job.number for job in jobs] == list(range(4))
    assert {job.state for job in jobs} <= {"finished", "pruned"}
    assert all(job.drawn and job.value is not None for job in jobs)
