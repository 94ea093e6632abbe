"""Learning rate as a function of progress: warm-up, then constant, multi-step or cosine.

Progress is the share of the training that is done, in [0, 1], as `Limits` computes it from epochs, steps and minutes. A
schedule has no state of its own, so resuming needs nothing but the progress.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from segtrain.errors import SegtrainError
from segtrain.values import Fraction, Natural


class Schedule(Protocol):
    """Factor of the base learning rate."""

    def factor(self, progress: float, step: int) -> float:
        """Return the factor of the step about to be taken.

        Args:
            progress: share of the training that is done, in [0, 1].
            step: steps taken so far.
        """
        ...


@dataclass(frozen=True)
class WarmUp:
    """Linear ramp over the first steps.

    Attributes:
        warmup_steps: length of the ramp; 0 for none.
        warmup_factor: share of the full rate that the ramp starts at.
    """

    warmup_steps: Natural
    warmup_factor: Fraction

    def _ramp(self, step: int) -> float:
        if step >= self.warmup_steps:
            return 1.0
        return self.warmup_factor + (1 - self.warmup_factor) * step / self.warmup_steps


@dataclass(frozen=True)
class Constant(WarmUp):
    """Warm-up, then the full rate.

    >>> Constant(warmup_steps=10, warmup_factor=0.0).factor(progress=0.1, step=5)
    0.5
    """

    def factor(self, progress: float, step: int) -> float:
        """Return the factor of the step about to be taken; see `Schedule`."""
        return self._ramp(step)


@dataclass(frozen=True)
class Cosine(WarmUp):
    """Half a cosine from 1 to ``final_factor`` (Loshchilov and Hutter, SGDR, 2017, without restarts).

    >>> Cosine(warmup_steps=0, warmup_factor=0.0, final_factor=0.0).factor(progress=0.5, step=100)
    0.5
    """

    final_factor: Fraction

    def factor(self, progress: float, step: int) -> float:
        """Return the factor of the step about to be taken; see `Schedule`."""
        decay = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        return self._ramp(step) * (self.final_factor + (1 - self.final_factor) * decay)


@dataclass(frozen=True)
class MultiStep(WarmUp):
    """Multiplication by ``gamma`` at each milestone; torchvision's 16 and 22 of 26 epochs are [0.615, 0.846].

    >>> MultiStep(warmup_steps=0, warmup_factor=0.0, milestones=[0.5, 0.8], gamma=0.1).factor(progress=0.6, step=100)
    0.1
    """

    milestones: Sequence[Fraction]
    gamma: Fraction

    def factor(self, progress: float, step: int) -> float:
        """Return the factor of the step about to be taken; see `Schedule`."""
        return self._ramp(step) * self.gamma ** sum(progress >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class Restarted:
    """Schedule that is restarted within a training, and covers the rest of it.

    Attributes:
        schedule: the schedule.
        progress: share of the training that was done at the restart, in [0, 1].
        step: steps that were taken before the restart.

    >>> half = Cosine(warmup_steps=0, warmup_factor=0.0, final_factor=0.0)
    >>> Restarted(half, progress=0.5, step=100).factor(progress=0.75, step=150)
    0.5
    """

    schedule: Schedule
    progress: float
    step: int

    def factor(self, progress: float, step: int) -> float:
        """Return the factor of the step about to be taken; see `Schedule`."""
        left = 1 - self.progress
        return self.schedule.factor((progress - self.progress) / left if left > 0 else 1.0, step - self.step)


@dataclass(frozen=True)
class Limits:
    """Limits of the training; it ends at the first one that is reached.

    >>> Limits(epochs=10, max_steps=None, max_minutes=5.0).progress(epochs=2.0, steps=100, minutes=4.0)
    0.8

    Attributes:
        epochs: number of epochs; None for no limit.
        max_steps: number of optimizer steps; None for no limit.
        max_minutes: minutes of training; None for no limit.

    Raises:
        SegtrainError: all of them are None.
    """

    epochs: int | None
    max_steps: int | None
    max_minutes: float | None

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_steps is None and self.max_minutes is None:
            raise SegtrainError(
                "training would never end: set trainer.epochs, trainer.max_steps or trainer.max_minutes"
            )

    def progress(self, epochs: float, steps: int, minutes: float) -> float:
        """Return the share of the training that is done, by the nearest limit; 1 or more at the end.

        Args:
            epochs: epochs done, fractions included.
            steps: optimizer steps taken.
            minutes: minutes of training.
        """
        return max(share for share, _ in self._shares(epochs, steps, minutes))

    def nearest(self, epochs: float, steps: int, minutes: float) -> str:
        """Return the limit of which the largest share is done, as it is typed in an override.

        Args:
            epochs: epochs done, fractions included.
            steps: optimizer steps taken.
            minutes: minutes of training.

        >>> Limits(epochs=10, max_steps=None, max_minutes=5.0).nearest(epochs=2.0, steps=100, minutes=4.0)
        'trainer.max_minutes=5'
        """
        return max(self._shares(epochs, steps, minutes))[1]

    def _shares(self, epochs: float, steps: int, minutes: float) -> list[tuple[float, str]]:
        """Return the share of each limit that is done, and the limit as an override."""
        limits = {"epochs": self.epochs, "max_steps": self.max_steps, "max_minutes": self.max_minutes}
        # A limit of 0 is reached before the first step.
        return [
            (done / limit if limit else 1.0, f"trainer.{name}={limit:.10g}")
            for done, (name, limit) in zip((epochs, steps, minutes), limits.items(), strict=True)
            if limit is not None
        ]
