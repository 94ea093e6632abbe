"""Boxes written in another way are recognised, and only those."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segtrain.metrics.box_formats import AS_WRITTEN, box_format_mismatch

SIZES = {3: (300, 400), 5: (200, 640), 9: (512, 512), 12: (480, 360)}
Box = tuple[float, float, float, float]


def truths(seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    result = []
    for image_id, (height, width) in SIZES.items():
        for _ in range(12):
            w, h = rng.uniform(12, 60, 2)
            x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
            result.append({"image_id": image_id, "bbox": [x, y, w, h], "iscrowd": 0})
    return result


def found(write: Callable[[Box, tuple[int, int]], list[float]], junk: int = 0) -> list[Any]:
    """The true boxes, a little off, as somebody would write them; and false ones of low score."""
    rng = np.random.default_rng(1)
    result = []
    for truth in truths():
        x, y, w, h = (value + rng.normal(0, 1) for value in truth["bbox"])
        result.append(
            {"image_id": truth["image_id"], "bbox": write((x, y, w, h), SIZES[truth["image_id"]]), "score": 0.9}
        )
    for _ in range(junk):
        result.append({"image_id": 9, "bbox": rng.uniform(0, 200, 4).tolist(), "score": 0.1})
    return result


@pytest.mark.parametrize(
    ("write", "layout", "relative", "factor"),
    [
        (lambda b, _: [b[0], b[1], b[0] + b[2], b[1] + b[3]], "[x1, y1, x2, y2]", False, 1),
        (lambda b, _: [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]], "[centre x, centre y, width, height]", False, 1),
        (lambda b, _: [b[1], b[0], b[3], b[2]], "[y, x, height, width]", False, 1),
        (lambda b, _: [b[1], b[0], b[1] + b[3], b[0] + b[2]], "[y1, x1, y2, x2]", False, 1),
        (lambda b, s: [b[0] / s[1], b[1] / s[0], b[2] / s[1], b[3] / s[0]], AS_WRITTEN, True, 1),
        (
            lambda b, s: [(b[0] + b[2] / 2) / s[1], (b[1] + b[3] / 2) / s[0], b[2] / s[1], b[3] / s[0]],
            "[centre x, centre y, width, height]", True, 1,
        ),
        (lambda b, s: [1000 * v / s[1 - i % 2] for i, v in enumerate(b)], AS_WRITTEN, True, 1e-3),
        (lambda b, _: [v / 4 for v in b], AS_WRITTEN, False, 4),
        (lambda b, _: [v * 1.6 for v in b], AS_WRITTEN, False, 1 / 1.6),
        (lambda b, _: [v * 2 for v in (b[0], b[1], b[0] + b[2], b[1] + b[3])], "[x1, y1, x2, y2]", False, 0.5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("junk", [0, 200])
def test_other_notations(
    write: Callable[[Box, tuple[int, int]], list[float]], layout: str, relative: bool, factor: float, junk: int
) -> None:
    way = box_format_mismatch(truths(), found(write, junk), SIZES)
    assert way is not None
    assert (way.layout, way.relative, way.shift) == (layout, relative, 0)
    assert way.factor == pytest.approx(factor, rel=0.03)
    assert way.before < 0.3 < 0.7 < way.after


@pytest.mark.parametrize("step", [-1, 1])
def test_image_ids_that_are_one_off(step: int) -> None:
    for count, said in ((11, True), (10, False)):  # so many pairs and one; of few images chance decides
        real, sizes = neighbours(count)
        ids = sorted(sizes)
        written = [{**truth, "score": 0.9, "image_id": ids[(n // 2 + step) % count]} for n, truth in enumerate(real)]
        way = box_format_mismatch(real, written, sizes)
        assert (way is not None) == said
        assert way is None or way.shift == -step


def neighbours(count: int) -> tuple[list[Any], dict[int, tuple[int, int]]]:
    """Images of two objects each, which lie elsewhere in every image."""
    rng = np.random.default_rng(2)
    real = [
        {"image_id": 3 * image + 1, "bbox": [*rng.uniform(0, 250, 2).tolist(), 30.0, 40.0], "iscrowd": 0}
        for image in range(count)
        for _ in range(2)
    ]
    return real, {3 * image + 1: (300, 300) for image in range(count)}


def test_a_few_boxes_fit_by_chance_alone() -> None:
    for count, said in ((8, True), (7, False)):
        few = found(lambda b, _: [v / 4 for v in b])[:count]
        assert (box_format_mismatch(truths(), few, SIZES) is not None) == said


def test_boxes_of_whole_images_say_nothing() -> None:
    # Each fits the large object of its neighbour, and not its own image's small ones.
    real, sizes = [], dict.fromkeys(range(1, 25), (300, 400))
    for image in sizes:
        real += [{"image_id": image, "bbox": box, "iscrowd": 0}
                 for box in ([[20, 10, 350, 280]] if image % 2 else [[5 * image, 9 * image, 20, 20]] * 2)]  # fmt: skip
    whole = [{"image_id": image, "bbox": [0, 0, 400, 300], "score": 0.5} for image in sizes if image % 2 == 0]
    assert box_format_mismatch(real, whole, sizes) is None


def test_boxes_that_fit_and_boxes_that_nothing_helps() -> None:
    assert box_format_mismatch(truths(), found(lambda b, _: list(b)), SIZES) is None
    assert box_format_mismatch(truths(), found(lambda b, _: list(b), junk=300), SIZES) is None
    for seed in range(5):  # other objects, of the same number and size
        strangers = [{**truth, "score": 0.5} for truth in truths(seed + 10)]
        assert box_format_mismatch(truths(), strangers, SIZES) is None
    assert box_format_mismatch(truths(), [], SIZES) is None
    assert box_format_mismatch([], found(lambda b, _: list(b)), SIZES) is None
    flat = found(lambda b, _: [0.0, 0.0, 0.0, 0.0])
    assert box_format_mismatch(truths(), flat, SIZES) is None
