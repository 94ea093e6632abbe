"""Jobs of submitit save their state before they are queued again, and go on with it."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from segtrain.cli.requeue import failed_jobs_in_one_line, goes_on, requeued
from segtrain.errors import SegtrainError
from segtrain.stopping import Stopped
from tests.cli.test_processes import RUN, entries, state
from tests.helpers.processes import start, wait_until
from tests.helpers.scripts import data_of, write_data


def stopped_job(heard: list[str]) -> None:
    with requeued():
        try:
            os.kill(os.getpid(), signal.SIGUSR2)
        finally:
            heard.append("saved")


def test_submitit_hears_of_its_signal_once_the_work_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    before = signal.signal(signal.SIGUSR2, lambda *_: heard.append("submitit"))
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        with requeued():  # no job: nothing is changed
            os.kill(os.getpid(), signal.SIGUSR2)
        assert heard == ["submitit", "submitit"]
        monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
        with pytest.raises(Stopped) as caught:
            stopped_job(heard)
        assert caught.value.number == signal.SIGUSR2
        assert heard[2:] == ["saved", "submitit"]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_job_goes_on_with_its_own_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert not goes_on(tmp_path, overwrite=False)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    assert not goes_on(tmp_path, overwrite=False)
    (tmp_path / "checkpoints" / "last.pt").touch()
    assert goes_on(tmp_path, overwrite=False)
    assert not goes_on(tmp_path, overwrite=True)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert goes_on(tmp_path, overwrite=True)


def test_a_failed_job_is_told_in_one_line() -> None:
    class UncompletedJobError(RuntimeError):
        pass

    UncompletedJobError.__module__ = "submitit.core.utils"
    text = "Job 7 (task: 0) with path runs/.submitit/7/7_0_result.pkl\nhas not produced any output\nerror: no image\n"
    told = r"^a job has failed: no image \(its output is beside runs/\.submitit/7"
    with pytest.raises(SegtrainError, match=told), failed_jobs_in_one_line():
        raise UncompletedJobError(text)
    with pytest.raises(RuntimeError, match="a bug"), failed_jobs_in_one_line():
        raise RuntimeError("a bug")


@pytest.mark.slow
def test_a_job_that_is_ended_early_is_queued_again_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra [slurm]")
    data = data_of(write_data(tmp_path / "data", 9))
    launcher = ["--multirun", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=60"]
    given = [*RUN, *data, "trainer.max_steps=60", "output_dir=sweep", "seed=0,1"]
    process = start("train", *launcher, *given, folder=tmp_path)
    written = tmp_path / "sweep" / "0" / "metrics.jsonl"
    wait_until(lambda: written.exists() and len(written.read_bytes().splitlines()) > 3)
    for child in psutil.Process(process.pid).children(recursive=True):
        if "submitit.core._submit" in child.cmdline():
            child.send_signal(signal.SIGUSR2)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    logs = [path.read_text() for path in (tmp_path / "sweep" / ".submitit").rglob("*.out")]
    assert any("resuming" in text for text in logs)
    for job in ("0", "1"):
        assert state(tmp_path / "sweep" / job)["step"] == 60
        steps = [entry["step"] for entry in entries(tmp_path / "sweep" / job) if "train/loss" in entry]
        assert steps == list(range(1, 61))
