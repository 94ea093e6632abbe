"""Checkpoints: one dictionary of tensors and plain values, loadable with ``weights_only=True``."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segtrain.data.open_data import data_root
from segtrain.data.splits import Split, SplitName
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.nodes import build, check_targets, require_own_targets, target_nodes
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.segmenters.mask_rcnn.weights import read_state

PROVISIONAL_THRESHOLD = 0.5  # of scores: while training goes on, and where nothing tells the thresholds apart
# Fields that older checkpoints lack.
LATER_FIELDS = dict.fromkeys(("threshold_images", "training_images", "training_objects", "validations"))
LATER_SETTINGS = {"roi_align": "auto"}  # of Mask R-CNN, with the value that older checkpoints were trained with


@dataclass(frozen=True)
class Checkpoint:
    """What ``checkpoints/best.pt`` and ``checkpoints/last.pt`` hold.

    Attributes:
        model: the weights to segment with (averaged ones where averaging is on), by torchvision's names.
        config: train.py's resolved configuration, with absolute paths.
        class_names: of labels 1..K.
        category_ids: of labels 1..K, in the training data.
        max_dets: detections per image.
        score_threshold: operating point of mIoU and F1.
        precision: "fp32" or "bf16", as resolved.
        seed: of the run.
        val_ids: images of the validation split, if it was drawn by ``data.val_fraction``.
        epoch: whole epochs done.
        step: optimizer steps taken.
        minutes: of training; in ``best.pt``, too, those of the whole run and not of its best weights.
        metrics: of the last validation.
        training: what only resuming needs; None in ``best.pt``.
        threshold_images: how many training images the score threshold was chosen on; None: it was given.
        training_images: of the training split; None in old checkpoints.
        training_objects: labelled in them, crowds not counted; None in old checkpoints.
        validations: how many ``best.pt`` holds the best weights of; None where that is not known.
    """

    model: dict[str, Tensor]
    config: dict[str, Any]
    class_names: list[str]
    category_ids: list[int]
    max_dets: int
    score_threshold: float
    precision: str
    seed: int
    val_ids: list[int] | None
    epoch: int
    step: int
    minutes: float
    metrics: dict[str, float]
    training: dict[str, Any] | None
    threshold_images: int | None
    training_images: int | None
    training_objects: int | None
    validations: int | None

    def save(self, path: Path) -> None:
        """Write to a temporary name, then rename."""
        buffer = io.BytesIO()
        torch.save({"format": 1, **{f.name: getattr(self, f.name) for f in fields(self)}}, buffer)
        write_atomically(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of ours.

    Raises:
        SegtrainError: there is none, or it is something else.
    """
    content = {**LATER_FIELDS, **read_state(Path(path))}
    missing = [f.name for f in fields(Checkpoint) if f.name not in content]
    if missing:
        raise SegtrainError(
            f"{path}: not a segtrain checkpoint (it has no {missing[0]!r}); weights alone go into segmenter.weights="
        )
    return Checkpoint(**{f.name: content[f.name] for f in fields(Checkpoint)})  # type: ignore[arg-type]


def load_segmenter(path: str | Path | None, *, max_dets: int | None = None, precision: str | None = None) -> MaskRCNN:
    """The segmenter that a checkpoint holds, in evaluation mode, on the CPU.

    Args:
        path: of ``best.pt`` or ``last.pt``; None for the newest ``best.pt`` below ``runs/train``.
        max_dets: detections per image; None as trained.
        precision: "fp32" or "bf16"; None as trained.

    Raises:
        SegtrainError: the file is not a checkpoint of ours, or its configuration asks for foreign code.
    """
    path = newest_checkpoint() if path is None else path
    checkpoint = load_checkpoint(path)
    node = build_node(checkpoint, str(path), max_dets)
    segmenter: MaskRCNN = build(node)(checkpoint.class_names, initialise=False)
    restore_weights(segmenter, checkpoint.model, str(path))
    segmenter.precision = precision or checkpoint.precision
    return segmenter.eval()


def build_node(checkpoint: Checkpoint, source: str, max_dets: int | None) -> dict[str, Any]:
    """The checked configuration of the segmenter inside a checkpoint.

    Raises:
        SegtrainError: it is missing, broken, or names code that is not ours.
    """
    node = checkpoint.config.get("segmenter") if isinstance(checkpoint.config, Mapping) else None
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise SegtrainError(f"{source}: its config has no segmenter; the file is damaged")
    node = _plain(node, source)
    require_own_targets({"segmenter": node}, source)
    for path, part in target_nodes({"segmenter": node}):
        # Other parts of segtrain write and read files: not at the request of a file.
        if not part["_target_"].startswith("segtrain.segmenters."):
            raise SegtrainError(f"{source}: its config asks for {part['_target_']!r} ({path}), which is no segmenter")
    later = LATER_SETTINGS if node["_target_"] == "segtrain.segmenters.mask_rcnn.build.mask_rcnn" else {}
    node = {**later, **node, "detections_per_image": max_dets or checkpoint.max_dets}
    check_targets({"segmenter": node})
    return node


def _plain(node: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The node as json would hold it, so that nothing in it hides from the checks that follow."""
    try:
        text = json.dumps(node)
    except (TypeError, ValueError):
        raise SegtrainError(f"{source}: its config holds more than plain values; the file is damaged") from None
    if "${" in text:  # resolved once already; what it says now could name code
        raise SegtrainError(f"{source}: its config holds an interpolation, which segtrain never writes; do not use it")
    return dict(json.loads(text))


def restore_weights(segmenter: MaskRCNN, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state_dict that must fit exactly.

    Raises:
        SegtrainError: names the first tensor that does not.
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
    segmenter.load_state_dict(dict(state))


def newest_checkpoint(runs: Path = Path("runs/train")) -> Path:
    """``best.pt`` of the run that wrote one last.

    Raises:
        SegtrainError: there is none.
    """
    found = sorted(runs.glob("**/checkpoints/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SegtrainError(
            f"no checkpoint below {runs}: run `python train.py` first, name one with checkpoint=PATH, or use "
            "methods=classical with data=..."
        )
    return found[-1]


def initial_checkpoint(config: Mapping[str, Any], splits: Mapping[SplitName, Split], precision: str) -> Checkpoint:
    """What a run's checkpoints will say about it, at step 0 and without weights.

    Args:
        config: train.py's, resolved.
        splits: "train" and "val".
        precision: as resolved.
    """
    categories = splits["train"].index.categories
    data = {**config["data"], "root": str(data_root(config["data"]))}
    segmenter = dict(config["segmenter"])
    weights = segmenter.get("weights")
    if weights is not None and Path(weights).exists():  # a file, not a published name
        segmenter["weights"] = str(Path(weights).absolute())
    drawn = config["data"]["val_annotations"] is None
    return Checkpoint(
        model={},
        config={
            **config,
            "data": data,
            "segmenter": segmenter,
            "output_dir": str(Path(config["output_dir"]).absolute()),
        },
        class_names=[category.name for category in categories],
        category_ids=[category.id for category in categories],
        max_dets=config["data"]["max_dets"],
        score_threshold=PROVISIONAL_THRESHOLD if config["score_threshold"] == "auto" else config["score_threshold"],
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
        validations=0,
    )
