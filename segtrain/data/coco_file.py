"""The COCO json as it lies on disk: parsed into typed records, and refused where it contradicts itself."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from segtrain.errors import SegtrainError

# Larger planes would overflow the 32-bit integers of COCO's run-length code.
MAX_PIXELS = 2**31


class FileImage(msgspec.Struct):
    """An entry of ``images``; keys that are not named here are ignored."""

    id: int
    file_name: str
    height: float  # whole, but some exporters write 480.0
    width: float
    difficulty: Any = None


class FileCategory(msgspec.Struct):
    """An entry of ``categories``."""

    id: int
    name: str


class FileAnnotation(msgspec.Struct, gc=False):
    """An entry of ``annotations``; what may be missing or wrong and can be mended has no type here."""

    image_id: int
    category_id: int
    id: Any = None
    segmentation: msgspec.Raw = msgspec.Raw(b"null")
    bbox: Any = None
    area: Any = None
    iscrowd: Any = None


class CocoFile(msgspec.Struct):
    """The three lists of a COCO file."""

    images: list[FileImage]
    annotations: list[FileAnnotation]
    categories: list[FileCategory]


def read_coco_file(path: Path) -> CocoFile:
    """Parse and cross-check a COCO file.

    Raises:
        SegtrainError: it cannot be read, is not COCO json, names unknown or duplicate ids, or lists no images or
            categories.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SegtrainError(f"{path}: cannot read the annotations ({error.strerror}); check the path") from error
    if not content.strip():
        raise SegtrainError(f"{path}: the file is empty; give a COCO json")
    try:
        file = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"), type=CocoFile)
    except msgspec.ValidationError as error:
        raise SegtrainError(
            f"{path}: {error}; COCO json is an object with the lists images, annotations and categories"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SegtrainError(f"{path}: not a json file ({error}); export it again") from error
    _check(file, path)
    return file


def _check(file: CocoFile, path: Path) -> None:
    for kind, entries in (("images", file.images), ("categories", file.categories)):
        if not entries:
            raise SegtrainError(f"{path}: the list {kind} is empty; nothing can be learnt or measured")
    image_ids = _unique((image.id for image in file.images), "image", path)
    category_ids = _unique((category.id for category in file.categories), "category", path)
    if min(category_ids) < 0:
        raise SegtrainError(f"{path}: category id {min(category_ids)} is negative; number categories from 0 or 1")
    for image in file.images:
        height, width = image.height, image.width
        if not (height.is_integer() and width.is_integer() and min(height, width) > 0 and height * width < MAX_PIXELS):
            raise SegtrainError(
                f"{path}: image {image.id} has height {height:g} and width {width:g}; give its size in pixels"
            )
    for number, annotation in enumerate(file.annotations, start=1):
        for kind, named, known in (
            ("image", annotation.image_id, image_ids),
            ("category", annotation.category_id, category_ids),
        ):
            if named not in known:
                raise SegtrainError(
                    f"{path}: {describe(annotation, number)} names the unknown {kind} {named}; "
                    f"add that {kind} or remove the annotation"
                )


def describe(annotation: FileAnnotation, number: int) -> str:
    """Name an annotation for a message: by its id, or by its position (from 1) if it has none."""
    return f"annotation number {number}" if annotation.id is None else f"annotation {annotation.id}"


def _unique(ids: Iterable[int], kind: str, path: Path) -> set[int]:
    seen: set[int] = set()
    for identifier in ids:
        if identifier in seen:
            raise SegtrainError(f"{path}: {kind} id {identifier} occurs twice; ids must be unique")
        seen.add(identifier)
    return seen
