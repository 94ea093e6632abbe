"""Progress of a training run, and the checkpoints that hold it."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from segtrain import distributed
from segtrain.data.loader import Batch
from segtrain.data.sampling import Done
from segtrain.errors import SegtrainError
from segtrain.training.checkpoint import Checkpoint, load_checkpoint
from segtrain.training.nan_bundle import StepReport, write_bundle

logger = logging.getLogger(__name__)
VALIDATION = "validation/"  # start of the names of numbers and images of a validation
HEADLINE = "mask_ap"  # metric of the validation that decides which weights are the best


@dataclass
class RunState:
    """Progress of a run.

    Attributes:
        epoch: whole epochs done.
        batch: batches done of the current epoch, with the present batch size.
        earlier: batches of the current epoch that were done with other batch sizes before, in their order.
        step: optimizer steps taken.
        seconds: time of training steps and their waits for data.
        best: highest `HEADLINE` of a validation; nan before the first one, and where it is undefined.
        validated_at: step of the latest validation; -1 before the first one.
        metrics: results of the latest validation.
        validations: number of validations among which `best` is the highest; None if they were on different images.
        ended: limit that has ended the training, in words; None for a training under way.
    """

    epoch: int = 0
    batch: int = 0
    earlier: list[Done] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    best: float = math.nan
    validated_at: int = -1
    metrics: dict[str, float] = field(default_factory=dict)
    validations: int | None = 0
    ended: str | None = None

    @classmethod
    def of(cls, start: Checkpoint, batch_size: int) -> "RunState":
        """Return the progress that a checkpoint states.

        Args:
            start: checkpoint to begin from.
            batch_size: number of images in a batch from now on.
        """
        position = start.training
        if position is None:
            return cls(start.epoch, step=start.step, seconds=start.minutes * 60, validations=start.validations)
        earlier, batch = [Done(*done) for done in position["earlier"]], position["batch"]
        if position["batch_size"] != batch_size and batch:
            earlier, batch = [*earlier, Done(position["batch_size"], batch)], 0
        return cls(
            epoch=start.epoch,
            batch=batch,
            earlier=earlier,
            step=start.step,
            seconds=start.minutes * 60,
            best=position["best"],
            validated_at=position["validated_at"],
            metrics=dict(start.metrics),
            validations=start.validations,
        )


class RunCheckpoints:
    """The files ``best.pt``, to segment with, and ``last.pt``, to resume from; only the first process writes them.

    Args:
        folder: folder of both.
        start: checkpoint that the run begins from, with all fields that do not change with progress.
        schedule_origin: epochs, steps and minutes at which the schedule was restarted; None if it was not.
    """

    def __init__(
        self,
        folder: Path,
        start: Checkpoint,
        *,
        schedule_origin: tuple[float, int, float] | None = None,
    ) -> None:
        self.folder, self.start = folder, start
        self._of_the_run = {"schedule_origin": schedule_origin and list(schedule_origin)}

    @property
    def has_best(self) -> bool:
        """True once there is a ``best.pt``; a damaged one is renamed, and does not count."""
        return distributed.from_first(self._has_whole_best)

    def save_last(self, state: RunState, weights: dict[str, Tensor], learner: Mapping[str, Any]) -> None:
        """Write ``last.pt``.

        Args:
            state: progress so far.
            weights: weights to segment with.
            learner: state that only resuming needs: that of the `Learner` and of its meter, and the size of a batch.

        Raises:
            SegtrainError: a weight is not finite; the last good file stays.
        """
        if not distributed.is_first():
            return
        position = {
            "batch": state.batch,
            "earlier": [list(done) for done in state.earlier],
            "best": state.best,
            "validated_at": state.validated_at,
            **self._of_the_run,
        }
        for part in (weights, learner["model"]):
            _require_finite(part, state.step)
        self._snapshot(state, weights, {**learner, **position}).save(self.folder / "last.pt")

    def save_bundle(
        self, state: RunState, weights: dict[str, Tensor], batches: Sequence[Batch], seed: int, report: StepReport
    ) -> Path:
        """Write the bundle of a step whose loss is not finite, each process its own part, and return its folder.

        Args:
            state: progress before the step.
            weights: weights that learn, as they were before the step.
            batches: batches of the step.
            seed: seed of the draws within the step.
            report: numbers of the step.
        """
        process = f"_process_{distributed.rank()}" if distributed.size() > 1 else ""
        folder = self.folder.parent / "nan" / f"step_{report.step}{process}"
        write_bundle(folder, self._snapshot(state, weights, None), batches, seed, report)
        return folder

    def save_best(self, state: RunState, weights: dict[str, Tensor]) -> None:
        """Write ``best.pt``.

        Args:
            state: progress so far.
            weights: weights to segment with.
        """
        if distributed.is_first():
            self._snapshot(state, weights, None).save(self.folder / "best.pt")

    def keep_best(self, state: RunState) -> None:
        """Leave the weights of ``best.pt``, but record in it the minutes, validations and end of the run so far."""
        if not distributed.is_first():
            return
        path = self.folder / "best.pt"
        best, minutes = load_checkpoint(path), state.seconds / 60
        replace(best, minutes=minutes, validations=state.validations, ended=state.ended).save(path)

    def _has_whole_best(self) -> bool:
        path = self.folder / "best.pt"
        if not path.exists():
            return False
        try:
            load_checkpoint(path)
        except SegtrainError as error:
            aside = path.with_name("best.damaged.pt")
            path.replace(aside)
            logger.warning(f"{error}; it is now {aside.name}, and the best weights from here on become best.pt")
            return False
        return True

    def _snapshot(self, state: RunState, weights: dict[str, Tensor], training: dict[str, Any] | None) -> Checkpoint:
        return replace(
            self.start,
            model=weights,
            epoch=state.epoch,
            step=state.step,
            minutes=state.seconds / 60,
            metrics=dict(state.metrics),
            validations=state.validations,
            training=training,
            ended=state.ended,
        )


def _require_finite(weights: Mapping[str, Tensor], step: int) -> None:
    for name, value in weights.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise SegtrainError(
                f"weights are not finite after step {step} ({name}), and are not saved; try a lower optimizer.lr, a "
                "longer schedule.warmup_steps or trainer.precision=fp32"
            )
