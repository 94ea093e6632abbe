"""Makes a segmenter of a function that labels regions."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from segtrain import masks
from segtrain.errors import SegtrainError
from segtrain.records import Instances
from segtrain.segmenters import scoring
from segtrain.segmenters.regions import FloatArray, LabelMap, drop_small


class Classical:
    """A segmenter without training: a labelling function and a score.

    Args:
        method: from float32 RGB (H, W, 3) in [0, 1] to a label map (H, W), 0 for background.
        score: ``contrast`` or ``constant`` (``segtrain.segmenters.scoring``).
        min_area: regions of fewer pixels are dropped.
        description: one sentence for the report.
        family: ``literal`` follows a textbook line as it stands, ``sound`` mends it, ``tuned`` was searched for; None:
            none of these.

    Raises:
        SegtrainError: the score or the family is none of these.
    """

    def __init__(
        self,
        method: Callable[[FloatArray], LabelMap],
        score: str,
        min_area: int,
        description: str,
        family: str | None,
    ) -> None:
        if score not in ("contrast", "constant"):
            raise SegtrainError(f"score '{score}' is unknown; use contrast or constant")
        if family not in ("literal", "sound", "tuned", None):
            raise SegtrainError(f"family '{family}' is unknown; use literal, sound, tuned or null")
        self.method = method
        self.score = score
        self.min_area = min_area
        self.description = description
        self.family = family

    def segment(self, images: Sequence[Tensor]) -> list[Instances]:
        """Segment uint8 RGB tensors (3, H, W); labels are all 0, for no category."""
        return [self._segment(image) for image in images]

    def _segment(self, image: Tensor) -> Instances:
        rgb = image.permute(1, 2, 0).cpu().numpy().astype(np.float32) / np.float32(255)
        labels = drop_small(self.method(rgb), self.min_area)
        scores = (scoring.contrast if self.score == "contrast" else scoring.constant)(rgb, labels)
        order = np.argsort(-scores, kind="stable")
        encoded = masks.encode_labels(labels)
        rles = [encoded[index] for index in order]
        return Instances(
            size=labels.shape,
            boxes=masks.boxes(rles).astype(np.float32),
            labels=np.zeros(len(rles), dtype=np.int64),
            scores=scores[order],
            rles=rles,
        )
