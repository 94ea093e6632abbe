"""Processes that load ahead: a small shared memory, and one that dies."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.data import workers
from segtrain.data.coco.index import CocoIndex
from segtrain.data.dataset import CocoDataset
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.loader import TrainingLoader
from segtrain.errors import SegtrainError
from tests.helpers.tiny_runs import write_data


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CocoIndex:
    return write_data(tmp_path_factory.mktemp("data"))


class Deadly(CocoDataset):
    """Data set whose reader is killed at an image."""

    def __getitem__(self, key: tuple[int, int]) -> Any:
        if self.index.images[key[1]].id == 103:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(key)


def loader(index: CocoIndex, count: int, kind: type[CocoDataset] = CocoDataset) -> TrainingLoader:
    reader = ImageReader(Path(index.path).parent, "auto", 10**6)
    return TrainingLoader(kind(index, reader, None, seed=0), batch_size=2, workers=count, seed=0)


@pytest.mark.parametrize(("free", "expected"), [(64 * 2**10, (0, True)), (2**21, (2, False)), (2**30, (2, True))])
def test_a_small_shared_memory_is_avoided(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: tuple[int, bool]
) -> None:
    monkeypatch.setattr(workers, "free_shared_memory", lambda: free)
    assert workers.usable_workers(2, batch_bytes=10**6) == expected
    assert workers.usable_workers(0, batch_bytes=10**6) == (0, True)


def test_batches_through_pipes_are_the_same(index: CocoIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = list(loader(index, 0).epoch(0))
    monkeypatch.setattr(workers, "free_shared_memory", lambda: workers._SEMAPHORES + 1)
    for first, second in zip(plain, loader(index, 1).epoch(0), strict=True):
        assert first.image_ids == second.image_ids
        assert all(map(torch.equal, first.images, second.images))
        for one, other in zip(first.targets, second.targets, strict=True):
            assert torch.equal(one.boxes, other.boxes)
            assert all(map(torch.equal, one.masks, other.masks))


def test_a_worker_that_is_killed_ends_in_one_line(index: CocoIndex) -> None:
    with pytest.raises(SegtrainError, match=r"a process that loads images has died \(DataLoader worker .*resume=auto"):
        list(loader(index, 1, Deadly).epoch(0))
