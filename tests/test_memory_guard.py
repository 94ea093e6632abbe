"""Work that stops before memory is used up."""

import pytest
import torch

from segtrain import memory_guard
from segtrain.memory_guard import NotEnoughMemoryError, sparing_memory

CPU = torch.device("cpu")
MIB = 2**20


def test_memory_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.ones(1000, requires_grad=True)
    free = [10_000 * MIB]
    monkeypatch.setattr(memory_guard, "_STRIDE", 1)
    monkeypatch.setattr(memory_guard, "free_memory", lambda device: free[0])
    with sparing_memory(CPU):
        result = (weight * weight).sum()
        free[0] = 200 * MIB
        with pytest.raises(NotEnoughMemoryError):
            result.backward()
    (weight * weight).sum().backward()
