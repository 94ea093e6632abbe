"""Mean intersection over union of pixels, with overlapping objects and ignored crowds."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.masks import Rle
from segtrain.records import GroundTruth, Prediction

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MeanIou:
    """IoU in [0, 1]; what is undefined is nan.

    Attributes:
        miou: mean over the background and the categories with at least one true pixel.
        fg_iou: IoU of the union of all categories; nan without a true pixel.
        per_category: category id -> IoU; nan without a true pixel.
    """

    miou: float
    fg_iou: float
    per_category: dict[int, float]


@dataclass(frozen=True)
class PixelCounts:
    """What the IoU of pixels is made of, image by image.

    Attributes:
        image_ids: of I images, in the order of the given sizes.
        category_ids: of K categories, increasing.
        counts: (I, 2 + K, 3) pixels of the background, the foreground and each category: true, found and true, found
            or true.
    """

    image_ids: list[int]
    category_ids: list[int]
    counts: IntArray


def mean_iou(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> MeanIou:
    """IoU of pixels: sums over all images, then one division, never a mean of per-image ratios.

    In each image let V be the union of all crowd masks, whatever their category. For a category c, P_c and G_c are the
    unions of its predicted and of its non-crowd true masks, minus V; a pixel may belong to several categories. The
    background is the complement of the union of all P (of all G), minus V. The IoU is the sum over images of |P n G|
    over the sum of |P u G|. A category that is only predicted has no IoU of its own.

    Args:
        truths: all true instances.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the categories; records of others are left out, except that their crowds are ignored all the same.
        sizes: image id -> (H, W) of every image, those without objects included; records of others are left out.
    """
    pixels = pixel_counts(truths, predictions, category_ids=category_ids, sizes=sizes)
    layers, mean = iou_of_sums(pixels.counts.sum(axis=0))
    return MeanIou(float(mean), float(layers[1]), dict(zip(pixels.category_ids, layers[2:].tolist(), strict=True)))


def pixel_counts(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> PixelCounts:
    """Count the pixels of each image that ``mean_iou`` sums; its arguments."""
    known = set(category_ids)
    layer_of = {category_id: layer for layer, category_id in enumerate(sorted(known), start=2)}
    crowds = _by_image(t for t in truths if t["iscrowd"])
    real = _by_image(t for t in truths if not t["iscrowd"] and t["category_id"] in known)
    found = _by_image(p for p in predictions if p["category_id"] in known)
    counts = np.zeros((len(sizes), 2 + len(known), 3), dtype=np.int64)
    for image, (image_id, size) in zip(counts, sizes.items(), strict=True):
        visible = masks.complement(masks.union([rle for rles in crowds[image_id].values() for rle in rles], size))
        true_regions = _regions(real[image_id], visible, size)
        found_regions = _regions(found[image_id], visible, size)
        nothing = masks.empty(size)
        for category_id in true_regions.keys() | found_regions.keys():
            true, seen = true_regions.get(category_id, nothing), found_regions.get(category_id, nothing)
            image[layer_of[category_id]] = _overlap(true, seen)
        true_objects = masks.union(list(true_regions.values()), size)
        found_objects = masks.union(list(found_regions.values()), size)
        image[0] = _overlap(masks.difference(visible, true_objects), masks.difference(visible, found_objects))
        image[1] = _overlap(true_objects, found_objects)
    return PixelCounts(list(sizes), sorted(known), counts)


def iou_of_sums(sums: npt.NDArray[np.number]) -> tuple[FloatArray, FloatArray]:
    """IoU from counts of pixels that are summed over images.

    Args:
        sums: (..., 2 + K, 3) as ``PixelCounts.counts`` has them.

    Returns:
        The IoU of each layer, (..., 2 + K), and their mean without the foreground, (...,); nan where undefined.
    """
    true, both, either = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    # The background needs no true pixel: an image may be covered by objects, and a detection may leave some of it bare.
    defined = np.where(np.arange(true.shape[-1]) == 0, either, true) > 0
    layers = np.divide(both, either, out=np.full(true.shape, np.nan), where=defined)
    kept = np.delete(layers, 1, axis=-1)
    number = (~np.isnan(kept)).sum(axis=-1)
    mean = np.divide(np.nansum(kept, axis=-1), number, out=np.full(number.shape, np.nan), where=number > 0)
    return layers, mean


def _overlap(true: Rle, found: Rle) -> tuple[int, int, int]:
    """Pixels: true, found and true, found or true."""
    true_area, found_area, both = masks.area([true, found, masks.intersection(true, found)]).tolist()
    return true_area, both, true_area + found_area - both


def _by_image(records: Iterable[GroundTruth | Prediction]) -> defaultdict[int, defaultdict[int, list[Rle]]]:
    """Image id -> category id -> masks."""
    groups: defaultdict[int, defaultdict[int, list[Rle]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        groups[record["image_id"]][record["category_id"]].append(record["segmentation"])
    return groups


def _regions(layers: Mapping[int, Sequence[Rle]], visible: Rle, size: tuple[int, int]) -> dict[int, Rle]:
    """The visible pixels of each category's objects."""
    return {c: masks.intersection(masks.union(rles, size), visible) for c, rles in layers.items()}
