"""Training loop."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from segtrain import distributed
from segtrain.console import Stage, progress
from segtrain.data.loader import Batch, TrainingLoader
from segtrain.errors import SegtrainError
from segtrain.memory import peak_memory
from segtrain.segmenters import Trainable
from segtrain.stopping import Stopped, finishing_work, interruptible, stop_requested
from segtrain.training.gradients import NotFiniteError, norms_by_part
from segtrain.training.learner import Learner, Meter
from segtrain.training.nan_bundle import StepReport, count_not_finite
from segtrain.training.patience import Patience
from segtrain.training.run_state import HEADLINE, VALIDATION, RunCheckpoints, RunState
from segtrain.training.settings import TrainSettings
from segtrain.training.threads import ThreadTuner

log = logging.getLogger(__name__)
IN_A_ROW = 3  # steps left out, after which a training ends
BUNDLES = 5  # steps left out that are kept, since each bundle holds all weights; one that ends the training is, too
_SOON = 20  # steps after resuming within which a loss that is not finite may come from the resumed state
Validate = Callable[[Trainable, int], dict[str, float]]  # (segmenter, step) -> metrics
# (share of the training that is done, value of trainer.monitor) -> why a search ends the training here, or None
Judge = Callable[[float, float], str | None]


class Logger(Protocol):
    """Interface of a receiver of the numbers of a run."""

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers by name, such as ``train/loss``."""
        ...


class Trainer:
    """Training run.

    Args:
        settings: limits, intervals and batch settings of the run.
        learner: network with its optimizer, restored if the run is resumed.
        loader: batches of training images.
        validate: function of a network and the step that returns the metrics.
        logger: receives the numbers of the run; None in processes that write nothing.
        checkpoints: files of the run, and the state that it begins from.
        threads: tuner of the number of threads of each step.
        judge: hears of each validation, and may end the training; None for a training that is not part of a search, and
            in processes beside the first one.

    Attributes:
        state: progress of the run.
        pruned: why the judge has ended the training, in words; None if it has not.

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
        judge: Judge | None = None,
    ) -> None:
        self.settings, self.learner, self.loader, self.validate = settings, learner, loader, validate
        self.logger, self.checkpoints, self.threads, self.judge = logger, checkpoints, threads, judge
        start = checkpoints.start
        self.meter = Meter()
        self.patience = Patience(settings.patience, settings.monitor, settings.min_gain)
        if start.training is not None:
            self.meter.restore(start.training["meter"])
            _note_processes(start.training.get("processes", 1))
            if "patience" in start.training and start.validations is not None:
                self.patience.restore(start.training["patience"])
        self.state = RunState.of(start, loader.batch_size)
        self.pruned: str | None = None
        self._epoch_batches = self._count_batches()
        self._saved_at, self._saved_step = self.state.seconds, self.state.step
        self._validation_seconds = 0.0

    @property
    def progress(self) -> float:
        """Share of the training that is done; 1 or more once a limit is reached."""
        return self.settings.limits.progress(self.epochs, self.state.step, self.state.seconds / 60)

    @property
    def is_finished(self) -> bool:
        """True once a limit is reached, the validations have not improved for too long, or the judge says so."""
        return self.progress >= 1 or self.patience.is_exhausted or self.pruned is not None

    @property
    def epochs(self) -> float:
        """Epochs done, fractions included."""
        earlier = sum(done.batches for done in self.state.earlier)
        return self.state.epoch + (earlier + self.state.batch) / (earlier + self._epoch_batches)

    def fit(self) -> float:
        """Train until the first limit is reached, the validations do not improve or the judge ends it, and validate.

        ``last.pt`` is saved before each validation, so that one that fails or is broken off loses nothing; a resumed
        run begins with it.

        Returns:
            The best validation's mask AP; nan if it is undefined.

        Raises:
            SegtrainError: the loss is not finite, or no image can be read.
            Stopped: a signal was received; ``last.pt`` holds the last step.
        """
        with finishing_work(), progress("training") as stage:
            self._close_epoch()  # the state may have been saved behind the last batch
            self._validate_if_due()
            while not self.is_finished:
                self._train_epoch(stage)
                self._save_last()
                self._validate_if_due()
        if self.patience.is_exhausted or self.pruned is not None:
            log.info(f"{self._reason_to_end()}; the training ends here")
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
        started = time.perf_counter()
        for fetched, batches in self._batches_of_steps():
            waited = time.perf_counter() - started
            self._train_step(batches)
            state.batch = fetched
            # In all processes the longest times, and the signal that any of them has received.
            took, waited, signal = distributed.largest([time.perf_counter() - started, waited, stop_requested()])
            self._account(took, waited)
            spent = f"epoch {state.epoch}  step {state.step}  {state.seconds / 60:.1f} min"
            stage.update(min(self.progress, 1.0), f"{spent}  loss {self.meter.last_loss:.3f}")
            if self._save_is_due():
                self._save_last()
            if signal:
                self._save_last()
                raise Stopped(int(signal))
            if self.progress >= 1:
                break
            started = time.perf_counter()
        else:
            state.batch = self._epoch_batches
        self._close_epoch()
        if state.step == first_step:
            raise SegtrainError("no image of a whole epoch could be read; see the skipped files above")

    def _close_epoch(self) -> None:
        """Count the epoch under way if all of its batches are done."""
        state = self.state
        if state.batch >= self._epoch_batches:
            state.epoch, state.batch, state.earlier = state.epoch + 1, 0, []
            self._epoch_batches = self._count_batches()

    def _count_batches(self) -> int:
        """Count the batches of the epoch under way, those of other sizes left out."""
        return self.loader.batches_left(self.state.epoch, self.state.earlier)

    def _batches_of_steps(self) -> Iterator[tuple[int, list[Batch]]]:
        """Yield the rest of the epoch in groups of ``accumulate_steps`` batches, with the count fetched so far.

        Between steps the state is whole, and is saved if there is no next batch.
        """
        group: list[Batch] = []
        state = self.state
        batches = self.loader.epoch(state.epoch, state.batch, state.earlier)
        try:
            for fetched, batch in enumerate(batches, state.batch + 1):
                self.meter.skip(batch.skipped)
                if batch.total:
                    group.append(batch)
                if group and (len(group) == self.settings.accumulate_steps or fetched == self._epoch_batches):
                    yield fetched, group
                    group = []
        except SegtrainError:
            if state.step > self._saved_step:
                self._save_last()
            raise

    def _train_step(self, batches: Sequence[Batch]) -> None:
        try:
            self.learner.train_step(batches, self.state.step, self.progress, self.meter)
        except NotFiniteError as error:
            self._leave_out(batches, error)
        self.state.step += 1

    def _leave_out(self, batches: Sequence[Batch], error: NotFiniteError) -> None:
        """Keep a step whose loss is not finite as a bundle, and leave it out or end here."""
        step, weights = self.state.step, self.learner.segmenter.state_dict()
        norms = norms_by_part(self.learner.segmenter)
        self.learner.leave_step_out()
        self.meter.leave_step_out()
        ends = self.settings.on_nan == "stop" or self.meter.left_out_in_a_row == IN_A_ROW
        left_out = f"the step is left out, {self.meter.left_out} so far"
        if not ends and self.meter.left_out > BUNDLES:
            log.warning(f"{error}; {left_out}, of which the first {BUNDLES} are kept")
            return
        images = [image_id for batch in batches for image_id in batch.image_ids]
        process = f"process {distributed.rank()} of {distributed.size()}" if distributed.size() > 1 else ""
        report = StepReport(step, error.losses, norms, count_not_finite(weights), images, process)
        bundle = self.checkpoints.save_bundle(self.state, weights, batches, self.learner.seed_of(step), report)
        if ends:
            raise SegtrainError(f"{error}; segtrain replay {bundle} repeats the step{self._remedy_after_resuming()}")
        log.warning(f"{error}; {left_out}, and kept in {bundle}")

    def _remedy_after_resuming(self) -> str:
        """Name the best weights where the state that was resumed may have been that of a run that had exploded."""
        start, best = self.checkpoints.start.step, self.checkpoints.folder / "best.pt"
        if not start or self.state.step - start >= _SOON or not best.exists():
            return ""
        return f"; if a lower optimizer.lr does not help, begin another run with segmenter.weights={best}"

    def _account(self, seconds: float, waited: float) -> None:
        """Add the time of a step, without saving and logging, to the minutes of training that limits use."""
        self.state.seconds += seconds
        self.threads.step_took(seconds)
        self.meter.time_step(seconds, waited)
        if self.state.step % self.settings.log_every == 0 or self.progress >= 1:
            self._log()

    def _log(self) -> None:
        means = self.meter.compute_and_reset()
        if self.logger is None:
            return
        scale = self.learner.loss_scale
        self.logger.log_scalars(
            self.state.step,
            {
                **means,
                **({} if scale == 1 else {"train/loss_scale": scale}),
                "train/learning_rate": self.learner.learning_rate,
                "train/epoch": self.epochs,
                "train/minutes": self.state.seconds / 60,
                "train/threads": self.threads.chosen,
                "train/memory_gib": peak_memory(self.learner.segmenter.device),
            },
        )

    def _validate_if_due(self) -> None:
        every, state = self.settings.validate_every, self.state
        ended = self.is_finished
        at_epoch_end = state.epoch > 0 and state.batch == 0 and not state.earlier
        if state.validated_at == state.step or not (ended or (every and at_epoch_end and state.epoch % every == 0)):
            return
        self._validate()
        if self.is_finished:
            self._save_last()

    def _validate(self) -> None:
        state, checkpoints = self.state, self.checkpoints
        started = time.perf_counter()
        with self.threads.validating(), interruptible():
            state.metrics = self.validate(self.learner.averaged, state.step)
        took = time.perf_counter() - started
        self._validation_seconds += took
        state.validated_at = state.step
        values = {f"{VALIDATION}{name}": value for name, value in state.metrics.items()}
        if self.logger is not None:
            self.logger.log_scalars(state.step, {**values, f"{VALIDATION}seconds": took})

        self.patience.update(state.metrics.get(self.settings.monitor, math.nan), state.step)
        self.pruned = distributed.from_first(self._judged)
        state.ended = self._reason_to_end()
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
        shown = {name: value for name, value in state.metrics.items() if not name.startswith("loss_")}
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        log.info(
            f"step {state.step}, epoch {self.epochs:.2f}, {state.seconds / 60:.1f} min of training, validated in "
            f"{took:.0f} s: {numbers}{_comment(headline, is_best)}"
        )

    def _judged(self) -> str | None:
        """Ask the judge of the latest validation."""
        value = self.state.metrics.get(self.settings.monitor, math.nan)
        return None if self.judge is None else self.judge(self.progress, value)

    def _reason_to_end(self) -> str | None:
        """Return the limit that ends the training here, in words; None if it goes on."""
        if self.pruned is not None:
            return self.pruned
        if self.patience.is_exhausted:
            return self.patience.describe()
        done = self.epochs, self.state.step, self.state.seconds / 60
        return self.settings.limits.nearest(*done) if self.progress >= 1 else None

    def _save_is_due(self) -> bool:
        minutes = self.settings.checkpoint_minutes
        return minutes is not None and self.state.seconds - self._saved_at >= minutes * 60

    def _save_last(self) -> None:
        sizes = {"batch_size": self.loader.batch_size, "processes": distributed.size()}
        counts = {"meter": self.meter.state(), "patience": self.patience.state(), "epochs": self.epochs}
        more = {**self.learner.state(), **counts, **sizes}
        self.checkpoints.save_last(self.state, self.learner.averaged.state_dict(), more)
        self._saved_at, self._saved_step = self.state.seconds, self.state.step


def _note_processes(then: int) -> None:
    """Log that a run goes on with another number of processes than before."""
    now = distributed.size()
    if now != then:
        log.info(f"processes: {then} before, {now} from here on; batches and the draws of anchors and regions differ")


def _comment(headline: float, is_best: bool) -> str:
    """Return a remark on a validation's headline metric, for the log."""
    if headline < 0.00005:  # printed as 0.0000
        return "  (no object is found well enough to count yet)"
    return "  (best so far)" if is_best and headline > 0 else ""
