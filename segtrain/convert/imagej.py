"""Reader of ImageJ's regions of interest: ``.roi`` files, alone or in a zip archive for each image.

Areas are read: rectangles, ovals, polygons, freehand and traced outlines, and composites of several paths, of which a
pixel belongs to the region if it lies in an odd number. Format: ``ij.io.RoiDecoder`` of ImageJ, big-endian.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from segtrain.convert.label_files import label_files, left_out_if_broken
from segtrain.convert.labelled import HeldFile, LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size, ellipse, rectangle, symmetric_difference
from segtrain.convert.picture_files import Match, PictureFiles, picture_header, require_found
from segtrain.data.images.decode import decode_pages
from segtrain.data.images.reading import Reading
from segtrain.errors import SegtrainError
from segtrain.masks import from_polygons
from segtrain.masks.parse import check_polygon

_MAGIC = b"Iout"
_POLYGON, _RECTANGLE, _OVAL, _FREEHAND, _TRACED = 0, 1, 2, 7, 8
_NO_AREA = {3: "line", 4: "freehand line", 5: "segmented line", 6: "no region", 9: "angle", 10: "points"}
_HEADER = 64
_SUB_PIXEL = 128  # bit of the options
_NO_REGION = {1: "text", 4: "image"}  # subtypes of regions that are drawn over an image
_WHOLE = Reading(max_pixels=10**9)
_STEPS = 16  # straight pieces that stand for a curve of a composite
_SETS = ("_roiset", "_rois", "-rois", "_roi", "roiset", ".ome")


def read_imagej(request: Request) -> Labels:
    """Read zip archives and files of regions; those of an image bear its name, or lie alone beside it.

    Args:
        request: source, image folder, the name of the class, and tally.

    Raises:
        SegtrainError: a file is damaged, or no image is found.
    """
    paths = label_files(request.source, ".zip", ".roi")
    pictures = PictureFiles.of(request)
    images, missing = list[LabelledImage](), list[str]()
    for path in request.shown("reading ImageJ's regions", paths):
        match = _picture(path, pictures, alone=len(paths) == 1)
        if match is None:
            missing.append(path.name)
        elif (header := picture_header(match.path, request.tally)) is not None:
            objects = list(_objects(path, header.size, request))
            if header.pages > 1 and any(place for place, _ in objects):
                images += _slices(match.path, header.size, header.pages, objects, path, request)
            else:
                own = [each for _, each in objects]
                images.append(LabelledImage(match.path, header.size, own, path, match.by_name))
    require_found(images, request, missing)
    return Labels(images, [request.only_class])


def _picture(path: Path, pictures: PictureFiles, *, alone: bool) -> Match | None:
    """Find the image of a file of regions: by its name, by that of its folder, or the only one there is."""
    stem = path.stem
    lower = next((end for end in _SETS if stem.lower().endswith(end)), "")
    bare = stem[: len(stem) - len(lower)]
    for name in (stem, bare, bare.removeprefix("RoiSet_").removeprefix("RoiSet-"), path.parent.name):
        if name and (found := pictures.find(name, path, alone=True)) is not None and found.path != path:
            return found
    return Match(pictures.folder / pictures.names[0], by_name=True) if alone and len(pictures.names) == 1 else None


def _regions(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the regions of a file."""
    try:
        if path.suffix.lower() == ".roi":
            yield path.name, path.read_bytes()
            return
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.lower().endswith(".roi"):
                    yield name, archive.read(name)
    # Encrypted files are a RuntimeError, methods of compression that Python does not know a NotImplementedError.
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SegtrainError(f"{path}: cannot be read ({reason}); save the regions again with ImageJ") from error


def _objects(path: Path, size: Size, request: Request) -> Iterator[tuple[int, LabelledObject]]:
    """Yield the objects of a file of regions with their slices of a stack, from 1; 0 for all slices."""
    for name, content in _regions(path):
        origin = f"{path.name}, {name}"
        with left_out_if_broken(request.tally, "regions", origin):
            if (found := _object(content, origin, size, request)) is not None:
                yield _slice(content), found


def _slice(content: bytes) -> int:
    """Return the slice of a stack, or the slice or frame of a hyperstack; 0 for none."""
    position, second = map(int, struct.unpack_from(">2i", content, 56))
    if 0 < second <= len(content) - 16:
        z, t = map(int, struct.unpack_from(">2i", content, second + 8))
        if z > 1 and t > 1:
            raise ValueError(f"it is of slice {z} and frame {t} of a hyperstack; save that as a stack")
        if z > 0 or t > 0:
            return max(z, t)
    return max(position, 0)


def _slices(
    picture: Path, size: Size, pages: int, objects: Sequence[tuple[int, LabelledObject]], path: Path, request: Request
) -> Iterator[LabelledImage]:
    """Yield the slices of a stack that have regions, as images of their own."""
    for place, each in objects:
        if place > pages:
            request.tally.add("left out", "regions of slices that the image does not have", f"{each.origin}: {place}")
    for place in sorted({place for place, _ in objects if 0 < place <= pages}):
        request.tally.add("note", "slices with regions, written as images", f"slice {place} of {picture.name}")
        held = HeldFile(picture.with_name(f"{picture.stem}_slice{place:04}.tif"), partial(_page, picture, place))
        own = [each for on, each in objects if on in (0, place)]
        yield LabelledImage(held.path, size, own, path, held=held)


def _page(picture: Path, place: int) -> bytes:
    """Return a page of an image file, from 1, as a TIFF file."""
    samples = next(islice(decode_pages(picture, _WHOLE), place - 1, None))
    stream = BytesIO()
    try:
        Image.fromarray(samples.array).save(stream, "TIFF")
    except (TypeError, OSError) as error:
        raise SegtrainError(f"{picture}: its slice {place} cannot be written ({error}); save it with ImageJ") from error
    return stream.getvalue()


def _object(content: bytes, origin: str, size: Size, request: Request) -> LabelledObject | None:
    if content[:4] != _MAGIC:
        raise ValueError("it is no region of ImageJ")
    version, kind = struct.unpack_from(">HB", content, 4)
    top, left, bottom, right, count = struct.unpack_from(">4hH", content, 8)
    (composite,) = struct.unpack_from(">i", content, 36)
    subtype, options = struct.unpack_from(">2H", content, 48)
    sub_pixel = bool(options & _SUB_PIXEL) and version >= 222
    label = LabelledObject(request.only_class, origin)
    what = _NO_AREA.get(kind) or (_NO_REGION.get(subtype) if kind == _RECTANGLE and not composite else None)
    if what:
        request.tally.add("left out", f"regions that are no area: {what}", origin)
        return None
    if composite > 0:
        paths = list(_paths(np.frombuffer(content, ">f4", composite, _HEADER).tolist()))
        if len(paths) == 1:
            return replace(label, polygons=paths)
        for outline in paths:
            check_polygon(outline, size)
        masks = [from_polygons([outline], size) for outline in paths]
        return replace(label, mask=symmetric_difference(masks, size))
    x, y, width, height = float(left), float(top), float(right - left), float(bottom - top)
    if kind in (_RECTANGLE, _OVAL) and sub_pixel:
        x, y, width, height = struct.unpack_from(">4f", content, 18)
    if kind == _RECTANGLE:
        return replace(label, polygons=[rectangle(x, y, x + width, y + height)])
    if kind == _OVAL:
        mask = ellipse(x + width / 2, y + height / 2, width / 2, height / 2, size)
        return replace(label, mask=mask)
    if kind not in (_POLYGON, _FREEHAND, _TRACED):
        raise ValueError(f"its type {kind} is not known")
    if count == 0:  # more points than 16 bits can count
        (count,) = struct.unpack_from(">i", content, 18)
    if sub_pixel:
        places = np.frombuffer(content, ">f4", 2 * count, _HEADER + 4 * count).reshape(2, count)
    else:
        places = np.frombuffer(content, ">i2", 2 * count, _HEADER).reshape(2, count) + np.array([[left], [top]])
    return replace(label, polygons=[places.T.astype(float).reshape(-1).tolist()])


def _paths(numbers: Sequence[float]) -> Iterator[list[float]]:
    """Yield the closed paths of a composite; curves become straight pieces.

    Args:
        numbers: commands and their points: 0 begins a path, 1 draws a line, 2 and 3 curves, 4 closes the path.
    """
    points, place = list[tuple[float, float]](), 0
    while place < len(numbers):
        command = int(numbers[place])
        if command not in (0, 1, 2, 3, 4):
            raise ValueError(f"its path has the unknown command {command}")
        length = {0: 2, 1: 2, 2: 4, 3: 6, 4: 0}[command]
        values = numbers[place + 1 : place + 1 + length]
        if len(values) < length:
            raise ValueError("its path ends too early")
        place += 1 + length
        if command in (0, 4):
            if len(points) > 2:
                yield [value for point in points for value in point]
            points = [(values[0], values[1])] if command == 0 else []
        elif command == 1:
            points.append((values[0], values[1]))
        else:
            ends = [points[-1] if points else (values[0], values[1]), *zip(values[::2], values[1::2], strict=True)]
            points += [_on_curve(ends, step / _STEPS) for step in range(1, _STEPS + 1)]
    if len(points) > 2:
        yield [value for point in points for value in point]


def _on_curve(ends: Sequence[tuple[float, float]], share: float) -> tuple[float, float]:
    """Return a point of a Bezier curve, by de Casteljau's rule."""
    while len(ends) > 1:
        ends = [((1 - share) * x0 + share * x1, (1 - share) * y0 + share * y1) for (x0, y0), (x1, y1) in pairwise(ends)]
    return ends[0]
