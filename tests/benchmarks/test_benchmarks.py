"""The benchmarks' harness, and that each of them runs on drawn data."""

import json
import math
import os
import runpy
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import bootstrap
import pytest
import torch
from harness import Row, alternate, arguments, finish, table
from rows import read_rows
from run import scripts
from saved import save

from tests.helpers.scripts import write_data

FOLDER = Path(__file__).parents[2] / "benchmarks"


def row(
    ours: float, stock: float | None, bound: float | None, greater: bool = False, beside: float | None = None
) -> Row:
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
        (row(1e9, None, None), None, True),
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


def test_a_side_that_writes_gets_a_copy_each_time() -> None:
    seen: list[list[int]] = []

    def side(item: list[int]) -> None:
        seen.append(list(item))
        item.append(1)

    alternate(side, side, [[7]], repeats=2, fresh=list)
    assert seen == [[7]] * 6


def test_json_table_and_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("fast", "an image", "ms", 2, 10, 4), Row("slow", "a file", "s", 40, None, 30)]
    options = arguments("d").parse_args(["--json", str(tmp_path / "rows.json")])
    finish(rows, options)
    fast = {"ours": 2, "stock": 10, "ratio": 5, "bound": 4, "unit": "ms"}
    slow = {"ours": 40, "stock": None, "ratio": None, "bound": 30, "unit": "s"}
    assert json.loads((tmp_path / "rows.json").read_text()) == {"fast": fast, "slow": slow}
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


SAVED = [
    Row("fast", "an image", "ms", 2, 10, 4),
    Row("faster", "files | folders", "ms", 1, 40, 4),
    Row("slow", "a file", "s", 40, None, 30),
    Row("rate", "a\nstream", "images/s", 12, None, 10, greater=True),
    Row("quality", "nuclei", "AP", 0.6, None, 0.54, greater=True, beside=0.15),
    Row("part", "part of it", "s", 3, None, None),
]


def sections(path: Path) -> dict[str, str]:
    first, *others = path.read_text().split("\n## ")
    return {"": first} | {part.partition("\n")[0]: part.strip() for part in others}


def test_saved_rows_say_what_was_held(tmp_path: Path) -> None:
    save(tmp_path / "new" / "R.md", "a.py", SAVED, 7)
    section = sections(tmp_path / "new" / "R.md")["a.py"]
    assert f"- measured: {date.today().isoformat()}, medians of 7, torch threads: {torch.get_num_threads()}" in section
    assert f"torch {torch.__version__.partition('+')[0]}" in section
    assert f"{os.cpu_count()} cores" in section
    assert section.splitlines()[-6:] == [
        "| `fast` | an image | 2 ms | 10 ms | 5.00x | ≥ 4x | held by 25% |",
        r"| `faster` | files \| folders | 1 ms | 40 ms | 40.00x | ≥ 4x | held 10 times over |",
        "| `slow` | a file | 40 s |  |  | ≤ 30 s | **missed by 25.0%** |",
        "| `rate` | a stream | 12 images/s |  |  | ≥ 10 images/s | held by 20% |",
        "| `quality` | nuclei | 0.6 AP | 0.15 AP | 4.00x | ≥ 0.54 AP | held by 11% |",
        "| `part` | part of it | 3 s |  |  |  |  |",
    ]


def test_a_script_replaces_its_own_section_alone(tmp_path: Path) -> None:
    path = tmp_path / "R.md"
    save(path, "b.py", SAVED[:1], 5)
    save(path, "a.py", SAVED[1:], 5)
    first = path.read_text()
    # What another machine measured stays, whatever stands in it.
    path.write_text(first.replace("- machine: ", "- machine: another, "))
    before = sections(path)
    assert list(before) == ["", "a.py", "b.py"]
    save(path, "b.py", SAVED[2:3], 5)
    after = sections(path)
    assert (after[""], after["a.py"]) == (before[""], before["a.py"])
    assert "another" not in after["b.py"]
    assert "`slow`" in after["b.py"]
    assert "`fast`" not in path.read_text()
    for script, rows in (("b.py", SAVED[:1]), ("a.py", SAVED[1:])):
        save(path, script, rows, 5)
    assert path.read_text() == first
    assert list(tmp_path.iterdir()) == [path]


def test_whole_rows_are_handed_on(tmp_path: Path) -> None:
    finish(SAVED, arguments("d").parse_args(["--hand-on", str(tmp_path / "rows.json")]))
    assert read_rows(tmp_path / "rows.json") == SAVED


def test_save_is_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["somewhere/some.py"])
    finish(SAVED[:1], arguments("d").parse_args(["--save", str(tmp_path / "R.md")]))
    assert list(sections(tmp_path / "R.md")) == ["", "some.py"]
    assert arguments("d").parse_args(["--save"]).save == FOLDER / "RESULTS.md"
    assert arguments("d").parse_args([]).save is None


SCRIPT = """
import sys
from harness import Row, arguments, finish
if __name__ == "__main__":
    options = arguments("d").parse_args()
    print(options.repeats, options.coco, options.check, options.save)
    options.save = None
    finish([Row(ROW, "what", "ms", 2, 10, BOUND)], options)
"""


def suite(folder: Path, *options: str, **scripts: str) -> subprocess.CompletedProcess[str]:
    """Run ``run.py`` on scripts that measure nothing."""
    for name in ("harness", "rows", "saved", "run"):
        shutil.copy(FOLDER / f"{name}.py", folder)
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, str(folder / "run.py"), *options]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def script(row: str, bound: float) -> str:
    return SCRIPT.replace("ROW", repr(row)).replace("BOUND", str(bound))


def test_all_scripts_run_though_one_fails(tmp_path: Path) -> None:
    broken = "\nfrom harness import Row\nif __name__ == \"__main__\":\n    raise ValueError('no such thing')\n"
    held, missed = script("held", 4), script("missed", 6)
    options = ["--repeats", "2", "--coco", "DIR", "--json", str(tmp_path / "rows.json"), "--save", "R.md"]
    finished = suite(tmp_path, *options, held=held, broken=broken, missed=missed, time_to_quality=script("never", 1))
    assert finished.returncode == 1
    assert finished.stdout.count("2 DIR False R.md") == 2
    assert "never" not in finished.stdout
    assert "ValueError: no such thing" in finished.stderr
    assert "failed: broken.py: exit code 1" in finished.stderr
    assert "missed: missed: 5.00x, 6x is the least" in finished.stderr
    assert finished.stdout.splitlines()[-4].startswith("held")
    assert list(json.loads((tmp_path / "rows.json").read_text())) == ["held", "missed"]


@pytest.mark.parametrize(
    ("options", "bound", "code"), [([], 6, 0), (["--check"], 6, 1), (["--check"], 4, 0), (["--trainings"], 4, 0)]
)
def test_a_missed_bound_counts_with_check(options: list[str], bound: float, code: int, tmp_path: Path) -> None:
    finished = suite(tmp_path, *options, some=script("some", bound), time_to_quality=script("trained", 1))
    assert finished.returncode == code
    assert ("trained" in finished.stdout) == ("--trainings" in options)


def test_the_suite_finds_the_benchmarks() -> None:
    found = [path.stem for path in scripts(FOLDER, trainings=False)]
    assert {"index", "masks_to_rle", "samples", "scoring"} <= set(found)
    assert not {"harness", "rows", "run", "saved", "stand_ins", "stock_training", "time_to_quality"} & set(found)


def smoke(name: str, monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> dict[str, Row]:
    """The rows of a benchmark that runs in this process."""
    path = folder / "rows.json"
    monkeypatch.setattr(sys, "argv", [name, "--repeats", "1", "--hand-on", str(path), *options])
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    return {row.name: row for row in read_rows(path)}


def test_masks_to_rle_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = smoke("masks_to_rle.py", monkeypatch, tmp_path, "--masks", "1")
    sizes = ("640x480", "1280x960", "4000x3000")
    assert list(rows) == [f"masks_{kind}_{size}" for size in sizes for kind in ("to_rle", "as_torchvision")]
    assert (rows["masks_to_rle_4000x3000"].ratio or 0) > 1


def test_masks_to_rle_takes_the_boxes_of_coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = {"image_id": 5, "bbox": [10.0, 20.0, 30.0, 40.0], "iscrowd": 0}
    content = {"images": [{"id": 5, "width": 100, "height": 200}], "annotations": [box, {**box, "iscrowd": 1}]}
    (tmp_path / "annotations").mkdir()
    for name in ("train2017", "val2017"):
        (tmp_path / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    rows = smoke("masks_to_rle.py", monkeypatch, tmp_path, "--masks", "2", "--coco", str(tmp_path))
    assert rows["masks_to_rle_640x480"].what == "2 masks at 640x480, boxes of coco"


def test_many_masks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = smoke("many_masks.py", monkeypatch, tmp_path, "--masks", "20", "40", "80")
    assert list(rows)[:2] == ["many_union", "many_matching"]
    assert {row.bound for name, row in rows.items() if name != "many_growth"} == {2}
    assert "20:" in rows["many_growth"].what


def test_scoring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = smoke("scoring.py", monkeypatch, tmp_path, "--images", "30", "--detections", "600")
    assert list(rows) == ["scoring"]
    assert (rows["scoring"].ratio or 0) > 1
    assert rows["scoring"].bound == 20


def test_bootstrap_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--images", "6", "--methods", "2", "--resamples", "20"]
    rows = smoke("bootstrap.py", monkeypatch, tmp_path, *options)
    assert list(rows) == ["bootstrap"]
    assert 0 < rows["bootstrap"].ours < rows["bootstrap"].bound == 30


def test_what_the_bootstrap_is_timed_on_has_all_its_numbers() -> None:
    reference, rows = bootstrap.generate(images=4, methods=3)
    sure = bootstrap.uncertainty(rows, reference, resamples=20)
    keys = {"mask_ap", "mask_ap_small", "mask_ar", "box_ap", "miou", "f1_50", "pq", "boundary_iou"}
    assert all(keys <= sure.intervals[name]["class_agnostic"].keys() for name in rows)
    assert all(keys <= sure.comparisons[name].keys() for name in ("method_1", "method_2"))


def measured(script: str, folder: Path, *options: str) -> tuple[dict[str, dict[str, float]], str]:
    """The rows that a benchmark writes, and what it prints."""
    command = [sys.executable, str(FOLDER / script), "--repeats", "1", "--json", str(folder / "rows.json"), *options]
    # Whatever is installed, it is this tree that is measured.
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads((folder / "rows.json").read_text()), finished.stdout


@pytest.mark.slow
def test_an_evaluation_is_measured_by_stage(tmp_path: Path) -> None:
    rows, printed = measured("evaluation.py", tmp_path, "--images", "20", "--detections", "400")
    assert {"evaluation", "evaluation_memory", "evaluation_data", "evaluation_report"} < rows.keys()
    assert rows["evaluation"]["bound"] == 60
    assert 0.1 < rows["evaluation_memory"]["ours"] < 2
    assert "2 files of 400 masks" in printed


@pytest.mark.slow
def test_images_from_other_places_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = smoke("remote.py", monkeypatch, tmp_path, "--images", "500")
    assert {"remote_http", "remote_cache", "remote_shard"} < rows.keys()
    assert 50 < rows["index_image"].ours < 80
    assert rows["index_annotation"].ours > 61  # bytes of a row, without its text


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
    assert list(rows) == ["time_to_quality", "time_to_quality_exact"]
    assert rows["time_to_quality"]["bound"] == 0.54
    assert "after 2 steps: 2 steps of ours" in printed
