"""Confusion matrix against counts made one detection at a time."""

from typing import Any

import numpy as np
import pytest

from segtrain import masks
from segtrain.metrics.confusion import confusion_cells, pair_objects
from segtrain.metrics.matching import match
from tests.helpers.random_scenes import CATEGORIES, Scene, scene


def iou(one: Any, other: Any, crowd: bool) -> float:
    a, b = masks.decode(one).astype(bool), masks.decode(other).astype(bool)
    return float((a & b).sum() / max((a if crowd else a | b).sum(), 1))


def counted(drawn: Scene, threshold: float) -> np.ndarray:
    """Give each detection, the best first, the free object of its image that it overlaps most."""
    place = {category: number for number, category in enumerate(sorted(CATEGORIES))}
    nothing = len(place)
    matrix = np.zeros((nothing + 1, nothing + 1), dtype=int)
    counts = [not truth["iscrowd"] and truth["area"] <= 1e10 for truth in drawn.truths]
    taken: set[int] = set()
    seen: set[int] = set()
    order = sorted(enumerate(drawn.predictions), key=lambda entry: (-entry[1]["score"], entry[1]["image_id"], entry[0]))
    for _, found in order:
        best: dict[bool, tuple[float, int]] = {}  # by whether the object counts
        for number, truth in enumerate(drawn.truths):
            crowd = bool(truth["iscrowd"])
            if truth["image_id"] != found["image_id"] or (number in taken and not crowd):
                continue
            overlap = iou(found["segmentation"], truth["segmentation"], crowd)
            if overlap >= max(0.5, best.get(counts[number], (0.0, 0))[0]):
                best[counts[number]] = overlap, number
        if best:
            taken.add(best.get(True, best.get(False, (0.0, -1)))[1])
        if found["score"] < threshold or (best and True not in best):
            continue
        row = nothing
        if best:
            seen.add(best[True][1])
            row = place[drawn.truths[best[True][1]]["category_id"]]
        matrix[row, place[found["category_id"]]] += 1
    for number, truth in enumerate(drawn.truths):
        if counts[number] and number not in seen:
            matrix[place[truth["category_id"]], nothing] += 1
    return matrix


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_every_object_and_detection_is_counted_once(seed: int, threshold: float) -> None:
    drawn = scene(seed, predictions=60)
    one: Any = [{**record, "category_id": 1} for record in drawn.truths]
    found: Any = [{**record, "category_id": 1} for record in drawn.predictions]
    matches = match(one, found, image_ids=list(drawn.sizes), category_ids=[1], iou_type="segm")
    numbers = [
        np.searchsorted(sorted(CATEGORIES), [record["category_id"] for record in records])
        for records in (drawn.predictions, drawn.truths)
    ]
    cells = confusion_cells(pair_objects(matches, threshold), *numbers, categories=len(CATEGORIES))
    matrix = np.zeros((len(CATEGORIES) + 1,) * 2, dtype=int)
    np.add.at(matrix, cells, 1)
    assert matrix.tolist() == counted(drawn, threshold).tolist()
