"""Registry of metrics: the key, title, definition and source of every number that a report shows of a method."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric of a method.

    Attributes:
        key: its name in ``results.json``.
        title: the header of its column.
        hint: one line that explains the header.
        uses: the detections it is computed from: all of them, or those at the operating point, which reach the
            method's score threshold.
        headline: whether the first table of a report shows it.
        category_key: its name in the rows of single categories; None if it has no value for one category.
    """

    key: str
    title: str
    hint: str
    uses: Literal["all", "operating_point"]
    headline: bool = False
    category_key: str | None = None


METRICS = (
    Metric("mask_ap", "mask AP", "Average precision of masks, mean over IoU 0.50 to 0.95", "all", True, "mask_ap"),
    Metric("mask_ap50", "AP50", "Average precision of masks at IoU 0.50", "all", True, "mask_ap50"),
    Metric("mask_ap75", "AP75", "Average precision of masks at IoU 0.75", "all"),
    Metric("mask_ap_small", "AP S", "Average precision of masks, objects below 32 × 32 pixels", "all"),
    Metric("mask_ap_medium", "AP M", "Average precision of masks, objects of 32 × 32 to 96 × 96 pixels", "all"),
    Metric("mask_ap_large", "AP L", "Average precision of masks, objects above 96 × 96 pixels", "all"),
    Metric("mask_ar", "AR", "Average recall of masks", "all"),
    Metric("box_ap", "box AP", "Average precision of boxes, mean over IoU 0.50 to 0.95", "all", True, "box_ap"),
    Metric("miou", "mIoU", "Mean intersection over union of background and classes", "operating_point", True, "iou"),
    Metric("fg_iou", "fg IoU", "Intersection over union of all objects against background", "operating_point"),
    Metric(
        "f1_50",
        "F1",
        "F1 of matched objects at IoU 0.50, at the row's score threshold",
        "operating_point",
        True,
        "f1_50",
    ),
    Metric(
        "pq",
        "PQ",
        "Panoptic quality: mean IoU of matched objects times their F1, no pixel used twice",
        "operating_point",
        True,
        "pq",
    ),
    Metric("sq", "SQ", "Segmentation quality: mean IoU of the matched objects of PQ", "operating_point"),
    Metric("rq", "RQ", "Recognition quality: F1 of the matched objects of PQ", "operating_point"),
    Metric(
        "boundary_iou",
        "boundary IoU",
        "Intersection over union of the objects' outlines, 2 % of the diagonal wide",
        "operating_point",
        True,
        "boundary_iou",
    ),
)
