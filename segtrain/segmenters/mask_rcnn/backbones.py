"""Backbones of Mask R-CNN.

A new backbone is one entry of `BACKBONES` and one file ``configs/segmenter/NAME.yaml``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torchvision
from torch import nn

from segtrain.errors import SegtrainError
from segtrain.nodes import nearest


@dataclass(frozen=True)
class Backbone:
    """A feature extractor whose outputs at strides 4, 8, 16 and 32 feed the feature pyramid.

    Attributes:
        body: builds the feature extractor with random weights; ImageNet weights are found by its parameters' names.
        levels: name of the layer that yields each output -> level "0" to "3" of the pyramid.
        channels: channels of these outputs.
        stages: prefixes of parameter names below ``backbone.body``, in the order in which stages may be frozen.
        published: torchvision's enumerations of weights that fit, whole networks first.
        code: Python expression that does what ``body`` does, for files that are used without segtrain; None if there is
            none.
    """

    body: Callable[[], nn.Module]
    levels: Mapping[str, str]
    channels: Sequence[int]
    stages: Sequence[Sequence[str]]
    published: Sequence[str]
    code: str | None = None


@dataclass(frozen=True)
class StockBackbone:
    """A backbone that torchvision offers as a whole Mask R-CNN only, whose heads have widths of their own.

    Attributes:
        builder: name of the whole network in ``torchvision.models``.
        stages: see `Backbone`.
        published: see `Backbone`.
    """

    builder: str
    stages: Sequence[Sequence[str]]
    published: Sequence[str]


RESNET_LEVELS = {f"layer{level + 1}": str(level) for level in range(4)}
RESNET_STAGES = (("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("layer4.",))
MOBILENET_ENDS = ((0, 2), (2, 4), (4, 7), (7, 14), (14, 19))  # blocks of each stage

BACKBONES: dict[str, Backbone | StockBackbone] = {
    "resnet50_fpn": StockBackbone(
        builder="maskrcnn_resnet50_fpn",
        stages=RESNET_STAGES,
        published=("MaskRCNN_ResNet50_FPN_Weights", "ResNet50_Weights"),
    ),
    "resnet50_fpn_v2": StockBackbone(
        builder="maskrcnn_resnet50_fpn_v2",
        stages=RESNET_STAGES,
        published=("MaskRCNN_ResNet50_FPN_V2_Weights", "ResNet50_Weights"),
    ),
    "resnet18_fpn": Backbone(
        body=lambda: torchvision.models.resnet18(weights=None),
        levels=RESNET_LEVELS,
        channels=(64, 128, 256, 512),
        stages=RESNET_STAGES,
        published=("ResNet18_Weights",),
        code="torchvision.models.resnet18(weights=None)",
    ),
    "mobilenet_v2_fpn": Backbone(
        body=lambda: torchvision.models.mobilenet_v2(weights=None).features,
        levels={"3": "0", "6": "1", "13": "2", "18": "3"},  # last block of each stride
        channels=(24, 32, 96, 1280),
        stages=tuple(tuple(f"{block}." for block in range(*ends)) for ends in MOBILENET_ENDS),
        published=("MobileNet_V2_Weights",),
        code="torchvision.models.mobilenet_v2(weights=None).features",
    ),
}


def find_backbone(architecture: str) -> Backbone | StockBackbone:
    """Look up a backbone.

    Args:
        architecture: key of `BACKBONES`.

    Raises:
        SegtrainError: there is no such key.
    """
    if architecture not in BACKBONES:
        raise SegtrainError(
            f"segmenter.architecture={architecture}: no such backbone; {nearest(architecture, list(BACKBONES))}"
        )
    return BACKBONES[architecture]
