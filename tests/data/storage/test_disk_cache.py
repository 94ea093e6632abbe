import errno
import multiprocessing
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.data.storage import disk_cache
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.errors import SegtrainError

BLOCK = 4096


def content(key: str, size: int) -> bytes:
    return random.Random(key).randbytes(size)


def held(folder: Path) -> int:
    """Bytes on the disk, whatever they are."""
    return sum(max(path.stat().st_size, path.stat().st_blocks * 512) for path in folder.iterdir())


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_is_fetched_once(tmp_path: Path) -> None:
    fetched: list[str] = []
    cache = DiskCache(tmp_path, 10**6)
    for key in ("a", "b", "a", "a"):
        assert cache.read(key, lambda key=key: fetched.append(key) or content(key, 100)) == content(key, 100)
    assert fetched == ["a", "b"]


@pytest.mark.parametrize("damage", [b"", b"x", None, "turned"])
def test_a_damaged_entry_is_replaced(tmp_path: Path, damage: bytes | str | None) -> None:
    cache = DiskCache(tmp_path, 10**6)
    cache.read("a", lambda: content("a", 9_000))
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    bad = whole[:-1] if damage is None else whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
    entry.write_bytes(damage if isinstance(damage, bytes) else bad)
    assert cache.read("a", lambda: content("a", 9_000)) == content("a", 9_000)
    assert entry.read_bytes() == whole
    assert cache.read("a", lambda: pytest.fail("fetched")) == content("a", 9_000)


def test_the_oldest_go_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 11 * BLOCK)
    for number in range(10):
        cache.read(str(number), lambda: content("", 4_000))
    for age, entry in enumerate(map(cache._path, "0123456789")):
        os.utime(entry, ns=(0, age * 10**9))
    cache.read("0", lambda: pytest.fail("fetched"))  # used again: the youngest now
    cache.read("new", lambda: content("", 4_000))
    left = {key for key in "0123456789" if cache._path(key).exists()}
    assert left == set("023456789")


@given(
    limit=st.integers(1, 40).map(lambda blocks: blocks * BLOCK),
    files=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6 * BLOCK)), max_size=40),
)
def test_the_limit_holds_whatever_is_read(
    tmp_path_factory: pytest.TempPathFactory, limit: int, files: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = DiskCache(folder, limit)
    sizes: dict[int, int] = {}
    for key, size in files:
        size = sizes.setdefault(key, size)
        assert cache.read(str(key), lambda size=size: content("", size)) == content("", size)
        assert held(folder) <= limit


def test_a_smaller_limit_and_leftovers_of_killed_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = DiskCache.open(1e-3)
    for number in range(100):
        cache.read(str(number), lambda: content("", 4_000))
    (cache.folder / ".new-abc").write_bytes(bytes(500_000))
    (cache.folder / ".size").write_text("nonsense")
    smaller = DiskCache.open(1e-4)
    assert held(smaller.folder) <= 100_000
    smaller.read("another", lambda: content("", 4_000))
    assert held(smaller.folder) <= 100_000


def test_a_full_disk_is_no_error_but_an_unwritable_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = DiskCache(tmp_path / "images", 10**6)
    with monkeypatch.context() as patched:
        patched.setattr(disk_cache.tempfile, "mkstemp", full)
        for _ in range(3):
            assert cache.read("a", lambda: b"abc") == b"abc"
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    (tmp_path / "segtrain").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SegtrainError, match=r"data\.cache=disk.*XDG_CACHE_HOME"):
        DiskCache.open(1)


def hammer(folder: Path, seed: int, rounds: int, failures: "multiprocessing.Queue[str]") -> None:
    cache, draw = DiskCache(folder, 60 * BLOCK), random.Random(seed)
    for _ in range(rounds):
        key = str(draw.randrange(60))
        size = 500 + 300 * int(key)
        if cache.read(key, lambda key=key, size=size: content(key, size)) != content(key, size):
            failures.put(key)


def many_processes(folder: Path, rounds: int, kill: bool) -> None:
    context = multiprocessing.get_context("fork")
    failures: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=hammer, args=(folder, seed, rounds, failures)) for seed in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        sizes = []
        for path in folder.iterdir():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        assert sum(sizes) <= 60 * BLOCK
        if kill and workers[0].is_alive():
            workers[0].kill()
            workers[0].join()
        workers[-1].join(0.02)
    assert failures.empty()
    assert held(folder) <= 60 * BLOCK


def test_several_processes_at_once(tmp_path: Path) -> None:
    many_processes(tmp_path, 150, kill=False)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_many_readings_of_several_processes(tmp_path: Path, kill: bool) -> None:
    for number in range(20 if kill else 1):
        many_processes(tmp_path, 200 if kill else 10_000, kill=kill and number % 2 == 0)
