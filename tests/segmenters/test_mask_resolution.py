"""Masks through 28 x 28 equal torchvision's own sampling and pasting."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

from segtrain import masks
from segtrain.segmenters.mask_rcnn.mask_paste import resample_through_mask_head
from segtrain.segmenters.mask_rcnn.preprocess import InputSize

SIZES = [(60, 90), (37, 41), (20, 30)]


def drawn(seed: int, size: tuple[int, int], count: int) -> list[masks.Rle]:
    """Blobs of many sizes and shapes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    planes = []
    for _ in range(count):
        cy, cx, a, b = (rng.uniform(0, size[0]), rng.uniform(0, size[1]), *rng.uniform(1.5, 20, 2))
        planes.append(((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 + 0.4 * np.sin(x / 2) * np.cos(y) <= 1)
    return [masks.encode(plane) for plane in planes if plane.any()]


def by_torchvision(rles: list[masks.Rle], size: tuple[int, int], scale: int) -> np.ndarray:
    """(N, H, W) of probabilities."""
    planes = torch.from_numpy(np.stack([masks.decode(rle) for rle in rles])).byte()
    boxes = torch.from_numpy(masks.boxes(rles)).float()
    inner = F.interpolate(planes[:, None].float(), scale_factor=scale)[:, 0].byte()
    squares = project_masks_on_boxes(inner, boxes * scale, torch.arange(len(rles)), 28)
    pasted: np.ndarray = paste_masks_in_image(squares[:, None], boxes, size)[:, 0].numpy()
    return pasted


@pytest.mark.parametrize("scale", [1, 2])
def test_masks_are_torchvisions(scale: int) -> None:
    rles = [drawn(seed, size, 12) for seed, size in enumerate(SIZES)]
    found = resample_through_mask_head(rles, SIZES, InputSize(None, 10_000, float(scale)))
    changed = 0
    for before, after, size in zip(rles, found, SIZES, strict=True):
        probabilities = by_torchvision(before, size, scale)
        planes = np.stack([masks.decode(rle) for rle in after])
        other = planes != (probabilities > 0.5)
        assert (np.abs(probabilities[other] - 0.5) < 1e-5).all()  # sums in another order
        assert other.sum() < 0.01 * planes.sum()
        changed += sum(a != b for a, b in zip(after, before, strict=True))
    assert changed > 5  # or nothing was blurred


def test_the_images_own_size_is_the_default() -> None:
    rles = [drawn(5, SIZES[0], 6)]
    assert resample_through_mask_head(rles, SIZES[:1]) == resample_through_mask_head(
        rles, SIZES[:1], InputSize(None, 10_000, 1.0)
    )


def test_a_coarse_input_loses_more_of_a_fine_mask() -> None:
    rles = drawn(6, SIZES[0], 8)
    fits = []
    for scale in (0.25, 2.0):
        (left,) = resample_through_mask_head([rles], SIZES[:1], InputSize(None, 10_000, scale))
        fits.append(np.diag(masks.iou(left, rles, [0] * len(rles))).mean())
    assert fits[0] < fits[1] < 1


def test_masks_without_a_pixel_and_images_without_masks() -> None:
    whole = masks.encode(np.ones(SIZES[0]))
    nothing = masks.empty(SIZES[0])
    assert resample_through_mask_head([[nothing, whole, nothing], []], SIZES[:2]) == [
        [nothing, resample_through_mask_head([[whole]], SIZES[:1])[0][0], nothing],
        [],
    ]
    assert resample_through_mask_head([[nothing]], SIZES[:1]) == [[nothing]]
