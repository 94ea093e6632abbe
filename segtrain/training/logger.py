"""Logging of a training run to TensorBoard and metrics.jsonl; the only door to TensorBoard."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from segtrain.io import write_atomically
from segtrain.masks import Rle, encode_crop
from segtrain.records import GroundTruth, Prediction
from segtrain.targets import Target
from segtrain.visualize import Pixels, draw, sheet, side_by_side

LONGEST = 512  # pixels of a drawn image's longer side


class RunLogger:
    """Writes the numbers and pictures of a run into its folder.

    Args:
        folder: folder of the run.
        step: step that the run begins at; entries of an interrupted run beyond it are removed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._lines = folder / "metrics.jsonl"
        if self._lines.exists():
            written = self._lines.read_text(errors="replace").splitlines()
            kept = [line for line in written if _step_of(line) <= step]
            write_atomically(self._lines, "".join(f"{line}\n" for line in kept))
        self._writer = SummaryWriter(folder / "tensorboard", purge_step=step + 1 if step else None)

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers by name; undefined ones become null in ``metrics.jsonl`` and stay out of the curves."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self._lines.open("a") as stream:
            stream.write(json.dumps({"step": step, **finite}) + "\n")
        for name, value in finite.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def log_config(self, yaml: str) -> None:
        """Record the composed configuration as text."""
        self._writer.add_text("config", "\n".join(f"    {line}" for line in yaml.splitlines()), 0)

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
        Image.fromarray(picture).save(self._folder / "preview.png")
        self._writer.add_image("training samples", picture, 0, dataformats="HWC")
        self._writer.flush()

    def log_comparison(
        self, step: int, name: str, image: Pixels, truths: Sequence[GroundTruth], found: Sequence[Prediction]
    ) -> None:
        """Record one validation image: ground truth on the left, prediction on the right.

        Args:
            step: optimizer steps taken.
            name: name of the image, the same at every step, so that TensorBoard offers a slider.
            image: uint8 RGB array (H, W, 3).
            truths: true instances of the image.
            found: predictions to draw.
        """
        panels = [
            draw(image, [record["segmentation"] for record in records], longest=LONGEST) for records in (truths, found)
        ]
        captions = [f"ground truth: {len(truths)}", f"prediction: {len(found)}"]
        self._writer.add_image(f"validation/{name}", side_by_side(panels, captions), step, dataformats="HWC")

    def close(self) -> None:
        """Write buffered entries and close the files."""
        self._writer.close()


def _step_of(line: str) -> float:
    """Return the step of a line of ``metrics.jsonl``; infinity for a line that a crash cut."""
    try:
        entry = json.loads(line)
    except ValueError:
        return math.inf
    step = entry.get("step") if isinstance(entry, dict) else None
    return step if isinstance(step, int) else math.inf


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
