"""Proposals, matches and the proposal head's sampled answers are torchvision's."""

from functools import partial
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import (
    AnchorGenerator,
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import batched_nms, box_iou

from segtrain.segmenters.mask_rcnn import rpn
from segtrain.segmenters.mask_rcnn.roi_align import FeaturePyramid
from segtrain.segmenters.mask_rcnn.rpn import (
    _suppress_in_threads,
    _suppress_together,
    match_anchors,
    proposal_losses,
    rpn_outputs_at,
    sample_anchors,
    select_proposals,
)

CHANNELS = 6
SHAPES = ((9, 7), (5, 4), (1, 2))
STRIDES = (8, 16)  # regions are pooled from fewer levels than proposals come from


def network(depth: int = 1, **changes: Any) -> RegionProposalNetwork:
    torch.manual_seed(0)
    anchors = AnchorGenerator(((8,), (16,), (32,)), ((0.5, 1.0, 2.0),) * 3)
    counts = {"training": 30, "testing": 12}
    head = RPNHead(CHANNELS, 3, conv_depth=depth)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    arguments = {
        "fg_iou_thresh": 0.7, "bg_iou_thresh": 0.3, "batch_size_per_image": 16, "positive_fraction": 0.5,
        "pre_nms_top_n": counts, "post_nms_top_n": {"training": 20, "testing": 9}, "nms_thresh": 0.6,
    }  # fmt: skip
    return RegionProposalNetwork(anchors, head, **(arguments | changes))


def maps(batch: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, CHANNELS, *shape, generator=generator) for shape in SHAPES]


def anchors_of(rpn: RegionProposalNetwork, features: list[Tensor]) -> list[Tensor]:
    (anchors,) = rpn.anchor_generator(ImageList(torch.zeros(1, 3, 72, 56), [(72, 56)]), features)
    return list(anchors.split([h * w * 3 for h, w in SHAPES]))


boxes_strategy = st.lists(st.tuples(*[st.integers(0, 20)] * 4), min_size=1, max_size=12)


def as_boxes(values: list[tuple[int, ...]]) -> Tensor:
    corners = torch.tensor(values, dtype=torch.float32).reshape(-1, 4)
    return torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1)  # some are empty, many are equal


@given(boxes_strategy, boxes_strategy, st.integers(1, 40))
def test_matches_are_torchvisions(true: list[tuple[int, ...]], anchors: list[tuple[int, ...]], pairs: int) -> None:
    boxes, candidates = as_boxes(true), as_boxes(anchors)
    boxes[:, 2:] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rpn, "_PAIRS", pairs)  # many passes over few boxes
        nothing, found = match_anchors(candidates, [boxes[:0], boxes], 0.3, 0.7)
    assert (nothing == rpn.BELOW).all()
    quality = box_iou(boxes, candidates)
    expected = Matcher(0.7, 0.3, allow_low_quality_matches=True)(quality)
    # Of several boxes with the same overlap either is right.
    assert torch.equal(found.clamp(max=0), expected.clamp(max=0))
    both = found >= 0
    places = torch.arange(len(candidates))[both]
    assert torch.equal(quality[found[both], places], quality[expected[both], places])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("min_size", [1e-3, 9.0])
@pytest.mark.parametrize("plain", [False, True])
def test_proposals_are_torchvisions(training: bool, min_size: float, plain: bool) -> None:
    """On a plain image as well, where all scores of a level and a kind of anchor are equal."""
    rpn = network().train(training)
    rpn.min_size = min_size
    features = [torch.ones_like(level) for level in maps(3)] if plain else maps(3)
    sizes = [(72, 56), (40, 50), (64, 30)]
    objectness, deltas = rpn.head(features)
    anchors = anchors_of(rpn, features)
    found = select_proposals(rpn, objectness, deltas, anchors, sizes)
    per_level = [h * w * 3 for h, w in SHAPES]
    logits, offsets = concat_box_prediction_layers(objectness, deltas)
    decoded = rpn.box_coder.decode(offsets.detach(), [torch.cat(anchors)] * 3).view(3, -1, 4)
    expected, _ = rpn.filter_proposals(decoded, logits, sizes, per_level)
    assert [len(boxes) for boxes in found] == [len(boxes) for boxes in expected]
    assert all(len(boxes) for boxes in found)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("method", [_suppress_together, partial(_suppress_in_threads, wanted=60)])
def test_suppression_stays_within_image_and_group(method: Any) -> None:
    torch.manual_seed(0)
    corners = torch.rand(2, 60, 2) * 20
    boxes = torch.cat([corners, corners + 8], dim=-1)
    scores = torch.rand(2, 60)
    groups = [10, 0, 30, 20]
    kept = method(boxes, scores, groups, 0.4)
    numbers = torch.repeat_interleave(torch.arange(4), torch.tensor(groups))
    for image in range(2):
        expected = torch.zeros(60, dtype=torch.bool)
        expected[batched_nms(boxes[image], scores[image], numbers, 0.4)] = True
        assert torch.equal(kept[image], expected)


@pytest.mark.parametrize("wanted", [1, 3, 10, 200])
def test_the_best_that_are_kept_do_not_depend_on_how_many_are_wanted(wanted: int) -> None:
    """The best hundred of an image are one and the same box."""
    torch.manual_seed(1)
    corners = torch.rand(2, 200, 2) * 40
    corners[0, :100] = corners[0, 0]
    boxes, scores = torch.cat([corners, corners + 8], dim=-1), torch.rand(2, 200)
    scores[0, :100] += 1
    every = _suppress_in_threads(boxes, scores, [120, 80], 0.3, 200)
    some = _suppress_in_threads(boxes, scores, [120, 80], 0.3, wanted)
    assert (some <= every).all()
    for kept, all_kept, score in zip(some, every, scores, strict=True):
        best = score.masked_fill(~all_kept, -1).topk(min(wanted, int(all_kept.sum()))).indices
        assert kept[best].all()


def test_a_forked_child_has_threads_of_its_own() -> None:
    boxes, scores = torch.tensor([[[0.0, 0, 5, 5], [0, 0, 5, 5]]]), torch.tensor([[0.9, 0.8]])
    assert _suppress_in_threads(boxes, scores, [2], 0.5, 2).tolist() == [[True, False]]
    process = get_context("fork").Process(target=_suppress_in_threads, args=(boxes, scores, [2], 0.5, 2))
    process.start()
    process.join(20)
    if process.is_alive():
        process.kill()
    assert process.exitcode == 0


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_sampled_answers_and_their_gradients_are_those_of_the_whole_head(depth: int) -> None:
    """At every anchor of every level, borders and a map of one row included."""
    head = network(depth).head
    dense_features, sparse_features = ([f.requires_grad_() for f in maps(2)] for _ in range(2))
    logits, deltas = concat_box_prediction_layers(*head(dense_features))
    count = logits.numel() // 2
    image, anchor = torch.arange(2).repeat_interleave(count), torch.arange(count).repeat(2)
    weight = torch.randn(2 * count, 1)
    results = []
    for features, values in ((dense_features, (logits, deltas)), (sparse_features, None)):
        own, offsets = values or rpn_outputs_at(head, FeaturePyramid(features, STRIDES), image, anchor)
        head.zero_grad()
        ((own.reshape(-1, 1) + offsets) * weight).sum().backward()
        gradients = [f.grad for f in features] + [p.grad.clone() for p in head.parameters()]
        results.append([own.flatten(), offsets, *gradients])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_losses_are_torchvisions() -> None:
    """With an image without objects in the middle."""
    rpn = network()
    features = maps(3)
    anchors = torch.cat(anchors_of(rpn, features))
    boxes = [torch.tensor([[3.0, 4, 20, 30], [0, 0, 9, 9]]), torch.zeros(0, 4), torch.tensor([[30.0, 30, 50, 70]])]
    torch.manual_seed(5)
    labels, matched = rpn.assign_targets_to_anchors([anchors] * 3, [{"boxes": b} for b in boxes])
    expected = rpn.compute_loss(
        *concat_box_prediction_layers(*rpn.head(features)), labels, rpn.box_coder.encode(matched, [anchors] * 3)
    )
    torch.manual_seed(5)
    image, anchor, true = sample_anchors(rpn, anchors, boxes, [None] * len(boxes))
    logits, deltas = rpn_outputs_at(rpn.head, FeaturePyramid(features, STRIDES), image, anchor)
    found = proposal_losses(rpn, logits, deltas, anchors[anchor], true)
    torch.testing.assert_close(tuple(found.values()), expected)
    assert list(found) == ["loss_objectness", "loss_rpn_box_reg"]
    assert len(true) > 2
