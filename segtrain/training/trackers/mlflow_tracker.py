"""MLflow: by default in a SQLite file beside the run's folder."""

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from segtrain.training.trackers.tracker import PROJECT, RunPlace, Setting, Tracker, keep_run_id, known_run_id
from segtrain.visualize import Pixels

_TEXT = 500  # characters of a parameter's value


class MLflowTracker(Tracker):
    """Run of MLflow, on the server of ``MLFLOW_TRACKING_URI`` or in ``mlflow.db`` beside the run's folder.

    Args:
        place: place that the run begins at; a resumed run goes on under its name.
    """

    def __init__(self, place: RunPlace) -> None:
        folder = place.folder
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        import mlflow

        beside = folder.absolute().parent
        self._entities: Any = mlflow.entities
        self._client: Any = mlflow.MlflowClient(
            os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{beside / 'mlflow.db'}"
        )
        known = known_run_id(folder, "mlflow")
        if known is None:
            found = self._client.get_experiment_by_name(PROJECT)
            own = None if "MLFLOW_TRACKING_URI" in os.environ else (beside / "mlflow_files").as_uri()
            experiment = self._client.create_experiment(PROJECT, own) if found is None else found.experiment_id
            known = self._client.create_run(experiment, run_name=folder.name).info.run_id
            keep_run_id(folder, "mlflow", known)
        else:
            self._client.update_run(known, status="RUNNING")
        self._run: str = known

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(_plain(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def log_image(self, step: int, name: str, image: Pixels) -> None:
        """See `Tracker`."""
        self._client.log_image(self._run, image, key=_plain(name).replace(" ", "_"), step=step, synchronous=True)

    def log_settings(self, settings: Mapping[str, Setting], yaml: str) -> None:
        """See `Tracker`; parameters that a run has already stay as they are."""
        known = self._client.get_run(self._run).data.params
        given = {_plain(key): str(value)[:_TEXT] for key, value in settings.items()}
        params = [self._entities.Param(key, value) for key, value in given.items() if key not in known]
        self._client.log_batch(self._run, params=params)
        self._client.log_text(self._run, yaml, "config.yaml")

    def close(self, *, finished: bool) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")


def _plain(name: str) -> str:
    """Replace the characters that names of metrics must not have."""
    return re.sub(r"[^\w\-. /]", "_", name)
