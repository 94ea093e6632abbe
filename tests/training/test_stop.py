"""Training that is stopped or broken off loses nothing, and goes on as if it had not been."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.data.coco.index import CocoIndex
from segtrain.errors import SegtrainError
from segtrain.stopping import Stopped, stop_signals
from segtrain.training.checkpoint import load_checkpoint
from tests.helpers.tiny_runs import Run, unet_run, write_data
from tests.training.test_trainer import assert_same


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CocoIndex:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(index: CocoIndex, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = unet_run(index, tmp_path_factory.mktemp("whole"), changes={"log_every": 4})
    run.fit()
    return run


def state_of(run: Run) -> dict[str, Any]:
    content = torch.load(run.folder / "last.pt", weights_only=True)
    content.pop("minutes")
    for key in ("seconds", "waited"):
        content["training"]["meter"].pop(key)
    return content


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("stop", [2, 3])
def test_a_signal_within_a_step(index: CocoIndex, tmp_path: Path, whole: Run, stop: int, number: int) -> None:
    first = unet_run(index, tmp_path, changes={"log_every": 4})
    trainer = first.trainer()
    take = trainer._train_step

    def step(group: Any) -> None:
        if trainer.state.step == stop - 1:
            os.kill(os.getpid(), number)
        take(group)

    trainer._train_step = step  # type: ignore[method-assign]
    with stop_signals(), pytest.raises(Stopped) as caught:
        trainer.fit()
    assert caught.value.exit_code == 128 + number
    state = load_checkpoint(tmp_path / "last.pt")
    assert state.step == stop
    second = unet_run(index, tmp_path, start=state, changes={"log_every": 4})
    second.fit()
    assert_same(state_of(second), state_of(whole))
    losses = [entry for run in (first, second) for entry in run.curve("train/loss")]
    assert losses == whole.curve("train/loss")  # means of several steps, some before the signal


def test_a_validation_is_abandoned_and_repeated(index: CocoIndex, tmp_path: Path, whole: Run) -> None:
    first = unet_run(index, tmp_path, changes={"log_every": 4})
    trainer = first.trainer()

    def validate(*_: Any) -> dict[str, float]:
        assert load_checkpoint(tmp_path / "last.pt").step == 3
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")

    trainer.validate = validate
    with stop_signals(), pytest.raises(Stopped):
        trainer.fit()
    second = unet_run(index, tmp_path, start=load_checkpoint(tmp_path / "last.pt"), changes={"log_every": 4})
    second.fit()
    assert [step for step, _ in second.validated] == [3, 6]
    assert_same(state_of(second), state_of(whole))


def test_an_error_of_a_validation_loses_no_step(index: CocoIndex, tmp_path: Path) -> None:
    trainer = unet_run(index, tmp_path).trainer()

    def validate(*_: Any) -> dict[str, float]:
        raise SegtrainError("no such image")

    trainer.validate = validate
    with pytest.raises(SegtrainError):
        trainer.fit()
    assert load_checkpoint(tmp_path / "last.pt").step == 3


def test_an_image_that_is_gone_loses_no_step(tmp_path: Path) -> None:
    index = write_data(tmp_path)
    trainer = unet_run(index, tmp_path / "run").trainer()
    gone = [image for batch in list(trainer.loader.epoch(0))[2:] for image in batch.image_ids]
    (tmp_path / f"{gone[0] - 100}.png").unlink()
    with pytest.raises(SegtrainError, match=rf"{gone[0] - 100}\.png"):
        trainer.fit()
    assert load_checkpoint(tmp_path / "run" / "last.pt").step == 2
