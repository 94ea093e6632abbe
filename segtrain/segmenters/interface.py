"""Interface of segmenters, and the facts about them that a report states."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from segtrain.masks import Rle
from segtrain.records import Instances

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MaskGrid:
    """Grid of cells on which a network draws each mask, stretched over the box of the object.

    Attributes:
        side: number of cells along each side.
        redraw: function from the true masks and the (H, W) of each image to the masks that the network would return
            with perfect boxes and cells.
        mask_paste: conversion of cells to pixels, "exact" (a pixel reads the cells around its centre) or "torchvision"
            (the box is rounded to whole pixels).
        aligned: True if the cells are sampled at pixel centres, False for torchvision's conventions.
    """

    side: int
    redraw: Callable[[Sequence[Sequence[Rle]], Sequence[tuple[int, int]]], Sequence[Sequence[Rle]]]
    mask_paste: str
    aligned: bool


@dataclass(frozen=True, kw_only=True)
class SegmenterInfo:
    """Facts about a segmenter that the report of a benchmark states.

    Attributes:
        description: one sentence; empty for the name of its class.
        technique: technique of the method, such as "threshold", "edges", "kmeans" or "mask_rcnn", by which the report
            groups methods to test claims about a technique; None for none.
        variant: "textbook", "robust" or "tuned" for classical methods; None for others.
        ranked_by: meaning of scores that only rank; None where they are learned.
        mask_grid: grid on which masks are drawn; None where they are drawn pixel by pixel.
    """

    description: str = ""
    technique: str | None = None
    variant: str | None = None
    ranked_by: str | None = None
    mask_grid: MaskGrid | None = None


def info_of(segmenter: object) -> SegmenterInfo:
    """Return the attribute ``info`` of a segmenter, or what is true of every segmenter if it has none.

    >>> info_of(object()).technique is None
    True
    """
    info = getattr(segmenter, "info", None)
    return info if isinstance(info, SegmenterInfo) else SegmenterInfo()


@runtime_checkable
class Segmenter(Protocol):
    """Interface of everything that turns images into instances.

    An attribute ``info``, a `SegmenterInfo`, is optional.

    >>> class Nothing:
    ...     scores_are_learned = False
    ...
    ...     def segment(self, images):
    ...         return [Instances.empty(tuple(image.shape[1:])) for image in images]
    >>> isinstance(Nothing(), Segmenter)
    True
    """

    @property
    def scores_are_learned(self) -> bool:
        """True if scores estimate how likely a detection is right; False if they only rank."""
        ...

    def segment(self, images: Sequence["Tensor"]) -> list[Instances]:
        """Segment images.

        Args:
            images: uint8 RGB tensors (3, H, W), of any sizes.

        Returns:
            The instances of each image, in the image's own frame, best first.
        """
        ...
