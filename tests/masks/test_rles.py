"""Masks that are packed into one text are the masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import masks
from segtrain.masks import PackedRles, codec
from tests.helpers.random_instances import Planes, scenes


def masks_of(planes: Planes, size: tuple[int, int]) -> list[masks.Rle]:
    return [masks.encode(plane) for plane in (*planes, np.zeros(size), np.ones(size))]


@given(scenes(), st.data())
def test_packed_masks_are_the_masks(drawn: tuple[tuple[int, int], Planes], data: st.DataObject) -> None:
    size, planes = drawn
    rles = [*masks_of(planes, size), masks.encode(np.eye(3))]
    packed = PackedRles.of(rles)
    assert list(packed) == [packed[n] for n in range(len(packed))] == rles
    assert packed == rles
    assert packed[-1] == rles[-1]
    assert packed[1:] == rles[1:]
    chosen = data.draw(st.lists(st.integers(0, len(rles) - 1)))
    assert packed.where(np.array(chosen, dtype=np.int64)) == [rles[n] for n in chosen]
    assert PackedRles.joined([packed[:2], packed[2:], PackedRles.of([])]) == rles
    with pytest.raises(IndexError):
        packed[len(rles)]


@given(scenes())
def test_areas_boxes_and_runs_are_those_of_single_masks(drawn: tuple[tuple[int, int], Planes]) -> None:
    rles = [*masks_of(drawn[1], drawn[0]), masks.encode(np.eye(3))]
    packed = PackedRles.of(rles)
    assert np.array_equal(masks.area(packed), masks.area(rles))
    assert np.array_equal(masks.boxes(packed), masks.boxes(rles))
    for ours, theirs in zip(masks.runs(packed), masks.runs(rles), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_many_masks_are_taken_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).integers(0, 40, (30, 50))
    whole = masks.pack_labels(labels)
    runs = masks.runs(whole)
    monkeypatch.setattr(codec, "BLOCK", block)
    assert masks.pack_labels(labels) == masks.encode_labels(labels) == [masks.encode(labels == n) for n in range(1, 40)]
    assert all(np.array_equal(*pair) for pair in zip(masks.runs(whole), runs, strict=True))
    assert masks.area(whole).tolist() == np.bincount(labels.ravel())[1:].tolist()
    assert np.array_equal(masks.boxes(whole), masks.boxes(list(whole)))


def test_labels_without_regions() -> None:
    assert masks.pack_labels(np.zeros((3, 4), dtype=np.int32)) == []
    assert masks.pack_labels(np.zeros((0, 4), dtype=np.int32)) == []


def test_areas_go_along_with_selected_masks() -> None:
    planes = np.random.default_rng(0).random((6, 5, 7)) < np.arange(6)[:, None, None] / 5
    packed = PackedRles.of([masks.encode(plane) for plane in planes])
    chosen = np.array([4, 0, 0, 5])
    expected = planes.sum(axis=(1, 2))
    assert packed.where(chosen).areas.tolist() == expected[chosen].tolist()
    masks.area(packed)[:] = 0  # a copy
    assert packed.areas.tolist() == expected.tolist()
    assert packed.where(chosen).areas.tolist() == expected[chosen].tolist()  # now without counting again
    assert packed[1:].areas.tolist() == expected[1:].tolist()
