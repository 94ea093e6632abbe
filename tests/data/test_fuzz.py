"""Damaged data sets end in a loaded one with its repairs counted, or in one clear error: never in anything else."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segtrain.data.check.load import load_index
from tests.helpers import data_fuzz
from tests.helpers.damaged_data import DAMAGES, REAL, SOURCES, original, write
from tests.helpers.reading_guard import Hang, guarded

# Seeds go through all kinds of damage in turn: every second of these kinds, and the others with all seeds.
QUICK = range(0, len(DAMAGES), 2)
# Kind of data set, first seed, number of them: together 2,000.
BATCHES = [
    *(("generated", first, 200) for first in range(0, 1000, 200)),
    *(("coco", first, 250) for first in (0, 250)),
    *(("nuclei", first, 250) for first in (0, 250)),
]


def require(kind: str) -> None:
    if kind in SOURCES and not REAL.is_dir():
        pytest.skip("SEGTRAIN_REAL_DATA names no folder with real data")


def test_there_are_as_many_as_promised() -> None:
    assert sum(count for _, _, count in BATCHES) == 2000


@pytest.mark.parametrize("kind", ["generated", "coco", "nuclei"])
def test_a_good_one_is_found_good(kind: str, tmp_path: Path) -> None:
    """Or the others would prove nothing."""
    require(kind)
    write(original(kind), tmp_path)
    counts = load_index(tmp_path / "coco.json").counts
    assert counts.used >= 9
    assert counts.crowd >= (kind != "nuclei")
    assert (counts.repaired, counts.dropped) == (0, 0)


def test_what_is_forbidden_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    write(original("generated"), folder)
    (tmp_path / "secret").write_bytes(b"x")
    os.mkfifo(folder / "images" / "pipe")
    with pytest.raises(AssertionError, match="secret"), guarded(folder):
        (tmp_path / "secret").read_bytes()
    (folder / "images" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(AssertionError, match="secret"), guarded(folder):
        (folder / "images" / "link").read_bytes()
    with pytest.raises(AssertionError, match="would wait"), guarded(folder):
        os.close(os.open(folder / "images" / "pipe", os.O_RDWR))
    with guarded(folder):
        (folder / "images" / "a.png").read_bytes()
        os.close(os.open(folder / "images" / "pipe", os.O_RDONLY | os.O_NONBLOCK))
    with pytest.raises(Hang), guarded(folder, seconds=0.05):
        time.sleep(1)


def test_a_sample(tmp_path: Path) -> None:
    for seed in QUICK:
        data_fuzz.examine("generated", seed, tmp_path / str(seed))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "first", "count"), BATCHES)
def test_all(kind: str, first: int, count: int, tmp_path: Path) -> None:
    """In a process of their own, which says what it is about to do: even a crash has a seed."""
    require(kind)
    script = [sys.executable, data_fuzz.__file__, str(tmp_path), kind, str(first), str(count)]
    environment = {**os.environ, "PYTHONPATH": str(data_fuzz.ROOT)}
    finished = subprocess.run(script, env=environment, capture_output=True, text=True)
    begun = finished.stdout.splitlines()
    assert finished.returncode == 0, f"{begun[-1:]} ended with {finished.returncode}\n{finished.stderr[-5000:]}"
    assert begun == [f"{kind} {seed}" for seed in range(first, first + count)]
