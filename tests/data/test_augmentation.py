"""Augmentation moves image and instances in step, and leaves nothing to chance but its seed."""

import os
import pickle
import random
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from scipy import ndimage
from torchvision.transforms import v2

from segtrain.arrays import RgbArray
from segtrain.data.augmentation import Augmentation, BoxSafeCrop, CopyPaste, ScaleJitter, ShorterSide
from segtrain.errors import SegtrainError
from tests.helpers.random_instances import Planes, assert_same, layers_of, left, scene, scenes

import albumentations as A  # isort: skip  # after segtrain, which keeps it from asking the network

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "augmentation").glob("*.yaml"))


Draw = Callable[[random.Random], Any]


def interval(r: random.Random, low: float, high: float) -> tuple[float, float]:
    first, second = sorted(r.uniform(low, high) for _ in range(2))
    return first, second


# Each with parameters of its own at every draw.
TRANSFORMS: dict[str, Draw] = {
    "crop": lambda r: A.RandomCrop(
        r.randint(1, 50), r.randint(1, 50), pad_if_needed=True, pad_position=r.choice(["center", "top_left"]), p=0.8
    ),
    "box_safe": lambda r: BoxSafeCrop(min_side=r.randint(1, 40), p=0.8),
    "jitter": lambda r: ScaleJitter(scale=interval(r, 0.1, 2), p=0.8),
    "shorter": lambda r: ShorterSide(sizes=[r.randint(1, 60) for _ in range(3)], max_size=80, p=0.8),
    "flip": lambda r: A.HorizontalFlip(p=r.random()),
    "turn": lambda r: A.D4(p=0.5),
    "transpose": lambda r: A.Transpose(p=0.5),
    "affine": lambda r: A.Affine(
        scale=interval(r, 0.5, 2),
        rotate=interval(r, -180, 180),
        shear=interval(r, -20, 20),
        translate_percent=interval(r, -0.4, 0.4),
        fit_output=r.random() < 0.2,
        p=0.9,
    ),
    # Asks for another interpolation of masks, which would invent labels.
    "scale": lambda r: A.RandomScale(interval(r, -0.5, 0.5), mask_interpolation=1, p=1),
    "perspective": lambda r: A.Perspective(scale=interval(r, 0.05, 0.2), p=0.7),
    "elastic": lambda r: A.ElasticTransform(alpha=r.uniform(1, 40), sigma=r.uniform(2, 6), p=0.7),
    "grid": lambda r: A.GridDistortion(distort_limit=r.uniform(0, 0.5), p=0.7),
    "one_of": lambda r: A.OneOf([A.RandomRotate90(p=1), A.SafeRotate(interval(r, -90, 90), p=1)], p=0.7),
    "dropout": lambda r: A.CoarseDropout(fill_mask=0, p=0.7),
    "light": lambda r: A.RandomBrightnessContrast(r.random(), r.random(), p=0.5),
    "invert": lambda r: A.InvertImg(p=0.5),
    "blur": lambda r: A.GaussianBlur(sigma_limit=interval(r, 0.3, 2), blur_limit=0, p=0.5),
    "shade": lambda r: A.Illumination(p=0.5),
    "noise": lambda r: A.GaussNoise(p=0.5),
}


def chain(names: list[str], seed: int) -> dict[str, Any]:
    return {name: TRANSFORMS[name](random.Random(f"{seed} {name}")) for name in names}


def picture(size: tuple[int, int], seed: int) -> RgbArray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def expect(names: list[str], image: RgbArray, planes: Planes, seed: int) -> tuple[RgbArray, Planes]:
    """The same chain, as its authors meant it: one plane for each instance."""
    compose = A.Compose(list(chain(names, seed).values()), mask_interpolation=0)
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    data = {"masks": [plane.astype(np.uint8) for plane in planes]} if planes else {}
    result = compose(image=image, **data)
    return result["image"], [plane.astype(bool) for plane in result.get("masks", [])]


def check(names: list[str], size: tuple[int, int], planes: Planes, seed: int, least: int) -> None:
    image = picture(size, seed)
    layers = layers_of(planes, size)
    augmentation = Augmentation(chain(names, seed), mix=None)
    try:
        expected, left_over = expect(names, image, planes, seed)
    except Exception:  # some transforms fail on images of a few pixels
        assert min(size) < 16 or {"crop", "box_safe", "jitter", "shorter", "scale", "affine"} & set(names)
        with pytest.raises(SegtrainError, match=r"change augmentation\.transforms"):
            augmentation(image, layers.planes, seed)
        return
    result, moved, _ = augmentation(image, layers.planes, seed)
    assert np.array_equal(result, expected)
    assert all(plane.shape == result.shape[:2] for plane in moved)
    assert_same(left(layers, moved, least), left_over, least)


PIPELINES = st.tuples(st.permutations(sorted(TRANSFORMS)), st.integers(0, 6)).map(lambda drawn: drawn[0][: drawn[1]])


@given(names=PIPELINES, drawn=scenes(4, 64), seed=st.integers(0, 2**31), least=st.integers(0, 12))
def test_layers_move_like_one_plane_for_each_instance(
    names: list[str], drawn: tuple[tuple[int, int], Planes], seed: int, least: int
) -> None:
    check(names, *drawn, seed, least)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(names=PIPELINES, drawn=scenes(1, 96), seed=st.integers(0, 2**31), least=st.integers(0, 12))
def test_layers_move_like_one_plane_for_each_instance_at_length(
    names: list[str], drawn: tuple[tuple[int, int], Planes], seed: int, least: int
) -> None:
    check(names, *drawn, seed, least)


def test_hundreds_of_instances_move_in_step() -> None:
    planes = scene(np.random.default_rng(0), (60, 70), 400)
    assert len(planes) > 300
    for seed, names in enumerate((["affine", "crop"], ["turn", "jitter", "light"], ["elastic", "flip", "scale"])):
        check(names, (60, 70), planes, seed, 4)


def test_same_seed_same_result_whatever_came_before() -> None:
    image, planes = picture((48, 40), 0), scene(np.random.default_rng(0), (48, 40), 5)
    names = ["affine", "light", "noise", "one_of"]
    first, second = (Augmentation(chain(names, 0), mix=None) for _ in range(2))
    layers = layers_of(planes, (48, 40))
    first(image, layers.planes, 3)
    results = [
        augmentation(image, layers.planes, 7) for augmentation in (first, second, pickle.loads(pickle.dumps(first)))
    ]
    for result, moved, _ in results[1:]:
        assert np.array_equal(result, results[0][0])
        assert all(np.array_equal(a, b) for a, b in zip(moved, results[0][1], strict=True))
    assert not np.array_equal(first(image, [], 8)[0], results[0][0])


def test_transforms_throw_coins_of_their_own() -> None:
    augmentation = Augmentation({"flip": A.HorizontalFlip(p=0.5), "invert": A.InvertImg(p=0.5)}, mix=None)
    image = np.zeros((1, 2, 3), dtype=np.uint8)
    image[:, 0] = 100
    outcomes = [augmentation(image, [], seed)[0][0, :, 0].tolist() for seed in range(400)]
    for outcome in ([100, 0], [0, 100], [155, 255], [255, 155]):
        assert 60 < outcomes.count(outcome) < 140


def test_the_update_check_is_off() -> None:
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


def test_null_leaves_a_transform_out() -> None:
    assert len(Augmentation({"crop": None, "flip": A.HorizontalFlip()}, mix=None)) == 1
    assert not Augmentation({}, mix=None)
    assert Augmentation({}, mix=CopyPaste(p=0.5, max_objects=1, least_visible=0))


@pytest.mark.filterwarnings("ignore:Argument.*not valid")
def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(SegtrainError, match=r"augmentation\.transforms\.a\.q: HorizontalFlip knows no such argument"):
        Augmentation({"a": A.HorizontalFlip(p=0.5, q=1)}, mix=None)


def test_what_changes_a_transform_that_is_not_there_is_refused() -> None:
    with pytest.raises(SegtrainError, match=r"transforms\.flip=\{'p': 1\}: this option has no transform of that name"):
        Augmentation({"flip": {"p": 1}}, mix=None)


@pytest.mark.parametrize("transform", [A.Normalize(p=1), A.ToFloat(p=1), A.ToTensorV2(p=1)], ids=repr)
def test_anything_but_8_bit_rgb_is_refused(transform: Any) -> None:
    with pytest.raises(SegtrainError, match="must return 8-bit RGB"):
        Augmentation({"a": transform}, mix=None)(np.zeros((8, 8, 3), np.uint8), [], 0)


def test_a_transform_that_does_not_suit_the_image_is_named() -> None:
    with pytest.raises(SegtrainError, match="CropSizeError on an image of 8x9"):
        Augmentation({"a": A.RandomCrop(10, 10)}, mix=None)(np.zeros((8, 9, 3), np.uint8), [], 0)


def config(path: Path) -> DictConfig:
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    return loaded


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_option_builds_and_runs(path: Path) -> None:
    assert re.match(rf"# python train.py augmentation={path.stem}( segmenter\.\S+)*\n", path.read_text())
    augmentation = instantiate(config(path), _convert_="all")
    image, planes = picture((60, 50), 0), scene(np.random.default_rng(0), (60, 50), 6)
    layers = layers_of(planes, (60, 50))
    for seed in range(20):
        result, moved, _ = augmentation(image, layers.planes, seed)
        assert result.shape[:2] == moved[0].shape


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem != "none"], ids=lambda path: path.stem)
def test_an_experiment_can_change_every_option(path: Path) -> None:
    experiment = OmegaConf.load(path.parent.parent / "experiment" / "nuclei.yaml")
    merged = OmegaConf.merge(config(path), experiment["augmentation"])
    augmentation = instantiate(merged, _convert_="all")
    assert {augmentation(picture((256, 300), 0), [], seed)[0].shape for seed in range(5)} == {(192, 192, 3)} or (
        path.stem == "box_safe_crop"  # which comes after the experiment's crop
    )


def test_an_experiment_cannot_change_what_is_not_there() -> None:
    with pytest.raises(Exception, match="has no transform of that name to change"):
        instantiate(OmegaConf.merge(config(CONFIGS[0].parent / "none.yaml"), {"transforms": {"transpose": {"p": 0.5}}}))


def test_overrides_reach_a_transform_by_its_name() -> None:
    changed = config(next(path for path in CONFIGS if path.stem == "default"))
    changed.merge_with_dotlist(["transforms.light.p=0", "transforms.gamma=null", "transforms.flip.p=1"])
    augmentation = instantiate(changed, _convert_="all")
    image = picture((20, 20), 0)
    assert all(np.array_equal(augmentation(image, [], seed)[0], image[:, ::-1]) for seed in range(10))


def test_the_successor_of_albumentations_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"albumentationsx": "2.1.0"}

    def version(name: str) -> str:
        if name in found:
            return found[name]
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(SegtrainError, match=r"albumentationsx 2\.1\.0 .* pip uninstall"):
        Augmentation({}, mix=None)
    found.clear()
    Augmentation({}, mix=None)


V2_CHAIN = {
    "flip": v2.RandomHorizontalFlip(p=0.5),
    "light": A.RandomBrightnessContrast(p=0.5),
    "turn": v2.RandomRotation(30),
    "crop": v2.RandomResizedCrop((40, 56), scale=(0.3, 1.0)),
    "colour": v2.ColorJitter(0.3, 0.3, 0.3, 0.1),
    "transpose": A.Transpose(p=0.5),
}


def coordinates(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of two colours and the label layer of the same pixels."""
    plane = np.zeros((height, width), np.uint8)
    plane[height // 4 : height // 2, width // 5 : width // 2] = 1
    plane[height // 2 :, width // 2 : width // 2 + 9] = 2
    return np.repeat((plane * 100)[:, :, None], 3, axis=2), plane


@pytest.mark.parametrize("seed", range(6))
def test_torchvision_transforms_move_image_and_masks_in_step(seed: int) -> None:
    image, plane = coordinates(48, 64)
    geometric = {name: transform for name, transform in V2_CHAIN.items() if name in ("flip", "crop", "transpose")}
    moved, (layer,), _ = Augmentation(geometric, mix=None)(image, [plane], seed)
    assert moved.shape[:2] == layer.shape in {(40, 56), (56, 40)}
    # The image is interpolated: away from edges it says what the layer says.
    inside = ndimage.minimum_filter(layer, 5) == ndimage.maximum_filter(layer, 5)
    assert inside.mean() > 0.5
    assert np.abs(moved[..., 0].astype(int) - layer.astype(int) * 100)[inside].max() <= 3


def test_torchvision_transforms_draw_from_the_seed_alone() -> None:
    image, plane = coordinates(48, 64)
    augmentation = Augmentation(V2_CHAIN, mix=None)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, (layer,), _ = augmentation(image, [plane], 3)
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's stream has moved
    torch.manual_seed(2)
    again, (same,), _ = pickle.loads(pickle.dumps(augmentation))(image, [plane], 3)
    assert np.array_equal(first, again)
    assert np.array_equal(layer, same)
    alone = Augmentation({"turn": v2.RandomRotation(30)}, mix=None)
    turned = [alone(image, [plane], seed)[0] for seed in range(4)]
    assert not any(np.array_equal(turned[0], other) for other in turned[1:])
    assert augmentation(image, [], 3)[0].shape == first.shape


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("objects", [0, 1])
def test_ignored_regions_move_with_the_image(seed: int, objects: int) -> None:
    """As a label layer moves; for torchvision's and albumentations' transforms, with and without objects."""
    image, plane = coordinates(48, 64)
    for transforms in (V2_CHAIN, chain(sorted(TRANSFORMS), seed)):
        augmentation = Augmentation(transforms, mix=None)
        moved, planes, ignored = augmentation(image, [plane] * objects, seed, plane)
        assert ignored is not None
        assert moved.shape[:2] == ignored.shape
        assert len(planes) == objects
        assert all(np.array_equal(ignored, layer) for layer in planes)


def test_a_crop_that_keeps_objects_need_not_keep_ignored_regions() -> None:
    image, plane = coordinates(48, 64)
    small = np.zeros_like(plane)
    small[20:24, 30:34] = 1
    augmentation = Augmentation({"crop": BoxSafeCrop(min_side=4, p=1)}, mix=None)
    left = [augmentation(image, [small], seed, plane) for seed in range(20)]
    assert all(planes[0].sum() == small.sum() for _, planes, _ in left)
    assert any(ignored is not None and ignored.sum() < plane.sum() for *_, ignored in left)
    assert all(np.array_equal(result, augmentation(image, [small], seed)[0]) for seed, (result, *_) in enumerate(left))


def test_a_torchvision_transform_to_floats_is_refused() -> None:
    image, plane = coordinates(48, 64)
    with pytest.raises(SegtrainError, match="8-bit RGB"):
        Augmentation({"float": v2.ToDtype(torch.float32, scale=True)}, mix=None)(image, [plane], 0)


def test_a_torchvision_transform_is_a_node_like_any_other() -> None:
    node = OmegaConf.create(
        {
            "_target_": "segtrain.data.augmentation.Augmentation",
            "transforms": {"flip": {"_target_": "torchvision.transforms.v2.RandomVerticalFlip", "p": 1.0}},
            "mix": None,
        }
    )
    image, plane = coordinates(48, 64)
    flipped, (layer,), _ = instantiate(node)(image, [plane], 0)
    assert np.array_equal(flipped, image[::-1])
    assert np.array_equal(layer, plane[::-1])
