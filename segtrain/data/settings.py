"""From the ``data.*`` settings to splits."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from segtrain.config import build
from segtrain.data.dataset import CocoDataset
from segtrain.data.readable import readable
from segtrain.data.splits import ImageUse, Split, SplitName, check_images, open_splits
from segtrain.data.transforms import Augmentation
from segtrain.errors import SegtrainError

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
    root = data_root(data)
    if data["on_bad_image"] not in ("error", "skip"):
        raise SegtrainError(f"data.on_bad_image={data['on_bad_image']}: use error or skip")
    if not isinstance(data["max_dets"], int) or data["max_dets"] < 1:
        raise SegtrainError(f"data.max_dets={data['max_dets']}: give a whole number from 1")
    if data["exif"] not in ("apply", "ignore", "auto"):
        raise SegtrainError(f"data.exif={data['exif']}: use apply, ignore or auto")
    if not isinstance(data["max_image_pixels"], int) or data["max_image_pixels"] < 1:
        raise SegtrainError(f"data.max_image_pixels={data['max_image_pixels']}: give a whole number from 1")
    if data["generator"] is not None:
        build(data["generator"]).ensure(root)
    paths = {key: data[key] for key in PATHS}
    if images == "unused" and data["on_bad_image"] == "skip":
        images = "welcome"  # or the numbers would depend on whether the report has a gallery
    splits = open_splits(
        root=root,
        **paths,
        val_fraction=data["val_fraction"],
        exif=data["exif"],
        max_image_pixels=data["max_image_pixels"],
        seed=seed,
        need=need,
        val_ids=val_ids,
        images=images,
    )
    if "val" in splits:
        splits["val"] = readable(splits["val"], data["on_bad_image"])
    if "train" in need:
        for split in splits.values():
            if split.images is None or data["on_bad_image"] == "error":
                reader = check_images(split)
                for image in split.index.images:
                    reader.check(image)
    return splits


def training_samples(split: Split, augmentation: Augmentation, seed: int, data: Mapping[str, Any]) -> CocoDataset:
    """The samples of the training split.

    Args:
        split: "train", with its image folder.
        augmentation: what is done to each sample.
        seed: of the augmentation.
        data: the ``data`` node.
    """
    if split.images is None:
        raise SegtrainError("data.train_images is null; give the image folder, relative to data.root")
    return CocoDataset(
        split.index,
        split.images,
        augmentation,
        seed=seed,
        on_bad_image=data["on_bad_image"],
        min_object_pixels=data["min_object_pixels"],
    )


def data_root(data: Mapping[str, Any]) -> Path:
    """What the paths of a ``data`` node are relative to, absolute."""
    return Path(data["root"] or ".").expanduser().absolute()
