"""Network of a checkpoint, with what an exported file says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segtrain
from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.mask_geometry import MaskGeometry
from segtrain.segmenters.mask_rcnn.preprocess import DEVIATION, MEAN
from segtrain.segmenters.mask_rcnn.stock_network import input_size
from segtrain.training.checkpoint import Checkpoint, load_checkpoint, segmenter_node
from segtrain.training.checkpoint_paths import checkpoint_file

FACTORY = "segtrain.segmenters.mask_rcnn.factory.mask_rcnn"


@dataclass(frozen=True)
class TrainedNetwork:
    """Mask R-CNN of a checkpoint.

    Attributes:
        path: path of the checkpoint.
        checkpoint: its content.
        settings: settings of the network, with the largest number of detections.
    """

    path: Path
    checkpoint: Checkpoint
    settings: Mapping[str, Any]

    @classmethod
    def load(cls, path: str | Path, max_dets: int | None = None, trust: Sequence[str] = ()) -> "TrainedNetwork":
        """Load a network.

        Args:
            path: a run's folder, whose best checkpoint is taken, or a checkpoint.
            max_dets: largest number of detections of an image; None for that of the training.
            trust: packages beside segtrain whose code the checkpoint may name.

        Raises:
            SegtrainError: there is no checkpoint, it cannot be read, or its network is no Mask R-CNN of segtrain.
        """
        file = checkpoint_file(path)
        checkpoint = load_checkpoint(file)
        settings = segmenter_node(checkpoint, str(file), max_dets, trust)
        if settings["_target_"] != FACTORY:
            raise SegtrainError(
                f"{file}: holds {settings['_target_']}, and Mask R-CNN alone can be exported; in Python, "
                f'st.load("{file}").segmenter is its torch module'
            )
        return cls(file, checkpoint, settings)

    @property
    def num_classes(self) -> int:
        """Number of categories plus one for the background."""
        return len(self.checkpoint.class_names) + 1

    @property
    def least_scores(self) -> list[float]:
        """Score threshold of each label 1..K."""
        least: list[float] = self.checkpoint.thresholds.of_labels(self.checkpoint.class_names)[1:].tolist()
        return least

    @property
    def facts(self) -> dict[str, Any]:
        """Facts that whoever applies the network needs, as plain values."""
        size = input_size(self.settings)
        geometry = MaskGeometry(size, "exact", self.settings["aligned"])
        return {
            "class_names": list(self.checkpoint.class_names),
            "category_ids": list(self.checkpoint.category_ids),
            "score_threshold": self.checkpoint.score_threshold,
            "score_thresholds": self.least_scores,
            "max_dets": self.settings["detections_per_image"],
            "input": {"min_size": size.min_size, "max_size": size.max_size, "scale": size.scale},
            "normalisation": {"mean": list(MEAN), "deviation": list(DEVIATION), "of": "RGB in [0, 1]"},
            "intensity": dict(self.checkpoint.intensity),
            "aligned": self.settings["aligned"],
            "mask_shift": geometry.learned_shift,
            "mask_scoring": self.settings["mask_scoring"],
            "architecture": self.settings["architecture"],
            "producer": f"segtrain {segtrain.__version__}",
        }
