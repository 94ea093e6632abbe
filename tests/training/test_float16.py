"""Training in float16 with scaled losses, on the CPU."""

import logging
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segtrain.benchmark.checkpoints import EvaluatedCheckpoint
from segtrain.data.coco.index import CocoIndex
from segtrain.errors import SegtrainError
from segtrain.segmenters import Trainable
from segtrain.training.checkpoint import load_checkpoint, load_segmenter
from segtrain.training.trainer import Trainer
from tests.helpers.tiny_networks import CLASSES, tiny
from tests.helpers.tiny_runs import Run, checkpoint, write_data
from tests.helpers.unet import UNet


class HalfUNet(UNet):
    """Its logits and their gradients pass through float16; the CPU would take a minute to convolve in it."""

    @property
    def product_dtype(self) -> torch.dtype:
        return torch.float16

    def autocast(self) -> AbstractContextManager[None]:
        return nullcontext()

    def logits(self, image: Tensor) -> Tensor:
        return super().logits(image).half().float()


def half() -> Trainable:
    torch.manual_seed(0)
    return HalfUNet(CLASSES, width=4)


def full() -> Trainable:
    torch.manual_seed(0)
    return UNet(CLASSES, width=4)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CocoIndex:
    return write_data(tmp_path_factory.mktemp("data"))


def with_scale(trainer: Trainer, scale: float, **changes: Any) -> Trainer:
    scaler = trainer.learner.gradients.scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": scale, **changes})
    return trainer


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.learner.segmenter.state_dict().items()}


def test_it_learns_as_float32_does(index: CocoIndex, tmp_path: Path) -> None:
    changes = {"validate_every": None, "ema_decay": None}
    runs = [
        Run(index, tmp_path / name, changes=changes, network=network) for name, network in (("h", half), ("f", full))
    ]
    for run in runs:
        with_scale(run.trainer(), 1024.0).fit() if run.network is half else run.fit()
    for name in ("train/loss", "train/gradient_norm"):
        curves = [run.curve(name) for run in runs]
        assert curves[0] == pytest.approx(curves[1], rel=0.02)
        assert curves[0] != curves[1]
    assert runs[0].curve("train/loss_scale") == [1024.0] * 6
    assert not runs[1].curve("train/loss_scale")


def test_a_scale_that_is_too_large_is_halved_and_stops_nothing(
    index: CocoIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(index, tmp_path, changes={"max_steps": 5, "validate_every": None, "on_nan": "stop"}, network=half)
    trainer = with_scale(run.trainer(), 2.0**40)
    before = weights_of(trainer)
    with caplog.at_level(logging.INFO, "segtrain"):
        trainer.fit()
    assert trainer.learner.loss_scale == 2.0**35
    assert trainer.state.step == 5
    after = weights_of(trainer)
    assert all(torch.equal(after[name], value) for name, value in before.items() if "num_batches" not in name)
    lines = [record.message for record in caplog.records if "float16" in record.message]
    assert lines[0] == "step 0 left out: its gradient exceeds float16; losses count 5.49756e+11 times from here on"
    assert len(lines) == 5


def test_the_scale_that_follows_is_said(index: CocoIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(index, tmp_path, changes={"max_steps": 1, "validate_every": None}, network=half)
    trainer = with_scale(run.trainer(), 2.0**40, backoff_factor=0.25)
    with caplog.at_level(logging.INFO, "segtrain"):
        trainer.fit()
    (line,) = [record.message for record in caplog.records if "float16" in record.message]
    assert line.endswith(f"losses count {2.0**38:g} times from here on")


def test_a_gradient_that_no_scale_can_mend_ends_training(index: CocoIndex, tmp_path: Path) -> None:
    run = Run(index, tmp_path, changes={"ema_decay": None}, network=half)
    trainer = with_scale(run.trainer(), 1.0)
    with torch.no_grad():
        next(trainer.learner.segmenter.parameters()).mul_(1e4)
    hook = next(trainer.learner.segmenter.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(SegtrainError, match="the gradient is not finite at step 0"):
        trainer._train_step(next(iter(trainer._batches_of_steps()))[1])
    hook.remove()


def test_a_resumed_run_goes_on_with_its_scale_to_the_bit(index: CocoIndex, tmp_path: Path) -> None:
    changes = {"validate_every": None, "checkpoint_minutes": 1e-9}
    whole = Run(index, tmp_path / "whole", changes=changes, network=half)
    trainer = with_scale(whole.trainer(), 2.0**22, growth_interval=2)  # too large at first, and growing again later
    save = trainer._save_last

    def save_and_copy() -> None:
        save()
        if trainer.state.step == 4:
            shutil.copy(tmp_path / "whole" / "last.pt", tmp_path / "fourth.pt")

    trainer._save_last = save_and_copy  # type: ignore[method-assign]
    trainer.fit()
    second = Run(index, tmp_path / "second", load_checkpoint(tmp_path / "fourth.pt"), changes, network=half)
    second.fit()
    states = [load_checkpoint(run.folder / "last.pt") for run in (whole, second)]
    assert states[0].training is not None
    assert states[1].training is not None
    assert len(set(whole.curve("train/loss_scale"))) > 2
    assert states[0].training["scaler"] == states[1].training["scaler"]
    assert all(torch.equal(states[0].model[name], value) for name, value in states[1].model.items())


def test_its_checkpoint_computes_in_float32_on_the_cpu(tmp_path: Path) -> None:
    checkpoint(precision="fp16", model=tiny().state_dict()).save(tmp_path / "best.pt")
    segmenter = load_segmenter(tmp_path / "best.pt")
    assert segmenter.precision == "fp16"
    assert segmenter.product_dtype == torch.float32
    weights = EvaluatedCheckpoint.load(tmp_path / "best.pt")
    assert weights.precision(None, "cpu") == "fp32"
    assert weights.precision(None, "cuda:0") == "fp16"
