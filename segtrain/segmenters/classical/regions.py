"""Label maps: connected components, foreground by the border rule, watershed.

A label map is an int (H, W) array: 0 is background, region n has the value n.

To limit the memory on large images, functions compute intermediate results in strips of rows, and return labels of the
narrowest integer type that holds them.
"""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from segtrain.arrays import BoolArray, Float32Array, IntArray
from segtrain.errors import SegtrainError
from segtrain.segmenters.classical.shared_steps import shared_step

ImageArray = npt.NDArray[np.uint8] | npt.NDArray[np.floating[Any]]
LabelMap = npt.NDArray[np.integer[Any]]
Polarity = Literal["border", "bright", "dark"]
_STRIP = 2**21  # pixels of a strip of rows; bounds the memory of intermediate results


def as_rgb(image: ImageArray) -> Float32Array:
    """Return an image as float32 RGB in [0, 1]; every method converts its image first.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].

    Raises:
        SegtrainError: the image has another shape or type, or values outside [0, 1].

    >>> as_rgb(np.array([[[0, 51, 255]]], np.uint8)).tolist()
    [[[0.0, 0.20000000298023224, 1.0]]]
    """
    _require_three_channels(image)
    if image.dtype == np.uint8:
        return as_unit(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise SegtrainError(f"an image of type {image.dtype} has no known range; give uint8, or float in [0, 1]")
    if not (image.min(initial=0) >= 0 and image.max(initial=1) <= 1):
        low, high = image.min(), image.max()
        raise SegtrainError(f"a float image must lie in [0, 1], not in [{low:g}, {high:g}]; divide it by its range")
    return image.astype(np.float32, copy=False)


def _require_three_channels(image: ImageArray) -> None:
    if np.ndim(image) != 3 or image.shape[2] != 3:
        raise SegtrainError(f"an image of shape {np.shape(image)} is not RGB; give an array (H, W, 3)")


def as_unit(values: npt.NDArray[Any]) -> Float32Array:
    """Return intensities of any shape as float32 in [0, 1]: bytes are divided by 255, floats lie in it already.

    >>> as_unit(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    if values.dtype != np.uint8:
        return values.astype(np.float32, copy=False)
    unit = values.astype(np.float32)
    unit /= np.float32(255)
    return unit


def as_given(image: ImageArray) -> ImageArray:
    """Return an image of bytes as it is, since bytes can be converted a few rows at a time, and another as `as_rgb`.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].

    Raises:
        SegtrainError: the image has another shape or type, or values outside [0, 1].

    >>> as_given(np.full((1, 1, 3), 255, np.uint8)).dtype
    dtype('uint8')
    """
    _require_three_channels(image)
    return image if image.dtype == np.uint8 else as_rgb(image)


@shared_step
def grey_of(image: ImageArray) -> Float32Array:
    """Compute the grey of an image as it is given; bytes are converted a few rows at a time.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].

    Returns:
        (H, W) in [0, 1].

    Raises:
        SegtrainError: the image has another shape or type, or values outside [0, 1].

    >>> grey_of(np.full((1, 1, 3), 255, np.uint8)).tolist()
    [[1.0]]
    """
    return luminance(as_given(image))


def luminance(rgb: ImageArray) -> Float32Array:
    """Compute the grey of every pixel: Rec. 709 luma, .2125 R + .7154 G + .0721 B.

    The weights are those of ``skimage.color.rgb2gray``, whose matrix product rounds equal pixels differently.

    Args:
        rgb: (H, W, 3), uint8, or float in [0, 1].

    Returns:
        (H, W) in [0, 1].

    >>> luminance(np.ones((1, 1, 3), np.float32)).tolist()
    [[1.0]]
    """
    # float32 on purpose: a float64 sum of equal float32 values is exact, so a constant image is not above its own mean.
    grey: Float32Array = np.empty(rgb.shape[:2], dtype=np.float32)
    for rows in strips(rgb.shape[:2]):
        red, green, blue = np.moveaxis(as_unit(rgb[rows]).astype(np.float64), -1, 0)
        grey[rows] = 0.2125 * red + 0.7154 * green + 0.0721 * blue
    return grey


@shared_step
def smoothed(grey: Float32Array, sigma: float) -> Float32Array:
    """Smooth a grey image by a Gaussian.

    Args:
        grey: (H, W).
        sigma: sigma in pixels; 0 for none.

    >>> smoothed(np.ones((2, 2), np.float32), 1.5).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    result: Float32Array = ndimage.gaussian_filter(grey, sigma)
    return result


def strips(size: tuple[int, ...]) -> Iterator[slice]:
    """Divide the rows of an (H, W) plane into strips of a few million pixels.

    >>> list(strips((5000, 7000)))[:2]
    [slice(0, 299, None), slice(299, 598, None)]
    """
    step = max(1, _STRIP // max(size[1], 1))
    return (slice(start, min(start + step, size[0])) for start in range(0, size[0], step))


def with_halo(rows: slice, halo: int) -> tuple[slice, slice]:
    """Widen a strip of rows, for filters that read beyond it.

    Args:
        rows: strip of rows.
        halo: number of rows that are added on either side, if the image has so many.

    Returns:
        The wider strip, and the place of the narrower one in it.

    >>> with_halo(slice(2, 10), 3)
    (slice(0, 13, None), slice(2, 10, None))
    """
    top = max(rows.start - halo, 0)
    return slice(top, rows.stop + halo), slice(rows.start - top, rows.stop - top)


def above_mean(values: Float32Array) -> BoolArray:
    """Find the pixels above the mean of a plane; the mean is computed in float64.

    Args:
        values: (H, W) plane.

    >>> above_mean(np.array([[0.0, 0.0, 1.0]], np.float32)).tolist()
    [[False, False, True]]
    """
    above: BoolArray = values > values.mean(dtype=np.float64)
    return above


def components(segments: npt.NDArray[Any]) -> LabelMap:
    """Label the 8-connected components of equal value.

    Args:
        segments: (H, W), bool or int; 0 is background.

    >>> int(components(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [2, 0, 1]])).max())
    3
    """
    labels: LabelMap = measure.label(segments, background=0, connectivity=2)
    return labels.astype(np.int32, copy=False)


def areas(labels: LabelMap) -> IntArray:
    """Count the pixels of each region, the background included, indexed by region number.

    >>> areas(np.array([[0, 1, 1], [0, 0, 3]])).tolist()
    [3, 2, 0, 1]
    """
    counts = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    for rows in strips(labels.shape):  # NumPy copies what it counts to 64 bits
        part = np.bincount(labels[rows].reshape(-1))
        counts[: len(part)] += part
    return counts


def drop_small(labels: LabelMap, min_area: int) -> LabelMap:
    """Remove small regions, and renumber the others 1..N in their order.

    Args:
        labels: (H, W) label map.
        min_area: least number of pixels of a region that is kept.

    >>> drop_small(np.array([[1, 0, 2, 2]]), 2).tolist()
    [[0, 0, 1, 1]]
    """
    kept = areas(labels) >= max(min_area, 1)
    kept[0] = False
    number: LabelMap = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return number[labels]


def border_counts(segments: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Count the pixels of each segment in the outermost rows and columns, indexed by segment number.

    >>> border_counts(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 2]])).tolist()
    [7, 0, 1]
    """
    frame = np.ones(segments.shape, dtype=bool)
    frame[1:-1, 1:-1] = False
    return np.bincount(segments[frame], minlength=int(segments.max()) + 1)


def foreground(segments: npt.NDArray[np.integer[Any]]) -> BoolArray:
    """Separate objects from background by the image's border, for bright and dark objects alike.

    The background is the smallest set of segments, taken by number of border pixels, that holds more than half of the
    border: few images have objects along most of their border.

    Args:
        segments: (H, W) segment numbers from 0.

    Returns:
        (H, W), true where a pixel belongs to none of the background's segments.

    >>> int(foreground(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])).sum())
    1
    """
    counts = border_counts(segments)
    order = np.argsort(-counts, kind="stable")
    enough = int(np.argmax(2 * np.cumsum(counts[order]) > counts.sum()))
    objects = np.ones(len(counts), dtype=np.bool_)
    objects[order[: enough + 1]] = False
    of_pixels: BoolArray = objects[segments]
    return of_pixels


def objects_among(segments: npt.NDArray[np.integer[Any]], grey: Float32Array, polarity: Polarity) -> BoolArray:
    """Find the pixels of those segments that are objects.

    Args:
        segments: (H, W) segment numbers from 0.
        grey: (H, W) in [0, 1].
        polarity: "border" for the segments that ``foreground`` finds; "bright" ("dark") for those whose mean grey is
            above (below) that of the image.

    Returns:
        (H, W), true inside objects.

    Raises:
        SegtrainError: the polarity is none of these.

    >>> objects_among(np.array([[0, 1]]), np.array([[0.2, 0.8]], np.float32), "dark").tolist()
    [[True, False]]
    """
    if polarity not in get_args(Polarity):
        raise SegtrainError(f"polarity {polarity!r} is unknown; use {', '.join(get_args(Polarity))}")
    if polarity == "border":
        return foreground(segments)
    numbers = segments.ravel()
    totals, counts = np.bincount(numbers, grey.ravel()), np.bincount(numbers)
    difference = totals / np.maximum(counts, 1) - grey.mean(dtype=np.float64)
    chosen: BoolArray = difference > 0 if polarity == "bright" else difference < 0
    of_pixels: BoolArray = chosen[segments]
    return of_pixels
