"""The benchmarks' harness, and that each of them runs on drawn data."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import write_data

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(FOLDER))

from harness import Row, alternate, arguments, finish, table  # noqa: E402


def row(ours: float, stock: float | None, bound: float, greater: bool = False, beside: float | None = None) -> Row:
    return Row("r", "what", "ms", ours, stock, bound, greater, beside)


@pytest.mark.parametrize(
    ("measured", "ratio", "held"),
    [
        (row(2, 10, 5), 5, True),
        (row(2.1, 10, 5), 10 / 2.1, False),
        (row(10, 2, 5, greater=True), 5, True),
        (row(2, 10, 5, greater=True), 0.2, False),
        (row(0, 10, 5), math.inf, True),
        (row(30, None, 30), None, True),
        (row(30.5, None, 30), None, False),
        (row(30.5, None, 30, greater=True), None, True),
        (row(29, None, 30, greater=True), None, False),
        (row(0.6, None, 0.54, greater=True, beside=0.15), 4, True),
        (row(0.5, None, 0.54, greater=True, beside=0.1), 5, False),
    ],
)
def test_bounds(measured: Row, ratio: float | None, held: bool) -> None:
    assert measured.ratio == ratio
    assert (measured.miss is None) == held


def test_a_miss_says_by_how_much() -> None:
    assert row(4, 10, 5).miss == "r: 2.50x, 5x is the least"
    assert row(31, None, 30).miss == "r: 31 ms, 30 ms is the most"


def test_the_sides_take_turns_and_the_warm_up_does_not_count() -> None:
    calls: list[str] = []
    now = 0.0

    def side(name: str, seconds: float) -> None:
        nonlocal now
        calls.append(name)
        now += seconds * (100 if len(calls) <= 4 else 1)

    times = alternate(
        lambda item: side(f"a{item}", 2), lambda item: side(f"b{item}", 6), [0, 1], repeats=3, clock=lambda: now
    )
    assert times == (2, 6)
    assert calls[:8] == ["a0", "b0", "b1", "a1", "b0", "a0", "a1", "b1"]
    assert len(calls) == 16


def test_json_table_and_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("fast", "an image", "ms", 2, 10, 4), Row("slow", "a file", "s", 40, None, 30)]
    options = arguments("d").parse_args(["--json", str(tmp_path / "rows.json")])
    finish(rows, options)
    assert json.loads((tmp_path / "rows.json").read_text()) == {
        "fast": {"ours": 2, "stock": 10, "ratio": 5, "bound": 4, "unit": "ms"},
        "slow": {"ours": 40, "stock": None, "ratio": None, "bound": 30, "unit": "s"},
    }
    printed = capsys.readouterr()
    assert printed.out.splitlines() == table(rows).splitlines()
    assert printed.err == "missed: slow: 40 s, 30 s is the most\n"
    with pytest.raises(SystemExit) as exit_code:
        finish(rows, arguments("d").parse_args(["--check"]))
    assert exit_code.value.code == 1
    finish(rows[:1], arguments("d").parse_args(["--check"]))


def test_a_figure_beside_the_bound_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = arguments("d").parse_args(["--json", str(tmp_path / "rows.json")])
    finish([Row("quality", "data", "AP", 0.6, None, 0.54, greater=True, beside=0.15)], options)
    assert json.loads((tmp_path / "rows.json").read_text()) == {
        "quality": {"ours": 0.6, "stock": 0.15, "ratio": 4, "bound": 0.54, "unit": "AP"}
    }
    cells = capsys.readouterr().out.splitlines()[1].split("  ")
    assert [cell.strip() for cell in cells if cell] == ["quality", "0.6 AP", "0.15 AP", "4.00x", "≥ 0.54 AP", "data"]


def measured(script: str, folder: Path, *options: str) -> tuple[dict[str, dict[str, float]], str]:
    """The rows that a benchmark writes, and what it prints."""
    command = [sys.executable, str(FOLDER / script), "--repeats", "1", "--json", str(folder / "rows.json"), *options]
    # Whatever is installed, it is this tree that is measured.
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads((folder / "rows.json").read_text()), finished.stdout


@pytest.mark.slow
def test_samples_run_on_drawn_data(tmp_path: Path) -> None:
    rows, printed = measured("samples.py", tmp_path)
    assert list(rows) == ["sample_mean", "sample_dense", "sample_coco"]
    assert all(values["ratio"] > 1 for values in rows.values())
    assert printed.count("drawn data") == 3


@pytest.mark.slow
def test_the_index_runs_on_drawn_data(tmp_path: Path) -> None:
    rows, printed = measured("index.py", tmp_path, "--images", "4000", "--annotations", "40000")
    assert list(rows) == ["index_time", "index_memory", "index_workers", "check_nuclei", "check_nuclei_cached"]
    assert rows["index_time"]["ratio"] > 1
    assert rows["index_memory"]["ratio"] > 1
    assert rows["check_nuclei_cached"]["ours"] < rows["check_nuclei"]["ours"]
    assert "4,000 images, 40,000 polygons, generated" in printed
    assert printed.count("drawn data") == 2


@pytest.mark.slow
def test_roi_align_is_compared(tmp_path: Path) -> None:
    rows, printed = measured("roi_align.py", tmp_path)
    cases = [f"roi_align_{part}_{case}" for case in ("box", "wide", "mask") for part in ("forward", "backward")]
    assert list(rows) == cases
    assert all(values["ratio"] > 1 for values in rows.values())
    assert "512 regions, 128 channels, 7x7 bins" in printed


@pytest.mark.slow
def test_quality_is_compared_on_drawn_data(tmp_path: Path) -> None:
    folder, drawn = tmp_path / "data", write_data(tmp_path / "drawn", images=3)
    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        shutil.copytree(drawn / split, folder / "images" / split)
        records = json.loads((drawn / f"{split}.json").read_text())
        for record in records["annotations"]:  # the stock side trusts them
            x, y, right, _, _, bottom = record["segmentation"][0][:6]
            record["bbox"] = [x, y, right - x, bottom - y]
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(records))
    rows, printed = measured("time_to_quality.py", tmp_path, "--steps", "2", "--nuclei", str(folder))
    assert list(rows) == ["time_to_quality"]
    assert rows["time_to_quality"]["bound"] == 0.54
    assert "after 2 steps: 2 steps of ours" in printed
