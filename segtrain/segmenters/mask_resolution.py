"""What is left of masks that pass through the mask head's small square."""

from collections.abc import Sequence

import torch
from torch import Tensor

from segtrain import masks
from segtrain.masks import Rle
from segtrain.segmenters.inputs import InputSize
from segtrain.segmenters.mask_pasting import to_rles
from segtrain.segmenters.mask_rcnn import MASK_SIDE
from segtrain.segmenters.mask_targets import sample_targets
from segtrain.targets import Target

OWN_SIZE = InputSize(min_size=None, max_size=2**31, scale=1.0)


def through_mask_head(
    rles: Sequence[Sequence[Rle]], sizes: Sequence[tuple[int, int]], input_size: InputSize = OWN_SIZE
) -> list[list[Rle]]:
    """The masks that perfect boxes, and a mask head that answers just as it is taught, would give.

    Each mask is sampled over its tight box as the mask loss samples its targets, 28 x 28, and pasted back as
    predictions are.

    Args:
        rles: the masks of each image, of one or more; one without a pixel stays empty.
        sizes: (H, W) of each image.
        input_size: what the network resizes images to: targets are sampled in that frame.
    """
    targets = [_target(own) for own in rles]
    inner = [input_size.resized(*size) for size in sizes]
    scaled = [
        target.boxes * torch.tensor([w / width, h / height] * 2)
        for target, (height, width), (h, w) in zip(targets, sizes, inner, strict=True)
    ]
    own = [torch.arange(len(target)) for target in targets]
    squares = sample_targets(targets, scaled, own, sizes, inner, MASK_SIDE)
    parts = torch.split(squares, [len(target) for target in targets])
    return [_pasted(*image) for image in zip(rles, parts, targets, sizes, strict=True)]


def _target(rles: Sequence[Rle]) -> Target:
    """Those that have a pixel."""
    crops = [found for found in map(masks.decode_crop, rles) if found[0].size]
    corners = [(x, y, x + crop.shape[1], y + crop.shape[0]) for crop, x, y in crops]
    boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    return Target(boxes, torch.ones(len(crops), dtype=torch.int64), [torch.from_numpy(crop) for crop, _, _ in crops])


def _pasted(rles: Sequence[Rle], squares: Tensor, target: Target, size: tuple[int, int]) -> list[Rle]:
    found = iter(to_rles(squares, target.boxes, size))
    return [next(found) if filled else masks.empty(size) for filled in (masks.area(rles) > 0).tolist()]
