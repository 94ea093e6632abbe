"""Annotations inside of shards: a json beside each image, joined into one COCO file in the user's cache."""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec

import segtrain
from segtrain.console import progress
from segtrain.data.storage.address import Location, shown
from segtrain.data.storage.local_copies import copies_folder, is_whole, keep
from segtrain.data.storage.tar_shards import ShardSet, member_key, open_shards
from segtrain.errors import SegtrainError
from segtrain.locks import locked_file

logger = logging.getLogger(__name__)
_IMAGES = frozenset([".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".ppm", ".pgm"])
_THREADS = 16
_NAMED = "object"  # category of annotations that name none
_LISTS = ("images", "annotations", "categories")
Entry = dict[str, Any]


class Sample(NamedTuple):
    """Annotations of one image.

    Attributes:
        name: name of the image's member.
        image: fields of the image that its json states.
        annotations: its annotations.
        categories: categories that its json lists.
    """

    name: str
    image: Entry
    annotations: list[Entry]
    categories: list[Entry]


def shard_annotations(location: Location) -> Path:
    """Return the path of a COCO file with the annotations of all images in shards.

    The image ``KEY.jpg`` is annotated by the member ``KEY.json``, which is one of

    - ``{"image": {...}, "annotations": [...]}``, and ``"categories"`` perhaps
    - a COCO json of one image
    - ``{"annotations": [...], "height": ..., "width": ...}``
    - the list of annotations alone

    Ids of images and annotations are kept if no two are equal, and replaced by running numbers otherwise. Annotations
    without a category are all of the category "object".

    Args:
        location: path or address of one or several tar files.

    Raises:
        SegtrainError: a shard or a json cannot be read, or the file cannot be written.
    """
    shards = open_shards(location)
    path = copies_folder() / f"{shards.identity[:16]}-{segtrain.__version__}" / "shards.json"
    try:
        with locked_file(path.with_name("lock")):  # of several processes that train together, one reads them
            if not is_whole(path):
                content = msgspec.json.encode(join_samples(_read_samples(shards), shown(location)))
                keep(path, content, location)
    except OSError as error:
        reason = f"cannot write the annotations of {shown(location)} ({error.strerror})"
        raise SegtrainError(f"{path}: {reason}; set XDG_CACHE_HOME to another folder") from error
    return path


def _read_samples(shards: ShardSet) -> list[Sample]:
    names = shards.names()
    texts = {member_key(name): name for name in names if name.lower().endswith(".json")}
    images = [name for name in names if PurePosixPath(name).suffix.lower() in _IMAGES]
    annotated = [name for name in images if member_key(name) in texts]
    if not annotated:
        raise SegtrainError(
            f"{shards}: no image has a json of its name beside it in the shards; give the COCO json of these images"
        )
    if bare := len(images) - len(annotated):
        logger.warning(
            "%s: %d of %d images have no json, and count as images without objects", shards, bare, len(images)
        )
    if lonely := len(texts) - len({member_key(name) for name in annotated}):
        logger.warning("%s: %d json members have no image, and are left out", shards, lonely)

    def read(name: str) -> Sample:
        text = texts.get(member_key(name))
        found = Sample(name, {}, [], []) if text is None else parse_sample(name, shards.read(text), shards.place(text))
        stage.advance()
        return found

    with ThreadPoolExecutor(_THREADS) as threads, progress("annotations", len(images), transient=True) as stage:
        return list(threads.map(read, images))


def parse_sample(name: str, content: bytes, place: str) -> Sample:
    """Parse the json of an image.

    Args:
        name: name of the image's member.
        content: content of its json.
        place: shard and name of the json, for errors.

    Raises:
        SegtrainError: it is no json of a known form.

    >>> parse_sample("7.jpg", b'[{"category_id": 2}]', "a.tar/7.json").annotations
    [{'category_id': 2}]
    """
    try:
        root = msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        raise SegtrainError(f"{place}: not a json file ({error}); write the shard again") from error
    if isinstance(root, list):
        root = {"annotations": root}
    annotations = root.get("annotations") if isinstance(root, dict) else None
    if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations):
        raise SegtrainError(f"{place}: holds no list of annotations; write the annotations of its image into it")
    listed = root.get("images")
    if isinstance(listed, list) and len(listed) > 1:
        raise SegtrainError(f"{place}: lists {len(listed)} images; a json in a shard is of one")
    image = root.get("image") or (listed or [None])[0]
    if not isinstance(image, dict):
        image = {key: value for key, value in root.items() if key not in _LISTS}
    categories = [one for one in root.get("categories") or [] if isinstance(one, dict)]
    return Sample(name, image, annotations, categories)


def join_samples(samples: list[Sample], place: str) -> dict[str, list[Entry]]:
    """Join the annotations of several images to the lists of a COCO file.

    Args:
        samples: annotations of each image.
        place: name of all shards together, for errors.

    Raises:
        SegtrainError: one id has two names.
    """
    stated = [sample.image.get("id", sample.image.get("image_id")) for sample in samples]
    ids = stated if _are_ids(stated) else list(range(1, len(samples) + 1))
    images = [
        {**sample.image, "id": identifier, "file_name": sample.name}
        for sample, identifier in zip(samples, ids, strict=True)
    ]
    annotations = [
        {**one, "image_id": identifier}
        for sample, identifier in zip(samples, ids, strict=True)
        for one in sample.annotations
    ]
    if not _are_ids([one.get("id") for one in annotations]):
        annotations = [{**one, "id": number} for number, one in enumerate(annotations, start=1)]
    categories = _categories(samples, annotations, place)
    return {"images": images, "annotations": annotations, "categories": categories}


def _are_ids(values: list[Any]) -> bool:
    return all(type(value) is int for value in values) and len(set(values)) == len(values)


def _categories(samples: Iterable[Sample], annotations: list[Entry], place: str) -> list[Entry]:
    """Collect the categories; where none are listed, those that annotations name by numbers."""
    found: dict[Any, Entry] = {}
    for sample in samples:
        for category in sample.categories:
            known = found.setdefault(category.get("id"), category)
            if known.get("name") != category.get("name"):
                both = f"{known.get('name')!r} and {category.get('name')!r}"
                raise SegtrainError(f"{place}: category {category.get('id')!r} has the names {both}; write it as one")
    if found:
        return list(found.values())
    named = {one["category_id"] for one in annotations if one.get("category_id") is not None}
    if named:
        return [{"id": number, "name": str(number)} for number in sorted(named, key=str)]
    for one in annotations:
        one["category_id"] = 1
    return [{"id": 1, "name": _NAMED}]
