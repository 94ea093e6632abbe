"""Free memory, and work that stops before it is used up."""

from pathlib import Path

import pytest
import torch

from segtrain import memory
from segtrain.control_groups import control_groups
from segtrain.memory import NotEnoughMemoryError, _free_in, free_memory, sparing_memory

MIB = 2**20


def test_memory_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.ones(1000, requires_grad=True)
    free = [10_000 * MIB]
    monkeypatch.setattr(memory, "_STRIDE", 1)
    monkeypatch.setattr(memory, "free_memory", lambda device: free[0])
    with sparing_memory(torch.device("cpu")):
        result = (weight * weight).sum()
        free[0] = 200 * MIB
        with pytest.raises(NotEnoughMemoryError):
            result.backward()
    (weight * weight).sum().backward()


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
    assert free_memory(torch.device("cpu")) == 75
