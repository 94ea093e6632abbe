"""Code outside this package that a configuration names."""

import importlib
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from segtrain.benchmark.named_code import code_behind


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    files = {
        "mine_labels.py": "import json\nfrom mine_tools.deep import helper\n\ndef label(image):\n import mine_late\n",
        "mine_late.py": "import numpy, mine_labels\n",
        "mine_tools/__init__.py": "from . import deep\nimport segtrain.masks\n",
        "mine_tools/deep/__init__.py": "",
        "mine_tools/deep/helper.py": "",
        "mine_tools/template.py": "{{ no Python }}",
        "mine_tools/notes.txt": "import mine_other",
        "mine_other.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    importlib.invalidate_caches()
    return tmp_path


def test_imports_are_followed_within_the_users_code(code: Path) -> None:
    tools = ["__init__.py", "deep/__init__.py", "deep/helper.py", "template.py"]
    assert code_behind(["segtrain.masks.encode", "mine_labels.label"]) == {
        "mine_labels": {"mine_labels.py": code / "mine_labels.py"},
        "mine_late": {"mine_late.py": code / "mine_late.py"},
        "mine_tools": {name: code / "mine_tools" / name for name in tools},
        "numpy": {"numpy": np.__version__},
    }
    assert not {"mine_labels", "mine_late", "mine_tools"} & sys.modules.keys()


def test_an_installed_package_that_is_named_counts_by_its_files() -> None:
    found = code_behind(["threadpoolctl.threadpool_limits"])
    assert set(found["threadpoolctl"]) == {"threadpoolctl.py"}
    (path,) = found["threadpoolctl"].values()
    assert isinstance(path, Path)
    assert "class threadpool_limits" in path.read_text()


def test_what_an_installed_package_imports_counts_by_its_version() -> None:
    assert code_behind(["tifffile.imread"])["numpy"] == {"numpy": version("numpy")}


def test_code_of_an_unknown_place_is_never_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    first, second = (code_behind(["__main__.label"]) for _ in range(2))
    assert first.keys() == second.keys() == {"__main__"}
    assert first != second


def test_the_script_that_is_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)  # worker processes have none
    found = code_behind(["__main__.label"])
    assert found["__main__"] == {Path(__file__).name: Path(__file__)}
    assert "pytest" in found
