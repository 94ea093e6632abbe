"""Each tracker with its real library, offline: what a run tells is found there, once, also after an interruption."""

import importlib.util
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from segtrain.errors import SegtrainError
from segtrain.training.logger import RunLogger
from segtrain.training.trackers.tracker import RunPlace, TrackerName, start_trackers


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


def broken_off_and_resumed(folder: Path, name: TrackerName) -> None:
    """Log steps 1 to 4 and a validation; go on from step 2, and repeat what was behind it."""
    folder.mkdir(parents=True)
    for start, validated_at, steps in ((0, -1, (1, 2, 3, 4)), (2, -1, (3, 4, 5))):
        run_logger = RunLogger(folder, start, validated_at, [name])
        run_logger.log_settings({"experiment": "demo", "optimizer.lr": 0.5}, "seed: 0")
        for step in steps:
            run_logger.log_scalars(step, {"train/loss": float(step), "train/nothing": float("nan")})
        run_logger.log_histogram(4, "scores/hits", np.array([0.5, 0.9, 0.9]))
        run_logger.log_image(4, "a.png", np.zeros((8, 8, 3), np.uint8))
        run_logger.log_scalars(4, {"validation/mask_ap": 0.25})
        run_logger.close(finished=start > 0)


@needs("mlflow")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_writes_a_sqlite_file_beside_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    broken_off_and_resumed(tmp_path / "runs" / "mine", "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("segtrain")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert run.data.params == {"experiment": "demo", "optimizer.lr": "0.5"}
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted((entry.step, entry.value) for entry in history) == [(step, float(step)) for step in range(1, 6)]
    assert [entry.step for entry in client.get_metric_history(run.info.run_id, "validation/mask_ap")] == [4]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"config.yaml", "images"}


@needs("wandb")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_an_offline_run_into_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    folder = tmp_path / "mine"
    broken_off_and_resumed(folder, "wandb")
    written = list(folder.glob("wandb/offline-run-*/*.wandb"))
    run_id = json.loads((folder / "trackers.json").read_text())["wandb"]
    assert len(written) == 2
    assert all(path.stem == f"run-{run_id}" for path in written)  # wandb sync joins them
    assert all(b"train/loss" in path.read_bytes() for path in written)


@needs("trackio")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trackio_writes_a_sqlite_file_beside_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is chosen when it is imported, so this is the only test that imports it."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    broken_off_and_resumed(tmp_path / "mine", "trackio")
    (path,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(path) as database:
        rows = database.execute("select step, metrics from metrics where run_name = 'mine'").fetchall()
    losses = sorted(step for step, text in rows if "train/loss" in str(text))
    assert losses == [1, 2, 3, 4, 5]


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="wandb")

    monkeypatch.setattr("segtrain.training.trackers.tracker.resolve_name", absent)
    with pytest.raises(SegtrainError, match=r"logger=wandb needs the package wandb: pip install 'segtrain\[wandb\]'"):
        start_trackers(["wandb"], RunPlace(tmp_path, 0, -1))
