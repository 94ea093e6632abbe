"""Device, precision, threads, control groups and seeds."""

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
    resolve_device,
    resolve_precision,
    seed_everything,
    thread_count,
    to_device,
    usable_cores,
)

CPU = torch.device("cpu")


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(SegtrainError, match="device=cuda:2: not there, this machine has 2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-1", "cuda:0:1", "cuda:", "cpu:0", "CPU", "cuda:²"])
def test_what_is_no_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(SegtrainError, match=f"device={name}: not a device; use auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SegtrainError, match="device=cuda: not there"):
        resolve_device("cuda")


def test_only_modules_move() -> None:
    assert to_device("a classical segmenter", torch.device("meta")) == "a classical segmenter"
    assert to_device(torch.nn.Linear(2, 2), torch.device("meta")).weight.is_meta


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"
    assert resolve_precision("fp16", torch.device("cuda")) == "fp16"
    with pytest.raises(SegtrainError, match=r"precision=fp16 needs a CUDA device.* use precision=bf16 or fp32"):
        resolve_precision("fp16", CPU)
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        assert resolve_precision("auto", CPU) == ("bf16" if native else "fp32")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native, **_: native)
        assert resolve_precision("auto", torch.device("cuda")) == ("bf16" if native else "fp32")


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
    environment = describe_environment(CPU, "fp32")
    assert all(isinstance(value, str | int | float) for value in environment.values())
    assert environment.keys() >= {"segtrain", "torch", "torchvision", "processor", "cores", "threads", "device"}
