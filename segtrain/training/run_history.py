"""Numbers of a training run over its steps, read from ``metrics.jsonl``."""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtrain.training.patience import sign_of

CLASS_AGNOSTIC_AP = "mask_ap_class_agnostic"  # of validations that know the reference of a sweep
IMAGES, OBJECTS = "data/images", "data/objects"  # numbers of the training data
METRICS = "metrics.jsonl"  # in the folder of a run: a JSON object a line
Series = Sequence[tuple[int, float]]  # (step, value)


@dataclass(frozen=True)
class RunHistory:
    """Numbers of a run.

    Attributes:
        series: values over the steps by name, such as ``train/loss``; undefined ones are left out.

    >>> history = RunHistory({"train/minutes": [(10, 0.5), (20, 1.0)], "validation/mask_ap": [(15, 0.25)]})
    >>> history.minutes_at(15), history.of("validation/mask_ap"), history.of("train/loss")
    (0.75, [(15, 0.25)], [])
    """

    series: Mapping[str, Series]

    @classmethod
    def read(cls, folder: Path) -> "RunHistory":
        """Read the numbers of a run's folder; a folder without ``metrics.jsonl`` has none."""
        path = folder / METRICS
        found: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
            step, values = parse_line(line) or (0, {})
            for name, value in values.items():
                if isinstance(value, int | float):
                    found[name].append((step, float(value)))
        return cls(dict(found))

    def of(self, name: str) -> Series:
        """Return the values of a number over the steps; empty without any."""
        return self.series.get(name, [])

    def minutes_at(self, step: int) -> float:
        """Return the minutes of training up to a step, interpolated between entries of the log."""
        known = [(0, 0.0), *self.of("train/minutes")]
        place = bisect_right(known, (step, float("inf")))
        (first, start), (last, end) = known[place - 1], known[min(place, len(known) - 1)]
        return start if last == first else start + (end - start) * (step - first) / (last - first)

    def best(self, monitor: str) -> float | None:
        """Return the best value of a number of the validations; None without any.

        Args:
            monitor: name of the number, as in ``trainer.monitor``.

        >>> RunHistory({"validation/loss": [(10, 0.75), (20, 0.5), (30, 1.0)]}).best("loss")
        0.5
        """
        values = [value for _, value in self.of(f"validation/{monitor}")]
        return max(values, key=lambda value: sign_of(monitor) * value, default=None)

    def mean(self, name: str, first: float, last: float) -> float | None:
        """Return the mean of a number over the steps above one and up to another; None without a value there."""
        values = [value for step, value in self.of(name) if first < step <= last]
        return sum(values) / len(values) if values else None


def parse_line(line: str) -> tuple[int, dict[str, Any]] | None:
    """Return the step and the values of a line of ``metrics.jsonl``; None for one that a crash cut.

    >>> parse_line('{"step": 3, "train/loss": 0.5}'), parse_line('{"step": 4, "tra')
    ((3, {'train/loss': 0.5}), None)
    """
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    step = entry.pop("step", None) if isinstance(entry, dict) else None
    return (step, entry) if isinstance(step, int) else None
