"""Stratified splits: every category in both, near the fraction, groups whole, whatever the order."""

import os
import time
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CategoryCounts
from segtrain.data.stratification import stratified, stratified_folds

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with real data")

Chosen = npt.NDArray[np.bool_]
# The labels of the objects of each image.
DATA = st.lists(st.lists(st.integers(1, 5), max_size=6), min_size=2, max_size=25)


def counts_of(images: list[list[int]]) -> CategoryCounts:
    entries = [(i, label, n) for i, labels in enumerate(images) for label, n in sorted(Counter(labels).items())]
    columns = np.asarray(entries, dtype=np.int64).reshape(-1, 3).T
    return CategoryCounts(*columns)


def split(images: list[list[int]], fraction: float = 0.2, seed: int = 0, groups: list[int] | None = None) -> Chosen:
    numbers = None if groups is None else np.asarray(groups)
    return stratified(counts_of(images), np.arange(len(images)), fraction, seed, numbers)


def classes_of(images: list[list[int]]) -> list[set[int]]:
    """The categories of each image; an image without any is of the class 0."""
    return [set(labels) or {0} for labels in images]


def in_both(classes: list[set[int]], chosen: Chosen) -> set[int]:
    sides = [set().union(*(c for c, val in zip(classes, chosen, strict=True) if val is side)) for side in (True, False)]
    return sides[0] & sides[1]


def one_sided(units: list[set[int]], chosen: Chosen) -> set[int]:
    """Classes of several units that one split lacks."""
    held = Counter(c for unit in units for c in unit)
    return {c for c, n in held.items() if n > 1} - in_both(units, chosen)


def many_labels(images: int, categories: int, seed: int = 0) -> list[list[int]]:
    """Frequencies like 1/k, several objects of a category at once, some images without any."""
    random = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, categories + 1)
    frequency /= frequency.sum()
    found = []
    for kinds in random.poisson(2.5, images):
        labels = random.choice(categories, kinds, p=frequency) + 1
        found.append([int(label) for label in labels for _ in range(random.geometric(0.4))])
    return found


@given(DATA, st.floats(0.05, 0.9), st.integers(0, 3))
def test_neither_split_is_empty_and_no_category_is_missing_that_a_move_could_bring(
    images: list[list[int]], fraction: float, seed: int
) -> None:
    chosen = split(images, fraction, seed)
    assert 0 < chosen.sum() < len(images)
    classes = classes_of(images)
    before = len(one_sided(classes, chosen))
    for place in range(len(images)):
        moved = chosen.copy()
        moved[place] = not moved[place]
        if 0 < moved.sum() < len(images):
            assert len(one_sided(classes, moved)) >= before


@given(st.lists(st.integers(1, 6), min_size=2, max_size=60), st.floats(0.1, 0.5), st.integers(0, 3))
def test_one_category_an_image(labels: list[int], fraction: float, seed: int) -> None:
    """Each category's images are divided nearly as whole images can; single images of a category weigh against it."""
    chosen = split([[label] for label in labels], fraction, seed)
    for label, count in Counter(labels).items():
        taken = sum(chosen[i] for i, own in enumerate(labels) if own == label)
        if count > 1:
            assert 1 <= taken <= count - 1
        assert abs(taken - fraction * count) <= 1.5


@pytest.mark.parametrize("seed", range(40))
def test_small_sets_are_divided_as_well_as_any_split_can(seed: int) -> None:
    """Against all splits there are, by the categories that are in both."""
    images = many_labels(8, 5, seed)
    classes = classes_of(images)
    chosen = split(images, 0.3, seed)
    every = (np.asarray(choice) for choice in product([False, True], repeat=8) if 0 < sum(choice) < 8)
    assert len(one_sided(classes, chosen)) == min(len(one_sided(classes, choice)) for choice in every)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_shares_lie_near_the_fraction(fraction: float) -> None:
    images = many_labels(3000, 40)
    chosen = split(images, fraction)
    objects, taken = Counter[int](), Counter[int]()
    for labels, val in zip(images, chosen, strict=True):
        objects.update(labels)
        taken.update(labels if val else [])
    shares = [taken[label] / count for label, count in objects.items()]
    assert np.mean(np.abs(np.asarray(shares) - fraction)) < 0.003
    assert np.max(np.abs(np.asarray(shares) - fraction)) < 0.01
    assert chosen.mean() == pytest.approx(fraction, abs=0.001)
    empty = [bool(val) for labels, val in zip(images, chosen, strict=True) if not labels]
    assert np.mean(empty) == pytest.approx(fraction, abs=0.01)
    # Not the images with few objects, of which validation could take more.
    assert taken.total() / chosen.sum() == pytest.approx(objects.total() / len(images), rel=0.02)


def test_an_image_with_most_of_a_categorys_objects_stays_in_training() -> None:
    assert split([[1] * 50, *[[1]] * 10], 0.2).tolist()[0] is False


@given(DATA, st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_in_the_file_does_not_matter(images: list[list[int]], seed: int, random: object) -> None:
    ids = np.random.default_rng(seed).permutation(1000)[: len(images)]
    groups = np.asarray([len(labels) % 3 for labels in images])
    order = np.random.default_rng(random.randrange(1000)).permutation(len(images))  # type: ignore[attr-defined]
    for by in (None, groups) if len(set(groups)) > 1 else (None,):
        first = stratified(counts_of(images), ids, 0.3, seed, by)
        shuffled = counts_of([images[i] for i in order])
        # Groups are numbered otherwise, too.
        second = stratified(shuffled, ids[order], 0.3, seed, None if by is None else 7 - by[order])
        assert set(ids[first]) == set(ids[order][second])


@given(DATA, st.data(), st.floats(0.1, 0.6))
def test_groups_are_never_torn_apart(images: list[list[int]], data: st.DataObject, fraction: float) -> None:
    groups = data.draw(st.lists(st.integers(0, 6), min_size=len(images), max_size=len(images)))
    groups[:2] = [0, 1]
    chosen = split(images, fraction, 0, groups)
    sides = {(group, bool(val)) for group, val in zip(groups, chosen, strict=True)}
    assert len(sides) == len(set(groups))
    assert 0 < chosen.sum() < len(images)


def test_groups_are_divided_by_their_objects_too() -> None:
    """Fifty patients with one of two diseases each, and of very different numbers of images."""
    random = np.random.default_rng(0)
    images, groups = [], []
    for patient in range(50):
        for _ in range(int(random.integers(1, 30))):
            images.append([1 + patient % 2] * int(random.integers(1, 9)))
            groups.append(patient)
    chosen = split(images, 0.2, 0, groups)
    for label in (1, 2):
        held = [(len(own), bool(val)) for own, val in zip(images, chosen, strict=True) if own[0] == label]
        assert sum(n for n, val in held if val) / sum(n for n, _ in held) == pytest.approx(0.2, abs=0.01)
    assert chosen.mean() == pytest.approx(0.2, abs=0.01)


@given(DATA, st.data(), st.integers(0, 3))
def test_folds_hold_each_image_once_and_groups_whole(images: list[list[int]], data: st.DataObject, seed: int) -> None:
    groups = np.array(data.draw(st.lists(st.integers(0, 6), min_size=len(images), max_size=len(images))))
    groups[:2] = [0, 1]
    ids, order = np.arange(len(images)), np.random.default_rng(seed).permutation(len(images))
    shuffled = counts_of([images[i] for i in order])
    for by in (None, groups):
        units = len(images) if by is None else len(set(groups.tolist()))
        folds = data.draw(st.integers(2, min(units, 6)))
        fold = stratified_folds(counts_of(images), ids, folds, seed, by)
        assert set(fold.tolist()) == set(range(folds))
        if by is not None:
            assert len(set(zip(fold.tolist(), by.tolist(), strict=True))) == units
        again = stratified_folds(shuffled, ids[order], folds, seed, None if by is None else by[order])
        assert again.tolist() == fold[order].tolist()


def test_folds_have_about_as_many_images_and_objects_of_each_category() -> None:
    images = many_labels(200, 6)
    fold = stratified_folds(counts_of(images), np.arange(200), 5, 0)
    assert set(np.bincount(fold).tolist()) <= {39, 40, 41}
    for label in range(1, 7):
        held = np.bincount(fold, [own.count(label) for own in images])
        assert held.max() - held.min() <= max(8, 0.2 * held.mean())
    other = stratified_folds(counts_of(images), np.arange(200), 5, 1)
    assert other.tolist() != fold.tolist()
    assert sorted(stratified_folds(counts_of(images[:5]), np.arange(5), 5, 0).tolist()) == list(range(5))


def test_seeds_draw_different_splits() -> None:
    images = many_labels(100, 5)
    assert len({split(images, 0.2, seed).tobytes() for seed in range(10)}) == 10
    assert split(images, 0.2, 3).tobytes() == split(images, 0.2, 3).tobytes()


@needs_real_data
@pytest.mark.parametrize(
    ("name", "off", "images_off"),
    [
        ("nuclei/annotations/instances_train.json", 0.005, 0.005),  # one category
        # 92 images of 80 categories, half of them in five images or fewer: no split can be nearer than 0.09 on average.
        ("coco/annotations/instances_train2017.json", 0.17, 0.07),
    ],
)
def test_real_data(name: str, off: float, images_off: float) -> None:
    index = load_index(REAL / name)
    counts = index.category_counts()
    chosen = stratified(counts, np.asarray([image.id for image in index.images]), 0.2, 0)
    val = chosen[counts.images]
    total, taken = (np.bincount(counts.labels, counts.objects * side) for side in (np.ones_like(val), val))
    holders, held = (np.bincount(counts.labels, side) for side in (np.ones_like(val), val))
    several = holders > 1
    assert ((held > 0) & (held < holders))[several].all()
    assert np.abs(taken[several] / total[several] - 0.2).mean() < off
    assert chosen.mean() == pytest.approx(0.2, abs=images_off)


@pytest.mark.slow
def test_the_size_of_coco_takes_seconds() -> None:
    counts = counts_of(many_labels(118_000, 80))
    started = time.perf_counter()
    stratified(counts, np.arange(118_000), 0.1, 0)
    assert time.perf_counter() - started < 10
