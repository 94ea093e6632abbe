"""Early end of a training whose validations do not improve."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# Validated metrics, and the sum of the loss terms; see `segtrain.training.validation`.
Monitor = Literal["mask_ap", "mask_ap50", "mask_ap75", "box_ap", "miou", "f1_50", "loss"]


def sign_of(monitor: str) -> int:
    """Return 1 if higher values of a monitored number are better, -1 if lower ones are.

    >>> sign_of("mask_ap"), sign_of("loss")
    (1, -1)
    """
    return -1 if monitor == "loss" else 1


@dataclass
class Patience:
    """Count of the validations in a row without a better value of a number.

    Attributes:
        limit: count at which the training ends; None for never.
        monitor: name of the number; of "loss" a lower value is better, of others a higher one.
        min_gain: difference to `best` up to which a value is not better, at least 0.
        best: best value so far; nan before the first one that is defined.
        step: step of the best value.
        waited: validations since then.

    >>> patience = Patience(limit=2, monitor="mask_ap", min_gain=0.01)
    >>> for step, value in enumerate([0.5, 0.505, 0.4]):
    ...     patience.update(value, step)
    >>> patience.waited, patience.is_exhausted, patience.best
    (2, True, 0.5)
    """

    limit: int | None
    monitor: Monitor
    min_gain: float
    best: float = math.nan
    step: int = 0
    waited: int = 0

    @property
    def is_exhausted(self) -> bool:
        """True if the training ends here."""
        return self.limit is not None and self.waited >= self.limit

    def update(self, value: float, step: int) -> None:
        """Record a validation.

        Args:
            value: value of the number; nan, which is never better, where it is undefined.
            step: optimizer steps taken.
        """
        gain = sign_of(self.monitor) * (value - self.best)
        if gain > self.min_gain or (math.isnan(self.best) and not math.isnan(value)):
            self.best, self.step, self.waited = value, step, 0
        else:
            self.waited += 1

    def describe(self) -> str:
        """Say why the training ends.

        >>> Patience(limit=3, monitor="mask_ap", min_gain=0.0, best=0.5, step=120, waited=3).describe()
        'trainer.patience=3: 3 validations without a mask_ap above 0.5000 (step 120)'
        """
        sign = sign_of(self.monitor)
        side, edge = "above" if sign > 0 else "below", self.best + sign * self.min_gain
        than = "that is defined" if math.isnan(self.best) else f"{side} {edge:.4f} (step {self.step})"
        count = f"{self.waited} validation{'s' * (self.waited != 1)}"
        return f"trainer.patience={self.limit}: {count} without a {self.monitor} {than}"

    def state(self) -> dict[str, Any]:
        """Return what a resumed run goes on with, as plain values."""
        return {"monitor": self.monitor, "best": self.best, "step": self.step, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, unless it is that of another number.

        Args:
            state: result of `state`.
        """
        if state["monitor"] == self.monitor:
            self.best, self.step, self.waited = state["best"], state["step"], state["waited"]
