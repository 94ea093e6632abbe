"""Proof that a metric is one module and one entry in the registry: a Dice coefficient, through a whole evaluation."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.scripts import ROOT, coco, data_of, write_data

# In a process of its own: modules may read the registry when they are imported.
EVALUATE = """
import runpy, sys
from segtrain.metrics import registry
from tests.helpers.dice import DICE, ZERO
registry.METRICS = (*registry.METRICS, DICE, ZERO)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation of two result files: one finds the left half of each object, one nothing at all."""
    folder = tmp_path_factory.mktemp("dice")
    data = write_data(folder / "data", images=6)
    found: dict[str, list[dict[str, Any]]] = {"half": [], "beside": []}
    for annotation in coco(6, 101)["annotations"]:
        x0, y0, x1, _, _, y1 = annotation["segmentation"][0][:6]
        record = {key: annotation[key] for key in ("image_id", "category_id")} | {"score": 0.9}
        middle = (x0 + x1) / 2
        found["half"].append({**record, "segmentation": [[x0, y0, middle, y0, middle, y1, x0, y1]]})
        found["beside"].append({**record, "segmentation": [[44, 44, 47, 44, 47, 47, 44, 47]]})
    for name, records in found.items():
        (folder / f"{name}.json").write_text(json.dumps(records))
    predictions = [f"predictions.{name}={folder / name}.json" for name in found]
    arguments = ["methods=none", *data_of(data), *predictions, "bootstrap.resamples=20", "threads=1"]
    finished = subprocess.run(
        [sys.executable, "-c", EVALUATE, ROOT / "evaluate.py", *arguments, f"output_dir={folder / 'report'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return folder / "report"


@pytest.fixture(scope="module")
def results(report: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((report / "results.json").read_text())
    return content


def test_its_value_stands_in_both_tracks_with_an_interval(results: dict[str, Any]) -> None:
    for track in ("class_agnostic", "class_aware"):
        half = results["methods"]["half"][track]
        assert half["dice"] == pytest.approx(2 / 3, abs=0.02)  # a half of the object: 2 * 1/2 / (1 + 1/2)
        low, high = half["intervals"]["dice"]
        assert low <= half["dice"] <= high
        assert results["methods"]["beside"][track]["dice"] == 0
    for entry in results["methods"]["half"]["class_aware"]["per_category"]:
        assert entry["dice"] == pytest.approx(2 / 3, abs=0.02)


def test_it_is_a_column_of_the_csv(report: Path, results: dict[str, Any]) -> None:
    with (report / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = {row["method"]: float(row["dice"]) for row in rows if row["track"] == "class_agnostic"}
    assert values == {name: method["class_agnostic"]["dice"] for name, method in results["methods"].items()}


def test_a_zero_has_its_reason(results: dict[str, Any]) -> None:
    reasons = [entry for entry in results["reasons"] if "dice" in entry["keys"]]
    assert reasons
    assert all(entry["rows"] == ["beside"] and entry["why"] for entry in reasons)


def test_a_zero_that_nothing_else_explains_has_a_sentence(report: Path, results: dict[str, Any]) -> None:
    assert [entry["why"] for entry in results["reasons"] if "zero" in entry["keys"] and entry["rows"] == ["half"]]
    assert "Always zero" in (report / "report.html").read_text()


def test_the_report_shows_and_defines_it(report: Path) -> None:
    html, markdown = ((report / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert re.search(r"<th[^>]*>(?:(?!</th>).)*Dice", html, re.DOTALL)
    assert (
        "Dice coefficient of the categories&#39; pixels" in html or "Dice coefficient of the categories' pixels" in html
    )
    assert re.search(r"\|[^\n]*Dice[^\n]*\|", markdown)
    for text in (html, markdown):
        assert "Twice the pixels that predicted and true objects share" in text
