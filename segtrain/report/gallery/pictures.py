"""The gallery as the page shows it: each image once, and what was found in it as paths on top."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from segtrain.report.gallery.choice import LONGEST, GalleryItem
from segtrain.report.gallery.outlines import Outlines, grid, outlines
from segtrain.report.tables.cells import number
from segtrain.visualize import COLOURS, Pixels

IntArray = npt.NDArray[np.int64]

BUDGET = 8_000_000  # bytes of all images and paths; leaves the page below 10 MB
_IMAGES = 0.45  # share of the budget that images may take
# Longer side in pixels and JPEG quality, from what fills a screen to what still gives an impression.
_SIZES = (
    (LONGEST, 84),
    (800, 83),
    (640, 82),
    (520, 80),
    (420, 78),
    (340, 75),
    (270, 72),
    (200, 68),
    (140, 60),
    (90, 50),
)


@dataclass(frozen=True)
class Layer:
    """What one method found in one image, or the truth.

    Attributes:
        title: "truth" or the method's name.
        is_method: whether the title names a method.
        objects: how many there are.
        drawn: how many of them, the largest, are drawn.
        score: the method's F1 on this image, None if undefined.
        best, worst: the image's places by that F1, see ``GalleryItem``; None if undefined.
        paths: colour and SVG path data.
    """

    title: str
    is_method: bool
    objects: int
    drawn: int
    score: float | None
    best: int | None
    worst: int | None
    paths: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Exhibit:
    """One image of the gallery.

    Attributes:
        file_name: as in the annotation file.
        reason: why it is shown.
        apart: its place by how far methods differ, see ``GalleryItem``.
        uri: the JPEG.
        width, height: of the paths' units; the image has the same shape.
        layers: the truth, then every method.
    """

    file_name: str
    reason: str
    apart: int | None
    uri: str
    width: int
    height: int
    layers: tuple[Layer, ...]


def exhibits(gallery: Sequence[GalleryItem], order: Sequence[str], budget: int = BUDGET) -> list[Exhibit]:
    """Encode the gallery: images as large, and objects as many, as the budget allows.

    Args:
        gallery: what to show.
        order: names of the methods in the order of the page; others are left out.
        budget: bytes of all images and paths together. What images leave is shared out among the layers, so that the
            thousands of ragged regions of one method take no object away from another.
    """
    uris = _encoded([item.image for item in gallery], int(budget * _IMAGES))
    drawn = [_outlined(item, order) for item in gallery]
    needs = [int(_bytes(layer)[-1]) for layers in drawn for layer in layers.values()]
    share = _share(needs, budget - sum(map(len, uris)))
    return [_exhibit(item, uri, layers, share) for item, uri, layers in zip(gallery, uris, drawn, strict=True)]


def _share(needs: Sequence[int], total: int) -> int:
    """The most that each may take: who needs less leaves the rest to the others (max-min fairness)."""
    left = total
    for place, need in enumerate(sorted(needs)):
        share = left // (len(needs) - place)
        if need > share:
            return share
        left -= need
    return max(needs, default=0)


def _encoded(images: Sequence[Pixels], budget: int) -> list[str]:
    """Data URIs of the images, at the largest size whose sum of bytes is within the budget."""
    uris: list[str] = []
    for longest, quality in _SIZES:
        uris, left = [], budget
        for image in images:
            uris.append(_jpeg(image, longest, quality))
            left -= len(uris[-1])
            if left < 0:
                break
        else:
            break
    else:
        uris = [_jpeg(image, *_SIZES[-1]) for image in images]
    return uris


def _jpeg(image: Pixels, longest: int, quality: int) -> str:
    picture, stream = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    # No `optimize`: Pillow's buffer for it is too small for pictures full of noise.
    picture.save(stream, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _outlined(item: GalleryItem, order: Sequence[str]) -> dict[str | None, Outlines]:
    """The outlines of the truth (None) and of every method, in the order of the page."""
    _, _, scale = grid(item.size)
    truths = [truth["segmentation"] for truth in item.truths if not truth["iscrowd"]]
    found: dict[str | None, Outlines] = {None: outlines(truths, scale, len(COLOURS))}
    for name in order:
        if name in item.predictions:
            masks = [prediction["segmentation"] for prediction in item.predictions[name]]
            found[name] = outlines(masks, scale, len(COLOURS))
    return found


def _bytes(layer: Outlines) -> IntArray:
    """What the n largest objects take in the page, for n from 0 to all that can be drawn."""
    # Around the paths stands some 60 bytes of markup for each colour, and a line of text.
    counts = np.arange(len(layer.paths) + 1, dtype=np.int64)
    paths = np.cumsum([0, *map(len, layer.paths)], dtype=np.int64)
    total: IntArray = 200 + paths + 60 * np.minimum(counts, len(COLOURS))
    return total


def _exhibit(item: GalleryItem, uri: str, drawn: dict[str | None, Outlines], share: int) -> Exhibit:
    fitting = {name: max(0, int((_bytes(found) <= share).sum()) - 1) for name, found in drawn.items()}
    layers = [
        Layer(
            title="truth" if name is None else name,
            is_method=name is not None,
            objects=found.count,
            drawn=fitting[name],
            score=None if name is None else number(item.scores.get(name)),
            best=None if name is None else item.best.get(name),
            worst=None if name is None else item.worst.get(name),
            paths=found.by_colour(fitting[name]),
        )
        for name, found in drawn.items()
    ]
    width, height, _ = grid(item.size)
    return Exhibit(item.file_name, item.reason, item.apart, uri, width, height, tuple(layers))
