"""Schedules against closed formulas; limits; the running means and the averaged weights."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segtrain.errors import SegtrainError
from segtrain.training.learner import EMA, Meter, parameter_groups
from segtrain.training.schedule import Constant, Cosine, Limits, MultiStep
from tests.helpers.tiny_networks import picture, tiny

GRID = np.linspace(0, 1, 41).tolist()


def test_after_the_warm_up_each_shape_is_its_formula() -> None:
    for progress in GRID:
        assert Constant(10, 0.1).factor(progress, 10) == 1
        cosine = 0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * progress))
        assert Cosine(10, 0.1, 0.05).factor(progress, 10) == pytest.approx(cosine)
        steps = 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01
        assert MultiStep(10, 0.1, [0.5, 0.75], 0.1).factor(progress, 10) == pytest.approx(steps)


def test_the_warm_up_is_a_straight_line_times_the_shape() -> None:
    for step in range(12):
        ramp = min(0.1 + 0.9 * step / 10, 1)
        assert Constant(10, 0.1).factor(0.0, step) == pytest.approx(ramp)
        assert MultiStep(10, 0.1, [0.5], 0.1).factor(0.6, step) == pytest.approx(ramp * 0.1)
        assert Cosine(10, 0.1, 0.0).factor(0.5, step) == pytest.approx(ramp * 0.5)
    assert Constant(0, 0.1).factor(0, 0) == 1


def test_a_cosine_ends_where_it_should_and_stays_there() -> None:
    assert Cosine(0, 1, 0.01).factor(1.0, 5) == pytest.approx(0.01)
    assert Cosine(0, 1, 0.01).factor(1.2, 5) == pytest.approx(0.01)


def test_progress_is_that_of_the_nearest_limit() -> None:
    limits = Limits(epochs=10, max_steps=200, max_minutes=5.0)
    assert limits.progress(2.5, 20, 1) == pytest.approx(0.25)
    assert limits.progress(1, 180, 1) == pytest.approx(0.9)
    assert limits.progress(1, 20, 4) == pytest.approx(0.8)
    assert limits.progress(10, 20, 4) == 1
    assert Limits(None, None, 10.0).progress(3, 1000, 2.5) == 0.25
    assert Limits(4, None, None).progress(0, 1000, 100) == 0


@pytest.mark.parametrize("limits", [Limits(0, None, None), Limits(5, 0, None), Limits(None, None, 0.0)])
def test_a_limit_of_nothing_is_reached_at_once(limits: Limits) -> None:
    assert limits.progress(0, 0, 0) == 1


def test_no_limit_is_an_error() -> None:
    with pytest.raises(SegtrainError, match=r"trainer\.epochs, trainer\.max_steps or trainer\.max_minutes"):
        Limits(None, None, None)


def test_the_average_follows_weights_and_statistics() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    ema = EMA(module, 0.6)
    expected = {name: value.double().numpy().copy() for name, value in module.state_dict().items()}
    for update in range(1, 20):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape))
        module(torch.randn(5, 3))  # moves the statistics and counts a batch
        ema.update_parameters(module)
        decay = min(0.6, (1 + update) / (10 + update))
        for name, value in module.state_dict().items():
            counted = name.endswith("num_batches_tracked")
            now = value.double().numpy()
            expected[name] = now.copy() if counted else decay * expected[name] + (1 - decay) * now
    assert ema.updates == 19
    for name, value in ema.module.state_dict().items():
        np.testing.assert_allclose(value.double().numpy(), expected[name], rtol=1e-5, atol=1e-6)
    assert int(ema.module[1].num_batches_tracked) == 19


def test_the_average_is_a_network_of_its_own() -> None:
    """Validation takes it as it is: nothing is swapped, and the optimizer's parameters stay what they are."""
    network = tiny(norm="frozen").train()
    ema = EMA(network, 0.9)
    own = {name: value.clone() for name, value in network.state_dict().items()}
    shared = {value.data_ptr() for value in network.state_dict().values()}
    assert shared.isdisjoint(value.data_ptr() for value in ema.module.state_dict().values())
    image, _ = picture(0, 64, 64, 2)
    before = network.segment([image])[0]
    with torch.no_grad():
        for parameter in ema.module.parameters():
            parameter.zero_()
        for buffer in ema.module.buffers():  # folded statistics too are the average's own
            buffer.zero_()
    assert_same_state(network.state_dict(), own)
    np.testing.assert_array_equal(network.segment([image])[0].boxes, before.boxes)


def test_an_average_goes_on_where_it_was_saved() -> None:
    module = nn.Linear(2, 2)
    first, second = EMA(module, 0.9), EMA(nn.Linear(2, 2), 0.9)
    saved = {name: value + 1 for name, value in first.module.state_dict().items()}
    second.restore(saved, 7)
    assert second.updates == 7
    assert_same_state(second.module.state_dict(), saved)
    second.update_parameters(module)
    decay = 9 / 18
    assert torch.allclose(second.module.bias, decay * saved["bias"] + (1 - decay) * module.bias)


def assert_same_state(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_meter_gives_means_over_steps_and_starts_anew() -> None:
    meter = Meter()
    for step, (a, b) in enumerate([(1.0, 10.0), (3.0, 20.0)]):
        meter.time_step(0.5, waited=0.1)
        meter.add({"a": a, "b": b}, images=2, share=0.5)
        meter.add({"a": a, "b": b + 10}, images=1, share=0.5)
        meter.end_step(gradient_norm=step + 1.0)
    assert meter.last_loss == 33.0
    values = meter.compute_and_reset()
    assert values["train/a"] == 2
    assert values["train/b"] == 20
    assert values["train/loss"] == 22
    assert values["train/gradient_norm"] == 1.5
    assert values["train/images_per_second"] == 6  # six images in two steps of half a second
    assert values["train/data_wait_share"] == pytest.approx(0.2)
    meter.add({"a": 5.0}, images=1, share=1.0)
    meter.end_step(0.0)
    meter.time_step(1.0, waited=0.0)
    assert meter.compute_and_reset()["train/loss"] == 5
    assert math.isnan(Meter().last_loss)


def test_norms_and_biases_take_no_weight_decay() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    module[3].weight.requires_grad_(False)
    decayed, plain = parameter_groups(module)
    assert [id(p) for p in decayed["params"]] == [id(module[0].weight)]
    assert {id(p) for p in plain["params"]} == {
        id(p) for p in (module[0].bias, *module[1].parameters(), module[3].bias)
    }
    assert plain["weight_decay"] == 0
    torch.optim.AdamW([decayed, plain], lr=1e-3, weight_decay=0.1)
