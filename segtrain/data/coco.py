"""The index of a COCO data set: which images, which categories, which true instances."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segtrain.data.annotations import AnnotationTable, tabulate
from segtrain.data.coco_file import read_coco_file
from segtrain.errors import SegtrainError
from segtrain.instances import GroundTruth
from segtrain.masks import Rle

# Enough to see what is wrong with the dropped annotations of a file.
_FINDINGS_KEPT = 3


@dataclass(frozen=True, slots=True)
class Category:
    """A category of the file."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image of the file.

    Attributes:
        id: the file's own.
        file_name: relative to the image folder.
        height: in pixels.
        width: in pixels.
        difficulty: what a synthetic file says about the image.
    """

    id: int
    file_name: str
    height: int
    width: int
    difficulty: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.height, self.width


@dataclass(frozen=True)
class Counts:
    """What became of a file's annotations: ``used + crowd + dropped == annotations``.

    Attributes:
        images: images, those without annotations included.
        annotations: entries of the file.
        used: true instances.
        crowd: regions to ignore.
        repaired: those among the used and the crowds in which something was mended.
        dropped: entries without a usable mask.
    """

    images: int
    annotations: int
    used: int
    crowd: int
    repaired: int
    dropped: int


@dataclass(frozen=True, eq=False)
class CocoIndex:
    """A COCO data set without its pixels.

    Attributes:
        path: the json file.
        categories: by increasing id.
        images: in file order.
        findings: one line for each of the first few dropped annotations.
        annotations: all annotations, those that were dropped included.
    """

    path: Path
    categories: list[Category]
    images: list[ImageInfo]
    findings: list[str]
    annotations: AnnotationTable

    @cached_property
    def label_of(self) -> dict[int, int]:
        """Contiguous label 1..K by category id, which may have gaps."""
        return _labels(self.categories)

    @cached_property
    def counts(self) -> Counts:
        """What became of the annotations of these images."""
        rows = self.annotations.rows
        usable, crowd = rows["usable"], rows["crowd"]
        return Counts(
            images=len(self.images),
            annotations=len(rows),
            used=int((usable & ~crowd).sum()),
            crowd=int((usable & crowd).sum()),
            repaired=int(rows["repaired"].sum()),
            dropped=int((~usable).sum()),
        )

    def truths(self, image_id: int) -> list[GroundTruth]:
        """The usable annotations of an image, crowds included, in file order.

        Their ids are positions in the file, from 1: COCO's evaluator takes the id 0, which files do contain, for
        "unmatched".

        Raises:
            KeyError: there is no such image.
        """
        position = self._position[image_id]
        size = self.images[position].size
        return [
            GroundTruth(
                id=int(row["number"]),
                image_id=image_id,
                category_id=self.categories[row["label"] - 1].id,
                segmentation=self.annotations.rle(row, size),
                bbox=row["bbox"].tolist(),
                area=float(row["area"]),
                iscrowd=int(row["crowd"]),
            )
            for row in self.annotations.of_image(position)
        ]

    def objects(self, position: int) -> tuple[npt.NDArray[np.int64], list[Rle]]:
        """What there is to learn in an image: its usable annotations without the crowds, in file order.

        Args:
            position: of the image in the index.

        Returns:
            (N,) labels 1..K, and N compressed run-length masks.
        """
        rows = self.annotations.of_image(position)
        rows = rows[~rows["crowd"]]
        size = self.images[position].size
        return rows["label"].copy(), [self.annotations.rle(row, size) for row in rows]

    def subset(self, image_ids: Collection[int]) -> "CocoIndex":
        """The index of some of the images, in file order; the masks stay shared.

        Raises:
            KeyError: there is no such image.
        """
        positions = sorted({self._position[image_id] for image_id in image_ids})
        return replace(
            self, images=[self.images[p] for p in positions], annotations=self.annotations.of_images(positions)
        )

    @cached_property
    def _position(self) -> dict[int, int]:
        return {image.id: place for place, image in enumerate(self.images)}


def load_index(path: Path) -> CocoIndex:
    """Read a COCO json file.

    Polygons and both kinds of run-length masks are rasterised once, here (about 25 microseconds an annotation), so that
    every annotation is accounted for before anything starts.

    Raises:
        SegtrainError: the file cannot be read, is not COCO json, or contradicts itself.
    """
    file = read_coco_file(path)
    categories = sorted((Category(c.id, c.name) for c in file.categories), key=lambda c: c.id)
    annotations, dropped = tabulate(file.annotations, file.images, _labels(categories))
    images = [
        ImageInfo(
            i.id, i.file_name, int(i.height), int(i.width), i.difficulty if isinstance(i.difficulty, str) else None
        )
        for i in file.images
    ]
    return CocoIndex(path, categories, images, dropped[:_FINDINGS_KEPT], annotations)


def require_instances(index: CocoIndex) -> None:
    """Refuse an index that holds nothing to learn from.

    Raises:
        SegtrainError: no annotation is usable.
    """
    if index.counts.used == 0:
        first = f"; {index.findings[0]}" if index.findings else ""
        raise SegtrainError(
            f"{index.path}: no usable annotation among {index.counts.annotations} ({index.counts.crowd} crowds, "
            f"{index.counts.dropped} without a mask{first}); give annotations with polygons or run-length masks"
        )


def _labels(categories: list[Category]) -> dict[int, int]:
    return {category.id: label for label, category in enumerate(categories, start=1)}
