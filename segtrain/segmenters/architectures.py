"""The networks: torchvision's Mask R-CNN on four backbones.

Each builder returns a stock ``torchvision.models.detection.MaskRCNN``; its state_dict is the format of our checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torchvision
from torch import nn
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from segtrain.errors import SegtrainError
from segtrain.segmenters.folding import freeze_batch_norms

ArchitectureName = Literal["resnet50_fpn", "resnet50_fpn_v2", "resnet18_fpn", "mobilenet_v2_fpn"]
STRIDES = (4, 8, 16, 32)  # of the pyramid levels that regions are pooled from

# Backbone stages in the order in which they may be frozen, as prefixes below ``backbone.body``.
_RESNET_STAGES = (("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("layer4.",))
_MOBILENET_STAGES = tuple(tuple(f"{i}." for i in range(*ends)) for ends in ((0, 2), (2, 4), (4, 7), (7, 14), (14, 19)))
_MOBILENET_LEVELS = {"3": "0", "6": "1", "13": "2", "18": "3"}  # last block of each stride -> pyramid level
_MOBILENET_CHANNELS = [24, 32, 96, 1280]


@dataclass(frozen=True)
class Shape:
    """The settings that decide which parameters a network has.

    Attributes:
        architecture: which builder.
        fpn_channels: width of the pyramid; 256 in torchvision's ResNet-50 networks, which have no other.
        box_head_width: of the two fully connected layers; 1024 there.
        mask_head_widths: channels of each 3x3 convolution of the mask head; [256, 256, 256, 256] there.
        anchor_sizes: side of the square anchors of each of five levels (strides 4 to 64), in pixels of the input.
        anchor_ratios: height to width of the anchors.
    """

    architecture: ArchitectureName
    fpn_channels: int
    box_head_width: int
    mask_head_widths: Sequence[int]
    anchor_sizes: Sequence[Sequence[int]]
    anchor_ratios: Sequence[float]


def build_network(
    shape: Shape, num_classes: int, *, norm: Literal["frozen", "batch"], frozen_stages: int, **settings: float
) -> StockMaskRCNN:
    """Build a stock network with random weights.

    Args:
        shape: see above.
        num_classes: categories plus one for the background.
        norm: whether normalisation layers use fixed statistics and weights ("frozen") or learn ("batch").
        frozen_stages: how many of the backbone's five stages do not learn, from the input on.
        **settings: further arguments of ``torchvision.models.detection.MaskRCNN``.

    Raises:
        SegtrainError: the settings do not fit the architecture.
    """
    if len(shape.anchor_sizes) != len(STRIDES) + 1 or len({len(s) for s in shape.anchor_sizes}) != 1:
        raise SegtrainError("segmenter.anchor_sizes: give five lists of one length, one for each pyramid level")
    anchors = AnchorGenerator(
        tuple(tuple(s) for s in shape.anchor_sizes), (tuple(shape.anchor_ratios),) * len(shape.anchor_sizes)
    )
    if shape.architecture in ("resnet50_fpn", "resnet50_fpn_v2"):
        network = _stock_resnet50(shape, num_classes, anchors, settings)
    else:
        network = _small(shape, num_classes, anchors, settings)
    if norm == "frozen":
        freeze_batch_norms(network)
    stages = _MOBILENET_STAGES if shape.architecture == "mobilenet_v2_fpn" else _RESNET_STAGES
    if not 0 <= frozen_stages <= len(stages):
        raise SegtrainError(f"segmenter.frozen_stages: {frozen_stages} is not in 0..{len(stages)}")
    for name, parameter in network.backbone.body.named_parameters():
        if any(name.startswith(stage) for stage in stages[:frozen_stages]):
            parameter.requires_grad_(False)
    return network


def _stock_resnet50(
    shape: Shape, num_classes: int, anchors: AnchorGenerator, settings: dict[str, float]
) -> StockMaskRCNN:
    fixed = (shape.fpn_channels, shape.box_head_width, list(shape.mask_head_widths))
    if fixed != (256, 1024, [256] * 4):
        raise SegtrainError(
            f"segmenter: {shape.architecture} is torchvision's own network: its fpn_channels, box_head_width and "
            "mask_head_widths are 256, 1024 and [256, 256, 256, 256]; choose mask_rcnn_resnet18_fpn for others"
        )
    builder = torchvision.models.get_model_builder(f"maskrcnn_{shape.architecture}")
    network = builder(weights=None, weights_backbone=None, num_classes=num_classes, **settings)
    network.rpn.anchor_generator = anchors
    if anchors.num_anchors_per_location()[0] != network.rpn.head.cls_logits.out_channels:
        raise SegtrainError(f"segmenter.anchor_ratios: {shape.architecture} has three anchors a location")
    return network


def _small(shape: Shape, num_classes: int, anchors: AnchorGenerator, settings: dict[str, float]) -> StockMaskRCNN:
    if shape.architecture == "resnet18_fpn":
        body: nn.Module = torchvision.models.resnet18(weights=None)
        levels = {f"layer{i + 1}": str(i) for i in range(4)}
        channels = [64, 128, 256, 512]
    else:
        body = torchvision.models.mobilenet_v2(weights=None).features
        levels, channels = _MOBILENET_LEVELS, _MOBILENET_CHANNELS
    width = shape.fpn_channels
    mask_width = shape.mask_head_widths[-1]
    return StockMaskRCNN(
        BackboneWithFPN(body, levels, channels, width),
        rpn_anchor_generator=anchors,
        box_head=TwoMLPHead(width * 7 * 7, shape.box_head_width),
        box_predictor=FastRCNNPredictor(shape.box_head_width, num_classes),
        mask_head=MaskRCNNHeads(width, list(shape.mask_head_widths), 1),
        mask_predictor=MaskRCNNPredictor(mask_width, mask_width, num_classes),
        **settings,
    )
