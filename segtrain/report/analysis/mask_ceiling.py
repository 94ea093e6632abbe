"""How far Mask R-CNN can get on these data: the true objects, passed through its 28 x 28 masks."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np

from segtrain import masks
from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import GroundTruthSet
from segtrain.metrics.average_precision import average_precision
from segtrain.records import GroundTruth, Prediction
from segtrain.report.analysis.comparisons import standard_of
from segtrain.segmenters.mask_rcnn.mask_paste import OWN_SIZE, resample_through_mask_head
from segtrain.segmenters.mask_rcnn.mask_targets import MASK_SIDE

KEYS = ("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large")
TOGETHER = 1024  # objects, more or less: large ones side by side cost less, and all at once would cost memory


def mask_ceiling(
    rows: Mapping[str, MethodResult], ground_truth: GroundTruthSet
) -> dict[str, float | int | str | None] | None:
    """Class-agnostic numbers of perfect boxes and a perfect mask head; None without Mask R-CNN or true objects.

    Every true object is a detection of score 1 that ``through_mask_head`` has blurred. Crowds are none. All detections
    of an image count, as the masks are in question here and not how many may be found.

    Args:
        rows: by name; the first network's input size is where masks are sampled, or the images as they are.
        ground_truth: the truth.

    Returns:
        "resolution" (cells along a mask's side), "input_of" (the row whose input size it is, or None), "objects",
        "most_objects" (in one image), COCO's six numbers of mask AP by their keys in a track, and "mean_iou": of the
        true objects with what is left of them.
    """
    truths = [truth for truth in ground_truth.class_agnostic().truths if not truth["iscrowd"]]
    if not truths or standard_of(rows) is None:
        return None
    name, input_size = next(((n, row.input_size) for n, row in rows.items() if row.input_size), (None, OWN_SIZE))
    found: list[Prediction] = []
    overlaps: list[float] = []
    for images in _portions(truths):
        real = [[truth["segmentation"] for truth in image] for image in images]
        sizes = [ground_truth.sizes[image[0]["image_id"]] for image in images]
        for image, left in zip(images, resample_through_mask_head(real, sizes, input_size), strict=True):
            for truth, mask in zip(image, left, strict=True):
                overlaps.append(float(masks.iou([mask], [truth["segmentation"]], [False])[0, 0]))
                own = truth["image_id"], truth["category_id"]
                found.append(Prediction(image_id=own[0], category_id=own[1], segmentation=mask, score=1.0))
    precision = average_precision(
        truths, found, image_ids=list(ground_truth.sizes), category_ids=[truths[0]["category_id"]],
        max_dets=len(found), iou_type="segm", sizes=ground_truth.sizes,
    )  # fmt: skip
    return {
        "resolution": MASK_SIDE,
        "input_of": name,
        "objects": len(truths),
        "most_objects": max(Counter(truth["image_id"] for truth in truths).values()),
        **dict(zip(KEYS, precision.stats, strict=False)),
        "mean_iou": float(np.mean(overlaps)),
    }


def _portions(truths: Sequence[GroundTruth]) -> Iterator[list[list[GroundTruth]]]:
    """The objects by image, some images at a time."""
    portion: list[list[GroundTruth]] = []
    for _, image in groupby(sorted(truths, key=lambda truth: truth["image_id"]), lambda truth: truth["image_id"]):
        portion.append(list(image))
        if sum(map(len, portion)) >= TOGETHER:
            yield portion
            portion = []
    if portion:
        yield portion
