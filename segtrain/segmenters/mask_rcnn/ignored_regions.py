"""Regions to ignore in training, in which candidates (anchors and proposals) are not taken as background."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from segtrain.targets import Target

IGNORED_SHARE = 0.5  # of a candidate's own area, as COCO compares detections with crowds at IoU .50


@dataclass(frozen=True)
class IgnoredRegions:
    """Regions of an image in which no candidate is background.

    Attributes:
        boxes: (M, 4) xyxy tight box of each region, in input pixels.
        extent: (4,) xyxy box of all regions, in input pixels.
        sums: (h + 1, w + 1) float64, integral image: the number of pixels of the regions above and left of each corner
            of a pixel, within ``extent``.
    """

    boxes: Tensor
    extent: Tensor
    sums: Tensor

    @classmethod
    def of(cls, target: Target, ratio: Tensor) -> "IgnoredRegions":
        """Prepare the regions of a target.

        Args:
            target: target with at least one ignored region.
            ratio: (4,) factors from xyxy in the image's pixels to input pixels, on the device to compute on.
        """
        corner, end = target.ignored_boxes[:, :2].amin(dim=0), target.ignored_boxes[:, 2:].amax(dim=0)
        (x, y), (width, height) = corner.int().tolist(), (end - corner).int().tolist()
        union = torch.zeros(height, width, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(target.ignored_masks, target.ignored_boxes.int().tolist(), strict=True):
            union[y0 - y : y1 - y, x0 - x : x1 - x] |= mask > 0
        # On the CPU: the sums of millions of pixels are exact there, whatever the device.
        sums = F.pad(union.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
        boxes = target.ignored_boxes.to(ratio.device, non_blocking=True) * ratio
        extent = torch.cat([corner, end]).to(ratio.device, non_blocking=True) * ratio
        return cls(boxes, extent, sums.to(ratio.device, non_blocking=True))

    def shares(self, boxes: Tensor) -> Tensor:
        """Compute the share of each box's area that lies in the regions' masks.

        Args:
            boxes: (N, 4) xyxy in input pixels; they may reach outside of the image, where there are no regions.

        Returns:
            (N,) float64 in [0, 1]; 0 for a box without area.
        """
        height, width = (side - 1 for side in self.sums.shape)
        x0, y0, x1, y1 = self.extent.double()
        x = ((boxes[:, 0::2].double() - x0) * (width / (x1 - x0))).clamp(0, width)
        y = ((boxes[:, 1::2].double() - y0) * (height / (y1 - y0))).clamp(0, height)
        (left, right), (top, bottom) = x.T, y.T
        shared = self._inside(right, bottom) - self._inside(left, bottom)
        shared += self._inside(left, top) - self._inside(right, top)
        pixels = (x1 - x0) * (y1 - y0) / (height * width)  # input pixels of one of the image's pixels
        sides = (boxes[:, 2:] - boxes[:, :2]).double()
        area = sides[:, 0] * sides[:, 1]
        return torch.where(area > 0, shared * pixels / area, 0.0)

    def hold(self, boxes: Tensor, matched: float) -> Tensor:
        """Find the boxes that cannot be taken as background, because they may show an object of a region.

        Half of such a box lies in the regions' masks, or its IoU with the tight box of one region is at least
        ``matched``: a region may be a single object, whose mask covers less than half of its box.

        Args:
            boxes: (N, 4) xyxy in input pixels.
            matched: IoU with an object, in [0, 1], from which a candidate is not background.

        Returns:
            (N,) bool, true for these boxes.
        """
        found = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        near = torch.where(((boxes[:, :2] < self.extent[2:]) & (boxes[:, 2:] > self.extent[:2])).all(dim=1))[0]
        own = boxes[near]
        found[near] = (self.shares(own) >= IGNORED_SHARE) | (box_iou(own, self.boxes) >= matched).any(dim=1)
        return found

    def _inside(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the area of the masks above and left of points, in pixels of the image within ``extent``.

        Between the corners of a pixel it is linear in either direction, since the mask is constant there.
        """
        height, width = (side - 1 for side in self.sums.shape)
        column, row = x.long().clamp(max=width - 1), y.long().clamp(max=height - 1)
        right, down = x - column, y - row
        above = self.sums[row, column].lerp(self.sums[row, column + 1], right)
        return above.lerp(self.sums[row + 1, column].lerp(self.sums[row + 1, column + 1], right), down)


def leave_out_ignored(labels: Tensor, candidates: Tensor, regions: IgnoredRegions | None, matched: float) -> Tensor:
    """Exclude the candidates in ignored regions from the background.

    Args:
        labels: (N,) positive for objects, 0 for background, negative for candidates that are not drawn.
        candidates: (N, 4) xyxy in input pixels.
        regions: regions of the image; None without any.
        matched: IoU with an object, in [0, 1], from which a candidate is not background.

    Returns:
        (N,) labels, -1 instead of 0 for these candidates.
    """
    if regions is None:
        return labels
    return torch.where((labels == 0) & regions.hold(candidates, matched), -1, labels)
