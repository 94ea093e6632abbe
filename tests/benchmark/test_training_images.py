"""Views of training images: whole ones, and parts with many objects."""

import numpy as np
import pytest

from segtrain import masks
from segtrain.benchmark.setting_scores import ImageTruth
from segtrain.benchmark.training_images import View
from segtrain.records import OBJECT, GroundTruth


def view_of(size: tuple[int, int], boxes: list[tuple[int, int, int, int]], crowds: int = 0) -> View:
    """A view with a rectangle for each box, (x, y, width, height), the last ones of them crowds."""
    truths = []
    for number, (x, y, width, height) in enumerate(boxes):
        mask = np.zeros(size, np.uint8)
        mask[y : y + height, x : x + width] = 1
        truths.append(
            GroundTruth(id=number + 1, image_id=7, category_id=OBJECT.id, segmentation=masks.encode(mask),
                        bbox=[float(x), float(y), float(width), float(height)], area=float(width * height),
                        iscrowd=int(number >= len(boxes) - crowds))
        )  # fmt: skip
    return View(ImageTruth(7, size, truths), None)


def test_a_part_holds_the_most_crowded_place() -> None:
    whole = view_of((300, 500), [(10, 10, 20, 20), (400, 200, 20, 20), (430, 210, 20, 20), (440, 250, 20, 20)])
    part = whole.part()
    assert part.window is not None
    rows, columns = part.window
    assert part.truth.size == (128, 128) == (rows.stop - rows.start, columns.stop - columns.start)
    assert [truth["id"] for truth in part.truth.truths] == [2, 3, 4]
    for truth in part.truth.truths:
        expected = masks.decode(whole.truth.truths[truth["id"] - 1]["segmentation"])[rows, columns]
        assert np.array_equal(masks.decode(truth["segmentation"]), expected)
    assert 0 <= rows.start < rows.stop <= 300
    assert 0 <= columns.start < columns.stop <= 500


@pytest.mark.parametrize(
    ("size", "boxes"),
    [((130, 140), [(10, 10, 5, 5)]), ((480, 640), [(10, 10, 300, 50)]), ((480, 640), []), ((0, 9), [])],
)
def test_small_images_and_those_of_large_objects_stay_whole(
    size: tuple[int, int], boxes: list[tuple[int, int, int, int]]
) -> None:
    view = view_of(size, boxes)
    assert view.part() is view


def test_crowds_are_cut_but_do_not_decide() -> None:
    view = view_of((400, 400), [(20, 20, 10, 10), (200, 200, 150, 150), (0, 0, 60, 60)], crowds=2)
    part = view.part()
    assert [truth["id"] for truth in part.truth.truths] == [1, 3]
    assert len(part.objects) == 1


def test_a_long_image_is_cut_along_its_longer_side_only() -> None:
    part = view_of((60, 2000), [(1900, 10, 20, 20)]).part()
    assert part.truth.size == (60, 128)
    assert part.window is not None
    assert part.window[1].stop == 2000 - max(0, 2000 - part.window[1].stop)
