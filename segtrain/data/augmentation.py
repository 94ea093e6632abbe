"""Augmentation: chains of albumentations transforms, geometric ones that it lacks, and Copy-Paste."""

import os
import random
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt

# Without this variable, importing albumentations waits for a package index to look for updates.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations
import cv2
import torch
from albumentations.augmentations.crops.transforms import BaseCrop
from albumentations.core.type_definitions import Targets
from torchvision import tv_tensors
from torchvision.transforms import v2

from segtrain.arrays import RgbArray
from segtrain.data.label_layers import Layers, Plane, Scene
from segtrain.errors import SegtrainError
from segtrain.values import Fraction, Positive


class _Rescale(albumentations.SmallestMaxSize):  # type: ignore[misc]
    """Base class of transforms that resize by a factor; images are resized by albumentations' own transform."""

    def __init__(self, p: float) -> None:
        super().__init__(max_size=1, area_for_downscale="image", p=p)

    def factor(self, height: int, width: int) -> float:
        """Draw the factor for an image of this size."""
        raise NotImplementedError

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Return the factor under the name that the base class uses."""
        return {"scale": self.factor(*params["shape"][:2])}

    def apply_to_mask(self, mask: npt.NDArray[Any], scale: float, **_: Any) -> npt.NDArray[Any]:
        """Resize a plane, sampled at pixel centres like the image; OpenCV's ``INTER_NEAREST`` would shift it."""
        size = [max(1, round(side * scale)) for side in mask.shape[1::-1]]
        resized: npt.NDArray[Any] = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return resized


class ScaleJitter(_Rescale):
    """Random resizing by a factor (Ghiasi et al., "Simple Copy-Paste", CVPR 2021: 0.1 to 2 is large-scale jitter).

    Args:
        scale: least and greatest factor; the distribution is uniform.
        p: probability of the transform.

    Raises:
        ValueError: ``scale`` is no interval of positive numbers.
    """

    class InitSchema(albumentations.BasicTransform.InitSchema):  # type: ignore[misc]
        """Arguments that albumentations validates."""

        scale: tuple[float, float]

    def __init__(self, scale: tuple[float, float], p: float) -> None:
        super().__init__(p)
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale={list(scale)}: give the least and the greatest factor, above 0")
        self.scale = scale

    def factor(self, height: int, width: int) -> float:
        """Draw a factor, independent of the size."""
        drawn: float = self.py_random.uniform(*self.scale)
        return drawn


class ShorterSide(_Rescale):
    """Resizing of the shorter side to one of several lengths (Detectron2's ``ResizeShortestEdge``).

    Args:
        sizes: lengths of the shorter side in pixels; one is drawn.
        max_size: limit of the longer side in pixels, which takes precedence over the length of the shorter one.
        p: probability of the transform.

    Raises:
        ValueError: a length is not positive, or there is none.
    """

    class InitSchema(albumentations.BasicTransform.InitSchema):  # type: ignore[misc]
        """Arguments that albumentations validates."""

        sizes: list[int]
        max_size: int

    def __init__(self, sizes: list[int], max_size: int, p: float) -> None:
        super().__init__(p)
        if not sizes or min(*sizes, max_size) < 1:
            raise ValueError(f"sizes={sizes}, max_size={max_size}: give whole numbers of pixels")
        self.sizes, self.max_size = sizes, max_size

    def factor(self, height: int, width: int) -> float:
        """Draw a length, and return the factor that gives it."""
        drawn: int = self.py_random.choice(self.sizes)
        return min(drawn / min(height, width), self.max_size / max(height, width))


class BoxSafeCrop(BaseCrop):  # type: ignore[misc]
    """Random crop that contains all objects completely (after albumentations' ``BBoxSafeRandomCrop``).

    The edges are drawn between the objects' common bounding box, computed from the label layers, and the image's
    border. Without objects the crop may lie anywhere.

    Args:
        min_side: least side of a crop in pixels; smaller images are not cropped below their own side.
        p: probability of the transform.

    Raises:
        ValueError: ``min_side`` is not positive.
    """

    class InitSchema(albumentations.BasicTransform.InitSchema):  # type: ignore[misc]
        """Arguments that albumentations validates."""

        min_side: int

    def __init__(self, min_side: int, p: float) -> None:
        super().__init__(p=p)
        if min_side < 1:
            raise ValueError(f"min_side={min_side}: give a whole number of pixels")
        self.min_side = min_side

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the crop as (x0, y0, x1, y1)."""
        height, width = params["shape"][:2]
        inside = np.zeros((height, width), dtype=np.bool_)
        for plane in data.get("masks", []):
            inside |= plane.astype(np.bool_)
        x0, x1 = self._side(np.flatnonzero(inside.any(axis=0)), width)
        y0, y1 = self._side(np.flatnonzero(inside.any(axis=1)), height)
        return {"crop_coords": (x0, y0, x1, y1)}

    def _side(self, taken: npt.NDArray[np.int64], length: int) -> tuple[int, int]:
        """Draw the first row or column and the one after the last, so that those in ``taken`` are inside."""
        latest = length - min(self.min_side, length)
        start = self.py_random.randint(0, min(int(taken[0]), latest) if len(taken) else latest)
        earliest = min(start + self.min_side, length)
        return start, self.py_random.randint(max(int(taken[-1]) + 1, earliest) if len(taken) else earliest, length)


class CopyPaste:
    """Copy-Paste: a random selection of another scene's instances is pasted onto a scene, at the same positions.

    Hidden pixels are removed from the masks and ignored regions below. Edges are not blended.

    Args:
        p: probability of pasting.
        max_objects: largest number of pasted instances.
        least_visible: least share of its pixels that an instance must keep where others hide it or the image's border
            cuts it; otherwise it is dropped.

    Source: Ghiasi et al., Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation (2021), the
    variant without blending.
    """

    def __init__(
        self,
        p: Fraction,
        max_objects: Positive,
        least_visible: Fraction,
    ) -> None:
        self.p = p
        self.max_objects = max_objects
        self.least_visible = least_visible

    def partner(self, rng: np.random.Generator, count: int) -> int | None:
        """Draw which of ``count`` images to paste from; None if nothing is pasted."""
        return int(rng.integers(count)) if rng.random() < self.p else None

    def paste(self, rng: np.random.Generator, onto: Scene, source: Scene) -> Scene:
        """Paste instances of another scene in front of a scene.

        Args:
            rng: generator of all draws.
            onto: scene in the background; it keeps its size.
            source: scene of any size, aligned at the upper left corner.
        """
        present = source.crops().instances
        if not len(present):
            return onto
        number = int(rng.integers(1, min(len(present), self.max_objects), endpoint=True))
        chosen = set(rng.choice(present, number, replace=False).tolist())
        size = onto.image.shape[:2]
        planes, owners = [], []
        for plane, instances in zip(source.layers.planes, source.layers.owners, strict=True):
            if chosen & set(instances):
                planes.append(_fit(_only(plane, instances, chosen), size))
                owners.append([len(onto.labels) + instance for instance in instances])
        covered = np.logical_or.reduce(planes)
        image = np.where(covered[:, :, None], _fit(source.image, size), onto.image)
        beneath = [np.where(covered, np.uint8(0), plane) for plane in onto.layers.planes]
        return Scene(
            image,
            Layers([*beneath, *planes], [*onto.layers.owners, *owners]),
            np.concatenate([onto.labels, source.labels]),
            np.concatenate([self._least(onto), self._least(source)]),
            None if onto.ignored is None else np.where(covered, np.uint8(0), onto.ignored),
        )

    def _least(self, scene: Scene) -> npt.NDArray[np.int64]:
        """Compute the number of pixels that each instance must keep."""
        areas = np.zeros(len(scene.labels))
        for plane, instances in zip(scene.layers.planes, scene.layers.owners, strict=True):
            areas[instances] = np.bincount(plane.reshape(-1), minlength=len(instances) + 1)[1:]
        return np.maximum(scene.min_pixels, np.ceil(areas * self.least_visible).astype(np.int64))


def _only(plane: Plane, instances: Sequence[int], chosen: set[int]) -> Plane:
    """Remove the instances that are not chosen from a plane."""
    kept = np.array([0, *(n if i in chosen else 0 for n, i in enumerate(instances, start=1))], dtype=np.uint8)
    return kept[plane]


def _fit(plane: Plane, size: tuple[int, ...]) -> Plane:
    """Cut a plane or image, or pad it with zeros, at the right and bottom."""
    fitted = np.zeros((*size, *plane.shape[2:]), dtype=np.uint8)
    part = plane[: size[0], : size[1]]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted


class TorchvisionTransform(albumentations.DualTransform):  # type: ignore[misc]
    """Adapter of a ``torchvision.transforms.v2`` transform to a chain of albumentations.

    Label layers are passed as ``tv_tensors.Mask``, which torchvision resamples by nearest neighbour.

    Args:
        transform: transform of images and masks, with a probability of its own.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(self, transform: Any) -> None:
        super().__init__(p=1.0)
        self.transform = transform

    def __call__(
        self, *_: Any, image: RgbArray, masks: Sequence[Plane] = (), mask: Plane | None = None, **__: Any
    ) -> dict[str, Any]:
        """Transform an image (H, W, 3) and its planes (H, W), with torch's generator seeded from the chain's."""
        inputs = [tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))]
        planes = [*masks, *([] if mask is None else [mask])]
        if planes:
            inputs.append(tv_tensors.Mask(torch.from_numpy(np.stack(planes))))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.py_random.getrandbits(63))
            outputs = self.transform(inputs)
        result = {"image": outputs[0].permute(1, 2, 0).contiguous().numpy()}
        moved = list(outputs[1].contiguous().numpy()) if planes else []
        if mask is not None:
            result["mask"] = moved.pop()
        if moved:
            result["masks"] = moved
        return result


class Augmentation:
    """Chain of transforms of albumentations or torchvision, applied to an image and its label layers alike.

    Attributes:
        mix: transform that pastes a second image, which the data set provides, into the transformed one; None for none.

    Args:
        transforms: transforms of ``albumentations`` or ``torchvision.transforms.v2`` in order of application, each
            under a name of the user's choice, so that a command line can change one of them
            (``augmentation.transforms.flip.p=0``). None instead of a transform leaves it out.
        mix: transform of two images, see above.

    Raises:
        SegtrainError: an entry is no transform, or has an unknown argument; or the successor of albumentations, which
            has another licence, is installed in its place.
    """

    def __init__(self, transforms: Mapping[str, Any], mix: CopyPaste | None) -> None:
        _refuse_successor()
        self.mix = mix
        chain = {
            name: TorchvisionTransform(transform) if isinstance(transform, v2.Transform) else transform
            for name, transform in transforms.items()
            if transform is not None
        }
        for name, transform in chain.items():
            if not isinstance(transform, albumentations.BasicTransform | albumentations.BaseCompose):
                raise SegtrainError(
                    f"augmentation.transforms.{name}={transform}: this option has no transform of that name to change; "
                    f"give it a _target_, set augmentation.transforms.{name}=null, or choose another option"
                )
            # albumentations ignores unknown arguments with a mere warning.
            if unknown := getattr(transform, "invalid_args", None):
                raise SegtrainError(
                    f"augmentation.transforms.{name}.{unknown[0]}: {type(transform).__name__} knows no such argument; "
                    "remove it"
                )
        self._chain = albumentations.Compose(list(chain.values()), mask_interpolation=cv2.INTER_NEAREST)

    def __len__(self) -> int:
        """Return the number of transforms, mixing included."""
        return len(self._chain.transforms) + (self.mix is not None)

    def __call__(
        self, image: RgbArray, planes: list[Plane], seed: int, ignored: Plane | None = None
    ) -> tuple[RgbArray, list[Plane], Plane | None]:
        """Transform an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            planes: (H, W) uint8 label layers; they are resampled by nearest neighbour.
            seed: seed of all random draws.
            ignored: (H, W) uint8 plane that is resampled alike, and is no object to a transform that looks at objects;
                None for none.

        Returns:
            The image, its planes, and the last plane, of one common new size.

        Raises:
            SegtrainError: a transform fails on the image, or returns something else than 8-bit RGB.
        """
        # One random stream for the whole chain. Compose.set_random_seed would give every transform the same seed, and
        # with it the same first number: exactly the flipped images would be darkened, for example.
        self._chain.set_random_state(np.random.default_rng(seed), random.Random(seed))
        # `BoxSafeCrop` keeps what is in the masks; regions to ignore go by another name.
        data = {"image": image} | ({"masks": planes} if planes else {}) | ({} if ignored is None else {"mask": ignored})
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
        return np.ascontiguousarray(result), list(data.get("masks", [])), data.get("mask")


def _refuse_successor() -> None:
    """Refuse AlbumentationsX, a module of the same name under the AGPL that reports its use.

    Raises:
        SegtrainError: AlbumentationsX is installed.
    """
    try:
        found = metadata.version("albumentationsx")
    except metadata.PackageNotFoundError:
        return
    raise SegtrainError(
        f"albumentationsx {found} is installed in the place of albumentations; it has another licence: "
        "pip uninstall -y albumentationsx, then pip install --force-reinstall albumentations==2.0.8"
    )
