"""Masks drawn on images."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from segtrain.masks import Rle, decode_crop

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
# Bright and far apart, so that neighbours differ and an outline is seen on dark and on light tissue.
COLOURS: tuple[Colour, ...] = (
    (255, 92, 87), (64, 196, 255), (255, 204, 0), (105, 219, 124), (224, 130, 255), (255, 146, 43),
    (34, 211, 190), (255, 120, 180), (140, 158, 255), (190, 230, 60),
)  # fmt: skip
# Of what was found of an image, and missed; told apart without one kind of cones too.
ERROR_COLOURS: dict[str, Colour] = {"hit": (64, 196, 255), "missed": (255, 204, 0), "false": (255, 70, 70)}
FILL = 0.28  # opacity inside an outline
SHARP = 640  # an image whose longer side is below this is enlarged, at most threefold
PAPER = (255, 255, 255)
INK = (32, 34, 38)


def draw(
    image: Pixels,
    masks: Sequence[Rle],
    names: Sequence[str] | None = None,
    colours: Sequence[Colour] | None = None,
    longest: int | None = None,
    fill: float = FILL,
) -> Pixels:
    """Draw masks as crisp outlines around a translucent fill.

    Args:
        image: (H, W, 3) RGB.
        masks: masks of the image's size; later ones lie on top.
        names: text at the top left corner of each mask.
        colours: colour of each mask; ``COLOURS`` in turn by default.
        longest: longer side of the result in pixels; by default a small image is enlarged two or three times, so that
            a one-pixel outline does not hide the object, and a large one keeps its size.
        fill: opacity inside an outline, from 0 to 1.

    Returns:
        (round(H * s), round(W * s), 3) at the scale s that follows from ``longest``.

    >>> mask = {"size": [2, 3], "counts": "222"}
    >>> draw(np.zeros((2, 3, 3), np.uint8), [mask], longest=3)[0].tolist()
    [[0, 0, 0], [255, 92, 87], [0, 0, 0]]
    """
    height, width = image.shape[:2]
    scale = longest / max(height, width) if longest else float(min(3, max(1, round(SHARP / max(height, width)))))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    chosen = colours or [COLOURS[i % len(COLOURS)] for i in range(len(masks))]
    thickness = max(1, round(max(size) / 260))
    outlines: list[tuple[tuple[slice, slice], npt.NDArray[np.bool_], Colour]] = []
    labels: list[tuple[int, int, str, Colour]] = []
    for n, (mask, colour) in enumerate(zip(masks, chosen, strict=True)):
        inside, x, y = _scaled(mask, scale, size)
        if inside.any():
            place = (slice(y, y + inside.shape[0]), slice(x, x + inside.shape[1]))
            pixels = canvas[place][inside].astype(np.float32)
            canvas[place][inside] = (pixels + fill * (np.array(colour, np.float32) - pixels)).astype(np.uint8)
            outlines.append((place, inside & ~binary_erosion(inside, iterations=thickness), colour))
            if names is not None:
                labels.append((x + 2, y + 1, names[n], colour))
    # Outlines are drawn after all fills, so that no fill of a neighbour covers them.
    for place, edge, colour in outlines:
        canvas[place][edge] = colour
    return _lettered(canvas, labels) if labels else canvas


def side_by_side(panels: Sequence[Pixels], captions: Sequence[str | Sequence[tuple[str, Colour]]]) -> Pixels:
    """Place panels from left to right, each under its caption.

    Args:
        panels: images (H, W, 3); lower ones are padded at the bottom.
        captions: caption of each panel, or its words, each with the colour of a square before it.

    >>> side_by_side([np.zeros((10, 20, 3), np.uint8), np.zeros((30, 20, 3), np.uint8)], ["true", "found"]).shape
    (54, 46, 3)
    """
    bar = 24
    height = max(panel.shape[0] for panel in panels) + bar
    width = sum(panel.shape[1] for panel in panels) + 6 * (len(panels) - 1)
    result = Image.new("RGB", (width, height), PAPER)
    pen, x = ImageDraw.Draw(result), 0
    for panel, caption in zip(panels, captions, strict=True):
        at, font = x + 6.0, ImageFont.load_default(14)
        for text, colour in [(caption, None)] if isinstance(caption, str) else caption:
            if colour is not None:
                pen.rectangle((at, 7, at + 10, 17), fill=colour)
                at += 15
            pen.text((at, 4), text, fill=INK, font=font)
            at += pen.textlength(text, font=font)
        result.paste(Image.fromarray(panel), (x, bar))
        x += panel.shape[1] + 6
    return np.array(result)


def draw_reliability(bins: Sequence[tuple[float, float, float, int]], caption: str) -> Pixels:
    """Draw the share of correct detections over their score; bars on the diagonal are calibrated.

    Args:
        bins: low and high score, share of correct detections in [0, 1], and number of detections, of each bar.
        caption: text above the bars.

    >>> draw_reliability([(0.9, 1.0, 0.8, 12)], "calibration").shape
    (380, 360, 3)
    """
    side, left, top = 300, 44, 34
    result = Image.new("RGB", (left + side + 16, top + side + 46), PAPER)
    pen, font = ImageDraw.Draw(result), ImageFont.load_default(13)
    pen.text((6, 8), caption, fill=INK, font=font)
    for low, high, share, count in bins:
        box = (left + low * side + 1, top + (1 - share) * side, left + high * side - 1, top + side)
        pen.rectangle(box, fill=COLOURS[1])
        pen.text((box[0] + 2, min(box[1], top + side - 18)), str(count), fill=INK, font=ImageFont.load_default(10))
    pen.rectangle((left, top, left + side, top + side), outline=INK)
    pen.line((left, top + side, left + side, top), fill=INK)
    for share in (0.0, 0.5, 1.0):
        pen.text((left + share * side - 9, top + side + 6), f"{share:g}", fill=INK, font=font)
        pen.text((14, top + (1 - share) * side - 8), f"{share:g}", fill=INK, font=font)
    pen.text((left, top + side + 24), "score; bars: share correct, with counts", fill=INK, font=font)
    return np.array(result)


def sheet(images: Sequence[Pixels], columns: int) -> Pixels:
    """Place images in a grid of equal cells, row by row, each centred in its cell.

    Args:
        images: images (H, W, 3), at least one.
        columns: cells in a row, at least 1.

    >>> sheet([np.zeros((10, 20, 3), np.uint8)] * 3, columns=2).shape  # 2 x 2 cells, gaps of 6 pixels
    (38, 58, 3)
    """
    gap = 6
    columns = min(columns, len(images))
    cell_height, cell_width = max(i.shape[0] for i in images), max(i.shape[1] for i in images)
    rows = math.ceil(len(images) / columns)
    size = (rows * (cell_height + gap) + gap, columns * (cell_width + gap) + gap, 3)
    result = np.full(size, PAPER, dtype=np.uint8)
    for n, image in enumerate(images):
        height, width = image.shape[:2]
        y = gap + n // columns * (cell_height + gap) + (cell_height - height) // 2
        x = gap + n % columns * (cell_width + gap) + (cell_width - width) // 2
        result[y : y + height, x : x + width] = image
    return result


def _scaled(mask: Rle, scale: float, size: tuple[int, int]) -> tuple[npt.NDArray[np.bool_], int, int]:
    """Scale a mask's crop, and return it with its column and row in an image of (width, height) ``size``."""
    crop, x, y = decode_crop(mask)
    if not crop.size:
        return np.zeros((0, 0), dtype=bool), 0, 0
    # The resampling filter reads beyond the crop, where the mask is zero.
    border = math.ceil(2 / scale) + 2
    padded = Image.fromarray(np.pad(crop * np.uint8(255), border))
    x0, y0 = max(0, math.floor(x * scale) - 1), max(0, math.floor(y * scale) - 1)
    x1 = min(size[0], math.ceil((x + crop.shape[1]) * scale) + 1)
    y1 = min(size[1], math.ceil((y + crop.shape[0]) * scale) + 1)
    box = (x0 / scale - x + border, y0 / scale - y + border, x1 / scale - x + border, y1 / scale - y + border)
    resized = padded.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized) >= 128, x0, y0


def _lettered(canvas: Pixels, labels: Sequence[tuple[int, int, str, Colour]]) -> Pixels:
    """Write (x, y, text, colour) onto the canvas, whole, with a dark outline that is legible on any background."""
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    for x, y, name, colour in labels:
        _, _, right, below = pen.textbbox((0, 0), name, font=font, stroke_width=2)
        place = max(0, min(x, picture.width - right)), max(0, min(y, picture.height - below))
        pen.text(place, name, fill=colour, font=font, stroke_width=2, stroke_fill=(0, 0, 0))
    return np.array(picture)
