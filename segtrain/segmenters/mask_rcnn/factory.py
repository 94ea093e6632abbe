"""Construction of a Mask R-CNN: its shape, its settings, and its initial weights.

`build_network` returns a stock ``torchvision.models.detection.MaskRCNN``; its state_dict is the format of checkpoints.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self

import torchvision
from msgspec import Meta
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.backbones import Backbone, StockBackbone, find_backbone
from segtrain.segmenters.mask_rcnn.frozen_bn import freeze_batch_norms
from segtrain.segmenters.mask_rcnn.mask_geometry import MaskPaste
from segtrain.segmenters.mask_rcnn.model import STRIDES, BoxSource, MaskRCNN, MaskScoring
from segtrain.segmenters.mask_rcnn.preprocess import InputSize
from segtrain.segmenters.mask_rcnn.roi_align import RoIAlignMethod
from segtrain.segmenters.mask_rcnn.weights import load_weights, trained_without_epsilon
from segtrain.values import Fraction, Overlap, Positive, PositiveFloat, TileSetting

logger = logging.getLogger(__name__)
TORCHVISION_NAMES = {  # arguments of torchvision's MaskRCNN, by the names of our settings
    "rpn_anchors_per_image": "rpn_batch_size_per_image",
    "rpn_candidates_train": "rpn_pre_nms_top_n_train",
    "rpn_candidates_test": "rpn_pre_nms_top_n_test",
    "rpn_proposals_train": "rpn_post_nms_top_n_train",
    "rpn_proposals_test": "rpn_post_nms_top_n_test",
    "rois_per_image": "box_batch_size_per_image",
    "positive_fraction": "box_positive_fraction",
    "detections_per_image": "box_detections_per_img",
    "min_score": "box_score_thresh",
    "nms_iou": "box_nms_thresh",
}


@dataclass(frozen=True)
class Shape:
    """Settings that decide which parameters a network has.

    Attributes:
        architecture: key of `BACKBONES`.
        anchor_sizes: side of the square anchors of each of five pyramid levels (strides 4 to 64), in input pixels.
        anchor_ratios: height / width of the anchors.
        fpn_channels: channels of the feature pyramid; None for a `StockBackbone`, whose widths are fixed.
        box_head_width: width of the box head's two fully connected layers; None for a `StockBackbone`.
        mask_head_widths: channels of each 3x3 convolution of the mask head; None for a `StockBackbone`.
    """

    architecture: str
    anchor_sizes: Sequence[Sequence[int]]
    anchor_ratios: Sequence[float]
    fpn_channels: int | None = None
    box_head_width: int | None = None
    mask_head_widths: Sequence[int] | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Select the settings that describe the shape from all settings of a network."""
        return cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})


def build_network(
    shape: Shape, num_classes: int, *, norm: Literal["frozen", "batch"], frozen_stages: int, **settings: float
) -> StockMaskRCNN:
    """Build a stock network with random weights.

    Args:
        shape: backbone, widths and anchors.
        num_classes: number of categories plus one for the background.
        norm: "frozen" for normalisation with fixed statistics and weights, "batch" for batch normalisation that learns.
        frozen_stages: number of the backbone's five stages that do not learn, from the input on.
        **settings: settings of `TORCHVISION_NAMES`, and further arguments of
            ``torchvision.models.detection.MaskRCNN``.

    Raises:
        SegtrainError: the settings do not fit the architecture.
    """
    if len(shape.anchor_sizes) != len(STRIDES) + 1 or len({len(sizes) for sizes in shape.anchor_sizes}) != 1:
        raise SegtrainError("segmenter.anchor_sizes: give five lists of one length, one for each pyramid level")
    anchors = AnchorGenerator(
        tuple(tuple(sizes) for sizes in shape.anchor_sizes), (tuple(shape.anchor_ratios),) * len(shape.anchor_sizes)
    )
    backbone = find_backbone(shape.architecture)
    arguments = {TORCHVISION_NAMES.get(name, name): value for name, value in settings.items()}
    if isinstance(backbone, StockBackbone):
        network = _stock(backbone, shape, num_classes, anchors, arguments)
    else:
        network = _assembled(backbone, shape, num_classes, anchors, arguments)
    if norm == "frozen":
        freeze_batch_norms(network)
    if not 0 <= frozen_stages <= len(backbone.stages):
        raise SegtrainError(f"segmenter.frozen_stages: {frozen_stages} is not in 0..{len(backbone.stages)}")
    frozen = tuple(prefix for stage in backbone.stages[:frozen_stages] for prefix in stage)
    for name, parameter in network.backbone.body.named_parameters():
        if name.startswith(frozen):
            parameter.requires_grad_(False)
    return network


def _stock(
    backbone: StockBackbone, shape: Shape, num_classes: int, anchors: AnchorGenerator, arguments: dict[str, float]
) -> StockMaskRCNN:
    for key in ("fpn_channels", "box_head_width", "mask_head_widths"):
        if getattr(shape, key) is not None:
            raise SegtrainError(
                f"segmenter.{key}: {shape.architecture} is torchvision's own network, whose widths are fixed; drop "
                "it, or choose mask_rcnn_resnet18_fpn"
            )
    builder = torchvision.models.get_model_builder(backbone.builder)
    network = builder(weights=None, weights_backbone=None, num_classes=num_classes, **arguments)
    network.rpn.anchor_generator = anchors
    if anchors.num_anchors_per_location()[0] != network.rpn.head.cls_logits.out_channels:
        raise SegtrainError(f"segmenter.anchor_ratios: {shape.architecture} has three anchors a location")
    return network


def _assembled(
    backbone: Backbone, shape: Shape, num_classes: int, anchors: AnchorGenerator, arguments: dict[str, float]
) -> StockMaskRCNN:
    width, box_width, mask_widths = shape.fpn_channels, shape.box_head_width, shape.mask_head_widths
    if width is None or box_width is None or mask_widths is None:
        raise SegtrainError(
            f"segmenter: {shape.architecture} needs fpn_channels, box_head_width and mask_head_widths; give all three"
        )
    return StockMaskRCNN(
        BackboneWithFPN(backbone.body(), dict(backbone.levels), list(backbone.channels), width),
        rpn_anchor_generator=anchors,
        box_head=TwoMLPHead(width * 7 * 7, box_width),
        box_predictor=FastRCNNPredictor(box_width, num_classes),
        mask_head=MaskRCNNHeads(width, list(mask_widths), 1),
        mask_predictor=MaskRCNNPredictor(mask_widths[-1], mask_widths[-1], num_classes),
        **arguments,
    )


def mask_rcnn(
    class_names: Sequence[str],
    *,
    architecture: str,
    weights: str | None,
    norm: Literal["auto", "frozen", "batch"],
    frozen_stages: Annotated[int, Meta(ge=0, le=5)],
    anchor_sizes: list[list[Positive]],
    anchor_ratios: Annotated[list[float], Meta(min_length=1)],
    min_size: Positive | None,
    max_size: Positive,
    scale: PositiveFloat | None,
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
    roi_align: RoIAlignMethod,
    aligned: bool | Literal["auto"],
    mask_paste: MaskPaste,
    mask_scoring: MaskScoring,
    boxes: BoxSource,
    tile: TileSetting,
    overlap: Overlap,
    fpn_channels: Positive | None = None,
    box_head_width: Positive | None = None,
    mask_head_widths: Annotated[list[Positive], Meta(min_length=1)] | None = None,
    initialise: bool = True,
) -> MaskRCNN:
    """Build Mask R-CNN for the given categories.

    Args:
        class_names: names of labels 1..K.
        architecture: backbone, a key of `BACKBONES`.
        weights: name of published weights ("COCO_V1", "IMAGENET1K_V1", ...), path of a file, or None for random
            weights.
        norm: "frozen" for fixed statistics, "batch" for those of each batch, "auto" for frozen with weights to start
            from, and batch without.
        frozen_stages: number of the backbone's five stages that do not learn, from the input on.
        anchor_sizes: side of the square anchors of each of five pyramid levels (strides 4 to 64), in input pixels.
        anchor_ratios: height / width of the anchors.
        min_size: input pixels along the shorter side of an image; None if ``scale`` is given.
        max_size: largest number of input pixels along the longer side.
        scale: input pixels per image pixel, the same for all images; None if ``min_size`` is given.
        rpn_anchors_per_image: number of anchors that the proposal loss samples.
        rpn_candidates_train: number of best anchors per pyramid level that enter suppression in training.
        rpn_candidates_test: number of best anchors per pyramid level that enter suppression at inference.
        rpn_proposals_train: number of proposals kept after suppression in training.
        rpn_proposals_test: number of proposals kept after suppression at inference.
        rois_per_image: number of regions that the box and mask losses sample.
        positive_fraction: largest share of these regions that show an object, in [0, 1].
        detections_per_image: largest number of detections that are returned.
        min_score: lowest class score of a detection that is returned, in [0, 1].
        nms_iou: IoU in [0, 1] above which the box with the lower score of two boxes of one category is dropped.
        roi_align: "gather" for weighted sums, "kernel" for torchvision's operator, "auto" for gather on the CPU and
            kernel on CUDA.
        aligned: True for pixel centres, False for torchvision's conventions (see `MaskRCNN`); "auto" for False where
            ``weights`` hold heads that have learned with those, and True otherwise. A checkpoint keeps the choice.
        mask_paste: "exact" to paste masks at the exact places of their boxes, "torchvision" to stretch them over whole
            pixels as torchvision does.
        mask_scoring: "mean_confidence" to multiply the score of a detection by the mean probability over the cells of
            its mask, "none" for the class score alone.
        boxes: "predicted" for the boxes of the box head, "mask" for the tight boxes of the pasted masks; box AP is that
            of predicted boxes in both cases.
        tile: "auto" to cut images larger than those of training and validation into windows, "off" never to, or the
            side of square windows in pixels of the image.
        overlap: least share of a window's side that neighbours have in common.
        fpn_channels: channels of the feature pyramid; None for torchvision's own networks, whose widths are fixed.
        box_head_width: width of the box head's two layers; None for torchvision's own networks.
        mask_head_widths: channels of each convolution of the mask head; None for torchvision's own networks.
        initialise: False to leave random weights, because those of a checkpoint are loaded next.

    Raises:
        SegtrainError: the settings contradict each other, or the weights cannot be downloaded or read, or do not fit.
    """
    if (min_size is None) == (scale is None):
        raise SegtrainError("segmenter: set either min_size or scale, and the other one to null")
    network = build_network(
        Shape(architecture, anchor_sizes, anchor_ratios, fpn_channels, box_head_width, mask_head_widths),
        len(class_names) + 1,
        norm="batch" if norm == "batch" or (norm == "auto" and weights is None) else "frozen",
        frozen_stages=frozen_stages,
        rpn_anchors_per_image=rpn_anchors_per_image,
        rpn_candidates_train=rpn_candidates_train,
        rpn_candidates_test=rpn_candidates_test,
        rpn_proposals_train=rpn_proposals_train,
        rpn_proposals_test=rpn_proposals_test,
        rois_per_image=rois_per_image,
        positive_fraction=positive_fraction,
        detections_per_image=detections_per_image,
        min_score=min_score,
        nms_iou=nms_iou,
    )
    report = load_weights(network, weights, architecture, class_names) if weights is not None and initialise else None
    if report is not None:
        logger.info(report.describe())
    if weights is not None and trained_without_epsilon(weights, architecture):
        # As torchvision does when it loads them.
        for module in network.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.eps = 0.0
    built = MaskRCNN(
        network,
        InputSize(min_size, max_size, scale),
        aligned=(report is None or report.aligned) if aligned == "auto" else aligned,
        roi_align=roi_align,
        mask_paste=mask_paste,
        mask_scoring=mask_scoring,
        boxes=boxes,
    )
    built.tile, built.overlap = tile, overlap
    return built
