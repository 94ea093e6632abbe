"""The samples of an epoch: how often each image comes, which come together, and the same ones every time."""

import json
import math
from bisect import bisect_right
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CategoryCounts, CocoIndex
from segtrain.data.dataset import CocoDataset
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.loader import TrainingLoader
from segtrain.data.sampling import EpochBatches, aspect_bins, repeat_factors

Batches = list[list[tuple[int, int]]]
FACTORS = st.lists(st.floats(1, 5, allow_subnormal=False), min_size=1, max_size=40)


def epoch_of(batches: EpochBatches, epoch: int, start: int = 0) -> Batches:
    batches.epoch, batches.start = epoch, start
    return list(batches)


def counts_of(images: list[list[int]]) -> CategoryCounts:
    """From the labels of the instances of each image."""
    entries = [(i, label, n) for i, labels in enumerate(images) for label, n in sorted(Counter(labels).items())]
    columns = np.asarray(entries, dtype=np.int64).reshape(-1, 3).T
    return CategoryCounts(*columns)


@pytest.fixture
def index(tmp_path: Path) -> CocoIndex:
    """Nine images: wide, square and tall ones; category 8 in one of them, category 5 in most."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for k in range(9):
        width, height = [(40, 20), (30, 30), (20, 40)][k % 3]
        Image.new("RGB", (width, height), (k, k, k)).save(tmp_path / f"{k}.png")
        images.append({"id": 100 + k, "file_name": f"{k}.png", "height": height, "width": width})
        for category, crowd in ((5, 0), (5, 0), (8, k != 4), (8, 0)):
            segmentation = [[1, 1, 9, 1, 9, 9, 1, 9]] if category == 5 or k == 4 or crowd else []
            annotations.append(
                {"id": len(annotations) + 1, "image_id": 100 + k, "category_id": category, "iscrowd": int(crowd)}
                | {"segmentation": segmentation}
            )
    path = tmp_path / "coco.json"
    categories = [{"id": 5, "name": "a"}, {"id": 8, "name": "b"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations[4:], "categories": categories}))
    return load_index(path)


def test_instances_are_counted_without_crowds_and_without_what_has_no_mask(index: CocoIndex) -> None:
    images, labels, objects = index.category_counts()
    found = list(zip(images.tolist(), labels.tolist(), objects.tolist(), strict=True))
    assert found == sorted([*((k, 1, 2) for k in range(1, 9)), (4, 2, 2)])
    part = index.subset([104, 100, 108]).category_counts()
    assert [column.tolist() for column in part] == [[1, 1, 2], [1, 2, 1], [2, 2, 2]]
    assert all(len(column) == 0 for column in index.subset([100]).category_counts())


@given(st.lists(st.lists(st.integers(1, 6), max_size=5), min_size=1, max_size=25), st.floats(1e-3, 1))
def test_repeat_factors_are_those_of_the_paper(images: list[list[int]], threshold: float) -> None:
    share = {c: sum(c in labels for labels in images) / len(images) for c in range(1, 7)}
    category = {c: max(1.0, math.sqrt(threshold / f)) for c, f in share.items() if f > 0}
    expected = [max((category[c] for c in labels), default=1.0) for labels in images]
    assert repeat_factors(counts_of(images), len(images), threshold).tolist() == pytest.approx(expected)


@given(FACTORS, st.integers(1, 7), st.integers(0, 3))
def test_images_come_as_often_as_their_factors_say(factors: list[float], batch_size: int, seed: int) -> None:
    batches = EpochBatches(len(factors), batch_size, seed, factors=np.asarray(factors))
    totals = set()
    for epoch in range(4):
        found = epoch_of(batches, epoch)
        assert len(found) == len(batches)
        assert sorted(map(len, found))[1:] == [batch_size] * (len(found) - 1)
        keys = [key for batch in found for key in batch]
        assert len(set(keys)) == len(keys)  # or augmentation would draw the same twice
        assert {draw % 2**32 for draw, _ in keys} == {epoch}
        times = Counter(position for _, position in keys)
        assert all(math.floor(r) <= times[i] <= math.ceil(r) for i, r in enumerate(factors))
        totals.add(len(keys))
    assert len(totals) == 1
    assert -1e-6 <= sum(factors) - totals.pop() < 1  # a sum that is whole but for rounding counts as whole


def test_over_many_epochs_the_factors_are_met() -> None:
    factors = np.random.default_rng(0).uniform(1, 3, 30)
    factors[:10] = 1
    batches = EpochBatches(30, 4, 0, factors=factors)
    epochs = 2000
    times = np.zeros(30)
    for epoch in range(epochs):
        np.add.at(times, [position for batch in epoch_of(batches, epoch) for _, position in batch], 1)
    whole, rest = np.divmod(factors, 1)
    expected = whole + rest * (int(rest.sum()) / rest.sum())
    deviation = np.sqrt(rest * (1 - rest) / epochs)
    assert (np.abs(times / epochs - expected) <= 4 * deviation).all()
    assert times[:10].tolist() == [epochs] * 10


@given(st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 4000)), min_size=1, max_size=30))
def test_bins_are_those_of_torchvisions_reference(sizes: list[tuple[int, int]]) -> None:
    edges = [2 ** (k / 3) for k in range(-3, 4)]
    assert aspect_bins(sizes).tolist() == [bisect_right(edges, width / height) for height, width in sizes]


@given(st.data(), st.integers(1, 60), st.integers(1, 9), st.booleans())
def test_batches_mix_at_borders_alone(data: st.DataObject, length: int, batch_size: int, repeated: bool) -> None:
    bins = np.asarray(data.draw(st.lists(st.integers(0, 7), min_size=length, max_size=length)))
    factors = np.asarray(data.draw(st.lists(st.floats(1, 3), min_size=length, max_size=length))) if repeated else None
    batches = EpochBatches(length, batch_size, 5, factors=factors, bins=bins)
    for epoch in range(3):
        found = epoch_of(batches, epoch)
        assert len(found) == len(batches)
        assert {position for batch in found for _, position in batch} == set(range(length))
        assert sorted(map(len, found))[1:] == [batch_size] * (len(found) - 1)
        kinds = [{int(bins[position]) for _, position in batch} for batch in found]
        assert sum(len(kind) - 1 for kind in kinds) <= len(set(bins.tolist())) - 1
        if not repeated:
            assert sum(map(len, found)) == length


@given(st.data(), st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_processes_divide_each_batch(
    data: st.DataObject, length: int, batch_size: int, count: int, repeated: bool
) -> None:
    """No image is added or shown twice, whatever the number of processes."""
    bins = np.asarray(data.draw(st.lists(st.integers(0, 3), min_size=length, max_size=length)))
    factors = np.asarray(data.draw(st.lists(st.floats(1, 3), min_size=length, max_size=length))) if repeated else None
    whole, *parts = (
        EpochBatches(length, batch_size, 5, factors=factors, bins=bins, part=part)
        for part in [(0, 1), *((process, count) for process in range(count))]
    )
    for batch, *own in zip(epoch_of(whole, 2), *(epoch_of(part, 2) for part in parts), strict=True):
        assert sorted(key for part in own for key in part) == sorted(batch)
        assert max(map(len, own)) - min(map(len, own)) <= 1


def test_grouped_batches_come_in_any_order_and_differ_between_epochs() -> None:
    bins = np.repeat([0, 1, 2], 40)
    batches = EpochBatches(120, 4, 0, bins=bins)
    first, second = (epoch_of(batches, epoch) for epoch in (0, 1))
    for found in (first, second):
        kinds = [int(bins[batch[0][1]]) for batch in found]
        assert kinds != sorted(kinds)
    assert [[p for _, p in batch] for batch in first] != [[p for _, p in batch] for batch in second]
    assert {frozenset(p for _, p in b) for b in first} != {frozenset(p for _, p in b) for b in second}


@pytest.mark.parametrize("length", [1, 7, 50])
def test_without_either_the_order_is_a_plain_permutation(length: int) -> None:
    """As runs of before had it, so that they go on with the images they have not seen."""
    batches = EpochBatches(length, 4, seed=11)
    for epoch in (0, 3):
        order = np.random.default_rng([11, epoch]).permutation(length).tolist()
        expected = [[(epoch, position) for position in order[i : i + 4]] for i in range(0, length, 4)]
        assert epoch_of(batches, epoch) == expected
        assert epoch_of(batches, epoch, start=1) == expected[1:]
        assert len(batches) == len(expected)


@given(FACTORS, st.integers(1, 5), st.integers(0, 9), st.integers(0, 30), st.booleans())
def test_an_epoch_depends_on_seed_and_number_alone(
    factors: list[float], batch_size: int, epoch: int, start: int, grouped: bool
) -> None:
    bins = np.arange(len(factors)) % 3 if grouped else None
    first, second = (
        EpochBatches(len(factors), batch_size, 2, factors=np.asarray(factors), bins=bins) for _ in range(2)
    )
    epoch_of(second, epoch + 1)
    assert epoch_of(first, epoch)[start:] == epoch_of(second, epoch, start)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_goes_on_in_the_midst_of_an_epoch(index: CocoIndex, workers: int) -> None:
    sampling: dict[str, Any] = {"aspect_grouping": True, "repeat_threshold": 1.0}
    samples = CocoDataset(index, ImageReader(index.path.parent, "auto", 10**6), None, seed=0)
    loader = TrainingLoader(samples, batch_size=2, workers=workers, seed=5, **sampling)
    factors = repeat_factors(index.category_counts(), 9, 1.0)
    assert factors.tolist() == pytest.approx([1, *[math.sqrt(9 / 8)] * 3, 3, *[math.sqrt(9 / 8)] * 4])
    expected = EpochBatches(9, 2, 5, factors=factors, bins=aspect_bins([image.size for image in index.images]))
    assert len(loader) == len(expected) == 6
    for epoch, start in ((0, 0), (2, 3), (1, 5)):
        ids = [[100 + position for _, position in batch] for batch in epoch_of(expected, epoch, start)]
        assert [batch.image_ids for batch in loader.epoch(epoch, start)] == ids


def test_a_repeated_image_is_augmented_anew() -> None:
    keys = [key for batch in epoch_of(EpochBatches(1, 1, 0, factors=np.asarray([3.0])), 4) for key in batch]
    draws = {int(np.random.SeedSequence([0, draw, 0]).generate_state(1)[0]) for draw, _ in keys}
    assert len(keys) == len(draws) == 3
