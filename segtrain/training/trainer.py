"""Training loop."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from segtrain import distributed
from segtrain.console import Stage, progress
from segtrain.data.loader import Batch, TrainingLoader
from segtrain.errors import SegtrainError
from segtrain.runtime import peak_memory
from segtrain.segmenters import Trainable
from segtrain.training.learner import Learner, Meter
from segtrain.training.run_state import HEADLINE, RunCheckpoints, RunState
from segtrain.training.settings import TrainSettings
from segtrain.training.threads import ThreadTuner

log = logging.getLogger(__name__)
Validate = Callable[[Trainable, int], dict[str, float]]  # (segmenter, step) -> metrics


class Logger(Protocol):
    """Receives the numbers of a run."""

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers by name, such as ``train/loss``."""
        ...


class Trainer:
    """Training run.

    Args:
        settings: limits, intervals and batch settings of the run.
        learner: network with its optimizer.
        loader: batches of training images.
        validate: computes the metrics of a network.
        logger: receives the numbers of the run; None in processes that write nothing.
        checkpoints: files of the run, and the state that it begins from.
        threads: chooses the number of threads of each step.

    Attributes:
        state: progress of the run.

    Raises:
        SegtrainError: the state to begin from belongs to another model.
    """

    def __init__(
        self,
        settings: TrainSettings,
        learner: Learner,
        loader: TrainingLoader,
        validate: Validate,
        logger: Logger | None,
        checkpoints: RunCheckpoints,
        threads: ThreadTuner,
    ) -> None:
        self.settings, self.learner, self.loader, self.validate = settings, learner, loader, validate
        self.logger, self.checkpoints, self.threads = logger, checkpoints, threads
        start = checkpoints.start
        if start.training is not None:
            learner.restore(start.training, start.model)
        self.state = RunState.of(start)
        self.meter = Meter()
        self._saved_at = self.state.seconds
        self._validation_seconds = 0.0

    @property
    def progress(self) -> float:
        """Share of the training that is done; 1 or more once a limit is reached."""
        return self.settings.limits.progress(self.epochs, self.state.step, self.state.seconds / 60)

    @property
    def epochs(self) -> float:
        """Epochs done, fractions included."""
        return self.state.epoch + self.state.batch / len(self.loader)

    def fit(self) -> float:
        """Train until the first limit is reached, and validate.

        Returns:
            The best validation's mask AP; nan if it is undefined.

        Raises:
            SegtrainError: the loss is not finite, or no image can be read.
        """
        with progress("training") as stage:
            while self.progress < 1:
                self._train_epoch(stage)
                if self._validation_is_due():
                    self._validate()
                self._save_last()
        if self.state.validated_at != self.state.step:
            self._validate()
            self._save_last()
        log.info(
            f"done: {self.state.step} steps, {self.epochs:.2f} epochs, {self.state.seconds / 60:.1f} min of training, "
            f"{self._validation_seconds / 60:.1f} min of validation; highest {HEADLINE} {self.state.best:.4f}"
        )
        return self.state.best

    def _train_epoch(self, stage: Stage) -> None:
        """Train to the end of the epoch, or to the limit within it."""
        state = self.state
        self.learner.segmenter.train()
        first_step = state.step
        is_empty = state.batch >= len(self.loader)  # saved behind the last batch, or with smaller ones
        started = time.perf_counter()
        for fetched, batches in self._batches_of_steps():
            waited = time.perf_counter() - started
            self._train_step(batches)
            state.batch = fetched
            self._account(*distributed.largest([time.perf_counter() - started, waited]))
            spent = f"epoch {state.epoch}  step {state.step}  {state.seconds / 60:.1f} min"
            stage.update(min(self.progress, 1.0), f"{spent}  loss {self.meter.last_loss:.3f}")
            if self._save_is_due():
                self._save_last()
            if self.progress >= 1:
                break
            started = time.perf_counter()
        else:
            state.batch = len(self.loader)
        if state.batch == len(self.loader):
            state.epoch, state.batch = state.epoch + 1, 0
        if state.step == first_step and not is_empty:
            raise SegtrainError("no image of a whole epoch could be read; see the skipped files above")

    def _batches_of_steps(self) -> Iterator[tuple[int, list[Batch]]]:
        """Yield the rest of the epoch in groups of ``accumulate_steps`` batches, with the count fetched so far."""
        group: list[Batch] = []
        for fetched, batch in enumerate(self.loader.epoch(self.state.epoch, self.state.batch), self.state.batch + 1):
            self.meter.skip(batch.skipped)
            if batch.total:
                group.append(batch)
            if group and (len(group) == self.settings.accumulate_steps or fetched == len(self.loader)):
                yield fetched, group
                group = []

    def _train_step(self, batches: Sequence[Batch]) -> None:
        self.learner.train_step(batches, self.state.step, self.progress, self.meter)
        self.state.step += 1

    def _account(self, seconds: float, waited: float) -> None:
        """Count the time of a step, saving and logging left out: these are the minutes that limits are about."""
        self.state.seconds += seconds
        self.threads.step_took(seconds)
        self.meter.time_step(seconds, waited)
        if self.state.step % self.settings.log_every == 0 or self.progress >= 1:
            self._log()

    def _log(self) -> None:
        means = self.meter.compute_and_reset()
        if self.logger is None:
            return
        self.logger.log_scalars(
            self.state.step,
            {
                **means,
                "train/learning_rate": self.learner.learning_rate,
                "train/epoch": self.epochs,
                "train/minutes": self.state.seconds / 60,
                "train/threads": self.threads.chosen,
                "train/memory_gib": peak_memory(self.learner.segmenter.device),
            },
        )

    def _validation_is_due(self) -> bool:
        every, state = self.settings.validate_every, self.state
        return every is not None and state.batch == 0 and state.epoch % every == 0 and self.progress < 1

    def _validate(self) -> None:
        state, checkpoints = self.state, self.checkpoints
        started = time.perf_counter()
        with self.threads.validating():
            state.metrics = self.validate(self.learner.averaged, state.step)
        took = time.perf_counter() - started
        self._validation_seconds += took
        state.validated_at = state.step
        values = {f"validation/{name}": value for name, value in state.metrics.items()}
        if self.logger is not None:
            self.logger.log_scalars(state.step, {**values, "validation/seconds": took})

        headline = state.metrics[HEADLINE]
        is_best = not state.best >= headline  # true as well while either is nan
        if not checkpoints.has_best:
            is_best, state.validations = True, 0  # the weights of earlier validations are lost
        if state.validations is not None:
            state.validations += 1
        if is_best:
            state.best = headline
            checkpoints.save_best(state, self.learner.averaged.state_dict())
        else:
            checkpoints.keep_best(state)
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in state.metrics.items())
        log.info(
            f"step {state.step}, epoch {self.epochs:.2f}, {state.seconds / 60:.1f} min of training, validated in "
            f"{took:.0f} s: {numbers}{_comment(headline, is_best)}"
        )

    def _save_is_due(self) -> bool:
        minutes = self.settings.checkpoint_minutes
        return minutes is not None and self.state.seconds - self._saved_at >= minutes * 60

    def _save_last(self) -> None:
        self.checkpoints.save_last(self.state, self.learner.averaged.state_dict(), self.learner.state())
        self._saved_at = self.state.seconds


def _comment(headline: float, is_best: bool) -> str:
    """Return a remark on a validation's headline metric, for the log."""
    if headline < 0.00005:  # printed as 0.0000: nothing to be proud of
        return "  (no object is found well enough to count yet)"
    return "  (best so far)" if is_best and headline > 0 else ""
