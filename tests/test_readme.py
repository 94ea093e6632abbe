"""The README and the pages of ``docs/`` agree with the code."""

import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path

import hydra
import pytest

from segtrain.cli.config import register_schemas
from segtrain.cli.overrides import expand_shorthand
from tests.conftest import Workplace

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """All calls of both scripts on all pages, without their comments; each once."""
    blocks = [block for page in PAGES for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return list(dict.fromkeys(line.partition("   #")[0].strip() for line in lines if re.match(r"python \w+\.py", line)))


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 120


def test_first_commands() -> None:
    assert "\npip install -e .\n" in README.read_text()
    assert commands()[:2] == ["python train.py", "python evaluate.py"]


# Hydra's options are no overrides, and `my_net` is the reader's own.
@pytest.mark.few(8)
@pytest.mark.parametrize(
    "command", [command for command in commands() if " --" not in command and "my_net" not in command]
)
def test_command_composes(command: str) -> None:
    _, script, *overrides = shlex.split(command)
    register_schemas()
    with hydra.initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        assert hydra.compose(Path(script).stem, list(map(expand_shorthand, overrides)))


def test_python_example_runs(tmp_path: Path, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    code = README.read_text().split("```python\n")[1].split("```")[0]
    image = next(path for path in sorted(workplace.data.rglob("*")) if path.suffix in (".png", ".jpg"))
    shutil.copy(image, tmp_path / "cells.png")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("runs/train/NAME", str(workplace.run)), {})
    assert (tmp_path / "found.png").stat().st_size > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []
    names = re.findall(r"`((?:segtrain|configs|tests|benchmarks)/[a-z0-9_/.]*)`", text)
    assert [name for name in names if not (ROOT / name).exists()] == []
    modules = {path.name for path in ROOT.rglob("*.py")}
    assert sorted(set(re.findall(r"`(\w+\.py)`", text)) - modules) == []


def test_architecture_names_every_part() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    folders = [f"`segtrain/{path.parent.name}/`" for path in (ROOT / "segtrain").glob("*/__init__.py")]
    modules = [f"`segtrain/{path.name}`" for path in (ROOT / "segtrain").glob("*.py") if path.name != "__init__.py"]
    assert [part for part in (*folders, *modules) if part not in text] == []


def test_table_of_metrics_is_current() -> None:
    script = ROOT / "docs" / "write_metrics.py"
    spec = importlib.util.spec_from_file_location("write_metrics", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "report.md").read_text()
    assert module.updated(page) == page, f"run {Path(sys.executable).name} docs/write_metrics.py"
