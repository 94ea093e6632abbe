"""Weights & Biases: by default offline, in the run's folder."""

import os
from collections.abc import Mapping

import numpy as np

from segtrain.arrays import FloatArray
from segtrain.training.trackers.tracker import PROJECT, RunPlace, Setting, Tracker, keep_run_id, known_run_id
from segtrain.visualize import Pixels


class WandbTracker(Tracker):
    """Run of Weights & Biases; ``WANDB_MODE=online`` sends it, else ``wandb sync RUN/wandb/offline-run-*`` does later.

    Args:
        place: place that the run begins at; a resumed run goes on under its name.
    """

    def __init__(self, place: RunPlace) -> None:
        folder = place.folder
        import wandb

        self._wandb = wandb
        known = known_run_id(folder, "wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            id=known,
            resume=None if known is None else "allow",
            dir=folder,
            mode="online" if os.environ.get("WANDB_MODE") == "online" else "offline",
            settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
        )
        keep_run_id(folder, "wandb", self._run.id)

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(values), step=step)

    def log_image(self, step: int, name: str, image: Pixels) -> None:
        """See `Tracker`."""
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def log_histogram(self, step: int, name: str, values: FloatArray) -> None:
        """See `Tracker`."""
        self._run.log({name: self._wandb.Histogram(np_histogram=np.histogram(values, bins=30))}, step=step)

    def log_settings(self, settings: Mapping[str, Setting], yaml: str) -> None:
        """See `Tracker`."""
        self._run.config.update({**settings, "yaml": yaml}, allow_val_change=True)

    def close(self, *, finished: bool) -> None:
        """See `Tracker`."""
        self._run.finish(exit_code=0 if finished else 1)
