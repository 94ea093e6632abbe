"""RoIAlign by weighted gather equals torchvision's, values and gradients, wherever the regions lie."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

from segtrain.segmenters.mask_rcnn.roi_align import FeaturePyramid, RoIAlignMethod, assign_levels

STRIDES = (4, 8, 16, 32)
SIZE = (96, 160)  # of the padded input, (H, W)
CHANNELS = 5
METHODS: tuple[RoIAlignMethod, ...] = ("gather", "kernel")


def pool_regions(
    features: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Sequence[Tensor],
    bins: int,
    method: RoIAlignMethod = "auto",
) -> Tensor:
    return FeaturePyramid(features, strides, method).pool(boxes, bins)


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bins", [7, 14])
def test_values_and_gradients_are_torchvisions(method: RoIAlignMethod, bins: int) -> None:
    boxes = [regions(40, 1), torch.zeros(0, 4), regions(25, 2)]  # the second image has no regions
    levels = assign_levels(torch.cat(boxes), STRIDES)
    assert set(levels.tolist()) == {0, 1, 2, 3}
    ours, theirs = pyramid(3), pyramid(3)
    result, expected = pool_regions(ours, STRIDES, boxes, bins, method), stock(theirs, boxes, bins)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3))
    (result * weight).sum().backward()
    (expected * weight).sum().backward()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("method", METHODS)
def test_regions_at_and_beyond_the_border(method: RoIAlignMethod) -> None:
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
    result, expected = pool_regions(features, STRIDES, [boxes], 7, method), stock(features, [boxes], 7)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    assert (result[6] == 0).all()
    assert (result[7] == 0).all()


@given(
    st.lists(
        st.tuples(*[st.floats(-300, 500, width=32)] * 2, *[st.floats(-20, 600, width=32)] * 2), min_size=0, max_size=4
    ),
    st.sampled_from([1, 2, 7]),
    st.sampled_from(STRIDES),
    st.tuples(st.integers(1, 9), st.integers(1, 12)),
    st.booleans(),
)
def test_any_box_on_any_map_gives_the_kernels_values(
    sides: list[tuple[float, ...]], bins: int, stride: int, size: tuple[int, int], aligned: bool
) -> None:
    """Boxes across borders and far outside, empty and upside down; maps of a single cell; no boxes."""
    boxes = torch.tensor([[x, y, x + width, y + height] for x, y, width, height in sides]).reshape(-1, 4)
    # On a smooth map, so that a sample moved by rounding is no difference (it is one only where a map ends: left out).
    feature = ramp(stride, size)
    boxes = boxes[[not at_an_end(box, bins, stride, size, aligned) for box in boxes]].reshape(-1, 4)
    # In float64, where rounding cannot move the least box either.
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        feature, boxes = feature.to(dtype), boxes.to(dtype)
        indexed = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
        expected = roi_align(feature, indexed, bins, 1 / stride, 2, aligned)
        found = FeaturePyramid([feature], [stride], "gather", aligned).pool([boxes], bins)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=1e2 * tolerance)


def ramp(stride: int, size: tuple[int, int]) -> Tensor:
    y = torch.arange(size[0])[:, None] * stride + 0.0
    x = torch.arange(size[1])[None, :] * stride + 0.0
    return torch.stack([x + 0 * y, y + 0 * x])[None]


def at_an_end(box: Tensor, bins: int, stride: int, size: tuple[int, int], aligned: bool) -> bool:
    """Whether a sample lies within rounding of where the kernel stops reading: one cell before, or the map's size."""
    for start, stop, cells in zip(box[:2], box[2:], size[::-1], strict=True):
        extent = (stop - start) / stride
        step = (extent if aligned else torch.clamp(extent, min=1.0)) / (2 * bins)
        position = start / stride - 0.5 * aligned + (torch.arange(2 * bins) + 0.5) * step
        if (torch.stack([position + 1, position - cells]).abs() < 1e-3).any():
            return True
    return False


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("bins", [1, 3])
def test_gradcheck(aligned: bool, bins: int) -> None:
    """Against finite differences, in float64: two images, two levels, boxes inside, across borders and outside."""
    generator = torch.Generator().manual_seed(0)
    features = [torch.rand(2, 3, *size, dtype=torch.float64, generator=generator) for size in ((6, 8), (3, 4))]
    boxes = [
        torch.tensor([[3.0, 2, 21, 17], [-9, -5, 4, 30], [60, 60, 90, 90], [7, 7, 7, 7], [9, 9, 7, 8]]),
        torch.tensor([[0.0, 0, 224, 224]]),
    ]
    assert assign_levels(torch.cat(boxes), STRIDES[2:]).tolist() == [0] * 6
    boxes[1] *= 2.5  # the second level
    assert assign_levels(torch.cat(boxes), STRIDES[2:]).tolist() == [0] * 5 + [1]

    def pooled(*maps: Tensor) -> Tensor:
        return FeaturePyramid(maps, STRIDES[2:], "gather", aligned).pool(boxes, bins)

    assert torch.autograd.gradcheck(pooled, [f.requires_grad_() for f in features])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(method: RoIAlignMethod, dtype: torch.dtype) -> None:
    boxes = [regions(30, 4)]
    results = []
    for enabled in (False, True):
        features = pyramid(1, dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            result = pool_regions(features, STRIDES, boxes, 7, method)
        assert result.dtype == torch.float32
        result.square().sum().backward()
        results.append([result, *(f.grad for f in features)])
    assert all(map(torch.equal, *results))


def test_two_poolings_of_one_pyramid_add_their_gradients() -> None:
    boxes, bins = [[regions(20, 6)], [regions(9, 7)]], [7, 14]
    together, apart = pyramid(1), pyramid(1)
    shared = FeaturePyramid(together, STRIDES)
    sum(shared.pool(b, n).square().sum() for b, n in zip(boxes, bins, strict=True)).backward()
    for b, n in zip(boxes, bins, strict=True):
        pool_regions(apart, STRIDES, b, n).square().sum().backward()
    for own, other in zip(together, apart, strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_boxes_get_no_gradient() -> None:
    boxes = regions(5, 8).requires_grad_()
    pool_regions(pyramid(1), STRIDES, [boxes], 7, "gather").sum().backward()
    assert boxes.grad is None


def test_what_is_not_a_number_stays_visible() -> None:
    boxes = torch.tensor([[float("nan"), 0, 10, 10], [0, 0, 10, 10]])
    result = pool_regions(pyramid(1), STRIDES, [boxes], 7, "gather")
    assert result[0].isnan().all()
    assert result[1].isfinite().all()


def test_the_method_is_chosen_by_device_and_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        "segtrain.segmenters.mask_rcnn.roi_align.stock_roi_align", lambda *a: calls.append(a) or roi_align(*a)
    )
    for method, expected in (("auto", 0), ("gather", 0), ("kernel", len(STRIDES))):
        calls.clear()
        pool_regions(pyramid(1), STRIDES, [regions(3, 1)], 7, method)
        assert len(calls) == expected


@pytest.mark.parametrize("method", METHODS)
def test_no_regions_at_all(method: RoIAlignMethod) -> None:
    features = pyramid(2)
    result = pool_regions(features, STRIDES, [torch.zeros(0, 4)] * 2, 14, method)
    assert result.shape == (0, CHANNELS, 14, 14)
    result.sum().backward()  # a batch without objects must train on


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_features_are_pooled_in_float32(method: RoIAlignMethod) -> None:
    features, boxes = pyramid(1, torch.bfloat16), [regions(30, 4)]
    result = pool_regions(features, STRIDES, boxes, 7, method)
    assert result.dtype == torch.float32
    expected = stock([f.detach().float() for f in features], boxes, 7)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
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
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_the_gather_repeats_itself_to_the_bit_on_any_number_of_threads() -> None:
    boxes = [regions(80, 5)]

    def values_and_gradients(count: int) -> list[Tensor]:
        torch.set_num_threads(count)
        features = pyramid(1)
        pooled = pool_regions(features, STRIDES, boxes, 14, "gather")
        pooled.square().sum().backward()
        return [pooled, *(f.grad for f in features if f.grad is not None)]

    first = values_and_gradients(1)
    assert len(first) == 5
    for count in (1, 2, 2, 3, 4):
        assert all(map(torch.equal, first, values_and_gradients(count)))
