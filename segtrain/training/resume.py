"""Where a run begins: at zero, or where an earlier one stopped."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

from segtrain.errors import SegtrainError
from segtrain.training.checkpoint import Checkpoint, load_checkpoint

logger = logging.getLogger(__name__)
# What a run leaves in its folder; overwriting it means removing all of it.
_ARTIFACTS = ("checkpoints", "tensorboard", "metrics.jsonl", "preview.png")
# What a saved state depends on.
_DECISIVE = {
    "segmenter": (
        "architecture", "norm", "fpn_channels", "box_head_width", "mask_head_widths", "anchor_sizes", "anchor_ratios",
    ),
    "optimizer": ("_target_",),
}  # fmt: skip


def starting_point(fresh: Checkpoint, resume: str | None, output_dir: Path) -> Checkpoint:
    """The state to begin from; nothing is written yet.

    Args:
        fresh: what this run's checkpoints say about it, at step 0.
        resume: "auto": the state in ``output_dir`` if there is one; a path: that state; None: ``fresh``.
        output_dir: the run's folder.

    Raises:
        SegtrainError: the state cannot be read, or belongs to a run with other categories, another model or optimizer.
    """
    source = _source(resume, output_dir)
    if source is None:
        return fresh
    state = load_checkpoint(source)
    if state.training is None:
        raise SegtrainError(f"{source}: holds weights to segment with, but no state to resume; use last.pt beside it")
    _require_equal(source, "categories", ", ".join(state.class_names), ", ".join(fresh.class_names))
    for part, keys in _DECISIVE.items():
        for key in keys:
            _require_equal(source, f"{part}.{key}", state.config[part].get(key), fresh.config[part].get(key))
    # Progress, weights and results of then; settings of now.
    return replace(
        fresh, model=state.model, epoch=state.epoch, step=state.step, minutes=state.minutes, metrics=state.metrics,
        training=state.training,
    )  # fmt: skip


def prepare_folder(output_dir: Path, resume: str | None) -> None:
    """Make the run's folder ready, once nothing can go wrong any more.

    What an earlier run left in it goes, unless that run is resumed; a run that goes on in a new folder takes its
    predecessor's ``best.pt`` along.
    """
    source = _source(resume, output_dir)
    if source is None:
        for name in _ARTIFACTS:
            path = output_dir / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return
    logger.info(f"resuming {source}")
    best, own = source.with_name("best.pt"), output_dir / "checkpoints" / "best.pt"
    if best.exists() and best.absolute() != own.absolute():
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(best, own)


def _source(resume: str | None, output_dir: Path) -> Path | None:
    """The file to resume; None to begin afresh."""
    if resume != "auto":
        return None if resume is None else Path(resume)
    own = output_dir / "checkpoints" / "last.pt"
    return own if own.exists() else None


def _require_equal(source: Path, what: str, there: object, here: object) -> None:
    if there != here:
        raise SegtrainError(
            f"cannot resume {source}: its {what} is {there}, this run's is {here}; repeat the settings of that run"
        )
