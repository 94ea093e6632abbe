"""Segmentations in other forms than COCO's, rewritten where they have one meaning only."""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segtrain.masks import Rle, boxes, counts_of, decode, encode, from_runs

# Numbers of at most 7 characters, each but the last with bit 5 set (see counts_of): 7 x 5 bits hold any image's pixels.
CODE = re.compile(r"(?:[P-o]{0,6}[0-O])+", re.ASCII)
_BYTES = re.compile(r"""b(['"]).*\1""", re.DOTALL)
_DEEPEST = 6  # levels of brackets around the numbers of an outline
_LONGEST = 2**20  # characters of a text that is read as a printed Python value
_LARGEST = 2**28  # pixels of a mask that is decoded to be transposed
_FAR_CORNERS = (("xmax", "ymax"), ("x2", "y2"))
_BOX_NAMES = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
    ("xmin", "ymin", *_FAR_CORNERS[0]),
    ("x1", "y1", *_FAR_CORNERS[1]),
)
_NEAR = 2.0  # pixels between a mask's box and the stated one


def usual_form(segmentation: Any, size: tuple[int, int], box: Sequence[float] | None = None) -> tuple[Any, str | None]:
    """Rewrite a segmentation in COCO's form, if it is in another one that has a single meaning.

    COCO's forms are a list of polygons [x1, y1, x2, y2, ...], and run lengths ``{"size": [H, W], "counts": ...}``.

    Args:
        segmentation: decoded json value.
        size: (H, W) of the image.
        box: xywh box of the object in pixels, which decides how run lengths of the size [W, H] are read; None without
            one.

    Returns:
        The segmentation in COCO's form, and the name of the form that it had; the unchanged segmentation and None if it
        is in COCO's form already, or can mean several things.

    >>> usual_form([[1, 1], [5, 1], [5, 4]], (8, 8))
    ([[1, 1, 5, 1, 5, 4]], 'points as [x, y]')
    >>> usual_form([1, 1, 5, 1, 5, 4], (8, 8))
    ([[1, 1, 5, 1, 5, 4]], 'one flat list')
    >>> usual_form([[1, 1, 5, 1, 5, 4]], (8, 8))
    ([[1, 1, 5, 1, 5, 4]], None)
    """
    if isinstance(segmentation, list) and all(map(_begins_as_polygon, segmentation)):
        if _is_plane(segmentation, size):
            return encode(np.array(segmentation)), "a plane of 0 and 1"
        return segmentation, None
    if isinstance(segmentation, str):
        return _from_text(segmentation, size, box)
    if isinstance(segmentation, list):
        return _from_list(segmentation, size, box)
    if isinstance(segmentation, dict):
        return _from_object(segmentation, size, box)
    return segmentation, None


def _begins_as_polygon(part: object) -> bool:
    """Return True for a list that begins with a number; its other values are checked when it is drawn."""
    return isinstance(part, list) and len(part) > 2 and type(part[0]) in (int, float)


def _is_plane(rows: list[list[Any]], size: tuple[int, int]) -> bool:
    """Return True for a row of 0s and 1s for each row of the image, which no polygons are."""
    if len(rows) != size[0] or len(rows) < 2 or any(len(row) != size[1] for row in rows):
        return False
    return all(value in (0, 1) for row in rows for value in row)


def _from_text(text: str, size: tuple[int, int], box: Sequence[float] | None) -> tuple[Any, str | None]:
    form = "json inside a text"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        whole = {"size": list(size), "counts": text}
        if _sums_up(text, size):
            return whole, "a run-length string alone"
        if (ring := _spaced_points(text)) is not None:
            return [ring], "points x,y in a text"
        value, form = _printed(text), "Python's text of a list or dictionary"
    if not isinstance(value, list | dict):
        return text, None
    found, _ = usual_form(value, size, box)
    return found, form


def _spaced_points(text: str) -> list[float] | None:
    """Read "x,y x,y ..." or "x,y;x,y;...", as of CVAT and SVG; None for anything else."""
    pairs = [part.split(",") for part in re.split(r"[;\s]+", text.strip(" ;\t\r\n"))]
    if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        return None
    points = [_point(list(pair)) for pair in pairs]
    return None if None in points else [number for point in points if point is not None for number in point]


def _printed(text: str) -> Any:
    """Read a list, tuple or dictionary as Python prints it, with tuples as lists and bytes as text; None for others."""
    if text[:1] not in ("[", "{", "(") or len(text) > _LONGEST:
        return None
    try:
        return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.decode("ascii") if isinstance(value, bytes) else value


def _from_list(value: list[Any], size: tuple[int, int], box: Sequence[float] | None) -> tuple[Any, str | None]:
    if len(value) == 1 and isinstance(value[0], dict) and "counts" in value[0]:
        return usual_form(value[0], size, box)[0], "a list around run lengths"
    if len(value) == 1 and isinstance(value[0], str):
        found, form = usual_form(value[0], size, box)
        return (value, None) if form is None else (found, form)
    rings = _rings(value, _DEEPEST)
    if rings is None or rings == value:
        return value, None
    return rings, _form_of_rings(value)


def _rings(value: Any, depth: int) -> list[list[float]] | None:
    """Collect the outlines of nested lists; None if something in them is neither a number nor a point."""
    if isinstance(value, dict):
        return _rings_of_axes(value)
    if not isinstance(value, list) or not value or depth == 0:
        return None
    numbers = [_number(part) for part in value]
    if None not in numbers:
        return [[number for number in numbers if number is not None]]
    points = [_point(part) for part in value]
    if None not in points:
        return [[number for point in points if point is not None for number in point]]
    rings: list[list[float]] = []
    for part in value:
        inner = _rings(part, depth - 1)
        if inner is None:
            return None
        rings += inner
    return rings


def _number(value: Any) -> float | None:
    """Convert a number, also one written as text; None for anything else."""
    if type(value) in (int, float):
        number: float = value
        return number
    if not isinstance(value, str) or len(value) > 40 or "_" in value:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _point(value: Any) -> tuple[float, float] | None:
    """Convert [x, y], [[x, y]] as OpenCV's contours have it, or ``{"x": x, "y": y}``; None for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    pair = [value.get("x"), value.get("y")] if isinstance(value, dict) else value
    if not isinstance(pair, list) or len(pair) != 2:
        return None
    x, y = _number(pair[0]), _number(pair[1])
    return None if x is None or y is None else (x, y)


def _rings_of_axes(value: Mapping[str, Any]) -> list[list[float]] | None:
    """Read the outline of an object with a list of x and a list of y, as VIA's shapes have."""
    for names in (("all_points_x", "all_points_y"), ("x", "y")):
        xs, ys = (value.get(name) for name in names)
        if isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys) >= 3:
            points = [_point([x, y]) for x, y in zip(xs, ys, strict=True)]
            if None not in points:
                return [[number for point in points if point is not None for number in point]]
    return None


def _form_of_rings(value: Sequence[Any]) -> str:
    first: Any = value
    levels = 0
    while isinstance(first, list):
        first, levels, length = first[0], levels + 1, len(first)
    if isinstance(first, dict):
        return 'points as {"x": x, "y": y}'
    if isinstance(first, str):
        return "numbers as text"
    if levels == 1:
        return "one flat list"
    return "points as [x, y]" if length == 2 else "one level of brackets too many"


def _from_object(value: dict[str, Any], size: tuple[int, int], box: Sequence[float] | None) -> tuple[Any, str | None]:
    if "counts" not in value:
        rings = _rings_of_axes(value)
        return (value, None) if rings is None else (rings, "a list of x and a list of y")
    counts, form = _usual_counts(value["counts"], size)
    stated, swapped = list(size), value.get("size")
    if swapped != stated:
        numbers = _whole_numbers(swapped)
        if swapped is None and _sums_up(counts, size):
            form = form or "run lengths without a size"
        elif numbers == stated:
            form = form or "a size as text"
        elif numbers == stated[::-1]:
            turned = _of_swapped_size(counts, size, box)
            return (value, None) if turned is None else (turned, "run lengths with the size [width, height]")
        else:
            return value, None
    return (value, None) if form is None else ({**value, "size": stated, "counts": counts}, form)


def _usual_counts(counts: Any, size: tuple[int, int]) -> tuple[Any, str | None]:
    """Rewrite the counts of run lengths; unchanged and None if they are in COCO's form, or have no single meaning."""
    if isinstance(counts, str):
        if " " in counts.strip() and counts[:1].isdigit():
            return _spaced_counts(counts, size)
        if counts[:1] != "[" and counts[1:2] not in ("'", '"'):  # neither json nor what Python prints
            return counts, None
        if _BYTES.fullmatch(counts):  # how Python prints bytes
            try:
                code = ast.literal_eval(counts)
                return code.decode("ascii"), "the counts b'...' of Python's bytes"
            except (ValueError, SyntaxError):
                return counts, None
        try:
            runs = json.loads(counts)
        except (ValueError, RecursionError):
            return counts, None
        return (runs, "counts as json inside a text") if _whole_numbers(runs) is not None else (counts, None)
    if not isinstance(counts, list) or not counts:
        return counts, None
    if set(map(type, counts)) & {str, float}:
        runs = _whole_numbers(counts)
        return (counts, None) if runs is None else (runs, "counts as text or decimal numbers")
    if all(type(count) is int and 48 <= count <= 111 for count in counts) and sum(counts) != size[0] * size[1]:
        code = bytes(counts).decode("ascii")
        if _sums_up(code, size):
            return code, "a run-length string as a list of bytes"
    return counts, None


def _spaced_counts(counts: str, size: tuple[int, int]) -> tuple[Any, str | None]:
    """Read numbers with spaces between them, if they add up to the pixels of the image."""
    runs = _whole_numbers(counts.replace(",", " ").split())
    return (counts, None) if runs is None or not _sums_up(runs, size) else (runs, "counts as numbers in a text")


def _whole_numbers(value: Any) -> list[int] | None:
    """Convert a list of whole numbers, also written as text; None for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list):
        return None
    numbers = [_number(part) for part in value]
    whole = [int(number) for number in numbers if number is not None and float(number).is_integer()]
    return whole if len(whole) == len(value) else None


def _runs(counts: Any, size: tuple[int, int]) -> npt.NDArray[np.int64] | None:
    """Decode counts that add up to the pixels of an image of this size; None for all others."""
    pixels = size[0] * size[1]
    if isinstance(counts, str):
        if not CODE.fullmatch(counts):
            return None
        runs = counts_of(Rle(size=list(size), counts=counts))
    elif isinstance(counts, list) and all(type(count) is int and 0 <= count <= pixels for count in counts):
        runs = np.array(counts, dtype=np.int64)
    else:
        return None
    return runs if ((runs >= 0) & (runs <= pixels)).all() and int(runs.sum()) == pixels else None


def _sums_up(counts: Any, size: tuple[int, int]) -> bool:
    return _runs(counts, size) is not None


def _of_swapped_size(counts: Any, size: tuple[int, int], box: Sequence[float] | None) -> Rle | None:
    """Read run lengths whose size is stated as [W, H].

    Either the size is written in the wrong order, or the mask was transposed when it was encoded. Both have the same
    number of pixels; the reading whose bounding box is the stated one is taken.
    """
    runs = _runs(counts, size)
    if runs is None or box is None or runs.sum() > _LARGEST:
        return None
    renamed = from_runs(runs, size)
    turned = encode(decode(from_runs(runs, (size[1], size[0]))).T)
    x, y, width, height = box
    far = np.abs(boxes([renamed, turned]) - [x, y, x + width, y + height]).max(axis=1) > _NEAR
    if far.all():
        return None
    return turned if far[0] else renamed


def usual_box(value: Any) -> list[float] | None:
    """Convert a box to [x, y, width, height] in pixels; None for a value that is not a box, or can mean several.

    Args:
        value: decoded json value: four numbers, also as strings or in a further list, or an object that names them.

    >>> usual_box(["1", "2", "3", "4"]), usual_box({"x": 1, "y": 2, "width": 3, "height": 4})
    ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    >>> usual_box({"xmin": 1, "ymin": 2, "xmax": 4, "ymax": 6})
    [1.0, 2.0, 3.0, 4.0]
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    corners = False
    if isinstance(value, dict):
        names = next((names for names in _BOX_NAMES if set(names) <= set(value)), None)
        if names is None:
            return None
        corners = names[2:] in _FAR_CORNERS
        value = [value[name] for name in names]
    if not isinstance(value, list) or len(value) != 4:
        return None
    numbers = [float(number) for number in map(_number, value) if number is not None]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        return None
    x, y, width, height = numbers
    return [x, y, width - x, height - y] if corners else numbers


def usual_number(value: Any) -> float | None:
    """Convert a number, which may be a string or the only item of a list; None for anything else.

    >>> usual_number(235), usual_number([235]), usual_number("235.5"), usual_number([1, 2])
    (235, 235, 235.5, None)
    """
    return _number(value[0] if isinstance(value, list) and len(value) == 1 else value)
