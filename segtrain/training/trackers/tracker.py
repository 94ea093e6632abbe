"""Interface of the trackers that receive the numbers and pictures of a run, and their start by name."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import ClassVar, Literal

from segtrain.arrays import FloatArray
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.visualize import Pixels

TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]
Setting = str | float | bool
# Imported when a run begins: each class imports its library.
_CLASSES: Mapping[TrackerName, str] = {
    "tensorboard": "tensorboard_tracker:TensorBoardTracker",
    "mlflow": "mlflow_tracker:MLflowTracker",
    "wandb": "wandb_tracker:WandbTracker",
    "trackio": "trackio_tracker:TrackioTracker",
}
PROJECT = "segtrain"  # experiment or project that runs are filed under
EVENTS = "events.out.tfevents.*"  # TensorBoard's files, in the run's folder, whose name is that of the run there
RUN_IDS = "trackers.json"  # file of a run's folder: the names of the run in the trackers


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall over the score.

    Attributes:
        thresholds: (N,) scores from which detections count, increasing from 0 to 1.
        hits: (N,) number of correct detections.
        false: (N,) number of false ones.
        missed: (N,) number of true objects that are not found.
    """

    thresholds: FloatArray
    hits: FloatArray
    false: FloatArray
    missed: FloatArray

    @property
    def precision(self) -> FloatArray:
        """Share of correct detections, (N,); 1 without a detection."""
        found = self.hits + self.false
        value: FloatArray = (self.hits + (found == 0)) / (found + (found == 0))
        return value

    @property
    def recall(self) -> FloatArray:
        """Share of found objects, (N,); 0 without a true object."""
        true = self.hits + self.missed
        value: FloatArray = self.hits / (true + (true == 0))
        return value


@dataclass(frozen=True)
class RunPlace:
    """Folder of a run, and the point of the training that it begins at or goes on from.

    Attributes:
        folder: folder of the run.
        step: step that the run begins at.
        validated_at: step of the latest validation that the run knows of; later ones will be repeated.
    """

    folder: Path
    step: int
    validated_at: int


class Tracker(ABC):
    """Receiver of the numbers of a run; what one cannot show it leaves out.

    Attributes:
        forgets: True if it removes the entries that a resumed run will repeat; from others the repeated ones are held
            back.

    Args:
        place: place that the run begins at.
    """

    forgets: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, place: RunPlace) -> None: ...

    @abstractmethod
    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record finite numbers by name, such as ``train/loss``.

        Args:
            step: optimizer steps taken.
            values: numbers by name.
        """

    @abstractmethod
    def log_image(self, step: int, name: str, image: Pixels) -> None:
        """Record an image (H, W, 3), uint8 RGB."""

    @abstractmethod
    def log_settings(self, settings: Mapping[str, Setting], yaml: str) -> None:
        """Record the settings that were given for the run, and its whole configuration as text."""

    def log_histogram(self, step: int, name: str, values: FloatArray) -> None:
        """Record the distribution of some values, at least one."""
        return

    def log_precision_recall(self, step: int, name: str, curve: PrecisionRecall) -> None:
        """Record precision and recall over the score."""
        return

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """Write what is left.

        Args:
            finished: False if the run has failed or was stopped.
        """


def known_run_id(folder: Path, name: str) -> str | None:
    """Return the name of a run in a tracker, by which a resumed run goes on; None for a new one.

    Args:
        folder: folder of the run.
        name: name of the tracker.
    """
    path = folder / RUN_IDS
    value = json.loads(path.read_text()).get(name) if path.exists() else None
    return None if value is None else str(value)


def keep_run_id(folder: Path, name: str, run_id: str) -> None:
    """Keep the name of a run in a tracker; see `known_run_id`."""
    path = folder / RUN_IDS
    known = json.loads(path.read_text()) if path.exists() else {}
    write_atomically(path, json.dumps({**known, name: run_id}))


def start_trackers(names: Sequence[TrackerName], place: RunPlace) -> list[Tracker]:
    """Start trackers.

    Args:
        names: names of the trackers.
        place: place that the run begins at.

    Raises:
        SegtrainError: the library of a tracker is missing.
    """
    started: list[Tracker] = []
    for name in dict.fromkeys(names):
        try:
            started.append(resolve_name(f"{__package__}.{_CLASSES[name]}")(place))
        except ModuleNotFoundError as error:
            raise SegtrainError(
                f"logger={name} needs the package {error.name}: pip install 'segtrain[{name}]'"
            ) from None
    return started
