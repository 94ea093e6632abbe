"""A fixed set of validation images, drawn at every validation."""

from segtrain.data.splits import Split
from segtrain.evaluation import Findings
from segtrain.reporting.tensorboard import RunJournal


class Watch:
    """Draws what a segmenter found in the same images each time.

    Args:
        journal: where the pictures go.
        split: with images.
        count: how many images; spread evenly over the split.
    """

    def __init__(self, journal: RunJournal, split: Split, count: int) -> None:
        self._journal = journal
        self._split = split
        images = split.index.images
        self._watched = images[:: max(1, len(images) // count)][:count] if count else []

    def __call__(self, step: int, found: Findings) -> None:
        """Draw the detections at the operating point beside the ground truth."""
        assert self._split.images is not None
        for image in self._watched:
            own = [p for p in found.masks or () if p["image_id"] == image.id and p["score"] >= found.score_threshold]
            pixels = self._split.images.read(image)
            self._journal.comparison(step, image.file_name, pixels, self._split.index.truths(image.id), own)
