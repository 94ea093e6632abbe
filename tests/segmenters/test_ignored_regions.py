"""Candidates in ignored regions are no background; everything else is sampled and learned as without them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import box_iou

from segtrain.segmenters.mask_rcnn.ignored_regions import IgnoredRegions, leave_out_ignored
from segtrain.segmenters.mask_rcnn.roi_align import FeaturePyramid
from segtrain.segmenters.mask_rcnn.rois import sample_rois
from segtrain.segmenters.mask_rcnn.rpn import proposal_losses, rpn_outputs_at, sample_anchors
from segtrain.targets import Target
from tests.helpers.lively_networks import ALL_SAMPLED
from tests.helpers.tiny_networks import picture, tiny
from tests.segmenters.test_rois import random_boxes
from tests.segmenters.test_rpn import STRIDES, anchors_of, maps, network

FINE = 4  # steps per pixel of the brute-force grid


def ignoring(*planes: np.ndarray) -> Target:
    """Target of these regions alone."""
    boxes, crops = [], []
    for plane in planes:
        rows, columns = np.nonzero(plane)
        x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        boxes.append([x0, y0, x1, y1])
        crops.append(torch.from_numpy(plane[y0:y1, x0:x1].astype(np.uint8)))
    nothing = Target.empty()
    return Target(nothing.boxes, nothing.labels, [], torch.tensor(np.array(boxes), dtype=torch.float32), crops)


def share_by_counting(plane: np.ndarray, box: list[int]) -> float:
    """Share of a box, in steps of a fine grid, that lies in a plane which is 0 outside of the image."""
    pad = 100
    fine = np.pad(np.kron(plane, np.ones((FINE, FINE))), pad)
    x0, y0, x1, y1 = (edge + pad for edge in box)
    return float(fine[y0:y1, x0:x1].mean())


@given(st.integers(0, 2**32 - 1), st.sampled_from([(1.0, 1.0), (0.5, 2.0), (1.7, 0.9)]))
def test_shares_are_exact(seed: int, scale: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    planes = [rng.random(rng.integers(1, 12, 2)) < 0.4 for _ in range(2)]
    size = np.max([plane.shape for plane in planes], axis=0)
    full = [np.pad(plane, [(0, s - n) for s, n in zip(size, plane.shape, strict=True)]) for plane in planes]
    full = [plane for plane in full if plane.any()] or [np.ones(size, bool)]
    corners = rng.integers(-40, 60, (20, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 50, (20, 2))], axis=1)
    ratio = torch.tensor([*scale, *scale])
    regions = IgnoredRegions.of(ignoring(*full), ratio)
    shares = regions.shares(torch.tensor(boxes / FINE, dtype=torch.float64) * ratio)
    expected = [share_by_counting(np.logical_or.reduce(full), box) for box in boxes.tolist()]
    np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_a_box_without_area_has_no_share() -> None:
    regions = IgnoredRegions.of(ignoring(np.ones((4, 4))), torch.ones(4))
    assert regions.shares(torch.tensor([[1.0, 1, 1, 3], [2, 2, 2, 2]])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("box", "held"),
    [
        ([10, 10, 30, 30], True),  # exactly the region's box, of which its mask fills a twentieth
        ([12, 10, 32, 30], True),  # near it
        ([19, 19, 21, 21], True),  # inside of the mask
        ([24, 10, 44, 30], False),  # beside it
        ([0, 0, 80, 80], False),  # around it
        ([10, 20, 20, 30], False),  # a corner of its box where there is nothing
    ],
)
def test_what_is_held(box: list[float], held: bool) -> None:
    plane = np.zeros((90, 90), bool)
    plane[10:30, 10:30] = np.eye(20) > 0
    plane[19:21, 19:21] = True
    regions = IgnoredRegions.of(ignoring(plane), torch.ones(4))
    assert regions.hold(torch.tensor([box], dtype=torch.float32), 0.5).tolist() == [held]


def held_slowly(boxes: Tensor, planes: list[np.ndarray], matched: float) -> np.ndarray:
    """Which boxes are held, by a loop over boxes and pixels; whole pixels only."""
    found = []
    union = np.logical_or.reduce(planes)
    tight = ignoring(*planes).ignored_boxes
    for box in boxes:
        x0, y0, x1, y1 = box.tolist()
        shared = 0.0
        for y, x in np.argwhere(union).tolist():
            shared += max(0.0, min(x1, x + 1) - max(x0, x)) * max(0.0, min(y1, y + 1) - max(y0, y))
        share = shared / ((x1 - x0) * (y1 - y0))
        found.append(share >= 0.5 or bool((box_iou(box[None], tight) >= matched).any()))
    return np.array(found)


def region_planes() -> list[np.ndarray]:
    ragged, block = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    ragged[8:40, 4:30] = np.random.default_rng(0).random((32, 26)) < 0.7
    block[30:60, 34:62] = True
    return [ragged, block]


def test_rpn_losses_are_torchvisions_on_the_other_anchors() -> None:
    rpn = network()
    features = maps(2)
    anchors = torch.cat(anchors_of(rpn, features))
    boxes = [torch.tensor([[3.0, 4, 20, 30], [0, 0, 9, 9]]), torch.zeros(0, 4)]
    planes = region_planes()
    ignored = [IgnoredRegions.of(ignoring(*planes), torch.ones(4)), None]
    held = held_slowly(anchors, planes, rpn.proposal_matcher.low_threshold)
    torch.manual_seed(5)
    labels, matched = rpn.assign_targets_to_anchors([anchors] * 2, [{"boxes": b} for b in boxes])
    excluded = torch.from_numpy(held) & (labels[0] == 0)
    assert 10 < excluded.sum() < len(anchors) / 2
    labels[0][excluded] = -1
    expected = rpn.compute_loss(
        *concat_box_prediction_layers(*rpn.head(features)), labels, rpn.box_coder.encode(matched, [anchors] * 2)
    )
    torch.manual_seed(5)
    image, anchor, true = sample_anchors(rpn, anchors, boxes, ignored)
    logits, deltas = rpn_outputs_at(rpn.head, FeaturePyramid(features, STRIDES), image, anchor)
    found = proposal_losses(rpn, logits, deltas, anchors[anchor], true)
    torch.testing.assert_close(tuple(found.values()), expected)
    assert not excluded[anchor[image == 0]].any()


@pytest.mark.parametrize("objects", [0, 3])
def test_no_proposal_in_a_region_is_background(objects: int) -> None:
    heads = tiny(rois_per_image=1000, positive_fraction=0.5).roi_heads
    generator = torch.Generator().manual_seed(0)
    true = random_boxes(objects, generator)
    labels = torch.ones(objects, dtype=torch.int64)
    proposals = torch.cat([true + 1, random_boxes(300, generator)])
    planes = region_planes()
    regions = IgnoredRegions.of(ignoring(*planes), torch.ones(4))
    (plain, held) = (sample_rois(heads, [proposals], [true], [labels], [given]) for given in (None, regions))
    background = plain.boxes[0][plain.labels == 0]
    kept = ~held_slowly(background, planes, heads.proposal_matcher.low_threshold)
    assert 0 < kept.sum() < len(kept)
    assert torch.equal(held.boxes[0][held.labels == 0], background[torch.from_numpy(kept)])
    assert torch.equal(held.boxes[0][held.labels > 0], plain.boxes[0][plain.labels > 0])


def test_objects_in_a_region_stay_objects() -> None:
    regions = IgnoredRegions.of(ignoring(np.ones((9, 9))), torch.ones(4))
    boxes = torch.tensor([[0.0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 6, 6]])
    assert leave_out_ignored(torch.tensor([2, -1, 0]), boxes, regions, 0.5).tolist() == [2, -1, -1]
    assert leave_out_ignored(torch.tensor([2, -1, 0]), boxes, None, 0.5).tolist() == [2, -1, 0]


@pytest.mark.parametrize("objects", [0, 3])
def test_losses_are_finite_without_any_background(objects: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IgnoredRegions, "hold", lambda _, boxes, matched: torch.ones(len(boxes), dtype=torch.bool))
    image, target = picture(0, 96, 96, objects)
    whole = ignoring(np.ones((96, 96)))
    target = Target(target.boxes, target.labels, target.masks, whole.ignored_boxes, whole.ignored_masks)
    model = tiny(**ALL_SAMPLED).train()
    losses = model.losses([image], [target])
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert (sum(losses.values()) > 0) == (objects > 0)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_scaled_regions_stay_where_they_are() -> None:
    """At twice the size, the same anchors of the image are left out."""
    plane = np.zeros((40, 60), bool)
    plane[5:30, 10:45] = True
    boxes = torch.tensor([[10.0, 5, 45, 30], [0, 0, 20, 20], [12, 8, 20, 20], [40, 25, 60, 40]])
    found = [
        IgnoredRegions.of(ignoring(plane), torch.tensor(ratio)).hold(boxes * torch.tensor(ratio), 0.3).tolist()
        for ratio in ([1.0] * 4, [2.0] * 4, [0.5, 1.5, 0.5, 1.5])
    ]
    assert found[0] == found[1] == found[2] == [True, False, True, False]
