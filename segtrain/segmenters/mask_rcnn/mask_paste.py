"""Mask pasting: from the mask head's M x M probabilities to run-length masks of the image.

`paste_masks` evaluates a mask at the centres of pixels. Down a column of pixels the bilinear surface through its cells
is linear between any two of them, so each crossing of .5 has a closed form. The crossings are the ends of runs, so that
run lengths are computed without any plane, for all masks of an image together.

`paste_masks_as_torchvision` resizes each mask to whole pixels, as torchvision does; it is the reference for parity.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks

from segtrain import masks
from segtrain.arrays import FloatArray, IntArray
from segtrain.masks import Rle

THRESHOLD = 0.5
COLUMNS = 4096  # columns of pixels in a chunk, which then fits into the processor's cache


def paste_masks(
    probabilities: Tensor, boxes: Tensor, size: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)
) -> list[Rle]:
    """Paste masks at the exact places of their boxes.

    A pixel in column x reads the mask at the position (x + .5 - s - x0) / (x1 - x0) * M - .5, counted in cells from the
    centre of the first one, where s is the shift; its row gives the other coordinate. Values are bilinear between the
    centres of cells, and cells outside of the mask are 0. The pixel belongs to the mask if its value exceeds .5.

    Args:
        probabilities: (N, M, M) in [0, 1], on any device; NaN counts as 0.
        boxes: (N, 4) xyxy in pixels of the image, whose first pixel spans 0 to 1; a box that is not finite, or without
            area, gives an empty mask.
        size: (H, W) of the image.
        shift: distance in pixels (x, y) by which the masks are moved to the right and down.

    >>> masks.boxes(paste_masks(torch.ones(1, 28, 28), torch.tensor([[1.0, 1.0, 3.0, 2.0]]), (4, 4)))
    array([[1., 1., 3., 2.]])
    """
    if not len(probabilities):
        return []
    # Relative to the threshold, with a frame of zero probability; columns first, since runs go down the columns.
    squares = F.pad(torch.nan_to_num(probabilities.float()).mT, (1, 1, 1, 1)).sub(THRESHOLD).cpu().numpy()
    corners = boxes.double().cpu().numpy()
    usable = np.isfinite(corners).all(axis=1) & (corners[:, 2:] > corners[:, :2]).all(axis=1)
    corners = np.where(usable[:, None], corners, 0.0) + np.tile(shift, 2)
    columns = _columns(corners, size)
    parts = [_flips(squares, corners, size[0], *part) for part in columns]
    flips, owners = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return masks.from_flips(flips, owners, len(squares), size)


def _columns(corners: FloatArray, size: tuple[int, int]) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the image's columns inside each box, some thousands at a time: the mask of each, and its number.

    Outside of its box a mask does not exceed the threshold: at least half of the weight there is on cells that are 0.
    """
    edges = np.ceil(corners - 0.5).clip(0, [size[1], size[0]] * 2).astype(np.int64)
    lengths = edges[:, 2:] - edges[:, :2]
    counts = np.where(lengths[:, 1] > 0, lengths[:, 0], 0)
    owners = np.repeat(np.arange(len(counts)), counts)
    columns = np.arange(len(owners)) + (edges[:, 0] - np.cumsum(counts) + counts)[owners]
    for start in range(0, max(len(owners), 1), COLUMNS):
        yield owners[start : start + COLUMNS], columns[start : start + COLUMNS]


def _flips(
    squares: npt.NDArray[np.float32], corners: FloatArray, height: int, owners: IntArray, columns: IntArray
) -> tuple[IntArray, IntArray]:
    """Find where masks change between 0 and 1 in some columns.

    Args:
        squares: (N, M + 2, M + 2) probabilities minus the threshold, column first, in a frame of zero probability.
        corners: (N, 4) xyxy of the shifted boxes, in pixels.
        height: number of rows of the image.
        owners: (C,) mask of each column.
        columns: (C,) position of each column in the image.

    Returns:
        Column-major positions of the changes, sorted in each mask, and the mask of each change.
    """
    side = squares.shape[-1]
    cell_sizes = (corners[:, 2:] - corners[:, :2]) / (side - 2)
    # Places are counted from the centre of the frame's first cell.
    places = (columns + 0.5 - corners[owners, 0]) / cell_sizes[owners, 0] + 0.5
    left = places.astype(np.int64)
    lines = squares.reshape(-1, side)
    first = lines[owners * side + left]
    profiles = lines[owners * side + left + 1]
    profiles -= first
    profiles *= (places - left).astype(np.float32)[:, None]
    profiles += first

    inside = profiles > 0
    column, cell = np.divmod(np.flatnonzero(inside[:, 1:] != inside[:, :-1]), side - 1)
    before, after = (profiles[column, cell + step].astype(np.float64) for step in (0, 1))
    owner = owners[column]
    crossings = (cell + before / (before - after) - 0.5) * cell_sizes[owner, 1] + corners[owner, 1] - 0.5
    # A column begins and ends in the frame, outside of the mask, so that it enters and leaves the mask in turns.
    starts = np.floor(crossings[0::2]) + 1
    stops = np.maximum(np.ceil(crossings[1::2]), starts)
    rows = np.stack([starts, stops], axis=1).clip(0, height).astype(np.int64).reshape(-1)
    return columns[column] * height + rows, owner


def paste_masks_as_torchvision(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Rle]:
    """Paste masks as ``torchvision.models.detection.roi_heads.paste_masks_in_image`` does.

    Box and mask grow by a cell at every side; the mask is resized to the whole pixels of the box, both edges included.

    Args:
        probabilities: (N, M, M) in [0, 1], on any device.
        boxes: (N, 4) xyxy in pixels of the image.
        size: (H, W) of the image.

    >>> masks.boxes(paste_masks_as_torchvision(torch.ones(1, 28, 28), torch.tensor([[1.0, 1.0, 3.0, 2.0]]), (4, 4)))
    array([[0., 0., 4., 3.]])
    """
    squares, factor = expand_masks(probabilities.float().cpu()[:, None], padding=1)
    corners = expand_boxes(boxes.float().cpu(), factor).to(torch.int64).tolist()
    rles = []
    for square, (x0, y0, x1, y1) in zip(squares, corners, strict=True):
        extent = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        resized = F.interpolate(square[None], size=extent, mode="bilinear", align_corners=False)[0, 0]
        rles.append(masks.encode_crop((resized > THRESHOLD).numpy(), x0, y0, size))
    return rles
