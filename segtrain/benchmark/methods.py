"""Methods of a benchmark, built from the configuration before the first one runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from segtrain.benchmark.checkpoints import EvaluatedCheckpoint, methods_of
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.nodes import build, nearest
from segtrain.records import Category
from segtrain.runtime import to_device

DEFAULT_REFERENCE = "mask_rcnn"  # of configs/evaluate.yaml; the one name that need not be there


@dataclass(frozen=True)
class Method:
    """A row to come.

    Attributes:
        segmenter: on its device; or what a segmenter comes from, once its settings are searched.
        node: its configuration.
        source: the checkpoint that it comes from, if it is learned.
        categories: of its labels 1..K; None if they are not those of the data.
    """

    segmenter: Any
    node: Mapping[str, Any]
    source: EvaluatedCheckpoint
    categories: Sequence[Category] | None

    @property
    def is_learned(self) -> bool:
        """Whether it is a checkpoint's model."""
        return EvaluatedCheckpoint.is_loader(self.node)

    @property
    def costs(self) -> dict[str, float | None]:
        """What training took; nothing of what is not learned."""
        return self.source.costs(self.node)

    def score_threshold(self, given: float | None) -> float:
        """The operating point, if the scores are learned: as given, else the checkpoint's."""
        return self.source.score_threshold(given)

    def description(self, given: float | None, evaluated: Split) -> str:
        """What the report says of it, its operating point as given, on the images that are evaluated."""
        if self.is_learned:
            return self.source.description(self.segmenter.title, given, evaluated)
        return str(getattr(self.segmenter, "description", type(self.segmenter).__name__))


def build_methods(
    config: Mapping[str, Any],
    sources: Sequence[EvaluatedCheckpoint],
    categories: Sequence[Category],
    max_dets: int,
    device: torch.device,
) -> dict[str, Method]:
    """Build all segmenters of evaluate.py's configuration: what is wrong with the last must not come out hours later.

    Args:
        config: evaluate.py's.
        sources: the checkpoints.
        categories: of the data.
        max_dets: detections per image.
        device: of the segmenters.

    Raises:
        SegtrainError: one cannot be built, or its categories are not those of the data.
    """
    planned = {}
    for name, node in config["segmenters"].items():
        for row, source in methods_of(name, node, sources).items():
            own = source.categories(node, categories, need_names=config["tracks"] == "all")
            planned[row] = Method(to_device(build(source.segmenter_node(node, max_dets)), device), node, source, own)
    return planned


def reference_row(reference: str, rows: Iterable[str]) -> str | None:
    """Find the row that all others are compared with.

    Args:
        reference: its name, or the name that it has for each of several checkpoints before the slash.
        rows: names of all rows, in the order of the report.

    Returns:
        The first row of that name; None where the default has no row.

    Raises:
        SegtrainError: another name than the default has no row.

    >>> reference_row("mask_rcnn", ["otsu", "mask_rcnn/seed1", "mask_rcnn/seed2"])
    'mask_rcnn/seed1'
    """
    names = list(rows)
    found = next((name for name in names if name == reference or name.startswith(f"{reference}/")), None)
    if found is None and reference != DEFAULT_REFERENCE:
        raise SegtrainError(f"reference={reference}: there is no such row; {nearest(reference, names)}")
    return found
