"""Mean intersection over union of pixels, with overlapping objects and ignored crowds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segtrain.arrays import FloatArray, IntArray, mean_of_defined
from segtrain.metrics.layers import batches, visible_layers
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
        truths: all true objects.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the categories; records of others are left out, except that their crowds are ignored all the same.
        sizes: image id -> (H, W) of every image, those without objects included; records of others are left out.

    Source: Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge (2010), for the IoU of a class; crowds
    and overlapping categories are an extension.

    >>> from segtrain import masks
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
        truths: all true objects.
        predictions: the detections at the operating point.
        category_ids: the K categories.
        sizes: image id -> (H, W) of each of the I images.

    Returns:
        (I, 2 + K, 3) number of pixels of the background, of the foreground and of each category by increasing id: true
        ones, both true and predicted ones, and those that are either.

    >>> from segtrain import masks
    >>> left, top = np.zeros((2, 4, 4))
    >>> left[:, :2] = top[:2] = 1
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(left), "iscrowd": 0}
    >>> prediction = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(top), "score": 0.9}
    >>> pixel_counts([truth], [prediction], category_ids=[1], sizes={1: (4, 4)})[0, FOREGROUND].tolist()
    [8, 4, 12]
    """
    counts = np.zeros((len(sizes), 2 + len(set(category_ids)), 3), dtype=np.int64)
    counts[:, BACKGROUND] = np.array([height * width for height, width in sizes.values()], dtype=np.int64)[:, None]
    for batch in batches(truths, predictions, category_ids, sizes):
        runs = batch.rles.runs()
        layers = visible_layers(batch, runs, runs)
        counts[batch.images, FOREGROUND + 1 :] = layers.counts()
        counts[batch.images, FOREGROUND] = objects = layers.united().counts()[:, 0]
        # Background is all that is visible but the objects, true or found.
        counts[batch.images, BACKGROUND] -= objects[:, [TRUE, EITHER, BOTH]] + layers.hidden_pixels[:, None]
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
