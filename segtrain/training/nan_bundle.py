"""Bundle of a step whose loss was not finite: the data that are needed to repeat it, and its repetition."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from segtrain.data.dataset import Sample
from segtrain.data.loader import Batch, Packed, pack, unpack
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.segmenters.state_file import read_state, summarise_error
from segtrain.training.checkpoint import Checkpoint, build_trainable, restore_weights, segmenter_node
from segtrain.training.checkpoint_fields import check_fields
from segtrain.training.gradients import Gradients, NotFiniteError, norms_by_part

_STEP, _REPORT = "step.pt", "report.json"


@dataclass(frozen=True)
class StepReport:
    """Numbers of a step.

    Attributes:
        step: steps taken before it.
        losses: loss terms by name.
        gradient_norms: norm of the gradient of each part of the network.
        not_finite: number of weights that are not finite, by tensor; empty if all are finite.
        images: ids of its images; of several processes, of those of this one.
        process: this process and their number, such as "process 0 of 2"; empty for a single one.
    """

    step: int
    losses: dict[str, float]
    gradient_norms: dict[str, float]
    not_finite: dict[str, int]
    images: list[int]
    process: str = ""

    def lines(self) -> list[str]:
        """Return the numbers in lines for a terminal."""
        part, images = f"the part of {self.process}, " if self.process else "", ", ".join(map(str, self.images))
        weights = ", ".join(f"{count} of {name}" for name, count in self.not_finite.items()) or "all finite"
        return [
            f"step {self.step}, {part}images {images}",
            *(f"  {name}: {value:.6g}" for name, value in self.losses.items()),
            *(f"  gradient of {name}: {value:.6g}" for name, value in self.gradient_norms.items()),
            f"  weights: {weights}",
        ]


def count_not_finite(weights: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Count the numbers of each tensor that are not finite; tensors without any are left out."""
    counts = {name: int((~value.isfinite()).sum()) for name, value in weights.items() if value.is_floating_point()}
    return {name: count for name, count in counts.items() if count}


def write_bundle(folder: Path, checkpoint: Checkpoint, batches: Sequence[Batch], seed: int, report: StepReport) -> None:
    """Write the bundle of a step.

    Args:
        folder: folder of the bundle, such as ``nan/step_120`` in that of the run.
        checkpoint: description of the run, with the weights that learn as they were before the step.
        batches: batches of the step.
        seed: seed of the draws within the step.
        report: numbers of the step.
    """
    packed = [
        pack([Sample(*parts) for parts in zip(batch.images, batch.targets, batch.image_ids, strict=True)])._asdict()
        for batch in batches
    ]
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    buffer = io.BytesIO()
    whole = {"checkpoint": content, "batches": packed, "seed": seed, "step": report.step, "process": report.process}
    torch.save(whole, buffer)
    write_atomically(folder / _STEP, buffer.getvalue())
    numbers = {name: _plain(value) if isinstance(value, dict) else value for name, value in vars(report).items()}
    write_atomically(folder / _REPORT, json.dumps(numbers, indent=1, allow_nan=False))


def _plain(numbers: Mapping[str, float]) -> dict[str, float | str]:
    """Replace numbers that are not finite, which JSON lacks, by "nan", "inf" or "-inf"."""
    return {name: value if isfinite(value) else str(value) for name, value in numbers.items()}


def replay_bundle(folder: Path, trust: Sequence[str] = ()) -> StepReport:
    """Repeat the step of a bundle on the CPU: forward and backward pass, without changing weights.

    Args:
        folder: folder of the bundle.
        trust: packages beside segtrain whose code the bundle may name.

    Returns:
        The numbers of the step.

    Raises:
        SegtrainError: the bundle cannot be read, or asks for foreign code.
    """
    path = folder / _STEP if folder.is_dir() else folder
    if not path.exists():
        raise SegtrainError(f"{path}: no such file; give the folder of a bundle, such as RUN/nan/step_120")
    content: dict[str, Any] = read_state(path, finite=False)
    try:
        check_fields(content["checkpoint"], str(path))
        checkpoint = Checkpoint(**content["checkpoint"])
        batches = [unpack(Packed(**packed)) for packed in content["batches"]]
        seed, step, process = int(content["seed"]), int(content["step"]), str(content.get("process", ""))
    except SegtrainError:
        raise
    except Exception as error:  # fields that are missing, or of other types
        raise SegtrainError(f"{path}: not a bundle that can be read ({summarise_error(error)})") from None
    node = segmenter_node(checkpoint, str(path), None, trust)
    segmenter = build_trainable(node, checkpoint.class_names, initialise=False)
    restore_weights(segmenter, checkpoint.model, str(path))
    segmenter.precision = checkpoint.precision
    segmenter.train()

    def seed_draws() -> None:
        torch.manual_seed(seed)

    try:
        losses = Gradients(segmenter).accumulate(batches, step, seed_draws)
    except NotFiniteError as error:
        losses = [error.losses]
    means = {name: sum(batch[name] for batch in losses) / len(losses) for name in losses[0]}
    images = [image_id for batch in batches for image_id in batch.image_ids]
    return StepReport(step, means, norms_by_part(segmenter), count_not_finite(checkpoint.model), images, process)
