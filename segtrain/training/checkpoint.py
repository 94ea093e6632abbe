"""Checkpoints: one dictionary of tensors and plain values, loadable with ``weights_only=True``."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import segtrain
from segtrain.data.images.intensities.intensity import FULL, Intensity
from segtrain.data.images.reading import Reading
from segtrain.data.open_data import data_root
from segtrain.data.splits import Split, SplitName, fingerprint_of
from segtrain.errors import SegtrainError
from segtrain.evaluation import SCORE_THRESHOLD
from segtrain.io import write_atomically
from segtrain.nodes import accepts, build, built_class, check_targets, require_own_targets, target_nodes
from segtrain.score_thresholds import ScoreThresholds
from segtrain.segmenters import Trainable
from segtrain.segmenters.inputs import KnownInputs
from segtrain.segmenters.state_file import read_state
from segtrain.training.checkpoint_fields import check_fields
from segtrain.training.checkpoint_paths import checkpoint_file, newest_checkpoint
from segtrain.values import Overlap, Precision, TileSetting

_NEW_SETTINGS = {"tile": Trainable.tile, "overlap": Trainable.overlap}  # which checkpoints of before do not state
FORMAT = 4  # of the file; a change that older code would misread, or newer code of an older file, raises it


@dataclass(frozen=True)
class Checkpoint:
    """Contents of ``checkpoints/best.pt`` and ``checkpoints/last.pt``.

    Attributes:
        model: weights to segment with (averaged ones where averaging is on), by the network's own names.
        config: train.py's resolved configuration, with absolute paths.
        class_names: names of labels 1..K.
        category_ids: category ids of labels 1..K in the training data.
        max_dets: detections per image.
        score_threshold: operating point of mIoU and F1, in class-aware numbers that of the other categories.
        precision: "fp32", "bf16" or "fp16", as resolved.
        seed: seed of the run.
        val_ids: images of the validation split, if it was drawn by ``data.val_fraction`` or ``data.folds``.
        epoch: whole epochs done.
        step: optimizer steps taken.
        minutes: minutes of training; also in ``best.pt`` those of the whole run.
        metrics: results of the validation of `model`.
        training: state that only resuming needs; None in ``best.pt``.
        threshold_images: number of training images that the score threshold was chosen on; None if it was given.
        training_images: images of the training split.
        training_objects: labelled objects in them, crowds not counted.
        intensity: ranges by which images are read, as plain values; see `Intensity`.
        validations: number of validations among which ``best.pt`` is the best; None if they were on different images.
        contents: fingerprints of the splits "train" and "val", by which data are recognised in another place; empty in
            files of 0.1.0 and before.
        inputs: sizes of the images of training and validation, as plain values; see `KnownInputs`. None in files of
            before, whose network is presumed to have seen inputs up to its limit.
        ended: limit that has ended the training, in words; None for a training under way.
        category_thresholds: score thresholds of the categories that have their own, by name, for class-aware numbers
            and predictions.
    """

    model: dict[str, Tensor]
    config: dict[str, Any]
    class_names: list[str]
    category_ids: list[int]
    max_dets: int
    score_threshold: float
    precision: Precision
    seed: int
    val_ids: list[int] | None
    epoch: int
    step: int
    minutes: float
    metrics: dict[str, float]
    training: dict[str, Any] | None
    threshold_images: int | None
    training_images: int
    training_objects: int
    intensity: dict[str, Any]
    validations: int | None
    contents: dict[str, str]
    inputs: dict[str, Any] | None
    ended: str | None = None
    category_thresholds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def initial(
        cls, config: Mapping[str, Any], splits: Mapping[SplitName, Split], precision: Precision
    ) -> "Checkpoint":
        """Describe a run at step 0, without weights.

        Args:
            config: train.py's configuration, resolved.
            splits: the splits "train" and "val".
            precision: "fp32", "bf16" or "fp16".

        Raises:
            SegtrainError: a score threshold is given for a category that the data lack.
        """
        categories = splits["train"].index.categories
        segmenter = dict(config["segmenter"])
        weights = segmenter.get("weights")
        if weights is not None and Path(weights).exists():  # a file, not a published name
            segmenter["weights"] = str(Path(weights).absolute())
        drawn = config["data"]["val_annotations"] is None
        images = splits["train"].images
        names = [category.name for category in categories]
        given = None if config["score_threshold"] == "auto" else config["score_threshold"]
        thresholds = ScoreThresholds(SCORE_THRESHOLD).changed(given, names, "score_threshold")
        return cls(
            model={},
            config={
                **config,
                "data": {**config["data"], "root": str(data_root(config["data"]))},
                "segmenter": segmenter,
                "output_dir": str(Path(config["output_dir"]).absolute()),
            },
            class_names=names,
            category_ids=[category.id for category in categories],
            max_dets=config["data"]["max_dets"],
            score_threshold=thresholds.overall,
            precision=precision,
            seed=config["seed"],
            val_ids=[image.id for image in splits["val"].index.images] if drawn else None,
            epoch=0,
            step=0,
            minutes=0.0,
            metrics={},
            training=None,
            threshold_images=None,
            training_images=len(splits["train"].index.images),
            training_objects=splits["train"].index.counts.used,
            intensity=(FULL if images is None else images.intensity).to_plain(),
            validations=0,
            contents={name: fingerprint_of(splits[name]) for name in ("train", "val")},
            inputs=None,
            category_thresholds=dict(thresholds.by_category),
        )

    def with_settings(self, part: str, settings: Mapping[str, Any]) -> "Checkpoint":
        """Replace settings of a part of the configuration, such as "auto", by their resolved values.

        Args:
            part: "segmenter" (see `Trainable`) or "trainer".
            settings: resolved settings by name.
        """
        return replace(self, config={**self.config, part: {**self.config[part], **settings}})

    @property
    def thresholds(self) -> ScoreThresholds:
        """Operating point, and that of single categories."""
        return ScoreThresholds(self.score_threshold, self.category_thresholds)

    @property
    def reading(self) -> Reading:
        """Settings by which new images are read: their channels, and the treatment of EXIF orientations."""
        data = self.config.get("data", {})
        channels = data.get("channels")
        return Reading(data.get("exif", "auto"), channels=None if channels is None else tuple(channels))

    @property
    def intensity_of_new_images(self) -> Intensity:
        """Ranges by which new images are read; types of samples that the training did not have, by their full range."""
        intensity = Intensity.from_plain(self.intensity)
        return replace(intensity, others="full") if intensity.others is None else intensity

    def save(self, path: Path) -> None:
        """Write the file under a temporary name, and rename it."""
        buffer = io.BytesIO()
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        torch.save({"format": FORMAT, "version": segtrain.__version__, **values}, buffer)
        write_atomically(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        SegtrainError: the file is missing, damaged, no checkpoint, or has the format of another version of segtrain.
    """
    content = {"contents": {}, "inputs": None, "ended": None, "category_thresholds": {}, **read_state(Path(path))}
    written = content.get("format")
    if isinstance(written, int) and written != FORMAT:
        version = content.get("version", "before 0.1.0")
        raise SegtrainError(
            f"{path}: written by segtrain {version} in checkpoint format {written}, and this is segtrain "
            f"{segtrain.__version__} with format {FORMAT}; "
            + ("install that version or a later one" if written > FORMAT else "train again")
            + f", or begin a new run with its weights alone: segmenter.weights={path}"
        )
    missing = [field.name for field in fields(Checkpoint) if field.name not in content]
    if missing:
        raise SegtrainError(
            f"{path}: not a segtrain checkpoint (it has no {missing[0]!r}); weights alone go into segmenter.weights="
        )
    values: dict[str, Any] = {field.name: content[field.name] for field in fields(Checkpoint)}
    check_fields(values, str(path))
    return Checkpoint(**values)


def load_segmenter(
    path: str | Path | None,
    *,
    max_dets: int | None = None,
    precision: Precision | None = None,
    settings: Mapping[str, Any] | None = None,
    trust: Sequence[str] = (),
    tile: TileSetting | None = None,
    overlap: Overlap | None = None,
) -> Trainable:
    """Load the network of a checkpoint; see `restore_segmenter`.

    Args:
        path: path of a run's folder, ``best.pt`` or ``last.pt``; None for the newest ``best.pt`` below ``runs/train``.
        max_dets: largest number of detections per image; None for that of the training.
        precision: "fp32", "bf16" or "fp16"; None for that of the training.
        settings: settings of the network's factory that replace those of its training.
        trust: packages beside segtrain whose code the checkpoint may name.
        tile: treatment of large images, "auto", "off" or the side of windows; None for that of the training.
        overlap: share of a window's side that neighbours have in common; None for that of the training.

    Raises:
        SegtrainError: the file is not a checkpoint, or its network cannot be restored.
    """
    path = newest_checkpoint() if path is None else checkpoint_file(path)
    checkpoint = load_checkpoint(path)
    segmenter = restore_segmenter(
        checkpoint, str(path), max_dets=max_dets, precision=precision, settings=settings, trust=trust
    )
    segmenter.tile = segmenter.tile if tile is None else tile
    segmenter.overlap = segmenter.overlap if overlap is None else overlap
    return segmenter


def restore_segmenter(
    checkpoint: Checkpoint,
    source: str,
    *,
    max_dets: int | None = None,
    precision: Precision | None = None,
    settings: Mapping[str, Any] | None = None,
    trust: Sequence[str] = (),
) -> Trainable:
    """Build the network of a checkpoint with its weights, in evaluation mode, on the CPU.

    Args:
        checkpoint: contents of the file.
        source: path of the file, for messages.
        max_dets: largest number of detections per image; None for that of the training.
        precision: "fp32", "bf16" or "fp16"; None for that of the training.
        settings: settings of the network's factory that replace those of its training.
        trust: packages beside segtrain whose code the checkpoint may name.

    Raises:
        SegtrainError: the configuration names code of other packages, or the factory does not take the settings.
    """
    node = segmenter_node(checkpoint, source, max_dets, trust, settings)
    segmenter = build_trainable(node, checkpoint.class_names, initialise=False)
    restore_weights(segmenter, checkpoint.model, source)
    segmenter.precision = precision or checkpoint.precision
    segmenter.inputs = None if checkpoint.inputs is None else KnownInputs.from_plain(checkpoint.inputs)
    return segmenter.eval()


def segmenter_node(
    checkpoint: Checkpoint,
    source: str,
    max_dets: int | None,
    trust: Sequence[str],
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the configuration of a checkpoint's segmenter, after a check that it names no foreign code.

    Args:
        checkpoint: contents of the file.
        source: path of the file, for messages.
        max_dets: largest number of detections per image; None for that of the training.
        trust: packages beside segtrain whose code the configuration may name.
        settings: settings that replace those of the configuration.

    Raises:
        SegtrainError: the configuration is missing, broken, or names foreign code.
    """
    node = checkpoint.config.get("segmenter") if isinstance(checkpoint.config, Mapping) else None
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise SegtrainError(f"{source}: its config has no segmenter; the file is damaged")
    node = _plain(node, source) | dict(settings or {})
    require_own_targets({"segmenter": node}, source, trust)
    for path, part in target_nodes({"segmenter": node}):
        target = part["_target_"]
        # Other parts of segtrain read and write files, which the content of a file must not cause.
        if target.startswith("segtrain.") and not target.startswith("segtrain.segmenters."):
            raise SegtrainError(f"{source}: its config asks for {target!r} ({path}), which is no segmenter")
    trained = getattr(built_class(node), "resume_keys", ())
    if fixed := [key for key in settings or {} if key in trained]:
        raise SegtrainError(f"{source}: segmenter.{fixed[0]} cannot be replaced after training; train again")
    node = {key: value for key, value in _NEW_SETTINGS.items() if accepts(node, key)} | node
    if accepts(node, "detections_per_image"):
        node["detections_per_image"] = max_dets or checkpoint.max_dets
    check_targets({"segmenter": node})
    return node


def check_trainable(node: Mapping[str, Any]) -> None:
    """Check the settings of a ``segmenter`` node as far as they can be without data.

    Args:
        node: configuration of a factory; see `Trainable`.

    Raises:
        SegtrainError: a setting is wrong.
    """
    built = built_class(node)
    if built is not None and issubclass(built, Trainable):
        built.check_settings(node)


def build_trainable(node: Mapping[str, Any], class_names: Sequence[str], *, initialise: bool) -> Trainable:
    """Build the network of a ``segmenter`` node.

    Args:
        node: configuration of a factory; see `Trainable`.
        class_names: names of labels 1..K.
        initialise: False if a checkpoint's weights follow.

    Raises:
        SegtrainError: the factory refuses its settings, or builds something that cannot be trained.
    """
    options = {"initialise": initialise} if accepts(node, "initialise") else {}
    segmenter = build({**node, **options}, class_names)
    if not isinstance(segmenter, Trainable):
        raise SegtrainError(
            f"segmenter: {node['_target_']} builds a {type(segmenter).__name__}, which does not learn; name a class or "
            "function that builds a segtrain.segmenters.Trainable"
        )
    return segmenter


def _plain(node: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Convert a node to JSON's types, so that the checks that follow see all of its content."""
    try:
        text = json.dumps(node)
    except (TypeError, ValueError):
        raise SegtrainError(f"{source}: its config holds more than plain values; the file is damaged") from None
    if "${" in text:  # the configuration was resolved when saved; an interpolation could name code
        raise SegtrainError(f"{source}: its config holds an interpolation, which segtrain never writes; do not use it")
    return dict(json.loads(text))


def restore_weights(segmenter: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state_dict that must fit exactly.

    Args:
        segmenter: network to load into.
        state: tensors by name.
        source: path of the file, for the message.

    Raises:
        SegtrainError: a tensor does not fit; the message names the first one.
    """
    own = segmenter.state_dict()
    for name in [*own, *state]:
        here, there = own.get(name), state.get(name)
        if here is None or there is None or here.shape != there.shape:
            shapes = [tuple(t.shape) if t is not None else "missing" for t in (there, here)]
            raise SegtrainError(
                f"{source} is from another model: {name} is {shapes[0]} there and {shapes[1]} here; "
                "use the segmenter and categories it was trained with"
            )
        if there.is_floating_point() != here.is_floating_point() or there.is_complex() != here.is_complex():
            kinds = [str(t.dtype).removeprefix("torch.") for t in (there, here)]
            raise SegtrainError(f"{source} has {name} as {kinds[0]}, not as {kinds[1]}; the file is damaged")
    segmenter.load_state_dict(dict(state))
