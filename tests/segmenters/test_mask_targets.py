"""Mask targets from crops equal torchvision's from full planes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection.roi_heads import maskrcnn_loss, project_masks_on_boxes

from segtrain.segmenters.mask_rcnn import mask_targets
from segtrain.segmenters.mask_rcnn.mask_targets import sample_targets
from segtrain.targets import Target

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
        tight = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in corners], dtype=torch.float32)
        self.target = Target(tight, torch.ones(objects, dtype=torch.int64), self.crops)
        # Shifted and stretched by up to the object's own size: some regions miss most of it.
        noise = torch.rand(len(boxes), 4, generator=generator) * 2 - 1
        start = boxes[:, :2] + noise[:, :2] * boxes[:, 2:]
        self.rois = torch.cat([start, start + boxes[:, 2:] * (1.1 + noise[:, 2:])], dim=1)

    def ours(self, scale: float, rois: Tensor, bins: int = BINS) -> Tensor:
        sizes = [self.size], [self.resized(scale)]
        return sample_targets([self.target], [rois], [self.owner], *sizes, bins, aligned=False)

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


@pytest.mark.parametrize("scale", [0.61, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_torchvisions_on_full_planes(scale: float, seed: int) -> None:
    scene = Scene(seed, (120, 160), objects=6)
    height, width = scene.resized(scale)
    rois = (scene.rois * scale).clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(rois), 4, BINS, BINS, generator=generator)
    labels = torch.randint(1, 4, (len(scene.planes),), generator=generator)
    planes = F.interpolate(scene.planes[:, None].float(), scale_factor=scale, recompute_scale_factor=True)[:, 0].byte()
    expected = maskrcnn_loss(logits, [rois], [planes], [labels], [scene.owner])
    own = logits[torch.arange(len(rois)), labels[scene.owner]]
    found = F.binary_cross_entropy_with_logits(own, scene.ours(scale, rois))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@given(st.integers(0, 10**6), st.integers(2, 70), st.integers(2, 70), st.sampled_from([1.0, 1.25, 2.0]))
def test_any_scene(seed: int, height: int, width: int, scale: float) -> None:
    scene = Scene(seed, (height, width), objects=2, regions_each=2)
    size = scene.resized(scale)
    rois = (scene.rois * scale).clamp(min=0).minimum(torch.tensor([size[1], size[0], size[1], size[0]]))
    # Rounding of a position next to a pixel's border moves a sample by a pixel's share of a bin: rarely, and little.
    torch.testing.assert_close(scene.ours(scale, rois), scene.stock(scale, rois), rtol=1e-3, atol=2e-3)


def test_no_regions() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    for target in (Target.empty(), Scene(0, (20, 20)).target):
        result = sample_targets([target], [torch.zeros(0, 4)], [none], [(20, 20)], [(40, 40)], BINS, aligned=False)
        assert result.shape == (0, BINS, BINS)


def test_a_region_on_a_full_mask_is_full_and_one_off_it_is_empty() -> None:
    target = Target(torch.tensor([[20.0, 10, 32, 20]]), torch.ones(1).long(), [torch.ones(10, 12, dtype=torch.uint8)])
    rois = torch.tensor([[44.0, 24.0, 60.0, 36.0], [100.0, 100.0, 120.0, 120.0]])
    result = sample_targets([target], [rois], [torch.zeros(2).long()], [(80, 90)], [(160, 180)], 14, aligned=False)
    assert (result[0] == 1).all()
    assert (result[1] == 0).all()


@pytest.mark.parametrize("chunk", [1, 2000, mask_targets.CHUNK])
def test_a_batch_is_its_images_one_by_one(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is multiplied together: every region alone, a few, or all of them."""
    scenes = [Scene(1, (60, 90)), Scene(2, (37, 41), objects=2), Scene(3, (50, 50), objects=1)]
    scales, empty = [0.8, 2.0, 1.0], Target.empty()
    rois = [scene.rois * scale for scene, scale in zip(scenes, scales, strict=True)]
    alone = [scene.stock(scale, boxes) for scene, scale, boxes in zip(scenes, scales, rois, strict=True)]
    monkeypatch.setattr(mask_targets, "CHUNK", chunk)
    together = sample_targets(
        [scenes[0].target, empty, scenes[1].target, scenes[2].target],
        [rois[0], torch.zeros(0, 4), rois[1], rois[2]],
        [scenes[0].owner, torch.zeros(0).long(), scenes[1].owner, scenes[2].owner],
        [scenes[0].size, (9, 9), scenes[1].size, scenes[2].size],
        [scenes[0].resized(0.8), (9, 9), scenes[1].resized(2.0), scenes[2].resized(1.0)],
        BINS,
        aligned=False,
    )
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
