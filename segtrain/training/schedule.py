"""Learning rate as a function of progress: warm-up, then constant, multi-step or cosine.

Progress is the share of the training that is done, in [0, 1]; what that means when a run is limited by epochs, steps or
minutes is ``Limits``' business. A schedule has no state of its own, so resuming needs nothing but the progress.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from msgspec import Meta

from segtrain.errors import SegtrainError

Fraction = Annotated[float, Meta(ge=0, le=1)]


class Schedule(Protocol):
    """What the trainer multiplies the base learning rate with."""

    def factor(self, progress: float, step: int) -> float:
        """The factor for the step about to be taken.

        Args:
            progress: in [0, 1].
            step: steps taken so far.
        """
        ...


@dataclass(frozen=True)
class WarmUp:
    """A linear ramp over the first steps.

    Attributes:
        warmup_steps: length of the ramp; 0 for none.
        warmup_factor: where it starts, as a share of the full rate.
    """

    warmup_steps: Annotated[int, Meta(ge=0)]
    warmup_factor: Fraction

    def _ramp(self, step: int) -> float:
        if step >= self.warmup_steps:
            return 1.0
        return self.warmup_factor + (1 - self.warmup_factor) * step / self.warmup_steps


@dataclass(frozen=True)
class Constant(WarmUp):
    """No decay."""

    def factor(self, progress: float, step: int) -> float:
        """See ``Schedule``."""
        return self._ramp(step)


@dataclass(frozen=True)
class Cosine(WarmUp):
    """Half a cosine from 1 to ``final_factor`` (Loshchilov and Hutter, SGDR, 2017, without restarts)."""

    final_factor: Fraction

    def factor(self, progress: float, step: int) -> float:
        """See ``Schedule``."""
        decay = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        return self._ramp(step) * (self.final_factor + (1 - self.final_factor) * decay)


@dataclass(frozen=True)
class MultiStep(WarmUp):
    """Times ``gamma`` at each milestone; torchvision's 16 and 22 of 26 epochs are [0.615, 0.846]."""

    milestones: Sequence[Fraction]
    gamma: Fraction

    def factor(self, progress: float, step: int) -> float:
        """See ``Schedule``."""
        return self._ramp(step) * self.gamma ** sum(progress >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class Limits:
    """When training ends: at the first limit reached; None is no limit.

    Raises:
        SegtrainError: there is no limit at all.
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
        """The share of the training that is done: of whichever limit is nearest; 1 or more at the end.

        Args:
            epochs: passed, fractions included.
            steps: taken.
            minutes: of training.
        """
        pairs = ((epochs, self.epochs), (steps, self.max_steps), (minutes, self.max_minutes))
        # A limit of 0 is reached before the first step.
        return max(done / limit if limit else 1.0 for done, limit in pairs if limit is not None)
