"""Mask R-CNN as one function of an image, written so that torch can trace it for images of every size."""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.ops import nms, roi_align

from segtrain.segmenters.mask_rcnn.model import (
    ANCHOR_STRIDES,
    BOX_BINS,
    MASK_BINS,
    SMALLEST,
    STRIDES,
    MaskScoring,
    mask_confidence,
    own_class_logits,
)
from segtrain.segmenters.mask_rcnn.preprocess import DEVIATION, DIVISOR, MEAN, InputSize
from segtrain.segmenters.mask_rcnn.roi_align import SAMPLES_PER_AXIS, assign_levels
from segtrain.segmenters.mask_rcnn.rpn import CentredAnchorGenerator


class TraceableMaskRCNN(nn.Module):
    """Network that takes one image and returns its detections as tensors, equal to those of `MaskRCNN`.

    No step depends on values in Python, so that ``torch.export`` follows all of them: sizes of images and numbers of
    detections are symbols. Equal scores may come in another order.

    Args:
        network: torchvision network with its weights, whose modules become those of this one.
        input_size: size that images are resized to.
        aligned: see `MaskRCNN`.
        mask_scoring: see `MaskRCNN`.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, network: StockMaskRCNN, input_size: InputSize, *, aligned: bool, mask_scoring: MaskScoring
    ) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = network.backbone, network.rpn, network.roi_heads
        self.input_size, self.aligned, self.mask_scoring = input_size, aligned, mask_scoring
        stock = self.rpn.anchor_generator
        self.anchors = CentredAnchorGenerator(stock.sizes, stock.aspect_ratios, ANCHOR_STRIDES) if aligned else stock
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Segment an image.

        Args:
            image: uint8 RGB (H, W, 3).

        Returns:
            Boxes (N, 4) xyxy in pixels of the image, labels (N,) int64 in 1..K, scores (N,) and masks (N, 28, 28), the
            probability in each cell of the box; best first.
        """
        height, width = image.shape[0], image.shape[1]
        inner = self._resized(height, width)
        features = list(self.backbone(self._batch(image, inner)).values())
        proposals = self._proposals(features, inner)
        pooled = self._pool(features, proposals, BOX_BINS)
        class_logits, box_deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        boxes, labels, scores = self._detections(class_logits, box_deltas, proposals, inner)
        hidden = self.roi_heads.mask_head(self._pool(features, boxes, MASK_BINS))
        masks = own_class_logits(self.roi_heads.mask_predictor, hidden, labels).sigmoid()
        if self.mask_scoring == "mean_confidence":
            scores, order = (scores * mask_confidence(masks)).topk(scores.shape[0])
            boxes, labels, masks = boxes[order], labels[order], masks[order]
        to_image = [torch.scalar_tensor(width) / inner[1], torch.scalar_tensor(height) / inner[0]]
        return boxes * torch.stack(to_image * 2), labels, scores, masks

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the (H, W) of the input; as `InputSize.resized`, which compares numbers where this keeps symbols."""
        size = self.input_size
        wanted: Any = size.scale if size.min_size is None else size.min_size / torch.sym_min(height, width)
        factor = torch.sym_min(wanted, size.max_size / torch.sym_max(height, width))
        resized = (torch.sym_max(torch.sym_int(side * factor), 1) for side in (height, width))
        return cast("tuple[int, int]", tuple(resized))

    def _batch(self, image: Tensor, inner: tuple[int, int]) -> Tensor:
        """Normalise, resize and pad; see `batch_images`."""
        normal = image.permute(2, 0, 1)[None].float().div(255).sub(self.mean).div(self.deviation)
        resized = F.interpolate(normal, size=inner, mode="bilinear", align_corners=False)
        # Rounded up without a negative number, whose quotient ONNX would round towards 0.
        bottom, right = ((side + DIVISOR - 1) // DIVISOR * DIVISOR - side for side in inner)
        return F.pad(resized, (0, right, 0, bottom))

    def _proposals(self, features: Sequence[Tensor], inner: tuple[int, int]) -> Tensor:
        """Return the proposals (R, 4) in input pixels, best first; see `select_proposals`."""
        objectness, deltas = self.rpn.head(features)
        found = []
        for logits, offsets, anchors in zip(objectness, deltas, self._anchors(features), strict=True):
            flat = logits.permute(0, 2, 3, 1).flatten()
            best, place = flat.topk(torch.sym_min(self.rpn.pre_nms_top_n(), flat.shape[0]))
            own = offsets.permute(0, 2, 3, 1).reshape(-1, 4)[place]
            boxes = _clip(self.rpn.box_coder.decode_single(own, anchors[place]), inner)
            scores = best.sigmoid()
            large = _sides(boxes).amin(dim=1) >= self.rpn.min_size
            usable = torch.where(large & (scores >= self.rpn.score_thresh))[0]
            boxes, scores = boxes[usable], scores[usable]
            kept = _suppress(boxes, scores, self.rpn.nms_thresh)
            found.append((boxes[kept], scores[kept]))
        all_boxes, all_scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        return all_boxes[all_scores.topk(torch.sym_min(self.rpn.post_nms_top_n(), all_scores.shape[0]))[1]]

    def _anchors(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the anchors of each level, (H * W * A, 4)."""
        sizes = [feature.shape[-2:] for feature in features]
        # As torchvision finds them; where a map is rounded up, this is less than the stride.
        strides = [[STRIDES[0] * sizes[0][axis] // size[axis] for axis in (0, 1)] for size in sizes]
        return cast("list[Tensor]", self.anchors.grid_anchors(sizes, strides))

    def _pool(self, features: Sequence[Tensor], boxes: Tensor, bins: int) -> Tensor:
        """Pool each box from the level that fits its size, (R, C, bins, bins); see `FeaturePyramid`."""
        level = assign_levels(boxes, STRIDES)
        pooled, places = [], []
        for number, (feature, stride) in enumerate(zip(features, STRIDES, strict=False)):
            place = torch.where(level == number)[0]
            rois = F.pad(boxes[place], (1, 0))
            pooled.append(roi_align(feature, rois, bins, 1 / stride, SAMPLES_PER_AXIS, self.aligned))
            places.append(place)
        return torch.cat(pooled)[torch.cat(places).argsort()]

    def _detections(
        self, class_logits: Tensor, box_deltas: Tensor, proposals: Tensor, inner: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (N, 4) in input pixels, labels and scores, best first; see `select_detections`."""
        heads = self.roi_heads
        likely = F.softmax(class_logits, -1)
        region, label = torch.where(likely[:, 1:] > heads.score_thresh)
        label = label + 1
        place = region * likely.shape[1] + label
        scores, deltas = likely.flatten()[place], box_deltas.reshape(-1, 4)[place]
        boxes = _clip(heads.box_coder.decode_single(deltas, proposals[region]), inner)
        large = torch.where(_sides(boxes).amin(dim=1) >= SMALLEST)[0]
        boxes, scores, label = boxes[large], scores[large], label[large]
        # Boxes of different labels are moved apart, so that one call treats each label by itself.
        width_of_label = cast("int", torch.sym_max(*inner)) + 1
        apart = boxes + (label * width_of_label)[:, None]
        kept = _suppress(apart, scores, heads.nms_thresh)[: heads.detections_per_img]
        return boxes[kept], label[kept], scores[kept]


def _sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2]


def _clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut boxes (N, 4) xyxy at the borders of an image of this (H, W)."""
    x0, y0, x1, y1 = boxes.unbind(1)
    height, width = size
    return torch.stack([x0.clamp(0, width), y0.clamp(0, height), x1.clamp(0, width), y1.clamp(0, height)], dim=1)


def _suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Suppress overlapping boxes, and return the indices of the others, best first.

    What torchvision declares about its operator when it is traced holds from two kept boxes on, so two are added that
    lie apart from all others and come last.
    """
    two = boxes.new_tensor([[-4.0, -4.0, -3.0, -3.0], [-2.0, -2.0, -1.0, -1.0]])
    kept: Tensor = nms(torch.cat([boxes, two]), torch.cat([scores, two[:, 0]]), threshold)[:-2]
    return kept
