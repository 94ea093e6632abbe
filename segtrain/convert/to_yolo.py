"""Writer of YOLO's polygons: ``images/PART``, ``labels/PART`` and ``data.yaml``."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from segtrain.convert.labelled import LabelledImage, Tally
from segtrain.convert.outlines import Size, joined_outline
from segtrain.convert.outputs import named_outputs
from segtrain.convert.preparation import DrawnObject, drawn_objects
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.masks import from_polygons


def write_yolo(
    parts: Mapping[str, Sequence[LabelledImage]], categories: Sequence[str], out: Path, tally: Tally
) -> Callable[[], None]:
    """Prepare labels as YOLO reads them; images are linked, or copied where that is not possible.

    Args:
        parts: images with their objects by the part of the data; "" for one part alone.
        categories: names of all classes.
        out: folder that is written.
        tally: receives what cannot be said in the format.

    Returns:
        Function that writes the files.

    Raises:
        SegtrainError: two images would share a text, or a name would be too long.
    """
    numbers = {name: number for number, name in enumerate(categories)}
    named = {part or "train": named_outputs(own, lambda name: name.with_suffix(".txt")) for part, own in parts.items()}

    def write() -> None:
        for part, own in named.items():
            for image, name in own:
                _link(image.path, (out / "images" / part / name).with_suffix(image.path.suffix))
                write_atomically(out / "labels" / part / name, _text(image, numbers, tally))
        settings = {"path": ".", **{part: f"images/{part}" for part in named}, "names": dict(enumerate(categories))}
        write_atomically(out / "data.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))

    return write


def _text(image: LabelledImage, numbers: Mapping[str, int], tally: Tally) -> str:
    """Return the lines of an image's objects."""
    lines = [(numbers[each.label.category], _line(each, image.size, tally)) for each in drawn_objects(image, tally)]
    return "".join(f"{kind} {line}\n" for kind, line in lines if line)


def _link(source: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), copy)
    except FileNotFoundError as error:
        raise SegtrainError(
            f"{source}: no such image, and YOLO's layout holds the images; give their folder"
        ) from error
    except OSError:  # another disk
        shutil.copy2(source, copy)


def _line(each: DrawnObject, size: Size, tally: Tally) -> str:
    """Return the numbers of an object; empty for what the format cannot say."""
    if each.label.iscrowd:
        tally.add("left out", "regions to ignore, which YOLO does not know", each.label.origin)
        return ""
    if each.label.attributes:
        tally.add("left out", "attributes of objects, which YOLO does not know", each.label.origin)
    height, width = size
    if each.mask is None:
        x, y, w, h = map(float, each.label.box or ())
        return " ".join(map(repr, [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]))
    if len(each.polygons) == 1:
        values = _fractions(each.polygons[0], size)
        scaled = [value * (height if place % 2 else width) for place, value in enumerate(values)]
        if from_polygons([scaled], size) == each.mask:  # else it is rounded to another pixel
            return " ".join(map(repr, values))
    return " ".join(map(repr, _fractions(joined_outline(each.mask), size)))


def _fractions(polygon: Sequence[float], size: Size) -> list[float]:
    height, width = size
    return [value / (height if place % 2 else width) for place, value in enumerate(polygon)]
