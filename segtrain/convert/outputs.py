"""Files that a conversion writes: named, and checked before the first of them is written."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from segtrain.convert.labelled import LabelledImage
from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS, common_folder, plain_path, write_atomically

_LONGEST = 255  # bytes of a name, in the file systems that are common


def require_new(path: Path, *, folder: bool = False) -> None:
    """Check that a file or folder can be written, and replaces nothing.

    Args:
        path: path of the file or folder.
        folder: True for a folder; an empty one may exist.

    Raises:
        SegtrainError: it exists, something that is no folder stands above it, or the name is too long.
    """
    require_short(path)
    if os.path.lexists(path) and not (folder and path.is_dir() and not any(path.iterdir())):
        raise SegtrainError(f"{path}: exists already, and nothing is replaced; choose another name")
    above = next((parent for parent in path.absolute().parents if os.path.lexists(parent)), path)
    if not above.is_dir():
        raise SegtrainError(f"{path}: {above} is no folder; choose another name")
    if not os.access(above, os.W_OK):
        raise SegtrainError(f"{path}: nothing may be written into {above}; choose another place")


def require_short(path: Path) -> None:
    """Check that the system permits the names of a path.

    Raises:
        SegtrainError: one of them is too long.
    """
    for name in path.parts:
        if len(os.fsencode(name)) > _LONGEST:
            raise SegtrainError(
                f"{path.parent / name[:40]}...: the name is too long for the system; choose a shorter one"
            )


def named_outputs(
    images: Sequence[LabelledImage], name: Callable[[Path], Path | str]
) -> list[tuple[LabelledImage, Path]]:
    """Name the file that is written for each image, in the folders of the images.

    Args:
        images: images, at least one.
        name: returns the name of the file for the path of an image, both relative to a common folder.

    Returns:
        Each image with the relative path of its file.

    Raises:
        SegtrainError: two images would share a file, or a name would be too long.
    """
    folder = common_folder([image.path for image in images])
    found, owners = list[tuple[LabelledImage, Path]](), dict[Path, Path]()
    for image in images:
        path = Path(name(plain_path(image.path).relative_to(folder)))
        require_short(path)
        if (other := owners.setdefault(path, image.path)) is not image.path:
            raise SegtrainError(f"{other} and {image.path} would share the file {path.as_posix()}; rename one of them")
        found.append((image, path))
    return found


def held_files(images: Iterable[LabelledImage], source: Path, folder: Path) -> list[LabelledImage]:
    """Name the files that are written for images which the labels alone hold.

    Args:
        images: images.
        source: folder of the labels.
        folder: folder for the files.

    Returns:
        The images, those with such a file under its new path.

    Raises:
        SegtrainError: the folder exists, or a name is too long.
    """
    named, owners = list[LabelledImage](), dict[Path, Path]()
    for image in images:
        if image.held is not None:
            path, base = Path(os.path.normpath(image.held.path.absolute())), source.absolute()
            inner = path.relative_to(base) if path.is_relative_to(base) else Path(path.name)
            if inner.suffix.lower() not in IMAGE_EXTENSIONS:
                inner = inner.with_name(f"{inner.name}.png")
            require_short(inner)
            if (other := owners.setdefault(inner, image.labels)) is not image.labels:
                raise SegtrainError(f"{other} and {image.labels} would share the file {inner.as_posix()}; rename one")
            image = replace(image, path=folder / inner)
        named.append(image)
    if any(image.held is not None for image in named):
        require_new(folder)
    return named


def write_held(images: Sequence[LabelledImage]) -> int:
    """Write the files of images which the labels alone hold.

    Args:
        images: images, named by `held_files`.

    Returns:
        Number of files.
    """
    held = {image.path: image.held for image in images if image.held is not None}
    for path, file in held.items():
        write_atomically(path, file.read())
    return len(held)
