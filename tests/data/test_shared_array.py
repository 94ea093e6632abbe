"""One array, many processes: equal everywhere, and in memory once."""

import copy
import gc
import multiprocessing
import pickle
import subprocess
import sys
import weakref
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from segtrain.data.coco.shared_array import SharedArray

METHODS = [method for method in ("fork", "spawn") if method in multiprocessing.get_all_start_methods()]
ROWS = np.dtype([("image", np.int64), ("bbox", np.float64, 4), ("crowd", np.bool_)])


def examples() -> list[npt.NDArray[Any]]:
    rng = np.random.default_rng(0)
    rows = np.zeros(7, ROWS)
    rows["image"], rows["bbox"], rows["crowd"] = np.arange(7), rng.random((7, 4)), np.arange(7) % 2
    read_only = np.frombuffer(b"run lengths", np.uint8)
    return [rng.random((5, 3, 2)), rows, np.zeros(0), np.zeros((4, 0, 2), np.int16), read_only, np.arange(20)[::3]]


def same(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def answer(pipe: Connection, shared: SharedArray, change: bool) -> None:
    """In another process: the data it sees; then, if asked to, other data."""
    pipe.send(np.array(shared.array))
    if change:
        shared.array[...] = 9
    pipe.close()


def ask(method: str, shared: SharedArray, change: bool = False) -> npt.NDArray[Any]:
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=answer, args=(there, shared, change))
    process.start()
    there.close()
    received: npt.NDArray[Any] = here.recv()
    process.join()
    assert process.exitcode == 0
    return received


@pytest.mark.parametrize("array", examples(), ids=lambda array: f"{array.dtype.kind}{array.shape}")
def test_the_data_stay_what_they_are(array: npt.NDArray[Any]) -> None:
    shared = SharedArray(array)
    assert same(shared.array, array)
    for transport in (copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))):
        assert same(transport(shared).array, array)
    shared.share()
    assert same(shared.array, array)
    for transport in (copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))):
        assert same(transport(shared).array, array)


@pytest.mark.parametrize(
    "method", [pytest.param(method, marks=pytest.mark.slow if method == "spawn" else ()) for method in METHODS]
)
def test_another_process_sees_them(method: str) -> None:
    rows = examples()[1].reshape(7, 1)
    shared = SharedArray(rows)
    assert same(ask(method, shared), rows)
    assert same(shared.array, rows)


@pytest.mark.slow
def test_a_spawned_process_sees_the_same_pages() -> None:
    """Not equal ones: what one of them writes, this process reads."""
    shared = SharedArray(np.arange(10))
    assert ask("spawn", shared, change=True).tolist() == list(range(10))
    assert shared.array.tolist() == [9] * 10


def test_sharing_leaves_no_private_copy() -> None:
    array = np.arange(10)
    gone = weakref.ref(array)
    shared = SharedArray(array)
    assert shared.array is array
    shared.share()
    pages = shared.array
    shared.share()
    assert shared.array is pages  # once
    del array
    gc.collect()
    assert gone() is None


def test_a_copy_is_independent_of_shared_memory() -> None:
    shared = SharedArray(np.arange(3))
    shared.share()
    twin = copy.deepcopy(shared)
    twin.array[0] = 7
    assert shared.array.tolist() == [0, 1, 2]


def test_torch_is_imported_only_for_sharing() -> None:
    code = "import sys, segtrain.data.coco.shared_array; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def hold(pipe: Connection, shared: SharedArray | None) -> None:
    """Read all of it, and stay until told to go."""
    pipe.send(0 if shared is None else int(shared.array.sum()))
    pipe.recv()


def own_memory(process: psutil.Process) -> int:
    """Proportional bytes, without libraries: other processes that come and go change a process's part of those."""
    return sum(part.pss for part in process.memory_maps(grouped=False) if ".so" not in part.path)


def memory_of_workers(method: str, shared: SharedArray | None, count: int = 4) -> int:
    """Bytes of this process and its workers together, pages of several divided among them, while all hold the array."""
    context = multiprocessing.get_context(method)
    pairs: list[tuple[Any, Any]] = []
    for _ in range(count):
        here, there = context.Pipe()
        process = context.Process(target=hold, args=(there, shared))
        process.start()
        pairs.append((here, process))
    assert {here.recv() for here, _ in pairs} == {0 if shared is None else int(shared.array.sum())}
    total = sum(own_memory(psutil.Process(pid)) for pid in (None, *(p.pid for _, p in pairs)))
    for here, process in pairs:
        here.send(None)
        process.join()
    return int(total)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(psutil.Process().memory_full_info(), "pss"), reason="the system does not say")
@pytest.mark.parametrize("method", METHODS)
def test_four_workers_hold_one_copy(method: str) -> None:
    size = 400 * 2**20
    first = SharedArray(np.ones(1, np.uint8))  # so that both measurements are of processes that know torch
    before = memory_of_workers(method, first)
    shared = SharedArray(np.ones(size, np.uint8))
    added = memory_of_workers(method, shared) - before
    assert 0.97 * size < added < 1.03 * size
