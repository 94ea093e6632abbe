"""Threads, control groups and seeds."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segtrain import runtime
from segtrain.errors import SegtrainError
from segtrain.runtime import (
    control_groups,
    describe_environment,
    seed_everything,
    thread_count,
    usable_cores,
)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4), raising=False)
    monkeypatch.setattr(runtime, "control_groups", lambda controller: [])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [thread_count("auto", busy) for busy in (0, 1, 3, 9)] == [4, 3, 1, 1]
    assert thread_count(2, 3) == 2


def test_the_least_limit_of_cores_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(runtime, "control_groups", lambda controller: [2.5, None, 4.0])
    monkeypatch.setattr(runtime, "_cores_of", lambda quota: quota)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert usable_cores() == 3
    for stated, cores in (("2", 2), ("6,2", 3), ("0", 3), ("many", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
        assert usable_cores() == cores


def test_the_one_of_torchrun_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sets OMP_NUM_THREADS=1 where nobody has; other numbers are the user's, for each process."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(runtime, "control_groups", lambda controller: [])
    for processes, stated, threads in ((2, "1", 4), (2, "3", 3), (2, "6", 4), (1, "1", 1), (4, "1", 2)):
        monkeypatch.setattr(runtime.distributed, "local_size", lambda processes=processes: processes)
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
        assert thread_count("auto", 0) == threads


def test_quotas_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    monkeypatch.setattr(runtime, "control_groups", lambda controller: control_groups(controller, root, membership))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert usable_cores() == 8
    membership.write_text("5:memory:/elsewhere\n4:cpu,cpuacct:/job\n")
    (root / "cpu" / "job").mkdir(parents=True)
    (root / "cpu" / "job" / "cpu.cfs_period_us").write_text("100000\n")
    for quota, cores in (("150000\n", 2), ("-1\n", 8)):
        (root / "cpu" / "job" / "cpu.cfs_quota_us").write_text(quota)
        assert usable_cores() == cores
    membership.write_text("0::/job/step\n")
    (root / "job" / "step").mkdir(parents=True)
    for folder, text, cores in (
        ("job/step", "400000 100000\n", 4),
        ("job", "50000 100000\n", 1),
        ("job", "max 1\n", 4),
    ):
        (root / folder / "cpu.max").write_text(text)
        assert usable_cores() == cores


@pytest.mark.parametrize("value", [0, -1, "many", 1.5, None, True])
def test_what_is_no_thread_count(value: Any) -> None:
    with pytest.raises(SegtrainError, match=f"threads={value}: "):
        thread_count(value, 0)


def test_a_seed_fixes_all_three_generators() -> None:
    def draws() -> tuple[float, float, float]:
        seed_everything(5)
        return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002

    assert draws() == draws()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_not_all_generators_take(seed: int) -> None:
    with pytest.raises(SegtrainError, match=f"seed={seed}: "):
        seed_everything(seed)


def test_the_environment_is_plain_and_complete() -> None:
    environment = describe_environment("cpu", "fp32", 2)
    assert all(isinstance(value, str | int | float) for value in environment.values())
    assert environment.keys() >= {"segtrain", "torch", "torchvision", "processor", "cores", "threads", "device"}
