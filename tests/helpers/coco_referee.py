"""pycocotools, run on copies of records, since it writes into them."""

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.helpers.random_scenes import Scene


def referee(
    truths: Sequence[Any],
    predictions: Sequence[Any],
    sizes: Mapping[int, tuple[int, int]],
    category_ids: Sequence[int],
    iou_type: str,
    max_dets: int,
) -> COCOeval:
    """Run COCO's evaluator: ``evaluate`` and ``accumulate``."""
    images = [{"id": i, "height": height, "width": width} for i, (height, width) in sizes.items()]
    dataset = {"images": images, "categories": [{"id": c, "name": str(c)} for c in category_ids]}
    with contextlib.redirect_stdout(io.StringIO()):
        real, found = COCO(), COCO()
        real.dataset = dataset | {"annotations": copy.deepcopy(list(truths))}
        real.createIndex()
        if predictions:
            found = real.loadRes(copy.deepcopy(list(predictions)))
        else:
            found.dataset = dataset | {"annotations": []}
            found.createIndex()
        evaluator = COCOeval(real, found, iou_type)
        evaluator.params.maxDets = [max_dets]
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def twelve_numbers(drawn: Scene, found: Sequence[Any], categories: Sequence[int], kind: str, max_dets: int) -> Any:
    """COCO's own twelve numbers, with max_dets in place of 100."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i, "height": h, "width": w} for i, (h, w) in drawn.sizes.items()],
            "categories": [{"id": c} for c in categories],
            "annotations": [dict(t) for t in drawn.truths],
        }
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes([dict(p) for p in found]), kind)
        evaluator.params.maxDets = [1, 10, max_dets]
        evaluator.evaluate()
        evaluator.accumulate()
    precision, recall = evaluator.eval["precision"], evaluator.eval["recall"]

    def mean(values: Any) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else float("nan")

    aps = [precision[..., 0, 2], precision[0, ..., 0, 2], precision[5, ..., 0, 2]]
    aps += [precision[..., area, 2] for area in (1, 2, 3)]
    ars = [recall[..., 0, cut] for cut in range(3)] + [recall[..., area, 2] for area in (1, 2, 3)]
    return [mean(values) for values in (*aps, *ars)]
