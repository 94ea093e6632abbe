"""From the box head's outputs to an image's detections: torchvision's rules, on the few boxes that can become one."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

SMALLEST = 1e-2  # pixels: torchvision drops boxes with a shorter side


def select_detections(
    class_logits: Tensor, box_deltas: Tensor, proposals: Tensor, size: tuple[int, int], heads: RoIHeads
) -> tuple[Tensor, Tensor, Tensor]:
    """What is found in one image, best first; equal to ``RoIHeads.postprocess_detections``.

    Scores decide before boxes are made: of the R x K boxes that the head describes, hardly any is likely enough.

    Args:
        class_logits: (R, K + 1) float32, the background first.
        box_deltas: (R, 4 (K + 1)) float32.
        proposals: (R, 4) xyxy in pixels of the input.
        size: (H, W) of the image in the input.
        heads: whose thresholds and box coder hold.

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
