"""Validation in training: the benchmark's own path, reduced to the numbers worth a curve."""

from collections.abc import Callable, Sequence

from segtrain.data.loader import evaluation_images
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import Findings, Reference, predict, score
from segtrain.segmenters.mask_rcnn.model import MaskRCNN

KEYS: Sequence[str] = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap", "miou", "f1_50")
Show = Callable[[int, Findings], None]  # (step, what was found)


class Validation:
    """Scores a segmenter on a split, class-aware.

    Args:
        split: with images, all of which can be read.
        max_dets: detections per image and category that AP uses.
        score_threshold: operating point of mIoU and F1.
        show: draws what was found.

    Raises:
        SegtrainError: the split has no images.
    """

    def __init__(self, split: Split, max_dets: int, score_threshold: float, show: Show) -> None:
        if split.images is None:
            raise SegtrainError("data.val_images is null; name the folder of the validation images")
        self._index, self._images = split.index, split.images
        self._reference = Reference.of(split.index)
        self._max_dets, self._score_threshold, self._show = max_dets, score_threshold, show

    def __call__(self, segmenter: MaskRCNN, step: int) -> dict[str, float]:
        """The numbers of the segmenter's current weights, by the names of ``results.json``; undefined ones are nan."""
        images = evaluation_images(self._index, self._images)
        found = predict(segmenter, images, self._reference.categories, self._score_threshold)
        self._show(step, found)
        track = score(found, self._reference, self._max_dets, ["class_aware"])["class_aware"]
        assert track is not None
        return {key: track[key] for key in KEYS}
