"""Fixtures of the tests and of the examples in docstrings."""

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "segtrain"
EXAMPLES = [
    PACKAGE / name for name in ("__init__.py", "api.py", "cli/runs.py", "export/export_files.py")
]  # read and write files


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through modules and tests again: each evaluation collects many times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cache() -> Iterator[None]:
    """Keep cached check results apart from the user's own."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", folder)
        yield


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with drawn cells in ``cells`` and a run of one step in ``runs/train/cells``."""
    import segtrain as st

    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        st.train(
            [
                "data.root=cells",
                "data.generator.train_images=4",
                "data.generator.val_images=2",
                "data.generator.size=96",
                "segmenter=mask_rcnn_mobilenet_v2_fpn",
                "segmenter.scale=1",
                "trainer.max_steps=1",
                "score_threshold=0.5",
                "output_dir=runs/train/cells",
            ]
        )
    return folder


@pytest.fixture(autouse=True)
def in_example_folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the examples of the Python API in the folder that they name."""
    if request.node.path in EXAMPLES:
        monkeypatch.chdir(request.getfixturevalue("example_folder"))
