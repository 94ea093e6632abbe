"""The index of a large COCO json, and the full check of a data set.

    python benchmarks/index.py --nuclei DIR --check

A json of 118,000 images and 860,000 polygon annotations, as many as COCO's training split, is generated for the run.
Each measurement has a process of its own, and the sides take turns.

- ours: ``segtrain.data.coco.reader.read_index(file)``: structure checked and repaired, masks left as text.
  (``train.py`` also draws every mask once, the first time it meets a file; pycocotools does not look at them.)
- stock: ``pycocotools.coco.COCO(file)``, which prints, and leaves masks as Python lists.

Rows: ``index_time``; ``index_memory``, the peak of the resident memory above that before the call; ``index_workers``,
what four loader workers that hold and use the index take beyond what four without one do, as a share of the index, by
proportional set size, the worse of fork and spawn; ``check_nuclei`` and ``check_nuclei_cached``, the command
``python -m segtrain.data.check`` on both splits, from start to end, for the first and for the second time.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from harness import arguments, finish
from large_json import generate
from rows import Row
from stand_ins import Split, splits_of_nuclei

from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.reader import read_index

WORKERS = 4
TOUCHED = 2_000  # images whose masks each worker draws


def main() -> None:
    """Print a line for each row."""
    options = arguments("Index and check: segtrain against pycocotools.")
    options.add_argument("--images", type=int, default=118_000, help="of the generated json")
    options.add_argument("--annotations", type=int, default=860_000, help="likewise")
    options.add_argument("--measure", nargs=2, metavar=("SIDE", "FILE"), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        print(json.dumps(measure_here(chosen.measure[0], Path(chosen.measure[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.json"
        generate(large, chosen.images, chosen.annotations)
        what = f"{chosen.images:,} images, {chosen.annotations:,} polygons, generated"
        rows = [*loading_rows(large, chosen.repeats, what), worker_row(large)]
    finish([*rows, *check_rows(chosen)], chosen)


def loading_rows(large: Path, repeats: int, what: str) -> list[Row]:
    """Measure time and memory of loading, in processes that take turns."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "stock": []}
    for repeat in range(repeats):
        for side, measurements in list(found.items())[:: -1 if repeat % 2 else 1]:
            command = [sys.executable, __file__, "--measure", side, str(large)]
            measurements.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    seconds, memory = ({side: median(m[key] for m in ms) for side, ms in found.items()} for key in ("seconds", "mib"))
    return [
        Row("index_time", what, "s", seconds["ours"], seconds["stock"], 8),
        Row("index_memory", f"{what}; peak", "MiB", memory["ours"], memory["stock"], 3),
    ]


def measure_here(side: str, path: Path) -> dict[str, float]:
    """Load the file in this process; return seconds, and mebibytes of peak memory above the memory before."""
    load: Callable[[Path], object] = read_index
    if side == "stock":
        from pycocotools.coco import COCO

        load = lambda file: COCO(str(file))  # noqa: E731
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    with redirect_stdout(sys.stderr):
        kept = load(path)
    seconds = time.perf_counter() - started
    del kept
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "mib": (peak - before) / 2**20}


def worker_row(large: Path) -> Row:
    """Measure the memory that workers add to an index, as a share of it."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.json"
        generate(small, 1_000, 2_000)
        shares = {}
        for method in ("fork", "spawn"):
            with_large, without = (memory_of_workers(path, method) for path in (large, small))
            size = with_large[0] - without[0]
            shares[method] = 100 * (with_large[1] - without[1]) / size
    what = ", ".join(f"{share:.1f} % by {method}" for method, share in shares.items())
    return Row("index_workers", f"{WORKERS} workers: {what}", "%", max(shares.values()), None, 10)


def memory_of_workers(path: Path, method: str) -> tuple[int, int]:
    """Measure the bytes of a process with an index, and the additional bytes of all processes with workers."""
    context = multiprocessing.get_context("spawn")  # a process without a past
    here, there = context.Pipe()
    process = context.Process(target=_parent, args=(path, method, there))
    process.start()
    alone, together = here.recv()
    process.join()
    return alone, together - alone


def _parent(path: Path, method: str, connection: Connection) -> None:
    import torch  # noqa: F401 - as in training; its own memory is there before and after

    index = read_index(path)
    alone = _proportional([os.getpid()])
    context: Any = multiprocessing.get_context(method)
    pipes = [context.Pipe() for _ in range(WORKERS)]
    workers = [context.Process(target=_worker, args=(index, there)) for _, there in pipes]
    for worker in workers:
        worker.start()
    for here, _ in pipes:
        here.recv()  # all have touched the index
    connection.send((alone, _proportional([os.getpid(), *(worker.pid or 0 for worker in workers)])))
    for here, _ in pipes:
        here.send(None)
    for worker in workers:
        worker.join()


def _worker(index: CocoIndex, connection: Connection) -> None:
    for place in range(min(TOUCHED, len(index.images))):
        index.objects(place)
    connection.send(None)
    connection.recv()


def _proportional(processes: list[int]) -> int:
    return sum(psutil.Process(process).memory_full_info().pss for process in processes)


def check_rows(options: argparse.Namespace) -> Iterator[Row]:
    """Measure the command on both splits, with an empty cache and with a filled one."""
    times: list[tuple[float, float]] = []
    with splits_of_nuclei(options) as splits:
        for _ in range(options.repeats):
            with _empty_cache() as environment:
                times.append((_seconds_of_check(splits, environment), _seconds_of_check(splits, environment)))
        name = splits[0].name
    first, again = (median(time[part] for time in times) for part in (0, 1))
    yield Row("check_nuclei", f"full check, {name}", "s", first, None, 30)
    yield Row("check_nuclei_cached", f"the same again, {name}", "s", again, None, 2)


def _seconds_of_check(splits: list[Split], environment: dict[str, Any]) -> float:
    started = time.perf_counter()
    for split in splits:
        command = [sys.executable, "-m", "segtrain.data.check", str(split.annotations), str(split.images)]
        subprocess.run(command, capture_output=True, check=True, env=environment)
    return time.perf_counter() - started


@contextmanager
def _empty_cache() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        yield {**os.environ, "XDG_CACHE_HOME": folder}


if __name__ == "__main__":
    main()
