"""Logging of a training run to metrics.jsonl, preview.png and trackers such as TensorBoard."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from segtrain.arrays import FloatArray
from segtrain.io import naming, write_atomically
from segtrain.masks import Rle, encode_crop
from segtrain.targets import Target
from segtrain.training.run_history import IMAGES, METRICS, OBJECTS, parse_line
from segtrain.training.run_state import HEADLINE, VALIDATION
from segtrain.training.trackers.tracker import (
    PrecisionRecall,
    RunPlace,
    Setting,
    Tracker,
    TrackerName,
    start_trackers,
)
from segtrain.visualize import Pixels, draw, sheet

_SAMPLES = "training samples"  # name of the sheet that is recorded when a run begins or goes on


class RunLogger:
    """Logger that writes the numbers and images of a run into its folder, and hands them to trackers.

    A run that is broken off repeats the steps behind its last checkpoint to the bit. ``metrics.jsonl`` is cut
    there, and so is what trackers can forget; from the others, which keep what they have, those steps are held back.

    Args:
        folder: folder of the run.
        step: step that the run begins at; entries of an interrupted run beyond it are removed.
        validated_at: step of the latest validation that the run knows of; entries of later ones are removed, since
            they will be repeated.
        trackers: names of the trackers.
        validated: called after the numbers of each validation are written.

    Raises:
        SegtrainError: the library of a tracker is missing.
    """

    def __init__(
        self,
        folder: Path,
        step: int,
        validated_at: int = -1,
        trackers: Sequence[TrackerName] = ("tensorboard",),
        validated: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._start = folder, step
        self._lines = folder / METRICS
        self._told: set[tuple[int, bool]] = set()  # steps of training and of validation that will be repeated
        self._data: dict[str, int] = {}  # numbers of the data, which the first line holds
        self._knows_data = False
        if self._lines.exists():
            kept = []
            for line in self._lines.read_text(errors="replace").splitlines():
                parsed = parse_line(line)
                if parsed is None:
                    continue
                at, validates = parsed[0], any(name.startswith(VALIDATION) for name in parsed[1])
                if at <= (validated_at if validates else step):
                    kept.append(line)
                    self._knows_data |= IMAGES in parsed[1]
                else:
                    self._told.add((at, validates))
            write_atomically(self._lines, "".join(f"{line}\n" for line in kept))
        self._validated = validated
        self._trackers = start_trackers(trackers, RunPlace(folder, step, validated_at))

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers by name; undefined ones become null in ``metrics.jsonl`` and stay out of the curves."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with naming(self._lines), self._lines.open("a") as stream:
            stream.write(json.dumps({"step": step, **self._data, **finite}) + "\n")
        self._data = {}
        drawn = {name: value for name, value in finite.items() if value is not None}
        validates = any(name.startswith(VALIDATION) for name in values)
        for tracker in self._of(step, validates=validates):
            tracker.log_scalars(step, drawn)
        if f"{VALIDATION}{HEADLINE}" in values:
            self._validated()

    def log_data(self, images: int, objects: int) -> None:
        """Record the numbers of training images and objects, which are no curves, in the first line of a run alone."""
        if not self._knows_data:
            self._data = {IMAGES: images, OBJECTS: objects}

    def log_settings(self, settings: Mapping[str, Setting], yaml: str) -> None:
        """Record the settings that were given for the run, and its composed configuration as text."""
        for tracker in self._trackers:
            tracker.log_settings(settings, yaml)

    def log_samples(self, images: Sequence[Tensor], targets: Sequence[Target], names: Sequence[str]) -> None:
        """Record augmented training samples: ``preview.png``, and the same in the trackers.

        Args:
            images: uint8 RGB tensors (3, H, W), as they enter the network.
            targets: instances of each image.
            names: names of labels 1..K.
        """
        panels = [
            draw(to_pixels(image), target_rles(target, image.shape[-2:]), _names(target.labels.tolist(), names))
            for image, target in zip(images, targets, strict=True)
        ]
        picture = sheet(panels, columns=math.ceil(math.sqrt(len(panels))))
        with naming(self._folder / "preview.png"):
            Image.fromarray(picture).save(self._folder / "preview.png")
        for tracker in self._of(self._start, validates=False):
            tracker.log_image(self._start, _SAMPLES, picture)

    def log_image(self, step: int, name: str, image: Pixels) -> None:
        """Record an image (H, W, 3) of a validation, under the same name at every step."""
        for tracker in self._of(step, validates=True):
            tracker.log_image(step, f"{VALIDATION}{name}", image)

    def log_histogram(self, step: int, name: str, values: FloatArray) -> None:
        """Record the distribution of values of a validation; nothing without any."""
        for tracker in self._of(step, validates=True) if len(values) else ():
            tracker.log_histogram(step, name, values)

    def log_precision_recall(self, step: int, name: str, curve: PrecisionRecall) -> None:
        """Record precision and recall of a validation over the score."""
        for tracker in self._of(step, validates=True):
            tracker.log_precision_recall(step, name, curve)

    def close(self, *, finished: bool = True) -> None:
        """Write buffered entries and close the files.

        Args:
            finished: False if the run has failed or was stopped.
        """
        for tracker in self._trackers:
            tracker.close(finished=finished)

    def _of(self, step: int, *, validates: bool) -> list[Tracker]:
        """Return the trackers that do not know the entries of this step yet."""
        told = (step, validates) in self._told
        return [tracker for tracker in self._trackers if tracker.forgets or not told]


def to_pixels(image: Tensor) -> Pixels:
    """Convert a uint8 tensor (3, H, W) to an array (H, W, 3)."""
    pixels: Pixels = image.permute(1, 2, 0).contiguous().numpy()
    return pixels


def target_rles(target: Target, size: Sequence[int]) -> list[Rle]:
    """Encode the masks of a target as run lengths.

    Args:
        target: instances of an image.
        size: (H, W) of the image.
    """
    corners: list[list[Any]] = target.boxes[:, :2].int().tolist()
    return [
        encode_crop(mask.numpy(), x, y, (int(size[0]), int(size[1])))
        for mask, (x, y) in zip(target.masks, corners, strict=True)
    ]


def _names(labels: Sequence[int], names: Sequence[str]) -> list[str] | None:
    return [names[label - 1] for label in labels] if len(names) > 1 else None
