"""Region proposals: from the maps of the proposal head to the boxes that the second stage looks at."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import nms

from segtrain.segmenters.transfer import send


@torch.no_grad()
def select_proposals(
    rpn: RegionProposalNetwork,
    objectness: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
) -> list[Tensor]:
    """torchvision's ``filter_proposals``, decoding only the candidates, for all images at once.

    Args:
        rpn: its thresholds and counts, which depend on whether it trains.
        objectness: (B, A, H, W) logits of each level.
        deltas: (B, 4 A, H, W) of each level.
        anchors: (H * W * A, 4) xyxy of each level, the anchors of a place together.
        image_sizes: (H, W) of each image in the batch.

    Returns:
        For each image (R, 4) xyxy in pixels of the input, best first.
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
    limits = send([[w, h, w, h] for h, w in image_sizes], boxes.device)[:, None]
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
    """Greedy non-maximum suppression within groups.

    Args:
        boxes: (B, N, 4) xyxy.
        scores: (B, N).
        groups: how many of the N belong to each group, in their order; suppression stays within image and group.
        threshold: a box is dropped if its IoU with a better one that is kept exceeds it.
        wanted: how many of the best that are kept matter in each image.

    Returns:
        (B, N) bool, what is kept; worse ones than the ``wanted`` best may be missing.
    """
    if boxes.device.type == "cpu":
        return _suppress_in_threads(boxes, scores, groups, threshold, wanted)
    return _suppress_together(boxes, scores, groups, threshold)


def _suppress_together(boxes: Tensor, scores: Tensor, groups: Sequence[int], threshold: float) -> Tensor:
    """In one call of the kernel, each group moved to a place of its own."""
    group = send(torch.arange(len(groups)).repeat_interleave(torch.tensor(groups)).tolist(), boxes.device)
    number = group + len(groups) * torch.arange(len(boxes), device=boxes.device)[:, None]
    apart = boxes + (number * (boxes.max() + 1))[..., None]
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept.view(-1)[nms(apart.flatten(0, 1), scores.flatten(), threshold)] = True
    return kept


def _suppress_in_threads(boxes: Tensor, scores: Tensor, groups: Sequence[int], threshold: float, wanted: int) -> Tensor:
    """torchvision's CPU kernel runs on one core and lets go of Python: the images share the cores."""
    kept = torch.zeros_like(scores, dtype=torch.bool)
    survivors = _threads(torch.get_num_threads()).map(
        lambda image, score: _best_survivors(image, score, groups, threshold, wanted), boxes, scores
    )
    for mask, places in zip(kept, survivors, strict=True):
        mask[places] = True
    return kept


def _best_survivors(boxes: Tensor, scores: Tensor, groups: Sequence[int], threshold: float, wanted: int) -> Tensor:
    """Places of the ``wanted`` best (N,) that are kept, and some more, or of all.

    What is kept among the best boxes does not depend on worse ones: some of all boxes are enough as a rule, and the
    cost grows with the square of their number.
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
