"""Device, precision, threads and seeds."""

import ctypes
import mmap
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segtrain import runtime
from segtrain.control_groups import control_groups
from segtrain.errors import SegtrainError
from segtrain.runtime import (
    MemoryAbove,
    describe_environment,
    peak_memory,
    resolve_device,
    resolve_precision,
    restart_peak_memory,
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
    assert 0 < peak_memory(CPU) < 1e3


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a stretch of time")
def test_memory_above_is_the_peak_within() -> None:
    outside = np.ones(2**26, np.uint8)  # 64 MiB: held before, and a peak from before is no matter
    with MemoryAbove(CPU) as memory:
        for _ in range(2):
            with mmap.mmap(-1, 2**25) as taken:  # 32 MiB, one after the other, straight from the system
                for page in range(0, 2**25, 2**12):
                    taken[page] = 1
    assert outside.any()
    assert memory.gib is not None
    assert memory.gib == pytest.approx(2**25 / 2**30, abs=2**23 / 2**30)
    with MemoryAbove(CPU) as memory:
        pass
    assert memory.gib is not None
    assert memory.gib < 2**23 / 2**30


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a peak begin again")
def test_a_peak_begins_again() -> None:
    np.ones(2**28, np.uint8)  # 256 MiB
    before = peak_memory(CPU)
    held = restart_peak_memory(CPU)
    assert held is not None
    assert peak_memory(CPU) == pytest.approx(held / 2**30, abs=2**24 / 2**30)
    assert peak_memory(CPU) < before - 2**27 / 2**30


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="only glibc gives freed memory back on demand",
)
def test_what_was_freed_before_is_not_held() -> None:
    """The same work takes the same memory a second time, though the allocator keeps what it got the first time."""

    def work() -> list[bytes]:
        return [bytes(1000) for _ in range(2**15)]  # 32 MiB in pieces too small for mmap

    kept = work()[-1]  # at the end of the heap, which therefore does not shrink
    with MemoryAbove(CPU) as memory:
        work()
    assert len(kept) == 1000
    assert memory.gib is not None
    assert memory.gib == pytest.approx(2**25 / 2**30, rel=0.25)


def test_memory_that_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    with MemoryAbove(CPU) as memory:
        pass
    assert memory.gib is None
