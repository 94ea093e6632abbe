"""The true boxes as masks."""

from math import isnan

import numpy as np
import pytest
from skimage.morphology import disk

from segtrain import masks
from segtrain.metrics.average_precision import true_boxes
from tests.helpers.builders import truth_of
from tests.helpers.coco_referee import referee
from tests.helpers.random_scenes import scene


def test_rectangles_are_their_boxes() -> None:
    truths = [
        {**truth_of(masks.encode_crop(np.ones((3, 5)), x, 1, (20, 40))), "id": n} for n, x in enumerate((1, 9, 37), 1)
    ]
    found = true_boxes(truths, sizes={1: (20, 40)}, category_id=1)  # type: ignore[arg-type]
    assert (found.mask_ap, found.filled) == (pytest.approx(1), 1)


def test_all_objects_count_however_many_an_image_has() -> None:
    truths = [
        {**truth_of(masks.encode_crop(np.ones((1, 1)), n % 20, n // 20, (20, 20))), "id": n + 1} for n in range(150)
    ]
    assert true_boxes(truths, sizes={1: (20, 20)}, category_id=1).mask_ap == pytest.approx(1)  # type: ignore[arg-type]


def test_discs_fill_their_boxes_in_part() -> None:
    disc = disk(40)
    truth = truth_of(masks.encode_crop(disc, 3, 3, (100, 100)))
    found = true_boxes([truth], sizes={1: (100, 100)}, category_id=1)
    assert found.filled == pytest.approx(disc.mean())
    assert found.filled == pytest.approx(np.pi / 4, abs=0.02)
    assert found.mask_ap == pytest.approx(0.6)  # IoU .77: right at .50 to .75


def test_pycocotools_says_the_same_and_crowds_are_no_objects() -> None:
    drawn = scene(3)
    truths = [{**t, "category_id": 1} for t in drawn.truths if masks.area([t["segmentation"]])[0]]
    boxes, shares = [], []
    for truth in truths:
        if truth["iscrowd"]:
            continue
        plane = masks.decode(truth["segmentation"])
        rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        box = np.zeros_like(plane)
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        shares.append(plane.sum() / box.sum())
        boxes.append({"image_id": truth["image_id"], "category_id": 1, "segmentation": masks.encode(box), "score": 1.0})
    expected = referee(truths, boxes, drawn.sizes, [1], "segm", 100).eval["precision"][:, :, 0, 0, 0].mean()
    found = true_boxes(truths, sizes=drawn.sizes, category_id=1)  # type: ignore[arg-type]
    assert found.mask_ap == pytest.approx(expected, abs=1e-12)
    assert found.filled == pytest.approx(np.mean(shares))


def test_nothing_without_objects() -> None:
    crowd = truth_of(masks.encode(np.eye(9)), iscrowd=True)
    found = true_boxes([crowd], sizes={1: (9, 9)}, category_id=1)
    assert isnan(found.mask_ap)
    assert isnan(found.filled)
