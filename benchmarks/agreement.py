"""Whether both sides of a benchmark of inference find the same, before the clock runs."""

import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from detectors import stock_detections
from items import Item
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN

from segtrain.segmenters.mask_rcnn import MaskRCNN

# What is the same detection in float32, in pixels and units of score, and how many must be: one whose score or overlap
# lies at a threshold may be found by one side alone.
SAME_BOXES, SAME_SCORES, SAME_SHARE = 1e-2, 1e-4, 0.95
NOISE, TRIES = 255e-6, 5  # of rounding, in grey levels

Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]  # labels, boxes, scores


def require_agreement(ours: MaskRCNN, stock: StockMaskRCNN, items: Sequence[Item]) -> None:
    """Stop unless both sides find the same in float32 wherever torchvision itself is sure of it.

    It is not where noise of the size of rounding changes its answer: on a plain background many proposals have equal
    scores, and which of them it takes is left to chance.
    """
    for item in items:
        (instances,) = ours.segment([item.image])
        expected = _stock(ours, stock, item.image)
        share = same_share((instances.labels, instances.boxes, instances.scores), expected)
        if share < SAME_SHARE and _is_sure(ours, stock, item.image, expected):
            counts = f"{len(instances)} detections, stock {len(expected[0])}"
            sys.exit(f"image {item.image_id}: {counts}, {share:.0%} the same")


def same_share(first: Found, second: Found) -> float:
    """The share of detections that both have; 1 if neither has any."""
    same = first[0][:, None] == second[0]
    same &= np.abs(first[1][:, None] - second[1]).max(axis=2, initial=0) < SAME_BOXES
    same &= np.abs(first[2][:, None] - second[2]) < SAME_SCORES
    shared = min(same.any(axis=0).sum(), same.any(axis=1).sum())
    return float(shared / max(same.shape)) if max(same.shape) else 1.0


def _is_sure(ours: MaskRCNN, stock: StockMaskRCNN, image: Tensor, expected: Found) -> bool:
    generator = torch.Generator().manual_seed(0)
    noise = (NOISE * torch.randn(image.shape, generator=generator) for _ in range(TRIES))
    return all(same_share(_stock(ours, stock, image + n), expected) >= SAME_SHARE for n in noise)


def _stock(ours: MaskRCNN, stock: StockMaskRCNN, image: Tensor) -> Found:
    found = stock_detections(stock, ours.input_size, image)
    return found["labels"].numpy(), found["boxes"].numpy(), found["scores"].numpy()
