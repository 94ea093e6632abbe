"""The gallery's images as data URIs that fit into one file."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from segtrain.reporting.gallery import GalleryItem
from segtrain.reporting.overlays import Pixels, draw

BUDGET = 8_000_000  # bytes of all images; leaves the page below 10 MB
# Longer side in pixels and JPEG quality, from what a sharp screen shows to what still gives an impression.
_SIZES = ((520, 84), (480, 84), (440, 82), (400, 82), (360, 80), (320, 80), (280, 78), (220, 76), (160, 74), (100, 70))


@dataclass(frozen=True)
class Panel:
    """One image of the gallery.

    Attributes:
        title: "image", "truth" or the method's name.
        is_method: whether the title names a method.
        uri: the JPEG.
        width, height: its size in pixels.
        objects: how many are outlined.
        score: the method's F1 on this image, None if undefined.
    """

    title: str
    is_method: bool
    uri: str
    width: int
    height: int
    objects: int
    score: float | None


@dataclass(frozen=True)
class Exhibit:
    """One gallery item as the page shows it."""

    file_name: str
    reason: str
    panels: tuple[Panel, ...]


def exhibits(gallery: Sequence[GalleryItem], order: Sequence[str], budget: int = BUDGET) -> list[Exhibit]:
    """Draw the gallery, at the largest size whose sum of bytes is within the budget.

    Args:
        gallery: what to show.
        order: names of the methods in the order of the page; others are left out.
        budget: bytes of all data URIs together.
    """
    shown: list[Exhibit] = []
    for longest, quality in _SIZES:
        shown = []
        left = budget
        for item in gallery:
            shown.append(_exhibit(item, order, longest, quality))
            left -= sum(len(panel.uri) for panel in shown[-1].panels)
            if left < 0:
                break
        else:
            break
    return shown


def _exhibit(item: GalleryItem, order: Sequence[str], longest: int, quality: int) -> Exhibit:
    truths = [truth["segmentation"] for truth in item.truths if not truth["iscrowd"]]
    panels = [
        _panel("image", False, draw(item.image, [], longest=longest), 0, None, quality),
        _panel("truth", False, draw(item.image, truths, longest=longest), len(truths), None, quality),
    ]
    for name in order:
        if name in item.predictions:
            masks = [prediction["segmentation"] for prediction in item.predictions[name]]
            picture = draw(item.image, masks, longest=longest)
            panels.append(_panel(name, True, picture, len(masks), item.scores.get(name), quality))
    return Exhibit(item.file_name, item.reason, tuple(panels))


def _panel(title: str, is_method: bool, picture: Pixels, objects: int, score: float | None, quality: int) -> Panel:
    stream = io.BytesIO()
    # Full chroma: with the usual subsampling a one-pixel coloured outline turns grey. No `optimize`: Pillow's buffer
    # for it is too small for pictures full of noise.
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling=0)
    uri = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
    defined = None if score is None or math.isnan(score) else score
    return Panel(title, is_method, uri, picture.shape[1], picture.shape[0], objects, defined)
