"""Tasks that processes share."""

import errno
import gc
import logging
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from segtrain import pool
from segtrain.errors import SegtrainError
from segtrain.pool import Advance, in_processes, lasting_processes
from segtrain.stopping import finishing_work, stop_requested, stop_signals

logger = logging.getLogger("segtrain.test")


def test_every_item_has_its_result_and_all_processes_work() -> None:
    def work(item: int, advance: Advance) -> tuple[int, int]:
        time.sleep(0.02)
        return item * 10, os.getpid()

    found = dict(in_processes(work, [3, 1, 2, 5], 2))
    assert [found[number][0] for number in range(4)] == [30, 10, 20, 50]
    processes = {process for _, process in found.values()}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_lasting_processes_work_on_what_comes_up() -> None:
    def work(task: str, advance: Advance) -> tuple[str, int]:
        advance(1.0)
        return task.upper(), os.getpid()

    advanced: list[tuple[int, float]] = []
    with lasting_processes(work, 2) as share:
        first, second = (dict(share(tasks, lambda *done: advanced.append(done))) for tasks in (["a", "b", "c"], ["d"]))
    assert [first[number][0] for number in range(3)] == ["A", "B", "C"]
    assert second[0][0] == "D"
    assert second[0][1] in {process for _, process in first.values()}
    assert sorted(advanced) == [(0, 1.0), (0, 1.0), (1, 1.0), (2, 1.0)]


@pytest.mark.parametrize(("items", "processes"), [([4], 2), ([4, 5], 1)])
def test_a_single_process_is_this_one(items: list[int], processes: int) -> None:
    assert {process for _, process in in_processes(lambda item, advance: os.getpid(), items, processes)} == {
        os.getpid()
    }


def test_objects_are_excluded_from_collections_in_the_processes_alone() -> None:
    def work(item: int, advance: Advance) -> int:
        return gc.get_freeze_count()

    gc.freeze()
    objects = gc.get_freeze_count()
    list(in_processes(work, [1, 2], 2))
    assert gc.get_freeze_count() > objects / 2  # what was excluded before still is
    gc.unfreeze()
    try:
        assert all(count > objects / 2 for _, count in in_processes(work, [1, 2], 2))
        assert not gc.get_freeze_count()
    finally:
        gc.freeze()


def test_progress_and_messages_come_back(caplog: pytest.LogCaptureFixture) -> None:
    def work(item: int, advance: Advance) -> int:
        logger.warning("item %d", item)
        advance(0.5)
        advance(0.5)
        return item

    shares: list[tuple[int, float]] = []
    with caplog.at_level(logging.WARNING):
        found = sorted(in_processes(work, [7, 8, 9], 2, lambda *share: shares.append(share)))
    assert found == [(0, 7), (1, 8), (2, 9)]
    assert sorted(shares) == [(number, 0.5) for number in (0, 0, 1, 1, 2, 2)]
    assert sorted(caplog.messages) == ["item 7", "item 8", "item 9"]


def test_each_process_has_one_thread_and_leaves_signals_to_the_first() -> None:
    def work(item: int, advance: Advance) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and SLURM send them to all
            os.kill(os.getpid(), number)
        return torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert [count for _, count in in_processes(work, [1, 2], 2)] == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_objects_made_before_stay_out_of_collections() -> None:
    """A collection writes to each object that it visits, and a process would copy all memory that it shares."""
    gc.unfreeze()
    counts = dict(in_processes(lambda item, advance: gc.get_freeze_count(), [1, 2], 2))
    assert all(count > 1000 for count in counts.values())
    assert gc.get_freeze_count() == 0
    gc.freeze()
    list(in_processes(lambda item, advance: item, [1, 2], 2))
    assert gc.get_freeze_count() > 1000  # as the caller wanted


def test_a_deferred_signal_is_handed_on() -> None:
    def work(item: int, advance: Advance) -> bool:
        deadline = time.monotonic() + 20
        advance(0.5)
        while not stop_requested() and time.monotonic() < deadline:
            time.sleep(0.01)
        return bool(stop_requested())

    def stop(number: int, share: float) -> None:
        if not stop_requested():
            os.kill(os.getpid(), signal.SIGTERM)

    with stop_signals(), finishing_work():
        assert [found for _, found in in_processes(work, [1, 2], 2, stop)] == [True, True]


def test_a_signal_that_meets_a_process_as_it_starts_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(item: int, advance: Advance) -> int:
        deadline = time.monotonic() + 20
        while not stop_requested() and time.monotonic() < deadline:
            time.sleep(0.01)
        return stop_requested()

    monkeypatch.setattr(pool, "_end_with", lambda parent: time.sleep(0.7))  # the first that a process does
    with stop_signals(), finishing_work():
        os.kill(os.getpid(), signal.SIGTERM)
        assert all(found for _, found in in_processes(work, [1, 2], 2))


def test_what_is_not_asked_for_any_more_ends_at_once(tmp_path: Path) -> None:
    def work(item: int, advance: Advance) -> int:
        time.sleep(item)
        return os.getpid()

    started = time.monotonic()
    results = in_processes(work, [0, 30], 2)
    next(results)
    results.close()
    assert time.monotonic() - started < 15


def test_an_error_of_the_user_is_raised_here() -> None:
    def work(item: int, advance: Advance) -> int:
        if item == 2:
            raise SegtrainError("2.png: cannot be read")
        return item

    with pytest.raises(SegtrainError, match="cannot be read"):
        list(in_processes(work, [1, 2, 3], 2))


class UnpicklableError(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError("no room"), MemoryError),
        (OSError(errno.ENOSPC, "No space left on device", "x.json"), OSError),
        (ZeroDivisionError("by zero"), ZeroDivisionError),
        (UnpicklableError(1, 2), RuntimeError),
    ],
)
def test_an_error_is_that_of_one_process_with_its_traceback(error: Exception, kind: type[Exception]) -> None:
    def work(item: int, advance: Advance) -> int:
        raise error

    with pytest.raises(kind) as raised:
        list(in_processes(work, [1, 2], 2))
    told = "\n".join([str(raised.value), *getattr(raised.value, "__notes__", [])])
    assert "in work" in told
    assert f"{type(error).__name__}: " in told
    if kind is not RuntimeError:
        assert str(raised.value) == str(error)
    if isinstance(raised.value, OSError):
        assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "x.json")


def test_a_killed_process_is_noticed() -> None:
    def work(item: int, advance: Advance) -> int:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return item

    with pytest.raises(SegtrainError, match="killed, or out of memory"):
        list(in_processes(work, [1, 2, 3], 2))


def test_a_process_that_is_killed_within_a_large_result_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def send_part(connection: Connection, content: bytes) -> None:
        os.write(connection.fileno(), content[: 2**16])
        if len(content) > 2**16:
            os.kill(os.getpid(), signal.SIGKILL)

    def work(item: int, advance: Advance) -> bytes:
        monkeypatch.setattr(Connection, "_send", send_part)
        return bytes(50 * 2**20)

    with pytest.raises(SegtrainError, match="killed, or out of memory"):
        list(in_processes(work, [1, 2], 2))


def test_a_signal_never_goes_to_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    signalled: list[int] = []
    monkeypatch.setattr(pool, "stop_requested", lambda: signal.SIGTERM)
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid))
    own, _ = multiprocessing.Pipe()
    with pytest.raises(AssertionError):
        pool._hand_on_stop([pool._Worker(multiprocessing.get_context("fork").Process(), own)])
    assert not signalled


@pytest.mark.parametrize("told", [True, False])
def test_no_process_outlives_the_one_that_is_killed(
    told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system ends them at once; if it does not, they end when they have nobody to send a result to."""
    if not told:
        monkeypatch.setattr(pool, "_end_with", lambda parent: None)

    def work(item: int, advance: Advance) -> None:
        (tmp_path / str(item)).write_text(str(os.getpid()))
        time.sleep(30 if told else 0.1)

    parent = os.fork()
    if not parent:
        for _ in in_processes(work, [1, 2], 2):
            time.sleep(30)
        os._exit(0)
    files = [tmp_path / "1", tmp_path / "2"]
    while not all(file.exists() and file.read_text() for file in files):
        time.sleep(0.01)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + 5
    while any(_runs(int(file.read_text())) for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
