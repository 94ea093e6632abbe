"""Jobs of Hydra's submitit launcher, which are queued again where SLURM ends them early."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segtrain.errors import SegtrainError
from segtrain.stopping import Stopped, stop_signals


def is_job() -> bool:
    """Return True if submitit has started this process."""
    return "SUBMITIT_EXECUTOR" in os.environ


@contextmanager
def requeued() -> Iterator[None]:
    """Let the job inside save its state at submitit's signal, and then let submitit queue it again.

    SLURM sends the signal before the time limit, and when another job preempts this one. In processes that submitit has
    not started, this does nothing.
    """
    if not is_job():
        yield
        return
    number = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2').removeprefix('SIG')}")
    queue_again = signal.getsignal(number)
    try:
        with stop_signals(number):
            yield
    except Stopped as stop:
        if stop.number == number and callable(queue_again):
            queue_again(number, None)  # ends the process
        raise


@contextmanager
def failed_jobs_in_one_line() -> Iterator[None]:
    """Raise an error of one line where a job inside, which submitit has started, has failed.

    Raises:
        SegtrainError: with the last line that the job has written to stderr.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("submitit."):
            raise
        words = [line.strip() for line in str(error).splitlines() if line.strip()]
        place = next((word for word in words[0].split() if ".submitit" in word), ".submitit in the folder of the sweep")
        last = words[-1].removeprefix("error: ")
        raise SegtrainError(f"a job has failed: {last} (its output is beside {place})") from error


def goes_on(folder: Path, *, overwrite: bool) -> bool:
    """Return True if a job continues the run that it began before it was queued again.

    A folder with a run is refused before jobs are submitted, unless it may be overwritten.

    Args:
        folder: folder of the job's run.
        overwrite: True if an earlier run may be replaced.
    """
    begun = (folder / "checkpoints" / "last.pt").exists() or (folder / ".unfinished").exists()
    again = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
    return is_job() and begun and (again or not overwrite)
