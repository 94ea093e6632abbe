"""Checks, before the timing, that both sides of a benchmark find the same."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from detectors import stock_detections
from items import Item
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN

from segtrain.segmenters.mask_rcnn import model
from segtrain.segmenters.mask_rcnn.model import MaskRCNN

# What is the same detection in float32, in pixels and units of score, and how many must be: one whose score or overlap
# lies at a threshold may be found by one side alone.
SAME_BOXES, SAME_SCORES, SAME_SHARE = 1e-2, 1e-4, 0.95


@contextmanager
def same_proposals(stock: StockMaskRCNN) -> Iterator[None]:
    """Replace the proposals of our side by those of torchvision's latest call, as a context.

    Among proposals with equal scores, as on a plain background, the sides may keep different ones.
    """
    proposals: list[Tensor] = []
    filter_proposals = stock.rpn.filter_proposals

    def record(*arguments: Any) -> tuple[list[Tensor], list[Tensor]]:
        result: tuple[list[Tensor], list[Tensor]] = filter_proposals(*arguments)
        proposals[:] = result[0]
        return result

    with (
        patch.object(stock.rpn, "filter_proposals", record),
        patch.object(model, "select_proposals", lambda *arguments: list(proposals)),
    ):
        yield


def require_agreement(ours: MaskRCNN, stock: StockMaskRCNN, items: Sequence[Item]) -> None:
    """Exit unless both sides find the same in float32, from the same proposals."""
    with same_proposals(stock):
        for item in items:
            expected = stock_detections(stock, ours.input_size, item.image)
            (found,) = ours.segment([item.image])
            same = found.labels[:, None] == expected["labels"].numpy()
            same &= np.abs(found.boxes[:, None] - expected["boxes"].numpy()).max(axis=2, initial=0) < SAME_BOXES
            same &= np.abs(found.scores[:, None] - expected["scores"].numpy()) < SAME_SCORES
            shared = min(same.any(axis=0).sum(), same.any(axis=1).sum())
            if shared < SAME_SHARE * max(same.shape):
                sys.exit(f"image {item.image_id}: {len(found)} detections, stock {same.shape[1]}, the same {shared}")
