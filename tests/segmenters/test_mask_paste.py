"""Masks encoded inside their boxes equal torchvision's pasted planes, to the bit."""

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
from segtrain.segmenters.mask_rcnn.mask_paste import to_rles

SIZE = (50, 70)


def soft_masks(count: int, seed: int, side: int = 28) -> Tensor:
    """Blobs with a soft edge and some noise, as a mask head answers."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    radius = torch.rand(count, 1, 1, generator=generator) * 1.2
    return torch.sigmoid(5 * (radius - torch.hypot(x, y)) + 2 * torch.randn(count, side, side, generator=generator))


def assert_as_pasted(probabilities: Tensor, boxes: Tensor, size: tuple[int, int] = SIZE) -> None:
    planes = paste_masks_in_image(probabilities[:, None], boxes, size)[:, 0] > 0.5
    for plane, rle in zip(planes.numpy(), to_rles(probabilities, boxes, size), strict=True):
        expected = coco_mask.encode(np.asfortranarray(plane, dtype=np.uint8))
        assert rle == {"size": list(size), "counts": expected["counts"].decode()}


@pytest.mark.parametrize("side", [14, 28])
def test_random_boxes(side: int) -> None:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(300, 2, generator=generator) * torch.tensor([70.0, 50.0])
    size = torch.exp(torch.rand(300, 2, generator=generator) * 4.2)
    limit = torch.tensor([70.0, 50.0, 70.0, 50.0])
    assert_as_pasted(soft_masks(300, 2, side), torch.cat([corner, corner + size], dim=1).minimum(limit))


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
def test_boxes_over_the_border_and_of_no_size(box: list[float]) -> None:
    assert_as_pasted(soft_masks(3, 3), torch.tensor([box] * 3, dtype=torch.float32))


@pytest.mark.parametrize("box", [[100, 10, 140, 30], [-90, -90, -40, -40], [10, 60, 30, 80], [10, -40, 30, -20]])
def test_a_box_outside_the_image_has_no_pixels(box: list[float]) -> None:
    (rle,) = to_rles(soft_masks(1, 4), torch.tensor([box], dtype=torch.float32), SIZE)
    assert rle == masks.empty(SIZE)


@given(
    st.tuples(*[st.floats(-20, 60, width=32)] * 2, *[st.floats(0, 80, width=32)] * 2).filter(
        lambda b: b[0] + b[2] > 0 and b[1] + b[3] > 0 and b[0] < 68 and b[1] < 48
    ),
    st.integers(0, 100),
)
def test_any_box_that_meets_the_image(box: tuple[float, ...], seed: int) -> None:
    xyxy = torch.tensor([[box[0], box[1], box[0] + box[2], box[1] + box[3]]])
    assert_as_pasted(soft_masks(1, seed), xyxy)


COARSE = [0.0, 0.25, 0.5, 0.75, 1.0]  # halfway between them, pixels lie exactly on the threshold
NEAR = [0.5, float(np.nextafter(np.float32(0.5), np.float32(1))), float(np.nextafter(np.float32(0.5), np.float32(0)))]


@st.composite
def crowded_images(draw: st.DrawFn) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Probabilities of many kinds in boxes of any size: over the borders, of no size, larger than the image."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    size = draw(st.tuples(st.integers(1, 160), st.integers(1, 160)))
    limit = torch.tensor([size[1], size[0]])
    count, side = draw(st.integers(1, 12)), draw(st.sampled_from([1, 2, 7, 28]))
    kind = draw(st.sampled_from(["soft", "hard", "coarse", "near", "bf16"]))
    drawn = torch.rand(count, side, side, generator=generator)
    probabilities = {
        "soft": lambda: soft_masks(count, 0, side),
        "hard": lambda: (drawn > 0.5).float(),
        "coarse": lambda: torch.tensor(COARSE)[(drawn * len(COARSE)).long()],
        "near": lambda: torch.tensor([*COARSE, *NEAR * 3])[(drawn * (len(COARSE) + 3 * len(NEAR))).long()],
        "bf16": lambda: drawn.bfloat16(),
    }[kind]()
    extent = torch.exp(torch.rand(count, 2, generator=generator) * draw(st.sampled_from([1.0, 4.0, 6.0]))) - 1
    center = torch.rand(count, 2, generator=generator) * limit
    boxes = torch.cat([center - extent / 2, center + extent / 2], dim=1)
    return probabilities, boxes.round() if draw(st.booleans()) else boxes, size


@given(crowded_images())
def test_all_masks_of_an_image(image: tuple[Tensor, Tensor, tuple[int, int]]) -> None:
    probabilities, boxes, size = image
    assert_as_pasted(probabilities.float(), boxes, size)
    assert to_rles(probabilities, boxes, size) == to_rles(probabilities.float(), boxes, size)


@pytest.mark.parametrize("size", [(700, 900), (900, 700)])
def test_large_boxes(size: tuple[int, int]) -> None:
    """Where a cell has many pixels, some of them always come so close to the threshold that rounding decides."""
    probabilities = torch.cat([soft_masks(6, 5), torch.full((1, 28, 28), 0.5), soft_masks(3, 6).gt(0.5).float()])
    shift = torch.arange(10.0)[:, None] * 7.3
    boxes = torch.cat([shift.expand(-1, 2), torch.tensor([[size[1], size[0]]]) - shift], dim=1)
    assert_as_pasted(probabilities, boxes, size)


def test_flat_masks_are_resized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an untrained network answers: near the threshold everywhere."""
    probabilities = torch.full((3, 28, 28), 0.5) + torch.tensor([0.0, 1e-7, -1e-7])[:, None, None]
    boxes = torch.tensor([[3.0, 4.0, 303.0, 204.0]]).expand(3, 4)
    calls = []
    monkeypatch.setattr(F, "interpolate", lambda *a, _resize=F.interpolate, **k: calls.append(1) or _resize(*a, **k))
    to_rles(probabilities, boxes, (300, 400))
    assert len(calls) <= 2 * len(boxes)
    assert_as_pasted(probabilities, boxes, (300, 400))


def test_more_columns_than_are_worked_on_together() -> None:
    corner = torch.rand(120, 2, generator=torch.Generator().manual_seed(7)) * 20 - 5
    assert_as_pasted(soft_masks(120, 7), torch.cat([corner, corner + 50], dim=1))


def test_no_masks() -> None:
    assert to_rles(torch.zeros(0, 28, 28), torch.zeros(0, 4), SIZE) == []


def test_a_large_image_costs_what_its_objects_cost() -> None:
    (rle,) = to_rles(torch.ones(1, 28, 28), torch.tensor([[100.0, 100.0, 120.0, 110.0]]), (40_000, 30_000))
    assert masks.area([rle]) == pytest.approx(21 * 11, abs=32)
