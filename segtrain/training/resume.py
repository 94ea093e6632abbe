"""Start of a run: at step 0, or from the state of an earlier one."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segtrain import distributed
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.splits import same_contents
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.nodes import built_class, flat_settings
from segtrain.training.checkpoint import Checkpoint, load_checkpoint
from segtrain.training.checkpoint_paths import checkpoint_file
from segtrain.training.trackers.tracker import EVENTS
from segtrain.values import describe_value

logger = logging.getLogger(__name__)
Changes = dict[str, tuple[Any, Any]]  # dotted key -> value of before, value of now
_BUNDLES = "nan"  # folder of steps whose loss was not finite
# Everything that a run leaves in its folder, names or patterns; overwriting a run removes all of it.
_ARTIFACTS = (
    "checkpoints", EVENTS, "metrics.jsonl", "curves.html", "preview.png", "split", _BUNDLES, ".hydra", "trackers.json",
    "wandb",
)  # fmt: skip
_ASIDE = ".replaced"  # holds these while the run that replaces them has no checkpoint of its own
_OF_THE_COMMAND = ("output_dir", "overwrite", "resume")
# Settings that decide which images come next: if they change, an unfinished epoch cannot be finished as it was begun.
_OF_THE_ORDER = ("seed", "trainer.aspect_grouping", "trainer.repeat_threshold")
_VALIDATED_ON = ("root", "val_annotations", "val_images")  # a split that was drawn is kept anyway


@dataclass(frozen=True)
class Resumed:
    """State of an earlier run, to continue from.

    Attributes:
        path: path of the file.
        state: contents of the file; ``training`` is not None.
    """

    path: Path
    state: Checkpoint

    def known_val_ids(self, data: Mapping[str, Any]) -> list[int] | None:
        """Return the ids of the validation images of the resumed run; None if a file names them.

        Another draw would contain images that the network was trained on.

        Args:
            data: ``data`` node of this run.

        Raises:
            SegtrainError: validation images would be drawn from images that the network was trained on.
        """
        if data["val_annotations"] is not None:
            return None
        if self.state.val_ids is None:
            raise SegtrainError(
                f"cannot resume {self.path}: it has learned from all images of its data.train_annotations; "
                "give data.val_annotations, not data.val_fraction or data.folds"
            )
        for key in ("val_fraction", "split_by", "folds", "fold"):
            there, here = self.state.config.get("data", {}).get(key), data[key]
            if there != here:
                logger.warning(f"data.{key}={here} draws nothing here: the run keeps its split, drawn with {there}")
        return self.state.val_ids

    def require_same_data(self, initial: Checkpoint) -> None:
        """Check that the training data are those of the run to resume, so that its position in the epoch is valid.

        Args:
            initial: this run before its first step.

        Raises:
            SegtrainError: the run to resume was trained on other data.
        """
        known = self.state.contents.get("train")
        if known is None or same_contents(known, initial.contents["train"]):
            return
        then, now = (own.config.get("data", {}).get("fraction") or 1.0 for own in (self.state, initial))
        if then != now or (then < 1 and self.state.seed != initial.seed):
            reason = f"its training images are those of data.fraction={then:g} and seed={self.state.seed}; give these"
        else:
            reason = "its training data had another content; give the same images and annotations"
        raise SegtrainError(
            f"cannot resume {self.path}: {reason}, or begin a new run with its weights: segmenter.weights={self.path}"
        )

    @property
    def is_within_epoch(self) -> bool:
        """True if some batches of an epoch are done, and others not."""
        assert self.state.training is not None
        return bool(self.state.training["batch"] or self.state.training["earlier"])

    @property
    def intensity(self) -> Intensity:
        """Ranges by which the images of the run are read."""
        return Intensity.from_plain(self.state.intensity)

    @property
    def batch_size(self) -> int | None:
        """Number of images in a batch of each process; None if the run does not state it."""
        size = self.state.config.get("trainer", {}).get("batch_size")
        return size if isinstance(size, int) else None

    def known_settings(self, segmenter: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ``segmenter`` node of this run, with the resumed run's choices in place of ``auto``.

        This concerns settings that a resumed run cannot change, since the choice may depend on weights that are not
        read again.
        """
        known = self.state.config["segmenter"]
        keys = getattr(built_class(segmenter), "resume_keys", ())
        chosen = {key: known[key] for key in keys if segmenter.get(key) == "auto" and key in known}
        return {**segmenter, **chosen}


def find_resumed(resume: str | None, output_dir: Path) -> Resumed | None:
    """Read the state to continue from; None to start a new run.

    Args:
        resume: "auto" for the state in ``output_dir`` if there is one; path of a run's folder or of its ``last.pt``;
            None to start a new run.
        output_dir: folder of the run.

    Raises:
        SegtrainError: the file is missing or damaged, or holds no state.
    """
    checkpoints = output_dir / "checkpoints"
    if resume is None or (resume == "auto" and not any(checkpoints.glob("*.pt"))):
        return None
    if resume == "auto" and not (checkpoints / "last.pt").exists():
        raise SegtrainError(
            f"{checkpoints}: last.pt is missing, without which the run cannot go on, and a new one would replace its "
            f"best weights; begin a new run with these: segmenter.weights={checkpoints / 'best.pt'} output_dir=..."
        )
    path = checkpoint_file(output_dir if resume == "auto" else resume, preferred="last.pt")
    state = load_checkpoint(path)
    if state.training is None:
        raise SegtrainError(
            f"{path}: holds weights to segment with, but no state to resume; use last.pt beside it, or begin a new run "
            f"with these weights: segmenter.weights={path}"
        )
    return Resumed(path, state)


def initial_state(initial: Checkpoint, resumed: Resumed | None, resume_keys: Sequence[str]) -> Checkpoint:
    """Return the state to start from, without writing any file.

    Args:
        initial: this run at step 0.
        resumed: state to continue from; None to start a new run.
        resume_keys: settings of the segmenter that must be those of the resumed run; see `Trainable`.

    Raises:
        SegtrainError: the state belongs to a run with other categories, another model or optimizer.
    """
    if resumed is None:
        return initial
    source, state = resumed.path, resumed.state
    _require_equal(source, "categories", ", ".join(state.class_names), ", ".join(initial.class_names))
    for part, keys in {"segmenter": ("_target_", *resume_keys), "optimizer": ("_target_", "amsgrad")}.items():
        for key in keys:
            _require_equal(source, f"{part}.{key}", state.config.get(part, {}).get(key), initial.config[part].get(key))
    then, now = (point.contents.get("val") for point in (state, initial))
    if then is None or now is None:
        places = [point.config.get("data") or {} for point in (state, initial)]
        same_images = all(places[0].get(key) == places[1].get(key) for key in _VALIDATED_ON)
    else:
        same_images = same_contents(then, now)
    # Progress, weights and results of the resumed run; settings of this run.
    return replace(
        initial, model=state.model, epoch=state.epoch, step=state.step, minutes=state.minutes, metrics=state.metrics,
        training=state.training, validations=state.validations if same_images else None,
    )  # fmt: skip


def schedule_origin(start: Checkpoint, *, restart: bool) -> tuple[float, int, float] | None:
    """Return the epochs, steps and minutes at which the schedule of a run was restarted; None if it was not.

    Args:
        start: state to begin from.
        restart: True to restart it at this state.
    """
    if start.training is None:
        return None
    if restart:
        return start.training["epochs"], start.step, start.minutes
    origin = start.training["schedule_origin"]
    return None if origin is None else tuple(origin)


@contextmanager
def run_directory(output_dir: Path, resumed: Resumed | None) -> Iterator[None]:
    """Prepare the folder of a run, as a context around the run.

    Files of an earlier run in it are removed, unless that run is resumed; they are restored if this run fails before
    its first checkpoint. A run that is resumed in a new folder starts with copies of its predecessor's checkpoints.
    Only the first process changes the folder.

    Args:
        output_dir: folder of the run; made if it is missing.
        resumed: state that the run continues from; None for a new run.
    """
    if not distributed.is_first():
        yield
        return
    _settle(output_dir, finished=False)  # restores files that a killed run has moved
    if resumed is None:
        _move(output_dir, output_dir / _ASIDE)
    else:
        _take_over(resumed.path, output_dir)
    finished = False
    try:
        yield
        finished = True
    finally:
        _settle(output_dir, finished)


def _take_over(source: Path, output_dir: Path) -> None:
    logger.info(f"resuming {source}")
    folder = output_dir / "checkpoints"
    if source.parent.resolve() != folder.resolve():
        # From its first moment the new folder holds what the run can go on from.
        write_atomically(folder / "last.pt", source.read_bytes())
        if (best := source.with_name("best.pt")).exists():
            write_atomically(folder / "best.pt", best.read_bytes())


def _settle(output_dir: Path, finished: bool) -> None:
    """Remove the files of a replaced run, or put them back if the new run has no checkpoint."""
    aside = output_dir / _ASIDE
    if not aside.exists():
        return
    if not finished and not any((output_dir / "checkpoints").glob("*.pt")):
        for name in _ARTIFACTS:
            if name == _BUNDLES:  # they tell why the run failed
                continue
            for path in output_dir.glob(name):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        _move(aside, output_dir)
    shutil.rmtree(aside)


def _move(source: Path, target: Path) -> None:
    """Move the files of a run to another folder on the same disk."""
    for path in [path for name in _ARTIFACTS for path in source.glob(name)]:
        if not (target / path.name).exists():
            target.mkdir(parents=True, exist_ok=True)
            path.rename(target / path.name)


def _require_equal(source: Path, what: str, there: object, here: object) -> None:
    if there != here:
        raise SegtrainError(
            f"cannot resume {source}: its {what} is {there}, this run's is {here}; repeat the settings of that run"
        )


def changed_settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """Return the settings that differ between two configurations, by dotted key; absent ones are None.

    Args:
        then: configuration of the run that is resumed.
        now: configuration of this run.

    >>> changed_settings({"optimizer": {"lr": 0.1}, "seed": 0}, {"optimizer": {"lr": 0.01}, "seed": 0})
    {'optimizer.lr': (0.1, 0.01)}
    """
    before, after = flat_settings(then), flat_settings(now)
    keys = [key for key in {**before, **after} if key.split(".")[0] not in _OF_THE_COMMAND]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def log_changes(changes: Changes, *, within_epoch: bool) -> None:
    """Log each change in a line.

    Args:
        changes: result of `changed_settings`.
        within_epoch: True if the run goes on within an epoch.
    """
    for key, (then, now) in changes.items():
        anew = "; the rest of the epoch is drawn anew" if within_epoch and key in _OF_THE_ORDER else ""
        logger.info(f"changed: {key} {describe_value(then)} -> {describe_value(now)}{anew}")
