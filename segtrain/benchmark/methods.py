"""Methods of a benchmark, and what each does to be tuned, and run over the images."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

import numpy as np

from segtrain import distributed
from segtrain.benchmark.checkpoints import EvaluatedCheckpoint
from segtrain.benchmark.fingerprints import digest, of_file
from segtrain.benchmark.oracle import Oracle
from segtrain.benchmark.run_names import SEPARATOR
from segtrain.benchmark.runner import Benchmark, MethodResult
from segtrain.benchmark.search import Tuned
from segtrain.benchmark.tuning import Search, Tuning
from segtrain.console import counted
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.coco.result_file import load_results
from segtrain.data.coco.result_ids import AS_WRITTEN, ResultIds
from segtrain.data.frames.result_frames import check_frame_of_results
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.splits import Split
from segtrain.evaluation import SCORE_THRESHOLD, Detections, gathered, predict, reads_windows
from segtrain.mask_records import column, select
from segtrain.memory import MemoryAbove
from segtrain.records import Category, group_by_image
from segtrain.score_thresholds import GivenThreshold, ScoreThresholds
from segtrain.segmenters import Segmenter, SegmenterInfo, info_of
from segtrain.segmenters.tiles import tiled

if TYPE_CHECKING:
    from torch import Tensor

    from segtrain.segmenters.trainable import Trainable

logger = logging.getLogger(__name__)
Advance = Callable[[], None]  # called after each image


class Method:
    """Method of a benchmark: built from its configuration, then `tune`, `join`, `detect` and `result`.

    This class runs a segmenter with fixed settings, such as a classical one. Subclasses replace single steps.

    Args:
        name: name of its row.
        segmenter: the segmenter, on its device; None for a method that has none, or none yet.
        thresholds: operating point, if its scores are learned.

    Attributes:
        score_threshold: operating point of all categories.
        costs: resources beside the time on the images, by the fields of ``results.Costs``.
        detections: detections of the method; None before it has run.
        notes: notes for the reader of the report.
        checkpoint: checkpoint of a trained method; None for others.
        source_file: path of a result file; None for others.
        fingerprint: fingerprint of the settings, weights and files that the detections come from.
        is_tuned: True if settings are searched on training images first.
        is_oracle: True if settings are chosen with the ground truth, so that the method is an upper bound.
    """

    is_tuned: ClassVar[bool] = False
    is_oracle: ClassVar[bool] = False
    checkpoint: EvaluatedCheckpoint | None = None
    source_file: Path | None = None

    def __init__(self, name: str, segmenter: Segmenter | None, thresholds: ScoreThresholds) -> None:
        self.name, self.segmenter = name, segmenter
        self.score_threshold, self.thresholds = thresholds.overall, thresholds
        self.costs: dict[str, float | None] = {}
        self.detections: Detections | None = None
        self.notes: list[str] = []
        self.fingerprint = ""

    def tune(self, tuning: Tuning) -> None:
        """Search the settings on training images, if the method is to be tuned."""

    def join(self, methods: Sequence["Method"]) -> None:
        """Receive all methods, after they are tuned; an oracle tries their settings too."""

    def detect(self, benchmark: Benchmark, advance: Advance) -> None:
        """Segment the images, and measure the memory that this takes.

        Several processes share the images, and the first one gets the detections; the memory is that of the process
        that takes most.

        Args:
            benchmark: the images and their ground truth.
            advance: called after each image of this process.

        Raises:
            SegtrainError: there are no images, or one cannot be read.
        """
        images = benchmark.split.index.images
        own = self.detect_part(distributed.share(images), benchmark, advance)
        found = gathered(own.detections, [image.id for image in images])
        taken = [own.gib, *distributed.gather(own.gib)]
        if found is not None:
            self.finish(found, taken, own.seconds)

    def detect_part(self, infos: Sequence[ImageInfo], benchmark: Benchmark, advance: Advance) -> "Part":
        """Segment some of the images; see `detect`.

        Args:
            infos: the images.
            benchmark: all images and their ground truth.
            advance: called after each image.
        """
        from segtrain.segmenters.trainable import Trainable

        device = self.segmenter.device if isinstance(self.segmenter, Trainable) else None
        started = time.perf_counter()
        with MemoryAbove(device) as memory:
            detections = self._segment(infos, benchmark, advance)
        greys = {info.id: benchmark.greys[info.id] for info in infos if info.id in benchmark.greys}
        return Part(detections.by_column(), memory.gib, greys, time.perf_counter() - started)

    def finish(self, found: Detections, gib: Sequence[float | None], seconds: float) -> None:
        """Take the detections in all images, and what was measured.

        Args:
            found: the detections.
            gib: peak memory of each part of the images; None where it is not known.
            seconds: seconds that all parts took together.
        """
        self.detections = found.by_column()
        self.costs["peak_memory_gib"] = max((part for part in gib if part is not None), default=None)

    def most_windows(self, benchmark: Benchmark) -> int:
        """Return the largest number of windows that an image is cut into, each with its own limit of detections."""
        return 1

    def reads_windows(self, size: tuple[int, int]) -> bool:
        """Return True if an image of this (H, W) need not be read whole."""
        return reads_windows(self.segmenter, size)

    @property
    def remedy_for_windows(self) -> str:
        """Setting by which the method would read images by windows, in words."""
        return "cut them into windows as configs/segmenter/tiled.yaml does"

    def notes_on_windows(self, benchmark: Benchmark, max_dets: int) -> list[str]:
        """Say for the reader of the report, after the method has run, which images it could not see as in training.

        Args:
            benchmark: the images and their ground truth.
            max_dets: largest number of detections in an image, or in each window of one.
        """
        return []

    @property
    def networks(self) -> dict[str, EvaluatedCheckpoint]:
        """Checkpoint of each network of the method, by a name for the report."""
        return {} if self.checkpoint is None else {self.name: self.checkpoint}

    @property
    def can_be_shared(self) -> bool:
        """True if forks of this process may share the images; a network computes with several threads instead."""
        import torch

        return not isinstance(self.segmenter, torch.nn.Module)

    def result(self, evaluated: Split) -> MethodResult:
        """Collect the data of the method for the report, after it has run.

        Args:
            evaluated: split that is evaluated.
        """
        assert self.detections is not None
        return MethodResult(
            self.detections,
            description=self.describe(evaluated),
            ranked_by=self.info.ranked_by,
            variant=self.info.variant,
            technique=self.info.technique,
            costs=self.costs,
            oracle=self.is_oracle,
            mask_grid=self.info.mask_grid,
        )

    def describe(self, evaluated: Split) -> str:
        """Describe the method in a sentence.

        Args:
            evaluated: split that is evaluated.
        """
        return self.info.description or type(self.segmenter).__name__

    @property
    def info(self) -> SegmenterInfo:
        """Facts about the segmenter."""
        return info_of(self.segmenter)

    def _segment(self, infos: Sequence[ImageInfo], benchmark: Benchmark, advance: Advance) -> Detections:
        assert self.segmenter is not None
        categories = benchmark.ground_truth.categories
        own = self.thresholds.by_id(categories)
        images = benchmark.images(infos)
        return predict(self.segmenter, images, categories, self.score_threshold, advance, category_thresholds=own)


class Part(NamedTuple):
    """Detections of a method in some of the images.

    Attributes:
        detections: the detections.
        gib: peak memory in GiB; None where it is not known.
        greys: least and greatest value of each image, by image id.
        seconds: seconds that it took.
    """

    detections: Detections
    gib: float | None
    greys: dict[int, tuple[int, int]]
    seconds: float


class TrainedMethod(Method):
    """A network with the weights of a checkpoint.

    Args:
        name: name of its row.
        network: the network, on its device.
        checkpoint: checkpoint of the network.
        categories: categories of labels 1..K; None if they are not those of the data.
        given: operating point that the user gave, for all categories or for some by name; None for the checkpoint's.
        names: names of the categories of the data.
        intensity: ranges by which the network's images are read; None for those of the data.
    """

    def __init__(
        self,
        name: str,
        network: "Trainable",
        checkpoint: EvaluatedCheckpoint,
        categories: Sequence[Category] | None,
        given: GivenThreshold,
        names: Sequence[str],
        intensity: Intensity | None,
    ) -> None:
        super().__init__(name, network, checkpoint.thresholds(given, names))
        self._network = network
        self.checkpoint = checkpoint
        self.costs |= checkpoint.costs
        self._categories, self._given_threshold, self._intensity = categories, given, intensity

    def describe(self, evaluated: Split) -> str:
        """Describe the method, with the origin of the operating point and of the weights; see `Method`."""
        assert self.checkpoint is not None
        return self.checkpoint.description(self._network.title, self._given_threshold, evaluated)

    def reads_windows(self, size: tuple[int, int]) -> bool:
        """See `Method`."""
        return reads_windows(tiled(self._network), size)

    @property
    def remedy_for_windows(self) -> str:
        """See `Method`."""
        return f"cut them into windows with {self._setting_for_windows}"

    @property
    def _setting_for_windows(self) -> str:
        """Setting by which the network's images are cut into windows, or into smaller ones."""
        segmenter, tile = self.name.partition(SEPARATOR)[0], "auto" if self._network.tile == "off" else "SIZE"
        return f"segmenters.{segmenter}.tile={tile}"

    def most_windows(self, benchmark: Benchmark) -> int:
        """See `Method`."""
        return tiled(self._network).summarise(benchmark.split.index.images.sizes).most

    def notes_on_windows(self, benchmark: Benchmark, max_dets: int) -> list[str]:
        """See `Method`."""
        windows = tiled(self._network).summarise(benchmark.split.index.images.sizes)
        assert self.detections is not None
        full = sum(score >= self.score_threshold for score in self.detections.complete_above.values())
        notes = []
        if windows.cut:
            notes.append(
                f"{counted(windows.cut, 'image')} larger than those of its training cut into up to {windows.most:,} "
                f"windows, each with up to {max_dets:,} detections"
            )
        if full:
            within = "a window" if windows.cut else "an image"
            notes.append(
                f"in {counted(full, 'image')} all {max_dets:,} detections that it returns at most for {within} reach "
                "the score threshold, and there may be more; raise data.max_dets"
            )
        if windows.shrunk:
            notes.append(
                f"{counted(windows.shrunk, 'image')} shrunk, which its training did not do, so that small objects may "
                f"be missed; {self._setting_for_windows} cuts them into windows"
            )
        return [f"{self.name}: {note}" for note in notes]

    def _segment(self, infos: Sequence[ImageInfo], benchmark: Benchmark, advance: Advance) -> Detections:
        foreign = self._categories is None
        categories = benchmark.ground_truth.categories if self._categories is None else self._categories
        images = benchmark.images(infos, self._intensity)
        own = self.thresholds.by_id(categories)
        network = tiled(self._network)
        return predict(network, images, categories, self.score_threshold, advance, foreign, own)


class TunedMethod(Method):
    """A segmenter whose settings are searched on training images before it runs.

    Args:
        name: name of its row.
        space: candidates and the values to try.
        thresholds: operating point, if its scores are learned.
    """

    is_tuned = True

    def __init__(self, name: str, space: Tuned, thresholds: ScoreThresholds) -> None:
        super().__init__(name, None, thresholds)
        self._space = space

    @property
    def search(self) -> Search:
        """The search for settings."""
        return Search(self.name, self._space, self.fingerprint)

    def tune(self, tuning: Tuning) -> None:
        """Search the settings, and take the best segmenter.

        Raises:
            SegtrainError: an image cannot be read.
        """
        found = tuning.search(self.search)
        self.segmenter, self.fingerprint = found.segmenter, found.fingerprint
        self.costs |= found.costs


class OracleMethod(Method):
    """Method that chooses the best of many settings for each image with its ground truth; it has no time per image.

    Args:
        name: name of its row.
        oracle: settings to choose from.
    """

    is_oracle = True

    def __init__(self, name: str, oracle: Oracle) -> None:
        super().__init__(name, None, ScoreThresholds(0.0))
        self._oracle = oracle
        self._joined: Sequence[Method] = ()

    @property
    def info(self) -> SegmenterInfo:
        """Facts about the oracle, with the number of settings."""
        return self._oracle.info

    def join(self, methods: Sequence[Method]) -> None:
        """Try the detections of methods of the same technique too, so that none has a higher F1 on any image."""
        self._joined = [own for own in methods if own.segmenter is not None and self._oracle.takes(own.segmenter)]
        self._oracle.others = len(self._joined)
        self.fingerprint = digest(self.fingerprint, [own.fingerprint for own in self._joined])

    def detect(self, benchmark: Benchmark, advance: Advance) -> None:
        """Segment the images; all processes get the detections of the other methods first, see `Method`."""
        for own in self._joined:
            own.detections = distributed.from_first(lambda own=own: own.detections)  # type: ignore[misc]
        super().detect(benchmark, advance)
        for own in self._joined if not distributed.is_first() else ():
            own.detections = None

    def finish(self, found: Detections, gib: Sequence[float | None], seconds: float) -> None:
        """Take the detections; the time of the choice counts as tuning, see `Method`."""
        super().finish(found, gib, seconds)
        self.costs["tuning_seconds"] = seconds

    def _segment(self, infos: Sequence[ImageInfo], benchmark: Benchmark, advance: Advance) -> Detections:
        wanted = np.array([info.id for info in infos], dtype=np.int64)
        others = []
        for own in self._joined:
            assert own.detections is not None
            masks = own.detections.masks or ()
            others.append(group_by_image(select(masks, np.flatnonzero(np.isin(column(masks, "image_id"), wanted)))))
        # All are read whole: with large images the method is left out.
        images = cast("Iterator[tuple[int, Tensor]]", benchmark.images(infos))
        return self._oracle.detect(images, benchmark.ground_truth, advance, others)


class ResultFile(Method):
    """Detections that another program has written as COCO results.

    Args:
        name: name of its row.
        path: the result file.
        given: operating point that the user gave, for all categories or for some by name; None for the one that the
            file states, else 0.5.
        benchmark: the images and their ground truth.
        ids: meaning of the file's ids, as far as it is known.

    Raises:
        SegtrainError: the file is not one, or does not belong to these images.
    """

    def __init__(
        self, name: str, path: Path, given: GivenThreshold, benchmark: Benchmark, ids: ResultIds = AS_WRITTEN
    ) -> None:
        super().__init__(name, None, ScoreThresholds(SCORE_THRESHOLD))
        self.source_file = path
        truth = benchmark.ground_truth
        index = benchmark.split.index
        content = load_results(path, images=index.images, categories=truth.categories, ids=ids, merged=index.merged)
        self.fingerprint = digest(of_file(path), str(ids))
        doubts = check_frame_of_results(content, index.images, path)
        self.notes += [f"{name}: {note}" for note in (*content.notes, *doubts)]
        stated = SCORE_THRESHOLD if content.score_threshold is None else content.score_threshold
        names = [category.name for category in truth.categories]
        self.thresholds = ScoreThresholds(stated).changed(given, names, "score_threshold")
        self.score_threshold = self.thresholds.overall
        found = Detections(
            content.masks, content.boxes, content.class_aware, self.score_threshold, polygons=content.polygons,
            category_thresholds=self.thresholds.by_id(truth.categories) if content.class_aware else {},
        )  # fmt: skip
        self.detections = found.by_column()  # a large file would fill the memory
        self._note_scores(sum(not true["iscrowd"] for true in truth.truths))

    def detect(self, benchmark: Benchmark, advance: Advance) -> None:
        """Do nothing: the detections are those of the file, and no image is read."""

    def reads_windows(self, size: tuple[int, int]) -> bool:
        """Return True, as no image is read."""
        return True

    @property
    def can_be_shared(self) -> bool:
        """False, since there is nothing to do."""
        return False

    def describe(self, evaluated: Split) -> str:
        """Describe the method by the name of the file; see `Method`."""
        assert self.source_file is not None
        return f"Results from {self.source_file.name}"

    def _note_scores(self, objects: int) -> None:
        """Add notes on scores for which the operating point is unsuitable.

        Args:
            objects: number of true objects.
        """
        assert self.detections is not None
        scores = column(self.detections.masks or self.detections.boxes or (), "score")
        above = int((scores >= self.score_threshold).sum())
        if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
            percent = scores.min() >= 0 and 1 < scores.max() <= 100
            remedy = "; if they are percents, score_threshold=50 stands for 0.5" if percent else ""
            self.notes.append(
                f"{self.name}: scores from {scores.min():g} to {scores.max():g} are not in [0, 1]; the score threshold "
                f"{self.score_threshold:g} takes {above:,} of {len(scores):,} detections, and calibration is left out"
                f"{remedy}"
            )
        elif 2 * above < min(len(scores), objects):
            self.notes.append(
                f"{self.name}: {above:,} of {len(scores):,} detections reach the score threshold "
                f"{self.score_threshold:g}, for {objects:,} true objects; if its scores only rank, score_threshold=0 "
                "takes all"
            )
