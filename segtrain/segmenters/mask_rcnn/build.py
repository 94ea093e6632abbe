"""Construction of a Mask R-CNN: its four backbones, its settings, and its weights.

Each builder returns a stock ``torchvision.models.detection.MaskRCNN``; its state_dict is the format of our checkpoints.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torchvision
from msgspec import Meta
from torch import nn
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.frozen_bn import freeze_batch_norms
from segtrain.segmenters.mask_rcnn.model import STRIDES, MaskRCNN
from segtrain.segmenters.mask_rcnn.preprocess import InputSize
from segtrain.segmenters.mask_rcnn.roi_align import Method
from segtrain.segmenters.mask_rcnn.weights import load_weights, trained_without_epsilon

ArchitectureName = Literal["resnet50_fpn", "resnet50_fpn_v2", "resnet18_fpn", "mobilenet_v2_fpn"]
# Backbone stages in the order in which they may be frozen, as prefixes below ``backbone.body``.
_RESNET_STAGES = (("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("layer4.",))
_MOBILENET_STAGES = tuple(tuple(f"{i}." for i in range(*ends)) for ends in ((0, 2), (2, 4), (4, 7), (7, 14), (14, 19)))
_MOBILENET_LEVELS = {"3": "0", "6": "1", "13": "2", "18": "3"}  # last block of each stride -> pyramid level
_MOBILENET_CHANNELS = [24, 32, 96, 1280]
logger = logging.getLogger(__name__)
Positive = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0, le=1)]


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


def mask_rcnn(
    class_names: Sequence[str],
    *,
    architecture: ArchitectureName,
    weights: str | None,
    norm: Literal["auto", "frozen", "batch"],
    frozen_stages: Annotated[int, Meta(ge=0, le=5)],
    fpn_channels: Positive,
    box_head_width: Positive,
    mask_head_widths: Annotated[list[Positive], Meta(min_length=1)],
    anchor_sizes: list[list[Positive]],
    anchor_ratios: Annotated[list[float], Meta(min_length=1)],
    min_size: Positive | None,
    max_size: Positive,
    scale: Annotated[float, Meta(gt=0)] | None,
    rpn_anchors_per_image: Positive,
    rpn_candidates_train: Positive,
    rpn_candidates_test: Positive,
    rpn_proposals_train: Positive,
    rpn_proposals_test: Positive,
    rois_per_image: Positive,
    positive_fraction: Fraction,
    detections_per_image: Positive,
    min_score: Fraction,
    nms_iou: Fraction,
    roi_align: Method,
    initialise: bool = True,
) -> MaskRCNN:
    """Build Mask R-CNN for the given categories.

    Args:
        class_names: of labels 1..K.
        architecture: the network; see ``Shape`` for its widths and anchors.
        weights: a published name (COCO_V1, IMAGENET1K_V1, ...), a file, or None for random weights.
        norm: "frozen" statistics, "batch" statistics, or "auto": frozen if there are weights to start from.
        frozen_stages: backbone stages that do not learn, from the input on.
        fpn_channels: see ``Shape``.
        box_head_width: see ``Shape``.
        mask_head_widths: see ``Shape``.
        anchor_sizes: see ``Shape``.
        anchor_ratios: see ``Shape``.
        min_size: see ``InputSize``; this or ``scale``, the other one None.
        max_size: see ``InputSize``.
        scale: see ``InputSize``.
        rpn_anchors_per_image: anchors that the proposal loss samples.
        rpn_candidates_train: best anchors of each level that enter suppression, in training.
        rpn_candidates_test: the same at inference.
        rpn_proposals_train: proposals kept after suppression, in training.
        rpn_proposals_test: the same at inference.
        rois_per_image: regions that the box and mask losses sample.
        positive_fraction: at most this share of them shows objects.
        detections_per_image: at most this many are returned.
        min_score: weaker detections are not returned.
        nms_iou: of two boxes of one category that overlap more, the weaker is dropped.
        roi_align: "gather", "kernel" or "auto"; see ``Pyramid``.
        initialise: False leaves the weights random although ``weights`` names some: a checkpoint is about to be loaded.

    Raises:
        SegtrainError: the settings contradict each other, or the weights cannot be had or do not fit.
    """
    if (min_size is None) == (scale is None):
        raise SegtrainError("segmenter: set either min_size or scale, and the other one to null")
    network = build_network(
        Shape(architecture, fpn_channels, box_head_width, mask_head_widths, anchor_sizes, anchor_ratios),
        len(class_names) + 1,
        norm="batch" if norm == "batch" or (norm == "auto" and weights is None) else "frozen",
        frozen_stages=frozen_stages,
        rpn_batch_size_per_image=rpn_anchors_per_image,
        rpn_pre_nms_top_n_train=rpn_candidates_train,
        rpn_pre_nms_top_n_test=rpn_candidates_test,
        rpn_post_nms_top_n_train=rpn_proposals_train,
        rpn_post_nms_top_n_test=rpn_proposals_test,
        box_batch_size_per_image=rois_per_image,
        box_positive_fraction=positive_fraction,
        box_detections_per_img=detections_per_image,
        box_score_thresh=min_score,
        box_nms_thresh=nms_iou,
    )
    if weights is not None and initialise:
        logger.info(load_weights(network, weights, architecture, class_names).describe())
    if weights is not None and trained_without_epsilon(weights, architecture):
        # As torchvision does when it loads them.
        for module in network.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.eps = 0.0
    return MaskRCNN(network, InputSize(min_size, max_size, scale), roi_align)
