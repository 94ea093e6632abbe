"""What evaluate.py takes from a checkpoint: the data it was trained with, and what its labels mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segtrain.data.coco import Category
from segtrain.errors import SegtrainError
from segtrain.training.checkpoint import Checkpoint, load_checkpoint, newest_checkpoint

LOADER = "segtrain.training.checkpoint.load_segmenter"
DEFAULT_SEED = 0  # of train.py; a `val_fraction` split without a checkpoint is drawn with it


def find_checkpoint(config: Mapping[str, Any]) -> tuple[Path, Checkpoint] | None:
    """The checkpoint that evaluate.py's configuration needs; None if no row and no data come from one.

    Raises:
        SegtrainError: it is needed and not there, or cannot be read.
    """
    rows = [node for node in config["segmenters"].values() if node["_target_"] == LOADER]
    if not rows and not config["data"]["from_checkpoint"]:
        return None
    named = config["checkpoint"]
    if isinstance(named, list):
        if len(named) != 1:
            raise SegtrainError(f"checkpoint={named}: give one checkpoint; evaluate several in several runs")
        named = named[0]
    path = newest_checkpoint() if named is None else Path(named)
    return path.absolute(), load_checkpoint(path)


def data_settings(data: Mapping[str, Any], checkpoint: Checkpoint | None) -> dict[str, Any]:
    """The ``data`` node with the checkpoint's values where the user gave none.

    The added key ``val_ids`` holds the images of a split that the training run drew; ``seed`` the seed to draw one with,
    which is never evaluate.py's own: the split must not change under a model that has seen the other part.
    """
    seed = DEFAULT_SEED if checkpoint is None else checkpoint.seed
    if not data["from_checkpoint"] or checkpoint is None:
        return {**data, "val_ids": None, "seed": seed}
    given = {key: value for key, value in data.items() if value is not None}
    merged = {**checkpoint.config["data"], **given, "generator": None, "seed": seed, "val_ids": checkpoint.val_ids}
    if given.keys() & {"train_annotations", "val_fraction", "val_annotations"}:
        merged["val_ids"] = None
    # Whichever of the two ways to name a validation split the user chose replaces the other.
    if "val_annotations" in given:
        merged["val_fraction"] = None
    elif "val_fraction" in given:
        merged["val_annotations"] = None
    return merged


def match_categories(checkpoint: Checkpoint, categories: Sequence[Category], need_names: bool) -> list[Category] | None:
    """The category of each of the checkpoint's labels 1..K.

    Args:
        checkpoint: knows its categories by name.
        categories: of the data to evaluate on.
        need_names: whether the class-aware track is wanted.

    Returns:
        None if the names differ and the class-aware track is not wanted.

    Raises:
        SegtrainError: the names differ and it is.
    """
    names = [category.name for category in categories]
    if names == checkpoint.class_names:
        return list(categories)
    if sorted(names) == sorted(checkpoint.class_names) and len(set(names)) == len(names):
        by_name = {category.name: category for category in categories}
        return [by_name[name] for name in checkpoint.class_names]
    if need_names:
        raise SegtrainError(
            f"the checkpoint's categories ({', '.join(checkpoint.class_names)}) are not the data's ({', '.join(names)}); "
            "use tracks=class_agnostic, or data with the same categories"
        )
    return None


def describe_checkpoint(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """What ``results.json`` says of the checkpoint."""
    return {
        "path": str(path),
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "minutes": checkpoint.minutes,
        "precision": checkpoint.precision,
        "seed": checkpoint.seed,
        "metrics": checkpoint.metrics,
    }
