"""Summary of a run before its first step."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from segtrain import distributed
from segtrain.console import counted
from segtrain.data.check.set_checks import check_visibility
from segtrain.data.dataset import CocoDataset, Sample
from segtrain.data.splits import Split, SplitName
from segtrain.data.storage.local_copies import origin
from segtrain.segmenters import Trainable
from segtrain.segmenters.inputs import KnownInputs
from segtrain.segmenters.tiles import tiled
from segtrain.targets import Target
from segtrain.training.advice import advise
from segtrain.training.fit_words import describe_fit
from segtrain.training.run_history import RunHistory

logger = logging.getLogger(__name__)
_DRAWN = 8  # augmented samples that tell the scale of a training on crops


def first_samples(dataset: CocoDataset, count: int) -> tuple[list[Tensor], list[Target]]:
    """Return the first augmented samples, as the network receives them, before it resizes them.

    Args:
        dataset: training samples.
        count: largest number of samples.

    Returns:
        uint8 RGB images (3, H, W) and their targets; images that cannot be read are left out.
    """
    samples = _samples(dataset, range(min(count, len(dataset))))
    return [sample.image for sample in samples], [sample.target for sample in samples]


def drawn_sizes(dataset: CocoDataset, places: Sequence[int]) -> list[tuple[int, int]]:
    """Return the (H, W) of the augmented samples of some images, those that cannot be read left out.

    Args:
        dataset: training images, with their augmentation.
        places: places of the images in the index.
    """
    return [(int(sample.image.shape[1]), int(sample.image.shape[2])) for sample in _samples(dataset, places)]


def known_inputs(segmenter: Trainable, dataset: CocoDataset, validation: Split | None = None) -> KnownInputs:
    """Find the sizes of the images that a network sees in a training.

    Args:
        segmenter: network to train.
        dataset: training images, with their augmentation.
        validation: validation images; those that are too large to be read whole do not count. None if they are not
            known.
    """
    sizes: list[tuple[int, int]] = []
    if validation is not None:
        most = math.inf if validation.images is None else validation.images.max_pixels
        sizes = [size for size in validation.index.images.sizes if size[0] * size[1] <= most]
    first = range(min(_DRAWN, len(dataset)))
    own = dataset.index.images.sizes
    return KnownInputs.of(segmenter.input_scale, own, sizes, partial(drawn_sizes, dataset, first))


def describe_run(
    splits: Mapping[SplitName, Split],
    dataset: CocoDataset,
    segmenter: Trainable,
    output_dir: Path,
    max_dets: int,
    *,
    check: bool,
) -> None:
    """Log the data, the network and the run's folder before the first step.

    Args:
        splits: the splits "train" and "val".
        dataset: training images, with their augmentation.
        segmenter: network to train, on its device.
        output_dir: folder of the run.
        max_dets: detections per image, or window, that the network returns.
        check: also log how many objects are too small for the network to see, and what would suit the data better.
    """
    for name, split in splits.items():
        counts = split.index.counts
        crowd = f", {counts.crowd} crowd" if counts.crowd else ""
        mended = f", {counts.repaired} repaired" if counts.repaired else ""
        dropped = f", {counts.dropped} dropped" if counts.dropped else ""
        lost = f", {split.unreadable_images} images left out" if split.unreadable_images else ""
        numbers = f"{counts.images} images, {counts.used} objects{crowd}{mended}{dropped}{lost}"
        logger.info(f"{name}: {numbers}: {origin(split.index.path)}")
    if check:
        index = splits["train"].index
        factors = [segmenter.input_scale(image.height, image.width) for image in index.images]
        for finding in check_visibility(index, factors, segmenter.stride):
            logger.info(f"train, note: {finding.line}")
        advice = advise(index, segmenter, max_dets, partial(drawn_sizes, dataset))
        if advice.facts:
            logger.info(f"train: {advice.facts}")
        for line in advice.lines:
            logger.info(f"train, advice: {line}")
    windows = tiled(segmenter).summarise(splits["val"].index.images.sizes)
    if windows.cut:
        logger.info(f"val: {counted(windows.cut, 'image')} validated in up to {windows.most:,} windows each")
    if windows.shrunk:
        logger.warning(
            f"val: {counted(windows.shrunk, 'image')} shrunk, so that small objects may be missed; segmenter.tile=SIZE "
            "cuts them into windows"
        )
    learning = sum(p.numel() for p in segmenter.parameters() if p.requires_grad)
    threads = torch.get_num_threads()
    resolved = "".join(f", {name}={json.dumps(value)}" for name, value in segmenter.resolved_settings.items())
    logger.info(
        f"{segmenter.title}{resolved}: {learning / 1e6:.1f} M parameters learn; {segmenter.precision} on "
        f"{segmenter.device}, {threads} thread{'s' * (threads > 1)}{_in_each_process()}"
    )
    logger.info(f"run folder: {output_dir} (curves.html in it; tensorboard --logdir {output_dir})")


def say_how_it_fits(folder: Path) -> None:
    """Log whether a run that has ended over- or underfits, as far as its validations tell.

    Args:
        folder: folder of the run.
    """
    for line in describe_fit(RunHistory.read(folder)):
        logger.info(line)


def _samples(dataset: CocoDataset, places: Sequence[int]) -> list[Sample]:
    """Return the first augmented samples of some images; those that cannot be read are left out."""
    records = (dataset[(0, place)] for place in places)
    return [record for record in records if isinstance(record, Sample)]


def _in_each_process() -> str:
    """Return a remark on the threads of each process, and how to change them; empty for a single process."""
    count = distributed.size()
    return f" in each of {count} processes (threads=N for another number)" if count > 1 else ""
