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
from segtrain.segmenters.mask_rcnn.mask_paste import OWN_SIZE, resample_through_mask_head
from segtrain.segmenters.mask_rcnn.mask_targets import MASK_SIDE

KEYS = ("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large")
TOGETHER = 1024  # objects, more or less: large ones side by side cost less, and all at once would cost memory


def is_mask_rcnn(name: str, technique: str | None, score: str | None, reference: str | None) -> bool:
    """Tell whether a row is a Mask R-CNN: its technique says so, or it is a result file and the reference.

    Args:
        name: name of the row.
        technique: kind of method; None for result files.
        score: meaning of a classical method's scores; None for others.
        reference: row that the others are compared with.
    """
    return technique == "mask_rcnn" or (technique is None and score is None and name == reference)


def mask_ceiling(
    rows: Mapping[str, MethodResult], ground_truth: GroundTruthSet, reference: str | None
) -> dict[str, float | int | str | None] | None:
    """Class-agnostic numbers of perfect boxes and a perfect mask head; None without Mask R-CNN or true objects.

    Every true object is a detection of score 1 that ``through_mask_head`` has blurred. Crowds are none. All detections
    of an image count, as the masks are in question here and not how many may be found.

    Args:
        rows: by name; the first network's input size is where masks are sampled, or the images as they are.
        ground_truth: the truth.
        reference: row that the others are compared with; one read from a file is taken for Mask R-CNN's.

    Returns:
        "resolution" (cells along a mask's side), "input_of" (the row whose input size it is, or None), "objects",
        "most_objects" (in one image), COCO's six numbers of mask AP by their keys in a track, and "mean_iou": of the
        true objects with what is left of them.
    """
    truths = [truth for truth in ground_truth.class_agnostic().truths if not truth["iscrowd"]]
    known = any(is_mask_rcnn(name, row.technique, row.score, reference) for name, row in rows.items())
    if not truths or not known:
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
