"""Pasting against full planes: what is in front hides what is beneath."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segtrain import masks
from segtrain.data.augmentation import Augmentation, CopyPaste
from segtrain.data.check.load import load_index
from segtrain.data.dataset import CocoDataset, Sample
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.label_layers import Scene
from tests.helpers.random_instances import Planes, assert_same, layers_of, scene, scenes

import albumentations as A  # isort: skip  # after segtrain, which keeps it from asking the network


def scene_of(planes: Planes, size: tuple[int, int], grey: int, least: int = 1) -> Scene:
    labels = np.arange(1, len(planes) + 1) + grey
    image = np.full((*size, 3), grey, dtype=np.uint8)
    return Scene(image, layers_of(planes, size), labels, np.full_like(labels, least))


@given(
    scenes(1, 30),
    scenes(1, 30),
    st.integers(1, 14),
    st.sampled_from([0, 0.1, 0.5, 1]),
    st.integers(1, 9),
    st.integers(0),
)
def test_pasting_is_what_it_is_with_full_planes(
    first: tuple[tuple[int, int], Planes],
    second: tuple[tuple[int, int], Planes],
    most: int,
    visible: float,
    least: int,
    seed: int,
) -> None:
    (size, beneath), (other, above) = first, second
    onto, source = scene_of(beneath, size, 50, least), scene_of(above, other, 200, least)
    pasted = CopyPaste(p=1, max_objects=most, least_visible=visible).paste(np.random.default_rng(seed), onto, source)

    canvas = []
    for plane in above:
        moved = np.zeros(size, dtype=bool)
        part = plane[: size[0], : size[1]]
        moved[: part.shape[0], : part.shape[1]] = part
        canvas.append(moved)
    covered = pasted.image[..., 0] == 200
    # What was pasted is some of the other scene's instances, and at most so many, all of them worth learning from.
    chosen = [n for n in range(len(above)) if any(len(beneath) + n in o for o in pasted.layers.owners)]
    shown = [
        n
        for n in chosen
        if any(
            (layer == value).any()
            for layer, owners in zip(pasted.layers.planes, pasted.layers.owners, strict=True)
            for value, owner in enumerate(owners, start=1)
            if owner == len(beneath) + n
        )
    ]
    assert len(shown) <= most
    assert all(above[n].sum() >= least for n in shown)
    assert np.array_equal(np.logical_or.reduce([np.zeros(size, dtype=bool), *(canvas[n] for n in shown)]), covered)
    assert np.array_equal(
        pasted.image, np.where(covered[..., None], np.uint8(200), np.uint8(50)) * np.ones((1, 1, 3), "u1")
    )

    left = [plane & ~covered for plane in beneath] + [
        canvas[n] if n in shown else canvas[n] & False for n in range(len(above))
    ]
    whole = [plane.sum() for plane in [*beneath, *above]]
    enough = [
        plane if plane.sum() >= max(least, visible * before) else plane & False
        for plane, before in zip(left, whole, strict=True)
    ]
    if pasted is onto:
        enough = [plane if plane.sum() >= least else plane & False for plane in beneath]
    assert_same(pasted.crops(), enough)
    numbers = pasted.crops().instances
    assert pasted.labels[numbers].tolist() == [51 + n if n < len(beneath) else 201 + n - len(beneath) for n in numbers]
    assert np.array_equal(onto.image, np.full((*size, 3), 50))  # untouched


def test_every_number_of_instances_is_pasted() -> None:
    planes = [np.eye(6, dtype=bool) & (np.arange(6) == n) for n in range(6)]
    source, onto = scene_of(planes, (6, 6), 200), scene_of([], (6, 6), 50)
    paste = CopyPaste(p=1, max_objects=4, least_visible=0).paste
    numbers = [len(paste(np.random.default_rng(seed), onto, source).crops()) for seed in range(200)]
    assert set(numbers) == {1, 2, 3, 4}


def test_what_is_pasted_is_ignored_no_more() -> None:
    source = scene_of([np.tri(6, dtype=bool)], (6, 6), 200)
    source = replace(source, ignored=np.full((6, 6), 9, np.uint8))  # of the other image: it stays behind
    region = np.repeat(np.array([[1], [1], [2], [2], [0], [0]], np.uint8), 6, axis=1)
    onto = replace(scene_of([], (6, 6), 50), ignored=region)
    pasted = CopyPaste(p=1, max_objects=1, least_visible=0).paste(np.random.default_rng(0), onto, source)
    assert pasted.ignored is not None
    assert np.array_equal(pasted.ignored, np.where(np.tri(6, dtype=bool), 0, region))
    assert pasted.ignored_crops().boxes.tolist() == [[1, 0, 6, 2], [3, 2, 6, 4]]
    paste = CopyPaste(p=1, max_objects=1, least_visible=0).paste
    assert paste(np.random.default_rng(0), scene_of([], (6, 6), 50), source).ignored is None


def test_its_probability() -> None:
    mix = CopyPaste(p=0.3, max_objects=1, least_visible=0)
    drawn = [mix.partner(np.random.default_rng(seed), 7) for seed in range(1000)]
    assert 0.25 < np.mean([partner is not None for partner in drawn]) < 0.35
    assert {partner for partner in drawn if partner is not None} == set(range(7))


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    records: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}],
    }
    for number in range(6):
        size = (40 + number, 50)
        image = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        records["images"].append({"id": number, "file_name": f"{number}.png", "height": size[0], "width": size[1]})
        for plane in scene(np.random.default_rng(number), size, 6):
            annotation = {"id": len(records["annotations"]) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
            records["annotations"].append(annotation | {"segmentation": masks.encode(plane)})
    (tmp_path / "a.json").write_text(json.dumps(records))
    augmentation = Augmentation(
        {"affine": A.Affine(rotate=(-30, 30), p=1)}, CopyPaste(p=0.7, max_objects=5, least_visible=0.1)
    )
    reader = ImageReader(tmp_path, "auto", 10**6)
    return CocoDataset(load_index(tmp_path / "a.json"), reader, augmentation, seed=1, on_bad_image="skip")


def content(sample: object) -> list[object]:
    assert isinstance(sample, Sample)
    target = sample.target
    return [sample.image.tolist(), target.boxes.tolist(), target.labels.tolist(), [m.tolist() for m in target.masks]]


def test_a_mixed_sample_depends_on_seed_epoch_and_position_alone(dataset: CocoDataset) -> None:
    keys = [(epoch, position) for epoch in range(2) for position in range(6)]
    first = {key: content(dataset[key]) for key in keys}
    assert {key: content(dataset[key]) for key in reversed(keys)} == first
    augmentation = dataset.augmentation
    assert augmentation is not None
    augmentation.mix = None
    changed = [key for key in keys if content(dataset[key]) != first[key]]
    assert 3 < len(changed) < 12


def test_an_unreadable_partner_leaves_the_sample_unmixed(dataset: CocoDataset) -> None:
    for number in range(1, 6):
        (dataset.images.folder / f"{number}.png").write_bytes(b"no image")
    samples = [dataset[epoch, 0] for epoch in range(10)]
    assert all(isinstance(sample, Sample) for sample in samples)
