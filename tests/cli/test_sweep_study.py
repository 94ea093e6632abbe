"""The study of a search: which jobs are drawn, repeated and ended early, whatever ends the command."""

import math
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from segtrain.cli.sweep_space import read_space
from segtrain.cli.sweep_study import STUDY, SearchSettings, SweepStudy, TrialJudge, why_pruned
from segtrain.errors import SegtrainError
from segtrain.training.run_history import RunHistory
from segtrain.training.sweep_journal import State, SweepJob, best_job

SPACE = ["seed=3", "x=interval(0, 1)", "n=int(interval(1, 8))", "option=a,b"]


def open_study(
    folder: Path, jobs: list[SweepJob], *, space: list[str] = SPACE, trials: int = 6, pruner: str = "none",
    monitor: str = "mask_ap",
) -> SweepStudy:  # fmt: skip
    settings = {"n_trials": trials, "n_jobs": "auto", "sampler": "tpe", "seed": 0, "pruner": pruner}
    return SweepStudy(folder, read_space(space), SearchSettings.of(settings), monitor, jobs)


def train(
    folder: Path, number: int, values: list[float], pruner: str = "none", monitor: str = "mask_ap"
) -> SweepJob:  # fmt: skip
    """Validate as often as there are values, or until the judge ends the job."""
    judge = TrialJudge(folder, number, pruner)
    state: State = "finished"
    for place, value in enumerate(values, 1):
        if judge(place / len(values), value) is not None:
            state = "pruned"
            break
    best = RunHistory({f"validation/{monitor}": list(enumerate(filter(math.isfinite, values[:place])))}).best(monitor)
    return SweepJob(number, [], state, str(number), best, monitor=monitor, drawn=True)


def best_of(folder: Path) -> tuple[int, float]:
    """Number and value of the best trial, as Optuna knows it."""
    best = optuna.load_study(
        study_name="sweep", storage=JournalStorage(JournalFileBackend(str(folder / STUDY)))
    ).best_trial
    return best.user_attrs["job"], best.value


def test_all_jobs_are_drawn_once_and_the_best_is_known(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, []), list[SweepJob]()
    study.try_first({"x": 0.25, "n": 2, "option": "b"})
    while drawn := study.next_jobs(2):
        jobs += [train(tmp_path, job.number, [0.1, job.number / 10, 0.0]) for job in drawn]
        if drawn[0].number == 0:
            assert drawn[0].overrides == ["seed=3", "x=0.25", "n=2", "option=b"]
        study.settle(jobs)
    assert [job.number for job in jobs] == list(range(6))
    assert best_of(tmp_path) == (5, 0.5)
    assert why_pruned(tmp_path, 4) is None
    assert open_study(tmp_path, jobs).next_jobs(9) == []
    assert [job.number for job in open_study(tmp_path, jobs, trials=8).next_jobs(9)] == [6, 7]


def test_a_lock_of_a_search_that_was_killed_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("sweep")  # as most commands name it
    folder.mkdir()
    open_study(folder, []).next_jobs(1)
    (folder / f"{STUDY}.lock").symlink_to(folder / STUDY)  # Optuna's lock on a path that is relative
    start = time.monotonic()
    assert [job.number for job in open_study(folder, []).next_jobs(1)] == [0]
    assert time.monotonic() - start < 10


def test_jobs_that_were_killed_or_failed_are_repeated_with_their_settings(tmp_path: Path) -> None:
    drawn = open_study(tmp_path, []).next_jobs(4)
    jobs = [
        SweepJob(0, [], "failed", "0"),
        train(tmp_path, 1, [0.5]),
        SweepJob(2, [], "running", "2"),  # killed, as is job 3, before its first line
    ]
    with (tmp_path / STUDY).open("a") as file:
        file.write('{"op_code":4,"wor')  # cut by the kill
    study = open_study(tmp_path, jobs)
    *again, fresh = study.next_jobs(4)
    assert again == [drawn[0], drawn[2], drawn[3]]
    assert fresh.number == 4
    assert [job.number for job in study.next_jobs(4)] == [5]


def test_draws_do_not_depend_on_a_kill(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    expected = open_study(whole, []).next_jobs(6)
    found = open_study(parts, []).next_jobs(3)
    found = open_study(parts, []).next_jobs(6)
    assert found == expected
    assert len({job.overrides[1] for job in found}) == 6


@pytest.mark.parametrize("pruner", ["median", "asha"])
def test_poor_jobs_end_early(tmp_path: Path, pruner: str) -> None:
    study = open_study(tmp_path, [], trials=8, pruner=pruner)
    jobs = [
        train(tmp_path, job.number, [level / 4 * 0.1 * (9 - job.number) for level in (1, 2, 3, 4)], pruner)
        for job in study.next_jobs(4)
    ]
    study.settle(jobs)
    (poor,) = study.next_jobs(1)
    jobs.append(train(tmp_path, poor.number, [0.01, 0.02, 0.9, 0.9], pruner))
    assert jobs[-1].state == "pruned"
    assert jobs[-1].value == 0.01
    assert why_pruned(tmp_path, 4) == f"pruned by {pruner} at 25 % of the training"
    study.settle(jobs)
    (good,) = study.next_jobs(1)
    assert train(tmp_path, good.number, [0.5, 0.8, 0.9, 0.95], pruner).state == "finished"


def test_trainings_that_validate_at_other_times_are_compared_at_equal_shares(tmp_path: Path) -> None:
    study = open_study(tmp_path, [], trials=8, pruner="median")
    jobs = [train(tmp_path, job.number, [0.4, 0.5, 0.6], "median") for job in study.next_jobs(4)]  # 34, 67 and 100 %
    study.settle(jobs)
    study.next_jobs(1)
    judge = TrialJudge(tmp_path, 4, "median")
    assert judge(0.3, 0.3) is None  # none of the others has a value before 34 %
    assert judge(0.6, 0.45) is None  # the others: 0.4
    assert judge(0.7, 0.45) is not None  # the others: 0.5


def test_of_two_validations_at_the_same_share_the_better_counts(tmp_path: Path) -> None:
    open_study(tmp_path, [], trials=1).next_jobs(1)
    judge = TrialJudge(tmp_path, 0, "none")
    for progress, value in ((0.501, 0.2), (0.504, 0.5), (0.509, 0.4)):
        assert judge(progress, value) is None
    assert judge._study.trials[0].intermediate_values == {51: 0.5}


def test_low_losses_are_good_and_undefined_values_are_left_out(tmp_path: Path) -> None:
    study = open_study(tmp_path, [], trials=2, monitor="loss")
    jobs = [
        train(tmp_path, job.number, [3.0, 2.0 + job.number, math.nan], monitor="loss") for job in study.next_jobs(2)
    ]
    study.settle(jobs)
    assert best_of(tmp_path) == (0, 2.0)
    assert best_job(jobs) == jobs[0]


def test_another_search_or_sweep_in_the_folder_is_refused(tmp_path: Path) -> None:
    open_study(tmp_path, []).next_jobs(1)
    with pytest.raises(SegtrainError, match=r"begun with x=interval\(0, 1\), and now has x=interval\(0, 2\)"):
        open_study(tmp_path, [], space=[*SPACE, "x=interval(0, 2)"])
    with pytest.raises(SegtrainError, match=r"begun with trainer\.monitor=mask_ap"):
        open_study(tmp_path, [], monitor="loss")
    open_study(tmp_path, [], space=[*SPACE, "output_dir=there", "threads=2"])
    (tmp_path / "other").mkdir()
    with pytest.raises(SegtrainError, match="a sweep that is no search"):
        open_study(tmp_path / "other", [SweepJob(0, ["seed=0"], "finished", "0")])
