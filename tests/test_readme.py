"""The README says of every file what it is for, and of no file that is not there."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import Workplace

ROOT = Path(__file__).parent.parent


def test_every_file_has_its_line() -> None:
    text = (ROOT / "README.md").read_text()
    block = text.split("## Where things are")[1].split("```")[1]
    listed: set[str] = set()
    folders: list[str] = []
    for line in block.splitlines():
        if match := re.match(r"( *)(\w+)/$", line):
            folders = [*folders[: len(match[1]) // 2], match[2]]
        elif match := re.match(r"( +)(\w+\.py) +\S", line):
            listed.add("/".join([*folders[: len(match[1]) // 2], match[2]]))
    paths = [path for folder in ("segtrain", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    files = {str(path.relative_to(ROOT)) for path in paths if path.name != "__init__.py"}
    assert listed == files


def test_the_commands_of_the_first_screen() -> None:
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:25])
    assert "pip install -e . && python train.py && python evaluate.py" in first
    assert 'pip install -e ".[dev]" && pytest' in first


def test_the_python_example_runs(tmp_path: Path, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    image = next(path for path in sorted(workplace.data.rglob("*")) if path.suffix in (".png", ".jpg"))
    shutil.copy(image, tmp_path / "cells.png")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("runs/train/NAME/checkpoints/best.pt", str(workplace.best)), {})
    assert (tmp_path / "found.png").stat().st_size > 0
