"""From the ``data.*`` settings to splits."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from segtrain.data.check.start import check_leaks, check_split, tell
from segtrain.data.images.pixel_cache import PixelCache
from segtrain.data.index.coco import require_instances
from segtrain.data.samples.dataset import CocoDataset
from segtrain.data.samples.transforms import Augmentation
from segtrain.data.splits.opening import ImageUse, Split, SplitName, check_images, open_splits
from segtrain.data.splits.readable import readable
from segtrain.errors import SegtrainError
from segtrain.nodes import build

logger = logging.getLogger(__name__)
# Null in data=checkpoint alone, where the checkpoint's own values stand in.
_NEEDED = ("max_dets", "check", "on_bad_image", "exif", "max_image_pixels", "min_object_pixels", "cache")
PATHS = ("train_annotations", "train_images", "val_annotations", "val_images")


def open_data(
    data: Mapping[str, Any],
    need: Collection[SplitName],
    seed: int,
    val_ids: Collection[int] | None = None,
    images: ImageUse = "needed",
) -> dict[SplitName, Split]:
    """Open the splits that a command needs; a data set that is drawn is drawn now.

    Args:
        data: the ``data`` node.
        need: which splits.
        seed: draws a ``val_fraction`` split.
        val_ids: the images of that split, if they are known already.
        images: what becomes of an image folder that is not there; see ``open_splits``.

    Raises:
        SegtrainError: a setting is missing or wrong, or a file is not what it should be.
    """
    for key in _NEEDED:
        if data[key] is None:
            raise SegtrainError(f"data.{key} is null, which leaves it to a checkpoint that is not asked; give a value")
    root = data_root(data)
    if data["generator"] is not None:
        build(data["generator"]).ensure(root)
    paths = {key: data[key] for key in PATHS}
    if images == "unused" and data["on_bad_image"] == "skip":
        images = "welcome"  # or the numbers would depend on whether the report has a gallery
    splits = open_splits(
        root=root,
        **paths,
        val_fraction=data["val_fraction"],
        split_by=data["split_by"],
        exif=data["exif"],
        max_image_pixels=data["max_image_pixels"],
        check=data["check"],
        seed=seed,
        need=need,
        val_ids=val_ids,
        images=images,
    )
    skip = data["on_bad_image"] == "skip"
    for name, split in splits.items():
        if data["check"] == "strict" and not skip and (split.images is not None or "train" in need):
            check_images(split)
        splits[name] = check_split(split, data["check"], data["max_dets"], skip=skip)
    if data["check"] != "off":
        for name, split in splits.items():
            tell(name, split.index.findings)
        for leak in check_leaks(splits):
            logger.warning("train and val: %s", leak.line)  # a note, but one that nobody should miss
    if "val" in splits and skip:
        splits["val"] = readable(splits["val"])
    if "train" in splits:
        require_instances(splits["train"].index)
    return splits


def training_samples(split: Split, augmentation: Augmentation, seed: int, data: Mapping[str, Any]) -> CocoDataset:
    """The samples of the training split.

    Args:
        split: "train", with its image folder.
        augmentation: what is done to each sample.
        seed: of the augmentation.
        data: the ``data`` node.

    Raises:
        SegtrainError: a setting is missing or wrong, or the images do not fit into memory.
    """
    if split.images is None:
        raise SegtrainError("data.train_images is null; give the image folder, relative to data.root")
    cache = None
    if data["cache"] == "ram":
        cache = PixelCache(split.index.images, split.images.read, keep_errors=data["on_bad_image"] == "skip")
    return CocoDataset(
        split.index,
        split.images,
        augmentation,
        seed=seed,
        on_bad_image=data["on_bad_image"],
        min_object_pixels=data["min_object_pixels"],
        cache=cache,
    )


def data_root(data: Mapping[str, Any]) -> Path:
    """What the paths of a ``data`` node are relative to, absolute."""
    return Path(data["root"] or ".").expanduser().absolute()
