"""Mask R-CNN (He et al., 2017): torchvision's modules and losses, on box crops instead of planes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import concat_box_prediction_layers

from segtrain.instances import Instances
from segtrain.segmenters.architectures import STRIDES
from segtrain.segmenters.detections import select_detections
from segtrain.segmenters.folding import fold_frozen_norms
from segtrain.segmenters.inputs import InputSize, batch_images
from segtrain.segmenters.mask_head import own_class_logits
from segtrain.segmenters.mask_pasting import to_rles
from segtrain.segmenters.mask_targets import sample_targets
from segtrain.segmenters.roi_align import pool_regions
from segtrain.targets import Target

BOX_BINS, MASK_BINS = 7, 14


class MaskRCNN(nn.Module):
    """A ``Segmenter`` and ``Trainable`` whose state_dict is torchvision's.

    Args:
        network: a stock network; its modules are taken over.
        input_size: what images are resized to.

    Attributes:
        precision: what matrix products and convolutions compute in; "fp32" or "bf16" (autocast; boxes, scores, mask
            probabilities and losses stay float32).
    """

    def __init__(self, network: StockMaskRCNN, input_size: InputSize) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = network.backbone, network.rpn, network.roi_heads
        fold_frozen_norms(self)
        self.to(memory_format=torch.channels_last)
        self.input_size = input_size
        self.precision = "fp32"

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """torchvision's five loss terms, float32 scalars; see ``Trainable``."""
        batch = batch_images(images, self.input_size, self.device)
        targets = [target.to(self.device) for target in targets]
        scaled: list[dict[str, Any]] = [
            {"boxes": target.boxes * _ratio(image.shape[-2:], size, target.boxes), "labels": target.labels, "masks": ()}
            for image, target, size in zip(images, targets, batch.image_sizes, strict=True)
        ]
        features, proposals, losses = self._propose(batch, scaled)
        proposals, matches, labels, box_targets = self.roi_heads.select_training_samples(proposals, scaled)
        with self._autocast():
            class_logits, box_deltas = self._box_branch(features, proposals)
        losses["loss_classifier"], losses["loss_box_reg"] = fastrcnn_loss(
            class_logits.float(), box_deltas.float(), labels, box_targets
        )
        positive = [torch.where(label > 0)[0] for label in labels]
        regions = [boxes[chosen] for boxes, chosen in zip(proposals, positive, strict=True)]
        owners = [match[chosen] for match, chosen in zip(matches, positive, strict=True)]
        classes = torch.cat([label[chosen] for label, chosen in zip(labels, positive, strict=True)])
        with self._autocast():
            mask_logits = self._mask_branch(features, regions)
        losses["loss_mask"] = _mask_loss(mask_logits.float(), classes, images, targets, batch, regions, owners)
        return losses

    def segment(self, images: Sequence[Tensor]) -> list[Instances]:
        """See ``Segmenter``. One image at a time: in a batch the padding would change the results."""
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                return [self._segment_one(image) for image in images]
        finally:
            self.train(training)

    def _segment_one(self, image: Tensor) -> Instances:
        height, width = int(image.shape[1]), int(image.shape[2])
        batch = batch_images([image], self.input_size, self.device)
        features, proposals, _ = self._propose(batch, None)
        with self._autocast():
            class_logits, box_deltas = self._box_branch(features, proposals)
        boxes, scores, labels = select_detections(
            class_logits.float(), box_deltas.float(), proposals[0], batch.image_sizes[0], self.roi_heads
        )
        if not len(boxes):
            return Instances.empty((height, width))
        with self._autocast():
            pooled = pool_regions(features[: len(STRIDES)], STRIDES, [boxes], MASK_BINS)
            logits = own_class_logits(self.roi_heads.mask_head(pooled), self.roi_heads.mask_predictor, labels)
        boxes = boxes * _ratio(batch.image_sizes[0], (height, width), boxes)
        return Instances(
            (height, width),
            boxes.cpu().numpy(),
            labels.cpu().numpy(),
            scores.cpu().numpy(),
            to_rles(logits.sigmoid(), boxes, (height, width)),
        )

    def _propose(
        self, batch: ImageList, targets: list[dict[str, Any]] | None
    ) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """torchvision's ``RegionProposalNetwork.forward``, with everything behind the head in float32."""
        with self._autocast():
            features = list(self.backbone(batch.tensors).values())
            objectness, deltas = self.rpn.head(features)
        # The generator takes the anchors' dtype from the features; bfloat16 has no whole numbers beyond 256.
        anchors = self.rpn.anchor_generator(batch, [feature[:, :1].float() for feature in features])
        per_level = [o.shape[1] * o.shape[2] * o.shape[3] for o in objectness]
        logits, regression = concat_box_prediction_layers([o.float() for o in objectness], [d.float() for d in deltas])
        decoded = self.rpn.box_coder.decode(regression.detach(), anchors).view(len(anchors), -1, 4)
        proposals, _ = self.rpn.filter_proposals(decoded, logits, batch.image_sizes, per_level)
        if targets is None:
            return features, proposals, {}
        labels, matched_boxes = self.rpn.assign_targets_to_anchors(anchors, targets)
        box_targets = self.rpn.box_coder.encode(matched_boxes, anchors)
        loss_objectness, loss_box = self.rpn.compute_loss(logits, regression, labels, box_targets)
        return features, proposals, {"loss_objectness": loss_objectness, "loss_rpn_box_reg": loss_box}

    def _box_branch(self, features: list[Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        pooled = pool_regions(features[: len(STRIDES)], STRIDES, boxes, BOX_BINS)
        class_logits, box_deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        return class_logits, box_deltas

    def _mask_branch(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        pooled = pool_regions(features[: len(STRIDES)], STRIDES, boxes, MASK_BINS)
        predictor = self.roi_heads.mask_predictor
        upsampled = predictor.relu(double_resolution(self.roi_heads.mask_head(pooled), predictor.conv5_mask))
        logits: Tensor = predictor.mask_fcn_logits(upsampled)
        return logits

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def double_resolution(x: Tensor, deconvolution: nn.ConvTranspose2d) -> Tensor:
    """A transposed convolution of kernel 2 and stride 2, as one matrix product: its output blocks do not overlap.

    Args:
        x: (N, C, H, W).
        deconvolution: with weight (C, D, 2, 2) and bias (D,).

    Returns:
        (N, D, 2 H, 2 W). Several times faster than the stock kernel on the CPU, in the backward pass above all.
    """
    n, _, height, width = x.shape
    weight, bias = deconvolution.weight, deconvolution.bias
    assert bias is not None
    channels = weight.shape[1]
    # Columns in the order (row in the block, column in the block, channel).
    matrix = weight.permute(2, 3, 1, 0).reshape(4 * channels, -1)
    blocks = F.linear(x.permute(0, 2, 3, 1), matrix, bias.repeat(4))
    blocks = blocks.reshape(n, height, width, 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def _mask_loss(
    logits: Tensor,
    classes: Tensor,
    images: Sequence[Tensor],
    targets: Sequence[Target],
    batch: ImageList,
    regions: list[Tensor],
    owners: list[Tensor],
) -> Tensor:
    """Binary cross-entropy of the true class's mask, averaged over all cells of all positive regions."""
    if not len(classes):
        return logits.sum() * 0
    expected = [
        sample_targets(
            [target.masks[i] for i in owner.tolist()],
            target.boxes[owner, :2],
            boxes,
            (int(image.shape[1]), int(image.shape[2])),
            size,
            logits.shape[-1],
        )
        for image, target, size, boxes, owner in zip(images, targets, batch.image_sizes, regions, owners, strict=True)
    ]
    own_class = logits[torch.arange(len(classes), device=classes.device), classes]
    return F.binary_cross_entropy_with_logits(own_class, torch.cat(expected))


def _ratio(source: Sequence[int], destination: Sequence[int], like: Tensor) -> Tensor:
    """Factors that take xyxy boxes from one (H, W) frame to another."""
    y, x = destination[0] / source[0], destination[1] / source[1]
    return like.new_tensor([x, y, x, y])
