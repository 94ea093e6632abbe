"""Sweeps over runs, against NumPy planes and pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy import ndimage

from segtrain import masks
from segtrain.masks import sweep
from tests.helpers.random_instances import Planes, scenes

Scene = tuple[tuple[int, int], Planes]


def shared_pixels(first: Planes, second: Planes, groups: list[np.ndarray]) -> list[tuple[int, int, int]]:
    counts = np.array([[(one & other).sum() for other in second] for one in first]).reshape(len(first), len(second))
    counts = np.where(groups[0][:, None] == groups[1], counts, 0)
    return [(int(i), int(j), int(counts[i, j])) for i, j in np.argwhere(counts)]


def as_list(found: masks.Overlaps) -> list[tuple[int, int, int]]:
    return list(zip(*(column.tolist() for column in found), strict=True))


@given(scenes())
def test_union_is_cocos(drawn: Scene) -> None:
    size, planes = drawn
    rles = [masks.encode(plane) for plane in planes]
    expected = coco_mask.merge(rles)["counts"].decode() if rles else masks.encode(np.zeros(size))["counts"]
    assert masks.union(rles, size) == {"size": list(size), "counts": expected}


@pytest.mark.parametrize(
    ("block", "batch"), [(sweep._BLOCK, sweep._BATCH), (3, sweep._BATCH), (sweep._BLOCK, 4), (1, 1)]
)
@given(drawn=scenes(), data=st.data())
def test_overlaps_are_the_shared_pixels_of_planes(block: int, batch: int, drawn: Scene, data: st.DataObject) -> None:
    planes = drawn[1]
    cut = data.draw(st.integers(0, len(planes)))
    first, second = planes[:cut], planes[cut:]
    groups = [
        np.array(data.draw(st.lists(st.integers(-1, 2), min_size=count, max_size=count)), int)
        for count in (cut, len(planes) - cut)
    ]
    one, other = ([masks.encode(plane) for plane in part] for part in (first, second))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "_BLOCK", block)
        patch.setattr(sweep, "_BATCH", batch)
        assert as_list(masks.overlaps(one, other, *groups)) == shared_pixels(first, second, groups)
        assert as_list(masks.overlaps(one, other)) == shared_pixels(first, second, [np.zeros(1, int), np.zeros(1, int)])


def test_overlaps_of_images_of_different_sizes_stay_apart() -> None:
    small, large = masks.encode(np.ones((2, 2))), masks.encode(np.ones((50, 40)))
    group = np.array([5, -3])
    assert as_list(masks.overlaps([small, large], [small, large], group, group)) == [(0, 0, 4), (1, 1, 2000)]


@given(scenes(), st.integers(0, 3))
def test_dilation_is_scipys(drawn: Scene, radius: int) -> None:
    size, planes = drawn
    across = np.arange(-radius, radius + 1)
    disc = across**2 + across[:, None] ** 2 <= radius**2
    runs = sweep.dilated(masks.runs([masks.encode(plane) for plane in planes]), size, disc.sum(axis=0) // 2)
    found = np.zeros((len(planes), size[0] * size[1]), dtype=bool)
    for mask, start, stop in zip(*runs, strict=True):
        assert not found[mask, start:stop].any()
        found[mask, start:stop] = True
    for plane, flat in zip(planes, found, strict=True):
        np.testing.assert_array_equal(flat.reshape(size, order="F"), ndimage.binary_dilation(plane, disc))


def test_many_masks_take_no_table_of_all_pairs() -> None:
    labels = np.arange(1, 40_001).reshape(200, 200)
    rles = masks.encode_labels(labels)
    found = masks.overlaps(rles, rles[::-1])  # a table would have 1.6 billion entries
    assert np.array_equal(found.first + found.second, np.full(40_000, 39_999))
    assert masks.area([masks.union(rles, labels.shape)]).tolist() == [40_000]


@pytest.mark.parametrize("most", [1, 20, masks._CROPS])
@given(drawn=scenes())
def test_crops_of_many_masks_are_those_of_each(most: int, drawn: Scene) -> None:
    size, planes = drawn
    planes = [*planes, np.zeros(size, dtype=bool), np.ones(size, dtype=bool), np.zeros(size, dtype=bool)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "_CROPS", most)
        crops = list(masks.decode_crops([masks.encode(plane) for plane in planes]))
    assert len(crops) == len(planes)
    for plane, (crop, x, y) in zip(planes, crops, strict=True):
        rows, columns = np.nonzero(plane)
        tight = (slice(y, y + crop.shape[0]), slice(x, x + crop.shape[1]))
        assert (y, x) == (rows.min(initial=size[0]) % size[0], columns.min(initial=size[1]) % size[1])
        assert crop.shape == ((np.ptp(rows) + 1, np.ptp(columns) + 1) if len(rows) else (0, 0))
        np.testing.assert_array_equal(crop, plane[tight])


@given(scenes())
def test_labels_are_encoded_some_columns_at_a_time(drawn: Scene) -> None:
    labels = np.zeros(drawn[0], dtype=np.int32)
    for number, plane in enumerate(drawn[1], start=1):
        labels[plane] = number
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "_COLUMNS", 30)
        assert masks.encode_labels(labels) == [masks.encode(labels == n) for n in range(1, labels.max() + 1)]
