"""The images that validation takes from a file that has no validation images of its own."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from segtrain.data.index.coco import CocoIndex
from segtrain.data.index.ids import as_whole_number
from segtrain.data.splits.files import image_field
from segtrain.data.splits.stratify import stratified
from segtrain.errors import SegtrainError


def draw(index: CocoIndex, fraction: float, seed: int, split_by: str | None) -> set[int]:
    """Ids of about a fraction of the images and of each category's objects; see ``stratified``.

    Args:
        index: of the whole file.
        fraction: in (0, 1).
        seed: not negative.
        split_by: field of the file's images; images with the same value stay together. None: each by itself.

    Raises:
        SegtrainError: the fraction leaves one side empty, or the field does not divide the images.
    """
    if not 0 < fraction < 1:
        raise SegtrainError(f"data.val_fraction={fraction} lies outside (0, 1); give a share such as 0.2")
    if not 0 < round(fraction * len(index.images)) < len(index.images):
        raise SegtrainError(
            f"data.val_fraction={fraction} leaves one split of {index.path} ({len(index.images)} images) empty; "
            "change it, or give data.val_annotations"
        )
    ids = index.images.rows["id"].astype(np.int64)
    groups = None if split_by is None else _groups(index, split_by)
    chosen = stratified(index.category_counts(), ids, fraction, seed, groups)
    return set(ids[chosen].tolist())


def known(index: CocoIndex, ids: Collection[int]) -> set[int]:
    """Ids that were drawn before.

    Raises:
        SegtrainError: the file does not hold them all.
    """
    unknown = set(ids) - set(index.images.rows["id"].tolist())
    if unknown:
        raise SegtrainError(
            f"{index.path}: lacks {len(unknown)} of the {len(ids)} validation images of the checkpoint, first id "
            f"{min(unknown)}; give the file that it was trained on, or data.val_annotations"
        )
    return set(ids)


def _groups(index: CocoIndex, field: str) -> npt.NDArray[np.int64]:
    """The group of each image, by number."""
    number: dict[str | float, int] = {}
    groups = [
        number.setdefault(as_whole_number(value) or value, len(number))  # 1, 1.0 and "1" are the same patient
        for value in image_field(index.path, field, index.images.rows["entry"].tolist())
    ]
    if len(number) < 2:
        raise SegtrainError(
            f"{index.path}: all images have the {field} {next(iter(number))!r}, so data.split_by={field} leaves one "
            "split empty; choose another field, or give data.val_annotations"
        )
    return np.array(groups)
