"""Detections equal torchvision's ``postprocess_detections``."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads

from segtrain.segmenters.mask_rcnn.model import select_detections

SIZE = (90, 120)


def heads(min_score: float, limit: int) -> RoIHeads:
    parts = [nn.Identity() for _ in range(3)]
    return RoIHeads(*parts, 0.5, 0.5, 512, 0.25, None, min_score, 0.5, limit)


def outputs(seed: int, regions: int, classes: int, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, deltas and proposals, some of which shrink to nothing or leave the image."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(regions, 2, generator=generator) * torch.tensor([110.0, 80.0])
    proposals = torch.cat([corner, corner + torch.rand(regions, 2, generator=generator) * 40], dim=1)
    logits = torch.randn(regions, classes + 1, generator=generator) * spread
    deltas = torch.randn(regions, 4 * (classes + 1), generator=generator) * 3
    return logits, deltas, proposals


def assert_same(network: RoIHeads, logits: Tensor, deltas: Tensor, proposals: Tensor) -> int:
    ours = select_detections(logits, deltas, proposals, SIZE, network)
    theirs = network.postprocess_detections(logits, deltas, [proposals], [SIZE])
    for mine, (expected,) in zip(ours, theirs, strict=True):
        assert mine.dtype == expected.dtype
        torch.testing.assert_close(mine, expected, rtol=0, atol=0)
    return len(ours[0])


@given(
    st.integers(0, 10**6),
    st.integers(0, 60),
    st.sampled_from([1, 2, 80]),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.sampled_from([1, 7, 1000]),
    st.sampled_from([0.5, 3.0]),
)
def test_any_outputs(seed: int, regions: int, classes: int, min_score: float, limit: int, spread: float) -> None:
    assert assert_same(heads(min_score, limit), *outputs(seed, regions, classes, spread)) <= limit


def test_more_candidates_than_torchvision_suppresses_at_once() -> None:
    assert assert_same(heads(0.0, 5000), *outputs(0, 200, 20, 1.0)) > 1000


@pytest.mark.parametrize("limit", [3, 100])
def test_only_so_many(limit: int) -> None:
    found = assert_same(heads(0.05, limit), *outputs(1, 300, 5, 3.0))
    assert found == limit


def test_a_score_at_the_threshold_is_too_low() -> None:
    logits, deltas = torch.zeros(4, 2), torch.zeros(4, 8)
    proposals = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50], [60, 60, 70, 70]])
    logits[0, 1] = 1e-3
    assert assert_same(heads(0.5, 100), logits, deltas, proposals) == 1


def test_nothing_is_likely_or_all_is_not_a_number() -> None:
    logits, deltas, proposals = outputs(2, 20, 3, 1.0)
    assert assert_same(heads(1.0, 100), logits, deltas, proposals) == 0
    assert assert_same(heads(0.05, 100), logits * float("nan"), deltas, proposals) == 0
