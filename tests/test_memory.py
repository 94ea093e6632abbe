"""Free memory, and work that stops before it is used up."""

from pathlib import Path

import pytest
import torch

from segtrain import memory
from segtrain.memory import NotEnoughMemoryError, _free_in_cgroups, sparing_memory

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


def test_limits_of_control_groups(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"

    def group(folder: Path, limit: str, used: str, statistic: str, values: tuple[str, int, int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{values[0]}\n")
        (folder / used).write_text(f"{values[1]}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{statistic} {values[2]}\n")

    assert _free_in_cgroups(root, membership) == []
    membership.write_text("0::/job/step\n")
    second = ("memory.max", "memory.current", "inactive_file")
    group(root / "job" / "step", *second, ("max", 30, 0))
    group(root / "job", *second, ("1000", 700, 50))
    group(root, *second, ("5000", 1000, 0))
    assert _free_in_cgroups(root, membership) == [350, 4000]
    membership.write_text("7:cpu:/elsewhere\n4:memory,hugetlb:/job\n")
    group(
        root / "memory" / "job", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", ("90", 20, 5)
    )
    assert _free_in_cgroups(root, membership) == [75]
