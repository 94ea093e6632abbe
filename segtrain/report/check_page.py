"""The page of a data check: findings, formats, categories, and the first images as they are read."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from segtrain.arrays import RgbArray
from segtrain.data.check.run import CheckReport
from segtrain.data.coco.issues import ISSUE_TYPES
from segtrain.masks import Rle
from segtrain.report.data_figures import DataFigures
from segtrain.report.html import page_environment
from segtrain.visualize import draw

SHEET = 24  # images of the contact sheet
_LONGEST = 420  # pixels of a picture's longer side; the page stays below 2 MB
_QUALITY = 82  # of JPEG


@dataclass(frozen=True)
class SheetImage:
    """Image of the contact sheet.

    Attributes:
        name: file name, as text that can be shown.
        pixels: (h, w, 3) uint8, as it is read; of a large image a reduced one.
        size: (H, W) of the image.
        input_size: (H, W) of the network's input; None for the image's own size.
        objects: masks of its objects, of the size of `pixels`.
    """

    name: str
    pixels: RgbArray
    size: tuple[int, int]
    input_size: tuple[int, int] | None
    objects: Sequence[Rle]

    @property
    def src(self) -> str:
        """Picture with the outlines of the objects, as a data URL."""
        height, width = self.input_size or self.pixels.shape[:2]
        pixels = self.pixels
        if self.input_size is not None and max(self.input_size) < max(pixels.shape[:2]):
            # What the network does not get is not shown either.
            small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.array(small.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.NEAREST))
        longest = min(_LONGEST, 3 * max(height, width))
        picture, file = draw(pixels, self.objects, longest=longest, fill=0), io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY, subsampling=0)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"

    @property
    def facts(self) -> str:
        """Size, size of the input, number of objects, and range of the values that are read, in words."""
        height, width = self.size
        size = f"{height}x{width}"
        if self.input_size is not None and self.input_size != (height, width):
            size += f", input {self.input_size[0]}x{self.input_size[1]}"
        number = len(self.objects)
        objects = f"{number} object{'' if number == 1 else 's'}"
        return f"{size}; {objects}; values {self.pixels.min()} to {self.pixels.max()}, mean {self.pixels.mean():.0f}"


def check_page(
    report: CheckReport,
    title: str,
    summary: str,
    sheets: Mapping[str, Sequence[SheetImage]],
    seen_by: str,
    figures: DataFigures | None,
    advice: Mapping[str, Any] | None = None,
) -> str:
    """Write the page of a check as self-contained HTML.

    Args:
        report: result of the check.
        title: name of the data set.
        summary: one line of its numbers.
        sheets: images of each contact sheet by its title.
        seen_by: network whose input the images show; "" for images as they are read.
        figures: figures of the data; None if nothing of them can be used.
        advice: comparison of the data with a network: ``model``, ``facts`` and ``lines``; None without one.
    """
    return (
        page_environment()
        .get_template("check.html.jinja")
        .render(
            title=title,
            command="check",
            facts=summary,
            report=report,
            kinds=ISSUE_TYPES,
            sheets={name: images for name, images in sheets.items() if images},
            figures=figures,
            most=max((category.objects for category in report.categories), default=0) or 1,
            seen_by=seen_by,
            advice=advice,
        )
    )
