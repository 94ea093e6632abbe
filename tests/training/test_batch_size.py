"""The choice of a batch size."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.data.coco.index import CocoIndex
from segtrain.errors import SegtrainError
from segtrain.memory_guard import NotEnoughMemoryError
from segtrain.training import batch_size
from segtrain.training.batch_size import _agree, _CostlyBatches, choose_batch_size, largest_that_fits
from segtrain.training.costly_images import CostlyImages
from tests.helpers.tiny_runs import unet_run, write_data

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CocoIndex:
    return write_data(tmp_path_factory.mktemp("data"), images=9)


@pytest.mark.parametrize(
    ("seconds", "expected", "tried"),
    [
        ({1: 1.0, 2: 1.6, 4: 2.8, 8: 6.0}, 4, 8),
        ({1: 0.5, 2: 0.9, 4: 1.7, 8: 3.3}, 8, 8),
        ({1: 1.0, 2: 2.3, 4: 1.0, 8: 1.0}, 1, 2),  # slower: no larger one is tried
        ({1: 1.0, 2: 1.5, 4: None}, 2, 2),  # whose memory does not suffice
    ],
)
def test_the_fastest_for_each_image_is_taken(
    seconds: dict[int, float | None],
    expected: int,
    tried: int,
    index: CocoIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sizes = []

    def rehearse(segmenter: Any, gradients: Any, batch: Any, *, sparing: bool = False) -> float:
        took = seconds[len(batch.images)]
        if took is None:
            raise NotEnoughMemoryError
        sizes.append(len(batch.images))
        return 2 * took if sparing else took  # the first one warms up

    monkeypatch.setattr(batch_size, "rehearse", rehearse)
    run = unet_run(index, tmp_path)
    with caplog.at_level(logging.INFO, "segtrain"):
        assert choose_batch_size(run.network(), run.dataset(), reserve=0) == expected
    assert max(sizes) == tried
    assert caplog.messages[0].startswith(f"trainer.batch_size=auto: {expected}, ")
    assert len(caplog.messages) == 1


def test_it_leaves_the_network_as_it_was(index: CocoIndex, tmp_path: Path) -> None:
    run = unet_run(index, tmp_path)
    network = run.network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert choose_batch_size(network, run.dataset(), reserve=0) in (1, 2, 4, 8)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_no_more_than_there_are_images(tmp_path: Path) -> None:
    run = unet_run(write_data(tmp_path, images=2), tmp_path / "run")
    assert choose_batch_size(run.network(), run.dataset(), reserve=0) in (1, 2)


def test_processes_agree() -> None:
    """Those that were stopped by their memory, or gave up, count too."""
    assert _agree([{1: 1.0, 2: 0.9, 4: 0.5}, {1: 1.0, 2: 0.8}], CPU) == 2
    assert _agree([{1: 1.0, 2: 0.6}, {1: 1.0, 2: 1.2}], CPU) == 1
    assert _agree([{12: 0.0}, {11: 0.0}], CUDA) == 11
    for found, device in (([{1: 1.0}, {}], CPU), ([{0: 0.0}], CUDA)):
        with pytest.raises(SegtrainError, match=r"does not hold a step of a single image; lower the size .*max_size"):
            _agree(found, device)


@pytest.mark.parametrize("most", [1, 2, 7, 256])
def test_the_largest_that_fits(most: int) -> None:
    for limit in range(most + 2):
        tried = []

        def fits(count: int, limit: int = limit, tried: list[int] = tried) -> bool:
            tried.append(count)
            return count <= limit

        assert largest_that_fits(fits, most) == min(limit, most)
        assert len(set(tried)) == len(tried)
        assert max(tried) <= min(2 * max(limit, 1), most)


def test_no_more_images_are_loaded_than_are_tried(
    index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unet_run(index, tmp_path)
    images = CostlyImages(run.dataset(), run.network())
    loaded: list[int] = []
    costliest = images.costliest
    monkeypatch.setattr(images, "costliest", lambda count: loaded.append(count) or costliest(count))
    batches = _CostlyBatches(images, 256)
    sizes = [(count, len(batches.first(count).images)) for count in (1, 2, 4, 3, 2, 4)]
    assert all(count == size for count, size in sizes)
    assert loaded == [1, 2, 4]


def test_the_costliest_images_may_be_unreadable(
    index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unet_run(index, tmp_path)
    images = CostlyImages(run.dataset(), run.network())
    costliest = images.costliest
    monkeypatch.setattr(images, "costliest", lambda count: costliest(count) if count > 4 else None)
    assert len(_CostlyBatches(images, 256).first(2).images) == 2
    with pytest.raises(SegtrainError, match="no training image can be read"):
        _CostlyBatches(images, 4).first(2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_cuda_device(index: CocoIndex, tmp_path: Path) -> None:
    run = unet_run(index, tmp_path)
    network = run.network().to(CUDA)
    assert choose_batch_size(network, run.dataset(), reserve=0) == len(run.dataset())
    with pytest.raises(SegtrainError, match="does not hold a step of a single image"):
        choose_batch_size(network, run.dataset(), reserve=torch.cuda.mem_get_info()[1])
