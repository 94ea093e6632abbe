"""Completed parts of the rows of an evaluation on the disk, identified by the fingerprint of all they depend on."""

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from segtrain.errors import SegtrainError
from segtrain.evaluation import Detections
from segtrain.io import write_atomically
from segtrain.mask_records import MaskRecords
from segtrain.masks import PackedRles
from segtrain.records import BoxPrediction

logger = logging.getLogger(__name__)
T = TypeVar("T")
FOLDER = "rows"  # in the folder of an evaluation
_FORMAT = 4  # part of each file's name: other formats are not looked at


class KeptBoxes(msgspec.Struct, frozen=True):
    """Records of N boxes by column, arrays as bytes."""

    image_ids: bytes
    category_ids: bytes
    boxes: bytes  # (N, 4) xywh, float64
    scores: bytes


class KeptMasks(msgspec.Struct, frozen=True):
    """Records of N masks by column, arrays as bytes."""

    image_ids: bytes
    category_ids: bytes
    scores: bytes
    text: bytes  # codes of all masks
    ends: bytes
    sizes: list[list[int]]
    size_numbers: bytes  # int32

    @classmethod
    def of(cls, records: MaskRecords) -> "KeptMasks":
        """Take the columns of records."""
        rles = records.rles
        return cls(
            image_ids=records.image_ids.tobytes(),
            category_ids=records.category_ids.tobytes(),
            scores=records.scores.tobytes(),
            text=rles.text,
            ends=rles.ends.tobytes(),
            sizes=list(rles.sizes),
            size_numbers=rles.size_numbers.tobytes(),
        )

    def records(self) -> MaskRecords:
        """Return the records."""
        rles = PackedRles(self.text, _integers(self.ends), self.sizes, np.frombuffer(self.size_numbers, dtype=np.int32))
        return MaskRecords(_integers(self.image_ids), _integers(self.category_ids), _floats(self.scores), rles)


class KeptDetections(msgspec.Struct, frozen=True):
    """Detections of a row, with the times, costs and grey values that were measured.

    Attributes:
        masks: masks; None if the method has boxes only.
        boxes: boxes that the method itself predicts; None to use the box of each mask.
        exported_boxes: boxes that result files hold; None to write ``boxes``.
        class_aware: True if the category ids are those of the ground truth.
        score_threshold: operating point.
        seconds: seconds of images, by part of the work.
        timed: ids of the images that were timed; empty if all were.
        costs: resources, by the fields of ``results.Costs``.
        greys: least and greatest value of each image that was read, by image id.
        complete_above: score by the id of each image in which a limit on the number of detections was reached.
        category_thresholds: operating point of the categories that have their own, by their ids.
    """

    masks: KeptMasks | None
    boxes: KeptBoxes | None
    exported_boxes: KeptBoxes | None
    class_aware: bool
    score_threshold: float
    seconds: dict[str, list[float]]
    timed: list[int]
    costs: dict[str, int | float | None]
    greys: dict[int, tuple[int, int]]
    complete_above: dict[int, float]
    category_thresholds: dict[int, float]

    @classmethod
    def of(
        cls, detections: Detections, costs: Mapping[str, float | None], greys: Mapping[int, tuple[int, int]]
    ) -> "KeptDetections":
        """Convert the detections of a row and its measurements."""
        masks = None if detections.masks is None else MaskRecords.of(detections.masks)
        return cls(
            masks=None if masks is None else KeptMasks.of(masks),
            boxes=_kept_boxes(detections.boxes),
            exported_boxes=_kept_boxes(detections.exported_boxes),
            class_aware=detections.class_aware,
            score_threshold=detections.score_threshold,
            seconds={name: list(values) for name, values in detections.seconds.items()},
            timed=list(detections.timed),
            costs=dict(costs),
            greys=dict(greys),
            complete_above=dict(detections.complete_above),
            category_thresholds=dict(detections.category_thresholds),
        )

    def detections(self) -> Detections:
        """Return the detections."""
        return Detections(
            None if self.masks is None else self.masks.records(),
            _boxes(self.boxes),
            self.class_aware,
            self.score_threshold,
            self.seconds,
            exported_boxes=_boxes(self.exported_boxes),
            timed=self.timed,
            complete_above=self.complete_above,
            category_thresholds=self.category_thresholds,
        )


@dataclass(frozen=True)
class Origin:
    """Evaluation that has made a part of a row.

    Attributes:
        folder: folder of the evaluation in which it was found.
        date: date and time of the measurement.
        machine: processors and threads that times were measured on; see `describe_machine`.
    """

    folder: Path
    date: str
    machine: str

    @property
    def measured(self) -> str:
        """Date, time, processors and threads of the measurement."""
        return f"{self.date}, {self.machine}"


@dataclass(frozen=True)
class FoundPart(Generic[T]):
    """Part of a row that was found.

    Attributes:
        content: the part.
        origin: where and when its times were measured.
    """

    content: T
    origin: Origin


class _Envelope(msgspec.Struct, frozen=True):
    """Content of a file: the name of the row for the reader, see `Origin`, and the encoded part."""

    name: str
    date: str
    machine: str
    content: msgspec.Raw


class RowFiles:
    """Parts of rows in the folder of an evaluation, and in those of earlier ones.

    A file is written under a temporary name, and renamed when it is complete. Its name contains the fingerprint of all
    that the part depends on, so that no other part can be mistaken for it.

    Args:
        folder: folder of the evaluation.
        sources: folders of evaluations to take parts from.
        machine: processors and threads that times are measured on; see `describe_machine`.

    Raises:
        SegtrainError: a source is no folder of an evaluation that has kept its rows.
    """

    def __init__(self, folder: Path, sources: Sequence[Path], machine: str) -> None:
        self._folder, self._sources, self.machine = folder, list(sources), machine
        self._used: set[str] = set()
        for source in sources:
            if source != folder and not (source / FOLDER).is_dir():
                raise SegtrainError(
                    f"reuse={source}: there is no folder {FOLDER} in it, where an evaluation keeps its rows; name the "
                    "output_dir of one"
                )

    def find(self, part: str, fingerprint: str, kind: type[T]) -> FoundPart[T] | None:
        """Find a part of a row, and copy its file into this evaluation's folder; None if there is none.

        A damaged file counts as none, with a warning.

        Args:
            part: name of the part, such as "detections".
            fingerprint: fingerprint of what it depends on.
            kind: type of the part, for msgspec.
        """
        name = _file_name(part, fingerprint)
        for source in self._sources:
            path = source / FOLDER / name
            try:
                packed = path.read_bytes()
            except OSError:
                continue
            try:
                envelope = msgspec.msgpack.decode(zlib.decompress(packed), type=_Envelope)
                content = msgspec.msgpack.decode(envelope.content, type=kind)
            except (zlib.error, ValueError):
                logger.warning(f"{path}: is damaged, so this part of a row is made anew")
                continue
            self._used.add(name)
            if source != self._folder:
                write_atomically(self._folder / FOLDER / name, packed)
            return FoundPart(content, Origin(source, envelope.date, envelope.machine))
        return None

    def keep(self, part: str, fingerprint: str, name: str, content: object) -> None:
        """Write a completed part of a row.

        Args:
            part: name of the part.
            fingerprint: fingerprint of what it depends on.
            name: name of the row, for the reader of the file.
            content: the part.
        """
        date = f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}"
        envelope = _Envelope(name, date, self.machine, msgspec.Raw(msgspec.msgpack.encode(content)))
        file_name = _file_name(part, fingerprint)
        self._used.add(file_name)
        # Level 1 is fast; the checksum of the format tells damage.
        write_atomically(self._folder / FOLDER / file_name, zlib.compress(msgspec.msgpack.encode(envelope), 1))

    def drop_others(self) -> None:
        """Remove the parts in the folder that this evaluation has neither made nor found."""
        for path in (self._folder / FOLDER).glob("*"):
            if path.name not in self._used:
                path.unlink(missing_ok=True)


def describe_machine(environment: Mapping[str, str | int | float]) -> str:
    """Name the processors and the number of threads that times depend on.

    Args:
        environment: what ``runtime.describe_environment`` returns.

    >>> describe_machine({"processor": "AMD EPYC", "threads": 2, "gpu": "NVIDIA H100", "processes": 4})
    'NVIDIA H100, AMD EPYC, 4 processes, threads=2'
    """
    processes = [f"{environment['processes']} processes"] if "processes" in environment else []
    gpu = [str(environment["gpu"])] if "gpu" in environment else []
    return ", ".join([*gpu, str(environment["processor"]), *processes, f"threads={environment['threads']}"])


def _file_name(part: str, fingerprint: str) -> str:
    return f"{fingerprint}.{part}{_FORMAT}"


def _integers(content: bytes) -> Any:
    return np.frombuffer(content, dtype=np.int64)


def _floats(content: bytes) -> Any:
    return np.frombuffer(content, dtype=np.float64)


def _kept_boxes(records: Sequence[BoxPrediction] | None) -> KeptBoxes | None:
    if records is None:
        return None
    columns: Mapping[str, tuple[Callable[[BoxPrediction], Any], type]] = {
        "image_ids": (lambda record: record["image_id"], np.int64),
        "category_ids": (lambda record: record["category_id"], np.int64),
        "boxes": (lambda record: record["bbox"], np.float64),
        "scores": (lambda record: record["score"], np.float64),
    }
    return KeptBoxes(
        **{name: np.array(list(map(get, records)), dtype=kind).tobytes() for name, (get, kind) in columns.items()}
    )


def _boxes(kept: KeptBoxes | None) -> list[BoxPrediction] | None:
    if kept is None:
        return None
    columns = (
        _integers(kept.image_ids), _integers(kept.category_ids), _floats(kept.boxes).reshape(-1, 4),
        _floats(kept.scores),
    )  # fmt: skip
    return [
        BoxPrediction(image_id=image_id, category_id=category_id, bbox=box, score=score)
        for image_id, category_id, box, score in zip(*(column.tolist() for column in columns), strict=True)
    ]
