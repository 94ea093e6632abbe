"""Masks pasted exactly are those of ``grid_sample``, and masks pasted as torchvision does are torchvision's."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segtrain import masks
from segtrain.segmenters.mask_rcnn.mask_paste import paste_masks, paste_masks_as_torchvision

SIZE = (50, 70)
Paste = Callable[[Tensor, Tensor, tuple[int, int]], list[masks.Rle]]


def soft_masks(count: int, seed: int, side: int = 28) -> Tensor:
    """Blobs with a soft edge and some noise, as a mask head answers."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    radius = torch.rand(count, 1, 1, generator=generator) * 1.2
    return torch.sigmoid(5 * (radius - torch.hypot(x, y)) + 2 * torch.randn(count, side, side, generator=generator))


def surfaces(probabilities: Tensor, boxes: Tensor, size: tuple[int, int], shift: tuple[float, float]) -> Tensor:
    """(N, H, W) float64: the masks at the centres of pixels, by ``grid_sample``."""
    boxes = boxes.double()
    x, y = (
        2 * (torch.arange(size[1 - axis]) + 0.5 - shift[axis] - boxes[:, [axis]])
        / (boxes[:, [axis + 2]] - boxes[:, [axis]]) - 1
        for axis in (0, 1)
    )  # fmt: skip
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    return F.grid_sample(probabilities.double()[:, None], grid, padding_mode="zeros", align_corners=False)[:, 0]


def assert_exact(
    probabilities: Tensor, boxes: Tensor, size: tuple[int, int] = SIZE, shift: tuple[float, float] = (0.0, 0.0)
) -> None:
    usable = boxes.isfinite().all(dim=1) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    values = surfaces(probabilities, torch.where(usable[:, None], boxes, torch.tensor([0.0, 0, 1, 1])), size, shift)
    expected = (values > 0.5) & usable[:, None, None]
    clear = ((values - 0.5).abs() > 1e-5) | ~usable[:, None, None]
    rles = paste_masks(probabilities, boxes, size, shift)
    assert len(rles) == len(boxes)
    for rle, plane, certain in zip(rles, expected.numpy(), clear.numpy(), strict=True):
        assert masks.counts_of(rle).min() >= 0
        found = masks.decode(rle)
        assert found.shape == size
        np.testing.assert_array_equal(found[certain], plane[certain])
        assert rle == masks.encode(found)


def assert_as_torchvision(probabilities: Tensor, boxes: Tensor, size: tuple[int, int] = SIZE) -> None:
    planes = paste_masks_in_image(probabilities[:, None], boxes, size)[:, 0] > 0.5
    for plane, rle in zip(planes.numpy(), paste_masks_as_torchvision(probabilities, boxes, size), strict=True):
        expected = coco_mask.encode(np.asfortranarray(plane, dtype=np.uint8))
        assert rle == {"size": list(size), "counts": expected["counts"].decode()}


@pytest.mark.parametrize("side", [14, 28])
@pytest.mark.parametrize("same", [assert_exact, assert_as_torchvision])
def test_random_boxes(side: int, same: Callable[[Tensor, Tensor], None]) -> None:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(300, 2, generator=generator) * torch.tensor([70.0, 50.0])
    size = torch.exp(torch.rand(300, 2, generator=generator) * 4.2)
    limit = torch.tensor([70.0, 50.0, 70.0, 50.0])
    same(soft_masks(300, 2, side), torch.cat([corner, corner + size], dim=1).minimum(limit))


@pytest.mark.parametrize("same", [assert_exact, assert_as_torchvision])
@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 70, 50],
        [-10.5, -7.2, 20.3, 10.9],
        [60, 40, 90, 80],
        [-30, -30, 120, 90],
        [12.4, 12.4, 12.4, 12.4],
        [12.4, 3.0, 12.4, 44.0],
        [69.9, 49.9, 70, 50],
        [0, 0, 1, 1],
    ],
)
def test_boxes_over_the_border_and_of_no_size(box: list[float], same: Callable[[Tensor, Tensor], None]) -> None:
    same(soft_masks(3, 3), torch.tensor([box] * 3, dtype=torch.float32))


@pytest.mark.parametrize("paste", [paste_masks, paste_masks_as_torchvision])
@pytest.mark.parametrize("box", [[100, 10, 140, 30], [-90, -90, -40, -40], [10, 60, 30, 80], [10, -40, 30, -20]])
def test_a_box_outside_the_image_has_no_pixels(box: list[float], paste: Paste) -> None:
    (rle,) = paste(soft_masks(1, 4), torch.tensor([box], dtype=torch.float32), SIZE)
    assert rle == masks.empty(SIZE)


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    "box",
    [
        [30, 5, 20, 40],
        [5, 30, 40, 20],
        [20, 20, 20, 40],
        [nan, 1, 9, 9],
        [1, 1, nan, 9],
        [-inf, 1, 9, 9],
        [1, 1, 9, inf],
    ],
)
def test_a_box_without_area_or_not_finite_gives_an_empty_mask(box: list[float]) -> None:
    others = torch.tensor([[3.0, 4.0, 30.0, 44.0], box, [9.0, 9.0, 50.0, 40.0]])
    before, between, after = paste_masks(torch.ones(3, 28, 28), others, SIZE)
    assert between == masks.empty(SIZE)
    assert [before, after] == paste_masks(torch.ones(2, 28, 28), others[[0, 2]], SIZE)


KINDS = st.sampled_from(["soft", "hard", "coarse", "near", "bf16"])
COARSE = [0.0, 0.25, 0.5, 0.75, 1.0]  # halfway between them, pixels lie exactly on the threshold
NEAR = [0.5, float(np.nextafter(np.float32(0.5), np.float32(1))), float(np.nextafter(np.float32(0.5), np.float32(0)))]


@st.composite
def crowded_images(draw: st.DrawFn) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Probabilities of many kinds in boxes of any size: over the borders, of no size, larger than the image."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    size = draw(st.tuples(st.integers(1, 160), st.integers(1, 160)))
    limit = torch.tensor([size[1], size[0]])
    count, side = draw(st.integers(1, 12)), draw(st.sampled_from([1, 2, 7, 28]))
    drawn = torch.rand(count, side, side, generator=generator)
    probabilities = {
        "soft": lambda: soft_masks(count, 0, side),
        "hard": lambda: (drawn > 0.5).float(),
        "coarse": lambda: torch.tensor(COARSE)[(drawn * len(COARSE)).long()],
        "near": lambda: torch.tensor([*COARSE, *NEAR * 3])[(drawn * (len(COARSE) + 3 * len(NEAR))).long()],
        "bf16": lambda: drawn.bfloat16(),
    }[draw(KINDS)]()
    extent = torch.exp(torch.rand(count, 2, generator=generator) * draw(st.sampled_from([1.0, 4.0, 6.0]))) - 1
    center = torch.rand(count, 2, generator=generator) * limit
    boxes = torch.cat([center - extent / 2, center + extent / 2], dim=1)
    return probabilities, boxes.round() if draw(st.booleans()) else boxes, size


@given(crowded_images(), st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.3])] * 2))
def test_all_masks_of_an_image(image: tuple[Tensor, Tensor, tuple[int, int]], shift: tuple[float, float]) -> None:
    probabilities, boxes, size = image
    assert_exact(probabilities.float(), boxes, size, shift)
    assert_as_torchvision(probabilities.float(), boxes, size)
    for paste in (paste_masks, paste_masks_as_torchvision):
        assert paste(probabilities, boxes, size) == paste(probabilities.float(), boxes, size)


SIDES = st.one_of(
    st.floats(2**-10, 1e4, width=32),
    st.floats(0.5, 40, width=32),
    st.floats(-50, 0, width=32),
    st.sampled_from([0.0, 1e9, 1e30, nan, inf, -inf]),
)
STARTS = st.one_of(st.floats(-100, 100, width=32), st.sampled_from([0.0, 0.5, -1e30, 1e30, nan, -inf]))


@given(
    st.lists(st.tuples(STARTS, STARTS, SIDES, SIDES), min_size=1, max_size=6),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from([1, 3, 28]),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    st.integers(0, 10**6),
)
def test_wild_boxes(
    boxes: list[tuple[float, ...]], size: tuple[int, int], side: int, shift: tuple[float, float], seed: int
) -> None:
    """Outside of the image, tiny, huge, turned around, without area, and not finite."""
    drawn = torch.tensor(boxes, dtype=torch.float32)
    assert_exact(
        soft_masks(len(drawn), seed, side), torch.cat([drawn[:, :2], drawn[:, :2] + drawn[:, 2:]], 1), size, shift
    )


def test_a_pixel_exactly_at_the_threshold_is_outside() -> None:
    """Twice as many cells as pixels: every centre lies between cells, at the border between a 0 and a 1."""
    square = torch.zeros(1, 8, 8)
    square[0, 1:7, 1:7] = 1
    (rle,) = paste_masks(square, torch.tensor([[2.0, 2.0, 6.0, 6.0]]), (8, 8))
    assert masks.boxes([rle]).tolist() == [[3, 3, 5, 5]]


def test_masks_move_with_their_box_and_their_shift() -> None:
    """By whole pixels and by parts of one."""
    square, box = soft_masks(1, 8), torch.tensor([[10.0, 8.0, 31.5, 29.25]])
    (first,) = paste_masks(square, box, SIZE)
    (moved,) = paste_masks(square, box + torch.tensor([2.0, 3.0, 2.0, 3.0]), SIZE)
    crop, x, y = masks.decode_crop(first)
    assert moved == masks.encode_crop(crop, x + 2, y + 3, SIZE)
    assert paste_masks(square, box, SIZE, (0.25, 0.75)) == paste_masks(
        square, box + torch.tensor([0.25, 0.75, 0.25, 0.75]), SIZE
    )


def test_a_disc_comes_back() -> None:
    """Of radius 8, at a place between pixels, from probabilities that are the disc's share of each cell."""
    across = 8 * 28
    y, x = np.mgrid[:across, :across] + 0.5
    fine = np.hypot(x - across / 2, y - across / 2) <= across / 2
    shares = torch.from_numpy(fine.reshape(28, 8, 28, 8).mean(axis=(1, 3)))[None]
    cx, cy = 20.3, 17.8
    (rle,) = paste_masks(shares, torch.tensor([[cx - 8, cy - 8, cx + 8, cy + 8]], dtype=torch.float64), SIZE)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    drawn = masks.encode(np.hypot(x - cx, y - cy) <= 8)
    assert masks.iou([rle], [drawn], [0])[0, 0] > 0.99


@pytest.mark.parametrize("same", [assert_exact, assert_as_torchvision])
@pytest.mark.parametrize("size", [(700, 900), (900, 700)])
def test_large_boxes(size: tuple[int, int], same: Callable[[Tensor, Tensor, tuple[int, int]], None]) -> None:
    """Where a cell has many pixels, some of them come very close to the threshold."""
    probabilities = torch.cat([soft_masks(6, 5), torch.full((1, 28, 28), 0.5), soft_masks(3, 6).gt(0.5).float()])
    shift = torch.arange(10.0)[:, None] * 7.3
    boxes = torch.cat([shift.expand(-1, 2), torch.tensor([[size[1], size[0]]]) - shift], dim=1)
    same(probabilities, boxes, size)


def test_more_columns_than_are_worked_on_together() -> None:
    corner = torch.rand(120, 2, generator=torch.Generator().manual_seed(7)) * 20 - 5
    assert_exact(soft_masks(120, 7), torch.cat([corner, corner + 50], dim=1))


def test_probabilities_that_are_not_numbers_count_as_0() -> None:
    broken = soft_masks(2, 9)
    broken[0, 3:9, 5:20] = nan
    boxes = torch.tensor([[3.0, 4.0, 60.0, 44.0], [9.0, 9.0, 50.0, 40.0]])
    assert paste_masks(broken, boxes, SIZE) == paste_masks(broken.nan_to_num(), boxes, SIZE)


@pytest.mark.parametrize("paste", [paste_masks, paste_masks_as_torchvision])
def test_no_masks(paste: Paste) -> None:
    assert paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), SIZE) == []


@pytest.mark.parametrize(("paste", "pixels"), [(paste_masks, 20 * 10), (paste_masks_as_torchvision, 21 * 11)])
def test_a_large_image_costs_what_its_objects_cost(paste: Paste, pixels: int) -> None:
    (rle,) = paste(torch.ones(1, 28, 28), torch.tensor([[100.0, 100.0, 120.0, 110.0]]), (40_000, 30_000))
    assert masks.area([rle]) == pytest.approx(pixels, abs=32)
