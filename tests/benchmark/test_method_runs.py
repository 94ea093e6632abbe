"""Methods whose images several processes share."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from segtrain import masks
from segtrain.benchmark import method_runs as module
from segtrain.benchmark.method_runs import timed_images
from segtrain.benchmark.methods import Method
from segtrain.benchmark.runner import Benchmark
from segtrain.data.coco.reader import read_index
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.splits import Split
from segtrain.records import Instances
from segtrain.score_thresholds import ScoreThresholds
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


def test_no_more_processes_than_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda: 10 * 2**30)
    for gib, processes in (([], 8), ([None, 0.0], 8), ([1.0, None], 8), ([0.1, 3.0], 3), ([20.0], 1)):
        assert module._fitting(8, gib) == processes


def test_images_are_shared_by_the_processes_that_fit(drawn: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = []

    def in_processes(work: Any, tasks: Sequence[Any], processes: int, *_: Any) -> Iterator[tuple[int, Any]]:
        shared.append(processes)
        for number, task in enumerate(tasks):
            yield number, work(task, lambda share: None)

    monkeypatch.setattr(module, "TIMED", 1)
    monkeypatch.setattr(module, "in_processes", in_processes)
    monkeypatch.setattr(module, "_fitting", lambda processes, gib: processes - 3)
    method = Method("drawing", Drawing(), ScoreThresholds(0.0))
    whole: list[Method] = []
    module._detect_shared([method], Benchmark(drawn, max_dets=100), 5, lambda count: None, whole.append)
    assert (shared, whole) == ([2], [method])
    assert method.detections is not None
    assert method.detections.timed == [-1]


class Drawing:
    """Segmenter that draws from all three generators."""

    scores_are_learned = False

    def segment(self, images: Sequence[Tensor]) -> list[Instances]:
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(1))]  # noqa: NPY002
        planes = np.stack([np.arange(40).reshape(5, 8) < 40 * share for share in drawn])
        none, one = np.zeros((3, 4), np.float32), np.ones(3, np.float32)
        return [Instances((5, 8), none, np.ones(3, np.int64), one, list(map(masks.encode, planes))) for _ in images]


@pytest.fixture
def drawn(tmp_path: Path) -> Split:
    """Three black images without objects."""
    for identifier in (-1, 2, 3):
        Image.new("L", (8, 5)).save(tmp_path / f"{identifier}.png")
    images = [{"id": n, "file_name": f"{n}.png", "height": 5, "width": 8} for n in (-1, 2, 3)]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    return Split("val", read_index(tmp_path / "truth.json"), ImageReader(tmp_path, "auto", 10**6))


def test_what_a_segmenter_draws_in_an_image_depends_on_the_seed_and_the_image_alone(drawn: Split) -> None:
    def found(seed: int, order: Sequence[int]) -> dict[int, list[Any]]:
        benchmark = Benchmark(drawn, max_dets=100, seed=seed)
        infos = [drawn.index.images[place] for place in order]
        part = Method("drawing", Drawing(), ScoreThresholds(0.0)).detect_part(infos, benchmark, lambda: None)
        records = list(part.detections.masks or ())
        return {info.id: [r["segmentation"] for r in records if r["image_id"] == info.id] for info in infos}

    whole = found(0, [0, 1, 2])
    assert whole == found(0, [2, 0, 1])
    assert whole[2] == found(0, [1])[2]
    assert whole[-1] != whole[2]
    assert whole != found(1, [0, 1, 2])


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
