"""Intensity ranges of the splits of a run: from the settings, a checkpoint, the files of a drawn split, or images."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from segtrain.data.check.intensity_range import (
    Measurement,
    all_kinds,
    check_intensity,
    find_intensity,
    kept_intensity,
    measure_images,
    write_intensity,
)
from segtrain.data.check.known_headers import KnownHeaders, known_headers, may_be_deep, some_images
from segtrain.data.check.load import CheckMode
from segtrain.data.coco.issues import Issues
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.splits import Split, SplitName
from segtrain.values import IntensityRule, IntensitySetting

logger = logging.getLogger(__name__)


def headers_of(split: Split, check: CheckMode) -> KnownHeaders:
    """Read the headers of a split's images; of remote ones, those of some.

    Args:
        split: split with or without images.
        check: "off" to read only headers that decide how samples are read: those of formats that can hold more than
            8 bits.
    """
    if split.images is None:
        return KnownHeaders()
    images = split.index.images
    chosen: Callable[[str], bool] = may_be_deep if check == "off" else lambda name: True
    if split.images.lazy:
        looked_at = some_images(images, chosen)
        share = f"{len(looked_at)} of {len(images)} image headers"
        logger.info(f"{split.name}: {share} are looked at now, the others when they are read")
    else:
        looked_at = [image for image in images if chosen(image.file_name)]
    return known_headers(split.images, looked_at, split.absent.problems)


def set_intensity(
    splits: Mapping[SplitName, Split],
    headers: Mapping[SplitName, KnownHeaders],
    setting: IntensitySetting | None,
    seed: int,
    known: Intensity | None = None,
    training_split: Callable[[], Split | None] | None = None,
) -> tuple[dict[SplitName, Split], dict[SplitName, Issues]]:
    """Choose the ranges by which the images of all splits are read.

    They are, in this order of preference, those of the setting, the known ones, those that were saved with a drawn
    split, or those found from the training images. For types of samples that the training images lack they are found
    from the validation images.

    Args:
        splits: splits with their readers.
        headers: headers of their images.
        setting: value of ``data.intensity``; None for "auto".
        seed: seed of the draw of images.
        known: ranges of a checkpoint, which "auto" uses; None without one.
        training_split: function that opens the training split if it is not among the splits, and returns None if there
            is none.

    Returns:
        The splits with readers that use the ranges, and for each split the issues of its images' intensities.

    Raises:
        SegtrainError: images of one type have different scales.
    """
    # 8-bit samples are looked at only where the setting may change them.
    all_types = setting not in (None, "auto", "full")
    measured = {name: _measure(split, headers[name], seed, all_types) for name, split in splits.items()}
    types = {one.type for own in measured.values() for one in own}
    intensity = None if setting is None else Intensity.given(setting)
    origin = "" if known in (None, intensity) else f"; the checkpoint has {known}"
    if intensity is None:
        rule: IntensityRule = "percentile" if setting == "percentile" else "auto"
        intensity, origin = _known(known, splits, rule) if types else (known or Intensity(others=None, rule=rule), "")
        if not intensity.knows(types) and "train" not in splits and training_split is not None:
            other = training_split()
            found = [] if other is None else _measure(other, headers_of(other, "off"), seed, all_types)
            intensity = intensity.completed(find_intensity(found, rule))
        for name in ("train", "val"):
            if not intensity.knows(types):
                intensity = intensity.completed(find_intensity(measured.get(name, []), rule))
    if types:
        logger.info("intensity: %s%s", intensity, origin)
    issues = {name: check_intensity(measured[name], intensity) for name in splits}
    return {name: _read_by(split, intensity) for name, split in splits.items()}, issues


def save_intensity(splits: Mapping[SplitName, Split], output_dir: Path) -> None:
    """Write the ranges beside the two files of a drawn split, unless all samples are read as they are."""
    train, val = splits["train"], splits["val"]
    if val.entries is not None and train.images is not None and train.images.intensity.ranges:
        write_intensity(output_dir / "split", train.images.intensity)


def _known(known: Intensity | None, splits: Mapping[SplitName, Split], rule: IntensityRule) -> tuple[Intensity, str]:
    """Return the ranges that are known without reading images, and their origin in words."""
    if known is not None and rule == "auto":
        return known, ", as in the checkpoint"
    for split in splits.values():
        if (kept := kept_intensity(split.index.path, rule)) is not None:
            return kept, f", as kept beside {split.index.path}"
    return Intensity(others=None, rule=rule), ""


def _measure(split: Split, headers: KnownHeaders, seed: int, all_types: bool) -> list[Measurement]:
    if split.images is None:
        return []
    kinds = all_kinds(split.index, headers.deep) if all_types else headers.deep
    return measure_images(split.index, split.images, kinds, seed)


def _read_by(split: Split, intensity: Intensity) -> Split:
    return split if split.images is None else replace(split, images=replace(split.images, intensity=intensity))
