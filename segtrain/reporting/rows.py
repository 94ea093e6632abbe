"""The benchmark's rows: every method over the same images, through the same scoring."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segtrain.data.coco.result_file import load_results
from segtrain.data.loader import evaluation_images
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import Findings, Reference, TrackName, predict, score
from segtrain.records import Category
from segtrain.reporting.folder import EvaluationFolder
from segtrain.reporting.gallery.choice import GalleryItem, build
from segtrain.reporting.results import assemble
from segtrain.reporting.row import Row
from segtrain.runtime import MemoryAbove
from segtrain.segmenters import Segmenter
from segtrain.segmenters.mask_rcnn.model import MaskRCNN

logger = logging.getLogger(__name__)
CPU = torch.device("cpu")
FILE_THRESHOLD = 0.5  # operating point of result files: what a checkpoint chose is for the scores of its own model


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
        self.split, self.reference, self.folder = split, Reference.of(split.index), EvaluationFolder(folder)
        self.max_dets, self.score_threshold, self.tracks = max_dets, score_threshold, tracks
        self.rows: dict[str, Row] = {}
        self.notes: list[str] = []

    def add_file(self, name: str, path: Path) -> None:
        """Score a COCO result file; ``prepare_folder`` writes its records.

        Raises:
            SegtrainError: the file is not one, or does not belong to these images.
        """
        ids = [category.id for category in self.reference.categories]
        sizes = self.reference.sizes
        content = load_results(path, image_ids=sizes, category_ids=ids, sizes=sizes)
        found = Findings(
            content.masks, content.boxes, content.class_aware, self.score_threshold, polygons=content.polygons
        )
        self.folder.keep(path, name)
        self._note_scores(name, found)
        self._add(name, Row(found, description=f"Results from {path.name}"))

    def _note_scores(self, name: str, found: Findings) -> None:
        scores = [record["score"] for record in found.masks or found.boxes or ()]
        above = sum(score >= found.score_threshold for score in scores)
        objects = sum(not truth["iscrowd"] for truth in self.reference.truths)
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
            self.folder.write_records(name, row.findings)

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
                self.reference.categories if categories is None else categories,
                score_threshold,
                advance,
                foreign=categories is None,
            )
        self.folder.write_records(name, found)
        costs = {**costs, "peak_memory_gib": memory.gib}
        own_score, family = (getattr(segmenter, key, None) for key in ("score", "family"))
        input_size = segmenter.input_size if isinstance(segmenter, MaskRCNN) else None
        self._add(name, Row(found, description, own_score, family, costs, input_size=input_size))

    def add_oracle(
        self,
        name: str,
        found: Findings,
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
        self._add(name, Row(found, description, own_score, costs=costs, oracle=True))

    def results(self, **context: Any) -> dict[str, Any]:
        """The content of ``results.json``; see ``assemble``."""
        notes = [*self.notes, *context.pop("notes", ())]
        return assemble(self.rows, self.split, self.reference, self.max_dets, notes=notes, **context)

    def gallery(self, each: int) -> list[GalleryItem]:
        """The report's images, ``each`` of each kind; none without images."""
        reader = self.split.images
        if not each:
            return []
        if reader is None:
            logger.info("no images, so the report has no gallery; data.val_images names their folder")
            return []
        return build(
            self.split.index.images,
            self.reference.truths,
            {name: row.findings.masks for name, row in self.rows.items() if row.findings.masks is not None},
            {name: row.findings.score_threshold for name, row in self.rows.items()},
            reader.read,
            each,
            [name for name, row in self.rows.items() if row.oracle],
        )

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

    def _add(self, name: str, row: Row) -> None:
        started = time.perf_counter()
        tracks = score(row.findings, self.reference, self.max_dets, self.tracks)
        self.rows[name] = replace(row, tracks=tracks, scoring_seconds=time.perf_counter() - started)
