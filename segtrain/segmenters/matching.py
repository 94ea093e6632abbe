"""Which true box each anchor stands for, without a matrix of all pairs in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

BELOW, BETWEEN = -1, -2  # torchvision's ``Matcher`` codes: background, and neither object nor background
# Pairs at a time: a few buffers of this size stay in a processor's cache; elsewhere fewer and longer passes are better.
_PAIRS, _PAIRS_ELSEWHERE = 2**20, 2**25


def match_anchors(anchors: Tensor, boxes: Sequence[Tensor], low: float, high: float) -> Tensor:
    """Assign anchors as the region proposal network learns them (Ren et al., Faster R-CNN, 2015, section 3.1.2).

    Equal to torchvision's ``Matcher`` with ``allow_low_quality_matches``, which holds several matrices of all pairs.

    Args:
        anchors: (A, 4) xyxy.
        boxes: for each of the B images (G, 4) xyxy, the true ones; may be none.
        low: IoU below which an anchor is background.
        high: IoU from which it is an object.

    Returns:
        (B, A) int64: the box of largest IoU, or ``BELOW`` or ``BETWEEN``. The anchors that fit a box better than all
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
    owner.masked_fill_((best < high).logical_and_(~fits_best), BETWEEN)
    return owner.masked_fill_((best < low).logical_and_(~fits_best), BELOW)


def _best_boxes(boxes: Tensor, sides: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Each anchor's largest IoU, whose it is, and whether no anchor has a larger one with some box: (A,) each."""
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
    """(G, A), in torchvision's order of operations, so that the values are the same to the bit.

    Args:
        boxes: (G, 4) xyxy.
        sides: of the anchors, left, top, right, bottom, and their areas: (A,) each.
    """
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(1))
    left, top, right, bottom, areas = sides
    width = torch.minimum(x1, right).sub_(torch.maximum(x0, left)).clamp_(min=0)
    height = torch.minimum(y1, bottom).sub_(torch.maximum(y0, top)).clamp_(min=0)
    shared = width.mul_(height)
    union = ((x1 - x0) * (y1 - y0) + areas).sub_(shared)
    return shared.div_(union)
