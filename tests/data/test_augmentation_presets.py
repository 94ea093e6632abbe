"""Every augmentation preset, held to stored hashes of the pixels it makes.

A new version of albumentations or OpenCV, or a change of a preset, must not change training data unnoticed. After an
intended change, ``python -m tests.data.test_augmentation_presets`` prints the new table.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from segtrain.data.augmentation import Augmentation
from segtrain.data.label_layers import Layers, Scene

CONFIGS = Path(__file__).parents[2] / "configs" / "augmentation"
SEEDS = range(8)
HASHES = {
    "box_safe_crop": "3c73bc115a22714a",
    "copy_paste": "3317f9554c4b2187",
    "default": "f7c0c5078a9e9acb",
    "fixed_crop": "d6f65a74cf3592f3",
    "flip": "2e9fe532cfc862a5",
    "microscopy": "c362b5c108313c00",
    "multi_scale": "ef8eaef82f0dc660",
    "none": "c33e6fbc2aa8ad59",
    "photometric": "e8785095d7439ef9",
    "scale_jitter": "778069359a48b363",
    "strong": "1f2e120f23d1c554",
}


def scene(number: int) -> Scene:
    """A gradient with three discs, drawn from whole numbers alone: the same on every machine."""
    y, x = np.mgrid[:96, :128]
    image = np.stack([(x * 2 + number * 40) % 256, (y * 3) % 256, (x * y) % 251], axis=2).astype(np.uint8)
    plane = np.zeros((96, 128), dtype=np.uint8)
    for n, (cy, cx, radius) in enumerate(((20, 30, 12), (60, 70, 20), (80, 110, 9)), start=1):
        inside = (y - cy - 3 * number) ** 2 + (x - cx) ** 2 < radius**2
        plane[inside] = n
        image[inside] = (250 - 60 * n, 40 * n, 90)
    return Scene(image, Layers([plane], [[0, 1, 2]]), np.array([1, 2, 1]), np.full(3, 4))


def pixel_hash(name: str) -> str:
    """The first digits of a hash of images and masks, over some seeds."""
    augmentation: Augmentation = instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), _convert_="all")
    digest = hashlib.sha256()
    for seed in SEEDS:
        found = scene(0)
        image, planes, _ = augmentation(found.image, found.layers.planes, seed)
        found = Scene(image, Layers(planes, found.layers.owners), found.labels, found.min_pixels)
        if augmentation.mix is not None:
            found = augmentation.mix.paste(np.random.default_rng(seed), found, scene(1))
        for array in (found.image, *found.layers.planes):
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_presets_make_the_stored_pixels(name: str) -> None:
    assert pixel_hash(name) == HASHES[name]


if __name__ == "__main__":
    for path in sorted(CONFIGS.glob("*.yaml")):
        print(f'    "{path.stem}": "{pixel_hash(path.stem)}",')
