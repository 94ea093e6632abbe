"""Evaluation images that cannot be read: an error, or left out and counted."""

import logging
from dataclasses import replace

from segtrain.data.dataset import OnBadImage
from segtrain.data.splits import Split, check_images
from segtrain.errors import SegtrainError

logger = logging.getLogger(__name__)


def readable(split: Split, on_bad_image: OnBadImage) -> Split:
    """The split without the images that cannot be read.

    Args:
        split: to be looked through; as it is if it has no image folder.
        on_bad_image: "skip" decodes every image once; "error" only makes sure that all are there.

    Raises:
        SegtrainError: an image is missing, or none is left.
    """
    if split.images is None:
        return split
    if on_bad_image == "error":
        check_images(split)
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
        split, index=index, unreadable_images=len(split.index.images) - len(kept), unreadable_annotations=lost
    )
