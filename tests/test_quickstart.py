"""The notebook of the documentation: its stored outputs, and that it runs."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def test_outputs_are_stored() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < 1_000_000
    assert [cell["execution_count"] for cell in cells("code")] == list(range(1, len(cells("code")) + 1))
    outputs = [output for cell in cells("code") for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}  # neither warnings nor errors
    assert text.count("image/jpeg") >= 4


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", "".join(line for cell in cells("markdown") for line in cell["source"]))
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of other libraries, in the process that talks to the kernel
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with the commands of this environment and the code of this tree."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (pip install '.[dev]')")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (pip install '.[dev]')")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    if shutil.which("segtrain") is None:
        pytest.skip("the command segtrain is not installed (pip install -e .)")
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=resources).execute()
    made = tmp_path / "quickstart"
    assert (made / "runs" / "report" / "report.html").exists()
    assert (made / "found" / "index.html").exists()
    assert len(list((made / "found" / "labels").glob("*.tif"))) == 16
    assert (made / "tiled" / "labels" / "mosaic.tif").exists()
