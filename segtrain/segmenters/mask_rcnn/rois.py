"""Regions of interest in training: their sampling, and the losses of the box head."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import box_iou

from segtrain.segmenters.mask_rcnn.balanced_sampling import boxes_of, sample_balanced
from segtrain.segmenters.mask_rcnn.ignored_regions import IgnoredRegions, leave_out_ignored


@dataclass(frozen=True)
class SampledRoIs:
    """S sampled regions of B images, P of which show an object.

    Attributes:
        boxes: regions of each image, (R, 4) xyxy in input pixels, those that show an object first.
        labels: (S,) int64 labels of all regions, 0 for background.
        positive: (P,) indices of the regions that show an object.
        box_targets: (P, 4) deltas from these regions to their true boxes, encoded by the heads' box coder.
        positive_boxes: regions of each image that show an object, (P', 4) xyxy.
        matched: index of the object that each of these regions shows, (P',) for each image.
    """

    boxes: Sequence[Tensor]
    labels: Tensor
    positive: Tensor
    box_targets: Tensor
    positive_boxes: Sequence[Tensor]
    matched: Sequence[Tensor]


def sample_rois(
    heads: RoIHeads,
    proposals: Sequence[Tensor],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    ignored: Sequence[IgnoredRegions | None],
) -> SampledRoIs:
    """Sample regions as torchvision's ``select_training_samples`` does, for all images at once.

    The same seed gives the same regions.

    Args:
        heads: heads whose sampler, matching thresholds and box coder are used.
        proposals: proposals of each image, (R, 4) xyxy; the true boxes are added to them.
        boxes: true boxes of each image, (G, 4) xyxy.
        labels: labels of each image's objects, (G,) int64 in 1..K.
        ignored: regions of each image where no candidate is background; None without any.
    """
    candidates = [torch.cat(pair) for pair in zip(proposals, boxes, strict=True)]
    matches = [_match(heads, *image) for image in zip(candidates, boxes, labels, ignored, strict=True)]
    padded = pad_sequence([label for label, _ in matches], batch_first=True, padding_value=-1)
    sampler = heads.fg_bg_sampler
    draws = sample_balanced(padded, sampler.batch_size_per_image, sampler.positive_fraction)
    image, place = (torch.cat(pair) for pair in zip(draws.objects, draws.background, strict=True))
    order = image.argsort(stable=True)
    image, place = image[order], place[order]
    all_boxes = pad_sequence(candidates, batch_first=True)[image, place]

    positive = torch.where(order < len(draws.objects[0]))[0]
    matched = pad_sequence([owner for _, owner in matches], batch_first=True)[draws.objects]
    return SampledRoIs(
        torch.split(all_boxes, draws.counts),
        padded[image, place],
        positive,
        heads.box_coder.encode_single(boxes_of(draws.objects, matched, boxes), all_boxes[positive]),
        torch.split(all_boxes[positive], draws.object_counts),
        torch.split(matched, draws.object_counts),
    )


def box_losses(regions: SampledRoIs, class_logits: Tensor, box_deltas: Tensor) -> dict[str, Tensor]:
    """Compute torchvision's ``fastrcnn_loss``; 0 if there is no region.

    Args:
        regions: S sampled regions.
        class_logits: (S, K + 1) float32 class logits, the background first.
        box_deltas: (S, 4 (K + 1)) float32 box deltas.
    """
    count, classes = class_logits.shape
    deltas = box_deltas.reshape(count, classes, 4)[regions.positive, regions.labels[regions.positive]]
    return {
        "loss_classifier": F.cross_entropy(class_logits, regions.labels, reduction="sum") / max(count, 1),
        "loss_box_reg": F.smooth_l1_loss(deltas, regions.box_targets, beta=1 / 9, reduction="sum") / max(count, 1),
    }


def _match(
    heads: RoIHeads, candidates: Tensor, boxes: Tensor, labels: Tensor, ignored: IgnoredRegions | None
) -> tuple[Tensor, Tensor]:
    """Return the label of each candidate, 0 for background and -1 for neither, and the true box it overlaps most."""
    matcher = heads.proposal_matcher
    if not len(boxes):
        nothing = torch.zeros(len(candidates), dtype=torch.int64, device=candidates.device)
        return leave_out_ignored(nothing, candidates, ignored, matcher.low_threshold), nothing
    overlap, owner = box_iou(boxes, candidates).max(dim=0)
    label = torch.where(overlap < matcher.low_threshold, 0, -1)
    label = torch.where(overlap >= matcher.high_threshold, labels[owner], label)
    return leave_out_ignored(label, candidates, ignored, matcher.low_threshold), owner
