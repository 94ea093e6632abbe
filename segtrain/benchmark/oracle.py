"""Oracle: the best setting for each image, chosen with its ground truth; an upper bound of F1.

The bound holds image by image. Summed over images, as the benchmark does, F1 may be higher for a single setting: the
best F1 of an image may be low and come with many false objects.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from segtrain.benchmark import search_space as spaces
from segtrain.benchmark.search_space import Node, build_segmenter
from segtrain.evaluation import OBJECT, Detections, GroundTruthSet
from segtrain.metrics.f1 import f1
from segtrain.metrics.mean_iou import mean_iou
from segtrain.records import GroundTruth, Instances, Prediction, to_predictions
from segtrain.segmenters import Segmenter, SegmenterInfo, info_of


class Oracle:
    """Segmenter that tries a grid of settings on every image and keeps the result that fits the ground truth best.

    The candidates' own settings are tried as well. The best result has the highest F1 at IoU .50; among equals the
    highest foreground IoU; among equals it is the first of the grid. Without true objects the best result has the
    fewest regions.

    Args:
        candidates: configurations of segmenters by name.
        space: values of each candidate whose combinations form the grid; see ``search_space.candidates``.
        description: one sentence for the report.

    Attributes:
        segmenters: segmenters that are tried.
        info: facts for the report.

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

    @property
    def info(self) -> SegmenterInfo:
        """Facts for the report, with the number of settings and the meaning of the scores."""
        bound = "An upper bound of each image's F1, chosen with the ground truth."
        return SegmenterInfo(
            description=f"{self._description} {len(self.segmenters)} settings. {bound}",
            ranked_by=next(filter(None, (info_of(segmenter).ranked_by for segmenter in self.segmenters)), None),
        )

    def join(self, segmenters: Iterable[Segmenter]) -> None:
        """Try further settings, so that no method of the same technique has a higher F1 on any image.

        Args:
            segmenters: segmenters that it `takes`.
        """
        self.segmenters += segmenters

    def takes(self, segmenter: Segmenter) -> bool:
        """Return True if a segmenter is of a technique that is in the grid."""
        technique = info_of(segmenter).technique
        return technique is not None and technique in {info_of(own).technique for own in self.segmenters}

    def segment_knowing(self, image: Tensor, truths: Sequence[GroundTruth]) -> Instances:
        """Segment an image with the setting that suits it best.

        Args:
            image: uint8 RGB (3, H, W).
            truths: true objects of the image, of category ``OBJECT``.
        """
        best, highest = None, (-1.0, 0.0)
        for segmenter in self.segmenters:
            instances = segmenter.segment([image])[0]
            quality = _quality(instances, truths, highest[0])
            if best is None or quality > highest:
                best, highest = instances, quality
        assert best is not None
        return best

    def detect(
        self, images: Iterable[tuple[int, Tensor]], ground_truth: GroundTruthSet, advance: Callable[[], None]
    ) -> Detections:
        """Segment images, each with the setting that suits it best.

        Args:
            images: ids and uint8 RGB tensors (3, H, W).
            ground_truth: true objects of these images.
            advance: called after each image.
        """
        truths: dict[int, list[GroundTruth]] = {image_id: [] for image_id in ground_truth.sizes}
        for truth in ground_truth.class_agnostic().truths:
            truths[truth["image_id"]].append(truth)
        records: list[Prediction] = []
        for image_id, image in images:
            instances = self.segment_knowing(image, truths[image_id])
            records += to_predictions(instances, image_id, ground_truth.categories)
            advance()
        return Detections(records, None, False, 0.0)


def _quality(found: Instances, truths: Sequence[GroundTruth], to_beat: float) -> tuple[float, float]:
    """Compute F1 and foreground IoU; the latter, which takes as long again, only where F1 leaves the choice open."""
    if all(truth["iscrowd"] for truth in truths):
        return 1 / (1 + len(found)), 0.0
    image_id = truths[0]["image_id"]
    records: list[Prediction] = to_predictions(found, image_id, [OBJECT])
    matched = f1(truths, records, category_ids=[OBJECT.id], image_ids=[image_id]).f1
    if matched < to_beat:
        return matched, 0.0
    return matched, mean_iou(truths, records, category_ids=[OBJECT.id], sizes={image_id: found.size}).fg_iou
