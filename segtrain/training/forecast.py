"""Forecast of a run before its first step: its time and memory, and how it can be shortened.

Two trial steps are computed on the most expensive images: the first one shows whether the memory suffices, and warms
up; the second one is timed (three of them, if they are short). If a typical one of the next batches is cheaper, it is
timed as well. The run itself is not changed.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from segtrain import distributed
from segtrain.console import progress
from segtrain.data.dataset import CocoDataset, plain_sample
from segtrain.data.images.image_reader import as_tensor
from segtrain.data.images.large_image import LargeImage, read_or_open
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.memory import MemoryAbove, free_memory, held_memory
from segtrain.memory_guard import NotEnoughMemoryError
from segtrain.segmenters.tiles import tiled
from segtrain.training.costly_images import CostlyImages, DrawnBatch
from segtrain.training.gradients import LESS_MEMORY, describe_images
from segtrain.training.rehearsal import pending_state_bytes, rehearse, timed, without_trace
from segtrain.training.trainer import Trainer
from segtrain.training.validation_losses import ValidationLosses, evaluating

logger = logging.getLogger(__name__)
# Least number of steps of a run that is foretold, and of one whose slow steps are rehearsed more than once.
LEAST_STEPS = 10
_LOOKED_AT = 100  # batches among which a typical one is chosen
_QUICK = 1.0  # seconds; steps that take less are always rehearsed more than once
_REPEATS = 3  # of such a step, whose time says little on a busy machine
_ALIKE = 0.9  # typical images with this share of the pixels of the most expensive ones are not timed separately
_LONG = 3600.0  # seconds of training, above which shorter trainings are suggested
_MANY_OBJECTS = 15  # mean number of objects in an image, from which experiment=nuclei is suggested rather than photos


@dataclass(frozen=True)
class Forecast:
    """Time and memory that a run will take.

    Attributes:
        steps: number of steps that are left.
        step: seconds of a step on typical images, with loading.
        costliest: seconds of a step on the images that cost most.
        validation: seconds of all validations, and of the choice of the score threshold.
        minutes: limit of the training in minutes, if that ends it; None if epochs or steps do.
        memory: bytes at the peak, in each process; None where the system cannot tell.
        available: bytes that this process may take.
        warm: False if a step was timed that had to warm up, which takes longer than those that follow.
    """

    steps: int
    step: float
    costliest: float
    validation: float
    minutes: float | None
    memory: float | None
    available: float
    warm: bool = True

    @property
    def seconds(self) -> float:
        """Seconds of training, without validation."""
        return self.steps * self.step if self.minutes is None else 60 * self.minutes

    @property
    def line(self) -> str:
        """The forecast in one line.

        >>> Forecast(552, 53.0, 54.0, 720.0, None, 10e9, 15e9).line
        '552 steps of about 53 s: 8.1 h, validation 12 min, about 9.3 GB'
        >>> Forecast(300, 0.8, 1.3, 20.0, 4.0, None, 15e9).line
        'about 300 steps of 0.8 s (1.3 s with the largest images) in 4 min, validation 20 s'
        >>> Forecast(3, 62.0, 62.0, 20.0, 4.0, None, 15e9, warm=False).line
        'at least 3 steps of 62 s at most in 4 min, validation 20 s'
        """
        step, most = describe_seconds(self.step), describe_seconds(self.costliest)
        largest = f" ({most} with the largest images)" if self.costliest > self.step / _ALIKE else ""
        time = describe_seconds(self.seconds)
        if self.minutes is None:
            text = f"{self.steps} step{'s' * (self.steps != 1)} of about {step}{largest}: {time}"
        elif not self.warm:
            text = f"at least {self.steps} step{'s' * (self.steps != 1)} of {step} at most in {time}"
        else:
            text = f"about {self.steps} step{'s' * (self.steps != 1)} of {step}{largest} in {time}"
        each = " in each process" if distributed.size() > 1 else ""
        memory = "" if self.memory is None else f", about {_gigabytes(self.memory)}{each}"
        return f"{text}, validation {describe_seconds(self.validation)}{memory}"


def describe_seconds(seconds: float) -> str:
    """Return a time in words, rounded for a reader.

    >>> [describe_seconds(s) for s in (0.0349, 0.52, 7.25, 53, 720, 29160, 400000)]
    ['0.035 s', '0.52 s', '7.2 s', '53 s', '12 min', '8.1 h', '4.6 days']
    """
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (172800, 3600, "h"), (math.inf, 86400, "days")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.2g} {name}"
    return f"{seconds} s"


def announce(
    trainer: Trainer,
    dataset: CocoDataset,
    validation: Split,
    *,
    threshold_images: int,
    presets: Mapping[str, float],
) -> Forecast | None:
    """Rehearse steps of a run, and log its forecast; None for a run of few steps.

    Args:
        trainer: run, new or resumed, before its first step.
        dataset: training samples.
        validation: validation images.
        threshold_images: number of images that the score threshold is chosen on; 0 if it is given.
        presets: ``trainer.max_minutes`` of experiments, by name.

    Raises:
        SegtrainError: the memory does not suffice; the message names the images and the settings that help.
    """
    steps = steps_left(trainer)
    if trainer.is_finished or (steps is not None and steps < LEAST_STEPS):
        return None
    found = _forecast(trainer, dataset, validation, steps, threshold_images)
    if found is None:
        return None
    logger.info(found.line)
    if found.memory is not None and found.memory > found.available:
        logger.warning(
            f"the run may not fit the memory: it may take {_gigabytes(found.available)}, and needs about "
            f"{_gigabytes(found.memory)}; {LESS_MEMORY}"
        )
    if found.minutes is None and found.seconds > _LONG:
        logger.info(_shorter(dataset, presets if trainer.learner.segmenter.device.type == "cpu" else {}))
    return found


def steps_left(trainer: Trainer) -> int | None:
    """Count the steps until the limits of epochs and steps; None if minutes alone limit a training."""
    settings, state = trainer.settings, trainer.state
    counts = []
    if settings.max_steps is not None:
        counts.append(settings.max_steps - state.step)
    if settings.epochs is not None:
        here = trainer.loader.batches_left(state.epoch, state.earlier) - state.batch
        later = settings.epochs - state.epoch - 1
        counts.append(-(-here // settings.accumulate_steps) + later * _steps_of_epoch(trainer))
    return max(min(counts), 0) if counts else None


def validations_left(trainer: Trainer, steps: int) -> int:
    """Count the validations of the next steps, after which a training ends.

    Args:
        trainer: run before these steps.
        steps: their number.
    """
    every, state = trainer.settings.validate_every, trainer.state
    done = state.epoch + state.batch / max(len(trainer.loader), 1)
    end = done + steps / _steps_of_epoch(trainer)
    if every is None:
        return 1
    before_end = math.ceil(end / every - 1e-9) - 1  # the one at the end comes in any case
    return max(before_end - math.floor(done / every), 0) + 1


def _steps_of_epoch(trainer: Trainer) -> int:
    return max(-(-len(trainer.loader) // trainer.settings.accumulate_steps), 1)


def _forecast(
    trainer: Trainer, dataset: CocoDataset, validation: Split, steps: int | None, threshold_images: int
) -> Forecast | None:
    settings, learner = trainer.settings, trainer.learner
    segmenter, device = learner.segmenter, learner.segmenter.device
    size = trainer.loader.batch_size // distributed.size()
    images = CostlyImages(dataset, segmenter)
    with without_trace(segmenter), progress("rehearsing steps", transient=True) as stage:
        costly = images.costliest(size, trainer.state.epoch)
        typical = images.typical(_upcoming(trainer))
        if costly is None or typical is None:
            return None
        held, free = held_memory(device), free_memory(device) / _processes_that_share(device)
        with MemoryAbove(device) as memory:
            warm = _first_step(trainer, costly)
            stage.update(0.25)
            again = warm < _QUICK or _most_steps(trainer, steps, warm) >= LEAST_STEPS
            repeats = _REPEATS if warm < _QUICK else 1
            most = _usual_step(trainer, costly, repeats) if again else warm
        stage.update(0.5)
        usual = most
        if again and typical.pixels < _ALIKE * costly.pixels:
            usual = _usual_step(trainer, typical, repeats)
        stage.update(0.75)
        per_image, with_losses = _validation_seconds(trainer, validation, twice=again)

    loading = _joint(typical.loading) * size
    step, costliest = (
        settings.accumulate_steps * (each + loading if not settings.workers else max(each, loading / settings.workers))
        for each in (usual, most)
    )
    fitting, minutes = _most_steps(trainer, steps, step), None
    if settings.max_minutes is not None and (steps is None or fitting < steps):
        minutes = settings.max_minutes - trainer.state.seconds / 60
    steps = max(int(fitting), 1)
    count = validations_left(trainer, steps)
    chosen = threshold_images * min(count, 2)  # for the best weights and for the last ones
    validating = (count * len(validation.index.images) * with_losses + chosen * per_image) / distributed.size()
    pending = pending_state_bytes(learner.optimizer)
    peak = None if memory.gib is None else held + memory.gib * 2**30 + pending
    return Forecast(steps, step, costliest, validating, minutes, peak, held + free, again)


def _most_steps(trainer: Trainer, steps: int | None, seconds: float) -> float:
    """Return the number of steps that are left, if each takes so long."""
    limit = trainer.settings.max_minutes
    fitting = math.inf if limit is None else (60 * limit - trainer.state.seconds) / seconds
    return fitting if steps is None else min(fitting, steps)


def _upcoming(trainer: Trainer) -> list[list[tuple[int, int]]]:
    """Return the keys of the next batches: of the epoch under way, or of the next one if none is left in it."""
    state, loader = trainer.state, trainer.loader
    found = loader.upcoming(state.epoch, state.batch, state.earlier, _LOOKED_AT)
    return found or loader.upcoming(state.epoch + 1, 0, [], _LOOKED_AT)


def _first_step(trainer: Trainer, costly: DrawnBatch) -> float:
    """Rehearse the first step, which may find that the memory does not suffice."""
    segmenter = trainer.learner.segmenter
    try:
        return _joint(rehearse(segmenter, trainer.learner.gradients, costly.batch, sparing=True))
    except NotEnoughMemoryError:
        pass
    free = _gigabytes(free_memory(segmenter.device))  # what the failed step held is free here
    raise SegtrainError(
        f"the memory does not hold a step of this run, {free} are free: {describe_images([costly.batch])}; "
        f"{LESS_MEMORY}; trainer.forecast=false begins in any case"
    )


def _usual_step(trainer: Trainer, drawn: DrawnBatch, repeats: int) -> float:
    """Measure the seconds of a step, their median if it is repeated."""
    learner = trainer.learner
    return median(_joint(rehearse(learner.segmenter, learner.gradients, drawn.batch)) for _ in range(repeats))


def _validation_seconds(trainer: Trainer, validation: Split, *, twice: bool) -> tuple[float, float]:
    """Measure the seconds to segment a validation image of usual size, and to compute its losses too if they are asked.

    In each process; images that are cut into windows have no losses.
    """
    infos, reader = validation.index.images, validation.images
    rows = infos.rows
    middle = np.argsort(rows["height"].astype(np.int64) * rows["width"], kind="stable")[len(rows) // 2]
    took, losses = 0.0, 0.0
    try:
        image = None if reader is None else read_or_open(reader, infos[int(middle)])
    except SegtrainError:  # validation says so
        return _joint(took), _joint(took)
    network, device = tiled(trainer.learner.averaged), trainer.learner.segmenter.device
    if isinstance(image, LargeImage):
        windows = network.tiling.grid(image.size)
        assert windows is not None
        first = image.read(windows[0])
        with trainer.threads.validating(), evaluating(trainer.learner.averaged):
            for _ in range(2):  # the first one warms up what all the others find warm
                took = len(windows) * timed(lambda: network.segment([first]), device)
    elif image is not None:
        pixels = as_tensor(image)
        sample = plain_sample(validation.index, int(middle), pixels)
        has_losses = trainer.settings.validation_losses and network.windows(infos[int(middle)].size) == 1
        with trainer.threads.validating(), evaluating(trainer.learner.averaged):
            for _ in range(1 + twice):
                took = timed(lambda: network.segment([pixels]), device)
                losses = (
                    timed(lambda: ValidationLosses(trainer.learner.averaged, 0).add(sample), device)
                    if has_losses
                    else 0.0
                )
    return _joint(took), _joint(took + losses)


def _shorter(dataset: CocoDataset, presets: Mapping[str, float]) -> str:
    """Name shorter trainings, of which the length is known because they end by the clock."""
    text = "shorter: trainer.max_minutes=60 is a complete training of an hour"
    objects = dataset.index.counts.used / max(len(dataset), 1)
    name = "nuclei" if objects >= _MANY_OBJECTS else "photos"
    if name in presets:
        text += f"; experiment={name} takes about {presets[name]:g} min of training, on a smaller network"
    return text


def _joint(seconds: float) -> float:
    """Return the longest time of all processes, which wait for each other."""
    return distributed.largest([seconds])[0]


def _processes_that_share(device: torch.device) -> int:
    return 1 if device.type == "cuda" else distributed.local_size()


def _gigabytes(size: float) -> str:
    """Return a number of bytes in words.

    >>> _gigabytes(10e9), _gigabytes(80e9)
    ('9.3 GB', '75 GB')
    """
    value = size / 2**30
    return f"{value:.0f} GB" if value >= 10 else f"{value:.1f} GB"
