"""Mean intersection over union of pixels, with overlapping objects and ignored crowds."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segtrain import masks
from segtrain.arrays import FloatArray, IntArray, mean_of_defined
from segtrain.masks import Rle
from segtrain.records import GroundTruth, Prediction

BACKGROUND, FOREGROUND = range(2)  # the first two layers of the counts
TRUE, BOTH, EITHER = range(3)  # columns of the counts


@dataclass(frozen=True)
class MeanIou:
    """IoU in [0, 1]; nan where undefined.

    Attributes:
        miou: mean over the background and the categories with at least one true pixel.
        fg_iou: IoU of the union of all categories; nan without a true pixel.
        per_category: category id -> IoU; nan without a true pixel.
    """

    miou: float
    fg_iou: float
    per_category: dict[int, float]


def mean_iou(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> MeanIou:
    """Compute the IoU of pixels from counts that are summed over all images.

    In each image let V be the union of all crowd masks, whatever their category. For a category c, P_c and G_c are the
    unions of its predicted and of its non-crowd true masks, minus V; a pixel may belong to several categories. The
    background is the complement of the union of all P (of all G), minus V. The IoU is the sum over images of |P n G|
    over the sum of |P u G|. A category that is only predicted has no IoU of its own.

    Args:
        truths: all true instances.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the categories; records of others are left out, except that their crowds are ignored all the same.
        sizes: image id -> (H, W) of every image, those without objects included; records of others are left out.

    Source: Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge (2010), for the IoU of a class; crowds
    and overlapping categories are an extension.

    >>> left, top = np.zeros((2, 4, 4))
    >>> left[:, :2] = top[:2] = 1
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(left), "iscrowd": 0}
    >>> prediction = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(top), "score": 0.9}
    >>> round(mean_iou([truth], [prediction], category_ids=[1], sizes={1: (4, 4)}).fg_iou, 3)  # 4 of 12 pixels
    0.333
    """
    counts = pixel_counts(truths, predictions, category_ids=category_ids, sizes=sizes)
    sums = counts.sum(axis=0).astype(np.float64)
    classes = class_iou_of_sums(np.delete(sums, FOREGROUND, axis=0))
    per_category = dict(zip(sorted(set(category_ids)), classes[1:].tolist(), strict=True))
    return MeanIou(float(mean_of_defined(classes)), float(iou_of_sums(sums[FOREGROUND])), per_category)


def pixel_counts(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> IntArray:
    """Count the pixels of each image that ``mean_iou`` sums.

    Args:
        truths: all true instances.
        predictions: the detections at the operating point.
        category_ids: the K categories.
        sizes: image id -> (H, W) of each of the I images.

    Returns:
        (I, 2 + K, 3) number of pixels of the background, of the foreground and of each category by increasing id: true
        ones, both true and predicted ones, and those that are either.

    >>> left, top = np.zeros((2, 4, 4))
    >>> left[:, :2] = top[:2] = 1
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(left), "iscrowd": 0}
    >>> prediction = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(top), "score": 0.9}
    >>> pixel_counts([truth], [prediction], category_ids=[1], sizes={1: (4, 4)})[0, FOREGROUND].tolist()
    [8, 4, 12]
    """
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
    return counts


def iou_of_sums(sums: FloatArray) -> FloatArray:
    """Compute IoU from pixel counts that are summed over images, (..., 3) to (...); nan without a true pixel.

    >>> iou_of_sums(np.array([[4.0, 3.0, 6.0], [0.0, 0.0, 5.0]]))
    array([0.5, nan])
    """
    true, both, either = np.moveaxis(sums, -1, 0)
    value: FloatArray = np.divide(both, either, out=np.full(true.shape, np.nan), where=true > 0)
    return value


def class_iou_of_sums(sums: FloatArray) -> FloatArray:
    """Compute the IoU of the background, which comes first, and of each category, (..., 1 + K, 3) to (..., 1 + K).

    The background is defined without a true pixel too: objects may cover an image that detections do not.

    >>> class_iou_of_sums(np.array([[0.0, 0.0, 2.0], [16.0, 14.0, 16.0]])).tolist()
    [0.0, 0.875]
    """
    value = iou_of_sums(sums)
    both, either = sums[..., 0, BOTH], sums[..., 0, EITHER]
    value[..., 0] = np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)
    return value


def _overlap(true: Rle, found: Rle) -> tuple[int, int, int]:
    """Count the pixels that are true, both true and predicted, and either."""
    true_area, found_area, both = masks.area([true, found, masks.intersection(true, found)]).tolist()
    return true_area, both, true_area + found_area - both


def _by_image(records: Iterable[GroundTruth | Prediction]) -> defaultdict[int, defaultdict[int, list[Rle]]]:
    """Group masks by image id, then by category id."""
    groups: defaultdict[int, defaultdict[int, list[Rle]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        groups[record["image_id"]][record["category_id"]].append(record["segmentation"])
    return groups


def _regions(layers: Mapping[int, Sequence[Rle]], visible: Rle, size: tuple[int, int]) -> dict[int, Rle]:
    """Unite the masks of each category within the visible pixels."""
    return {c: masks.intersection(masks.union(rles, size), visible) for c, rles in layers.items()}
