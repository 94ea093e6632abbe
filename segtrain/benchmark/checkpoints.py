"""Evaluated checkpoints: their models, data settings and categories, and the methods that each provides."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtrain.console import counted
from segtrain.data.coco.category_names import describe_nearest, learned_categories, with_learned_categories
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.joined_files import annotation_file
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.open_data import data_root
from segtrain.data.splits import Split, fingerprint_of, images_of, same_contents
from segtrain.data.storage.address import Location, locate
from segtrain.data.storage.image_store import ImageStore
from segtrain.errors import SegtrainError
from segtrain.evaluation import SCORE_THRESHOLD
from segtrain.nodes import quote_override
from segtrain.records import Category
from segtrain.score_thresholds import GivenThreshold, ScoreThresholds
from segtrain.training.checkpoint_paths import checkpoint_file, newest_checkpoint

if TYPE_CHECKING:
    from segtrain.training.checkpoint import Checkpoint

logger = logging.getLogger(__name__)
_LOADER = "segtrain.training.checkpoint.load_segmenter"
_DEFAULT_SEED = 0  # as in configs/train.yaml; draws a `val_fraction` split without a checkpoint
DRAWING = ("val_fraction", "split_by", "folds", "fold")  # keys by which a validation split is drawn
_OF_A_SPLIT = ("root", "val_annotations", "val_images", *DRAWING)


def loads_checkpoint(node: Mapping[str, Any]) -> bool:
    """Return True if the node of a segmenter loads the network of a checkpoint."""
    return bool(node["_target_"] == _LOADER)


@dataclass(frozen=True)
class EvaluatedCheckpoint:
    """A checkpoint of an evaluation, or its absence.

    Attributes:
        path: absolute path; None without a checkpoint.
        checkpoint: content; None if no method and no data come from one.
    """

    path: Path | None
    checkpoint: "Checkpoint | None"

    @classmethod
    def load(cls, path: Path) -> "EvaluatedCheckpoint":
        """Read a checkpoint.

        Args:
            path: path of a run's folder, or of a checkpoint.

        Raises:
            SegtrainError: the checkpoint is missing, or cannot be read.
        """
        from segtrain.training.checkpoint import load_checkpoint

        path = checkpoint_file(path)
        # The network is loaded from the file: the weights of all runs of a sweep would fill the memory.
        return cls(path.absolute(), replace(load_checkpoint(path), model={}))

    @property
    def seed(self) -> int:
        """Seed of a ``val_fraction`` split; with another one validation would contain training images."""
        return _DEFAULT_SEED if self.checkpoint is None else self.checkpoint.seed

    def thresholds(self, given: GivenThreshold, names: Sequence[str]) -> ScoreThresholds:
        """Choose the operating point of learned scores: the given one, else the checkpoint's.

        Args:
            given: what the user gave, for all categories or for some by name; None for the checkpoint's.
            names: names of the categories of the data.

        Raises:
            SegtrainError: the user gave one for a category that does not exist.
        """
        own = ScoreThresholds(SCORE_THRESHOLD) if self.checkpoint is None else self.checkpoint.thresholds
        return own.changed(given, names, "score_threshold")

    def description(self, network: str, given: GivenThreshold, evaluated: Split) -> str:
        """Describe the checkpoint's network for the report: its operating point, and the choice of its weights.

        Args:
            network: title of the network, such as "Mask R-CNN".
            given: operating point that the user gave; None for the checkpoint's.
            evaluated: images that are evaluated.
        """
        text, own = f"Fine-tuned {network}", self.checkpoint
        if own is None:
            return text
        if not isinstance(given, int | float) and own.threshold_images:
            those = "thresholds" if own.category_thresholds else "threshold"
            text += f", its score {those} chosen on {counted(own.threshold_images, 'training image')}"
        # Neither last.pt nor weights without a defined AP were chosen.
        chosen = own.training is None and not isnan(own.metrics.get("mask_ap", nan))
        if chosen and own.validations and own.validations > 1 and _validated_on(own, evaluated):
            text += f". Its weights are the best of {own.validations} validations on the images that are evaluated here"
        return text

    def precision(self, given: str | None, device: str) -> str:
        """Choose the precision of the network's computations: the given one, else that of its training.

        On the device "cpu" that is fp32 in place of fp16; see `Trainable`.
        """
        chosen = given or ("fp32" if self.checkpoint is None else self.checkpoint.precision)
        return "fp32" if chosen == "fp16" and device == "cpu" else chosen

    def data_settings(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], list[int] | None]:
        """Complete data settings by the checkpoint's values for keys that the user has not set.

        Args:
            data: the ``data`` node of evaluate.py.

        Returns:
            The node, and the ids of the validation images if these were drawn; None for a split by files.

        Raises:
            SegtrainError: the checkpoint states no data.
        """
        if not data["from_checkpoint"] or self.checkpoint is None:
            return dict(data), None
        given = {key: value for key, value in data.items() if value is not None}
        if "data" not in self.checkpoint.config:
            raise SegtrainError(f"{self.path}: its config has no data; the file is damaged")
        merged = {**data, **self.checkpoint.config["data"], "intensity": "auto", **given, "generator": None}
        # Of the ways to name a validation split, the one that the user has chosen replaces the others.
        if "val_annotations" in given:
            merged |= dict.fromkeys(DRAWING)
        elif "val_fraction" in given:
            merged |= dict.fromkeys(["val_annotations", "folds", "fold"])
        elif "folds" in given:
            merged |= dict.fromkeys(["val_annotations", "val_fraction"])
        own_split = given.keys() & {"train_annotations", "val_annotations", *DRAWING}
        return merged, None if own_split else self.checkpoint.val_ids

    @property
    def intensity(self) -> Intensity | None:
        """Ranges by which the network's training images were read; None without a checkpoint."""
        return None if self.checkpoint is None else Intensity.from_plain(self.checkpoint.intensity)

    def segmenter_node(self, node: Mapping[str, Any], max_dets: int) -> dict[str, Any]:
        """Set the checkpoint's path in the node of a segmenter that loads its network."""
        return {**node, "path": str(self.path), "max_dets": max_dets} if loads_checkpoint(node) else dict(node)

    def categories(self, index: CocoIndex, *, need_names: bool) -> Sequence[Category] | None:
        """Find the category of each of the network's labels 1..K by its name.

        Args:
            index: data to evaluate on.
            need_names: the class-aware track is wanted.

        Returns:
            None if the data have categories that the network does not know, and the class-aware track is not wanted.

        Raises:
            SegtrainError: the data have such categories, and the class-aware track is wanted.
        """
        if self.checkpoint is None:
            return index.categories
        own, names = self.checkpoint.class_names, [category.name for category in index.categories]
        matched = learned_categories(own, index)
        if matched is None and need_names:
            alike = "".join(
                f"; the data have {name!r}{said}" for name in names if (said := describe_nearest(name, own))
            )
            raise SegtrainError(
                f"the checkpoint's categories ({', '.join(own)}) do not include all of the data's "
                f"({', '.join(names)}){alike}; use tracks=class_agnostic, or data with the same categories"
            )
        return matched

    @property
    def costs(self) -> dict[str, float | None]:
        """Resources of the training, by the fields of ``results.Costs``."""
        if self.checkpoint is None:
            return {}
        own = self.checkpoint
        return {
            "training_minutes": own.minutes,
            "training_images": own.training_images,
            "training_objects": own.training_objects,
        }

    def describe(self) -> dict[str, Any] | None:
        """Summarise the checkpoint for ``results.json``."""
        if self.checkpoint is None:
            return None
        keys = (
            "epoch", "step", "minutes", "precision", "seed", "metrics", "score_threshold", "threshold_images",
            "validations", "category_thresholds",
        )  # fmt: skip
        return {"path": str(self.path), **{key: getattr(self.checkpoint, key) for key in keys}}


def _validated_on(checkpoint: "Checkpoint", evaluated: Split) -> bool:
    """Return True if all evaluated images are validation images of the checkpoint's run."""
    if (known := checkpoint.contents.get("val")) is not None:
        return same_contents(known, fingerprint_of(evaluated))
    drawn, read = checkpoint.val_ids, evaluated.images
    # Checkpoints of earlier versions lack keys.
    keys = ("root", "train_annotations", "train_images", "val_annotations", "val_images")
    data = {**dict.fromkeys(keys), **checkpoint.config["data"]}
    root, annotations = data_root(data), data["train_annotations" if drawn is not None else "val_annotations"]
    images = data["val_images"] or images_of(annotations) or data["train_images"]
    if annotations is None or images is None or read is None:
        return False
    if annotation_file(annotations, root).resolve() != evaluated.index.path.resolve():
        return False
    same = _place(locate(images, root)) == _place(read.folder)
    return same and (drawn is None or {image.id for image in evaluated.index.images} <= set(drawn))


def _place(folder: Location | ImageStore) -> str:
    """Return a text that identifies an image folder."""
    text = str(folder.resolve()) if isinstance(folder, Path) else getattr(folder, "shown", str(folder))
    return text.removeprefix("file://")


def _resolved(paths: Iterable[Path]) -> list[Path]:
    return [path.resolve() for path in paths]


def find_checkpoints(config: Mapping[str, Any]) -> list[EvaluatedCheckpoint]:
    """Load the checkpoints that evaluate.py's configuration needs; the first one defines the data.

    Args:
        config: configuration of evaluate.py.

    Returns:
        The checkpoints, at least one; a single `EvaluatedCheckpoint` without a checkpoint if none is needed.

    Raises:
        SegtrainError: a checkpoint is missing, cannot be read, is named twice, or was validated on other images than
            the first one, while the data are those of the checkpoint.
    """
    data, loads = config["data"], any(map(loads_checkpoint, config["segmenters"].values()))
    if not data["from_checkpoint"] and not loads:
        return [EvaluatedCheckpoint(None, None)]
    named = config["checkpoint"]
    given = named if isinstance(named, list) else [_newest(data, loads=loads) if named is None else named]
    paths = [checkpoint_file(path) for path in given]
    if not paths:
        raise SegtrainError("checkpoint=[]: name at least one, or none at all for the newest")
    files = _resolved(paths)
    if repeated := [str(path) for path, file in zip(paths, files, strict=True) if files.count(file) > 1]:
        raise SegtrainError(f"checkpoint: {repeated[0]} is named more than once; name each run once")
    checkpoints = [EvaluatedCheckpoint.load(path) for path in paths]
    if _takes_data(data) and not pools_folds(data, checkpoints):
        for other in checkpoints[1:]:
            _require_same_images(checkpoints[0], other)
    return checkpoints


def pools_folds(data: Mapping[str, Any], checkpoints: Sequence[EvaluatedCheckpoint]) -> bool:
    """Return True if checkpoints are evaluated together, each on the images of its fold of a cross-validation.

    Args:
        data: the ``data`` node of evaluate.py.
        checkpoints: the evaluated checkpoints.
    """
    known = [own.checkpoint for own in checkpoints if own.checkpoint is not None]
    folds = [own.config.get("data", {}).get("folds") for own in known]
    return _takes_data(data) and len(folds) > 1 and None not in folds


def _takes_data(data: Mapping[str, Any]) -> bool:
    """Return True if the evaluated images are the validation images of the checkpoint."""
    own = ("train_annotations", "val_annotations", *DRAWING)
    return bool(data["from_checkpoint"]) and all(data[key] is None for key in own)


def with_all_categories(split: Split, checkpoints: Iterable[EvaluatedCheckpoint]) -> Split:
    """Add the categories that evaluated networks know and the data lack; they have no objects, and so no scores.

    Args:
        split: images to evaluate on.
        checkpoints: the evaluated checkpoints.
    """
    index = split.index
    for own in checkpoints:
        if own.checkpoint is not None:
            index = with_learned_categories(own.checkpoint.class_names, index)
    if lacking := [category.name for category in index.categories[len(split.index.categories) :]]:
        logger.info(f"{index.path}: lacks the categories {', '.join(lacking)} of the checkpoint; they have no scores")
    return replace(split, index=index)


def _newest(data: Mapping[str, Any], *, loads: bool) -> Path:
    """Find the newest checkpoint; the error without one names the ways to evaluate without it."""
    give = "data=coco data.root=DIR data.val_annotations=FILE data.val_images=DIR"
    if not loads:
        remedy = f"give the data: {give}"
    else:
        remedy = "use methods=classical" + (f" {give}" if data["from_checkpoint"] else "")
    return newest_checkpoint(otherwise=f"name one with checkpoint=PATH, or {remedy}")


def checkpoint_argument(path: Path | None, named: str | list[str] | None) -> list[str]:
    """Return the argument that names the checkpoint where the user left it to the newest run; else none.

    Args:
        path: path of the checkpoint that was found; None without one.
        named: the key ``checkpoint`` as given.
    """
    if named is not None or path is None:
        return []
    return [f"checkpoint={quote_override(str(path))}"]


def _require_same_images(first: EvaluatedCheckpoint, other: EvaluatedCheckpoint) -> None:
    assert first.checkpoint is not None
    assert other.checkpoint is not None
    known = [source.checkpoint.contents.get("val") for source in (first, other) if source.checkpoint is not None]
    if known[0] is not None and known[1] is not None and same_contents(known[0], known[1]):
        return
    own, others = first.checkpoint.config["data"], other.checkpoint.config["data"]
    differing = [key for key in _OF_A_SPLIT if own.get(key) != others.get(key)]
    if differing:
        key = differing[0]
        what = f"data.{key} is {others.get(key)} there and {own.get(key)} in {first.path}"
    elif first.checkpoint.val_ids != other.checkpoint.val_ids:
        what = f"their validation images were drawn with seeds {other.checkpoint.seed} and {first.checkpoint.seed}"
    elif None not in known:
        file = annotation_file(own["val_annotations"] or own["train_annotations"], data_root(own))
        what = f"{file} or its images have changed in between"
    else:
        return
    raise SegtrainError(
        f"{other.path} was validated on other images: {what}. One may have learned from images of the other; name some "
        "that neither has seen, with data=coco data.root=DIR data.val_annotations=FILE data.val_images=DIR"
    )
