"""Masks through 28 x 28: as torchvision samples and pastes them, and how little exact pasting loses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

from segtrain import masks
from segtrain.segmenters.mask_rcnn.mask_geometry import MaskGeometry, MaskPaste, resample_through_mask_head
from segtrain.segmenters.mask_rcnn.preprocess import InputSize

SIZES = [(60, 90), (37, 41), (20, 30)]


def scaled(scale: float, mask_paste: MaskPaste = "exact") -> MaskGeometry:
    return MaskGeometry(InputSize(None, 10_000, scale), mask_paste, aligned=False)


OWN_SIZE = scaled(1.0)


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
    found = resample_through_mask_head(rles, SIZES, scaled(scale, mask_paste="torchvision"))
    changed = 0
    for before, after, size in zip(rles, found, SIZES, strict=True):
        probabilities = by_torchvision(before, size, scale)
        planes = np.stack([masks.decode(rle) for rle in after])
        other = planes != (probabilities > 0.5)
        assert (np.abs(probabilities[other] - 0.5) < 1e-5).all()  # sums in another order
        assert other.sum() < 0.01 * planes.sum()
        changed += sum(a != b for a, b in zip(after, before, strict=True))
    assert changed > 5  # or nothing was blurred


def test_a_coarse_input_loses_more_of_a_fine_mask() -> None:
    rles = drawn(6, SIZES[0], 8)
    fits = []
    for scale in (0.25, 2.0):
        (left,) = resample_through_mask_head([rles], SIZES[:1], scaled(scale))
        fits.append(np.diag(masks.iou(left, rles, [0] * len(rles))).mean())
    assert fits[0] < 0.95 < fits[1]


def test_masks_without_a_pixel_and_images_without_masks() -> None:
    whole = masks.encode(np.ones(SIZES[0]))
    nothing = masks.empty(SIZES[0])
    assert resample_through_mask_head([[nothing, whole, nothing], []], SIZES[:2], OWN_SIZE) == [
        [nothing, resample_through_mask_head([[whole]], SIZES[:1], OWN_SIZE)[0][0], nothing],
        [],
    ]
    assert resample_through_mask_head([[nothing]], SIZES[:1], OWN_SIZE) == [[nothing]]


def test_exact_pasting_loses_little_of_small_masks() -> None:
    """Discs of about fifteen pixels: pasting into whole pixels costs more than 28 x 28 cells do."""
    y, x = np.mgrid[:60, :90]
    rng = np.random.default_rng(1)
    centers = rng.uniform([12, 12], [48, 78], (40, 2))
    rles = [
        masks.encode(np.hypot(y - cy, x - cx) <= r) for (cy, cx), r in zip(centers, rng.uniform(6, 9, 40), strict=True)
    ]
    fits = {}
    for mask_paste in ("exact", "torchvision"):
        (left,) = resample_through_mask_head([rles], SIZES[:1], scaled(2.0, mask_paste=mask_paste))
        fits[mask_paste] = np.diag(masks.iou(left, rles, [0] * len(rles))).min()
    assert fits["exact"] > 0.99
    assert fits["torchvision"] < 0.95


@pytest.mark.parametrize(
    ("scale", "shift", "step"), [(2.0, 0.5, 0.6), (1.5, 0.25, 0.3), (1.6, 0.1, 0.3), (None, 0.0, 0.2)]
)
def test_the_shift_is_the_one_of_the_targets(scale: float | None, shift: float, step: float) -> None:
    """At each scale masks come back best with it: better than with a step more or less."""
    input_size = InputSize(None, 10_000, scale) if scale else InputSize(min_size=167, max_size=10_000, scale=None)
    geometry = MaskGeometry(input_size, "exact", aligned=False)
    assert geometry.learned_shift == pytest.approx(shift)
    y, x = np.mgrid[:120, :120]
    rng = np.random.default_rng(0)
    rles = [
        masks.encode(np.hypot(y - cy, x - cx) <= r)
        for cy, cx, r in zip(*rng.uniform(20, 100, (2, 60)), rng.uniform(6, 9, 60), strict=True)
    ]
    fits = {}
    for tried in (shift - step, shift, shift + step):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MaskGeometry, "learned_shift", tried)
            (left,) = resample_through_mask_head([rles], [(120, 120)], geometry)
        fits[tried] = np.diag(masks.iou(left, rles, [0] * len(rles))).mean()
    assert max(fits, key=fits.__getitem__) == shift
    assert fits[shift] > 0.995


@pytest.mark.parametrize("size", [(60, 90), (101, 67)])
def test_the_shift_in_pixels_of_the_image(size: tuple[int, int]) -> None:
    """By the true ratio of both sizes in each direction, which rounding makes differ."""
    geometry = MaskGeometry(InputSize(min_size=None, max_size=100, scale=1.5), "exact", aligned=False)
    height, width = resized = geometry.input_size.resized(*size)
    assert geometry.shift(size, resized) == pytest.approx((0.25 * size[1] / width, 0.25 * size[0] / height))
    assert replace(geometry, aligned=True).shift(size, resized) == (0, 0)
