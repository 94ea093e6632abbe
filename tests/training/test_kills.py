"""A training that is killed again and again ends as one that is left alone."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.scripts import ROOT, SMALL_NETWORK, data_of, write_data
from tests.training.test_trainer import assert_same

KILLS = 20
STEPS = 150
TIMES = ("train/images_per_second", "train/data_wait_share", "train/minutes", "train/memory_gib", "validation/seconds")
SETTINGS = [
    *SMALL_NETWORK, "segmenter.norm=batch", "trainer.batch_size=2", "trainer.workers=2", "trainer.epochs=null",
    "trainer.max_minutes=null", f"trainer.max_steps={STEPS}", "trainer.log_every=4", "trainer.checkpoint_minutes=0.01",
    "trainer.validation_images=1", "trainer.threshold_images=4", "augmentation=strong", "threads=1",
    "trainer.precision=fp32", "trainer.aspect_grouping=true", "resume=auto",
]  # fmt: skip


def start(folder: Path, data: Path, name: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(ROOT / "train.py"), *data_of(data), *SETTINGS, f"output_dir={name}"]
    log = (folder / f"{name}.txt").open("ab")
    with log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def entries(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    found.pop("minutes")
    found["config"].pop("output_dir")
    if found["training"] is not None:
        for key in ("seconds", "waited"):
            found["training"]["meter"].pop(key)
    return found


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", images=16)
    assert start(tmp_path, data, "whole").wait() == 0, (tmp_path / "whole.txt").read_text()
    draw = random.Random(0)
    kills = started = 0
    while True:
        process = start(tmp_path, data, "killed")
        started += 1
        if kills < KILLS:
            before = time.monotonic()
            while not (tmp_path / "killed" / ".lock").exists() and time.monotonic() - before < 60:
                time.sleep(0.05)  # the interpreter's start is of no interest
            try:
                process.wait(draw.uniform(0.0, 8.0))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
                process.wait()
                continue
        assert process.wait() == 0, (tmp_path / "killed.txt").read_text()
        break
    steps = [entry["step"] for entry in entries(tmp_path / "killed") if "train/loss" in entry]
    print(f"{kills} kills in {started} starts")
    assert kills >= KILLS // 2
    assert steps == sorted(set(steps))
    assert entries(tmp_path / "killed") == entries(tmp_path / "whole")
    for name in ("last.pt", "best.pt"):
        assert_same(*(content(tmp_path / run / "checkpoints" / name) for run in ("killed", "whole")))
    read = [EventAccumulator(str(tmp_path / run)).Reload() for run in ("killed", "whole")]
    assert read[0].Tags()["scalars"] == read[1].Tags()["scalars"]
    for tag in read[0].Tags()["scalars"]:
        assert [event.step for event in read[0].Scalars(tag)] == [event.step for event in read[1].Scalars(tag)], tag
    left = [path.name for path in (tmp_path / "killed").rglob(".*") if path.name != ".hydra"]
    assert left == []
