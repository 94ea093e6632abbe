"""Free memory, and peaks of it."""

import ctypes
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from segtrain import memory
from segtrain.memory import (
    MemoryAbove,
    _free_in,
    free_memory,
    peak_memory,
    restart_peak_memory,
)
from segtrain.runtime import control_groups


def test_limits_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"

    def group(folder: Path, limit: str, used: str, statistic: str, values: tuple[str, int, int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{values[0]}\n")
        (folder / used).write_text(f"{values[1]}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{statistic} {values[2]}\n")

    def free() -> list[int]:
        groups = control_groups("memory", root, membership)
        return [found for group in groups if (found := _free_in(group)) is not None]

    assert free() == []
    membership.write_text("0::/job/step\n")
    second = ("memory.max", "memory.current", "inactive_file")
    group(root / "job" / "step", *second, ("max", 30, 0))
    group(root / "job", *second, ("1000", 700, 50))
    group(root, *second, ("5000", 1000, 0))
    assert free() == [350, 4000]
    membership.write_text("7:cpu:/elsewhere\n4:memory,hugetlb:/job\n")
    group(
        root / "memory" / "job", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", ("90", 20, 5)
    )
    assert free() == [75]
    monkeypatch.setattr(memory, "control_groups", lambda controller: control_groups(controller, root, membership))
    assert free_memory() == 75


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a stretch of time")
def test_memory_above_is_the_peak_within() -> None:
    outside = np.ones(2**26, np.uint8)  # 64 MiB: held before, and a peak from before is no matter
    with MemoryAbove() as block:
        for _ in range(2):
            with mmap.mmap(-1, 2**25) as taken:  # 32 MiB, one after the other, straight from the system
                for page in range(0, 2**25, 2**12):
                    taken[page] = 1
    assert outside.any()
    assert block.gib is not None
    assert block.gib == pytest.approx(2**25 / 2**30, abs=2**23 / 2**30)
    with MemoryAbove() as block:
        pass
    assert block.gib is not None
    assert block.gib < 2**23 / 2**30


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a peak begin again")
def test_a_peak_begins_again() -> None:
    np.ones(2**28, np.uint8)  # 256 MiB
    before = peak_memory()
    assert before < 1e3
    held = restart_peak_memory()
    assert held is not None
    assert peak_memory() == pytest.approx(held / 2**30, abs=2**24 / 2**30)
    assert peak_memory() < before - 2**27 / 2**30


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="only glibc gives freed memory back on demand",
)
def test_what_was_freed_before_is_not_held() -> None:
    """The same work takes the same memory a second time, though the allocator keeps what it got the first time."""

    def work() -> list[bytes]:
        return [bytes(1000) for _ in range(2**15)]  # 32 MiB in pieces too small for mmap

    kept = work()[-1]  # at the end of the heap, which therefore does not shrink
    with MemoryAbove() as block:
        work()
    assert len(kept) == 1000
    assert block.gib is not None
    assert block.gib == pytest.approx(2**25 / 2**30, rel=0.25)


def test_memory_that_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    with MemoryAbove() as block:
        pass
    assert block.gib is None
