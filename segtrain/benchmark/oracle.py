"""Oracle: the best setting for each image, chosen with its ground truth; an upper bound of F1.

The bound holds image by image. Summed over images, as the benchmark does, F1 may be higher for a single setting: the
best F1 of an image may be low and come with many false objects.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any

from segtrain.benchmark import search_space as spaces
from segtrain.benchmark.search_space import Node, build_segmenter
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.metrics.f1 import f1
from segtrain.metrics.mean_iou import mean_iou
from segtrain.records import OBJECT, Category, GroundTruth, Prediction, to_predictions
from segtrain.segmenters import Segmenter, SegmenterInfo, info_of
from segtrain.segmenters.classical.shared_steps import sharing_steps

if TYPE_CHECKING:
    from torch import Tensor

_SHARED = 2**22  # pixels of an image, up to which its settings share intermediate steps


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
        others: number of methods whose detections are tried too.
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
        self.others = 0
        self._description = description

    @property
    def info(self) -> SegmenterInfo:
        """Facts for the report, with the number of settings and the meaning of the scores."""
        bound = "An upper bound of each image's F1, chosen with the ground truth."
        return SegmenterInfo(
            description=f"{self._description} {len(self.segmenters) + self.others} settings. {bound}",
            ranked_by=next(filter(None, (info_of(segmenter).ranked_by for segmenter in self.segmenters)), None),
        )

    def takes(self, segmenter: Segmenter) -> bool:
        """Return True if a segmenter is of a technique that is in the grid."""
        technique = info_of(segmenter).technique
        return technique is not None and technique in {info_of(own).technique for own in self.segmenters}

    def detect(
        self,
        images: Iterable[tuple[int, "Tensor"]],
        ground_truth: GroundTruthSet,
        advance: Callable[[], None],
        others: Sequence[Mapping[int, Sequence[Prediction]]] = (),
    ) -> Detections:
        """Segment images, each with the setting that suits it best.

        Args:
            images: ids and uint8 RGB tensors (3, H, W).
            ground_truth: true objects of these images.
            advance: called after each image.
            others: detections of methods of the same technique, by image; they are tried too, so that none of these
                methods has a higher F1 on any image.
        """
        truths: dict[int, list[GroundTruth]] = {image_id: [] for image_id in ground_truth.sizes}
        for truth in ground_truth.class_agnostic().truths:
            truths[truth["image_id"]].append(truth)
        records: list[Prediction] = []
        for image_id, image in images:
            known = [found.get(image_id, ()) for found in others]
            records += self.segment_knowing(image_id, image, truths[image_id], ground_truth.categories, known)
            advance()
        return Detections(records, None, False, 0.0)

    def segment_knowing(
        self,
        image_id: int,
        image: "Tensor",
        truths: Sequence[GroundTruth],
        categories: Sequence[Category],
        known: Sequence[Sequence[Prediction]] = (),
    ) -> Sequence[Prediction]:
        """Segment an image with the setting that suits it best.

        Args:
            image_id: id of the image.
            image: uint8 RGB (3, H, W).
            truths: true instances of the image, of category ``OBJECT``.
            categories: categories of the records.
            known: detections of other methods in the image, which are tried after those of all settings.
        """
        best: Sequence[Prediction] | None = None
        highest = (-1.0, 0.0)
        size = (image.shape[1], image.shape[2])
        # What is shared takes memory, planes as large as the image.
        with sharing_steps() if size[0] * size[1] <= _SHARED else nullcontext():
            own = (to_predictions(segmenter.segment([image])[0], image_id, categories) for segmenter in self.segmenters)
            for found in chain(own, known):
                quality = _quality(found, truths, size, highest[0])
                if best is None or quality > highest:
                    best, highest = found, quality
        assert best is not None
        return best


def _quality(
    found: Sequence[Prediction], truths: Sequence[GroundTruth], size: tuple[int, int], to_beat: float
) -> tuple[float, float]:
    """Compute F1 and foreground IoU; the latter, which takes as long again, only where F1 leaves the choice open."""
    if all(truth["iscrowd"] for truth in truths):
        return 1 / (1 + len(found)), 0.0
    image_id = truths[0]["image_id"]
    records = [Prediction({**record, "category_id": OBJECT.id}) for record in found]
    matched = f1(truths, records, category_ids=[OBJECT.id], image_ids=[image_id]).f1
    if matched < to_beat:
        return matched, 0.0
    return matched, mean_iou(truths, records, category_ids=[OBJECT.id], sizes={image_id: size}).fg_iou
