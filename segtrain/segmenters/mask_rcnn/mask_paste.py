"""Mask pasting: from the mask head's 28 x 28 probabilities to run-length masks of the image.

The result equals torchvision's ``paste_masks_in_image``, ``> 0.5``, then COCO's encoder, to the bit.

Down a column of the image a resized square is a line between any two of its cells, so it passes .5 there at most once,
at a row that a division tells. These rows make the mask's run lengths: no pixel in between is looked at, and all masks
of an image are done together. Torch resizes in float32. Pixels that its rounding could move to the other side are
computed as it computes them; where that does not settle them, they are taken from its own resized mask.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from segtrain import masks
from segtrain.arrays import BoolArray, IntArray
from segtrain.masks import Rle, from_flips
from segtrain.segmenters.mask_rcnn.mask_targets import MASK_SIDE, sample_targets
from segtrain.segmenters.mask_rcnn.preprocess import InputSize
from segtrain.targets import Target

PADDING = 1  # a frame of zeros, so that the mask can fall to 0 at the box's edge
THRESHOLD = 0.5
COLUMNS = 4096  # that are worked on together: they stay in the processor's cache
FEW = 8  # columns of a mask that take less time pixel by pixel than torch takes for the mask
EPSILON = float(np.finfo(np.float32).eps)  # twice the most that a rounding adds, relatively
ROUNDINGS = 1.3 * EPSILON  # of torch's sum of four products near .5: five half units at most, in whatever order
RealArray = npt.NDArray[np.floating]
OWN_SIZE = InputSize(min_size=None, max_size=2**31, scale=1.0)


def to_rles(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Rle]:
    """Resize each mask inside its box and encode it.

    Args:
        probabilities: (N, M, M) in [0, 1], on any device.
        boxes: (N, 4) xyxy in pixels of the image.
        size: (H, W) of the image.
    """
    if not len(probabilities):
        return []
    squares = np.pad(probabilities.float().cpu().numpy(), [(0, 0), (PADDING, PADDING), (PADDING, PADDING)])
    corners = _expand(boxes.float(), squares.shape[-1] / probabilities.shape[-1]).to(torch.int64).cpu().numpy()
    # Whole pixels, both edges included: torchvision's convention.
    extents = np.maximum(corners[:, 2:] - corners[:, :2] + 1, 1)
    squares = np.ascontiguousarray(squares.transpose(0, 2, 1))
    # Torch rounds a pixel's place in cells twice, in both directions.
    steepest = np.maximum(*(np.abs(np.diff(squares, axis=axis)).max(axis=(1, 2)) for axis in (1, 2)))
    tolerances = 2 * squares.shape[-1] * EPSILON * steepest + ROUNDINGS
    columns = _columns(corners, extents, size)
    parts = [_flips(squares, corners, extents, tolerances, size, *part) for part in columns]
    flips, owners = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return from_flips(flips, owners, len(squares), size)


def _expand(boxes: Tensor, factor: float) -> Tensor:
    center = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * factor
    return torch.cat([center - half, center + half], dim=1)


def _columns(corners: IntArray, extents: IntArray, size: tuple[int, int]) -> Iterator[tuple[IntArray, IntArray]]:
    """The columns of the image that each box covers: their masks and their numbers, some thousands at a time."""
    limit = np.array([size[1], size[0]])
    starts = np.clip(corners[:, :2], 0, limit)
    lengths = np.clip(corners[:, :2] + extents, 0, limit) - starts
    counts = np.where(lengths[:, 1] > 0, lengths[:, 0], 0)
    owners = np.repeat(np.arange(len(counts)), counts)
    columns = np.arange(len(owners)) + (starts[:, 0] - np.cumsum(counts) + counts)[owners]
    for start in range(0, max(len(owners), 1), COLUMNS):
        yield owners[start : start + COLUMNS], columns[start : start + COLUMNS]


def _flips(
    squares: RealArray, corners: IntArray, extents: IntArray, tolerances: RealArray, size: tuple[int, int],
    owners: IntArray, columns: IntArray,
) -> tuple[IntArray, IntArray]:  # fmt: skip
    """Where masks change between 0 and 1 in some columns.

    Args:
        squares: (N, S, S), column first, with a frame of zeros.
        corners: (N, 4), of which the first two are column and row of each box's top left pixel.
        extents: (N, 2) width and height of each box in pixels.
        tolerances: (N,) how close to the threshold torch's rounding could matter.
        size: (H, W) of the image.
        owners: the mask of each column.
        columns: their numbers in the image.

    Returns:
        Column-major positions of the changes, sorted in each mask, and their masks.
    """
    side = squares.shape[-1]
    scales = _scales(extents, side)
    from_left = columns - corners[owners, 0]
    profiles = _profiles(squares, owners, (from_left + 0.5) * scales[owners, 0] - 0.5)
    inside = profiles > 0
    column, cell = np.divmod(np.flatnonzero(inside[:, 1:] != inside[:, :-1]), side - 1)
    before, after = (profiles[column, cell + step].astype(np.float64) for step in (0, 1))
    scale = scales[owners[column], 1].astype(np.float64)
    crossings = (cell + before / (before - after) + 0.5) / scale - 0.5
    rows = np.ceil(crossings).astype(np.int64)

    tolerance = tolerances[owners]
    pixels = np.rint(crossings)
    near = np.flatnonzero(np.abs(crossings - pixels) * scale * np.abs(after - before) <= tolerance[column])
    beside = pixels[near].astype(np.int64)
    drawn = _inside(squares, extents, owners[column[near]], from_left[column[near]], beside)
    rows[near] = beside + (drawn != (after > before)[near])
    # Where a cell itself is that close, whether there is a crossing at all is not certain.
    close = np.flatnonzero((np.abs(profiles) <= 3 * tolerance[:, None]).any(axis=1))
    kept = ~np.isin(column, close)
    column, rows = column[kept], rows[kept]
    for owner in np.unique(owners[close]).tolist():
        own = close[owners[close] == owner]
        drawn = _columns_inside(squares, extents, owner, from_left[own])
        which, changes = np.nonzero(np.diff(drawn, axis=1, prepend=False, append=False))
        column, rows = np.concatenate([column, own[which]]), np.concatenate([rows, changes])
    order = np.argsort(column, kind="stable")
    column, rows = column[order], rows[order]
    owner = owners[column]
    return columns[column] * size[0] + np.clip(corners[owner, 1] + rows, 0, size[0]), owner


def _profiles(squares: RealArray, owners: IntArray, places: RealArray) -> RealArray:
    """The squares resized along their rows, minus the threshold: (columns, S), at places in cells."""
    side = squares.shape[-1]
    places = np.maximum(places, 0)  # as torch does; at the other end both cells are the frame's
    left = np.minimum(places.astype(np.int64), side - 1)
    rows = squares.reshape(-1, side)
    first = rows[owners * side + left]
    profiles: RealArray = rows[owners * side + np.minimum(left + 1, side - 1)]
    profiles -= first
    profiles *= (places - left).astype(np.float32)[:, None]
    profiles += first
    profiles -= np.float32(THRESHOLD)
    return profiles


def _columns_inside(squares: RealArray, extents: IntArray, owner: int, x: IntArray) -> BoolArray:
    """Whole columns of one mask, (columns, height); x as below."""
    height = int(extents[owner, 1])
    if len(x) > FEW:
        return _resized(squares[owner], extents[owner])[:, x].T > THRESHOLD
    pixels = np.full(len(x) * height, owner), np.repeat(x, height), np.tile(np.arange(height), len(x))
    return _inside(squares, extents, *pixels).reshape(len(x), height)


def _inside(squares: RealArray, extents: IntArray, owners: IntArray, x: IntArray, y: IntArray) -> BoolArray:
    """Whether pixels belong to their masks, in torch's arithmetic.

    Args:
        squares: (N, S, S), column first.
        extents: (N, 2) width and height of each box in pixels.
        owners: the mask of each pixel.
        x: its column, counted from its box's left edge.
        y: its row, counted from the upper edge.
    """
    across, down = (_places(p, extents[owners, axis], squares.shape[-1]) for axis, p in enumerate((x, y)))
    away = np.zeros((4, len(owners)))
    for number, (columns, rows) in enumerate(product(across, down)):
        for (column, width), (row, height) in product(columns, rows):
            away[number] += squares[owners, column, row] * width * height
    away -= THRESHOLD
    inside: BoolArray = away[0] > 0
    uncertain = (np.abs(away) <= ROUNDINGS).any(axis=0) | ((away > 0) != inside).any(axis=0)
    for owner in np.unique(owners[uncertain]).tolist():
        asked = np.flatnonzero(uncertain & (owners == owner))
        inside[asked] = _resized(squares[owner], extents[owner])[y[asked], x[asked]] > THRESHOLD
    return inside


def _resized(square: RealArray, extent: IntArray) -> RealArray:
    """A square in its box, (height, width), by torch."""
    width, height = extent.tolist()
    mask = torch.from_numpy(square.T.copy())[None, None]
    resized: RealArray = F.interpolate(mask, size=(height, width), mode="bilinear", align_corners=False).numpy()[0, 0]
    return resized


def _places(pixels: IntArray, lengths: IntArray, side: int) -> list[tuple[tuple[IntArray, RealArray], ...]]:
    """The two cells around each pixel's centre and their weights, by a fused step and by two roundings."""
    scaled = (pixels + 0.5) * _scales(lengths, side).astype(np.float64)
    ways = []
    for rounded in ((scaled - 0.5).astype(np.float32), scaled.astype(np.float32) - np.float32(0.5)):
        places = np.maximum(rounded, np.float32(0))
        first = np.minimum(places.astype(np.int64), side - 1)
        share = places - first.astype(np.float32)
        cells = (first, 1 - share), (np.minimum(first + 1, side - 1), share)
        ways.append(tuple((cell, weight.astype(np.float64)) for cell, weight in cells))
    return ways


def _scales(lengths: IntArray, side: int) -> RealArray:
    """Cells a pixel, rounded as torch rounds it."""
    return np.float32(side) / lengths.astype(np.float32)


def resample_through_mask_head(
    rles: Sequence[Sequence[Rle]], sizes: Sequence[tuple[int, int]], input_size: InputSize = OWN_SIZE
) -> list[list[Rle]]:
    """The masks that perfect boxes, and a mask head that answers just as it is taught, would give.

    Each mask is sampled over its tight box as the mask loss samples its targets, 28 x 28, and pasted back as
    predictions are.

    Args:
        rles: the masks of each image, of one or more; one without a pixel stays empty.
        sizes: (H, W) of each image.
        input_size: what the network resizes images to: targets are sampled in that frame.
    """
    targets = [_target(own) for own in rles]
    inner = [input_size.resized(*size) for size in sizes]
    scaled = [
        target.boxes * torch.tensor([w / width, h / height] * 2)
        for target, (height, width), (h, w) in zip(targets, sizes, inner, strict=True)
    ]
    own = [torch.arange(len(target)) for target in targets]
    squares = sample_targets(targets, scaled, own, sizes, inner, MASK_SIDE)
    parts = torch.split(squares, [len(target) for target in targets])
    return [_pasted(*image) for image in zip(rles, parts, targets, sizes, strict=True)]


def _target(rles: Sequence[Rle]) -> Target:
    """Those that have a pixel."""
    crops = [found for found in map(masks.decode_crop, rles) if found[0].size]
    corners = [(x, y, x + crop.shape[1], y + crop.shape[0]) for crop, x, y in crops]
    boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    return Target(boxes, torch.ones(len(crops), dtype=torch.int64), [torch.from_numpy(crop) for crop, _, _ in crops])


def _pasted(rles: Sequence[Rle], squares: Tensor, target: Target, size: tuple[int, int]) -> list[Rle]:
    found = iter(to_rles(squares, target.boxes, size))
    return [next(found) if filled else masks.empty(size) for filled in (masks.area(rles) > 0).tolist()]
