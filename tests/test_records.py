"""Instances: selection, and their conversion to planes, label maps, polygons and COCO records."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segtrain import masks
from segtrain.records import Instances, to_label_map, to_planes, to_polygons


def instances(*planes: np.ndarray) -> Instances:
    rles = [masks.encode(plane) for plane in planes]
    count = len(rles)
    return Instances(
        planes[0].shape,
        masks.boxes(rles).astype(np.float32),
        np.arange(1, count + 1),
        np.linspace(0.9, 0.1, count, dtype=np.float32),
        rles,
    )


def three() -> Instances:
    planes = np.zeros((3, 8, 10), np.uint8)
    planes[0, 1:4, 1:5] = 1
    planes[1, 3:6, 3:8] = 1
    planes[2, 7, 9] = 1
    return instances(*planes)


def test_selection_by_bools_indices_and_slices() -> None:
    found = three()
    assert found[found.scores >= 0.5].labels.tolist() == [1, 2]
    assert found[[2, 0]].labels.tolist() == [1, 3]  # best first, whatever the order
    assert found[::-1].labels.tolist() == [1, 2, 3]
    assert found[-1].labels.tolist() == [3]
    assert found[np.array([1])].rles == [found.rles[1]]
    assert len(found[[]]) == 0
    for wrong in (3, np.zeros(2, np.bool_)):
        with pytest.raises(IndexError):
            found[wrong]


def test_predicted_boxes_follow_a_selection() -> None:
    found = three()
    assert found.with_predicted_boxes() is found
    both = replace(found, predicted_boxes=found.boxes + 0.5)
    assert both[1:].predicted_boxes is not None
    np.testing.assert_array_equal(both[1:].with_predicted_boxes().boxes, found.boxes[1:] + 0.5)
    assert both.with_predicted_boxes().predicted_boxes is None
    with pytest.raises(ValueError, match="predicted_boxes"):
        replace(found, predicted_boxes=found.boxes[1:])


def test_planes_and_label_map() -> None:
    found = three()
    planes = to_planes(found)
    assert planes.shape == (3, 8, 10)
    expected = np.zeros((8, 10), int)
    for number in (3, 2, 1):
        expected[planes[number - 1]] = number
    assert np.array_equal(to_label_map(found), expected)
    assert to_label_map(found)[3, 3] == 1  # the better one on top


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_polygons_outline_the_mask(plane: np.ndarray) -> None:
    outlines = masks.to_polygons(masks.encode(plane))
    # The signed areas (shoelace) of outlines and holes add up to the mask.
    areas = []
    for outline in outlines:
        x, y = outline.T
        areas.append((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
        steps = np.roll(outline, -1, axis=0) - outline
        assert ((steps == 0).sum(axis=1) == 1).all()  # along rows and columns, and never twice the same way
        assert (steps[:, 0] != 0).tolist() == [bool(n % 2 == (steps[0, 0] == 0)) for n in range(len(steps))]
    assert sum(areas) == plane.sum()
    parts = ndimage.label(plane)[1]
    holes = ndimage.label(np.pad(1 - plane, 1, constant_values=1), np.ones((3, 3)))[1] - 1
    assert sum(area > 0 for area in areas) == parts
    assert sum(area < 0 for area in areas) == holes


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_coco_draws_the_same_mask_from_the_polygons(plane: np.ndarray) -> None:
    plane = ndimage.binary_fill_holes(plane).astype(np.uint8)  # COCO's polygons know no holes
    for polygon in to_polygons(instances(plane))[0]:
        drawn = masks.decode(masks.from_polygons([polygon.ravel().astype(float).tolist()], plane.shape))
        plane = plane & ~drawn.astype(np.uint8) if (drawn & (plane == 0)).sum() == 0 else plane + 2
    assert not plane.any()
