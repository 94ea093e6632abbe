"""The log of a training run."""

import json
from pathlib import Path

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
