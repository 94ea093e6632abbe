"""Label layers hold any instances, and give them back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import masks
from segtrain.data.label_layers import flatten, unpack
from tests.helpers.random_instances import Planes, assert_same, layers_of, left, scene, scenes


@given(scenes())
def test_round_trip(drawn: tuple[tuple[int, int], Planes]) -> None:
    size, planes = drawn
    layers = layers_of(planes, size)
    assert sorted(number for owners in layers.owners for number in owners) == list(range(len(planes)))
    for layer, owners in zip(layers.planes, layers.owners, strict=True):
        assert layer.shape == size
        assert layer.dtype == np.uint8
        assert layer.flags.c_contiguous
        assert set(np.unique(layer)) <= set(range(len(owners) + 1))
        for value, number in enumerate(owners, start=1):
            assert np.array_equal(layer == value, planes[number])
    assert_same(left(layers), planes)


@given(scenes())
def test_as_few_layers_as_first_fit_needs(drawn: tuple[tuple[int, int], Planes]) -> None:
    size, planes = drawn
    filled: list[np.ndarray] = []
    for plane in planes:
        room = next((layer for layer in filled if not (layer & plane).any()), None)
        if room is None:
            filled.append(plane.copy())
        else:
            room |= plane
    assert len(layers_of(planes, size).planes) == len(filled)


@given(scenes(), st.integers(0, 30), st.integers(0, 2**32))
def test_what_is_small_or_gone_is_left_out(drawn: tuple[tuple[int, int], Planes], least: int, seed: int) -> None:
    size, planes = drawn
    gone = np.random.default_rng(seed).random(size) < 0.5
    layers = layers_of(planes, size)
    remaining = left(layers, [np.where(gone, 0, layer) for layer in layers.planes], least)
    assert_same(remaining, [plane & ~gone for plane in planes], least)


def test_each_instance_may_have_its_own_least_size() -> None:
    planes = [np.zeros((4, 9), dtype=bool) for _ in range(3)]
    for number, plane in enumerate(planes):
        plane[:2, 3 * number : 3 * number + 2] = True
    layers = layers_of(planes, (4, 9))
    assert unpack(layers.planes, layers.owners, np.array([5, 4, 0])).instances.tolist() == [1, 2]


def test_apart_instances_share_a_plane_up_to_255() -> None:
    planes = [np.zeros((20, 30), dtype=bool) for _ in range(600)]
    for number, plane in enumerate(planes):
        plane.reshape(-1)[number] = True
    layers = layers_of(planes, (20, 30))
    assert [len(owners) for owners in layers.owners] == [255, 255, 90]
    assert_same(left(layers), planes)


def test_no_instances() -> None:
    layers = layers_of([], (4, 5))
    assert layers.planes == []
    assert_same(left(layers), [])


@pytest.mark.slow
def test_one_plane_of_regions_where_later_ones_lie_on_top() -> None:
    planes = [np.tri(6, 8, dtype=bool), np.eye(6, 8, dtype=bool)]
    expected = np.where(planes[1], 2, planes[0])
    assert np.array_equal(flatten([masks.encode(plane) for plane in planes], (6, 8)), expected)
    many = masks.encode_labels(np.arange(1, 301).reshape(15, 20))
    assert np.array_equal(flatten(many, (15, 20)).ravel(), np.minimum(np.arange(1, 301), 255))


@pytest.mark.slow
def test_hundreds_of_overlapping_instances() -> None:
    for seed in range(30):
        planes = scene(np.random.default_rng(seed), (40, 50), 400)
        assert_same(left(layers_of(planes, (40, 50))), planes)
