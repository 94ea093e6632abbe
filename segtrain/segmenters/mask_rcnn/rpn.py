"""Region proposal network: anchors, their matching and sampling, losses, and the selection of proposals."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import nms

from segtrain.device import copy_to_device
from segtrain.segmenters.mask_rcnn.balanced_sampling import boxes_of, sample_balanced
from segtrain.segmenters.mask_rcnn.ignored_regions import IgnoredRegions, leave_out_ignored
from segtrain.segmenters.mask_rcnn.roi_align import FeaturePyramid

BELOW, IGNORED = -1, -2  # torchvision's ``Matcher`` codes: background, and neither object nor background
# Pairs at a time: a few buffers of this size stay in a processor's cache; elsewhere fewer and longer passes are better.
_PAIRS, _PAIRS_ELSEWHERE = 2**20, 2**25


class CentredAnchorGenerator(AnchorGenerator):  # type: ignore[misc]
    """Anchors centred at ((i + 0.5) * stride, (j + 0.5) * stride), with exact sides.

    torchvision's generator centres them at the corners (i * stride, j * stride) of the cells, rounds their sides to
    even numbers, and divides the input's size by the map's, which is no stride where a map is rounded up.

    >>> generator = CentredAnchorGenerator(sizes=((16,),), aspect_ratios=((1.0,),), strides=(8,))
    >>> generator.grid_anchors([(1, 2)])[0].tolist()
    [[-4.0, -4.0, 12.0, 12.0], [4.0, -4.0, 20.0, 12.0]]

    Args:
        sizes: sides of the square anchors of each level, in input pixels.
        aspect_ratios: height / width of the anchors of each level.
        strides: input pixels per cell of each level.
    """

    def __init__(
        self, sizes: Sequence[Sequence[int]], aspect_ratios: Sequence[Sequence[float]], strides: Sequence[int]
    ) -> None:
        super().__init__(sizes, aspect_ratios)
        self.strides = strides

    def generate_anchors(
        self,
        scales: Sequence[int],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return the anchors around the origin, (ratios * scales, 4) xyxy, in torchvision's order."""
        sides = torch.as_tensor(scales, dtype=dtype, device=device)
        root = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()[:, None]
        width, height = (sides / root).flatten(), (sides * root).flatten()
        return torch.stack([-width, -height, width, height], dim=1) / 2

    def grid_anchors(self, grid_sizes: Sequence[Sequence[int]], strides: object = None) -> list[Tensor]:
        """Return the anchors of each level, (H * W * A, 4) xyxy, those of a location side by side.

        Args:
            grid_sizes: (H, W) of each level's map.
            strides: not used; torchvision's estimates from the sizes of input and maps.
        """
        levels = super().grid_anchors(grid_sizes, [(stride, stride) for stride in self.strides])
        return [anchors + stride / 2 for anchors, stride in zip(levels, self.strides, strict=True)]


def match_anchors(anchors: Tensor, boxes: Sequence[Tensor], low: float, high: float) -> Tensor:
    """Assign anchors as the region proposal network learns them (Ren et al., Faster R-CNN, 2015, section 3.1.2).

    Equal to torchvision's ``Matcher`` with ``allow_low_quality_matches``, which holds several matrices of all pairs.

    Args:
        anchors: (A, 4) xyxy.
        boxes: true boxes of each of the B images, (G, 4) xyxy; G may be 0.
        low: IoU below which an anchor is background.
        high: IoU from which it is an object.

    Returns:
        (B, A) int64: index of the box of largest IoU, `BELOW` or `IGNORED`. The anchors that fit a box better than all
        others do are its match, however small their IoU.
    """
    left, top, right, bottom = (side.contiguous() for side in anchors.unbind(1))
    sides = left, top, right, bottom, (right - left) * (bottom - top)
    best = anchors.new_zeros((len(boxes), len(anchors)))
    owner = torch.zeros_like(best, dtype=torch.int64)
    fits_best = torch.zeros_like(best, dtype=torch.bool)
    for image, true in enumerate(boxes):
        if len(true):
            best[image], owner[image], fits_best[image] = _best_boxes(true, sides)
    owner.masked_fill_((best < high).logical_and_(~fits_best), IGNORED)
    return owner.masked_fill_((best < low).logical_and_(~fits_best), BELOW)


def _best_boxes(boxes: Tensor, sides: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return each anchor's largest IoU, its box, and True if no anchor has a larger IoU with some box: (A,) each."""
    count = max(len(sides[0]), 1)
    rows = max((_PAIRS if boxes.device.type == "cpu" else _PAIRS_ELSEWHERE) // count, 1)
    parts = torch.split(boxes, rows)
    best, owner, fits_best = _best_of_part(parts[0], sides)
    for number, part in enumerate(parts[1:], start=1):
        value, index, fits = _best_of_part(part, sides)
        better = value > best
        best = torch.where(better, value, best)
        owner = torch.where(better, index + number * rows, owner)
        fits_best |= fits
    return best, owner, fits_best


def _best_of_part(boxes: Tensor, sides: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    iou = _iou(boxes, sides)
    best, owner = iou.max(dim=0)
    return best, owner, iou.sub_(iou.amax(dim=1, keepdim=True)).amax(dim=0) == 0


def _iou(boxes: Tensor, sides: Sequence[Tensor]) -> Tensor:
    """Return the (G, A) IoUs in torchvision's order of operations, so that the values are the same to the bit.

    Args:
        boxes: (G, 4) xyxy.
        sides: left, top, right, bottom and area of the anchors, (A,) each.
    """
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(1))
    left, top, right, bottom, areas = sides
    width = torch.minimum(x1, right).sub_(torch.maximum(x0, left)).clamp_(min=0)
    height = torch.minimum(y1, bottom).sub_(torch.maximum(y0, top)).clamp_(min=0)
    shared = width.mul_(height)
    union = ((x1 - x0) * (y1 - y0) + areas).sub_(shared)
    return shared.div_(union)


@torch.no_grad()
def select_proposals(
    rpn: RegionProposalNetwork,
    objectness: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
) -> list[Tensor]:
    """Select proposals as torchvision's ``filter_proposals`` does, for all images at once.

    Only the candidates are decoded.

    Args:
        rpn: network whose thresholds and counts are used; they depend on its mode (training or evaluation).
        objectness: logits of each level, (B, A, H, W).
        deltas: box deltas of each level, (B, 4 A, H, W).
        anchors: anchors of each level, (H * W * A, 4) xyxy, those of a location side by side.
        image_sizes: (H, W) of each image in the batch.

    Returns:
        Proposals of each image, (R, 4) xyxy in input pixels, best first.
    """
    logits, offsets, places = [], [], []
    for level, deltas_of_level, anchors_of_level in zip(objectness, deltas, anchors, strict=True):
        flat = level.permute(0, 2, 3, 1).flatten(1).float()
        best, index = flat.topk(min(rpn.pre_nms_top_n(), flat.shape[1]), dim=1)
        all_offsets = deltas_of_level.permute(0, 2, 3, 1).reshape(len(flat), -1, 4)
        logits.append(best)
        offsets.append(all_offsets.gather(1, index[..., None].expand(-1, -1, 4)))
        places.append(anchors_of_level[index])
    scores = torch.cat(logits, dim=1).sigmoid()
    boxes = rpn.box_coder.decode(
        torch.cat(offsets, dim=1).float().flatten(0, 1), [torch.cat(places, dim=1).flatten(0, 1)]
    )
    boxes = boxes.view(*scores.shape, 4)
    limits = copy_to_device([[w, h, w, h] for h, w in image_sizes], boxes.device)[:, None]
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    # Boxes too small to keep come last, where they suppress nothing: no need to take them out before.
    too_small = (boxes[..., 2:] - boxes[..., :2] < rpn.min_size).any(dim=-1) | (scores < rpn.score_thresh)
    scores = scores.masked_fill(too_small, -1.0)
    wanted = min(rpn.post_nms_top_n(), scores.shape[1])
    kept = suppress(boxes, scores, [level.shape[1] for level in logits], rpn.nms_thresh, wanted)
    # Stable: on a plain background many scores are equal, and on every machine the first of them are taken.
    best, place = scores.masked_fill(~kept, -1.0).sort(dim=1, descending=True, stable=True)
    counts = (best[:, :wanted] >= 0).sum(dim=1).tolist()
    return [boxes[image, place[image, :count]] for image, count in enumerate(counts)]


def suppress(boxes: Tensor, scores: Tensor, groups: Sequence[int], threshold: float, wanted: int) -> Tensor:
    """Suppress boxes greedily within groups (non-maximum suppression).

    Args:
        boxes: (B, N, 4) xyxy.
        scores: (B, N).
        groups: number of consecutive boxes in each group; suppression stays within image and group.
        threshold: a box is dropped if its IoU with a better one that is kept exceeds it.
        wanted: number of best kept boxes per image that are needed.

    Returns:
        (B, N) bool, True for kept boxes; beyond the ``wanted`` best ones some may be missing.
    """
    if boxes.device.type == "cpu":
        return _suppress_in_threads(boxes, scores, groups, threshold, wanted)
    return _suppress_together(boxes, scores, groups, threshold)


def _suppress_together(boxes: Tensor, scores: Tensor, groups: Sequence[int], threshold: float) -> Tensor:
    """Suppress in one call of the kernel, each group moved to an area of its own."""
    group = copy_to_device(torch.arange(len(groups)).repeat_interleave(torch.tensor(groups)).tolist(), boxes.device)
    number = group + len(groups) * torch.arange(len(boxes), device=boxes.device)[:, None]
    apart = boxes + (number * (boxes.max() + 1))[..., None]
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept.view(-1)[nms(apart.flatten(0, 1), scores.flatten(), threshold)] = True
    return kept


def _suppress_in_threads(boxes: Tensor, scores: Tensor, groups: Sequence[int], threshold: float, wanted: int) -> Tensor:
    """Suppress one image per thread: torchvision's CPU kernel runs on one core and releases the interpreter lock."""
    kept = torch.zeros_like(scores, dtype=torch.bool)
    survivors = _threads(torch.get_num_threads()).map(
        lambda image, score: _best_survivors(image, score, groups, threshold, wanted), boxes, scores
    )
    for mask, places in zip(kept, survivors, strict=True):
        mask[places] = True
    return kept


def _best_survivors(boxes: Tensor, scores: Tensor, groups: Sequence[int], threshold: float, wanted: int) -> Tensor:
    """Return the positions of at least the ``wanted`` best boxes that are kept, or of all that are.

    The boxes kept among the best do not depend on worse ones, so a part of all boxes is enough as a rule; the cost
    grows with the square of their number.
    """
    group = torch.arange(len(groups)).repeat_interleave(torch.tensor(groups))
    order = scores.argsort(descending=True, stable=True)
    count = 2 * wanted
    while True:
        best = order[:count]
        parts = [best[group[best] == number] for number in range(len(groups))]
        survivors = torch.cat([part[nms(boxes[part], scores[part], threshold)] for part in parts])
        if len(survivors) >= wanted or count >= len(order):
            return survivors
        count *= 2


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: a child starts its own
    os.register_at_fork(after_in_child=_threads.cache_clear)


def sample_anchors(
    rpn: RegionProposalNetwork,
    anchors: Tensor,
    boxes: Sequence[Tensor],
    ignored: Sequence[IgnoredRegions | None],
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the anchors of a batch that the loss uses, as torchvision does, from torch's global generator.

    Args:
        rpn: network whose matching thresholds and sampler are used.
        anchors: (A, 4) xyxy.
        boxes: true boxes of each of the B images, (G, 4) xyxy in input pixels.
        ignored: regions of each image where no anchor is background; None without any.

    Returns:
        (S,) image of each drawn anchor, (S,) its index among the anchors, and (P, 4) true boxes of the first P of them;
        the others are background.
    """
    matcher = rpn.proposal_matcher
    match = match_anchors(anchors, boxes, matcher.low_threshold, matcher.high_threshold)
    labels = torch.where(match >= 0, 1, torch.where(match == IGNORED, -1, 0))
    for own, regions in zip(labels, ignored, strict=True):
        if regions is not None:
            own[:] = leave_out_ignored(own, anchors, regions, matcher.low_threshold)
    sampler = rpn.fg_bg_sampler
    draws = sample_balanced(labels, sampler.batch_size_per_image, sampler.positive_fraction)
    image, place = (torch.cat(pair) for pair in zip(draws.objects, draws.background, strict=True))
    return image, place, boxes_of(draws.objects, match[draws.objects], boxes)


def proposal_losses(
    rpn: RegionProposalNetwork, logits: Tensor, deltas: Tensor, anchors: Tensor, true: Tensor
) -> dict[str, Tensor]:
    """Compute torchvision's two loss terms; 0 if there is no anchor, as where all of an image is ignored.

    Args:
        rpn: network whose box coder is used.
        logits: (S,) float32 objectness logits of the sampled anchors.
        deltas: (S, 4) float32 box deltas of the sampled anchors.
        anchors: (S, 4) xyxy, the sampled anchors.
        true: (P, 4) xyxy, true boxes of the first P anchors; the others are background.
    """
    if not len(logits):  # the mean over no anchor at all is not a number
        return {"loss_objectness": logits.sum(), "loss_rpn_box_reg": deltas.sum()}
    count = len(true)
    expected = (torch.arange(len(logits), device=logits.device) < count).float()
    offsets = rpn.box_coder.encode_single(true, anchors[:count])
    return {
        "loss_objectness": F.binary_cross_entropy_with_logits(logits, expected),
        "loss_rpn_box_reg": F.smooth_l1_loss(deltas[:count], offsets, beta=1 / 9, reduction="sum") / len(logits),
    }


def rpn_outputs_at(head: RPNHead, pyramid: FeaturePyramid, image: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the outputs of the proposal head for some anchors, with gradients.

    Args:
        head: proposal head with any number of 3x3 convolutions.
        pyramid: features of B images.
        image: (S,) image of each anchor, in [0, B).
        anchor: (S,) index among the anchors of all levels, those of a location side by side.

    Returns:
        (S,) logits and (S, 4) box deltas.
    """
    anchors_per_place = head.cls_logits.out_channels
    _, heights, widths = copy_to_device(pyramid.sizes, image.device).T
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
        if around.shape[1] > 3:
            windows = around.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3).flatten(3)
        else:  # a single window; the backward pass of unfold takes longer than all the rest
            windows = around.flatten(1)[:, None, None]
        inside = inside[:, 1:-1, 1:-1]  # beyond the map there are zeros, not what a convolution makes of them
        kernel = convolution.weight.permute(0, 2, 3, 1).flatten(1)
        around = F.linear(windows, kernel, convolution.bias).relu() * inside
    hidden = around.flatten(1)
    logits = F.linear(hidden, head.cls_logits.weight.flatten(1), head.cls_logits.bias)
    deltas = F.linear(hidden, head.bbox_pred.weight.flatten(1), head.bbox_pred.bias).reshape(
        len(hidden), anchors_per_place, 4
    )
    chosen = torch.arange(len(kind), device=kind.device), kind
    return logits[chosen].float(), deltas[chosen].float()
