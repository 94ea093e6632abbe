"""Drawn masks: where the colour falls, whatever the scale."""

import time

import numpy as np
import pytest

from segtrain import masks
from segtrain.visualize import FILL, PAPER, draw, sheet, side_by_side
from tests.helpers.report_examples import square

RED = (255, 0, 0)


def test_outline_is_opaque_inside_is_tinted_outside_is_untouched() -> None:
    image = np.full((700, 700, 3), 100, np.uint8)  # large enough to keep its size
    drawn = draw(image, [masks.encode_crop(np.ones((60, 80)), 200, 100, (700, 700))], colours=[RED])
    assert drawn.shape == image.shape
    inside = np.zeros((700, 700), bool)
    inside[100:160, 200:280] = True
    core = np.zeros_like(inside)
    core[103:157, 203:277] = True
    assert (drawn[~inside] == 100).all()
    assert (drawn[core] == [int(100 + FILL * 155), 72, 72]).all()
    edge = inside & ~core
    assert (drawn[edge] == RED).all()
    assert (image == 100).all()


@pytest.mark.parametrize("longest", [40, 64, 150, 500])
def test_a_mask_lands_where_it_belongs_at_any_scale(longest: int) -> None:
    mask = masks.encode_crop(np.ones((16, 24)), 20, 8, (48, 64))
    drawn = draw(np.zeros((48, 64, 3), np.uint8), [mask], colours=[RED], longest=longest)
    assert max(drawn.shape) == longest
    scale = longest / 64
    rows, columns = np.nonzero(drawn[..., 0])
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / scale
    assert box == pytest.approx([20, 8, 44, 24], abs=0.51 / min(scale, 1))
    assert len(rows) / scale**2 == pytest.approx(16 * 24, rel=0.1)


def test_small_images_are_enlarged_and_large_ones_are_not() -> None:
    assert draw(np.zeros((48, 64, 3), np.uint8), []).shape == (144, 192, 3)
    assert draw(np.zeros((256, 320, 3), np.uint8), []).shape == (512, 640, 3)
    assert draw(np.zeros((100, 2000, 3), np.uint8), []).shape == (100, 2000, 3)


def test_masks_at_the_border_and_empty_ones() -> None:
    size = (48, 64)
    border = [square(0, 0, 5), square(59, 43, 5), masks.empty(size), masks.encode(np.ones(size))]
    for longest in (10, 64, 200):
        drawn = draw(np.zeros((*size, 3), np.uint8), border, names=["a", "b", "c", "<d>"], longest=longest)
        assert drawn.max() > 0


@pytest.mark.parametrize("place", [(190, 90), (0, 0), (198, 198), (0, 198)])
def test_names_are_whole_at_the_border(place: tuple[int, int]) -> None:
    image = np.zeros((200, 200, 3), np.uint8)

    def lettered(x: int, y: int) -> int:
        point = [masks.encode_crop(np.ones((2, 2)), x, y, (200, 200))]
        named, bare = (draw(image, point, names, longest=200) for names in (["nucleus 0.91"], None))
        return int((named != bare).any(axis=2).sum())

    assert lettered(*place) == pytest.approx(lettered(60, 90), abs=4)


def test_neighbours_differ_and_masks_need_as_many_colours() -> None:
    drawn = draw(np.zeros((48, 64, 3), np.uint8), [square(2, 2, 9), square(20, 2, 9)])
    assert not np.array_equal(drawn[6 * 3 - 9, 2 * 3 + 1], drawn[6 * 3 - 9, 20 * 3 + 1])
    with pytest.raises(ValueError, match="zip"):
        draw(np.zeros((48, 64, 3), np.uint8), [square(2, 2, 9)], colours=[RED, RED])


def test_a_large_image_with_many_objects_is_cheap() -> None:
    rng = np.random.default_rng(0)
    many = [
        masks.encode_crop(np.ones((40, 40)), int(rng.integers(3900)), int(rng.integers(2900)), (3000, 4000))
        for _ in range(300)
    ]
    image = np.zeros((3000, 4000, 3), np.uint8)
    start = time.process_time()
    draw(image, many, longest=480)
    assert time.process_time() - start < 2  # 0.2 s; full planes would take 10 s


def test_side_by_side_keeps_the_panels_whole() -> None:
    first, second = np.full((30, 40, 3), 10, np.uint8), np.full((20, 50, 3), 20, np.uint8)
    joined = side_by_side([first, second], ["ground truth", "prediction"])
    assert joined.shape[1] == 40 + 6 + 50
    bar = joined.shape[0] - 30
    assert (joined[bar:, :40] == first).all()
    assert (joined[bar : bar + 20, 46:] == second).all()
    assert (joined[:bar] < 100).any()  # the captions


def test_sheet_places_images_row_by_row() -> None:
    images = [np.full((10, 10 + n, 3), 10 * (n + 1), np.uint8) for n in range(5)]
    grid = sheet(images, columns=2)
    values = [v for v in np.unique(grid) if v != PAPER[0]]
    assert values == [10, 20, 30, 40, 50]
    assert [(grid == v).all(axis=-1).sum() for v in values] == [10 * (10 + n) for n in range(5)]
    centre = {int(v): np.argwhere((grid == v).all(axis=-1)).mean(axis=0) for v in values}
    assert centre[10][0] == centre[20][0] < centre[30][0] == centre[40][0] < centre[50][0]
    assert centre[10][1] == centre[30][1] == centre[50][1] < centre[20][1]
    assert sheet(images[:1], columns=4).shape == (22, 22, 3)
