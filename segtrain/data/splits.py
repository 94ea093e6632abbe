"""Training and validation splits: loading, checking categories, leaving out unreadable images, saving, fingerprints."""

import hashlib
import logging
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from segtrain.console import progress
from segtrain.data.check.copies import group_copies
from segtrain.data.check.load import CheckMode, load_index, refuse_errors, with_image_files
from segtrain.data.check.locate import AbsentImages
from segtrain.data.coco.category_names import compare_categories, with_labels_of
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.joined_files import AnnotationFiles, annotation_file
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.coco.rules import COCO_RULES, AnnotationRules
from segtrain.data.foreign.label_kinds import conversion_advice
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.large_image import read_or_open
from segtrain.data.images.orientation import Exif
from segtrain.data.images.reading import Pages
from segtrain.data.split_drawing import draw_fold_ids, draw_validation_ids, require_known_ids, write_split
from segtrain.data.storage.address import Location, locate
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.data.storage.image_store import ImageFolder
from segtrain.data.storage.local_copies import origin
from segtrain.data.storage.open_folder import open_folder
from segtrain.data.storage.tar_shards import is_shards
from segtrain.data.subsets import training_subset
from segtrain.errors import SegtrainError

logger = logging.getLogger(__name__)
SplitName = Literal["train", "val"]
# Image files whose sizes are part of a fingerprint: some first, as in fingerprints of before, then nearly always all;
# the sizes of millions would take minutes.
_SAMPLED, _STATED = 100, 2**18
_READING = 16  # threads that read remote images
ImageUse = Literal["needed", "welcome", "unused"]


@dataclass(frozen=True, repr=False)
class Split:
    """Annotations of a split, and the reader of its images.

    Attributes:
        name: "train" or "val", as in the settings.
        index: annotations.
        images: reader of the images; None without an image folder, which suffices to score result files.
        unreadable_images: number of images that are left out because they cannot be read.
        unreadable_annotations: number of annotations of these images.
        entries: positions of the images in the file's ``images``, unreadable ones included, if the split was drawn.
        absent: images whose file was not found.
        showings: mean number of times that an epoch of training shows each image: more than 1 for a part of the
            training images, so that an epoch is as long as one of all of them.
    """

    name: SplitName
    index: CocoIndex
    images: ImageReader | None
    unreadable_images: int = 0
    unreadable_annotations: int = 0
    entries: list[int] | None = None
    absent: AbsentImages = field(default_factory=AbsentImages)
    showings: float = 1.0

    def __repr__(self) -> str:
        counts = self.index.counts
        names = ", ".join(category.name for category in self.index.categories)
        return (
            f"<{origin(self.index.path)}: {len(self.index.images)} images, {counts.annotations} annotations of {names}>"
        )


def open_splits(
    *,
    root: Location,
    train_annotations: AnnotationFiles | None,
    train_images: str | None,
    val_annotations: AnnotationFiles | None,
    val_images: str | None,
    val_fraction: float | None,
    exif: Exif,
    max_image_pixels: int,
    check: CheckMode,
    seed: int,
    need: Collection[SplitName],
    rules: AnnotationRules = COCO_RULES,
    pages: Pages = "error",
    channels: Sequence[int] | None = None,
    split_by: str | None = None,
    folds: int | None = None,
    fold: int | None = None,
    val_ids: Collection[int] | None = None,
    fraction: float = 1.0,
    images: ImageUse = "needed",
    cache: DiskCache | None = None,
) -> dict[SplitName, Split]:
    """Open the splits that a command needs.

    Args:
        root: folder that all other paths are relative to, or its address.
        train_annotations: COCO json of the training split, or several of them.
        train_images: image folder of the training split.
        val_annotations: COCO json of the validation split, or several of them; None to draw ``val_fraction`` of the
            training images.
        val_images: image folder of the validation split; None for ``train_images``, where images are needed.
        val_fraction: share of the images, and of each category, of ``train_annotations`` that is drawn for validation,
            in (0, 1).
        exif: treatment of EXIF orientations; see ``read_image``.
        max_image_pixels: largest number of pixels of an image.
        check: treatment of annotations that cannot be used; see ``load_index``.
        seed: seed of the draw of validation images, not negative.
        need: splits to open.
        rules: rules of reading annotations.
        pages: treatment of image files of several pages; see ``Reading``.
        channels: channels of the images that become red, green and blue; see ``Reading``.
        split_by: field of the images; those with the same value (patient, slide, video) stay in one split.
        folds: number of folds that the images of ``train_annotations`` are divided into, in place of ``val_fraction``.
        fold: number of the fold that is validated on, from 0; all others are trained on.
        val_ids: ids of the validation images, if they were drawn before (from a checkpoint); None to draw them.
        fraction: share of the training images that are used, in (0, 1]; see ``nested_subset``.
        images: "needed" if a missing folder is an error, "welcome" if the split then has no images, "unused" for splits
            without images.
        cache: cache of remote images on the local disk; None without one.

    Raises:
        SegtrainError: a setting is missing, contradicts another, or names a missing file or folder; there is no true
            instance; validation has annotations of a category that training lacks.
    """
    drawn = val_annotations is None and (val_fraction is not None or folds is not None or val_ids is not None)
    if "train" in need and val_annotations is not None and val_fraction is not None:
        raise SegtrainError("data.val_annotations and data.val_fraction exclude each other; set one of them to null")
    if "val" in need and val_annotations is None and not drawn:
        raise SegtrainError(
            "data.val_annotations is null; give a COCO json, or data.val_fraction to split data.train_annotations"
        )
    if split_by is not None and val_fraction is None and folds is None and val_ids is None and fraction == 1:
        raise SegtrainError(
            f"data.split_by={split_by} says how to draw a split, but data.val_fraction and data.folds are null; give "
            "one of them, or no data.split_by"
        )
    train_images = train_images or images_of(train_annotations)
    val_images = val_images or images_of(val_annotations)
    if drawn or images == "needed":
        val_images = val_images or train_images
    folders: dict[SplitName, str | None] = {"train": train_images, "val": val_images}

    def reader_of(folder: ImageFolder) -> ImageReader:
        return ImageReader(folder, exif, max_image_pixels, pages, None if channels is None else tuple(channels))

    # Whatever they are needed for: the json may lack the sizes of its images.
    found = {name: open_folder(locate(folder, root), cache) if folder else None for name, folder in folders.items()}
    sizes = {name: None if folder is None else reader_of(folder) for name, folder in found.items()}
    indices: dict[SplitName, CocoIndex] = {}
    entries: dict[SplitName, list[int]] = {}
    absent: dict[SplitName, AbsentImages] = {}
    if drawn:
        whole, absent["train"] = _load(root, train_annotations, "data.train_annotations", check, rules, sizes["train"])
        if val_ids is not None:
            chosen = require_known_ids(whole, val_ids)
        else:
            copies = group_copies(whole, sizes["train"])
            if folds is not None and fold is not None:
                chosen = draw_fold_ids(whole, folds, fold, seed, split_by, copies)
            else:
                assert val_fraction is not None
                chosen = draw_validation_ids(whole, val_fraction, seed, split_by, copies)
        absent["val"] = absent["train"]
        indices, entries = _halves(whole, chosen)
    else:
        if "train" in need:
            indices["train"], absent["train"] = _load(
                root, train_annotations, "data.train_annotations", check, rules, sizes["train"]
            )
        if "val" in need:
            indices["val"], absent["val"] = _load(
                root, val_annotations, "data.val_annotations", check, rules, sizes["val"]
            )
    splits: dict[SplitName, Split] = {}
    for name in indices:
        if name in need:
            reader = None if images == "unused" else sizes[name]
            if reader is None:
                _require_folder(root, folders[name], name, images)
            splits[name] = Split(name, indices[name], reader, entries=entries.get(name), absent=absent[name])
    if len(splits) == 2:
        aligned = _with_training_labels(splits["train"].index, splits["val"].index)
        splits["val"] = replace(splits["val"], index=aligned)
    if "train" in splits:
        whole = splits["train"].index
        used = training_subset(whole, fraction, seed, split_by)
        splits["train"] = replace(splits["train"], index=used, showings=len(whole.images) / max(len(used.images), 1))
    return splits


def _halves(
    whole: CocoIndex, val_ids: Collection[int]
) -> tuple[dict[SplitName, CocoIndex], dict[SplitName, list[int]]]:
    """Divide an index into training and validation.

    Args:
        whole: index of the whole file.
        val_ids: ids of the validation images.

    Returns:
        The index of each side, and the positions of its images in the file's ``images``, merged entries included.
    """
    ids = whole.images.rows["id"]
    taken = np.isin(ids, list(val_ids))
    indices: dict[SplitName, CocoIndex] = {}
    entries: dict[SplitName, list[int]] = {}
    sides: dict[SplitName, npt.NDArray[np.bool_]] = {"train": ~taken, "val": taken}
    for name, side in sides.items():
        held = set(ids[side].tolist())
        merged = [own.entry for own in whole.merged if own.image_id in held]
        entries[name] = [*whole.images.rows["entry"][side].tolist(), *merged]
        indices[name] = whole.subset(held)
    return indices, entries


def check_images(split: Split, root: Location | None = None) -> ImageReader:
    """Check that all images of a split exist.

    Args:
        split: split to check.
        root: folder that the settings' paths are relative to, for the error; None for the working directory.

    Returns:
        The reader of the images.

    Raises:
        SegtrainError: no folder was given, or an image is missing.
    """
    key = f"data.{split.name}_images"
    if split.images is None:
        raise SegtrainError(f"{key} is null; give the folder of the images of {split.index.path}")
    split.absent.refuse(split.index, key, root)
    return split.images


def _load(
    root: Location,
    annotations: AnnotationFiles | None,
    key: str,
    check: CheckMode,
    rules: AnnotationRules,
    images: ImageReader | None,
) -> tuple[CocoIndex, AbsentImages]:
    """Load a file, and find its images where there is a folder of them."""
    if annotations is None:
        raise SegtrainError(f"{key} is null; give the path of a COCO json, relative to data.root")
    path = annotation_file(annotations, root)
    if not path.is_file():
        advice = conversion_advice(path)
        reason = "no such file" if advice is None else f"no COCO json, but {advice}"
        raise SegtrainError(f"{path}: {reason}; set {key}, relative to data.root")
    index = load_index(path, check, rules, images)
    index, absent = with_image_files(index, None if images is None else images.folder)
    if check == "strict":
        refuse_errors(index.issues, str(path))
    return index, absent


def images_of(annotations: AnnotationFiles | None) -> str | None:
    """Return the shards that hold annotations, which hold their images too; None for other files.

    Args:
        annotations: value of ``data.train_annotations`` or ``data.val_annotations``.

    >>> images_of("train-{000..117}.tar"), images_of("train.json")
    ('train-{000..117}.tar', None)
    """
    return annotations if isinstance(annotations, str) and is_shards(locate(annotations)) else None


def _require_folder(root: Location, images: str | None, name: SplitName, use: ImageUse) -> None:
    """Raise an error if a split needs an image folder, and has none."""
    if use == "unused":
        return
    if images is None:
        if name == "train":
            raise SegtrainError("data.train_images is null; give the image folder, relative to data.root")
    elif use != "welcome":
        folder = locate(images, root)
        raise SegtrainError(f"{folder}: no such image folder; set data.{name}_images, relative to data.root")


def _with_training_labels(train: CocoIndex, val: CocoIndex) -> CocoIndex:
    """Give a validation set the labels of the training set, by the names of its categories.

    Raises:
        SegtrainError: validation has annotations of a category that training lacks.
    """
    issues = compare_categories(train, val)
    if unknown := issues.of("error"):
        known = reprlib.repr([category.name for category in train.categories])
        raise SegtrainError(f"{val.path}: {unknown[0].line}; {train.path} has {known}")
    for issue in issues:
        logger.info(f"train and val: {issue.line}")
    return with_labels_of(train, val)


def drop_unreadable(split: Split) -> Split:
    """Leave out the images that cannot be read; every image is decoded once.

    Args:
        split: split to check; returned unchanged if it has no image folder.

    Raises:
        SegtrainError: no image is left.
    """
    if split.images is None:
        return split
    reader, kept = split.images, []
    with (
        ThreadPoolExecutor(_READING if split.images.lazy else 1) as threads,
        progress("reading images", len(split.index.images), transient=True) as stage,
    ):
        for image, problem in zip(
            split.index.images, threads.map(_problem_of(reader), split.index.images), strict=True
        ):
            if problem is None:
                kept.append(image.id)
            else:
                logger.warning("left out of the evaluation: %s", problem)
            stage.advance()
    if not kept:
        raise SegtrainError(f"{split.images.folder}: none of the {len(split.index.images)} images can be read")
    index = split.index.subset(kept)
    lost = split.index.counts.annotations - index.counts.annotations
    return replace(
        split,
        index=index,
        unreadable_images=split.unreadable_images + len(split.index.images) - len(kept),
        unreadable_annotations=split.unreadable_annotations + lost,
    )


def _problem_of(reader: ImageReader) -> Callable[[ImageInfo], SegtrainError | None]:
    """Return a function that reads an image, and returns the error of one that cannot be read."""

    def problem(image: ImageInfo) -> SegtrainError | None:
        try:
            read_or_open(reader, image)
        except SegtrainError as error:
            return error
        return None

    return problem


def save_split(splits: Mapping[SplitName, Split], output_dir: Path) -> None:
    """Write a drawn split into a run's folder, as two COCO files that can be given in place of ``val_fraction``.

    Args:
        splits: the splits "train" and "val"; nothing is written if they come from two files.
        output_dir: folder of the run, in which ``split/train.json`` and ``split/val.json`` are written.
    """
    val = splits["val"]
    if val.entries is not None:
        write_split(val.index.path, val.entries, output_dir / "split")
        logger.info(f"drawn split: {output_dir / 'split'}, train.json and val.json")


def fingerprint_of(split: Split) -> str:
    """Return a text by which `same_contents` recognises equal images and annotations, wherever their files lie.

    Masks are compared as they are written, boxes and areas by their values, where the file states valid ones, and
    categories by their names; those without annotations do not count, since another split may have added them. Image
    files are compared by their sizes, up to 262,144 of them, unless none lies on this machine; a missing one counts as
    another file.

    Args:
        split: split whose annotations, and the sizes of whose image files, are compared.
    """
    index, found = split.index, hashlib.sha256()
    rows = index.annotations.rows
    names, labels = _named_labels(index, rows["label"])
    for name in names:
        found.update(f"{name}\n".encode(errors="surrogatepass"))
    for image in index.images:
        found.update(f"{image.id} {image.file_name} {image.size}\n".encode(errors="surrogatepass"))
    for column in (rows["image"], labels, rows["crowd"], rows["usable"]):
        found.update(np.ascontiguousarray(column).tobytes())
    for text in index.annotations.segmentations(rows):
        found.update(bytes(text).translate(None, b" \n\t\r"))  # another tool may have laid the file out anew
    used = rows[rows["usable"]]
    found.update(index.annotations.valid_boxes(used, index.images).tobytes())
    found.update(np.ascontiguousarray(used["area"]).tobytes())
    sizes = [_sizes_of_files(split, _SAMPLED)]  # alone in fingerprints of earlier versions
    if len(index.images) > _SAMPLED:
        sizes.append(_sizes_of_files(split, _STATED))
    return "-".join([found.hexdigest(), *(hashlib.sha256(own).hexdigest() if own else "" for own in sizes)]).rstrip("-")


def _named_labels(index: CocoIndex, labels: npt.NDArray[np.int32]) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Number the categories that have annotations by their names.

    Args:
        index: the categories.
        labels: (N,) label of each annotation; 0 for none.

    Returns:
        The names in alphabetical order, and the place of each annotation's name among them, from 1; 0 for none.
    """
    of_label = {label: index.categories[label - 1].name.strip() for label in np.unique(labels).tolist() if label}
    names = sorted(set(of_label.values()))
    places = np.zeros(len(index.categories) + 1, dtype=np.int32)
    for label, name in of_label.items():
        places[label] = names.index(name) + 1
    return names, places[labels]


def _sizes_of_files(split: Split, files: int) -> bytes:
    """List the sizes of image files, at most so many of them; empty where none of these is on this machine."""
    images, sizes = split.index.images, list[str]()
    for place in np.linspace(0, len(images) - 1, min(files, len(images))).astype(int).tolist():
        with suppress(OSError, SegtrainError):  # missing, or not on this machine
            path = None if split.images is None else split.images.path(images[place].file_name)
            if isinstance(path, Path):
                sizes.append(f"{place} {path.stat().st_size}\n")
    return "".join(sizes).encode()


def same_contents(fingerprint: str, other: str) -> bool:
    """Return True if two fingerprints are those of equal images and annotations.

    Args:
        fingerprint: result of `fingerprint_of`.
        other: another one. Sizes of image files count where both splits have files on their machine.

    >>> same_contents("a1-b1-c1", "a1-b1-c1"), same_contents("a1-b1-c1", "a1-b1-c2")
    (True, False)
    >>> same_contents("a1--c1", "a1-b1-c1"), same_contents("a1--c1", "a1--c2")
    (True, False)
    >>> same_contents("a1-b1-c1", "a1"), same_contents("a1-b1-c1", "a1-b1"), same_contents("a1-b1-c1", "a1-b2")
    (True, True, False)
    """
    parts = zip(fingerprint.split("-"), other.split("-"), strict=False)
    return all(own == others for own, others in parts if own and others)
