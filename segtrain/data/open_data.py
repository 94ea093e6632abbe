"""Data of a run: from the ``data.*`` settings to checked splits and training samples."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from segtrain import distributed
from segtrain.data.check.cache import cached, fingerprint
from segtrain.data.check.copies import find_source_leaks
from segtrain.data.check.known_headers import KnownHeaders, to_be_read_whole
from segtrain.data.check.load import CheckMode, refuse_errors
from segtrain.data.check.set_checks import check_set, find_leaks, find_shared_names
from segtrain.data.coco.index import require_instances
from segtrain.data.coco.issues import ISSUE_TYPES, Issue, Issues
from segtrain.data.coco.rules import AnnotationRules
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.images.pixel_cache import PixelCache
from segtrain.data.images.reading import check_channels, one_image_pages
from segtrain.data.split_drawing import require_known_ids
from segtrain.data.split_intensity import headers_of, set_intensity
from segtrain.data.splits import ImageUse, Split, SplitName, check_images, drop_unreadable, open_splits
from segtrain.data.storage.address import Location, expand_location
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.errors import SegtrainError
from segtrain.nodes import build

if TYPE_CHECKING:  # their libraries take seconds and 700 MB, and not every evaluation needs them
    from segtrain.data.augmentation import Augmentation
    from segtrain.data.dataset import CocoDataset

logger = logging.getLogger(__name__)
PATHS = ("train_annotations", "train_images", "val_annotations", "val_images")


class _Leaks(msgspec.Struct):
    """Images that are in both splits."""

    issues: list[Issue]


def check_split(
    split: Split, check: CheckMode, max_dets: int, headers: KnownHeaders, intensity: Issues, *, skip: bool
) -> Split:
    """Check a split as a whole, and collect its issues.

    Args:
        split: split whose annotations are checked already.
        check: "strict" if an image that cannot be used is an error, "warn" if it is left out, "off" for no check.
        max_dets: detections per image that the model returns and AP uses.
        headers: checked headers of its images; empty without images.
        intensity: issues of its images' intensities.
        skip: True to skip and count unreadable images instead of raising an error.

    Returns:
        The split with all issues, without images that are left out.

    Raises:
        SegtrainError: an image cannot be used, and the check is strict; or no image can be used.
    """
    if check == "off":
        return split
    issues, index = Issues(), split.index
    unusable = headers.unusable
    for part in (index.issues, check_set(index, max_dets), headers.issues, intensity):
        issues.merge(part)
    if check == "strict" and not skip:
        refuse_errors(issues, str(index.path))
    if check == "warn" and unusable:
        return _without(replace(split, index=replace(index, issues=issues)), unusable)
    return replace(split, index=replace(index, issues=issues))


def check_leaks(splits: Mapping[SplitName, Split]) -> Issues:
    """Find the images that are in both splits: by content, or for remote images of the same folder by name."""
    issues = Issues()
    readers = [split.images for split in splits.values() if split.images is not None]
    if len(readers) < 2:
        return issues
    train, val = splits["train"], splits["val"]
    if not all(isinstance(reader.folder, Path) for reader in readers):
        if readers[0].folder == readers[1].folder:
            issues.merge(find_shared_names(train.index, val.index))
    else:
        files = {name: _files(split) for name, split in splits.items()}
        paths = [[str(path.absolute()) for path in own.values()] for own in files.values()]
        found = [[fingerprint(Path(path))[1:] for path in own] for own in paths]
        leaks = cached([paths, found], _Leaks, lambda: _Leaks(list(find_leaks(files["train"], files["val"]))))
        issues.merge(leaks.issues)
    issues.merge(find_source_leaks(train.index, val.index))
    return issues


def log_issues(name: str, issues: Issues) -> None:
    """Log issues: a line for each error and warning, and one for all notes."""
    for issue in (*issues.of("error"), *issues.of("warning")):
        logger.warning("%s: %s", name, issue.done)
    if notes := issues.of("note"):
        counted = ", ".join(f"{ISSUE_TYPES[issue.kind].title} ({issue.count})" for issue in notes)
        logger.info("%s, notes: %s", name, counted)


def _files(split: Split) -> dict[int, Path]:
    """Locate the images whose file names are valid, of a folder of this machine."""
    found: dict[int, Path] = {}
    for image in split.index.images if split.images else ():
        try:
            path = split.images.path(image.file_name) if split.images else None
        except SegtrainError:
            continue  # counted as an error of its own
        if isinstance(path, Path):
            found[image.id] = path
    return found


def _without(split: Split, unusable: Mapping[int, str]) -> Split:
    """Leave out some images of a split, and count them."""
    kept = [image.id for image in split.index.images if image.id not in unusable]
    if not kept:
        raise SegtrainError(f"{split.index.path}: none of its images can be used; {next(iter(unusable.values()))}")
    index = split.index.subset(kept)
    return replace(
        split,
        index=index,
        unreadable_images=split.unreadable_images + len(unusable),
        unreadable_annotations=split.unreadable_annotations + split.index.counts.annotations - index.counts.annotations,
    )


def open_data(
    data: Mapping[str, Any],
    need: Collection[SplitName],
    seed: int,
    val_ids: Collection[int] | None = None,
    images: ImageUse = "needed",
    intensity: Intensity | None = None,
) -> dict[SplitName, Split]:
    """Open the splits that a command needs; a synthetic data set is drawn first.

    Args:
        data: ``data`` node of the configuration.
        need: splits to open.
        seed: seed of a ``val_fraction`` split.
        val_ids: ids of the images of that split, if they are known already.
        images: treatment of a missing image folder; see ``open_splits``.
        intensity: ranges of a checkpoint, which replace those found from the images; None without a checkpoint.

    Raises:
        SegtrainError: a setting is missing or wrong, or a file is missing or invalid.
    """
    root = data_root(data)
    if data["generator"] is not None:
        if not isinstance(root, Path):
            raise SegtrainError(f"data.root={root.shown}: drawn data need a folder of this machine; give its path")
        build(data["generator"]).ensure(root)
    if images == "unused" and data["on_bad_image"] == "skip":
        images = "welcome"  # or the numbers would depend on whether the report has a gallery
    splits = _open(data, need, seed, val_ids, images, data["check"])
    skip = data["on_bad_image"] == "skip"
    for split in splits.values():
        if data["check"] == "strict" and not skip and (split.images is not None or "train" in need):
            check_images(split, root)
    headers = {name: headers_of(split, data["check"]) for name, split in splits.items()}
    if "train" in splits and (reader := splits["train"].images) is not None:
        headers["train"] = to_be_read_whole(headers["train"], reader, splits["train"].index.images)
    others = partial(_training_split, data, seed, val_ids) if "train" not in splits else None
    splits, readings = set_intensity(splits, headers, data["intensity"], seed, intensity, others)
    for name, split in splits.items():
        splits[name] = check_split(split, data["check"], data["max_dets"], headers[name], readings[name], skip=skip)
    if data["check"] != "off":
        for name, split in splits.items():
            log_issues(name, split.index.issues)
        for leak in check_leaks(splits):
            logger.warning("train and val: %s", leak.line)  # a note, but an important one
    val = splits.get("val")
    if val is not None and val.images is not None and _skips(data, val.images):
        splits["val"] = drop_unreadable(val)
    if "train" in splits:
        require_instances(splits["train"].index)
    return splits


def require_same_data(splits: Mapping[SplitName, Split]) -> None:
    """Check that all processes read the same data, which each opens for itself.

    Args:
        splits: the splits of this process.

    Raises:
        SegtrainError: they differ.
    """
    own = {name: [image.id for image in split.index.images] for name, split in splits.items()}
    counts = {name: split.index.counts for name, split in splits.items()}
    if others := distributed.differing((own, counts)):
        raise SegtrainError(
            f"process {others[0]} reads other data than the first one; the same files must be below data.root on all "
            "machines, or share the folder"
        )


def open_annotations(settings: Mapping[str, Any], image_ids: Collection[int] | None) -> Split:
    """Open the annotations of an evaluation again, with their images where these are still there; nothing is checked.

    Args:
        settings: the ``data`` node of the evaluation.
        image_ids: ids of the evaluated images; None for all of the file.

    Raises:
        SegtrainError: the file is missing or invalid, or lacks one of the images.
    """
    drawn = settings["val_annotations"] is None
    split = _open(settings, ["val"], 0, image_ids if drawn else None, "welcome", settings["check"])["val"]
    if drawn or image_ids is None:
        return split
    require_known_ids(split.index, image_ids)
    return replace(split, index=split.index.subset(image_ids))


def _open(
    data: Mapping[str, Any],
    need: Collection[SplitName],
    seed: int,
    val_ids: Collection[int] | None,
    images: ImageUse,
    check: CheckMode,
) -> dict[SplitName, Split]:
    return open_splits(
        root=data_root(data),
        **{key: data[key] for key in PATHS},
        val_fraction=data["val_fraction"],
        split_by=data["split_by"],
        folds=data["folds"],
        fold=data["fold"],
        fraction=1.0 if data["fraction"] is None else data["fraction"],
        exif=data["exif"],
        max_image_pixels=data["max_image_pixels"],
        check=check,
        rules=AnnotationRules(*(data[key] for key in AnnotationRules._fields)),
        pages=one_image_pages(data["pages"]),
        channels=data["channels"] and check_channels(data["channels"], "data.channels"),
        seed=seed,
        need=need,
        val_ids=val_ids,
        images=images,
        cache=DiskCache.open(data["cache_gb"]) if data["cache"] == "disk" else None,
    )


def _training_split(data: Mapping[str, Any], seed: int, val_ids: Collection[int] | None) -> Split | None:
    """Open the training split for the range of its intensities alone; None if there is none."""
    if data["train_annotations"] is None or data["train_images"] is None:
        return None
    try:
        return _open(
            {**data, "val_annotations": None} if val_ids is not None else data,
            ["train"],
            seed,
            val_ids,
            "needed",
            "off",
        )["train"]
    except SegtrainError as error:
        logger.info("intensity: not from the training images (%s)", error)
        return None


def training_samples(split: Split, augmentation: "Augmentation", seed: int, data: Mapping[str, Any]) -> "CocoDataset":
    """Build the samples of the training split.

    Args:
        split: the split "train", with its image folder.
        augmentation: augmentation of the training samples.
        seed: seed of the augmentation.
        data: ``data`` node of the configuration.

    Raises:
        SegtrainError: a setting is missing or wrong, or the images do not fit into memory.
    """
    from segtrain.data.dataset import CocoDataset

    if split.images is None:
        raise SegtrainError("data.train_images is null; give the image folder, relative to data.root")
    cache = None
    if data["cache"] == "ram":
        cache = PixelCache(split.index.images, split.images.read, keep_errors=_skips(data, split.images))
    return CocoDataset(
        split.index,
        split.images,
        augmentation,
        seed=seed,
        on_bad_image="skip" if _skips(data, split.images) else "error",
        min_object_pixels=data["min_object_pixels"],
        cache=cache,
    )


def _skips(data: Mapping[str, Any], images: ImageReader) -> bool:
    """Return True if images that cannot be read are left out; for remote data ``data.check=warn`` implies it."""
    return data["on_bad_image"] == "skip" or (images.lazy and data["check"] == "warn")


def data_root(data: Mapping[str, Any]) -> Location:
    """Return the absolute folder, or the address, that the paths of a ``data`` node are relative to."""
    return expand_location(data["root"] or ".").absolute()
