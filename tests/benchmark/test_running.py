"""Methods whose images several processes share."""

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from segtrain.benchmark import running as module
from segtrain.benchmark.running import timed_images
from segtrain.data.coco.record_tables import ImageInfo
from tests.conftest import Workplace
from tests.helpers.scripts import data_of, run

ROOT = Path(__file__).parents[2]
ROWS = ("threshold_oracle", "threshold_otsu", "threshold_mean", "kmeans_lab", "edge_tuned", "threshold_tuned")


def numbers(folder: Path) -> dict[str, Any]:
    """Content of ``results.json`` without what tells one run from another."""
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    for key in ("command", "directory", "environment", "warnings", "verdict", "claims"):
        del content[key]
    for method in content["methods"].values():
        del method["timing"], method["costs"]
        method.pop("measured", None)
    return content


def test_processes_change_no_number(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMED", 2)
    rows = [f"+segmenter@segmenters.{name}={name}" for name in ROWS]
    limits = ["bootstrap.resamples=20", "tune.trials=3", "tune.seconds=null", "tune.images=2", "gallery=1"]
    for count in (1, 2):
        arguments = ["methods=none", *rows, *data_of(workplace.data), *limits, f"threads={count}"]
        finished = run("evaluate", *arguments, f"output_dir={count}", folder=tmp_path)
        assert (finished.code, finished.err) == (0, "")
    alone, shared = tmp_path / "1", tmp_path / "2"
    assert numbers(alone) == numbers(shared)
    assert list(numbers(shared)["methods"]) == list(ROWS)
    for name in ROWS:
        records = [(folder / "predictions" / f"{name}.json").read_bytes() for folder in (alone, shared)]
        assert records[0] == records[1]
    content = json.loads((shared / "results.json").read_text())
    (said,) = [line for line in content["warnings"] if line.startswith("The time per image")]
    assert said.endswith(f"{', '.join(ROWS[1:])}")
    assert content["methods"]["threshold_otsu"]["timing"]["segmentation"]["median"] > 0
    assert content["methods"]["threshold_oracle"]["costs"]["tuning_seconds"] > 0


def test_the_images_that_are_timed_are_of_all_sizes() -> None:
    images = [ImageInfo(n, f"{n}.png", 10 + (37 * n) % 100, 10) for n in range(100)]
    timed = timed_images(images)
    assert [info.id for info in timed] == sorted(info.id for info in timed)
    heights = sorted(info.height for info in timed)
    assert len(timed) == module.TIMED
    assert (heights[0], heights[-1]) == (10, 109)
    assert max(high - low for low, high in pairwise(heights)) <= 6
    assert timed_images(images[:5]) == images[:5]


@pytest.mark.slow
def test_what_is_killed_goes_on_to_the_same_numbers(workplace: Workplace, tmp_path: Path) -> None:
    rows = [f"+segmenter@segmenters.{name}={name}" for name in ROWS]
    limits = ["bootstrap.resamples=20", "tune.trials=3", "tune.seconds=null", "tune.images=2", "gallery=1", "threads=2"]
    arguments = ["methods=none", *rows, *data_of(workplace.data), *limits]
    assert run("evaluate", *arguments, "output_dir=whole", folder=tmp_path).code == 0
    command = [sys.executable, str(ROOT / "evaluate.py"), *arguments, "output_dir=killed", "resume=auto"]
    kept = tmp_path / "killed" / "rows"
    for parts in (1, 3, 6, 9):  # parts of rows that are whole when it is killed
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while process.poll() is None and (not kept.exists() or len(list(kept.iterdir())) < parts):
            time.sleep(0.02)
        process.kill()
        process.wait()
    again = run("evaluate", *arguments, "output_dir=killed", "resume=auto", folder=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert again.out.count(": taken from ") >= 1
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")
