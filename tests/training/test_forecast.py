"""What a run says before its first step: it changes nothing, and its numbers hold."""

import logging
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segtrain import memory_guard
from segtrain.data.coco.index import CocoIndex
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.memory import peak_memory
from segtrain.training import forecast
from segtrain.training.checkpoint import Checkpoint, load_checkpoint
from segtrain.training.costly_images import CostlyImages, input_sizes, object_counts
from segtrain.training.forecast import Forecast, announce, steps_left, validations_left
from segtrain.training.rehearsal import without_trace
from segtrain.training.trainer import Trainer
from tests.helpers.tiny_networks import tiny
from tests.helpers.tiny_runs import Run, unet_run, write_data

LIMITS = {"epochs": None, "max_steps": 12, "validate_every": None}
GIB = 2**30


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CocoIndex:
    return write_data(tmp_path_factory.mktemp("data"))


def announced(run: Run, trainer: Trainer, **more: Any) -> Forecast | None:
    dataset = run.dataset()
    return announce(
        trainer, dataset, Split("val", run.index, dataset.images), **{"threshold_images": 0, "presets": {}} | more
    )


def random_states() -> list[Any]:
    arrays = np.random.get_state()  # noqa: NPY002
    return [random.getstate(), arrays[1].tolist(), arrays[2:], torch.get_rng_state().tolist()]


def fit(run: Run, steps: int, *, forecast: bool) -> Checkpoint:
    """Train a few steps of a longer run, with or without its forecast."""
    trainer = run.trainer()
    before = random_states()
    assert not forecast or announced(run, trainer) is not None
    assert random_states() == before
    assert all(parameter.grad is None for parameter in trainer.learner.segmenter.parameters())
    trainer.settings = replace(trainer.settings, max_steps=steps)
    trainer.fit()
    return load_checkpoint(run.folder / "last.pt")


@pytest.mark.slow
def test_a_run_is_the_same_to_the_bit_and_so_is_a_resumed_one(index: CocoIndex, tmp_path: Path) -> None:
    """The statistics of its norms learn, and its steps draw."""
    states, curves = [], []
    for told in (False, True):
        first = Run(index, tmp_path / f"first_{told}", changes=LIMITS)
        state = fit(first, 2, forecast=told)
        second = Run(index, tmp_path / f"second_{told}", state, {**LIMITS, "max_steps": 20})
        states.append(fit(second, 4, forecast=told))
        curves.append(first.curve("train/loss") + second.curve("train/loss"))
    assert curves[0] == curves[1]
    assert len(curves[0]) == 4
    for name, value in states[0].model.items():
        assert torch.equal(value, states[1].model[name]), name
    own = [state.training or {} for state in states]
    for name, value in own[0]["model"].items():
        assert torch.equal(value, own[1]["model"][name]), name
    for number, values in own[0]["optimizer"]["state"].items():
        assert all(torch.equal(value, own[1]["optimizer"]["state"][number][key]) for key, value in values.items())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a peak begin again")
def test_the_memory_of_rehearsed_steps_is_not_that_of_the_run(index: CocoIndex, tmp_path: Path) -> None:
    network = unet_run(index, tmp_path).network()
    with without_trace(network):
        np.ones(2**28, np.uint8)  # 256 MiB
        within = peak_memory(network.device)
    assert peak_memory(network.device) < within - 2**27 / 2**30


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 3},
        {"epochs": 5, "validate_every": 2},
        {"epochs": None, "max_steps": 7},
        {"epochs": 4, "max_steps": 11, "validate_every": 2, "accumulate_steps": 2},
        {"epochs": 2, "batch_size": 4, "validate_every": None},
    ],
)
def test_steps_and_validations_are_those_of_the_run(index: CocoIndex, tmp_path: Path, changes: dict[str, Any]) -> None:
    run = unet_run(index, tmp_path, changes=changes)
    trainer = run.trainer()
    steps = steps_left(trainer)
    assert steps is not None
    expected = validations_left(trainer, steps)
    trainer.fit()
    assert trainer.state.step == steps
    assert len(run.validated) == expected
    assert steps_left(trainer) == 0


def test_what_is_left_within_a_run(index: CocoIndex, tmp_path: Path) -> None:
    trainer = unet_run(index, tmp_path, changes={"epochs": 6, "validate_every": 2, "max_steps": None}).trainer()
    trainer.state.epoch, trainer.state.batch, trainer.state.step = 3, 1, 10
    assert steps_left(trainer) == 8
    assert validations_left(trainer, 8) == 2  # after epochs 4 and 6
    trainer.settings = replace(trainer.settings, epochs=None, max_minutes=5.0)
    assert steps_left(trainer) is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a rehearsal take 2 s plus a second for each 4096 pixels, a validation image 3 s; record the batches."""
    batches: list[int] = []

    def rehearse(segmenter: Any, gradients: Any, batch: Any, **_: Any) -> float:
        batches.append(len(batch.images))
        return 2.0 + sum(image.shape[1] * image.shape[2] for image in batch.images) / 4096

    monkeypatch.setattr(forecast, "rehearse", rehearse)
    monkeypatch.setattr(forecast, "timed", lambda work, device: 3.0)
    return batches


def test_seconds_of_a_run(index: CocoIndex, tmp_path: Path, clock: list[int], caplog: pytest.LogCaptureFixture) -> None:
    changes = {"epochs": 100, "validate_every": 10, "accumulate_steps": 2, "workers": 1}
    run = unet_run(index, tmp_path, changes=changes)
    with caplog.at_level(logging.INFO, "segtrain"):
        found = announced(run, run.trainer(), threshold_images=4, presets={"photos": 8.0, "nuclei": 10.0})
    assert found is not None
    assert clock == [2, 2]
    assert (found.steps, found.step, found.minutes) == (200, 8.0, None)  # two batches of two images of 64 x 64
    assert found.validation == 3.0 * (10 * 6 * 2 + 2 * 4)  # images of validations are segmented, and have losses
    assert caplog.messages[0].startswith("200 steps of about 8 s: 27 min, validation 6.4 min, about ")
    assert len(caplog.messages) == 1

    caplog.clear()
    run.changes["epochs"] = 1000
    with caplog.at_level(logging.INFO, "segtrain"):
        announced(run, run.trainer(), presets={"photos": 8.0, "nuclei": 10.0})
    assert caplog.messages[1] == (
        "shorter: trainer.max_minutes=60 is a complete training of an hour; experiment=photos takes about 8 min of "
        "training, on a smaller network"
    )


def test_steps_that_fit_into_minutes(index: CocoIndex, tmp_path: Path, clock: list[int]) -> None:
    run = unet_run(index, tmp_path, changes={"epochs": None, "max_minutes": 10.0, "workers": 1})
    found = announced(run, run.trainer())
    assert found is not None
    assert (found.steps, found.minutes, found.seconds) == (150, 10.0, 600.0)
    assert found.line.startswith("about 150 steps of 4 s in 10 min, validation ")
    run.changes |= {"max_steps": 30}
    found = announced(run, run.trainer())
    assert found is not None
    assert found.minutes is None
    assert found.seconds == 120.0
    assert clock == [2] * 4
    run.changes |= {"max_steps": None, "max_minutes": 0.5}
    found = announced(run, run.trainer())
    assert found is not None
    assert found.line.startswith("at least 7 steps of 4 s at most in 30 s, ")
    assert clock == [2] * 5  # so few steps are not worth a second rehearsal


def test_typical_images_are_timed_where_they_cost_less(tmp_path: Path, clock: list[int]) -> None:
    index = write_data(tmp_path, images=8, sides=[32, 64, 32, 32])
    run = unet_run(index, tmp_path / "run", changes={"epochs": 100, "workers": 1})
    found = announced(run, run.trainer())
    assert found is not None
    assert clock == [2, 2, 2]
    # Twice 64 x 64; of two images, 0.44 large ones on average: 64 x 64 and 32 x 32.
    assert (found.costliest, found.step) == (4.0, 3.25)
    assert found.line.startswith("400 steps of about 3.2 s (4 s with the largest images): 22 min, ")


def test_the_costliest_images_have_most_pixels_and_objects(tmp_path: Path) -> None:
    index = write_data(tmp_path, images=8, sides=[32, 64, 32, 32])
    run = unet_run(index, tmp_path)
    assert input_sizes(index, run.network()).tolist() == 2 * [[32, 32], [64, 64], [32, 32], [32, 32]]
    assert object_counts(index).tolist() == [2, 2, 2, 2, 2, 2, 2, 0]
    drawn = CostlyImages(run.dataset(), run.network()).costliest(2)
    assert drawn is not None
    assert drawn.batch.image_ids == [101, 105]
    assert drawn.pixels == 2 * 64 * 64


def test_a_short_run_says_nothing(index: CocoIndex, tmp_path: Path, clock: list[int]) -> None:
    run = unet_run(index, tmp_path, changes={"epochs": 3})
    assert announced(run, run.trainer()) is None
    assert clock == []


def test_a_run_that_does_not_fit(index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_guard, "_STRIDE", 1)
    monkeypatch.setattr(memory_guard, "free_memory", lambda device: 100 * 2**20)
    run = Run(index, tmp_path, changes=LIMITS, network=lambda: tiny("mobilenet_v2_fpn", norm="frozen"))
    trainer = run.trainer()
    expected = (
        r"^the memory does not hold a step of this run, .* GB are free: image 10\d with 2 objects; image 10\d with 2 "
        r"objects; lower trainer.batch_size, or the size .*; trainer.forecast=false begins in any case$"
    )
    with pytest.raises(SegtrainError, match=expected):
        announced(run, trainer)
    assert all(parameter.grad is None for parameter in trainer.learner.segmenter.parameters())


def test_a_run_that_may_not_fit(
    index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(forecast, "pending_state_bytes", lambda optimizer: 1000 * GIB)
    run = unet_run(index, tmp_path, changes=LIMITS)
    with caplog.at_level(logging.INFO, "segtrain"):
        announced(run, run.trainer())
    if rehearsal_knows_memory():
        assert caplog.messages[1].startswith("the run may not fit the memory: it may take ")


def rehearsal_knows_memory() -> bool:
    return Path("/proc/self/clear_refs").exists()
