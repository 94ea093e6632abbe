"""Number of threads that training computes with, tuned by timing its steps.

Two threads that share two cores with another busy process wait for each other at every operation: a step then takes
twice as long as on one thread, or more. This cannot be known beforehand and changes during a run, so it is measured.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Literal

import torch

from segtrain import distributed
from segtrain.runtime import thread_count

TRIAL = 5  # steps for which a count is timed, after one that is not
HOLD = 120  # steps between two trials of the other counts
GAIN = 0.95  # another count must take less than this share of the time


def choose_threads(threads: Literal["auto"] | int, workers: int, device: torch.device) -> "ThreadTuner":
    """Return a tuner of the thread counts that a run may use.

    Args:
        threads: number of threads, or "auto" to try several on the CPU; of several processes, each then takes its
            share of the cores.
        workers: number of loader processes.
        device: device of the network.

    Raises:
        SegtrainError: ``threads`` is neither "auto" nor a number of threads.
    """
    beside_workers = thread_count(threads, busy_workers=workers)
    most = thread_count(threads, busy_workers=0)
    if distributed.size() > 1:
        # The same in all processes: sums round by it, and every process takes the same step for itself.
        beside_workers, most = (-int(count) for count in distributed.largest([-beside_workers, -most]))
        return ThreadTuner([beside_workers], validation=most)
    # Workers that are not busy all the time may leave enough of their cores.
    choice = [beside_workers, most, max(1, most // 2)] if threads == "auto" and device.type == "cpu" else [most]
    # Workers rest while a run validates, so evaluate.py finds the same count.
    return ThreadTuner(list(dict.fromkeys(choice)), validation=most)


class ThreadTuner:
    """Tuner that tries thread counts on a few training steps each, uses the fastest, and repeats this regularly.

    Args:
        counts: thread counts to choose from; the first one is used first.
        validation: thread count of validation, always the same, so that it can be repeated to the bit.

    Attributes:
        chosen: thread count of training steps.
    """

    def __init__(self, counts: Sequence[int], validation: int) -> None:
        self._counts, self._validation = list(counts), validation
        self.chosen = self._counts[0]
        self._pending = self._counts[1:]
        self._trial: int | None = None  # the count on trial
        self._times: list[float] = []
        torch.set_num_threads(self.chosen)

    def step_took(self, seconds: float) -> None:
        """Record the time of a step; this may change the thread count of the next one."""
        if len(self._counts) == 1:
            return
        self._times.append(seconds)
        if self._trial is not None and len(self._times) > TRIAL:
            self._judge(median(self._times[1:]))
        elif self._trial is None and self._pending and len(self._times) > TRIAL:
            self._reference = median(self._times[-TRIAL:])
            self._begin(self._pending.pop())
        elif self._trial is None and len(self._times) >= HOLD:
            self._pending = [count for count in self._counts if count != self.chosen]

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Compute with the fixed thread count inside, and with the former one afterwards."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._validation)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _begin(self, count: int) -> None:
        self._trial, self._times = count, []
        torch.set_num_threads(count)

    def _judge(self, seconds: float) -> None:
        assert self._trial is not None
        if seconds < GAIN * self._reference:
            self.chosen, self._reference = self._trial, seconds
        self._trial, self._times = None, []
        torch.set_num_threads(self.chosen)
        if self._pending:
            self._begin(self._pending.pop())
