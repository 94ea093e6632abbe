"""Benchmark: every method over the same images, through the same scoring, with its files."""

import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from segtrain.data.coco.result_file import load_results
from segtrain.data.loader import evaluation_images
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import Detections, GroundTruthSet, Track, TrackName, predict, score
from segtrain.io import write_atomically
from segtrain.records import Category
from segtrain.runtime import MemoryAbove
from segtrain.segmenters import Segmenter
from segtrain.segmenters.mask_rcnn.preprocess import InputSize

REPORT_FILES = ("results.json", "results.csv", "report.md", "report.html")
logger = logging.getLogger(__name__)
CPU = torch.device("cpu")
FILE_THRESHOLD = 0.5  # operating point of result files: what a checkpoint chose is for the scores of its own model


class EvaluationFolder:
    """Where an evaluation writes; ``predictions/NAME.json`` holds a row's masks, ``NAME.bbox.json`` its boxes.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._given: dict[Path, str] = {}  # result files that rows were read from, links resolved -> their rows

    def keep(self, path: Path, row: str) -> None:
        """Take note of a file that a row was read from: it may lie in the folder, and is never replaced."""
        self._given.setdefault(path.resolve(), row)

    def prepare(self, rows: Collection[str], overwrite: bool) -> None:
        """Make sure that nothing given is replaced, and make room.

        Args:
            rows: names of all rows.
            overwrite: remove what an earlier evaluation left in the folder, but no file that a row was read from.

        Raises:
            SegtrainError: a file that a row was read from would be replaced, or two rows would write the same one.
        """
        reports = [self.path / name for name in REPORT_FILES]
        for path in reports:
            self._refuse_given(path, None)
        seen: set[Path] = set()
        for name in rows:
            for path in self._record_paths(name):
                if path in seen:
                    raise SegtrainError(f"two rows would write {path}; choose another name for one of them")
                seen.add(path)
                self._refuse_given(path, name)
        if overwrite:
            records = (self.path / "predictions").rglob("*.json")
            winners = (self.path / "tuned" / "segmenter").glob("*_winner.yaml")
            for path in [*records, *winners, *reports]:
                if path.resolve() not in self._given:
                    path.unlink(missing_ok=True)

    def write_records(self, name: str, found: Detections) -> None:
        """Write what a row found, unless it was read from that very file."""
        for path, records in zip(self._record_paths(name), (found.masks, found.boxes), strict=True):
            if records is not None and path.resolve() not in self._given:
                write_atomically(path, json.dumps(records))

    def _record_paths(self, name: str) -> tuple[Path, Path]:
        folder = self.path / "predictions"
        return folder / f"{name}.json", folder / f"{name}.bbox.json"

    def _refuse_given(self, path: Path, row: str | None) -> None:
        owner = self._given.get(path.resolve())
        if owner not in (None, row):
            raise SegtrainError(
                f"predictions.{owner}: {path} would be replaced by this evaluation; choose another output_dir"
            )


@dataclass(frozen=True)
class MethodResult:
    """One method of the benchmark.

    Attributes:
        detections: what it found.
        description: one sentence.
        score: what a classical method's scores mean; None where they are learned.
        variant: "textbook", "robust" or "tuned", for classical methods that say so.
        technique: kind of method, such as "threshold", "edges", "kmeans" or "mask_rcnn"; None where it is not known.
        costs: what it took beside its time on the images; see ``results.NO_COSTS``.
        oracle: whether it was shown the truth, and so is an upper bound and no method.
        input_size: what its network resizes images to, if it is one.
        tracks: its numbers; none before it is scored.
        scoring_seconds: what computing them took.
    """

    detections: Detections
    description: str = ""
    score: str | None = None
    variant: str | None = None
    technique: str | None = None
    costs: Mapping[str, float | None] = field(default_factory=dict)
    oracle: bool = False
    input_size: InputSize | None = None
    tracks: Mapping[TrackName, Track | None] = field(default_factory=dict)
    scoring_seconds: float = 0.0


class Benchmark:
    """Collects rows.

    Args:
        split: what is evaluated on; images are needed for segmenters and for the gallery.
        folder: of the evaluation; ``predictions/`` in it receives each row's records.
        max_dets: detections per image and category that AP and AR use.
        score_threshold: operating point of result files.
        tracks: which tracks to compute.
    """

    def __init__(
        self,
        split: Split,
        folder: Path,
        *,
        max_dets: int,
        score_threshold: float,
        tracks: Sequence[TrackName],
    ) -> None:
        self.split, self.ground_truth, self.folder = split, GroundTruthSet.of(split.index), EvaluationFolder(folder)
        self.max_dets, self.score_threshold, self.tracks = max_dets, score_threshold, tracks
        self.rows: dict[str, MethodResult] = {}
        self.notes: list[str] = []

    def add_file(self, name: str, path: Path) -> None:
        """Score a COCO result file; ``prepare_folder`` writes its records.

        Raises:
            SegtrainError: the file is not one, or does not belong to these images.
        """
        ids = [category.id for category in self.ground_truth.categories]
        sizes = self.ground_truth.sizes
        content = load_results(path, image_ids=sizes, category_ids=ids, sizes=sizes)
        found = Detections(
            content.masks, content.boxes, content.class_aware, self.score_threshold, polygons=content.polygons
        )
        self.folder.keep(path, name)
        self._note_scores(name, found)
        self._add(name, MethodResult(found, description=f"Results from {path.name}"))

    def _note_scores(self, name: str, found: Detections) -> None:
        scores = [record["score"] for record in found.masks or found.boxes or ()]
        above = sum(score >= found.score_threshold for score in scores)
        objects = sum(not truth["iscrowd"] for truth in self.ground_truth.truths)
        if scores and not 0 <= min(scores) <= max(scores) <= 1:
            self.notes.append(
                f"{name}: scores from {min(scores):g} to {max(scores):g} are not in [0, 1]; the score threshold "
                f"{found.score_threshold:g} takes {above:,} of {len(scores):,} detections, and calibration is left out"
            )
        elif 2 * above < min(len(scores), objects):
            self.notes.append(
                f"{name}: {above:,} of {len(scores):,} detections reach the score threshold {found.score_threshold:g}, "
                f"for {objects:,} true objects; if its scores only rank, score_threshold=0 takes all"
            )

    def prepare_folder(self, segmenters: Collection[str], overwrite: bool) -> None:
        """Write the records of the rows so far; called when all that the user gave is read and checked.

        Args:
            segmenters: names of the rows to come.
            overwrite: remove what an earlier evaluation left in the folder, but no file that a row was read from.

        Raises:
            SegtrainError: a file that a row was read from would be replaced.
        """
        self.folder.prepare([*self.rows, *segmenters], overwrite)
        for name, row in self.rows.items():
            self.folder.write_records(name, row.detections)

    def add_segmenter(
        self,
        name: str,
        segmenter: Segmenter,
        categories: Sequence[Category] | None,
        advance: Callable[[], None],
        *,
        score_threshold: float,
        description: str,
        costs: Mapping[str, float | None],
    ) -> None:
        """Run a segmenter over the images, write its records and score them.

        Args:
            name: of the row.
            segmenter: on its device.
            categories: of its labels 1..K; None if they are not those of the data.
            advance: called after each image.
            score_threshold: operating point, if it learned its scores.
            description: one sentence.
            costs: what training and tuning took; see ``results.NO_COSTS``.

        Raises:
            SegtrainError: there are no images, or one cannot be read.
        """
        with MemoryAbove(getattr(segmenter, "device", CPU)) as memory:
            found = predict(
                segmenter,
                self.images(),
                self.ground_truth.categories if categories is None else categories,
                score_threshold,
                advance,
                foreign=categories is None,
            )
        self.folder.write_records(name, found)
        costs = {**costs, "peak_memory_gib": memory.gib}
        own_score, variant, technique = (getattr(segmenter, key, None) for key in ("score", "variant", "technique"))
        input_size = getattr(segmenter, "input_size", None) if hasattr(segmenter, "mask_resolution") else None
        self._add(name, MethodResult(found, description, own_score, variant, technique, costs, input_size=input_size))

    def add_oracle(
        self,
        name: str,
        found: Detections,
        description: str,
        own_score: str | None,
        costs: Mapping[str, float | None],
    ) -> None:
        """Score what was found with the truth at hand, and write its records; the row is marked as an upper bound.

        Args:
            name: of the row.
            found: by what was shown the truth.
            description: one sentence.
            own_score: what its scores mean.
            costs: what the choice took; see ``results.NO_COSTS``.
        """
        self.folder.write_records(name, found)
        self._add(name, MethodResult(found, description, own_score, costs=costs, oracle=True))

    def images(self) -> Iterator[tuple[int, Tensor]]:
        """The images that rows are computed on: ids, and uint8 RGB (3, H, W).

        Raises:
            SegtrainError: there are none, or one cannot be read.
        """
        if self.split.images is None:
            raise SegtrainError(
                "data.val_images is null: name the image folder, or use methods=none with predictions.NAME=FILE"
            )
        return evaluation_images(self.split.index, self.split.images)

    def _add(self, name: str, row: MethodResult) -> None:
        started = time.perf_counter()
        tracks = score(row.detections, self.ground_truth, self.max_dets, self.tracks)
        self.rows[name] = replace(row, tracks=tracks, scoring_seconds=time.perf_counter() - started)
