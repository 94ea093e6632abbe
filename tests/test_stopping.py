"""Signals: the first one waits for the work in progress, the second one does not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from segtrain.stopping import (
    SIGNALS,
    Stopped,
    finishing_work,
    interruptible,
    stop_if_asked,
    stop_requested,
    stop_signals,
)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_the_work_in_progress(number: int) -> None:
    before = signal.getsignal(number)
    done = []
    with stop_signals(), finishing_work():
        stop_if_asked()
        os.kill(os.getpid(), number)
        done.append("rest of the step")
        assert stop_requested() == number
        with pytest.raises(Stopped) as caught:
            stop_if_asked()
    assert done
    assert caught.value.exit_code == 128 + number
    assert stop_requested() == 0
    assert signal.getsignal(number) is before


def test_elsewhere_a_signal_ends_the_work_at_once() -> None:
    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")

    with stop_signals(), pytest.raises(Stopped):
        stop()
    with stop_signals(), finishing_work(), pytest.raises(Stopped), interruptible():
        stop()


def test_a_signal_that_a_destructor_swallows_is_not_lost() -> None:
    def swallow() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Stopped:
            return

    with stop_signals(), finishing_work(), pytest.raises(Stopped), interruptible():
        swallow()


PROGRAM = """
import time
from segtrain.stopping import finishing_work, stop_signals
with stop_signals(), finishing_work():
    print("ready", flush=True)
    time.sleep(30)
"""


def test_a_second_signal_ends_the_process_at_once() -> None:
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(2):
        time.sleep(0.1)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    process.stdout.close()
    assert time.monotonic() - started < 20
