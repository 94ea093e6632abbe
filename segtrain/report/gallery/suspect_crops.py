"""Labels to look at, as a report shows them: their kinds, what contradicts them, and crops of their images."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segtrain import masks
from segtrain.benchmark.runner import Benchmark
from segtrain.benchmark.suspects import Kind, Suspect, file_ids
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.large_image import LargeImage, read_or_open
from segtrain.data.images.pages.tiff_windows import Box
from segtrain.masks import Rle
from segtrain.report.gallery.encode import encoded_pixels
from segtrain.report.gallery.outline_paths import GRID, grid, path
from segtrain.report.gallery.select import shrunk
from segtrain.visualize import Pixels

logger = logging.getLogger(__name__)
SHOWN = 24  # largest number of suspects that are shown
_BUDGET = 600_000  # bytes of all crops
_OUTLINE = 12_000  # bytes of the outlines of a crop, beyond which boxes are drawn in their place
_SIDE = 2.2  # of a crop, as a multiple of the longer side of the objects
_LEAST_SIDE = 32  # pixels of the image that a crop shows, at least
_DECODED = 2048  # pixels of the longer side of a crop of a large image, beyond which its overview is taken


@dataclass(frozen=True)
class Crop:
    """Part of an image around a suspect.

    Attributes:
        uri: data URI of the JPEG.
        width: width in units of the paths.
        height: height in units of the paths.
        label: SVG path data of the label; "" without one.
        found: SVG path data of all that was found; "" for nothing.
    """

    uri: str
    width: int
    height: int
    label: str
    found: str


@dataclass(frozen=True)
class SuspectEntry:
    """Suspect as a report names it.

    Attributes:
        kind: kind of the contradiction.
        file_name: file name of the image.
        annotation_id: id of the label in the file; None without a label.
        category_id: category of the label; without one, that which was found; None if methods tell none apart.
        found_category_id: category that was found instead; None for the same one.
        methods: names of the methods that contradict the label.
        crop: part of its image; None without images, and of an image that cannot be read.
    """

    kind: Kind
    file_name: str
    annotation_id: int | None
    category_id: int | None
    found_category_id: int | None
    methods: Sequence[str]
    crop: Crop | None = None


@dataclass(frozen=True)
class SuspectList:
    """Suspects of an evaluation.

    Attributes:
        methods: names of the methods that counted.
        kinds: number of suspects of each kind that occurs.
        entries: the first suspects, the most suspect one first.
    """

    methods: Sequence[str]
    kinds: Mapping[Kind, int]
    entries: Sequence[SuspectEntry]


def list_suspects(
    benchmark: Benchmark, suspects: Sequence[Suspect], methods: Sequence[str], *, pictures: bool
) -> SuspectList:
    """Gather what a report shows of the suspects.

    Args:
        benchmark: benchmark with its rows and data.
        suspects: suspects, the most suspect one first.
        methods: names of the methods that counted.
        pictures: True to show pictures, where the images are at hand.
    """
    shown = suspects[:SHOWN]
    index, reader, truth = benchmark.split.index, benchmark.split.images, benchmark.ground_truth
    places = index.images.places([suspect.image_id for suspect in shown]).tolist()
    images = [index.images[place] for place in places]
    numbers = {suspect.annotation_id for suspect in shown}
    labels = {int(own["id"]): own for own in truth.truths if own["id"] in numbers}
    own_labels = [None if suspect.annotation_id is None else labels[suspect.annotation_id] for suspect in shown]
    crops: Sequence[Crop | None] = [None] * len(shown)
    if pictures and reader is not None:
        label_masks = [[] if label is None else [label["segmentation"]] for label in own_labels]
        crops = _crops(reader, images, label_masks, [suspect.found for suspect in shown])
    ids = file_ids(index)
    entries = [
        SuspectEntry(
            kind=suspect.kind,
            file_name=image.file_name,
            annotation_id=None if suspect.annotation_id is None else ids[suspect.annotation_id],
            category_id=_found_category(suspect, benchmark) if label is None else label["category_id"],
            found_category_id=suspect.category_id if suspect.kind == "category" else None,
            methods=suspect.methods,
            crop=crop,
        )
        for suspect, image, label, crop in zip(shown, images, own_labels, crops, strict=True)
    ]
    return SuspectList(methods, Counter(suspect.kind for suspect in suspects), entries)


def _found_category(suspect: Suspect, benchmark: Benchmark) -> int | None:
    """Return the category of an object without a label, by the first method, which has found it; None if unknown."""
    categories = benchmark.ground_truth.categories
    if len(categories) == 1:
        return categories[0].id
    return suspect.category_id if benchmark.rows[suspect.methods[0]].detections.class_aware else None


def _crops(
    reader: ImageReader, images: Sequence[ImageInfo], labels: Sequence[Sequence[Rle]], found: Sequence[Sequence[Rle]]
) -> list[Crop | None]:
    """Cut out each suspect, reading each image once.

    Args:
        reader: reader of the images.
        images: image of each suspect.
        labels: mask of each label, if there is one.
        found: masks that were found instead.
    """
    windows = [crop_window([*label, *own], image.size) for label, own, image in zip(labels, found, images, strict=True)]
    places = defaultdict[ImageInfo, list[int]](list)
    for place, image in enumerate(images):
        places[image].append(place)
    pixels: dict[int, Pixels] = {}
    for image, own in places.items():
        try:
            pixels |= zip(own, _read(reader, image, [windows[place] for place in own]), strict=True)
        except ImageError as error:  # a row from a file was scored without it
            logger.warning(f"{error}; its labels to look at have no picture")
    uris = dict(zip(pixels, encoded_pixels(list(pixels.values()), _BUDGET), strict=True))
    return [
        _crop(uris[place], windows[place], labels[place], found[place]) if place in uris else None
        for place in range(len(images))
    ]


def crop_window(rles: Sequence[Rle], size: tuple[int, int]) -> Box:
    """Choose the part of an image that shows some masks and their surroundings: a square, as far as the image allows.

    Args:
        rles: masks; without a pixel among them the whole image is shown.
        size: (H, W) of the image.

    Returns:
        Left, top, right and bottom edge in pixels.

    >>> crop_window([masks.encode_crop(np.ones((10, 20)), x=0, y=50, size=(100, 200))], (100, 200))
    (0, 33, 44, 77)
    """
    height, width = size
    boxes = masks.boxes([rle for rle in rles if masks.area([rle])[0]])
    if not len(boxes):
        return 0, 0, width, height
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    limits = np.array([width, height])
    sides = np.minimum(max(_LEAST_SIDE, round(_SIDE * float((high - low).max()))), limits)
    start = np.clip(np.rint((low + high - sides) / 2), 0, limits - sides).astype(int)
    (left, top), (right, bottom) = start.tolist(), (start + sides).tolist()
    return left, top, right, bottom


def _read(reader: ImageReader, image: ImageInfo, windows: Sequence[Box]) -> list[Pixels]:
    """Read windows of an image, reduced to what a page shows of them."""
    found = read_or_open(reader, image)
    return [shrunk(_window(found, window), GRID) for window in windows]


def _window(image: Pixels | LargeImage, window: Box) -> Pixels:
    """Return the pixels of a window; a long one of a large image is taken from the overview."""
    left, top, right, bottom = window
    if not isinstance(image, LargeImage):
        return image[top:bottom, left:right]
    if max(right - left, bottom - top) <= _DECODED:
        return image.rgb(window)
    step = image.step
    return image.picture[top // step : -(-bottom // step), left // step : -(-right // step)]


def _crop(uri: str, window: Box, label: Sequence[Rle], found: Sequence[Rle]) -> Crop:
    left, top, right, bottom = window
    width, height, scale = grid((bottom - top, right - left))
    label_path, found_path = (_outlines(rles, left, top, scale) for rles in (label, found))
    return Crop(uri, width, height, label_path, found_path)


def _outlines(rles: Sequence[Rle], left: int, top: int, scale: float) -> str:
    """Outline masks, seen from a corner, or their boxes where outlines are long; masks without a pixel are left out."""
    crops = [
        (crop, x - left, y - top) for crop, x, y in masks.decode_crops([rle for rle in rles if masks.area([rle])[0]])
    ]
    drawn = "".join(path(crop, x, y, scale) for crop, x, y in crops)
    return drawn if len(drawn) <= _OUTLINE else "".join(path(np.ones_like(crop), x, y, scale) for crop, x, y in crops)
