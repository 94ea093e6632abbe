"""Locks of folders: of running processes only, whatever has become of the others."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segtrain.errors import SegtrainError
from segtrain.locks import locked_folder, mark_in_use, replaceable

HOLD = """
import sys, time
from pathlib import Path
from segtrain.locks import locked_folder, mark_in_use
folder = Path(sys.argv[1])
mark_in_use(folder)
with locked_folder(folder):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that locks and reads a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_folder_has_one_writer_and_a_dead_one_does_not_count(tmp_path: Path) -> None:
    with another_process(tmp_path) as other:
        message = rf"is in use by process {other.pid} on \S+, since .*choose another folder"
        with pytest.raises(SegtrainError, match=message), locked_folder(tmp_path):
            pytest.fail("locked twice")
        with (
            pytest.raises(SegtrainError, match=r"another process is reading it; set data\.root"),
            replaceable(tmp_path),
        ):
            pytest.fail("replaced")
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert json.loads((tmp_path / ".lock").read_text())["process"] == str(other.pid)
        with locked_folder(tmp_path):
            assert json.loads((tmp_path / ".lock").read_text())["process"] == str(os.getpid())
        with replaceable(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_a_process_locks_a_folder_once(tmp_path: Path) -> None:
    with locked_folder(tmp_path):
        with pytest.raises(SegtrainError, match=f"in use by process {os.getpid()}"), locked_folder(tmp_path):
            pytest.fail("locked twice")
        assert (tmp_path / ".lock").exists()
    with locked_folder(tmp_path):
        pass


def test_a_reader_may_replace_what_only_it_reads(tmp_path: Path) -> None:
    mark_in_use(tmp_path)
    mark_in_use(tmp_path)
    with replaceable(tmp_path):
        pass
