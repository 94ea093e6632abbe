"""The breakdown of a step counts the arithmetic as torch's own counter does."""

import breakdown
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

NETWORKS = {
    "convolutions": (
        nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 1)),
        (2, 4, 9, 8),
    ),
    "matrices": (nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3, bias=False)), (5, 4)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("learns", [True, False])
def test_arithmetic_is_counted(name: str, learns: bool) -> None:
    network, shape = NETWORKS[name]

    def run() -> None:
        with torch.inference_mode(not learns):
            result = network(torch.ones(shape)).sum()
            if learns:
                result.backward()

    with FlopCounterMode(display=False) as counter:
        run()
    with breakdown.OperationTimer() as timer:
        run()
    assert sum(count for _, _, count in timer.calls) == counter.get_total_flops() > 0
    kinds = {breakdown.kind_of(operation) for operation, _, count in timer.calls if count}
    expected = {"convolution, forward", "convolution, backward"} if name == "convolutions" else {"matrix product"}
    assert kinds == (expected if learns else expected - {"convolution, backward"})
