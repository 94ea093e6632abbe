"""Training targets: boxes, labels and masks of the objects of one image, as tensors.

In a module of their own, so that commands which only read data, such as ``segtrain check``, start without torch.
"""

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Target:
    """True objects of one training image, and its regions to ignore.

    The pixels of such a region (a crowd, or an object without a mask) are neither an object nor background.

    Attributes:
        boxes: (N, 4) float32, xyxy in pixels, whole numbers: the tight box of each mask.
        labels: (N,) int64, 1..K.
        masks: N uint8 tensors (h, w) of 0 and 1, each mask cropped to its box.
        ignored_boxes: (M, 4) float32, xyxy in pixels, whole numbers: the tight box of each region.
        ignored_masks: M uint8 tensors (h, w) of 0 and 1, each region cropped to its box.

    Raises:
        ValueError: the fields do not fit together.

    >>> mask = torch.ones(2, 3, dtype=torch.uint8)
    >>> len(Target(torch.tensor([[4.0, 5.0, 7.0, 7.0]]), torch.tensor([1]), [mask]))
    1
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    masks: list[torch.Tensor]
    ignored_boxes: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    ignored_masks: list[torch.Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.masks)
        if self.ignored_boxes.shape != (len(self.ignored_masks), 4):
            raise ValueError(f"{len(self.ignored_masks)} ignored masks with boxes {tuple(self.ignored_boxes.shape)}")
        if self.boxes.shape != (count, 4) or self.labels.shape != (count,):
            raise ValueError(
                f"{count} masks with boxes {tuple(self.boxes.shape)} and labels {tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.masks)

    @classmethod
    def empty(cls) -> "Target":
        """Return the target of an image without objects."""
        return cls(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), [])
