"""From settings to a Mask R-CNN with its weights loaded."""

import logging
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta
from torchvision.ops import FrozenBatchNorm2d

from segtrain.errors import SegtrainError
from segtrain.segmenters.architectures import ArchitectureName, Shape, build_network
from segtrain.segmenters.inputs import InputSize
from segtrain.segmenters.mask_rcnn import MaskRCNN
from segtrain.segmenters.roi_align import Method
from segtrain.segmenters.weight_files import trained_without_epsilon
from segtrain.segmenters.weights import load_weights

logger = logging.getLogger(__name__)

Positive = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0, le=1)]


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
