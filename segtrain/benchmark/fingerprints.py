"""Fingerprints of the code, data, settings and weights that a row of an evaluation depends on."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import segtrain
from segtrain.benchmark.named_code import code_behind
from segtrain.data.check.cache import fingerprints
from segtrain.data.check.known_headers import place_of
from segtrain.data.splits import Split, fingerprint_of

# Libraries whose versions may change a mask or a number.
_LIBRARIES = (
    "numpy", "scipy", "scikit-image", "scikit-learn", "opencv-python-headless", "pillow", "tifffile", "torch",
    "torchvision", "pycocotools", "hotcoco",
)  # fmt: skip
# Keys of ``data`` that state the place of the data, but neither their content nor how they are read.
PLACES = frozenset(
    ["root", "train_annotations", "train_images", "val_annotations", "val_images", "cache", "cache_gb", "generator",
     "from_checkpoint", "check"]
)  # fmt: skip


def digest(*parts: object) -> str:
    """Return a text of 32 characters that is equal for equal plain values.

    >>> digest("a", {"b": 1}) == digest("a", {"b": 1}) != digest("a", {"b": 2})
    True
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


@cache
def of_code() -> str:
    """Fingerprint the sources of this package, and the versions of the libraries that masks and numbers come from."""
    folder, found = Path(segtrain.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        found.update(path.read_bytes())
    return digest(found.hexdigest(), {name: _version(name) for name in _LIBRARIES})


def of_file(path: Path) -> str:
    """Fingerprint the content of a file.

    Args:
        path: path of the file; it exists.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def of_data(split: Split, data: Mapping[str, Any]) -> str:
    """Fingerprint images and annotations, and how they are read.

    Args:
        split: the split; image files are compared by their sizes and times of change.
        data: the ``data`` node.
    """
    settings = {key: value for key, value in data.items() if key not in PLACES}
    categories = [(category.id, category.name) for category in split.index.categories]
    if split.images is None:
        return digest(fingerprint_of(split), categories, settings)
    names = [image.file_name for image in split.index.images]
    files = fingerprints(split.images.folder, names)
    place = "" if files else place_of(split.images)  # a store's identity tells its version
    reading = [str(split.images.reading), str(split.images.intensity)]
    return digest(fingerprint_of(split), categories, settings, files, place, reading)


def of_node(node: Mapping[str, Any], *others: Mapping[str, Any], seed: int = 0) -> str:
    """Fingerprint the configuration of a segmenter, with the files and the code outside this package that it names.

    A text that is the path of a file is compared with the file's content. The keys ``path``, of checkpoints, are
    compared by it alone, wherever the file lies.

    Args:
        node: configuration.
        others: further configuration whose code the segmenter runs, such as that in its checkpoint.
        seed: seed of random draws, which code outside this package may make.
    """
    behind = code_behind([name for own in (node, *others) for name in _targets(own)])
    code = {
        name: {place: of_file(own) if isinstance(own, Path) else own for place, own in parts.items()}
        for name, parts in behind.items()
    }
    return digest(_with_contents(node), code, seed if code else None)


def _targets(node: object) -> Iterator[str]:
    """Yield the names of the functions and classes below a node."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)


def _with_contents(value: Any, key: str = "") -> Any:
    """Return plain values with the fingerprints of the files that they name."""
    if isinstance(value, Mapping):
        return {name: _with_contents(own, name) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_with_contents(own) for own in value]
    if isinstance(value, str) and os.path.isfile(value):  # noqa: PTH113 - Path.is_file raises for long texts
        content = of_file(Path(value))
        return content if key == "path" else [value, content]
    return value


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return ""
