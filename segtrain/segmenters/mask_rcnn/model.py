"""Mask R-CNN (He et al., 2017): torchvision's modules and losses, on box crops instead of planes."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from segtrain import distributed, masks
from segtrain.device import copy_to_device
from segtrain.records import Instances
from segtrain.segmenters import MaskGrid, SegmenterInfo, Trainable
from segtrain.segmenters.anchors import AnchorLayout
from segtrain.segmenters.mask_rcnn.backbones import find_backbone
from segtrain.segmenters.mask_rcnn.frozen_bn import fold_frozen_norms
from segtrain.segmenters.mask_rcnn.ignored_regions import IgnoredRegions
from segtrain.segmenters.mask_rcnn.mask_geometry import MaskGeometry, MaskPaste, resample_through_mask_head
from segtrain.segmenters.mask_rcnn.mask_paste import THRESHOLD
from segtrain.segmenters.mask_rcnn.mask_targets import MASK_SIDE, sample_targets
from segtrain.segmenters.mask_rcnn.preprocess import InputSize, batch_images
from segtrain.segmenters.mask_rcnn.roi_align import FeaturePyramid, RoIAlignMethod
from segtrain.segmenters.mask_rcnn.rois import box_losses, sample_rois
from segtrain.segmenters.mask_rcnn.rpn import (
    CentredAnchorGenerator,
    proposal_losses,
    rpn_outputs_at,
    sample_anchors,
    select_proposals,
)
from segtrain.segmenters.mask_rcnn.weights import find_published
from segtrain.targets import Target

STRIDES = (4, 8, 16, 32)  # of the pyramid levels that regions are pooled from
ANCHOR_STRIDES = (*STRIDES, 64)  # of the levels that proposals come from
SMALLEST = 1e-2  # pixels: torchvision drops boxes with a shorter side
BOX_BINS, MASK_BINS = 7, MASK_SIDE // 2  # of RoIAlign; the mask head doubles its size
BoxSource = Literal["predicted", "mask"]
MaskScoring = Literal["mean_confidence", "none"]


def select_detections(
    class_logits: Tensor, box_deltas: Tensor, proposals: Tensor, size: tuple[int, int], heads: RoIHeads
) -> tuple[Tensor, Tensor, Tensor]:
    """Select the detections of one image, best first, as ``RoIHeads.postprocess_detections`` does.

    Boxes are decoded for scores above the threshold only, which are few of the R x K.

    Args:
        class_logits: (R, K + 1) float32 class logits, the background first.
        box_deltas: (R, 4 (K + 1)) float32 box deltas.
        proposals: (R, 4) xyxy in input pixels.
        size: (H, W) of the image in the input.
        heads: heads whose thresholds and box coder are used.

    Returns:
        Boxes (N, 4) xyxy within the image, scores (N,) and labels (N,) int64 in 1..K.
    """
    likely = F.softmax(class_logits, -1)
    region, label = torch.where(likely[:, 1:] > heads.score_thresh)
    label = label + 1
    scores = likely[region, label]
    deltas = box_deltas.reshape(*class_logits.shape, 4)[region, label]
    boxes = clip_boxes_to_image(heads.box_coder.decode_single(deltas, proposals[region]), size)
    large = remove_small_boxes(boxes, SMALLEST)
    boxes, scores, label = boxes[large], scores[large], label[large]
    kept = batched_nms(boxes, scores, label, heads.nms_thresh)[: heads.detections_per_img]
    return boxes[kept], scores[kept], label[kept]


def mask_confidence(probabilities: Tensor) -> Tensor:
    """Compute the mean probability over the cells that belong to each mask.

    Class scores rank boxes; multiplied by this they rank masks (Z. Huang et al., Mask Scoring R-CNN, 2019, learn such
    a factor; the mean needs no learning).

    Args:
        probabilities: (N, M, M) in [0, 1].

    Returns:
        (N,) in (.5, 1]; 0 where no cell exceeds .5.

    >>> mask_confidence(torch.tensor([[[0.9, 0.7], [0.2, 0.1]], [[0.3, 0.1], [0.2, 0.1]]]))
    tensor([0.8000, 0.0000])
    """
    own = probabilities > THRESHOLD
    return (probabilities * own).sum(dim=(1, 2)) / own.sum(dim=(1, 2)).clamp(min=1)


def with_boxes_of_masks(instances: Instances) -> Instances:
    """Replace predicted boxes by the tight boxes of the masks; a mask without a pixel keeps its predicted box."""
    filled = masks.area(instances.rles) > 0
    boxes = np.where(filled[:, None], masks.boxes(instances.rles), instances.boxes).astype(np.float32)
    return replace(instances, boxes=boxes, predicted_boxes=instances.boxes)


def own_class_logits(predictor: MaskRCNNPredictor, x: Tensor, labels: Tensor) -> Tensor:
    """Compute the output of torchvision's mask predictor for one class of each region, several times faster on the CPU.

    Its transposed convolution (kernel 2, stride 2) makes blocks that do not overlap: one matrix product. ReLU and the
    1x1 convolution behind it treat every cell alike, so both come before the blocks are laid out, and only the row of
    the region's class is multiplied.

    Args:
        predictor: mask predictor with weights (C, D, 2, 2) and (K, D, 1, 1).
        x: (N, C, H, W) features of the regions.
        labels: (N,) int64 class of each region, in [0, K).

    Returns:
        (N, 2 H, 2 W) logits.
    """
    count, _, height, width = x.shape
    up, last = predictor.conv5_mask, predictor.mask_fcn_logits
    channels = up.weight.shape[1]
    # Columns in the order (row in the block, column in the block, channel).
    matrix = up.weight.permute(2, 3, 1, 0).flatten(0, 2)
    blocks = predictor.relu(F.linear(x.permute(0, 2, 3, 1), matrix, up.bias.repeat(4)))
    # As embedding: the gradient of an index adds up in parallel, in an order that is never the same.
    own = F.embedding(labels, last.weight.flatten(1))
    cells = torch.bmm(blocks.reshape(count, height * width * 4, channels), own[:, :, None])
    cells = cells.reshape(count, height, width, 2, 2).permute(0, 1, 3, 2, 4).reshape(count, 2 * height, 2 * width)
    logits: Tensor = cells + last.bias[labels][:, None, None]
    return logits


class MaskRCNN(Trainable):
    """Mask R-CNN whose state_dict is torchvision's.

    In training, anchors and proposals that lie in ignored regions of a target are not taken for background.

    With ``precision`` "bf16" or "fp16", boxes, scores, mask probabilities and losses stay float32.

    Args:
        network: torchvision network, whose modules become those of this one.
        input_size: size that images are resized to.
        aligned: True if pixel i covers the span from i to i + 1 everywhere: regions are pooled at the centres of
            cells, anchors lie around them, and mask targets are means over exact areas. False for torchvision's
            conventions, half a cell off, which its published weights have learned.
        roi_align: implementation of RoIAlign, "gather", "kernel" or "auto"; see `FeaturePyramid`.
        mask_paste: conversion of mask cells to pixels, "exact" or "torchvision"; see `MaskGeometry`.
        mask_scoring: "mean_confidence" to multiply class scores by `mask_confidence`, "none" for class scores alone.
        boxes: source of the boxes of detected instances, "predicted" or "mask".

    Attributes:
        aligned: as given.
    """

    title = "Mask R-CNN"
    resume_keys = (
        "architecture", "norm", "aligned", "fpn_channels", "box_head_width", "mask_head_widths", "anchor_sizes",
        "anchor_ratios",
    )  # fmt: skip
    stride = STRIDES[0]
    takes_batches = True

    def __init__(
        self,
        network: StockMaskRCNN,
        input_size: InputSize,
        *,
        aligned: bool,
        mask_paste: MaskPaste,
        mask_scoring: MaskScoring,
        boxes: BoxSource,
        roi_align: RoIAlignMethod = "auto",
    ) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = network.backbone, network.rpn, network.roi_heads
        fold_frozen_norms(self)
        self.to(memory_format=torch.channels_last)
        self.input_size, self.aligned, self.roi_align = input_size, aligned, roi_align
        self.mask_paste, self.mask_scoring, self.box_source = mask_paste, mask_scoring, boxes
        if aligned:
            stock = self.rpn.anchor_generator
            self.rpn.anchor_generator = CentredAnchorGenerator(stock.sizes, stock.aspect_ratios, ANCHOR_STRIDES)

    @property
    def resolved_settings(self) -> dict[str, Any]:
        """See `Trainable`."""
        return {"aligned": self.aligned}

    @property
    def info(self) -> SegmenterInfo:
        """See `Trainable`."""
        redraw = partial(resample_through_mask_head, geometry=self.mask_geometry)
        return SegmenterInfo(
            technique="mask_rcnn", mask_grid=MaskGrid(MASK_SIDE, redraw, self.mask_paste, self.aligned)
        )

    @property
    def mask_geometry(self) -> MaskGeometry:
        """Places of the mask cells in an image."""
        return MaskGeometry(self.input_size, self.mask_paste, self.aligned)

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Refuse unknown backbones and weights; see `Trainable`."""
        find_backbone(settings["architecture"])
        if settings["weights"] is not None:
            find_published(settings["weights"], settings["architecture"])

    @property
    def anchors(self) -> AnchorLayout:
        """Anchors of the proposal network."""
        generator = self.rpn.anchor_generator
        return AnchorLayout(generator.sizes, generator.aspect_ratios[0], ANCHOR_STRIDES, self.aligned)

    @property
    def proposals(self) -> int:
        """Number of proposals at inference."""
        limits: Mapping[str, int] = self.rpn._post_nms_top_n  # the method tells that of the present mode only
        return limits["testing"]

    def input_scale(self, height: int, width: int) -> float:
        """See `Trainable`."""
        return self.input_size.factor(height, width)

    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Compute torchvision's five loss terms; see `Trainable`."""
        sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
        batch = batch_images(images, self.input_size, self.device, least=self._shared_size(sizes))
        boxes = [
            (target.boxes * _ratio(size, inner, target.boxes.device)).to(self.device, non_blocking=True)
            for target, size, inner in zip(targets, sizes, batch.image_sizes, strict=True)
        ]
        ignored = [
            IgnoredRegions.of(target, _ratio(size, inner, self.device)) if target.ignored_masks else None
            for target, size, inner in zip(targets, sizes, batch.image_sizes, strict=True)
        ]
        pyramid, anchors, proposals = self._propose(batch)
        losses, anchor_count = self._proposal_losses(pyramid, anchors, boxes, ignored)
        labels = [target.labels.to(self.device, non_blocking=True) for target in targets]
        regions = sample_rois(self.roi_heads, proposals, boxes, labels, ignored)
        with self.autocast():
            class_logits, box_deltas = self._box_branch(pyramid, regions.boxes)
            mask_logits = self._mask_branch(pyramid, regions.positive_boxes, regions.labels[regions.positive])
        losses |= box_losses(regions, class_logits.float(), box_deltas.float())
        truth = sample_targets(
            targets, regions.positive_boxes, regions.matched, sizes, batch.image_sizes, MASK_SIDE, aligned=self.aligned
        )
        # The mean over no region at all is not a number.
        mask_loss = F.binary_cross_entropy_with_logits(mask_logits.float(), truth, reduction="sum")
        losses["loss_mask"] = mask_loss / max(truth.numel(), 1)
        self.loss_items = {
            **dict.fromkeys(("loss_objectness", "loss_rpn_box_reg"), anchor_count),
            **dict.fromkeys(("loss_classifier", "loss_box_reg"), len(regions.labels)),
            "loss_mask": truth.numel(),
        }
        return losses

    def _shared_size(self, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Return the (H, W) that holds every resized image of the batch, those of other processes included."""
        resized = [self.input_size.resized(*size) for size in sizes]
        height, width = distributed.largest([max(side) for side in zip(*resized, strict=True)])
        return int(height), int(width)

    def segment_one(self, image: Tensor) -> Instances:
        """See `Trainable`."""
        return self._segment(image, self.input_size)

    def segment_one_at(self, image: Tensor, scale: float) -> Instances:
        """See `Trainable`."""
        return self._segment(image, InputSize(None, sys.maxsize, scale))

    def _segment(self, image: Tensor, input_size: InputSize) -> Instances:
        """Segment an image that is resized as asked."""
        height, width = int(image.shape[1]), int(image.shape[2])
        batch = batch_images([image], input_size, self.device)
        pyramid, _, proposals = self._propose(batch)
        with self.autocast():
            class_logits, box_deltas = self._box_branch(pyramid, proposals)
        boxes, scores, labels = select_detections(
            class_logits.float(), box_deltas.float(), proposals[0], batch.image_sizes[0], self.roi_heads
        )
        if not len(boxes):
            return Instances.empty((height, width))
        with self.autocast():
            mask_logits = self._mask_branch(pyramid, [boxes], labels)
        probabilities = mask_logits.float().sigmoid()
        full = len(scores) == self.roi_heads.detections_per_img
        complete_above = float(scores[-1]) if full else 0.0  # those left out have no higher class score
        if self.mask_scoring == "mean_confidence":
            scores, order = (scores * mask_confidence(probabilities)).sort(descending=True, stable=True)
            boxes, labels, probabilities = boxes[order], labels[order], probabilities[order]
        boxes = boxes * _ratio(batch.image_sizes[0], (height, width), boxes.device)
        rles = self.mask_geometry.paste(probabilities, boxes, (height, width), batch.image_sizes[0])
        columns = boxes.cpu().numpy(), labels.cpu().numpy(), scores.cpu().numpy()
        found = Instances((height, width), *columns, rles, complete_above=complete_above)
        return with_boxes_of_masks(found) if self.box_source == "mask" else found

    def _propose(self, batch: ImageList) -> tuple[FeaturePyramid, Tensor, list[Tensor]]:
        """Return the features, all anchors (A, 4), and each image's proposals (R, 4)."""
        with self.autocast():
            features = list(self.backbone(batch.tensors).values())
        # Proposals take no gradients: what the loss looks at, a few places, is computed once more for it.
        with torch.no_grad(), self.autocast():
            objectness, deltas = self.rpn.head(features)
        anchors = self._anchors(batch, features)
        proposals = select_proposals(self.rpn, objectness, deltas, anchors, batch.image_sizes)
        return FeaturePyramid(features, STRIDES, self.roi_align, self.aligned), torch.cat(anchors), proposals

    def _proposal_losses(
        self, pyramid: FeaturePyramid, anchors: Tensor, boxes: list[Tensor], ignored: list[IgnoredRegions | None]
    ) -> tuple[dict[str, Tensor], int]:
        """Return the two loss terms of the proposal network, and the number of anchors in them."""
        image, anchor, true = sample_anchors(self.rpn, anchors, boxes, ignored)
        # A context of its own: otherwise autocast reuses the head's weights that were cast without gradients.
        with self.autocast():
            logits, deltas = rpn_outputs_at(self.rpn.head, pyramid, image, anchor)
        return proposal_losses(self.rpn, logits, deltas, anchors[anchor], true), len(logits)

    def _anchors(self, batch: ImageList, features: list[Tensor]) -> list[Tensor]:
        """Return the anchors of each level, (H * W * A, 4); the same for all images of a batch."""
        first = ImageList(batch.tensors, batch.image_sizes[:1])
        # The generator takes the anchors' dtype from the features; bfloat16 has no whole numbers beyond 256.
        (anchors,) = self.rpn.anchor_generator(first, [feature[:, :1].float() for feature in features])
        per_place = self.rpn.anchor_generator.num_anchors_per_location()
        sizes = [f.shape[2] * f.shape[3] * count for f, count in zip(features, per_place, strict=True)]
        return list(anchors.split(sizes))

    def _box_branch(self, pyramid: FeaturePyramid, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        pooled = self._pool(pyramid, boxes, BOX_BINS)
        class_logits, box_deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        return class_logits, box_deltas

    def _mask_branch(self, pyramid: FeaturePyramid, boxes: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return (R, 28, 28) logits of each region's own class."""
        pooled = self._pool(pyramid, boxes, MASK_BINS)
        return own_class_logits(self.roi_heads.mask_predictor, self.roi_heads.mask_head(pooled), labels)

    def _pool(self, pyramid: FeaturePyramid, boxes: Sequence[Tensor], bins: int) -> Tensor:
        pooled = pyramid.pool(boxes, bins)
        # Autocast would do the same, but after the box head has copied all of it into another order.
        return pooled if self.product_dtype == torch.float32 else pooled.to(self.product_dtype)


def _ratio(source: Sequence[int], destination: Sequence[int], device: torch.device) -> Tensor:
    """Return the factors that take xyxy boxes from one (H, W) frame to another."""
    y, x = destination[0] / source[0], destination[1] / source[1]
    return copy_to_device([x, y, x, y], device)
