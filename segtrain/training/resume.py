"""Where a run begins: at zero, or where an earlier one stopped."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segtrain.errors import SegtrainError
from segtrain.training.checkpoint import Checkpoint, load_checkpoint

logger = logging.getLogger(__name__)
# What a run leaves in its folder; overwriting it means removing all of it.
_ARTIFACTS = ("checkpoints", "tensorboard", "metrics.jsonl", "preview.png")


def starting_point(fresh: Checkpoint, resume: str | None, output_dir: Path) -> Checkpoint:
    """The state to begin from.

    Args:
        fresh: what this run's checkpoints say about it, at step 0.
        resume: "auto": the state in ``output_dir`` if there is one; a path: that state; None: ``fresh``, and what an
            earlier run left in ``output_dir`` is removed.
        output_dir: the run's folder.

    Raises:
        SegtrainError: the state cannot be read, or belongs to a run with other categories or another model.
    """
    own = output_dir / "checkpoints" / "last.pt"
    if resume is None:
        for name in _ARTIFACTS:
            path = output_dir / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if resume is None or (resume == "auto" and not own.exists()):
        return fresh
    source = own if resume == "auto" else Path(resume)
    state = load_checkpoint(source)
    if state.training is None:
        raise SegtrainError(f"{source}: holds weights to segment with, but no state to resume; use last.pt beside it")
    _require_equal(source, "categories", state.class_names, fresh.class_names)
    architectures = [c.config["segmenter"].get("architecture") for c in (state, fresh)]
    _require_equal(source, "segmenter.architecture", architectures[:1], architectures[1:])
    best = source.with_name("best.pt")
    if source != own and best.exists():
        (output_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
        shutil.copy2(best, output_dir / "checkpoints" / "best.pt")
    logger.info(f"resuming {source}: epoch {state.epoch}, step {state.step}, {state.minutes:.1f} min of training")
    # Progress, weights and results of then; settings of now.
    return replace(
        fresh, model=state.model, epoch=state.epoch, step=state.step, minutes=state.minutes, metrics=state.metrics,
        training=state.training,
    )  # fmt: skip


def _require_equal(source: Path, what: str, there: Sequence[object], here: Sequence[object]) -> None:
    if list(there) != list(here):
        raise SegtrainError(
            f"cannot resume {source}: its {what} are {', '.join(map(str, there))}, this run's are "
            f"{', '.join(map(str, here))}; repeat the settings of that run"
        )
