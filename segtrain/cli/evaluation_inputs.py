"""Checkpoints and images that an evaluation is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from segtrain import distributed
from segtrain.benchmark.checkpoints import (
    EvaluatedCheckpoint,
    find_checkpoints,
    loads_checkpoint,
    with_all_categories,
)
from segtrain.benchmark.folds import Folds, find_folds, whole_training
from segtrain.benchmark.named_checkpoints import find_named
from segtrain.cli.config import Data, check_values
from segtrain.data.coco.index import require_instances
from segtrain.data.layouts import with_folds, with_layout
from segtrain.data.open_data import open_data, require_same_data
from segtrain.data.splits import ImageUse, Split
from segtrain.errors import SegtrainError
from segtrain.nodes import config_folder


@dataclass(frozen=True)
class EvaluationInputs:
    """Checkpoints and images that an evaluation is about.

    Attributes:
        checkpoints: checkpoints that the user has named, or that of the newest run; the first one states the data.
        notes: remarks on runs that were left out.
        data: ``data`` node, completed by the first checkpoint.
        val_ids: ids of the validation images, if the first checkpoint has drawn them.
        folds: folds that are pooled; None without a cross-validation.
        split: the evaluated images.
    """

    checkpoints: Sequence[EvaluatedCheckpoint]
    notes: Sequence[str]
    data: dict[str, Any]
    val_ids: list[int] | None
    folds: Folds | None
    split: Split

    @property
    def source(self) -> EvaluatedCheckpoint:
        """Checkpoint that states the data."""
        return self.checkpoints[0]

    @classmethod
    def open(cls, config: Mapping[str, Any]) -> "EvaluationInputs":
        """Read the checkpoints, and the annotations of the images.

        Args:
            config: composed, resolved and checked configuration of ``evaluate``.

        Raises:
            SegtrainError: a checkpoint, a setting or the data cannot be used.
        """
        named = distributed.from_first(lambda: find_named(config["checkpoint"]))
        checkpoints = distributed.from_first(lambda: find_checkpoints({**config, "checkpoint": named.paths}))
        source = checkpoints[0]
        data, val_ids = source.data_settings(config["data"])
        if source.checkpoint is not None and data["from_checkpoint"]:
            data = _completed(data)
        for problem in check_values(Data, data, "data."):  # of the checkpoint, since those of the command are checked
            raise SegtrainError(f"{source.path}: {problem}; the file is damaged")
        folds = find_folds(config["data"], checkpoints)
        has_network = any(map(loads_checkpoint, config["segmenters"].values()))
        if folds is None and config["suspects"] == "train":
            if has_network:
                raise _learned_from_them(source)
            data = with_layout(data)
        if folds is not None or config["suspects"] == "train":
            data, val_ids = whole_training(data), None
        data = with_layout(with_folds(data), "val")
        with distributed.in_turn():
            split = open_data(data, ["val"], source.seed, val_ids, _image_use(config), source.intensity)["val"]
        require_same_data({"val": split})
        require_instances(split.index)
        if folds is not None:
            folds.check(split)
        if has_network:
            split = with_all_categories(split, checkpoints)
        return cls(checkpoints, named.notes, data, val_ids, folds, split)


def _completed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Give keys that a checkpoint lacks, as those of earlier versions do, their defaults."""
    defaults = OmegaConf.to_container(OmegaConf.load(config_folder() / "data" / "coco.yaml"))
    assert isinstance(defaults, dict)
    return {key: defaults.get(key) if value is None else value for key, value in data.items()}


def _learned_from_them(source: EvaluatedCheckpoint) -> SegtrainError:
    """Return the error where a network would judge the labels that it has learned from."""
    return SegtrainError(
        f"suspects=train: {source.path} has learned from the training images, and says little on their labels; train "
        "folds with python train.py --multirun data.folds=5 'data.fold=range(5)' output_dir=runs/folds and the other "
        "settings, then name them with checkpoint=runs/folds; methods=classical needs no network"
    )


def _image_use(config: Mapping[str, Any]) -> ImageUse:
    return "needed" if config["segmenters"] else "welcome" if config["gallery"] else "unused"
