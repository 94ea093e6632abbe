"""Which true box each anchor stands for, without a matrix of all pairs in memory."""

import torch
from torch import Tensor

BELOW, BETWEEN = -1, -2  # torchvision's ``Matcher`` codes: background, and neither object nor background
# Pairs at a time: a few buffers of this size stay in a processor's cache; elsewhere fewer and longer passes are better.
_PAIRS, _PAIRS_ELSEWHERE = 2**20, 2**25


def match_anchors(anchors: Tensor, boxes: Tensor, low: float, high: float) -> Tensor:
    """Assign anchors as the region proposal network learns them (Ren et al., Faster R-CNN, 2015, section 3.1.2).

    Equal to torchvision's ``Matcher`` with ``allow_low_quality_matches``, which holds several matrices of all pairs.

    Args:
        anchors: (A, 4) xyxy.
        boxes: (G, 4) xyxy, the true ones; at least one.
        low: IoU below which an anchor is background.
        high: IoU from which it is an object.

    Returns:
        (A,) int64: the box of largest IoU, or ``BELOW`` or ``BETWEEN``. The anchors that fit a box better than all
        others do are its match, however small their IoU.
    """
    count = len(anchors)
    best = anchors.new_full((count,), -1.0)
    owner = torch.zeros(count, dtype=torch.int64, device=anchors.device)
    fits_best = torch.zeros(count, dtype=torch.bool, device=anchors.device)
    sides = tuple(side.contiguous() for side in anchors.unbind(1))
    rows = max((_PAIRS if anchors.device.type == "cpu" else _PAIRS_ELSEWHERE) // max(count, 1), 1)
    for first, part in enumerate(torch.split(boxes, rows)):
        iou = _iou(part, sides)
        value, index = iou.max(dim=0)
        better = value > best
        best = torch.where(better, value, best)
        owner = torch.where(better, index + first * rows, owner)
        fits_best |= (iou == iou.amax(dim=1, keepdim=True)).any(dim=0)
    match = torch.where(best < low, BELOW, torch.where(best < high, BETWEEN, owner))
    return torch.where(fits_best, owner, match)


def _iou(boxes: Tensor, sides: tuple[Tensor, ...]) -> Tensor:
    """(G, A), in torchvision's order of operations, so that the values are the same to the bit."""
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(1))
    left, top, right, bottom = sides
    width = torch.minimum(x1, right).sub_(torch.maximum(x0, left)).clamp_(min=0)
    height = torch.minimum(y1, bottom).sub_(torch.maximum(y0, top)).clamp_(min=0)
    shared = width.mul_(height)
    union = ((x1 - x0) * (y1 - y0) + (right - left) * (bottom - top)).sub_(shared)
    return shared.div_(union)
