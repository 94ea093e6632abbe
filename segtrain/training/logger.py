"""Logging of a training run to TensorBoard and metrics.jsonl."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from segtrain.io import naming, write_atomically
from segtrain.masks import Rle, encode_crop
from segtrain.records import GroundTruth, Prediction
from segtrain.targets import Target
from segtrain.training.run_state import VALIDATION
from segtrain.visualize import Pixels, draw, sheet, side_by_side

_CONFIG, _SAMPLES = "config", "training samples"  # names of what is recorded when a run begins or goes on
_HEAD, _TAIL = 12, 4  # bytes before and behind an event in a file
LONGEST = 512  # pixels of a drawn image's longer side


class RunLogger:
    """Logger that writes the numbers and images of a run into its folder.

    Args:
        folder: folder of the run.
        step: step that the run begins at; entries of an interrupted run beyond it are removed.
        validated_at: step of the latest validation that the run knows of; entries of later ones are removed, since
            they will be repeated.
    """

    def __init__(self, folder: Path, step: int, validated_at: int = -1) -> None:
        self._folder, self._start = folder, step
        self._lines = folder / "metrics.jsonl"

        def known(at: float, names: Collection[str]) -> bool:
            if any(name.startswith(VALIDATION) for name in names):
                return at <= validated_at
            return at < step or (at == step and not any(name.startswith((_CONFIG, _SAMPLES)) for name in names))

        if self._lines.exists():
            written = self._lines.read_text(errors="replace").splitlines()
            kept = [line for line in written if known(*_step_and_names(line))]
            write_atomically(self._lines, "".join(f"{line}\n" for line in kept))
        tensorboard = folder / "tensorboard"
        for path in tensorboard.glob("events.out.tfevents.*"):
            write_atomically(path, b"".join(_records_of(path, known)))
        self._writer = SummaryWriter(tensorboard)

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers by name; undefined ones become null in ``metrics.jsonl`` and stay out of the curves."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with naming(self._lines), self._lines.open("a") as stream:
            stream.write(json.dumps({"step": step, **finite}) + "\n")
        with naming(self._folder / "tensorboard"):
            for name, value in finite.items():
                if value is not None:
                    self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def log_config(self, yaml: str) -> None:
        """Record the composed configuration as text."""
        self._writer.add_text(_CONFIG, "\n".join(f"    {line}" for line in yaml.splitlines()), self._start)

    def log_samples(self, images: Sequence[Tensor], targets: Sequence[Target], names: Sequence[str]) -> None:
        """Record augmented training samples: ``preview.png``, and the same in TensorBoard.

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
        self._writer.add_image(_SAMPLES, picture, self._start, dataformats="HWC")
        self._writer.flush()

    def log_comparison(
        self, step: int, name: str, image: Pixels, truths: Sequence[GroundTruth], found: Sequence[Prediction]
    ) -> None:
        """Record one validation image: ground truth on the left, prediction on the right.

        Args:
            step: optimizer steps taken.
            name: name of the image, the same at every step, so that TensorBoard offers a slider.
            image: uint8 RGB array (H, W, 3).
            truths: true objects of the image.
            found: predictions to draw.
        """
        panels = [
            draw(image, [record["segmentation"] for record in records], longest=LONGEST) for records in (truths, found)
        ]
        captions = [f"ground truth: {len(truths)}", f"prediction: {len(found)}"]
        self._writer.add_image(f"{VALIDATION}{name}", side_by_side(panels, captions), step, dataformats="HWC")

    def close(self) -> None:
        """Write buffered entries and close the files."""
        self._writer.close()


def _step_and_names(line: str) -> tuple[float, Collection[str]]:
    """Return the step and the names of a line of ``metrics.jsonl``; infinity for a line that a crash cut."""
    try:
        entry = json.loads(line)
    except ValueError:
        return math.inf, ()
    step = entry.get("step") if isinstance(entry, dict) else None
    return (step, entry) if isinstance(step, int) else (math.inf, ())


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
