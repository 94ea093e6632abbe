"""Balanced sampling: draws with a fixed share of positives, for all images of a batch at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from segtrain.device import copy_to_device

Places = tuple[Tensor, Tensor]  # (N,) image of the batch, (N,) position within it


@dataclass(frozen=True)
class BalancedSample:
    """Drawn samples, sorted by image and position.

    Attributes:
        objects: image and position of the P drawn objects.
        background: image and position of the Q drawn background samples.
        object_counts: number of drawn objects in each image.
        counts: number of draws in each image.
    """

    objects: Places
    background: Places
    object_counts: list[int]
    counts: list[int]


def sample_balanced(labels: Tensor, count: int, positive_fraction: float) -> BalancedSample:
    """Draw as torchvision's ``BalancedPositiveNegativeSampler`` does, from torch's generator of the device.

    The same seed gives the same draws. The host waits for the device three times a batch, torchvision's several times
    an image.

    Args:
        labels: (B, N) labels, positive for objects, 0 for background, negative for candidates that are not drawn.
        count: largest number of draws per image.
        positive_fraction: largest share of objects among them, in [0, 1].
    """
    kinds = labels > 0, labels == 0
    available = torch.stack([kind.sum(dim=1) for kind in kinds], dim=1).tolist()
    drawn: tuple[list[Tensor], list[Tensor]] = ([], [])
    first = [0, 0]
    wanted = []
    for objects, background in available:
        object_count = min(objects, int(count * positive_fraction))
        wanted.append((object_count, min(background, count - object_count)))
        for kind, (number, share) in enumerate(zip((objects, background), wanted[-1], strict=True)):
            drawn[kind].append(torch.randperm(number, device=labels.device)[:share] + first[kind])
            first[kind] += number
    places: list[Places] = []
    for mask, parts in zip(kinds, drawn, strict=True):
        image, place = torch.where(mask)
        chosen = torch.cat(parts).sort().values
        places.append((image[chosen], place[chosen]))
    return BalancedSample(places[0], places[1], [pair[0] for pair in wanted], [sum(pair) for pair in wanted])


def boxes_of(objects: Places, matched: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Gather the true boxes of drawn objects.

    Args:
        objects: image and position of P drawn objects.
        matched: (P,) index of the true box within its image.
        boxes: true boxes of each image, (G, 4).

    Returns:
        (P, 4) boxes.
    """
    first = copy_to_device([0, *accumulate(len(true) for true in boxes)], matched.device)
    return torch.cat(list(boxes))[first[objects[0]] + matched]
