"""Sweeps of train.py: every job is a row, those that fail let the others go on, and a repeated command goes on."""

import csv
import json
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segtrain.cli import overrides
from segtrain.cli.command_line import Command
from segtrain.cli.hydra_options import jobs_at_once, search_jobs_at_once
from segtrain.cli.launch import compose_runs
from segtrain.cli.overrides import _PACKAGES
from segtrain.cli.sweep_jobs import combinations, interruption_noted
from segtrain.errors import SegtrainError
from segtrain.locks import locked_folder
from segtrain.runtime import usable_cores
from segtrain.stopping import Stopped
from segtrain.training.checkpoint import load_checkpoint
from segtrain.training.run_history import RunHistory
from segtrain.training.sweep_journal import JOURNAL, SweepJob, note, read_journal
from tests.conftest import Workplace
from tests.helpers.scripts import SMALL, data_of, message, run

FOLLOWS_LOSS = ["trainer.monitor=loss", "trainer.validation_losses=true"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_failed_job_is_a_row_and_the_others_go_on(workplace: Workplace, tmp_path: Path) -> None:
    arguments = [*SMALL, *data_of(workplace.data), "trainer.max_steps=0", "output_dir=sweeps/one"]
    finished = run("train", "--multirun", *arguments, "data.val_annotations=no.json,val.json", folder=tmp_path)
    assert finished.code == 1
    (line,) = finished.err.splitlines()
    assert line.startswith("error: job 0 (data.val_annotations=no.json): ")
    folder = tmp_path / "sweeps" / "one"
    assert sorted(path.name for path in folder.iterdir()) == ["1", "multirun.yaml", "sweep.csv", "sweep.html", JOURNAL]
    states = {row["job"]: (row["state"], row["error"]) for row in rows(folder)}
    assert states["1"] == ("finished", "")
    assert states["0"][0] == "failed"
    assert "no.json" in states["0"][1]
    for job, file in enumerate(("no", "val")):
        assert f"job {job} of 2 (data.val_annotations={file}.json)" in finished.out
    assert "1 failed, 1 finished" in finished.out
    assert "job 1 of 2" in (folder / "1" / "train.log").read_text()


@pytest.mark.slow
def test_the_same_command_skips_what_is_finished_and_resumes_what_was_killed(
    workplace: Workplace, tmp_path: Path
) -> None:
    arguments = ["--multirun", *SMALL, *data_of(workplace.data), "output_dir=sweep", "seed=0,1", *FOLLOWS_LOSS]
    finished = run("train", *arguments, folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    folder = tmp_path / "sweep"
    for job in ("0", "1"):
        checkpoint = load_checkpoint(folder / job / "checkpoints" / "best.pt")
        assert checkpoint.seed == int(job)
        assert Path(checkpoint.config["output_dir"]) == folder / job
    written = (folder / "0" / "metrics.jsonl").read_bytes()
    lines = (folder / JOURNAL).read_text().splitlines()
    (folder / JOURNAL).write_text("\n".join([*lines[:-1], lines[-1][:20]]))  # as a kill would leave it
    again = run("train", *arguments, "threads=2", folder=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert "job 0 is finished already, loss " in again.out
    assert "resuming" in again.out
    assert (folder / "0" / "metrics.jsonl").read_bytes() == written
    jobs = read_journal(folder)
    assert [job.state for job in jobs] == ["finished", "finished"]
    losses = [min(value for _, value in RunHistory.read(folder / job).of("validation/loss")) for job in ("0", "1")]
    assert [job.value for job in jobs] == losses
    assert {row["job"]: float(row["loss"]) for row in rows(folder)} == {"0": losses[0], "1": losses[1]}
    assert {row["mean_of_seeds"] for row in rows(folder)} == {str(sum(job.value or 0 for job in jobs) / 2)}
    interval = message(run("train", *arguments, "optimizer.lr=interval(0, 1)", folder=tmp_path))
    assert "optimizer.lr=interval(0, 1): an interval is for a search; add hydra/sweeper=segtrain_optuna" in interval
    other = message(run("train", *arguments, "optimizer.lr=1e-3", folder=tmp_path))
    assert "sweep: job 0 was begun with no optimizer.lr, and now has optimizer.lr=0.001" in other
    with locked_folder(folder):
        assert "sweep is in use by process" in message(run("train", *arguments, folder=tmp_path))


def test_all_combinations_are_checked_before_the_first_job(tmp_path: Path) -> None:
    given = ["optimizer=sgd,adamw", "+optimizer.momentum=0.9", "seed=0,1", "output_dir=sweep"]
    assert "momentum" in message(run("train", "--multirun", *given, folder=tmp_path))
    ranked = message(run("train", "--multirun", "trainer.monitor=mask_ap,miou", folder=tmp_path))
    assert "trainer.monitor: the jobs of a sweep are ranked by one number; give a single value" in ranked
    assert not list(tmp_path.iterdir())


def test_what_is_checked_of_many_jobs_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fold is there for the first number of folds; that the last one is not for the other is told."""
    given = ["data.folds=3,2", "data.fold=0,2"]
    with pytest.raises(SegtrainError, match=r"data\.fold=2: the 2 folds are numbered from 0 to 1"):
        compose_runs("train", given, sweep=True)
    assert "checked now" not in capsys.readouterr().out
    monkeypatch.setattr(overrides, "_MOST_COMBINATIONS", 3)
    assert len(compose_runs("train", given, sweep=True)) == 3
    said = capsys.readouterr().out
    assert said == "4 jobs: each value is checked now, and each combination of values as its job starts\n"


def test_a_launcher_that_is_not_installed_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {f"hydra/launcher={name}" for name in ("joblib", "submitit_local", "submitit_slurm")} <= _PACKAGES.keys()
    told = message(run("train", "--multirun", "hydra/launcher=ray", "seed=0,1", folder=tmp_path))
    assert "pip install hydra-ray-launcher" in told


def test_jobs_are_counted_as_hydra_does() -> None:
    jobs = combinations(["lr=1e-4,1e-3", "seed=range(0,3)", "x=[1,2]"])
    assert len(jobs) == 6
    assert jobs[1] == ["lr=0.0001", "seed=1", "x=[1,2]"]
    local = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"
    assert jobs_at_once(OmegaConf.create({"_target_": local}), 6) == 6
    slurm = OmegaConf.create({"_target_": local.replace("Local", "Slurm")})
    assert jobs_at_once(slurm, 6) == 1
    assert [search_jobs_at_once(slurm, given, 6) for given in ("auto", 4, 9)] == [1, 4, 6]
    assert search_jobs_at_once(OmegaConf.create({"_target_": local}), "auto", 600) == usable_cores()


def test_a_stop_is_noted_and_tells_how_the_whole_sweep_goes_on(tmp_path: Path) -> None:
    note(tmp_path, SweepJob(0, ["seed=0"], "finished", "0", 0.5))
    note(tmp_path, SweepJob(1, ["seed=1"], "running", "1"))
    command = Command(("python", "train.py"), ["-m", "seed=0,1"], ["seed=1"])
    stop = Stopped(signal.SIGINT, "stopped at step 3; go on with: python train.py seed=1")
    with pytest.raises(Stopped) as caught, interruption_noted(tmp_path, 1, command):
        raise stop
    assert str(caught.value) == (
        f"job 1: stopped at step 3; go on with: python train.py -m seed=0,1 output_dir={tmp_path}"
    )
    assert [job.state for job in read_journal(tmp_path)] == [row["state"] for row in rows(tmp_path)]
    assert [row["state"] for row in rows(tmp_path)] == ["finished", "interrupted"]
    with pytest.raises(Stopped) as caught, interruption_noted(None, 0, command):
        raise stop
    assert caught.value is stop


@pytest.mark.slow
def test_jobs_that_run_at_once_share_the_cores(workplace: Workplace, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra [joblib]")
    from tests.helpers.processes import start

    given = [*SMALL, *data_of(workplace.data), "output_dir=sweep", "data.val_annotations=val.json,no.json,val.json"]
    given = [*(argument for argument in given if not argument.startswith("threads=")), "threads=auto"]
    launcher = ["--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = start("train", *launcher, *given, folder=tmp_path)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 1, out
    assert [job.state for job in read_journal(tmp_path / "sweep")] == ["finished", "failed", "finished"]
    lines = (tmp_path / "sweep" / "0" / "metrics.jsonl").read_text().splitlines()
    threads = [json.loads(line).get("train/threads") for line in lines]
    assert {count for count in threads if count} == {1.0}
