"""Suspect labels for the page: the first ones with a picture of their surroundings, the others as numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segtrain import masks
from segtrain.benchmark.runner import Benchmark
from segtrain.benchmark.suspects import Kind, Suspect, file_ids
from segtrain.data.images.large_image import read_picture
from segtrain.masks import Rle
from segtrain.report.gallery.encode import encoded_pixels
from segtrain.report.gallery.outlines import path
from segtrain.visualize import Pixels

SHOWN = 24
SIDE = 320  # pixels of the longer side of a picture, at most
BUDGET = 600_000  # bytes of all pictures
_MARGIN = 0.6  # on each side of the outlines, as a share of their longer side
_LEAST_SIDE = 32  # pixels of the image that a picture shows, at least


@dataclass(frozen=True)
class Crop:
    """Surroundings of a suspect.

    Attributes:
        uri: data URI of the picture.
        width: width of the picture in units of the paths.
        height: its height.
        label: SVG path data of the label; "" without one.
        found: SVG path data of what was found; "" for nothing.
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
        crop: picture; None without images.
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
    benchmark: Benchmark, suspects: Sequence[Suspect], methods: Sequence[str], pictures: bool
) -> SuspectList:
    """Gather what a report shows of the suspects.

    Args:
        benchmark: benchmark with its rows and data.
        suspects: suspects, the most suspect one first.
        methods: names of the methods that counted.
        pictures: True to show pictures, where the images are at hand.
    """
    shown = suspects[:SHOWN]
    index, reader = benchmark.split.index, benchmark.split.images
    info, ids = {image.id: image for image in index.images}, file_ids(index)
    labels = {own["id"]: own for own in benchmark.ground_truth.truths}
    crops: list[Crop | None] = [None] * len(shown)
    if pictures and reader is not None:
        cut = []
        for suspect in shown:
            label = [] if suspect.annotation_id is None else [labels[suspect.annotation_id]["segmentation"]]
            picture = read_picture(reader, info[suspect.image_id], [*label, *suspect.found])
            cut.append(cut_out(picture.pixels, picture.masks[: len(label)], picture.masks[len(label) :]))
        uris = encoded_pixels([pixels for pixels, *_ in cut], BUDGET)
        crops = [Crop(uri, *size, *paths) for uri, (_, size, paths) in zip(uris, cut, strict=True)]
    entries = []
    for suspect, crop in zip(shown, crops, strict=True):
        own = None if suspect.annotation_id is None else labels[suspect.annotation_id]
        # The first method is the one that has found it.
        aware = own is not None or benchmark.rows[suspect.methods[0]].detections.class_aware
        category = suspect.category_id if own is None else own["category_id"]
        entries.append(
            SuspectEntry(
                kind=suspect.kind,
                file_name=info[suspect.image_id].file_name,
                annotation_id=None if suspect.annotation_id is None else ids[suspect.annotation_id],
                category_id=category if aware else None,
                found_category_id=suspect.category_id if suspect.kind == "category" else None,
                methods=suspect.methods,
                crop=crop,
            )
        )
    return SuspectList(methods, Counter(suspect.kind for suspect in suspects), entries)


def cut_out(
    pixels: Pixels, label: Sequence[Rle], found: Sequence[Rle]
) -> tuple[Pixels, tuple[int, int], tuple[str, str]]:
    """Cut out the surroundings of a label and of what was found.

    Args:
        pixels: (H, W, 3) uint8.
        label: mask of the label, of that size, if there is one.
        found: masks that were found.

    Returns:
        (h, w, 3) picture, its width and height in units of the paths, and SVG path data of both; "" where there is no
        mask.

    >>> mask = masks.encode_crop(np.ones((4, 6), np.uint8), 20, 10, (50, 60))
    >>> picture, size, (label, found) = cut_out(np.zeros((50, 60, 3), np.uint8), [mask], [])
    >>> picture.shape, size, label, found
    ((28, 32, 3), (32, 28), 'M13 10l0 3 5 0 0-3z', '')
    """
    groups = [[rle for rle in rles if masks.area([rle])[0]] for rles in (label, found)]
    known = [rle for rles in groups for rle in rles]
    height, width = pixels.shape[:2]
    corners = masks.boxes(known) if known else np.array([[0, 0, width, height]])
    (left, top), (right, bottom) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    side = max(_LEAST_SIDE, (1 + 2 * _MARGIN) * max(right - left, bottom - top))
    x0, x1 = (int(np.clip((left + right + sign * side) // 2, 0, width)) for sign in (-1, 1))
    y0, y1 = (int(np.clip((top + bottom + sign * side) // 2, 0, height)) for sign in (-1, 1))
    picture = Image.fromarray(pixels[y0:y1, x0:x1])
    scale = min(1.0, SIDE / max(picture.size))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    paths = ["".join(path(crop, x - x0, y - y0, scale) for crop, x, y in masks.decode_crops(rles)) for rles in groups]
    return np.asarray(picture), size, (paths[0], paths[1])
