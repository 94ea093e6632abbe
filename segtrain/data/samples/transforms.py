"""Augmentation; the only door to albumentations."""

import os
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

# Importing albumentations asks a package index for news, and waits for the answer, unless told not to.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations
import cv2

from segtrain.data.samples.copy_paste import CopyPaste
from segtrain.data.samples.layers import Plane
from segtrain.errors import SegtrainError

RgbArray = npt.NDArray[np.uint8]

# Images are small and loaders work side by side: OpenCV's own threads would fight them, and hang forked workers.
cv2.setNumThreads(0)


class Augmentation:
    """A chain of albumentations transforms, applied to an image and its label layers in step.

    Attributes:
        mix: what puts a second image into the transformed one, which the data set has to fetch; None for nothing.

    Args:
        transforms: by a name of one's own, in order of application; None stands for a transform that is left out. The
            names let a command line change one of them (``augmentation.transforms.flip.p=0``).
        mix: see above.

    Raises:
        SegtrainError: something is no transform, or does not know one of its arguments.
    """

    def __init__(self, transforms: Mapping[str, Any], mix: CopyPaste | None) -> None:
        self.mix = mix
        chain = {name: transform for name, transform in transforms.items() if transform is not None}
        for name, transform in chain.items():
            if not isinstance(transform, albumentations.BasicTransform | albumentations.BaseCompose):
                raise SegtrainError(
                    f"augmentation.transforms.{name}={transform}: this option has no transform of that name to change; "
                    f"give it a _target_, set augmentation.transforms.{name}=null, or choose another option"
                )
            # albumentations ignores what it does not know, with a warning that scrolls away.
            if unknown := getattr(transform, "invalid_args", None):
                raise SegtrainError(
                    f"augmentation.transforms.{name}.{unknown[0]}: {type(transform).__name__} knows no such argument; "
                    "remove it"
                )
        self._chain = albumentations.Compose(list(chain.values()), mask_interpolation=cv2.INTER_NEAREST)

    def __len__(self) -> int:
        """Number of transforms, mixing included."""
        return len(self._chain.transforms) + (self.mix is not None)

    def __call__(self, image: RgbArray, planes: list[Plane], seed: int) -> tuple[RgbArray, list[Plane]]:
        """Transform an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            planes: (H, W) uint8 label layers; nearest neighbour, so no value is invented.
            seed: the only source of chance.

        Returns:
            The image and its planes, of one common new size.

        Raises:
            SegtrainError: the transforms do not suit the image, or return something else than 8-bit RGB.
        """
        # One stream through the whole chain. Compose.set_random_seed would give every transform the same seed: all
        # would draw the same first number, and flip exactly the images that they darken.
        self._chain.set_random_state(np.random.default_rng(seed), random.Random(seed))
        data = {"image": image} | ({"masks": planes} if planes else {})
        try:
            data = self._chain(**data)
        except Exception as error:  # albumentations has no error type of its own
            height, width = image.shape[:2]
            raise SegtrainError(
                f"augmentation: {type(error).__name__} on an image of {height}x{width} ({error}); "
                "change augmentation.transforms"
            ) from error
        result = data["image"]
        if not isinstance(result, np.ndarray) or result.dtype != np.uint8 or result.shape[2:] != (3,):
            raise SegtrainError(
                "augmentation: the transforms must return 8-bit RGB; remove any that make floats, tensors or grey"
            )
        return np.ascontiguousarray(result), list(data.get("masks", []))
