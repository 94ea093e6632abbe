"""Evaluation of result files at the scale of COCO's validation images.

    python benchmarks/evaluation.py --check

5,000 images of 640x480 with 80 categories are generated for the run, as ``scoring.py`` draws them: 36,000 true
instances, and the result files of two methods with 135,000 masks each. No image is drawn, so that there are no strata
of contrast and no gallery.

- ours: ``evaluate.py methods=none`` with both files, 1,000 resamples and all analyses, up to the written report: the
  time, and the peak of the memory of all its processes together (shared pages count once). The time of each stage is
  for the reader. The seconds of processor time of all processes stand beside each, since other programs slow down the
  clock, but not these.
- There is no other side: the bounds are on the time and the memory.

Rows: ``evaluation``, ``evaluation_memory``, and ``evaluation_STAGE`` without a bound.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

import psutil
from harness import arguments, finish
from rows import Row
from scoring import CATEGORIES, HEIGHT, WIDTH, generate

T = TypeVar("T")
METHODS = ("first", "second")


class Spent(NamedTuple):
    """Seconds of the clock, and of processor time."""

    clock: float
    processor: float

    def since(self, before: "Spent") -> "Spent":
        """Subtract an earlier time."""
        return Spent(self.clock - before.clock, self.processor - before.processor)


# Function of each stage, where it is looked up.
STAGES = {
    "data": "segtrain.cli.evaluation_inputs.open_data",
    "files": "segtrain.cli.evaluate.build_methods",
    "records": "segtrain.cli.evaluate.run_methods",
    "analysis": "segtrain.cli.evaluate.analyse_rows",
    "comparisons": "segtrain.cli.evaluate.build_results",
    "report": "segtrain.cli.evaluate.write_report",
}


def draw(folder: Path, images: int, detections: int) -> int:
    """Write the annotation file and the result files, and return the number of true instances."""
    for method, name in enumerate(METHODS):
        scene = generate(images, detections, method)
        (folder / f"{name}.json").write_text(json.dumps(scene.predictions))
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH} for n in scene.images],
        "categories": [{"id": n, "name": f"category {n}"} for n in range(1, CATEGORIES + 1)],
        "annotations": scene.truths,
    }
    (folder / "true.json").write_text(json.dumps(content))
    return len(scene.truths)


def evaluate(folder: Path) -> tuple[dict[str, Spent], float]:
    """Evaluate both files; return the time of each stage, "start" and "all" among them, and the GiB at the peak."""
    times: dict[str, Spent] = {}
    began = now()
    with memory_of_processes() as gib:
        import segtrain as st

        for stage, name in STAGES.items():
            patch(name, timed(_found(name), stage, times)).start()
        times["start"] = now().since(began)
        rows = [f"predictions.{name}={folder / name}.json" for name in METHODS]
        data = ["data=coco", "data.val_images=null", f"data.val_annotations={folder / 'true.json'}"]
        st.evaluate(["methods=none", *data, *rows, f"output_dir={folder / 'out'}", "overwrite=true"])
    return {**times, "all": now().since(began)}, max(gib)


def now() -> Spent:
    """Read the clock, and the processor time of this process and of those that it has waited for."""
    return Spent(time.perf_counter(), sum(os.times()[:4]))


def _found(name: str) -> Callable[..., Any]:
    module, _, attribute = name.rpartition(".")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    return function


def timed(function: Callable[..., T], stage: str, times: dict[str, Spent]) -> Callable[..., T]:
    """Note the time of a call of a function."""

    def call(*given: Any, **named: Any) -> T:
        began = now()
        try:
            return function(*given, **named)
        finally:
            times[stage] = now().since(began)

    return call


@contextmanager
def memory_of_processes(interval: float = 0.2) -> Iterator[list[float]]:
    """Note the GiB that this process and those that it has started hold together, again and again in the block."""
    found, ended = [0.0], threading.Event()

    def look() -> None:
        while not ended.wait(interval):
            held = 0
            for process in [(own := psutil.Process()), *own.children(recursive=True)]:
                with suppress(psutil.Error):
                    held += process.memory_full_info().pss
            found.append(held / 2**30)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def apart(function: Callable[..., T], *given: Any) -> T:
    """Call a function in a process of its own, whose memory is not that of what was done before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def main(options: argparse.Namespace) -> None:
    """Measure the rows."""
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        objects = apart(draw, folder, options.images, options.detections)
        times, gib = apart(evaluate, folder)
    what = f"{options.images:,} images, {objects:,} objects, {CATEGORIES} categories"
    what += f", {len(METHODS)} files of {options.detections:,} masks, generated"
    whole = times.pop("all")
    load = f"{whole.processor:.0f} s of processor time, load of the machine at the end: {os.getloadavg()[1]:.1f}"
    rows = [
        Row("evaluation", f"{what}; {load}", "s", whole.clock, None, 60),
        Row("evaluation_memory", f"{what}: all processes at the peak", "GiB", gib, None, 1),
    ]
    parts = [
        Row(
            f"evaluation_{stage}",
            f"part of it; {spent.processor:.1f} s of processor time",
            "s",
            spent.clock,
            None,
            None,
        )
        for stage, spent in times.items()
    ]
    finish([*rows, *parts], options)


if __name__ == "__main__":
    parser = arguments("Evaluation of result files at the scale of COCO's validation images.")
    parser.add_argument("--images", type=int, default=5_000, help="to generate")
    parser.add_argument("--detections", type=int, default=135_000, help="likewise, in each result file")
    main(parser.parse_args())
