"""TensorBoard: curves in the order of losses, quality and speed, pictures, distributions and settings."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from segtrain.arrays import FloatArray
from segtrain.io import naming, write_atomically
from segtrain.training.trackers.tracker import EVENTS, PrecisionRecall, RunPlace, Setting, Tracker
from segtrain.visualize import Pixels

_HEAD, _TAIL = 12, 4  # bytes before and behind an event in a file
_SPEED = {
    "train/images_per_second": "speed/images_per_second",
    "train/data_wait_share": "speed/data_wait_share",
    "train/memory_gib": "speed/memory_gib",
    "validation/seconds": "speed/validation_seconds",
}
# Numbers that are no curves: positions on the axis, a setting, and counts that stay 0 in most runs.
_UNDRAWN = {"train/epoch", "train/minutes", "train/threads"}
_COUNTS = {"train/skipped_images", "train/steps_left_out"}
# Starts of the names of what a validation records, and of what is recorded anew whenever a run goes on.
_OF_VALIDATION = ("quality", "validation/", "scores/", "mask sizes/", "precision-recall/", "speed/validation")
_OF_START, _REPLACED = ("config", "training samples"), ("_hparams_", "custom_scalars__config__")
_LAYOUT = {
    "1 losses": {
        "sum of the terms": ["Multiline", ["^losses/loss/.*"]],
        "terms, validation": ["Multiline", ["^losses/loss_.*/validation$"]],
        "terms, training": ["Multiline", ["^losses/loss_.*/training$"]],
    },
    "2 quality": {
        "masks": ["Multiline", ["^quality/mask_ap.*"]],
        "F1 and mIoU": ["Multiline", ["^quality/f1_50$", "^quality/miou$"]],
        "mask AP of categories": ["Multiline", ["^quality of categories/mask_ap/.*"]],
    },
    "3 speed": {
        "images per second": ["Multiline", ["^speed/images_per_second$"]],
        "share of time waiting for data": ["Multiline", ["^speed/data_wait_share$"]],
    },
}
_FINAL = ("quality/mask_ap", "quality/mask_ap50", "quality/f1_50", "losses/loss/validation", "losses/loss/training")


def tag_of(name: str) -> str:
    """Return the tag of a number: TensorBoard sorts groups by their names, losses before quality before speed.

    >>> tag_of("train/loss_mask"), tag_of("validation/loss_mask"), tag_of("validation/mask_ap")
    ('losses/loss_mask/training', 'losses/loss_mask/validation', 'quality/mask_ap')
    >>> tag_of("validation/categories/cell/f1_50"), tag_of("train/learning_rate")
    ('quality of categories/f1_50/cell', 'training/learning_rate')
    """
    part, _, rest = name.partition("/")
    if name in _SPEED:
        return _SPEED[name]
    if rest == "loss" or (rest.startswith("loss_") and rest != "loss_scale"):
        return f"losses/{rest}/{'training' if part == 'train' else 'validation'}"
    if rest.startswith("categories/"):
        category, _, metric = rest.removeprefix("categories/").rpartition("/")
        return f"quality of categories/{metric}/{category}"
    return f"{'quality' if part == 'validation' else 'training'}/{rest}"


class TensorBoardTracker(Tracker):
    """Writer of an event file in the folder of a run.

    Args:
        place: place that the run begins at; entries of an interrupted run beyond it are removed.
    """

    forgets = True

    def __init__(self, place: RunPlace) -> None:
        folder, step = self._folder, self._start = place.folder, place.step

        def known(at: int, tags: Collection[str]) -> bool:
            if any(tag.startswith(_REPLACED) for tag in tags):
                return False
            if any(tag.startswith(_OF_VALIDATION) or tag.endswith("/validation") for tag in tags):
                return at <= place.validated_at
            return at < step or (at == step and not any(tag.startswith(_OF_START) for tag in tags))

        for path in folder.glob(EVENTS):
            write_atomically(path, b"".join(_records_of(path, known)))
        self._writer = SummaryWriter(folder)
        self._end: Any = None
        self._counted: set[str] = set()
        self._writer.add_custom_scalars(_LAYOUT)

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record the numbers that are curves; see `Tracker`."""
        self._counted |= {name for name in _COUNTS & values.keys() if values[name] > 0}
        drawn = values.keys() - _UNDRAWN - (_COUNTS - self._counted)
        with naming(self._folder):
            for name in filter(drawn.__contains__, values):
                self._writer.add_scalar(tag_of(name), values[name], step)
            self._writer.flush()

    def log_image(self, step: int, name: str, image: Pixels) -> None:
        """See `Tracker`."""
        self._writer.add_image(name, image, step, dataformats="HWC")

    def log_histogram(self, step: int, name: str, values: FloatArray) -> None:
        """See `Tracker`."""
        self._writer.add_histogram(name, values, step)

    def log_precision_recall(self, step: int, name: str, curve: PrecisionRecall) -> None:
        """See `Tracker`."""
        counts = curve.hits, curve.false, 0 * curve.hits, curve.missed
        numbers = {"num_thresholds": len(curve.thresholds), "global_step": step}
        self._writer.add_pr_curve_raw(f"precision-recall/{name}", *counts, curve.precision, curve.recall, **numbers)

    def log_settings(self, settings: Mapping[str, Setting], yaml: str) -> None:
        """Record the settings beside the final numbers, in the tab HParams, and the configuration as text."""
        self._writer.add_text("config", "\n".join(f"    {line}" for line in yaml.splitlines()), self._start)
        make: Any = hparams
        experiment, session, self._end = make(dict(settings), dict.fromkeys(_FINAL, 0.0))
        for summary in (experiment, session):
            self._add(summary)
        self._writer.flush()

    def close(self, *, finished: bool) -> None:
        """See `Tracker`."""
        if finished and self._end is not None:
            self._add(self._end)
        self._writer.close()

    def _add(self, summary: Any) -> None:
        writer: Any = self._writer
        writer._get_file_writer().add_summary(summary, self._start)


def _records_of(path: Path, known: Callable[[int, Collection[str]], bool]) -> Iterator[bytes]:
    """Yield the records of an event file of TensorBoard that are kept, without a last one that a crash cut.

    Args:
        path: the file: records of a length (8 bytes), its checksum (4), an event, and its checksum (4).
        known: tells by the step and the names of an event whether it is kept.
    """
    content, start = path.read_bytes(), 0
    while start + _HEAD <= len(content):
        end = start + _HEAD + int.from_bytes(content[start : start + 8], "little") + _TAIL
        if end > len(content):
            return
        try:
            event = Event.FromString(content[start + _HEAD : end - _TAIL])
        except DecodeError:
            return
        if not event.HasField("summary") or known(event.step, [value.tag for value in event.summary.value]):
            yield content[start:end]
        start = end
