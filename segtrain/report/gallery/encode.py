"""Encoding of the gallery for the page: each image once as JPEG, with the outlines of its objects on top."""

import base64
import io
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from segtrain.arrays import IntArray
from segtrain.console import progress
from segtrain.mask_records import rles_of
from segtrain.pool import Advance, in_processes
from segtrain.records import Prediction
from segtrain.report.gallery.outcomes import KINDS, Outcomes, judge
from segtrain.report.gallery.outline_paths import Mark, Outlines, grid, outlines
from segtrain.report.gallery.select import LONGEST, GalleryItem
from segtrain.visualize import COLOURS, Pixels

BUDGET = 8_000_000  # bytes of all images and paths; leaves the page below 10 MB
IMAGES = 0.45  # share of the budget that images may take
# Longer side in pixels and JPEG quality, from full screen to thumbnails.
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
    """Detections of one method in one image, or the truth.

    Attributes:
        title: "truth" or the method's name.
        is_method: True if the title names a method.
        objects: number of objects.
        drawn: number of drawn objects, which are the largest ones.
        score: F1 of the method on this image; None if undefined.
        best: rank of the image by this F1, see ``GalleryItem``; None if undefined.
        worst: rank of the image by this F1 from the lowest, see ``GalleryItem``; None if undefined.
        paths: colour slots and SVG path data; those of missed objects come first.
        about: text after the number of objects, in place of F1; None where it is F1, or the truth.
        hints: text that appears over each path; empty for none.
        marks: outcome, category and score that the objects of each path share; empty if none is known.
        outcomes: number of objects of each kind; None for the truth, and where there is none.
    """

    title: str
    is_method: bool
    objects: int
    drawn: int
    score: float | None
    best: int | None
    worst: int | None
    paths: Sequence[tuple[int, str]]
    about: str | None = None
    hints: Sequence[str] = ()
    marks: Sequence[Mark] = ()
    outcomes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class EncodedImage:
    """Image of the gallery in encoded form.

    Attributes:
        file_name: file name in the annotation file.
        caption: line below the image, such as the reason to show it.
        apart: rank by the difference between methods, see ``GalleryItem``.
        uri: data URI of the JPEG.
        width: width in units of the paths.
        height: height in units of the paths.
        layers: layers of the truth and of every method.
        link: address of a larger picture, relative to that of the first page; "" for none.
        key: anchor of the image in the page; "" for none.
    """

    file_name: str
    caption: str
    apart: int | None
    uri: str
    width: int
    height: int
    layers: tuple[Layer, ...]
    link: str = ""
    key: str = ""


@dataclass(frozen=True)
class Legend:
    """Categories of the data, and the methods whose categories and scores have a meaning.

    Attributes:
        categories: ids of the categories, in the order in which they are numbered.
        aware: names of the methods that tell them apart.
        learned: names of the methods whose scores are learned.
    """

    categories: Sequence[int] = ()
    aware: Collection[str] = ()
    learned: Collection[str] = ()

    def number(self, category_id: int) -> int | None:
        """Return the number of a category; None on data of a single one."""
        return self.categories.index(category_id) if len(self.categories) > 1 else None


def encode(
    gallery: Sequence[GalleryItem],
    order: Sequence[str],
    budget: int = BUDGET,
    legend: Legend | None = None,
    processes: int = 1,
) -> list[EncodedImage]:
    """Encode the gallery: images as large, and objects as many, as the budget allows.

    Args:
        gallery: images to encode.
        order: names of the methods in the order of the page; others are left out.
        budget: bytes of all images and paths together. The bytes that images leave are divided among the layers, so
            that a method with thousands of ragged regions does not reduce the objects of others.
        legend: meaning of the detections; None for neither categories nor learned scores.
        processes: number of forks of this process that share the images.
    """
    known = legend or Legend()
    uris = encoded_pixels([item.image for item in gallery], int(budget * IMAGES))
    drawn = _all_outlined(gallery, order, known, processes)
    needs = [int(_bytes(layer)[-1]) for layers in drawn for layer, _ in layers.values()]
    share = _share(needs, budget - sum(map(len, uris)))
    return [_encoded_image(item, uri, layers, share) for item, uri, layers in zip(gallery, uris, drawn, strict=True)]


def _all_outlined(
    gallery: Sequence[GalleryItem], order: Sequence[str], legend: Legend, processes: int
) -> list[Mapping[str | None, tuple[Outlines, Outcomes | None]]]:
    """Outline the objects of all images, see `_outlined`."""

    def outlined(item: GalleryItem, advance: Advance) -> Mapping[str | None, tuple[Outlines, Outcomes | None]]:
        return _outlined(item, order, legend)

    found: dict[int, Mapping[str | None, tuple[Outlines, Outcomes | None]]] = {}
    with progress("outlines of the gallery", len(gallery), transient=True) as stage:
        for number, layers in in_processes(outlined, gallery, processes):
            found[number] = layers
            stage.advance()
    return [found[number] for number in range(len(gallery))]


def _share(needs: Sequence[int], total: int) -> int:
    """Compute the largest share of each by max-min fairness: unused parts of a share go to the others.

    >>> _share([10, 100, 100], total=150)
    70
    """
    left = total
    for place, need in enumerate(sorted(needs)):
        share = left // (len(needs) - place)
        if need > share:
            return share
        left -= need
    return max(needs, default=0)


def encoded_pixels(images: Sequence[Pixels], budget: int) -> list[str]:
    """Encode the images as data URIs, at the largest size at which all together are within the budget."""
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
    # Without `optimize`, whose buffer in Pillow is too small for noisy images.
    picture.save(stream, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _outlined(
    item: GalleryItem, order: Sequence[str], legend: Legend
) -> dict[str | None, tuple[Outlines, Outcomes | None]]:
    """Outline the truth (None) and the objects of every method, in the order of the page, missed ones included."""
    _, _, scale = grid(item.size)
    places = [place for place, truth in enumerate(item.truths) if not truth["iscrowd"]]
    true = outlines([item.truths[place]["segmentation"] for place in places], scale, len(COLOURS))
    numbers = [legend.number(truth["category_id"]) for truth in item.truths]
    marks = [Mark(category=numbers[places[place]]) for place in true.drawn]
    layers: dict[str | None, tuple[Outlines, Outcomes | None]] = {None: (replace(true, marks=marks), None)}
    for name in order:
        if name not in item.predictions:
            continue
        found = item.predictions[name]
        outcomes = judge(item.truths, found, aware=name in legend.aware)
        own = outlines(rles_of(found), scale, len(COLOURS))
        lost = [number for number, place in enumerate(true.drawn) if places[place] in outcomes.missed]
        shown = Outlines(
            count=own.count,
            drawn=own.drawn,
            slots=[*(0 for _ in lost), *own.slots],
            paths=[*(true.paths[number] for number in lost), *own.paths],
            marks=[
                *(marks[number]._replace(kind="missed") for number in lost),
                *(_mark(found[place], outcomes, place, numbers, name, legend) for place in own.drawn),
            ],
        )
        layers[name] = shown, outcomes
    return layers


def _mark(
    one: Prediction, outcomes: Outcomes, place: int, numbers: Sequence[int | None], name: str, legend: Legend
) -> Mark:
    """Mark a detection with its outcome, category and score.

    Args:
        one: the detection.
        outcomes: outcomes of all detections of the method in the image.
        place: place of the detection among them.
        numbers: number of the category of each true object.
        name: name of the method.
        legend: meaning of the detections.
    """
    kind = outcomes.kinds[place]
    return Mark(
        kind,
        legend.number(one["category_id"]) if name in legend.aware else None,
        numbers[outcomes.partners[place]] if kind == "category" else None,
        round(one["score"], 2) if name in legend.learned else None,
    )


def _bytes(layer: Outlines) -> IntArray:
    """Estimate the bytes of the n largest objects in the page, for n from 0 to all that can be drawn."""
    # Paths that are joined are surrounded by some 60 bytes of markup, and there is a line of text.
    paths = np.cumsum([0, *map(len, layer.paths)], dtype=np.int64)
    seen: set[tuple[int, Mark]] = set()
    groups = [0]
    for slot, mark in zip(layer.slots, layer.marks or [Mark()] * len(layer.slots), strict=True):
        seen.add((slot, mark))
        groups.append(len(seen))
    total: IntArray = 200 + paths + 60 * np.array(groups, dtype=np.int64)
    return total


def _encoded_image(
    item: GalleryItem, uri: str, drawn: Mapping[str | None, tuple[Outlines, Outcomes | None]], share: int
) -> EncodedImage:
    layers = []
    for name, (found, outcomes) in drawn.items():
        fitting = max(0, int((_bytes(found) <= share).sum()) - 1)
        joined = found.joined(fitting)
        missed = 0 if outcomes is None else len(outcomes.missed)
        kinds = Counter([] if outcomes is None else outcomes.kinds)
        layers.append(
            Layer(
                title="truth" if name is None else name,
                is_method=name is not None,
                objects=found.count,
                drawn=sum(mark.kind != "missed" for mark in found.marks[:fitting]),
                score=_defined(item.scores.get(name)) if name else None,
                best=None if name is None else item.best.get(name),
                worst=None if name is None else item.worst.get(name),
                paths=[(slot, path) for (slot, _), path in joined.items()],
                marks=[mark for _, mark in joined],
                outcomes=None if outcomes is None else {kind: kinds[kind] for kind in KINDS} | {"missed": missed},
            )
        )
    width, height, _ = grid(item.size)
    key = f"image-{item.image_id}"
    return EncodedImage(item.file_name, item.reason, item.apart, uri, width, height, tuple(layers), key=key)


def _defined(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
