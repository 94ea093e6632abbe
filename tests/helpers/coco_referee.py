"""pycocotools, run on copies of records, since it writes into them."""

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


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
