"""Trackio: in a SQLite file beside the run's folder."""

import os
from collections.abc import Mapping
from typing import Any

from segtrain.arrays import FloatArray
from segtrain.training.trackers.tracker import PROJECT, RunPlace, Setting, Tracker, keep_run_id, known_run_id
from segtrain.visualize import Pixels


class TrackioTracker(Tracker):
    """Run of Trackio, in ``TRACKIO_DIR`` or in ``trackio`` beside the run's folder.

    Args:
        place: place that the run begins at; a resumed run goes on under its name.
    """

    def __init__(self, place: RunPlace) -> None:
        folder = place.folder
        os.environ.setdefault("TRACKIO_DIR", str(folder.absolute().parent / "trackio"))  # read when it is imported
        import trackio

        self._trackio: Any = trackio
        self._name = known_run_id(folder, "trackio")
        self._resume = "never" if self._name is None else "allow"
        self._name = self._name or folder.name
        self._run: Any = None
        keep_run_id(folder, "trackio", self._name)

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._log(step, dict(values))

    def log_image(self, step: int, name: str, image: Pixels) -> None:
        """See `Tracker`."""
        self._log(step, {name: self._trackio.Image(image)})

    def log_histogram(self, step: int, name: str, values: FloatArray) -> None:
        """See `Tracker`."""
        self._log(step, {name: self._trackio.Histogram(values.tolist(), num_bins=30)})

    def log_settings(self, settings: Mapping[str, Setting], yaml: str) -> None:
        """See `Tracker`."""
        self._run = self._trackio.init(
            PROJECT, self._name, config={**settings, "yaml": yaml}, resume=self._resume, embed=False,
            auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip

    def close(self, *, finished: bool) -> None:
        """See `Tracker`."""
        if self._run is not None:
            self._run.finish()

    def _log(self, step: int, values: dict[str, Any]) -> None:
        self._run.log(values, step=step)
