"""The thread tuner, on a simulated machine."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from segtrain.training.threads import HOLD, TRIAL, ThreadTuner, choose_threads


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(tuner: ThreadTuner, steps: int, seconds: dict[int, float]) -> list[int]:
    """Thread counts of so many steps that take so long with each count."""
    counts = []
    for _ in range(steps):
        counts.append(torch.get_num_threads())
        tuner.step_took(seconds[counts[-1]])
    return counts


def test_a_single_count_is_kept() -> None:
    assert set(run(ThreadTuner([2], validation=2), 3 * HOLD, {2: 1.0})) == {2}


def test_all_cores_are_kept_where_they_are_faster() -> None:
    tuner = ThreadTuner([2, 1], validation=2)
    counts = run(tuner, 4 * HOLD, {2: 0.5, 1: 0.8})
    assert tuner.chosen == 2
    assert counts.count(1) <= 4 * (TRIAL + 1)  # what looking costs


def test_one_thread_is_chosen_beside_a_busy_process_and_left_when_it_ends() -> None:
    tuner = ThreadTuner([2, 1], validation=2)
    run(tuner, 3 * TRIAL, {2: 2.0, 1: 0.8})
    assert tuner.chosen == 1
    run(tuner, HOLD + 3 * TRIAL, {2: 0.5, 1: 0.8})
    assert tuner.chosen == 2


def test_of_three_counts_the_fastest_is_chosen() -> None:
    tuner = ThreadTuner([4, 2, 1], validation=4)
    run(tuner, 5 * TRIAL, {4: 1.0, 2: 0.6, 1: 0.8})
    assert tuner.chosen == torch.get_num_threads() == 2


def test_a_small_gain_changes_nothing() -> None:
    tuner = ThreadTuner([2, 1], validation=2)
    run(tuner, 5 * TRIAL, {2: 1.0, 1: 0.97})
    assert tuner.chosen == 2


def test_validation_has_its_own_count() -> None:
    tuner = ThreadTuner([1], validation=2)
    with tuner.validating():
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("threads", "workers", "device", "first", "counts"),
    [
        ("auto", 0, "cpu", 4, {4, 2}),
        ("auto", 1, "cpu", 3, {3, 4, 2}),
        ("auto", 3, "cpu", 1, {1, 4, 2}),
        ("auto", 0, "cuda", 4, {4}),
        (3, 1, "cpu", 3, {3}),
    ],
)
def test_what_may_be_chosen_from(
    threads: Any, workers: int, device: str, first: int, counts: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtrain.runtime.usable_cores", lambda: 4)
    tuner = choose_threads(threads, workers, torch.device(device))
    assert torch.get_num_threads() == first
    assert set(run(tuner, HOLD, dict.fromkeys(range(1, 5), 1.0))) == counts
