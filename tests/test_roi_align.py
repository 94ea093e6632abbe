"""RoIAlign by weighted gather equals torchvision's, values and gradients, wherever the regions lie."""

from collections import OrderedDict
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from segtrain.segmenters.roi_align import assign_levels, pool_regions

STRIDES = (4, 8, 16, 32)
SIZE = (96, 160)  # of the padded input, (H, W)
CHANNELS = 5
WEIGHTED = [pytest.param(True, id="gather"), pytest.param(False, id="kernel")]


def pyramid(images: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(images, CHANNELS, SIZE[0] // s, SIZE[1] // s, generator=generator) for s in STRIDES]
    return [m.to(dtype).requires_grad_() for m in maps]


def regions(count: int, seed: int, reach: float = 40.0) -> Tensor:
    """Boxes of 1 to 700 pixels a side, so that all levels are met, that may leave the image by ``reach``."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.exp(torch.rand(count, 2, generator=generator) * 6.5)
    extent = torch.tensor([SIZE[1], SIZE[0]])
    corner = torch.rand(count, 2, generator=generator) * (extent + 2 * reach) - reach
    return torch.cat([corner, corner + size], dim=1)


def stock(features: list[Tensor], boxes: list[Tensor], bins: int) -> Tensor:
    pool = MultiScaleRoIAlign([str(i) for i in range(len(STRIDES))], bins, 2)
    named = OrderedDict((str(i), feature) for i, feature in enumerate(features))
    pooled: Tensor = pool(named, boxes, [SIZE] * len(boxes))
    return pooled


@pytest.mark.parametrize("gather", WEIGHTED)
@pytest.mark.parametrize("bins", [7, 14])
def test_values_and_gradients_are_torchvisions(gather: bool, bins: int) -> None:
    boxes = [regions(40, 1), torch.zeros(0, 4), regions(25, 2)]  # the second image has no regions
    levels = assign_levels(torch.cat(boxes), STRIDES)
    assert set(levels.tolist()) == {0, 1, 2, 3}
    ours, theirs = pyramid(3), pyramid(3)
    result, expected = pool_regions(ours, STRIDES, boxes, bins, gather), stock(theirs, boxes, bins)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3))
    (result * weight).sum().backward()
    (expected * weight).sum().backward()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("gather", WEIGHTED)
def test_regions_at_and_beyond_the_border(gather: bool) -> None:
    height, width = SIZE
    boxes = torch.tensor(
        [
            [0, 0, width, height],
            [0, 0, 0, 0],
            [width, height, width, height],
            [width - 1, height - 1, width, height],
            [-4, -4, 10, 10],
            [-3.5, -3.5, 2, 2],
            [-500, -500, -400, -400],
            [width + 300, 0, width + 400, 50],
            [-200, 10, 400, 20],
            [20, 30, 10, 15],  # upside down: the stock kernel takes it for one cell
        ],
        dtype=torch.float32,
    )
    features = pyramid(1)
    result, expected = pool_regions(features, STRIDES, [boxes], 7, gather), stock(features, [boxes], 7)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    assert (result[6] == 0).all()
    assert (result[7] == 0).all()


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-300, 500, width=32)] * 2, *[st.floats(0, 600, width=32)] * 2), st.sampled_from([1, 2, 7]))
def test_any_box_gives_the_kernels_values(box: tuple[float, ...], bins: int) -> None:
    boxes = torch.tensor([[box[0], box[1], box[0] + box[2], box[1] + box[3]]])
    # On a smooth map, so that a sample moved by rounding is no difference (it is one only where a map ends: left out).
    ramps = [ramp(stride) for stride in STRIDES]
    gathered, kernel = (pool_regions(ramps, STRIDES, [boxes], bins, gather) for gather in (True, False))
    if not at_an_end(boxes, bins):
        torch.testing.assert_close(gathered, kernel, rtol=1e-4, atol=1e-2)


def ramp(stride: int) -> Tensor:
    y = torch.arange(SIZE[0] // stride)[:, None] * stride + 0.0
    x = torch.arange(SIZE[1] // stride)[None, :] * stride + 0.0
    return torch.stack([x + 0 * y, y + 0 * x])[None]


def at_an_end(boxes: Tensor, bins: int) -> bool:
    """Whether a sample lies within rounding of where the kernel stops reading: one cell before, or the map's size."""
    stride = STRIDES[int(assign_levels(boxes, STRIDES)[0])]
    for start, stop, size in zip(boxes[0, :2], boxes[0, 2:], (SIZE[1], SIZE[0]), strict=True):
        step = torch.clamp((stop - start) / stride, min=1.0) / (2 * bins)
        position = start / stride + (torch.arange(2 * bins) + 0.5) * step
        if (torch.stack([position + 1, position - size // stride]).abs() < 1e-3).any():
            return True
    return False


@pytest.mark.parametrize("gather", WEIGHTED)
def test_no_regions_at_all(gather: bool) -> None:
    features = pyramid(2)
    result = pool_regions(features, STRIDES, [torch.zeros(0, 4)] * 2, 14, gather)
    assert result.shape == (0, CHANNELS, 14, 14)
    result.sum().backward()  # a batch without objects must train on


@pytest.mark.parametrize("gather", WEIGHTED)
def test_bfloat16_features_are_pooled_in_float32(gather: bool) -> None:
    features, boxes = pyramid(1, torch.bfloat16), [regions(30, 4)]
    result = pool_regions(features, STRIDES, boxes, 7, gather)
    assert result.dtype == torch.float32
    expected = stock([f.detach().float() for f in features], boxes, 7)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    result.sum().backward()
    assert all(f.grad is not None and f.grad.dtype == torch.bfloat16 for f in features)


def test_levels_are_torchvisions_up_to_the_last_bit() -> None:
    borders = torch.tensor([112.0, 224.0, 448.0])
    sides = torch.cat(
        [torch.tensor([0.0, 1.0, 1e4]), borders, *(borders + step for step in (-1e-2, -1e-4, -3e-5, 3e-5))]
    )
    boxes = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides, sides], dim=1)
    assert torch.equal(assign_levels(boxes, STRIDES), LevelMapper(2, 5)([boxes]))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_the_gather_repeats_itself_on_several_threads() -> None:
    boxes = [regions(60, 5)]

    def gradients() -> list[Tensor]:
        features = pyramid(1)
        (pool_regions(features, STRIDES, boxes, 14, gather=True) ** 2).sum().backward()
        return [f.grad for f in features if f.grad is not None]

    first = gradients()
    assert len(first) == 4
    for _ in range(3):
        assert all(map(torch.equal, first, gradients()))
