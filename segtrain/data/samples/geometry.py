"""Geometric transforms that albumentations lacks; a door to it, beside ``transforms``."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

# See `transforms`.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations
import cv2
from albumentations.augmentations.crops.transforms import BaseCrop
from albumentations.core.type_definitions import Targets

Size = tuple[int, int]


class _Rescale(albumentations.DualTransform):  # type: ignore[misc]
    """Resizes once, by a factor that subclasses draw, and never to nothing."""

    _targets = (Targets.IMAGE, Targets.MASK)

    def factor(self, height: int, width: int) -> float:
        """The factor for an image of this size."""
        raise NotImplementedError

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The new (width, height)."""
        height, width = params["shape"][:2]
        factor = self.factor(height, width)
        return {"size": (max(round(width * factor), 1), max(round(height * factor), 1))}

    def apply(self, img: npt.NDArray[Any], size: Size, **_: Any) -> npt.NDArray[Any]:
        """The resized image; means over areas where it shrinks, so that fine patterns do not alias."""
        method = cv2.INTER_AREA if size[0] < img.shape[1] else cv2.INTER_LINEAR
        resized: npt.NDArray[Any] = cv2.resize(img, size, interpolation=method)
        return resized

    def apply_to_mask(self, mask: npt.NDArray[Any], size: Size, **_: Any) -> npt.NDArray[Any]:
        """The resized plane, sampled at the centres of pixels, where the image is: plain nearest neighbour is not."""
        resized: npt.NDArray[Any] = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return resized


class ScaleJitter(_Rescale):
    """Resizes by a random factor (Ghiasi et al., "Simple Copy-Paste", CVPR 2021: 0.1 to 2 is large-scale jitter).

    Args:
        scale: least and greatest factor; uniform in between.
        p: probability.

    Raises:
        ValueError: ``scale`` is no interval of positive numbers.
    """

    class InitSchema(albumentations.BasicTransform.InitSchema):  # type: ignore[misc]
        """What albumentations checks."""

        scale: tuple[float, float]

    def __init__(self, scale: tuple[float, float], p: float) -> None:
        super().__init__(p=p)
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale={list(scale)}: give the least and the greatest factor, above 0")
        self.scale = scale

    def factor(self, height: int, width: int) -> float:
        """A random one, whatever the size."""
        drawn: float = self.py_random.uniform(*self.scale)
        return drawn


class ShorterSide(_Rescale):
    """Resizes until the shorter side has one of some lengths (Detectron2's ``ResizeShortestEdge``).

    Args:
        sizes: lengths of the shorter side in pixels; one is drawn.
        longest: pixels that the longer side never exceeds; the shorter one is then shorter than drawn.
        p: probability.

    Raises:
        ValueError: a length is not positive, or there is none.
    """

    class InitSchema(albumentations.BasicTransform.InitSchema):  # type: ignore[misc]
        """What albumentations checks."""

        sizes: list[int]
        longest: int

    def __init__(self, sizes: list[int], longest: int, p: float) -> None:
        super().__init__(p=p)
        if not sizes or min(*sizes, longest) < 1:
            raise ValueError(f"sizes={sizes}, longest={longest}: give whole numbers of pixels")
        self.sizes, self.longest = sizes, longest

    def factor(self, height: int, width: int) -> float:
        """From the length that is drawn."""
        drawn: int = self.py_random.choice(self.sizes)
        return min(drawn / min(height, width), self.longest / max(height, width))


class BoxSafeCrop(BaseCrop):  # type: ignore[misc]
    """A random crop that holds every object whole (the idea of albumentations' ``BBoxSafeRandomCrop``).

    Its edges are drawn between the objects' common box and the image's border. Label layers carry no boxes: they are
    taken from the planes. Without objects any crop will do.

    Args:
        least: pixels of a crop's side, at least, where the image has as many.
        p: probability.

    Raises:
        ValueError: ``least`` is not positive.
    """

    class InitSchema(albumentations.BasicTransform.InitSchema):  # type: ignore[misc]
        """What albumentations checks."""

        least: int

    def __init__(self, least: int, p: float) -> None:
        super().__init__(p=p)
        if least < 1:
            raise ValueError(f"least={least}: give a whole number of pixels")
        self.least = least

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The crop as (x0, y0, x1, y1)."""
        height, width = params["shape"][:2]
        inside = np.zeros((height, width), dtype=np.bool_)
        for plane in data.get("masks", []):
            inside |= plane.astype(np.bool_)
        x0, x1 = self._side(np.flatnonzero(inside.any(axis=0)), width)
        y0, y1 = self._side(np.flatnonzero(inside.any(axis=1)), height)
        return {"crop_coords": (x0, y0, x1, y1)}

    def _side(self, taken: npt.NDArray[np.int64], length: int) -> tuple[int, int]:
        """First and one-past-last row or column; those in ``taken`` stay."""
        latest = length - min(self.least, length)
        start = self.py_random.randint(0, min(int(taken[0]), latest) if len(taken) else latest)
        earliest = min(start + self.least, length)
        return start, self.py_random.randint(max(int(taken[-1]) + 1, earliest) if len(taken) else earliest, length)
