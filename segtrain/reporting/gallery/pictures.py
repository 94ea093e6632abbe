"""The gallery as the page shows it: each image once, and what was found in it as paths on top."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from segtrain.reporting.gallery.choice import LONGEST, GalleryItem
from segtrain.reporting.gallery.outlines import MOST, Outlines, grid, outlines
from segtrain.reporting.overlays import COLOURS, Pixels
from segtrain.reporting.tables.cells import number

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
_COUNTS = (MOST, 300, 220, 160, 120, 90, 65, 45, 30, 20, 12, 6, 3, 1, 0)  # objects drawn of each image and method


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
        budget: bytes of all images and paths together.
    """
    uris = _encoded([item.image for item in gallery], int(budget * _IMAGES))
    drawn = [_outlined(item, order) for item in gallery]
    every = [layer for layers in drawn for layer in layers.values()]
    left = budget - sum(map(len, uris))
    most = next((count for count in _COUNTS if sum(_bytes(layer, count) for layer in every) <= left), 0)
    return [_exhibit(item, uri, layers, most) for item, uri, layers in zip(gallery, uris, drawn, strict=True)]


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


def _bytes(layer: Outlines, most: int) -> int:
    # Around the paths stands some 60 bytes of markup for each colour, and a line of text.
    return sum(map(len, layer.paths[:most])) + 60 * min(most, len(layer.paths), len(COLOURS)) + 200


def _exhibit(item: GalleryItem, uri: str, drawn: dict[str | None, Outlines], most: int) -> Exhibit:
    layers = [
        Layer(
            title="truth" if name is None else name,
            is_method=name is not None,
            objects=found.count,
            drawn=min(most, len(found.paths)),
            score=None if name is None else number(item.scores.get(name)),
            best=None if name is None else item.best.get(name),
            worst=None if name is None else item.worst.get(name),
            paths=found.by_colour(most),
        )
        for name, found in drawn.items()
    ]
    width, height, _ = grid(item.size)
    return Exhibit(item.file_name, item.reason, item.apart, uri, width, height, tuple(layers))
