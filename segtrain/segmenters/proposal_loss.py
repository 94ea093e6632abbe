"""What the proposal network learns from: a few sampled anchors, and the head's answers at those alone.

torchvision runs the head's convolution over every place of the pyramid and backwards through all of it, although the
loss looks at 256 anchors an image: the gradient is zero elsewhere. Here proposals come from a pass without gradients,
and the loss from a second one over the 3x3 surroundings of the sampled places. Values and gradients are the same.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from segtrain.segmenters.balanced_draws import boxes_of, draw_balanced
from segtrain.segmenters.matching import BETWEEN, match_anchors
from segtrain.segmenters.roi_align import Pyramid
from segtrain.segmenters.transfer import send


def sample_anchors(
    rpn: RegionProposalNetwork, anchors: Tensor, boxes: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the anchors of a batch that the loss looks at, as torchvision does, from torch's global generator.

    Args:
        rpn: its thresholds and its sampler.
        anchors: (A, 4) xyxy.
        boxes: (G, 4) xyxy for each of the B images, the true ones in pixels of the input.

    Returns:
        (S,) the image of each, (S,) its place among the anchors, and (P, 4) the true boxes of the first P of them; the
        others are background.
    """
    matcher = rpn.proposal_matcher
    match = match_anchors(anchors, boxes, matcher.low_threshold, matcher.high_threshold)
    labels = torch.where(match >= 0, 1, torch.where(match == BETWEEN, -1, 0))
    sampler = rpn.fg_bg_sampler
    draws = draw_balanced(labels, sampler.batch_size_per_image, sampler.positive_fraction)
    image, place = (torch.cat(pair) for pair in zip(draws.objects, draws.background, strict=True))
    return image, place, boxes_of(draws.objects, match[draws.objects], boxes)


def proposal_losses(
    rpn: RegionProposalNetwork, logits: Tensor, deltas: Tensor, anchors: Tensor, true: Tensor
) -> dict[str, Tensor]:
    """torchvision's two terms.

    Args:
        rpn: its box code.
        logits: (S,) float32, of the sampled anchors.
        deltas: (S, 4) float32, likewise.
        anchors: (S, 4) xyxy.
        true: (P, 4) xyxy, the true boxes of the first P anchors; the others are background.
    """
    count = len(true)
    expected = (torch.arange(len(logits), device=logits.device) < count).float()
    offsets = rpn.box_coder.encode_single(true, anchors[:count])
    return {
        "loss_objectness": F.binary_cross_entropy_with_logits(logits, expected),
        "loss_rpn_box_reg": F.smooth_l1_loss(deltas[:count], offsets, beta=1 / 9, reduction="sum") / len(logits),
    }


def answer_at(head: RPNHead, pyramid: Pyramid, image: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
    """What the proposal head says of some anchors, with gradients.

    Args:
        head: of any depth of 3x3 convolutions.
        pyramid: the features of B images.
        image: (S,) which of the B images.
        anchor: (S,) place among the anchors of all levels, those of a place together.

    Returns:
        (S,) logits and (S, 4) box deltas.
    """
    anchors_per_place = head.cls_logits.out_channels
    _, heights, widths = send(pyramid.sizes, image.device).T
    places = heights * widths
    ends = torch.cumsum(places * anchors_per_place, 0)
    level = torch.bucketize(anchor, ends, right=True)
    within = anchor - (ends - places * anchors_per_place)[level]
    place, kind = within // anchors_per_place, within % anchors_per_place
    height, width = heights[level][:, None, None], widths[level][:, None, None]
    first_row = pyramid.level_starts()[level] + image * places[level]

    reach = len(head.conv)  # each convolution looks one cell further
    step = torch.arange(-reach, reach + 1, device=image.device)
    y = place[:, None, None] // width + step[:, None]
    x = place[:, None, None] % width + step
    inside = ((y >= 0) & (y < height) & (x >= 0) & (x < width))[..., None]
    index = first_row[:, None, None] + y.clamp(min=0).minimum(height - 1) * width + x.clamp(min=0).minimum(width - 1)
    # As embedding: its backward pass adds up on all cores, always in the same order.
    around = F.embedding(index, pyramid.rows) * inside
    for convolution, *_ in head.conv:
        windows = around.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)
        inside = inside[:, 1:-1, 1:-1]  # beyond the map there are zeros, not what a convolution makes of them
        around = F.linear(windows, convolution.weight.flatten(1), convolution.bias).relu() * inside
    hidden = around.flatten(1)
    logits = F.linear(hidden, head.cls_logits.weight.flatten(1), head.cls_logits.bias)
    deltas = F.linear(hidden, head.bbox_pred.weight.flatten(1), head.bbox_pred.bias).reshape(len(hidden), -1, 4)
    chosen = torch.arange(len(kind), device=kind.device), kind
    return logits[chosen].float(), deltas[chosen].float()
