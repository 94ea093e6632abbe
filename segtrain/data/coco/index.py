"""Index of a COCO data set: its images, categories, true objects, and counts."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.record_tables import (
    AnnotationTable,
    ImageInfo,
    ImageTable,
    decode_box,
    decode_plain,
    draw,
    name_of,
)
from segtrain.data.coco.rules import COCO_RULES, AnnotationRules
from segtrain.errors import SegtrainError
from segtrain.masks import Rle
from segtrain.masks.parse import SegmentationError
from segtrain.records import Category, GroundTruth

_DROPPING = (
    "box-without-mask",
    "segmentation-empty",
    "mask-empty",
    "mask-lost",
    "segmentation-type",
    "rle-sum",
    "rle-corrupt",
    "rle-size",
)


@dataclass(frozen=True)
class AnnotationCounts:
    """Numbers of annotations by their use: ``used + crowd + dropped == annotations``.

    Attributes:
        images: number of images, those without annotations included.
        annotations: number of entries of the file.
        used: number of true objects.
        crowd: number of crowd regions, which are ignored.
        repaired: number of repaired annotations, among the used and crowd ones.
        dropped: number of entries that cannot be used.
    """

    images: int
    annotations: int
    used: int
    crowd: int
    repaired: int
    dropped: int


class MergedEntry(NamedTuple):
    """Entry of a file's ``images`` that names the same file as another entry.

    Attributes:
        entry: position of the entry.
        id: id of the entry, which no image has any more.
        image_id: id of the image that it is part of.
    """

    entry: int
    id: int
    image_id: int


class CategoryCounts(NamedTuple):
    """Numbers of true objects by image and category; one entry for each pair that occurs.

    Attributes:
        images: (P,) positions of the images in the index, not decreasing.
        labels: (P,) labels 1..K, increasing within an image.
        objects: (P,) number of instances, at least 1.
    """

    images: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CocoIndex:
    """COCO data set without its pixels.

    Attributes:
        path: path of the json file.
        categories: categories by increasing id.
        images: images in file order.
        annotations: annotations, dropped ones included.
        issues: issues found in the file so far.
        rules: rules by which the annotations were read.
        merged: entries of the file's ``images`` that name the same file as another entry.
    """

    path: Path
    categories: list[Category]
    images: ImageTable
    annotations: AnnotationTable
    issues: Issues
    rules: AnnotationRules = COCO_RULES
    merged: tuple[MergedEntry, ...] = ()

    @cached_property
    def label_of(self) -> dict[int, int]:
        """Contiguous label 1..K by category id, which may have gaps."""
        return {category.id: label for label, category in enumerate(self.categories, start=1)}

    @cached_property
    def counts(self) -> AnnotationCounts:
        """Count the annotations of these images by their use."""
        rows = self.annotations.rows
        usable, crowd = rows["usable"], rows["crowd"]
        return AnnotationCounts(
            images=len(self.images),
            annotations=len(rows),
            used=int((usable & ~crowd).sum()),
            crowd=int((usable & crowd).sum()),
            repaired=int((usable & rows["repaired"]).sum()),
            dropped=int((~usable).sum()),
        )

    @cached_property
    def objects_per_image(self) -> npt.NDArray[np.int64]:
        """Number of true objects of each image, crowds left out, (images,)."""
        rows = self.annotations.rows
        return np.bincount(rows["image"][rows["usable"] & ~rows["crowd"]], minlength=len(self.images))

    def truths(self, image_id: int) -> list[GroundTruth]:
        """Return the usable annotations of an image, crowds included, in file order.

        Their ids are positions in the file, from 1: COCO's evaluator uses the id 0, which files do contain, for
        "unmatched". Boxes and areas are those of the file if they are valid, else those of the mask: COCO's areas are
        computed from the polygons, and decide what is small, medium and large.

        Raises:
            KeyError: there is no such image.
            SegtrainError: an unchecked mask cannot be drawn.
        """
        place = int(self.images.places([image_id])[0])
        image = self.images[place]
        return self.truths_of(self.annotations.of_image(place), image)

    def truths_of(self, rows: npt.NDArray[np.void], image: ImageInfo) -> list[GroundTruth]:
        """Return the true objects of usable rows; see ``truths``.

        Raises:
            SegtrainError: an unchecked mask cannot be drawn.
        """
        return [self._truth(row, rle, image) for row, rle in zip(rows, self.masks(rows, image.size), strict=True)]

    def _truth(self, row: np.void, rle: Rle, image: ImageInfo) -> GroundTruth:
        box = decode_box(self.annotations.box(row), image.size)
        if box is None:
            x0, y0, x1, y1 = masks.boxes([rle])[0].tolist()
            box = [x0, y0, x1 - x0, y1 - y0]
        area = float(row["area"])
        return GroundTruth(
            id=int(row["number"]),
            image_id=image.id,
            category_id=self.categories[row["label"] - 1].id,
            segmentation=rle,
            bbox=box,
            area=float(masks.area([rle])[0]) if np.isnan(area) else area,
            iscrowd=int(row["crowd"]),
        )

    def objects(self, place: int) -> tuple[npt.NDArray[np.int64], list[Rle]]:
        """Return the labels (N,) 1..K and the masks of an image's true objects, in file order, without crowds.

        Args:
            place: index of the image.

        Raises:
            SegtrainError: an unchecked mask cannot be drawn.
        """
        rows = self.annotations.of_image(place)
        rows = rows[~rows["crowd"]]
        return rows["label"].astype(np.int64), self.masks(rows, self.images[place].size)

    def ignored(self, place: int) -> list[Rle]:
        """Return the masks of an image's crowd regions, in file order.

        Args:
            place: index of the image.

        Raises:
            SegtrainError: an unchecked mask cannot be drawn.
        """
        rows = self.annotations.of_image(place)
        return self.masks(rows[rows["crowd"]], self.images[place].size)

    def masks(self, rows: npt.NDArray[np.void], size: tuple[int, int]) -> list[Rle]:
        """Decode the masks of rows of the table.

        Args:
            rows: rows of images of this (H, W).
            size: (H, W) of the images.

        Raises:
            SegtrainError: an unchecked mask cannot be drawn.
        """
        texts = self.annotations.segmentations(rows)
        if rows["plain"].all():
            return list(map(decode_plain, texts))
        found = []
        for row, text in zip(rows, texts, strict=True):
            if row["boxed"]:
                found.append(self.annotations.mask_of_box(row, size))
                continue
            try:
                box = self.annotations.box(row)
                found.append(decode_plain(text) if row["plain"] else draw(text, size, box, self.rules.rings)[0])
            except SegmentationError as error:
                raise SegtrainError(
                    f"{self.path}: {name_of(row)}: {error}; correct it, or leave it out with data.check=warn"
                ) from error
        return found

    def category_counts(self) -> CategoryCounts:
        """Count the usable annotations of each image and category, without crowds."""
        rows = self.annotations.rows
        true = rows[rows["usable"] & ~rows["crowd"]]
        many = np.int64(len(self.categories) + 1)
        pairs, objects = np.unique(true["image"] * many + true["label"], return_counts=True)
        images, labels = np.divmod(pairs, many)
        return CategoryCounts(images, labels, objects)

    def subset(self, image_ids: Collection[int]) -> "CocoIndex":
        """Select some of the images, in file order; the text of the masks stays shared.

        Raises:
            KeyError: there is no such image.
        """
        places = np.unique(self.images.places(image_ids))
        return replace(self, images=self.images.subset(places), annotations=self.annotations.of_images(places))


def describe_ignored(rows: npt.NDArray[np.void]) -> str:
    """Describe in one line that all annotations are ignored, and which settings take them as objects.

    Args:
        rows: rows of a table that are all regions to ignore; at least one.
    """
    boxed = int(rows["boxed"].sum())
    crowd = len(rows) - boxed
    total = f"{len(rows):,} annotation{'s' * (len(rows) > 1)}"
    parts = []
    if crowd:
        which = (
            f"crowd regions (iscrowd 1): {crowd:,} of {total}" if boxed else f"{total}, all crowd regions (iscrowd 1)"
        )
        parts.append(f"{which}; if they are objects, as brush masks of CVAT are, set data.crowd=objects")
    if boxed:
        which = f"boxes without masks: {boxed:,} of {total}" if crowd else f"{total}, all boxes without masks"
        parts.append(f"{which}, ignored by data.boxes_without_masks=ignore; =box takes the boxes as masks")
    return "; ".join(parts)


def require_instances(index: CocoIndex) -> None:
    """Check that an index holds true objects to learn from.

    Raises:
        SegtrainError: no annotation is usable.
    """
    counts = index.counts
    if counts.used == 0:
        if counts.crowd and not counts.dropped:
            raise SegtrainError(f"{index.path}: no object to learn from: {describe_ignored(index.annotations.rows)}")
        dropped = [example for kind in _DROPPING for example in index.issues[kind].examples]
        first = f"; {dropped[0]}" if dropped else ""
        raise SegtrainError(
            f"{index.path}: no usable annotation among {counts.annotations} ({counts.crowd} crowds, "
            f"{counts.dropped} dropped{first}); give annotations with polygons or run-length masks"
        )
