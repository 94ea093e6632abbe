"""Fingerprint of a split's content, by which a resumed training recognises changed data."""

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from segtrain.data.splits import Split
from segtrain.errors import SegtrainError

_STATED = 100  # image files whose sizes count; of millions, all would take minutes


def fingerprint_of(split: Split) -> str:
    """Return a text that is equal for splits of equal images and annotations, wherever their files lie.

    Args:
        split: split whose annotations are read; of its images the sizes of up to 100 files count.
    """
    index, found = split.index, hashlib.sha256()
    for category in index.categories:
        found.update(f"{category.id} {category.name}\n".encode(errors="surrogatepass"))
    for image in index.images:
        found.update(f"{image.id} {image.file_name} {image.size}\n".encode(errors="surrogatepass"))
    rows = index.annotations.rows
    for name in ("image", "label", "crowd", "usable"):
        found.update(np.ascontiguousarray(rows[name]).tobytes())
    for text in index.annotations.segmentations(rows):
        found.update(bytes(text).translate(None, b" \n\t\r"))  # another tool may have laid the file out anew
    for place in np.linspace(0, len(index.images) - 1, min(_STATED, len(index.images))).astype(int).tolist():
        with suppress(OSError, SegtrainError):  # missing, or not on this machine
            path = None if split.images is None else split.images.path(index.images[place].file_name)
            if isinstance(path, Path):
                found.update(f"{place} {path.stat().st_size}\n".encode())
    return found.hexdigest()
