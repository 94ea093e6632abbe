"""The fit of anchors to boxes, beside torchvision's generator of anchors, its IoU and its matcher."""

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from segtrain.segmenters.anchors import AnchorLayout
from segtrain.segmenters.mask_rcnn.rpn import CentredAnchorGenerator

SIZES, RATIOS, STRIDES = ((9,), (16,), (32,), (64,), (128,)), (0.5, 1.0, 2.0), (4, 8, 16, 32, 64)


@pytest.mark.parametrize("size", [(200, 333), (64, 96), (32, 32)])
@pytest.mark.parametrize("centred", [True, False])
def test_the_best_anchor_is_that_of_all_of_torchvisions(size: tuple[int, int], centred: bool) -> None:
    height, width = (-(-side // 32) * 32 for side in size)
    if centred:
        generator = CentredAnchorGenerator(SIZES, (RATIOS,) * 5, STRIDES)
    else:
        generator = AnchorGenerator(SIZES, (RATIOS,) * 5)
    maps = [torch.zeros(1, 1, -(-height // stride), -(-width // stride)) for stride in STRIDES]
    (anchors,) = generator(ImageList(torch.zeros(1, 3, height, width), [size]), maps)
    random = np.random.default_rng(0)
    corners = random.uniform(0, 1, (150, 2)) * size[::-1]
    boxes = np.concatenate([corners, corners + np.exp(random.uniform(0, 5, (150, 2)))], axis=1)
    boxes[:, 2:] = np.minimum(boxes[:, 2:], size[::-1])
    table = box_iou(torch.from_numpy(boxes), anchors.double())
    found = AnchorLayout(SIZES, RATIOS, STRIDES, centred).best_iou(boxes, size)
    np.testing.assert_allclose(found, table.max(dim=1).values.numpy(), atol=1e-6)
    matched = Matcher(0.7, 0.3, allow_low_quality_matches=False)(table)
    owners = {number for number in matched.tolist() if number >= 0}
    assert owners <= set(np.flatnonzero(found >= 0.7))  # an anchor that fits two boxes belongs to the better one
    assert len(owners) > 0 or not (found >= 0.7).any()
