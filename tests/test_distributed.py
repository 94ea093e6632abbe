"""Processes that torchrun starts again: what they find in the store that an earlier start has used."""

import sys
from itertools import count

import pytest
from torch.distributed import HashStore

from segtrain import distributed


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> HashStore:
    """The store of torchrun, which is the same for every start of the processes that it starts."""
    kept = HashStore()
    module = sys.modules["torch.distributed.rendezvous"]  # its name in the package is that of the function
    monkeypatch.setattr(module, "rendezvous", lambda address: iter([(kept, 0, 1)]))
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    return kept


def started(monkeypatch: pytest.MonkeyPatch, restarts: int, machines: int) -> tuple[int, str | None]:
    """Join as a new process; return how often this place of the store was used, and the folder that was kept."""
    monkeypatch.setattr(distributed, "_groups", count())
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
    monkeypatch.setenv("GROUP_WORLD_SIZE", str(machines))
    with distributed.joined():
        assert distributed._store is not None
        folder = distributed.kept("folder")
        distributed.keep("folder", "runs/a")
        return distributed._store.add("starts", 1), folder


@pytest.mark.usefixtures("store")
def test_a_start_after_a_failure_finds_what_was_kept_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, restarts=0, machines=1) == (1, None)
    assert started(monkeypatch, restarts=1, machines=1) == (1, "runs/a")


@pytest.mark.usefixtures("store")
def test_machines_that_count_restarts_differently_meet_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, restarts=0, machines=2)[0] == 1
    assert started(monkeypatch, restarts=3, machines=2)[0] == 2
