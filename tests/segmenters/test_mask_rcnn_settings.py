"""Settings that contradict each other are said in one line."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from segtrain import masks
from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.mask_geometry import resample_through_mask_head
from segtrain.segmenters.mask_rcnn.preprocess import InputSize, batch_images
from tests.helpers.tiny_networks import tiny


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"min_size": 100, "scale": 1.0}, "either min_size or scale"),
        ({"min_size": None, "scale": None}, "either min_size or scale"),
        ({"frozen_stages": 6}, "segmenter.frozen_stages: 6"),
        ({"anchor_sizes": [[8], [16]]}, "segmenter.anchor_sizes"),
        ({"anchor_sizes": [[8], [16], [32], [64], [128, 256]]}, "segmenter.anchor_sizes"),
        ({"anchor_sizes": []}, "segmenter.anchor_sizes"),
        ({"architecture": "resnet50_fpn", "fpn_channels": 128}, "fpn_channels"),
        ({"architecture": "resnet50_fpn_v2", "mask_head_widths": [256]}, "mask_head_widths"),
        ({"architecture": "resnet50_fpn", "box_head_width": 512}, "box_head_width"),
        ({"fpn_channels": None}, "mobilenet_v2_fpn needs fpn_channels, box_head_width and mask_head_widths"),
        ({"architecture": "resnet50_fpn", "anchor_ratios": [1.0]}, "three anchors"),
        ({"architecture": "resnet50_fpn_v2", "anchor_sizes": [[8, 12]] * 5}, "three anchors"),
    ],
)
def test_contradictions(changes: dict[str, Any], culprit: str) -> None:
    with pytest.raises(SegtrainError, match=culprit) as caught:
        tiny(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "image", "expected"),
    [
        (InputSize(100, 1000, None), (50, 80), (100, 160)),
        (InputSize(100, 120, None), (50, 80), (75, 120)),
        (InputSize(None, 1000, 1.5), (50, 81), (75, 121)),
        (InputSize(None, 100, 2.0), (50, 80), (62, 100)),
        (InputSize(None, 1000, 1.0), (33, 65), (33, 65)),
    ],
)
def test_input_sizes(size: InputSize, image: tuple[int, int], expected: tuple[int, int]) -> None:
    batch = batch_images([torch.zeros(3, *image, dtype=torch.uint8)], size, torch.device("cpu"))
    assert batch.image_sizes == [expected]
    assert batch.tensors.shape == (1, 3, *(-(-side // 32) * 32 for side in expected))


def test_a_line_of_pixels_is_an_image_too() -> None:
    (found,) = tiny(max_size=64).segment([torch.zeros(3, 1, 300, dtype=torch.uint8)])
    assert found.size == (1, 300)


def test_the_grid_of_masks_is_that_of_the_input() -> None:
    """It is what the report draws true objects on."""
    network = tiny(min_size=None, scale=0.25)
    rle = masks.encode(np.tri(31, 40))
    grid = network.info.mask_grid
    assert grid is not None
    assert grid.side == 28
    assert grid.redraw([[rle]], [(31, 40)]) == resample_through_mask_head([[rle]], [(31, 40)], network.mask_geometry)
    other = replace(network.mask_geometry, input_size=InputSize(None, 100, 2.0))
    assert grid.redraw([[rle]], [(31, 40)]) != resample_through_mask_head([[rle]], [(31, 40)], other)
