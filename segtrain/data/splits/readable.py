"""Evaluation images that cannot be read, left out and counted."""

import logging
from dataclasses import replace

from segtrain.data.splits.opening import Split
from segtrain.errors import SegtrainError

logger = logging.getLogger(__name__)


def readable(split: Split) -> Split:
    """The split without the images that cannot be read; every image is decoded once.

    Args:
        split: to be looked through; as it is if it has no image folder.

    Raises:
        SegtrainError: none is left.
    """
    if split.images is None:
        return split
    kept = []
    for image in split.index.images:
        try:
            split.images.read(image)
            kept.append(image.id)
        except SegtrainError as error:
            logger.warning("left out of the evaluation: %s", error)
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
