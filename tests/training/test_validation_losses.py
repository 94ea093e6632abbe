"""Losses of validation images: those of training on the images as they are, and without a trace in the training."""

from pathlib import Path

import pytest
import torch

from segtrain.data.images.image_reader import ImageReader
from segtrain.data.splits import Split
from segtrain.metrics.registry import METRICS
from segtrain.segmenters import Trainable
from segtrain.training.patience import Monitor
from segtrain.training.validation import Validation
from segtrain.training.validation_charts import Validated
from tests.helpers.tiny_networks import CLASSES, tiny
from tests.helpers.tiny_runs import Run, write_data
from tests.helpers.unet import UNet


def unseen(done: Validated) -> None:
    """Show nothing."""


def test_they_are_the_losses_of_one_batch_of_all_images(tmp_path: Path) -> None:
    """Of a network that looks at every anchor and region, so that nothing is drawn."""
    index = write_data(tmp_path, images=4, sides=(64,))
    network = tiny(rpn_anchors_per_image=4000, rois_per_image=100, positive_fraction=1.0)
    split = Split("val", index, ImageReader(tmp_path, exif="auto", max_pixels=10**6))
    found = Validation(split, 10, 0.5, unseen, losses=True)(network.train(), 1)
    assert network.training
    dataset = Run(index, tmp_path).dataset()
    samples = [dataset[(0, position)] for position in range(4)]
    with torch.no_grad():
        terms = network.eval().losses([s.image for s in samples], [s.target for s in samples])  # type: ignore[union-attr]
    for name, value in terms.items():
        assert found[name] == pytest.approx(float(value), rel=1e-5), name
    assert found["loss"] == pytest.approx(sum(map(float, terms.values())), rel=1e-5)


@pytest.mark.parametrize("network", [lambda: tiny(norm="batch"), lambda: UNet(CLASSES, width=4)])
def test_they_repeat_themselves_and_leave_no_trace(tmp_path: Path, network: type[Trainable]) -> None:
    index = write_data(tmp_path, images=3)
    split = Split("val", index, ImageReader(tmp_path, exif="auto", max_pixels=10**6))
    segmenter, validation = network().train(), Validation(split, 10, 0.5, unseen, losses=True, seed=3)
    torch.manual_seed(5)
    before, state = {n: v.clone() for n, v in segmenter.state_dict().items()}, torch.get_rng_state()
    first, second = validation(segmenter, 1), validation(segmenter, 2)
    assert first == pytest.approx(second, abs=0, nan_ok=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())
    assert all(parameter.grad is None for parameter in segmenter.parameters())
    without = Validation(split, 10, 0.5, unseen)(segmenter, 1)
    assert without == pytest.approx({name: first[name] for name in without}, abs=0, nan_ok=True)


def test_patience_can_look_at_each_validated_metric() -> None:
    assert set(Monitor.__args__) == {"loss", *(metric.key for metric in METRICS if metric.validated)}  # type: ignore[attr-defined]
