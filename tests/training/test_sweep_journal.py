"""The journal of a sweep: states, minutes over several attempts, and groups of seeds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from segtrain.errors import SegtrainError
from segtrain.training.sweep_journal import (
    JOURNAL,
    State,
    SweepJob,
    group_jobs,
    note,
    read_journal,
    require_same_settings,
)


def job(number: int, state: State, time: float = 1.0, value: float | None = None) -> SweepJob:
    return SweepJob(number, [f"lr={number // 2}", f"seed={number % 2}"], state, str(number), value, time=time)


def test_the_last_line_of_a_job_counts_and_minutes_add_up(tmp_path: Path) -> None:
    for entry in (job(0, "running", 60), job(0, "interrupted", 120), job(1, "running", 120), job(0, "running", 600)):
        note(tmp_path, entry)
    note(tmp_path, job(0, "finished", 660, 0.5))
    found = read_journal(tmp_path)
    assert [(each.state, each.minutes, each.value) for each in found] == [("finished", 2, 0.5), ("running", 0, None)]
    assert read_journal(tmp_path, ended=True)[1].state == "interrupted"


def test_a_line_that_a_crash_cut_spoils_no_other(tmp_path: Path) -> None:
    note(tmp_path, job(0, "running"))
    path = tmp_path / JOURNAL
    path.write_text(path.read_text() + '{"number": 0, "sta')
    assert [each.state for each in read_journal(tmp_path)] == ["running"]
    note(tmp_path, job(0, "finished", value=float("nan")))
    assert [(each.state, each.value) for each in read_journal(tmp_path)] == [("finished", None)]
    assert json.loads(path.read_text().splitlines()[-1])["value"] is None


def test_another_setting_is_refused_and_another_device_is_not(tmp_path: Path) -> None:
    require_same_settings(tmp_path, job(0, "running"), ["seed=0", "lr=0", "device=cpu", "overwrite=false"])
    with pytest.raises(SegtrainError, match="job 0 was begun with lr=0, and now has lr=1"):
        require_same_settings(tmp_path, job(0, "running"), ["seed=0", "lr=1"])


def test_folds_are_no_settings_to_choose_from() -> None:
    folds = [
        SweepJob(n, [f"lr={n // 3}", f"data.fold={n % 3}"], "finished", str(n), value)
        for n, value in enumerate((0.1, 0.2, 0.6, 0.4, 0.4, 0.4))
    ]
    assert [(group.name, group.mean, len(group.jobs)) for group in group_jobs(folds)] == [
        ("lr=1", pytest.approx(0.4), 3),
        ("lr=0", pytest.approx(0.3), 3),
    ]


def test_failed_seeds_do_not_count_in_the_mean() -> None:
    jobs = [
        job(0, "finished", value=0.1),
        job(1, "failed"),
        job(2, "finished", value=0.3),
        job(3, "finished", value=0.5),
    ]
    best, other = group_jobs(jobs)
    assert (best.name, best.mean, best.spread, best.best.number) == ("lr=1", 0.4, pytest.approx(0.1414, abs=1e-4), 3)
    assert (other.mean, other.spread, other.state) == (0.1, None, "1 finished, 1 failed")
    other, best = group_jobs([replace(job, monitor="loss") for job in jobs])
    assert (other.mean, best.mean, best.best.number) == (0.1, 0.4, 2)
