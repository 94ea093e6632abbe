"""Nested, stratified parts of the training images, for learning curves: ``data.fraction``."""

import logging

import numpy as np
import numpy.typing as npt

from segtrain.data.coco.index import CategoryCounts, CocoIndex
from segtrain.data.split_drawing import groups_by_field
from segtrain.data.stratification import stratified
from segtrain.errors import SegtrainError
from segtrain.io import printable

logger = logging.getLogger(__name__)
_CROWDING = 4  # classes of images by their number of objects, of equal size
_LISTED = 5  # categories that a message names
_Ints = npt.NDArray[np.int64]


def training_subset(index: CocoIndex, fraction: float, seed: int, split_by: str | None) -> CocoIndex:
    """Take a fraction of the training images, and log what it holds; see `nested_subset`.

    Args:
        index: index of the training split.
        fraction: share of its images, in (0, 1].
        seed: seed of the draw, not negative. With the same seed a smaller fraction is part of a larger one.
        split_by: field of the images; those with the same value are taken together. None to draw each by itself.

    Raises:
        SegtrainError: the fraction holds no object, or an image lacks the field.
    """
    if fraction == 1:
        return index
    groups = None if split_by is None else groups_by_field(index, split_by)
    ids = index.images.rows["id"].astype(np.int64)
    kept = nested_subset(index.category_counts(), ids, fraction, seed, groups)
    taken = index.subset(ids[kept].tolist())
    counts, whole = taken.counts, index.counts
    if not counts.used and whole.used:
        raise SegtrainError(
            f"data.fraction={fraction}: the {counts.images} of {whole.images} images that it takes of {index.path} "
            "hold no object; raise it"
        )
    logger.info(
        f"data.fraction={fraction:g}: {counts.images:,} of {whole.images:,} training images, "
        f"{counts.used:,} of {whole.used:,} objects; an epoch shows each {whole.images / counts.images:.3g} times, and "
        "so has as many steps as with all"
    )
    lost = np.setdiff1d(index.category_counts().labels, taken.category_counts().labels).tolist()
    if lost:
        names = ", ".join(printable(index.categories[label - 1].name) for label in lost[:_LISTED])
        more = f" and {len(lost) - _LISTED} more" if len(lost) > _LISTED else ""
        logger.warning(f"data.fraction={fraction:g} leaves no object of {names}{more}")
    return taken


def nested_subset(
    counts: CategoryCounts, ids: _Ints, fraction: float, seed: int, groups: _Ints | None = None
) -> npt.NDArray[np.bool_]:
    """Choose a part of a set so that smaller parts lie within larger ones, and each keeps the mix of the whole.

    The set is halved again and again by `stratified`, each half in the same way, which gives an order of its images; a
    part is a beginning of this order. Halves are alike in the number of images, the objects of each category, the
    images without objects, and the images of each quarter by number of objects.

    Args:
        counts: number of true objects of each image and category.
        ids: (N,) ids of the images, unique; they determine the order, so the order in the file does not matter.
        fraction: share of the images, in (0, 1]; at least one image or group is taken.
        seed: seed of the order, not negative.
        groups: (N,) group of each image, which is taken as a whole; None to take each image by itself.

    Returns:
        (N,), true for the images of the part.

    >>> counts = CategoryCounts(np.arange(8), np.array([1, 1, 1, 1, 2, 2, 2, 2]), np.ones(8, np.int64))
    >>> quarter, half = (nested_subset(counts, np.arange(8), share, seed=0) for share in (0.25, 0.5))
    >>> quarter.sum(), half.sum(), bool((quarter <= half).all()), half[:4].sum()
    (np.int64(2), np.int64(4), True, np.int64(2))
    """
    counts = _with_crowding(counts, len(ids))
    groups = np.arange(len(ids)) if groups is None else np.unique(groups, return_inverse=True)[1]
    wanted = max(round(fraction * len(ids)), 1)
    kept = np.zeros(len(ids), dtype=np.bool_)
    places = np.arange(len(ids))  # of the images that are still to be divided
    while wanted > 0:
        if len(np.unique(groups[places])) == 1:
            if 2 * wanted >= len(places) or not kept.any():
                kept[places] = True
            break
        half = stratified(_of_images(counts, places), ids[places], 0.5, seed, groups[places])
        first, second = places[half], places[~half]
        if wanted >= len(first):
            kept[first] = True
            places, wanted = second, wanted - len(first)
        else:
            places = first
    return kept


def _with_crowding(counts: CategoryCounts, images: int) -> CategoryCounts:
    """Add a class for each quarter of the images with objects, by their number of objects, as if of one object each."""
    objects = np.bincount(counts.images, counts.objects, minlength=images)
    held = np.flatnonzero(objects)
    edges = np.quantile(objects[held], np.arange(1, _CROWDING) / _CROWDING) if len(held) else np.zeros(0)
    quarter = np.searchsorted(edges, objects[held], side="left")
    first = int(counts.labels.max(initial=0)) + 1
    return CategoryCounts(
        np.concatenate([counts.images, held]),
        np.concatenate([counts.labels, first + quarter]),
        np.concatenate([counts.objects, np.ones(len(held), np.int64)]),
    )


def _of_images(counts: CategoryCounts, places: _Ints) -> CategoryCounts:
    """Select the counts of some images, and number these from 0; ``places`` must increase."""
    at = np.searchsorted(places, counts.images)
    own = places[np.minimum(at, len(places) - 1)] == counts.images
    return CategoryCounts(at[own], counts.labels[own], counts.objects[own])
