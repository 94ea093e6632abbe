"""Networks aligned to pixel centres: mask targets by exact areas, pooling and anchors that move with the image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segtrain.segmenters.mask_rcnn.mask_targets import sample_targets
from segtrain.segmenters.mask_rcnn.roi_align import FeaturePyramid, RoIAlignMethod
from segtrain.segmenters.mask_rcnn.rpn import CentredAnchorGenerator
from segtrain.targets import Target
from tests.helpers.tiny_networks import ANCHORS, picture, tiny

BINS = 28
STRIDES = (4, 8, 16, 32)
RATIOS = (0.5, 1.0, 2.0)


def target_of(plane: np.ndarray) -> Target:
    rows, columns = np.nonzero(plane)
    y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    box = torch.tensor([[x0, y0, x1, y1]], dtype=torch.float32)
    return Target(box, torch.ones(1, dtype=torch.int64), [torch.from_numpy(plane[y0:y1, x0:x1].astype(np.uint8))])


def targets_in(plane: np.ndarray, regions: Tensor, scale: float = 1.0, bins: int = BINS) -> Tensor:
    """Targets of regions in input pixels, all of the one object of an image."""
    height, width = plane.shape
    inner = int(height * scale), int(width * scale)
    owners = torch.zeros(len(regions), dtype=torch.int64)
    return sample_targets([target_of(plane)], [regions], [owners], [plane.shape], [inner], bins, aligned=True)


def disc(radius: float, x: float, y: float, size: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] + 0.5
    inside: np.ndarray = np.hypot(rows - y, columns - x) <= radius
    return inside


def paste(square: Tensor, box: Tensor, size: tuple[int, int]) -> np.ndarray:
    """The mask of a square that fills a box: bilinear between the centres of cells, 0 outside."""
    y, x = (
        ((torch.arange(side) + 0.5 - box[axis]) / (box[axis + 2] - box[axis]) * 2 - 1).float()
        for side, axis in zip(size, (1, 0), strict=True)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    values = F.grid_sample(square[None, None], grid, align_corners=False)[0, 0]
    return (values > 0.5).numpy()


def covered(plane: np.ndarray, region: tuple[float, ...], bins: int) -> np.ndarray:
    """The mean of a plane over each cell of a region, pixel by pixel."""
    x0, y0, x1, y1 = region
    result = np.zeros((bins, bins))
    for row, column in np.ndindex(bins, bins):
        left, top = x0 + (x1 - x0) * column / bins, y0 + (y1 - y0) * row / bins
        right, bottom = left + (x1 - x0) / bins, top + (y1 - y0) / bins
        for y, x in zip(*np.nonzero(plane), strict=True):
            width = max(0.0, min(right, x + 1) - max(left, x))
            height = max(0.0, min(bottom, y + 1) - max(top, y))
            result[row, column] += width * height / ((right - left) * (bottom - top))
    return result


@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(*[st.floats(-4, 10)] * 2, *[st.floats(0.3, 15)] * 2),
    st.sampled_from([1, 3, 7]),
    st.sampled_from([1.0, 2.0]),
)
def test_targets_are_means_over_areas(
    seed: int, size: tuple[int, int], place: tuple[float, ...], bins: int, scale: float
) -> None:
    """Regions in and around the object, with cells both larger and smaller than a pixel."""
    plane = np.random.default_rng(seed).random(size) < 0.6
    plane[size[0] // 2, size[1] // 2] = True
    x, y, width, height = place
    region = (x, y, x + width, y + height)
    found = targets_in(plane, torch.tensor([region]) * scale, scale, bins)
    assert found.numpy()[0] == pytest.approx(covered(plane, region, bins), abs=1e-4)


def test_an_empty_region_has_an_empty_target() -> None:
    found = targets_in(disc(8, 20, 20), torch.tensor([[20.0, 20, 20, 20], [60, 60, 70, 70]]))
    assert (found == 0).all()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_targets_move_with_the_image(scale: float) -> None:
    """Image, box and mask one input pixel further down and to the right."""
    plane = disc(11.3, 20.4, 19.7, size=64)
    pixels = int(1 / scale)
    moved = np.roll(plane, (pixels, pixels), axis=(0, 1))
    regions = torch.tensor([[9.0, 8, 32, 31], [10.3, 9.1, 30.2, 27.7], [15, 2, 40, 22]]) * scale
    expected = targets_in(plane, regions, scale)
    assert 0.2 < expected.mean() < 0.9
    torch.testing.assert_close(targets_in(moved, regions + 1, scale), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0])
def test_a_disc_comes_back_through_targets_and_pasting(scale: float) -> None:
    """At sub-pixel places, in its tight box and in larger ones at any place."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        plane = disc(8, *rng.uniform(23, 24, 2))
        tight = target_of(plane).boxes
        wider = tight + torch.from_numpy(rng.uniform(0, 3, (3, 4)) * [-1, -1, 1, 1]).float()
        regions = torch.cat([tight, wider])
        for square, box in zip(targets_in(plane, regions * scale, scale), regions, strict=True):
            found = paste(square, box, plane.shape)
            assert (found & plane).sum() / (found | plane).sum() > 0.99


@pytest.mark.parametrize("method", ["gather", "kernel"])
def test_pooling_reads_cells_at_their_centres(method: RoIAlignMethod) -> None:
    """Of maps whose values are the places of their cells' centres it returns the centres of the bins."""
    maps = []
    for stride in STRIDES:
        centre = (torch.arange(512 // stride) + 0.5) * stride
        maps.append(torch.stack(torch.meshgrid(centre, centre, indexing="xy"))[None])
    regions = torch.tensor([[33.0, 40.5, 61.25, 77], [100, 60, 300, 290], [40, 50, 460, 470], [80.2, 90, 82.7, 94]])
    pooled = FeaturePyramid(maps, STRIDES, method, aligned=True).pool([regions], 7)
    steps = (torch.arange(7) + 0.5) / 7
    for axis, view in ((0, (1, 1, 7)), (1, (1, 7, 1))):
        centres = regions[:, axis, None] + (regions[:, axis + 2] - regions[:, axis])[:, None] * steps
        expected = centres.view(len(regions), *view[1:]).expand(-1, 7, 7)
        torch.testing.assert_close(pooled[:, axis], expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("method", ["gather", "kernel"])
def test_pooling_moves_with_the_features(method: RoIAlignMethod) -> None:
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(1, 4, 20, 20, generator=generator)
    moved = feature.roll((1, 1), dims=(2, 3))
    regions = torch.tensor([[20.3, 17.9, 44.4, 50.0], [9, 9, 11, 12.5]])
    pooled = FeaturePyramid([feature], [4], method, aligned=True).pool([regions], 7)
    again = FeaturePyramid([moved], [4], method, aligned=True).pool([regions + 4], 7)
    torch.testing.assert_close(again, pooled, rtol=1e-4, atol=1e-4)


def test_anchors_lie_around_the_centres_of_cells() -> None:
    """Of 96 pixels the coarsest map shows one cell and a half: it has two, whose stride is 64 still."""
    strides = (*STRIDES, 64)
    generator = CentredAnchorGenerator(ANCHORS, (RATIOS,) * 5, strides)
    sizes = [(96 // stride, 128 // stride) for stride in STRIDES] + [(2, 2)]
    levels = generator.grid_anchors(sizes)
    for anchors, (height, width), stride, (side,) in zip(levels, sizes, strides, ANCHORS, strict=True):
        boxes = anchors.view(height, width, 3, 4)
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        rows, columns = (torch.arange(height) + 0.5) * stride, (torch.arange(width) + 0.5) * stride
        torch.testing.assert_close(centres[..., 0], columns.view(1, -1, 1).expand(height, width, 3))
        torch.testing.assert_close(centres[..., 1], rows.view(-1, 1, 1).expand(height, width, 3))
        extent = boxes[..., 2:] - boxes[..., :2]
        torch.testing.assert_close(extent.prod(dim=-1), torch.full((height, width, 3), float(side**2)))
        torch.testing.assert_close(extent[0, 0, :, 1] / extent[0, 0, :, 0], torch.tensor(RATIOS))
        torch.testing.assert_close(boxes[1:, 1:], boxes[:-1, :-1] + stride)


def test_the_network_learns_and_segments() -> None:
    batch = [picture(0, 96, 128, 4), picture(1, 80, 80, 2)]
    images, targets = [image for image, _ in batch], [target for _, target in batch]
    model = tiny(aligned=True)
    assert isinstance(model.rpn.anchor_generator, CentredAnchorGenerator)
    losses = model.train().losses(images, targets)
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert len(model.segment(images)) == 2
    assert model.state_dict().keys() == tiny(aligned=False).state_dict().keys()
