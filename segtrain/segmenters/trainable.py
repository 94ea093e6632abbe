"""Base class of networks that can be trained."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from segtrain.records import Instances
from segtrain.segmenters.anchors import AnchorLayout
from segtrain.segmenters.inputs import KnownInputs
from segtrain.segmenters.interface import SegmenterInfo
from segtrain.targets import Target
from segtrain.values import OVERLAP, Precision, TileSetting


class Trainable(nn.Module, ABC):
    """Base class of the networks that ``train.py`` trains: a `Segmenter` with a loss.

    A ``segmenter`` node of the configuration names a factory (this class or a function) that is called with the class
    names of labels 1..K and the node's settings. If it has an argument ``detections_per_image``, that is set to
    ``data.max_dets``; if it has an argument ``initialise``, that is False where a checkpoint's weights follow, so that
    weights to start from need not be loaded. A function that is annotated to return this class has its settings checked
    by `check_settings` before data are read.

    Attributes:
        title: name of the network in the log and the report, such as "Mask R-CNN".
        resume_keys: settings of the factory that a resumed run cannot change; those that decide the shape of a weight
            need not be listed.
        stride: input pixels per cell of the finest features; smaller objects are reported as too small.
        takes_batches: True if the images of a batch pass the layers together: processes that train together then
            compute the statistics of batch norms from all of their images. False if they pass one by one: every process
            then keeps to its own, and running statistics are averaged.
        precision: precision of matrix products and convolutions (autocast): "fp32", "bf16" or "fp16"; on the CPU, which
            only emulates float16, "fp16" computes in float32.
        tile: "auto" to cut images larger than those of training and validation into windows, "off" never to, or the
            side of square windows in pixels of the image; see ``segtrain.segmenters.tiles``.
        overlap: least share of a window's side that neighbours have in common, in [0, 0.5).
        inputs: sizes of the images of training and validation; None if they are not known.
        loss_items: number of items, such as sampled regions, over which each term of the latest `losses` is a mean, by
            name; the number of images for a term without an entry. Processes that train together weight their terms
            by it. A network whose terms are means over anything but images sets it in `losses`.

    >>> class Nothing(Trainable):
    ...     title = "Nothing"
    ...
    ...     def __init__(self, class_names):
    ...         super().__init__()
    ...         self.weight = nn.Parameter(torch.zeros(()))
    ...
    ...     def losses(self, images, targets):
    ...         return {"mask": self.weight**2}
    ...
    ...     def segment_one(self, image):
    ...         return Instances.empty(tuple(image.shape[1:]))
    >>> Nothing(["cell"]).segment([torch.zeros(3, 4, 5, dtype=torch.uint8)])
    [<Instances: 0 in 4 x 5 pixels>]
    """

    title: ClassVar[str]
    resume_keys: ClassVar[Sequence[str]] = ()
    stride: ClassVar[int] = 1
    scores_are_learned: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = False
    precision: Precision = "fp32"
    tile: TileSetting = "auto"
    overlap: float = OVERLAP
    inputs: KnownInputs | None = None
    loss_items: Mapping[str, int] = MappingProxyType({})

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Check the settings as far as this is possible without data; called once, before a training reads its data.

        Args:
            settings: arguments of the factory by name, without the class names.

        Raises:
            SegtrainError: a setting is wrong.
        """

    @abstractmethod
    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Compute the loss terms of a batch; their sum is minimised.

        Args:
            images: uint8 RGB tensors (3, H, W), of any sizes.
            targets: true objects of each image, and the regions that are neither object nor background, in the
                image's own frame.

        Returns:
            float32 scalars by name.
        """

    @abstractmethod
    def segment_one(self, image: Tensor) -> Instances:
        """Segment a uint8 RGB tensor (3, H, W); called in evaluation mode, without gradients."""

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Compute `losses`; ``DistributedDataParallel`` and ``torch.compile`` call this method."""
        return self.losses(images, targets)

    def segment(self, images: Sequence[Tensor]) -> list[Instances]:
        """Segment uint8 RGB tensors (3, H, W) one at a time: in a batch, padding would change the results."""
        return self._evaluated(self.segment_one, images)

    def segment_at(self, images: Sequence[Tensor], scale: float) -> list[Instances]:
        """Segment images as `segment` does, resized by a factor instead of as their sizes ask.

        Args:
            images: uint8 RGB tensors (3, H, W), of any sizes.
            scale: input pixels per image pixel.
        """
        return self._evaluated(partial(self.segment_one_at, scale=scale), images)

    def segment_one_at(self, image: Tensor, scale: float) -> Instances:
        """Segment an image resized by a factor; a network that resizes images by their size overrides this."""
        return self.segment_one(image)

    def _evaluated(self, segment_one: Callable[[Tensor], Instances], images: Sequence[Tensor]) -> list[Instances]:
        training = self.training
        if training:  # to visit all modules takes as long as some of their layers
            self.eval()
        try:
            with torch.inference_mode():
                return [segment_one(image) for image in images]
        finally:
            if training:
                self.train()

    @property
    def resolved_settings(self) -> Mapping[str, Any]:
        """Resolved values of settings that depend on more than the configuration, such as the content of a file.

        A checkpoint keeps them in place of the configured ones.
        """
        return {}

    def input_scale(self, height: int, width: int) -> float:
        """Return the factor by which an image of this size is resized before it enters the network."""
        return 1.0

    @property
    def anchors(self) -> AnchorLayout | None:
        """Anchors of the network; None for a network without anchors."""
        return None

    @property
    def proposals(self) -> int | None:
        """Largest number of regions of an image that may become detections; None if it is not limited."""
        return None

    @property
    def info(self) -> SegmenterInfo:
        """Facts for the report of a benchmark."""
        return SegmenterInfo()

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    @property
    def product_dtype(self) -> torch.dtype:
        """Data type of matrix products and convolutions; see `precision`."""
        if self.precision == "fp16" and self.device.type != "cpu":
            return torch.float16
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> AbstractContextManager[None]:
        """Return a context in which matrix products and convolutions compute in `precision`."""
        dtype = self.product_dtype
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)
