"""Augmentation moves image and instances in step, and leaves nothing to chance but its seed."""

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from segtrain.data.layers import Crop, pack, unpack
from segtrain.data.transforms import Augmentation, RgbArray
from segtrain.errors import SegtrainError

import albumentations as A  # isort: skip  # after segtrain, which keeps it from asking the network

CONFIGS = sorted((Path(__file__).parent.parent / "configs" / "augmentation").glob("*.yaml"))


def scene(size: tuple[int, int], count: int, seed: int) -> tuple[RgbArray, list[np.ndarray]]:
    """A random image and overlapping ellipses as full planes."""
    drawing = np.random.default_rng(seed)
    image = drawing.integers(0, 256, (*size, 3), dtype=np.uint8)
    rows, columns = np.mgrid[: size[0], : size[1]]
    planes = []
    for _ in range(count):
        y, x, ry, rx = drawing.uniform((0, 0, 2, 2), (*size, 14, 14))
        planes.append(((rows - y) / ry) ** 2 + ((columns - x) / rx) ** 2 <= 1)
    return image, [plane for plane in planes if plane.any()]


def tight(plane: np.ndarray) -> Crop:
    rows, columns = np.nonzero(plane)
    window = plane[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return Crop(window.astype(np.uint8), int(columns.min()), int(rows.min()))


PIPELINE = {
    "crop": lambda: A.RandomCrop(40, 40, pad_if_needed=True, p=0.8),
    "flip": lambda: A.HorizontalFlip(p=0.5),
    "turn": lambda: A.D4(p=0.5),
    "affine": lambda: A.Affine(scale=(0.7, 1.4), rotate=(-45, 45), shear=(-10, 10), translate_percent=(-0.2, 0.2), p=1),
    # Asks for another interpolation of masks, which would invent labels.
    "scale": lambda: A.RandomScale((-0.3, 0.3), mask_interpolation=1, p=1),
    "perspective": lambda: A.Perspective(p=0.7),
    "elastic": lambda: A.ElasticTransform(alpha=20, sigma=4, p=0.7),
    "grid": lambda: A.GridDistortion(p=0.7),
    "one_of": lambda: A.OneOf([A.RandomRotate90(p=1), A.SafeRotate((-30, 30), p=1)], p=0.7),
    "dropout": lambda: A.CoarseDropout(fill_mask=0, p=0.7),
    "light": lambda: A.RandomBrightnessContrast(p=0.5),
    "noise": lambda: A.GaussNoise(p=0.5),
}


@settings(max_examples=80, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(PIPELINE)), unique=True, max_size=5),
    size=st.tuples(st.integers(24, 64), st.integers(24, 64)),
    count=st.integers(1, 12),
    seed=st.integers(0, 2**31),
)
def test_layers_move_like_one_plane_for_each_instance(
    names: list[str], size: tuple[int, int], count: int, seed: int
) -> None:
    image, planes = scene(size, count, seed)
    augmentation = Augmentation({name: PIPELINE[name]() for name in names})
    layers = pack([tight(plane) for plane in planes], size)
    result, moved = augmentation(image, layers.planes, seed)
    found = unpack(moved, layers.owners)

    # The same chain, as its authors meant it: one plane for each instance.
    reference = A.Compose([PIPELINE[name]() for name in names], mask_interpolation=0)
    reference.set_random_state(np.random.default_rng(seed), random.Random(seed))
    expected = reference(image=image, masks=[plane.astype(np.uint8) for plane in planes])
    assert np.array_equal(result, expected["image"])
    left = {n: tight(plane) for n, plane in enumerate(expected["masks"]) if plane.any()}
    assert list(found) == list(left)
    for n, crop in left.items():
        assert found[n].box == crop.box
        assert np.array_equal(found[n].mask, crop.mask)


def test_same_seed_same_result_whatever_came_before() -> None:
    image, planes = scene((48, 40), 5, 0)
    names = ["affine", "light", "noise", "one_of"]
    first, second = (Augmentation({name: PIPELINE[name]() for name in names}) for _ in range(2))
    layers = pack([tight(plane) for plane in planes], (48, 40))
    first(image, layers.planes, 3)
    results = [
        augmentation(image, layers.planes, 7) for augmentation in (first, second, pickle.loads(pickle.dumps(first)))
    ]
    for result, moved in results[1:]:
        assert np.array_equal(result, results[0][0])
        assert all(np.array_equal(a, b) for a, b in zip(moved, results[0][1], strict=True))
    assert not np.array_equal(first(image, [], 8)[0], results[0][0])


def test_transforms_throw_coins_of_their_own() -> None:
    augmentation = Augmentation({"flip": A.HorizontalFlip(p=0.5), "invert": A.InvertImg(p=0.5)})
    image = np.zeros((1, 2, 3), dtype=np.uint8)
    image[:, 0] = 100
    outcomes = [augmentation(image, [], seed)[0][0, :, 0].tolist() for seed in range(400)]
    for outcome in ([100, 0], [0, 100], [155, 255], [255, 155]):
        assert 60 < outcomes.count(outcome) < 140


def test_the_update_check_is_off() -> None:
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


def test_null_leaves_a_transform_out() -> None:
    assert len(Augmentation({"crop": None, "flip": A.HorizontalFlip()})) == 1
    assert not Augmentation({})


@pytest.mark.filterwarnings("ignore:Argument.*not valid")
def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(SegtrainError, match=r"augmentation\.transforms\.a\.q: HorizontalFlip knows no such argument"):
        Augmentation({"a": A.HorizontalFlip(p=0.5, q=1)})


@pytest.mark.parametrize("transform", [A.Normalize(p=1), A.ToFloat(p=1), A.ToTensorV2(p=1)], ids=repr)
def test_anything_but_8_bit_rgb_is_refused(transform: Any) -> None:
    with pytest.raises(SegtrainError, match="must return 8-bit RGB"):
        Augmentation({"a": transform})(np.zeros((8, 8, 3), np.uint8), [], 0)


def test_a_transform_that_does_not_suit_the_image_is_named() -> None:
    with pytest.raises(SegtrainError, match="CropSizeError on an image of 8x9"):
        Augmentation({"a": A.RandomCrop(10, 10)})(np.zeros((8, 9, 3), np.uint8), [], 0)


def config(path: Path) -> DictConfig:
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    return loaded


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_option_builds_and_runs(path: Path) -> None:
    assert path.read_text().startswith(f"# python train.py augmentation={path.stem}\n")
    augmentation = instantiate(config(path), _convert_="all")
    image, planes = scene((60, 50), 6, 0)
    layers = pack([tight(plane) for plane in planes], (60, 50))
    for seed in range(20):
        result, moved = augmentation(image, layers.planes, seed)
        assert result.shape[:2] == moved[0].shape


def test_overrides_reach_a_transform_by_its_name() -> None:
    changed = config(next(path for path in CONFIGS if path.stem == "default"))
    changed.merge_with_dotlist(["transforms.light.p=0", "transforms.gamma=null", "transforms.flip.p=1"])
    augmentation = instantiate(changed, _convert_="all")
    image, _ = scene((20, 20), 1, 0)
    assert all(np.array_equal(augmentation(image, [], seed)[0], image[:, ::-1]) for seed in range(10))
