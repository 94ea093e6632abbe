"""Small and fast Mask R-CNNs, and images with objects for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN

from segtrain.segmenters.mask_rcnn.factory import Shape, build_network, mask_rcnn
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.targets import Target

ARCHITECTURES = ("resnet18_fpn", "mobilenet_v2_fpn", "resnet50_fpn", "resnet50_fpn_v2")
CLASSES = ["round", "square"]
ANCHORS = ((8,), (16,), (32,), (64,), (128,))
# Stated apart from the package's own table, whose mistakes would reach both sides of a comparison.
TORCHVISION_NAMES = {
    "rpn_anchors_per_image": "rpn_batch_size_per_image",
    "rpn_candidates_train": "rpn_pre_nms_top_n_train",
    "rpn_candidates_test": "rpn_pre_nms_top_n_test",
    "rpn_proposals_train": "rpn_post_nms_top_n_train",
    "rpn_proposals_test": "rpn_post_nms_top_n_test",
    "rois_per_image": "box_batch_size_per_image",
    "positive_fraction": "box_positive_fraction",
    "detections_per_image": "box_detections_per_img",
    "min_score": "box_score_thresh",
    "nms_iou": "box_nms_thresh",
}


def settings(architecture: str = "mobilenet_v2_fpn", **changes: Any) -> dict[str, Any]:
    """Return the arguments of ``mask_rcnn``."""
    widths = {"fpn_channels": 16, "box_head_width": 24, "mask_head_widths": [12, 8]}
    return {
        "architecture": architecture,
        "weights": None,
        "norm": "frozen",
        "frozen_stages": 0,
        **({} if architecture.startswith("resnet50") else widths),
        "anchor_sizes": [list(sizes) for sizes in ANCHORS],
        "anchor_ratios": [0.5, 1.0, 2.0],
        "min_size": None,
        "max_size": 400,
        "scale": 1.0,
        "rpn_anchors_per_image": 16,
        "rpn_candidates_train": 30,
        "rpn_candidates_test": 30,
        "rpn_proposals_train": 20,
        "rpn_proposals_test": 20,
        "rois_per_image": 8,
        "positive_fraction": 0.5,
        "detections_per_image": 10,
        "min_score": 0.0,
        "nms_iou": 0.5,
        "roi_align": "auto",
        "aligned": False,
        "mask_paste": "exact",
        "mask_scoring": "none",
        "boxes": "predicted",
        "tile": "auto",
        "overlap": 0.25,
    } | changes


def tiny(architecture: str = "mobilenet_v2_fpn", classes: Sequence[str] = CLASSES, **changes: Any) -> MaskRCNN:
    torch.manual_seed(0)
    return mask_rcnn(classes, **settings(architecture, **changes))


def stock(architecture: str = "mobilenet_v2_fpn", classes: Sequence[str] = CLASSES, **changes: Any) -> StockMaskRCNN:
    """Build torchvision's network of the same shape, with its own transform, RoIAlign, losses and pasting."""
    chosen = settings(architecture, **changes)
    network = build_network(
        Shape.of(chosen),
        len(classes) + 1,
        norm=chosen["norm"],
        frozen_stages=chosen["frozen_stages"],
        min_size=chosen["min_size"] or 96,  # torchvision knows no fixed scale
        max_size=chosen["max_size"],
        **{name: chosen[ours] for ours, name in TORCHVISION_NAMES.items()},
    )
    assert type(network) is StockMaskRCNN
    return network


def planes(image: Tensor, target: Target) -> Tensor:
    """Convert the masks of a target to planes as torchvision takes them, (N, H, W) uint8."""
    result = torch.zeros(len(target), *image.shape[1:], dtype=torch.uint8)
    for plane, crop, (x0, y0, x1, y1) in zip(result, target.masks, target.boxes.int().tolist(), strict=True):
        plane[y0:y1, x0:x1] = crop
    return result


def picture(seed: int, height: int, width: int, objects: int) -> tuple[Tensor, Target]:
    """Draw noise with bright discs (label 1) and rectangles (label 2)."""
    rng = np.random.default_rng(seed)
    image = rng.normal(60, 20, (height, width, 3))
    boxes, labels, crops = [], [], []
    for number in range(objects):
        h, w = (int(v) for v in rng.integers(8, min(height, width) // 2, 2))
        y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        crop = np.ones((h, w), np.uint8)
        if number % 2 == 0:
            rows, columns = np.mgrid[:h, :w]
            crop = (np.hypot(rows / (h - 1) - 0.5, columns / (w - 1) - 0.5) <= 0.501).astype(np.uint8)
        image[y : y + h, x : x + w][crop > 0] = rng.integers(130, 255, 3) + rng.normal(0, 10, (int(crop.sum()), 3))
        boxes.append([x, y, x + w, y + h])
        labels.append(1 + number % 2)
        crops.append(torch.from_numpy(crop))
    pixels = torch.from_numpy(image.clip(0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous()
    return pixels, Target(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels).long(), crops)
