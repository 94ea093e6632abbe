"""``segtrain curves`` of sweeps: one curve for each job that has numbers, and the others by name."""

import json
from pathlib import Path

import pytest

from segtrain.cli.main import main
from segtrain.training.sweep_journal import SweepJob, note


def numbers(folder: Path) -> Path:
    folder.mkdir(parents=True)
    lines = [json.dumps({"step": step, "train/loss": 1 / step}) for step in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("journal", [True, False])
def test_a_sweep_stands_for_its_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str], journal: bool) -> None:
    sweep, page = tmp_path / "sweep", tmp_path / "page.html"
    for number in (0, 2, 10):
        numbers(sweep / str(number))
    (sweep / "3").mkdir()
    (sweep / "multirun.yaml").touch()
    if journal:
        for number in (0, 2, 3, 10):
            note(sweep, SweepJob(number, [f"seed={number}"], "running", str(number)))
    other = numbers(tmp_path / "alone")
    assert main(["curves", str(sweep), str(other), str(sweep / "2"), "--out", str(page)]) == 0
    assert f"{sweep}: without numbers, left out: 3" in capsys.readouterr().out
    content = page.read_text()
    assert "4 training runs" in content
    rows = [content.index(f"</span>{name}</span></th>") for name in ("0", "2", "10", "alone")]
    assert rows == sorted(rows)


def test_a_sweep_without_numbers_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "multirun.yaml").touch()
    (tmp_path / "0").mkdir()
    assert main(["curves", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 1
    assert f"{tmp_path}: no job has written numbers yet" in capsys.readouterr().err
