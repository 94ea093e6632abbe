"""Oracle methods: the best setting for each image, chosen with its ground truth; an upper bound of F1.

The bound holds image by image. Summed over images, as the benchmark does, F1 may be higher for a single setting: the
best F1 of an image may be low and come with many false objects.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from segtrain.benchmark import search_space as spaces
from segtrain.benchmark.search_space import Node, build_segmenter
from segtrain.evaluation import OBJECT, Detections, GroundTruthSet
from segtrain.metrics.f1 import f1
from segtrain.metrics.mean_iou import mean_iou
from segtrain.records import GroundTruth, Instances, Prediction, to_predictions
from segtrain.runtime import MemoryAbove
from segtrain.segmenters import Segmenter

CPU = torch.device("cpu")


class Oracle:
    """A row that tries a grid, and the candidates as they stand, on every image, and keeps what fits the truth best.

    The best is the highest F1 at IoU .50, of those the highest foreground IoU, of those the first of the grid. Where
    there is no true object it is the fewest regions.

    Args:
        candidates: segmenters by name, as nodes.
        space: for each of them, the values whose combinations make the grid; see ``space.candidates``.
        description: one sentence for the report.

    Raises:
        SegtrainError: the space does not fit the candidates.
    """

    def __init__(self, candidates: dict[str, Any], space: dict[str, Any], description: str) -> None:
        nodes: list[Node] = []
        for candidate in spaces.candidates(candidates, space):
            grid = candidate.grid()
            nodes += grid if candidate.node in grid else [*grid, candidate.node]
        self.segmenters: list[Segmenter] = [build_segmenter(node) for node in nodes]
        self._description = description
        self.score = next((str(node["score"]) for node in nodes if "score" in node), None)

    @property
    def description(self) -> str:
        """One sentence for the report, and how many settings there are."""
        bound = "An upper bound that no one can have, of each image's F1."
        return f"{self._description} {len(self.segmenters)} settings. {bound}"

    def join(self, rows: Iterable[Segmenter]) -> None:
        """Try the settings of other rows too: those whose method is from the same module as one of the grid's.

        So no row of its kind has a higher F1 on any image.
        """
        kinds = {_module(segmenter) for segmenter in self.segmenters} - {None}
        self.segmenters += [row for row in rows if _module(row) in kinds]

    def segment_knowing(self, image: Tensor, truths: Sequence[GroundTruth]) -> Instances:
        """Segment an image with the setting that suits it best.

        Args:
            image: uint8 RGB (3, H, W).
            truths: its true instances, of category ``OBJECT``.
        """
        best, highest = None, (-1.0, 0.0)
        for segmenter in self.segmenters:
            found = segmenter.segment([image])[0]
            quality = _quality(found, truths, highest[0])
            if best is None or quality > highest:
                best, highest = found, quality
        assert best is not None
        return best


def _module(segmenter: Segmenter) -> str | None:
    """Where the function of a classical segmenter is from; None for others."""
    method = getattr(segmenter, "method", None)
    return getattr(getattr(method, "func", method), "__module__", None)


def find(
    oracle: Oracle, images: Iterable[tuple[int, Tensor]], ground_truth: GroundTruthSet, advance: Callable[[], None]
) -> tuple[Detections, dict[str, float | None]]:
    """Segment images with their truth at hand.

    Args:
        oracle: what chooses.
        images: ids and uint8 RGB tensors (3, H, W).
        ground_truth: the truth about them.
        advance: called after each image.

    Returns:
        What it found, and its costs: "tuning_seconds" of the choice on all images, "peak_memory_gib". It has no time
        for an image, as no method chooses that way.
    """
    truths: dict[int, list[GroundTruth]] = {image_id: [] for image_id in ground_truth.sizes}
    for truth in ground_truth.class_agnostic().truths:
        truths[truth["image_id"]].append(truth)
    found: list[Prediction] = []
    started = time.perf_counter()
    with MemoryAbove(CPU) as memory:
        for image_id, image in images:
            found += to_predictions(oracle.segment_knowing(image, truths[image_id]), image_id, ground_truth.categories)
            advance()
    costs = {"tuning_seconds": time.perf_counter() - started, "peak_memory_gib": memory.gib}
    return Detections(found, None, False, 0.0), costs


def _quality(found: Instances, truths: Sequence[GroundTruth], to_beat: float) -> tuple[float, float]:
    """F1 and foreground IoU; the latter, which takes as long again, only where F1 leaves the choice open."""
    if all(truth["iscrowd"] for truth in truths):
        return 1 / (1 + len(found)), 0.0
    image_id = truths[0]["image_id"]
    records: list[Prediction] = to_predictions(found, image_id, [OBJECT])
    matched = f1(truths, records, category_ids=[OBJECT.id], image_ids=[image_id]).f1
    if matched < to_beat:
        return matched, 0.0
    return matched, mean_iou(truths, records, category_ids=[OBJECT.id], sizes={image_id: found.size}).fg_iou
