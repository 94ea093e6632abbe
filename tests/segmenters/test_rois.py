"""Draws, sampled regions and the box head's losses are torchvision's."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.roi_heads import fastrcnn_loss

from segtrain.segmenters.mask_rcnn.balanced_sampling import sample_balanced
from segtrain.segmenters.mask_rcnn.rois import box_losses, sample_rois
from tests.helpers.tiny_networks import tiny


@given(
    st.integers(0, 25).flatmap(
        lambda width: st.lists(st.lists(st.integers(-1, 3), min_size=width, max_size=width), min_size=1, max_size=3)
    ),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_draws_are_torchvisions(labels: list[list[int]], count: int, fraction: float) -> None:
    table = torch.tensor(labels, dtype=torch.int64).reshape(len(labels), -1)
    torch.manual_seed(3)
    draws = sample_balanced(table, count, fraction)
    torch.manual_seed(3)
    expected = BalancedPositiveNegativeSampler(count, fraction)(list(table))
    for found, masks in zip((draws.objects, draws.background), expected, strict=True):
        for mine, theirs in zip(found, torch.where(torch.stack(masks)), strict=True):
            assert torch.equal(mine, theirs)
    assert draws.object_counts == [int(mask.sum()) for mask in expected[0]]
    assert draws.counts == [int(a.sum() + b.sum()) for a, b in zip(*expected, strict=True)]


def random_boxes(count: int, generator: torch.Generator) -> Tensor:
    corners = torch.rand(count, 2, generator=generator) * 60
    return torch.cat([corners, corners + 4 + torch.rand(count, 2, generator=generator) * 30], dim=1)


def test_regions_and_losses_are_torchvisions() -> None:
    """An image without objects in the middle, and proposals near objects as well as elsewhere."""
    heads = tiny(rois_per_image=16, positive_fraction=0.5).roi_heads
    generator = torch.Generator().manual_seed(0)
    boxes = [random_boxes(count, generator) for count in (5, 0, 3)]
    labels = [torch.arange(len(true)) % 2 + 1 for true in boxes]
    proposals = [
        torch.cat([true + torch.rand(true.shape, generator=generator) * 4, random_boxes(30, generator)])
        for true in boxes
    ]
    torch.manual_seed(1)
    regions = sample_rois(heads, proposals, boxes, labels, [None] * len(boxes))
    torch.manual_seed(1)
    targets = [{"boxes": true, "labels": label, "masks": ()} for true, label in zip(boxes, labels, strict=True)]
    expected, owners, expected_labels, box_targets = heads.select_training_samples(proposals, targets)

    # In an image objects stand first; torchvision leaves all in the order of the proposals.
    order = [label.eq(0).argsort(stable=True) for label in expected_labels]
    shown = [int((label > 0).sum()) for label in expected_labels]
    assert shown[1] == 0
    assert min(shown[0], shown[2]) > 1
    for image, places in enumerate(order):
        assert torch.equal(regions.boxes[image], expected[image][places])
        assert torch.equal(regions.positive_boxes[image], expected[image][places[: shown[image]]])
        assert torch.equal(regions.matched[image], owners[image][places[: shown[image]]])
    assert torch.equal(regions.labels, torch.cat([e[o] for e, o in zip(expected_labels, order, strict=True)]))
    assert torch.equal(regions.positive, torch.where(regions.labels > 0)[0])

    count = len(regions.labels)
    logits, deltas = torch.randn(count, 3, generator=generator), torch.randn(count, 12, generator=generator)
    sizes = [len(places) for places in order]
    ordered = [target[places] for target, places in zip(box_targets, order, strict=True)]
    torch.testing.assert_close(
        tuple(box_losses(regions, logits, deltas).values()),
        fastrcnn_loss(logits, deltas, list(torch.split(regions.labels, sizes)), ordered),
    )
