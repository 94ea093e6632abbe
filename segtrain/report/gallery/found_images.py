"""Encoding of single images with the objects that were found in them, for pages of predictions."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, takewhile

from segtrain.masks import Rle
from segtrain.report.gallery.encode import BUDGET, IMAGES, EncodedImage, Layer, encoded_pixels
from segtrain.report.gallery.outline_paths import grid, outlines
from segtrain.report.gallery.select import shrunk
from segtrain.visualize import COLOURS, Pixels

IMAGES_PER_PAGE = 60
_NAMED = 4  # categories whose objects are counted below an image
_MARKUP = 60  # bytes around the path of an object


def encode_found(
    name: str,
    pixels: Pixels,
    found: Sequence[Rle],
    categories: Sequence[str],
    scores: Sequence[float] | None,
    link: str = "",
) -> EncodedImage:
    """Encode an image and the outlines of its objects within its share of the bytes of a page.

    Args:
        name: name to show.
        pixels: (H, W, 3) uint8.
        found: masks of the objects, of the image's size.
        categories: name of the category of each object.
        scores: score of each object; None where scores say nothing about an object alone.
        link: address of a larger picture, relative to that of the first page; "" for none.

    >>> import numpy as np
    >>> mask = {"size": [2, 3], "counts": "222"}
    >>> encoded = encode_found("a.png", np.zeros((2, 3, 3), np.uint8), [mask], ["cell"], [0.9])
    >>> encoded.layers[0].about, encoded.layers[0].hints, encoded.caption
    (', score 0.90', ['cell 0.90'], '3 x 2 pixels')
    """
    height, width = pixels.shape[:2]
    grid_width, grid_height, scale = grid((height, width))
    budget = BUDGET // IMAGES_PER_PAGE
    (uri,) = encoded_pixels([shrunk(pixels)], int(budget * IMAGES))
    drawn = outlines(found, scale, len(COLOURS))
    hints = [
        categories[place] if scores is None else f"{categories[place]} {scores[place]:.2f}" for place in drawn.drawn
    ]
    needs = accumulate(_MARKUP + len(path) + len(hint) for path, hint in zip(drawn.paths, hints, strict=True))
    fitting = sum(1 for _ in takewhile(lambda need: need <= budget - len(uri), needs))
    layer = Layer(
        title="found",
        is_method=True,
        objects=len(found),
        drawn=fitting,
        score=None,
        best=None,
        worst=None,
        paths=list(zip(drawn.slots, drawn.paths, strict=True))[:fitting],
        about=_about(categories, scores),
        hints=hints[:fitting],
    )
    caption = f"{width} x {height} pixels"
    return EncodedImage(name, caption, None, uri, grid_width, grid_height, (layer,), link)


def _about(categories: Sequence[str], scores: Sequence[float] | None) -> str:
    """Say how many objects of each category there are, and the range of their scores."""
    counts = Counter(categories).most_common()
    parts = []
    if len(counts) > 1:
        parts = [f"{number:,} {name}" for name, number in counts[:_NAMED]]
        if len(counts) > _NAMED:
            parts.append(f"{sum(number for _, number in counts[_NAMED:]):,} of {len(counts) - _NAMED} more")
    text = f" ({', '.join(parts)})" if parts else ""
    if scores:
        ends = sorted({f"{score:.2f}" for score in (min(scores), max(scores))})
        text += f", score{'s' if len(ends) > 1 else ''} {' to '.join(ends)}"
    return text
