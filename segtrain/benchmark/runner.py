"""Evaluated data, scored methods, and the folder that an evaluation writes."""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import segtrain
from segtrain import distributed
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.evaluation_images import evaluation_images
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.images.large_image import LargeImage
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS, Detections, GroundTruthSet, TrackName
from segtrain.io import write_atomically
from segtrain.metrics.scores import TrackScores
from segtrain.records import NO_CATEGORY, OBJECT, Category, class_agnostic_id
from segtrain.runtime import seed_everything
from segtrain.segmenters import MaskGrid

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
_BLOCK = 2**14  # records that are written at a time; bounds the memory
REPORT_FILES = ("results.json", "results.csv", "report.md", "report.html")
SUSPECTS = "suspects.json"


class EvaluationFolder:
    """Output folder of an evaluation.

    ``predictions/NAME.json`` holds the masks of a method, ``NAME.bbox.json`` its boxes. Where a network exports the
    boxes of its masks, box AP is still that of the boxes that it predicts. Records of class-agnostic methods have a
    category id that no category has, and ``predictions/ground_truth.class_agnostic.json`` holds all true objects with
    this id; with one category, they have its id.

    Args:
        path: the folder.
        given: files that methods were read from, each with the method's name; they may lie in this folder, and are
            never replaced.
    """

    def __init__(self, path: Path, given: Iterable[tuple[Path, str]] = ()) -> None:
        self.path = path
        self._given: dict[Path, str] = {}  # links resolved
        for file, name in given:
            self._given.setdefault(file.resolve(), name)

    def prepare(self, names: Collection[str], overwrite: bool, resumes: bool = False) -> None:
        """Check that no given file would be replaced, and prepare the folder.

        Args:
            names: names of all methods.
            overwrite: True to remove files of an earlier evaluation, except those that methods were read from.
            resumes: True to go on with an earlier evaluation, whose files are replaced by those of the same rows.

        Raises:
            SegtrainError: a file that a method was read from would be replaced, or two methods would write one file.
        """
        reports = [self.path / name for name in (*REPORT_FILES, SUSPECTS)]
        for path in reports:
            self._refuse_given(path, None)
        seen: set[Path] = set()
        for name in names:
            for path in self._record_paths(name):
                if path in seen:
                    raise SegtrainError(f"two rows would write {path}; choose another name for one of them")
                seen.add(path)
                self._refuse_given(path, name)
        records = (self.path / "predictions").rglob("*.json")
        winners = list((self.path / "tuned" / "segmenter").glob("*_winner.yaml"))
        earlier = [path for path in [*records, *winners, *reports] if path.resolve() not in self._given]
        if overwrite:
            for path in earlier:
                path.unlink(missing_ok=True)
        elif resumes or self._unfinished.exists():
            replaced = {*seen, *reports, *winners, self._class_agnostic_truth} if resumes else set()
            self._set_aside([path for path in earlier if path.exists() and path not in replaced])
        write_atomically(self._unfinished, "")

    def finish(self) -> None:
        """Mark the evaluation as complete."""
        self._unfinished.unlink(missing_ok=True)

    @property
    def _unfinished(self) -> Path:
        """Path of a file that exists until the evaluation is complete."""
        return self.path / ".unfinished"

    @property
    def _class_agnostic_truth(self) -> Path:
        return self.path / "predictions" / "ground_truth.class_agnostic.json"

    def _set_aside(self, paths: Sequence[Path]) -> None:
        """Move files of an interrupted evaluation, so that they are not mistaken for those of this one."""
        for path in paths:
            target = self.path / "unfinished" / path.relative_to(self.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        if paths:
            files = "1 file" if len(paths) == 1 else f"{len(paths)} files"
            logger.info(f"moved to {self.path / 'unfinished'}: {files} of an evaluation that was broken off")

    def write_records(self, name: str, detections: Detections, categories: Sequence[Category]) -> None:
        """Write the detections of a method, unless they were read from that file.

        Args:
            name: name of the method.
            detections: its detections.
            categories: categories of the data.
        """
        boxes = detections.boxes if detections.exported_boxes is None else detections.exported_boxes
        none = class_agnostic_id(categories)
        for path, records in zip(self._record_paths(name), (detections.masks, boxes), strict=True):
            if records is not None and path.resolve() not in self._given:
                write_atomically(path, _as_json(records, none))

    def write_class_agnostic_truth(self, index: CocoIndex, ground_truth: GroundTruthSet) -> None:
        """Write a COCO file of all true objects with the category id of class-agnostic records.

        Args:
            index: images of the data.
            ground_truth: their true objects.
        """
        path = self._class_agnostic_truth
        self._refuse_given(path, None)
        category = class_agnostic_id(ground_truth.categories)
        content = {
            "info": {"description": f"{index.path}, all categories as one", "version": segtrain.__version__},
            "images": [
                {"id": image.id, "file_name": image.file_name, "height": image.height, "width": image.width}
                for image in index.images
            ],
            "annotations": [{**truth, "category_id": category} for truth in ground_truth.truths],
            "categories": [{"id": category, "name": OBJECT.name}],
        }
        write_atomically(path, json.dumps(content))

    def _record_paths(self, name: str) -> tuple[Path, Path]:
        folder = self.path / "predictions"
        return folder / f"{name}.json", folder / f"{name}.bbox.json"

    def _refuse_given(self, path: Path, name: str | None) -> None:
        owner = self._given.get(path.resolve())
        if owner not in (None, name):
            raise SegtrainError(
                f"predictions.{owner}: {path} would be replaced by this evaluation; choose another output_dir"
            )


def _with_id(record: Any, none: int) -> Mapping[str, object]:
    return {**record, "category_id": none} if record["category_id"] == NO_CATEGORY else record


def _as_json(records: Sequence[Any], none: int) -> bytes:
    """Write records as a json list, some at a time: as dictionaries they take ten times the memory of their text.

    Args:
        records: records of masks or boxes.
        none: category id of class-agnostic records.
    """
    blocks = (records[start : start + _BLOCK] for start in range(0, len(records), _BLOCK))
    texts = (json.dumps([_with_id(record, none) for record in block])[1:-1].encode("ascii") for block in blocks)
    return b"[" + b", ".join(texts) + b"]"


@dataclass(frozen=True)
class MethodResult:
    """A method that has run, as the report takes it.

    Attributes:
        detections: detections of the method.
        description: one sentence.
        ranked_by: meaning of scores that only rank; None where they are learned or come from a file.
        variant: "textbook", "robust" or "tuned" for classical methods that state it.
        technique: technique of the method, such as "threshold", "edges", "kmeans" or "mask_rcnn"; None where it is not
            known.
        costs: resources beside its time on the images, by the fields of ``results.Costs``.
        oracle: True if settings were chosen with the ground truth, so that the method is an upper bound.
        mask_grid: grid on which a network draws masks; None where they are drawn pixel by pixel, or come from a file.
        tracks: scores by track; none before the method is scored.
    """

    detections: Detections
    description: str = ""
    ranked_by: str | None = None
    variant: str | None = None
    technique: str | None = None
    costs: Mapping[str, float | None] = field(default_factory=dict)
    oracle: bool = False
    mask_grid: MaskGrid | None = None
    tracks: Mapping[TrackName, TrackScores | None] = field(default_factory=dict)


class Benchmark:
    """Evaluated images with their ground truth, settings of the scores, and the methods that have run so far.

    Args:
        split: evaluated split; its images are needed for segmenters and for the gallery.
        max_dets: detections per image and category that AP and AR use; see `take_windows`.
        tracks: tracks to compute.
        seed: seed of random draws that a segmenter makes. The generators of Python, NumPy and torch are seeded with it
            and the id of each image, so that the draws do not depend on the order of the images, nor on the processes
            that share them.

    Attributes:
        windows: largest number of windows that a method cuts an image into.
        ground_truth: true objects of the split.
        rows: methods that have run, by name.
        greys: least and greatest value of each image that was read, by image id.
    """

    def __init__(self, split: Split, *, max_dets: int, tracks: Sequence[TrackName] = TRACKS, seed: int = 0) -> None:
        self.split, self.ground_truth = split, GroundTruthSet.of(split.index)
        self._seed = seed
        self.max_dets, self.tracks = max_dets, tracks
        self.windows = 1
        self.rows: dict[str, MethodResult] = {}
        self.greys: dict[int, tuple[int, int]] = {}

    def images(
        self, infos: Sequence[ImageInfo], intensity: Intensity | None = None
    ) -> Iterator[tuple[int, "Tensor | LargeImage"]]:
        """Read some of the images: ids, and uint8 RGB (3, H, W); large images as such.

        Args:
            infos: images to read.
            intensity: ranges by which they are read; the split's for types that it lacks, and for None.

        Raises:
            SegtrainError: there are no images, or one cannot be read.
        """
        if self.split.images is None:
            raise SegtrainError(
                "data.val_images is null: name the image folder, or use methods=none with predictions.NAME=FILE"
            )
        reader = self.split.images
        if intensity is not None:
            reader = replace(reader, intensity=intensity.completed(reader.intensity))
        return self._looked_at(evaluation_images(infos, reader))

    def take_windows(self, windows: int) -> None:
        """Let AP and AR use as many detections of an image as a method may return for all of its windows together.

        Args:
            windows: largest number of windows that a method cuts an image into.
        """
        self.windows, self.max_dets = windows, self.max_dets * windows
        if windows > 1:
            logger.info(
                f"images are cut into up to {windows:,} windows; AP and AR use the {self.max_dets:,} best detections "
                "of an image"
            )

    def share_greys(self) -> None:
        """Complete `greys` by the images that other processes have read."""
        for others in distributed.gather(self.greys):
            self.greys.update(others)

    def _looked_at(
        self, images: Iterator[tuple[int, "Tensor | LargeImage"]]
    ) -> Iterator[tuple[int, "Tensor | LargeImage"]]:
        """Note the least and the greatest value of images that are read for the first time, and seed draws in each."""
        for identifier, pixels in images:
            if identifier not in self.greys:
                shown = pixels.picture if isinstance(pixels, LargeImage) else pixels
                self.greys[identifier] = int(shown.min()), int(shown.max())
            mixed = np.random.SeedSequence([self._seed, identifier % 2**64])
            seed_everything(int(mixed.generate_state(1)[0]))
            yield identifier, pixels
