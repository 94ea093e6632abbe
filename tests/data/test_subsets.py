"""Fractions of the training images: nested, of the same mix as the whole, groups taken together."""

import json
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from segtrain.data.subsets import nested_subset, training_subset
from segtrain.errors import SegtrainError
from tests.data.test_splits import open_with, patients, root, write  # noqa: F401
from tests.data.test_stratification import DATA, REAL, counts_of, needs_real_data


def taken(index: CocoIndex, fraction: float, seed: int = 0, split_by: str | None = None) -> set[int]:
    return {image.id for image in training_subset(index, fraction, seed, split_by).images}


@given(DATA, st.lists(st.floats(0.01, 1), min_size=2, max_size=4), st.integers(0, 3), st.data())
def test_smaller_fractions_lie_within_larger_ones(
    images: list[list[int]], fractions: list[float], seed: int, data: st.DataObject
) -> None:
    size = len(images)
    groups = np.array(data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)))
    for own in (None, groups):
        parts = [nested_subset(counts_of(images), np.arange(size), f, seed, own) for f in sorted(fractions)]
        for fraction, part in zip(sorted(fractions), parts, strict=True):
            assert part.any()
            if own is None:
                assert part.sum() == max(round(fraction * size), 1)
            else:
                assert not set(groups[part]) & set(groups[~part])
        assert all((small <= large).all() for small, large in pairwise(parts))
        assert nested_subset(counts_of(images), np.arange(size), 1.0, seed, own).all()


def test_the_order_in_the_file_does_not_matter() -> None:
    random = np.random.default_rng(0)
    images = [[1] * int(n) for n in random.integers(0, 9, 40)]
    ids = np.arange(100, 140)
    order = random.permutation(40)
    chosen = nested_subset(counts_of(images), ids, 0.3, 0)
    shuffled = nested_subset(counts_of([images[place] for place in order]), ids[order], 0.3, 0)
    assert set(ids[chosen]) == set(ids[order][shuffled])
    assert set(ids[nested_subset(counts_of(images), ids, 0.3, 1)]) != set(ids[chosen])


def test_small_fractions_keep_the_mix_of_categories_and_of_crowding() -> None:
    random = np.random.default_rng(0)
    few = [[2] if random.random() < 0.2 else [1] * int(random.integers(1, 3)) for _ in range(150)]
    many = [[1] * int(random.integers(50, 120)) for _ in range(50)]
    images = few + many
    for fraction in (0.1, 0.25):
        chosen = nested_subset(counts_of(images), np.arange(200), fraction, 0)
        assert chosen[150:].sum() == pytest.approx(50 * fraction, abs=1)
        objects = np.array([len(labels) for labels in images])
        assert objects[chosen].sum() == pytest.approx(objects.sum() * fraction, rel=0.1)
        rare = np.array([2 in labels for labels in images])
        assert rare[chosen].sum() == pytest.approx(rare.sum() * fraction, abs=2)


@needs_real_data
@pytest.mark.parametrize("name", ["nuclei", "coco"])
def test_fractions_of_real_data(name: str) -> None:
    path = next((REAL / name / "annotations").glob("instances_train*.json"))
    index = load_index(path, "warn")
    parts = [taken(index, fraction) for fraction in (0.1, 0.25, 0.5)]
    assert parts[0] < parts[1] < parts[2]
    for fraction in (0.25, 0.5):
        objects = training_subset(index, fraction, 0, None).counts.used
        assert objects == pytest.approx(index.counts.used * fraction, rel=0.15)


def test_groups_are_taken_together(root: Path) -> None:  # noqa: F811
    patients(root, "ann", "bob", "cem", "dan")
    index = open_with(root)["train"].index
    chosen = taken(index, 0.5, split_by="extra.patient")
    assert len(chosen) == 10
    assert len({number % 4 for number in chosen}) == 2
    splits = open_with(root, fraction=0.5, split_by="extra.patient")
    assert {image.id for image in splits["train"].index.images} == chosen
    assert len(splits["val"].index.images) == 5


def test_a_drawn_validation_split_stays_whole(root: Path) -> None:  # noqa: F811
    one = {"val_annotations": None, "val_images": None, "val_fraction": 0.25}
    whole, part = open_with(root, **one), open_with(root, **one, fraction=0.4)
    assert [image.id for image in whole["val"].index.images] == [image.id for image in part["val"].index.images]
    assert len(part["train"].index.images) == 6


def test_what_a_fraction_lacks_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    content = json.loads((root / "train.json").read_text())
    content["annotations"][0]["category_id"] = 2
    (root / "train.json").write_text(json.dumps(content))
    caplog.set_level(logging.INFO)
    index = open_with(root, fraction=0.1, seed=1)["train"].index
    assert "data.fraction=0.1: 2 of 20 training images, 2 of 20 objects" in caplog.text
    lacks = 2 not in index.category_counts().labels
    assert ("data.fraction=0.1 leaves no object of b" in caplog.text) is lacks
    write(root / "train.json", list(range(10, 30)))
    content = json.loads((root / "train.json").read_text())
    del content["annotations"][1:]
    (root / "train.json").write_text(json.dumps(content))
    message = r"the 1 of 20 images that it takes of .* hold no object; raise it"
    chosen = {
        seed: nested_subset(open_with(root)["train"].index.category_counts(), np.arange(10, 30), 0.05, seed)
        for seed in range(20)
    }
    seed = next(seed for seed, kept in chosen.items() if not kept[0])
    with pytest.raises(SegtrainError, match=message):
        open_with(root, fraction=0.05, seed=seed)
