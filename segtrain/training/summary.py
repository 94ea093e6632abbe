"""Summary of a run before its first step."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from segtrain.data.check.set_checks import check_visibility
from segtrain.data.dataset import CocoDataset, Sample
from segtrain.data.splits import Split, SplitName
from segtrain.segmenters.mask_rcnn.model import STRIDES, MaskRCNN
from segtrain.targets import Target

logger = logging.getLogger(__name__)


def first_samples(dataset: CocoDataset, count: int) -> tuple[list[Tensor], list[Target]]:
    """The first augmented samples, as the network sees them but for its own resizing.

    Returns:
        Images uint8 RGB (3, H, W) and their targets; images that cannot be read are passed over.
    """
    records = (dataset[(0, position)] for position in range(min(count, len(dataset))))
    samples = [record for record in records if isinstance(record, Sample)]
    return [sample.image for sample in samples], [sample.target for sample in samples]


def describe_run(splits: Mapping[SplitName, Split], segmenter: MaskRCNN, output_dir: Path, *, check: bool) -> None:
    """Log what is about to happen, in a few lines; with ``check`` also which objects the network cannot see."""
    for name, split in splits.items():
        counts = split.index.counts
        crowd = f", {counts.crowd} crowd" if counts.crowd else ""
        mended = f", {counts.repaired} repaired" if counts.repaired else ""
        dropped = f", {counts.dropped} dropped" if counts.dropped else ""
        lost = f", {split.unreadable_images} images left out" if split.unreadable_images else ""
        logger.info(
            f"{name}: {counts.images} images, {counts.used} objects{crowd}{mended}{dropped}{lost}: {split.index.path}"
        )
    if check:
        index = splits["train"].index
        factors = [segmenter.input_size.factor(image.height, image.width) for image in index.images]
        for finding in check_visibility(index, factors, STRIDES[0]):
            logger.info(f"train, note: {finding.line}")
    learning = sum(p.numel() for p in segmenter.parameters() if p.requires_grad)
    logger.info(
        f"Mask R-CNN: {learning / 1e6:.1f} M parameters learn; {segmenter.precision} on {segmenter.device}, "
        f"{torch.get_num_threads()} threads"
    )
    logger.info(f"run folder: {output_dir} (tensorboard --logdir {output_dir})")
