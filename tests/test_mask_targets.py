"""Mask targets from crops equal torchvision's from full planes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from segtrain.segmenters.mask_targets import sample_targets

BINS = 28


class Scene:
    """Objects in an image, as planes for torchvision and as crops for us, and regions on and off them."""

    def __init__(self, seed: int, size: tuple[int, int], objects: int = 4, regions_each: int = 4) -> None:
        generator = torch.Generator().manual_seed(seed)
        height, width = size
        self.size = size
        self.planes = torch.zeros(objects, height, width, dtype=torch.uint8)
        self.crops: list[Tensor] = []
        corners = []
        for plane in self.planes:
            h = int(torch.randint(1, height + 1, (1,), generator=generator))
            w = int(torch.randint(1, width + 1, (1,), generator=generator))
            y = int(torch.randint(0, height - h + 1, (1,), generator=generator))
            x = int(torch.randint(0, width - w + 1, (1,), generator=generator))
            crop = (torch.rand(h, w, generator=generator) < 0.7).byte()
            plane[y : y + h, x : x + w] = crop
            self.crops.append(crop)
            corners.append([x, y, w, h])
        boxes = torch.tensor(corners, dtype=torch.float32).repeat_interleave(regions_each, 0)
        self.owner = torch.arange(objects).repeat_interleave(regions_each)
        self.corners = boxes[:, :2]
        # Shifted and stretched by up to the object's own size: some regions miss most of it.
        noise = torch.rand(len(boxes), 4, generator=generator) * 2 - 1
        start = boxes[:, :2] + noise[:, :2] * boxes[:, 2:]
        self.rois = torch.cat([start, start + boxes[:, 2:] * (1.1 + noise[:, 2:])], dim=1)

    def ours(self, scale: float, rois: Tensor, bins: int = BINS) -> Tensor:
        masks = [self.crops[i] for i in self.owner.tolist()]
        return sample_targets(masks, self.corners, rois, self.size, self.resized(scale), bins)

    def stock(self, scale: float, rois: Tensor, bins: int = BINS) -> Tensor:
        planes = F.interpolate(self.planes[:, None].float(), scale_factor=scale, recompute_scale_factor=True)[:, 0]
        assert planes.shape[1:] == self.resized(scale)
        targets: Tensor = project_masks_on_boxes(planes.byte(), rois, self.owner, bins)
        return targets

    def resized(self, scale: float) -> tuple[int, int]:
        return int(self.size[0] * scale), int(self.size[1] * scale)


@pytest.mark.parametrize("scale", [0.61, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("size", [(60, 90), (37, 41), (2, 50)])
def test_targets_are_torchvisions(scale: float, size: tuple[int, int]) -> None:
    scene = Scene(1, size)
    height, width = scene.resized(scale)
    rois = scene.rois * scale
    inside = rois.clamp(min=0).minimum(torch.tensor([width, height, width, height]))  # as proposals are clipped
    for regions in (inside, rois):
        torch.testing.assert_close(scene.ours(scale, regions), scene.stock(scale, regions), rtol=1e-4, atol=1e-4)
    assert 0 < scene.ours(scale, inside).mean() < 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 70), st.integers(2, 70), st.sampled_from([1.0, 1.25, 2.0]))
def test_any_scene(seed: int, height: int, width: int, scale: float) -> None:
    scene = Scene(seed, (height, width), objects=2, regions_each=2)
    size = scene.resized(scale)
    rois = (scene.rois * scale).clamp(min=0).minimum(torch.tensor([size[1], size[0], size[1], size[0]]))
    # Rounding of a position next to a pixel's border moves a sample by a pixel's share of a bin: rarely, and little.
    torch.testing.assert_close(scene.ours(scale, rois), scene.stock(scale, rois), rtol=1e-3, atol=2e-3)


def test_no_regions() -> None:
    result = sample_targets([], torch.zeros(0, 2), torch.zeros(0, 4), (20, 20), (40, 40), BINS)
    assert result.shape == (0, BINS, BINS)


def test_a_region_on_a_full_mask_is_full_and_one_off_it_is_empty() -> None:
    mask = torch.ones(10, 12, dtype=torch.uint8)
    rois = torch.tensor([[44.0, 24.0, 60.0, 36.0], [100.0, 100.0, 120.0, 120.0]])
    result = sample_targets([mask] * 2, torch.tensor([[20.0, 10.0]] * 2), rois, (80, 90), (160, 180), 14)
    assert (result[0] == 1).all()
    assert (result[1] == 0).all()
