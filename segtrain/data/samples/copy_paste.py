"""Simple Copy-Paste (Ghiasi et al., CVPR 2021): instances of one augmented image pasted onto another."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from segtrain.data.samples.layers import Layers, Plane
from segtrain.data.samples.scenes import Scene


class CopyPaste:
    """Pastes a random part of another scene's instances onto a scene, at the place they have in their own.

    What they hide is cut from the masks beneath. As in the paper's plain variant, edges are not blended.

    Args:
        p: probability.
        most: instances that are pasted.
        least_visible: share of its pixels that an instance must keep, whether others hide it or the image's border cuts
            it; otherwise it is dropped.
    """

    def __init__(
        self,
        p: Annotated[float, Meta(ge=0, le=1)],
        most: Annotated[int, Meta(ge=1)],
        least_visible: Annotated[float, Meta(ge=0, le=1)],
    ) -> None:
        self.p = p
        self.most = most
        self.least_visible = least_visible

    def partner(self, rng: np.random.Generator, count: int) -> int | None:
        """Which of ``count`` images to paste from; None if nothing is pasted this time."""
        return int(rng.integers(count)) if rng.random() < self.p else None

    def paste(self, rng: np.random.Generator, onto: Scene, source: Scene) -> Scene:
        """The scene with instances of another one in front.

        Args:
            rng: draws how many and which.
            onto: stays as large as it is.
            source: of any size; it is laid onto the upper left corner.
        """
        present = source.crops().instances
        if not len(present):
            return onto
        number = int(rng.integers(1, min(len(present), self.most), endpoint=True))
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
        )

    def _least(self, scene: Scene) -> npt.NDArray[np.int64]:
        """Pixels that each instance must keep."""
        areas = np.zeros(len(scene.labels))
        for plane, instances in zip(scene.layers.planes, scene.layers.owners, strict=True):
            areas[instances] = np.bincount(plane.reshape(-1), minlength=len(instances) + 1)[1:]
        return np.maximum(scene.least, np.ceil(areas * self.least_visible).astype(np.int64))


def _only(plane: Plane, instances: Sequence[int], chosen: set[int]) -> Plane:
    """The plane without the instances that were not chosen."""
    kept = np.array([0, *(n if i in chosen else 0 for n, i in enumerate(instances, start=1))], dtype=np.uint8)
    return kept[plane]


def _fit(plane: Plane, size: tuple[int, ...]) -> Plane:
    """A plane or image, cut or filled with zeros at the right and bottom."""
    fitted = np.zeros((*size, *plane.shape[2:]), dtype=np.uint8)
    part = plane[: size[0], : size[1]]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted
