"""What the trainer expects of a journal."""

from collections.abc import Mapping
from typing import Protocol


class Journal(Protocol):
    """Where a run's numbers go."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers by name, such as ``train/loss``."""
        ...
