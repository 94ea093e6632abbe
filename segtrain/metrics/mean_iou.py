"""Intersection over union of pixels, where objects may overlap and crowds are to be ignored."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import fmean

from segtrain import masks
from segtrain.instances import GroundTruth, Prediction
from segtrain.masks import Rle


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
    known = set(category_ids)
    crowds = _by_image(t for t in truths if t["iscrowd"])
    real = _by_image(t for t in truths if not t["iscrowd"] and t["category_id"] in known)
    found = _by_image(p for p in predictions if p["category_id"] in known)
    categories = {category_id: _Overlap() for category_id in sorted(known)}
    foreground, background = _Overlap(), _Overlap()
    for image_id, size in sizes.items():
        visible = masks.complement(masks.union([rle for rles in crowds[image_id].values() for rle in rles], size))
        true_regions = _regions(real[image_id], visible, size)
        found_regions = _regions(found[image_id], visible, size)
        nothing = masks.empty(size)
        for category_id in true_regions.keys() | found_regions.keys():
            categories[category_id].add(true_regions.get(category_id, nothing), found_regions.get(category_id, nothing))
        true_objects = masks.union(list(true_regions.values()), size)
        found_objects = masks.union(list(found_regions.values()), size)
        foreground.add(true_objects, found_objects)
        background.add(masks.difference(visible, true_objects), masks.difference(visible, found_objects))

    per_category = {category_id: overlap.iou_if_true for category_id, overlap in categories.items()}
    defined = [value for value in (background.iou, *per_category.values()) if not isnan(value)]
    return MeanIou(fmean(defined) if defined else nan, foreground.iou_if_true, per_category)


@dataclass
class _Overlap:
    """Pixels, summed over images."""

    true: int = 0
    both: int = 0
    either: int = 0

    def add(self, true: Rle, found: Rle) -> None:
        true_area, found_area, both = masks.area([true, found, masks.intersection(true, found)]).tolist()
        self.true += true_area
        self.both += both
        self.either += true_area + found_area - both

    @property
    def iou(self) -> float:
        return self.both / self.either if self.either else nan

    @property
    def iou_if_true(self) -> float:
        return self.iou if self.true else nan


def _by_image(records: Iterable[GroundTruth | Prediction]) -> defaultdict[int, defaultdict[int, list[Rle]]]:
    """Image id -> category id -> masks."""
    groups: defaultdict[int, defaultdict[int, list[Rle]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        groups[record["image_id"]][record["category_id"]].append(record["segmentation"])
    return groups


def _regions(layers: Mapping[int, Sequence[Rle]], visible: Rle, size: tuple[int, int]) -> dict[int, Rle]:
    """The visible pixels of each category's objects."""
    return {c: masks.intersection(masks.union(rles, size), visible) for c, rles in layers.items()}
