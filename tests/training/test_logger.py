"""The log of a training run."""

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segtrain.training.logger import RunLogger


def test_lines_that_a_crash_cut_are_dropped(tmp_path: Path) -> None:
    lines = tmp_path / "metrics.jsonl"
    lines.write_text('{"step": 1, "a": 2.0}\n{"step": 9, "a": 3.0}\n7\n[]\n{"step": null}\n{"step": 2, "a"')
    run_logger = RunLogger(tmp_path, 2)
    run_logger.log_scalars(3, {"a": 4.0})
    run_logger.close()
    assert [json.loads(line) for line in lines.read_text().splitlines()] == [
        {"step": 1, "a": 2.0},
        {"step": 3, "a": 4.0},
    ]


def test_each_step_is_recorded_once_however_often_a_run_is_broken_off(tmp_path: Path) -> None:
    def record(start: int, validated_at: int, steps: range, validated: int | None) -> None:
        run_logger = RunLogger(tmp_path, start, validated_at)
        run_logger.log_settings({"experiment": "demo"}, "a: 1")
        for step in steps:
            run_logger.log_scalars(step, {"train/loss": float(step)})
        if validated is not None:
            run_logger.log_scalars(validated, {"validation/mask_ap": 0.5})
        run_logger.close()

    record(0, -1, range(1, 5), 4)
    record(4, -1, range(5, 9), 4)  # saved before the validation: it is repeated
    (events,) = sorted(tmp_path.glob("events.out*"))[-1:]
    events.write_bytes(events.read_bytes() + bytes(20)[:15])  # a crash cut the last one
    record(4, 4, range(5, 7), None)
    record(6, 4, range(7, 9), 8)
    read = EventAccumulator(str(tmp_path)).Reload()
    losses = [(event.step, event.value) for event in read.Scalars("losses/loss/training")]
    assert losses == [(step, float(step)) for step in range(1, 9)]
    assert [e.step for e in read.Scalars("quality/mask_ap")] == [4, 8]
    assert [e.step for e in read.Tensors("config/text_summary")] == [0, 4, 6]
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in written if "train/loss" in entry] == list(range(1, 9))
    assert [entry["step"] for entry in written if "validation/mask_ap" in entry] == [4, 8]
