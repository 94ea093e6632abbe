"""What COCO files hold for a mask, checked and rasterised."""

import re
import reprlib
from typing import Any

import numpy as np

from segtrain.masks import Rle, counts_of, from_polygons, from_runs

# Numbers of at most 7 characters, each but the last with bit 5 set (see counts_of): 7 x 5 bits hold any image's pixels.
_CODE = re.compile(r"(?:[P-o]{0,6}[0-O])+", re.ASCII)


def from_segmentation(segmentation: object, size: tuple[int, int]) -> Rle:
    """Rasterise what a COCO annotation holds.

    Args:
        segmentation: polygons (a list of [x1, y1, x2, y2, ...], in pixels), or a run-length dictionary whose counts are
            a list or a string.
        size: (H, W) of the image.

    Raises:
        ValueError: the segmentation is none of these, or does not belong to an image of this size.
    """
    height, width = size
    if isinstance(segmentation, dict):
        return _from_rle(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("the segmentation is empty")
    if not all(isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 for part in segmentation):
        raise ValueError("a polygon needs an even count of at least 6 numbers")
    # pycocotools computes in C integers: a wild coordinate would overflow them, or ask for gigabytes.
    limit = 16 * max(height, width, 1024)
    if not all(isinstance(v, int | float) and -limit <= v <= limit for part in segmentation for v in part):
        raise ValueError("a polygon coordinate is not a finite number, or lies far outside the image")
    return from_polygons(segmentation, size)


def _from_rle(segmentation: dict[str, Any], size: tuple[int, int]) -> Rle:
    height, width = size
    counts, stated = segmentation.get("counts"), segmentation.get("size")
    if not isinstance(stated, list) or stated != [height, width]:
        raise ValueError(f"the run-length mask has size {reprlib.repr(stated)}, its image is [{height}, {width}]")
    if isinstance(counts, list):
        # The first test guards numpy, whose integers end at 64 bits.
        if not all(isinstance(c, int) and 0 <= c <= height * width for c in counts):
            raise ValueError(f"a run length is not a whole number from 0 to {height} x {width} pixels")
        lengths = np.array(counts, dtype=np.int64)
    elif isinstance(counts, str):
        # The C decoder trusts its input: a string that is no code, or overflows its integers, must not reach it.
        if not _CODE.fullmatch(counts):
            raise ValueError("the run-length string is corrupt")
        lengths = counts_of(Rle(size=[height, width], counts=counts))
    else:
        raise ValueError("run-length counts are neither a list nor a string")
    if ((lengths < 0) | (lengths > height * width)).any() or int(lengths.sum()) != height * width:
        raise ValueError(f"the run lengths do not sum to {height} x {width} pixels")
    # Runs of length 0 are legal after the first, but pycocotools' boxes and unions go wrong on them.
    if isinstance(counts, str) and (lengths[1:] > 0).all():
        return Rle(size=[height, width], counts=counts)
    return from_runs(lengths, size)
