"""Initial weights of a network: published ones, torchvision's files, checkpoints, and backbones alone."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.backbones import find_backbone
from segtrain.segmenters.state_file import read_state, summarise_error

# The layers whose rows belong to categories; each category has `rows` of them.
_CLASS_LAYERS = {
    "roi_heads.box_predictor.cls_score": 1,
    "roi_heads.box_predictor.bbox_pred": 4,
    "roi_heads.mask_predictor.mask_fcn_logits": 1,
}


@dataclass(frozen=True)
class Weights:
    """Contents of weights.

    Attributes:
        state: tensors by name.
        class_names: names of labels 0..K; None where they are not known.
        aligned: True if the file is a checkpoint whose network was trained with ``aligned=True``.
    """

    state: Mapping[str, Tensor]
    class_names: Sequence[str] | None
    aligned: bool


def find_published(weights: str, architecture: str) -> WeightsEnum | None:
    """Look up published weights.

    Args:
        weights: a published name, or the path of a file.
        architecture: key of `BACKBONES`; decides which published names there are.

    Returns:
        The member of torchvision's enumeration; None for a file.

    Raises:
        SegtrainError: there is neither such a name nor such a file.
    """
    published: dict[str, WeightsEnum] = {}
    for enum_name in find_backbone(architecture).published:
        enum = getattr(torchvision.models, enum_name, None) or getattr(torchvision.models.detection, enum_name)
        published.update({member.name: member for member in enum})
    if weights not in published and not Path(weights).exists():
        raise SegtrainError(
            f"segmenter.weights={weights}: no such file, and {architecture} has no published weights of this name "
            f"({', '.join(published)})"
        )
    return published.get(weights)


def read_weights(weights: str, architecture: str) -> Weights:
    """Read published weights or a file.

    Args:
        weights: a published name, or the path of a file.
        architecture: decides which published names there are.

    Raises:
        SegtrainError: they cannot be downloaded or read, or are not weights.
    """
    if (published := find_published(weights, architecture)) is not None:
        return Weights(_download(published), published.meta["categories"], aligned=False)
    content = read_state(Path(weights))
    names = content.get("class_names")
    state = content.get("model", content.get("state_dict", content))
    if not state or not _is_state(state):
        raise SegtrainError(f"weights {weights}: holds no tensors by name; give a file with a state_dict")
    class_names = ["background", *names] if isinstance(names, list) else None
    return Weights(dict(state), class_names, _states_aligned(content))


def trained_without_epsilon(weights: str, architecture: str) -> bool:
    """Return True for torchvision's oldest weights, whose batch normalisation has an epsilon of 0.

    Args:
        weights: a published name, or the path of a file.
        architecture: architecture of the network that they are for.
    """
    original = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    return architecture == "resnet50_fpn" and Path(weights).name in (original.name, Path(original.url).name)


def _download(member: WeightsEnum) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = member.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, no space, or a damaged file from an earlier attempt
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise SegtrainError(
            f"weights {member.name} cannot be loaded ({summarise_error(error)}): download {member.url} elsewhere "
            f"and put it into {folder}, or give the file by segmenter.weights=PATH"
        ) from None
    return state


def _states_aligned(content: Mapping[str, object]) -> bool:
    if content.get("aligned") is True:  # of an export
        return True
    for key in ("config", "segmenter"):
        inner = content.get(key)
        content = inner if isinstance(inner, Mapping) else {}
    return content.get("aligned") is True


def _is_state(content: object) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(content, Mapping) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    )


@dataclass(frozen=True)
class LoadReport:
    """Outcome of loading weights.

    Attributes:
        source: the file or published name.
        loaded: parameters and buffers taken over as they are.
        kept_classes: categories whose rows of the class layers were taken over by name.
        reinitialised: parameters and buffers that keep their random values.
        unused: tensors of the file that the network does not have.
        aligned: False if heads were loaded that have learned torchvision's shift of half a cell (see `MaskRCNN`).
    """

    source: str
    loaded: Sequence[str]
    kept_classes: Sequence[str]
    reinitialised: Sequence[str]
    unused: Sequence[str]
    aligned: bool

    def describe(self) -> str:
        """Return one line for the log: counts, and names by their first parts."""
        parts = [f"weights {self.source}: {len(self.loaded)} tensors loaded ({_summary(self.loaded)})"]
        if self.kept_classes:
            parts.append(f"rows kept for {', '.join(self.kept_classes)}")
        if self.reinitialised:
            parts.append(f"re-initialised: {_summary(self.reinitialised)}")
        if self.unused:
            parts.append(f"not used: {_summary(self.unused)}")
        return "; ".join(parts)


def load_weights(network: nn.Module, weights: str, architecture: str, class_names: Sequence[str]) -> LoadReport:
    """Load weights into a network.

    Args:
        network: changed in place.
        weights: a published name, or the path of a file.
        architecture: architecture of the network; decides which published names there are.
        class_names: names of labels 1..K; class layers keep the rows of categories that the weights know by this name.

    Raises:
        SegtrainError: the weights cannot be downloaded or read, are not weights, or belong to another network.
    """
    source = read_weights(weights, architecture)
    own = network.state_dict()
    state = {_target_name(name, own): value for name, value in source.state.items()}
    has_heads = any(name.startswith("roi_heads.") for name in state)
    loaded: dict[str, Tensor] = {}
    reinitialised: list[str] = []
    kept: list[str] = []
    for name, value in own.items():
        layer = name.rpartition(".")[0]
        if name in state and state[name].shape == value.shape and layer not in _CLASS_LAYERS:
            loaded[name] = state[name]
        elif layer in _CLASS_LAYERS and name in state:
            rows, kept = _class_rows(state[name], value, class_names, source.class_names, _CLASS_LAYERS[layer], weights)
            loaded[name] = rows
        elif name.endswith("num_batches_tracked"):
            continue
        elif name.startswith("backbone.body.") or has_heads:
            found = f"{tuple(state[name].shape)}" if name in state else "missing"
            raise SegtrainError(
                f"weights {weights} do not fit {architecture}: {name} is {found} there and {tuple(value.shape)} here; "
                "choose the segmenter they were made with, or segmenter.weights=null"
            )
        else:
            reinitialised.append(name)
    network.load_state_dict(loaded, strict=False)
    whole = kept == ["background", *class_names]
    if has_heads and not whole:
        reinitialised += [f"rows of {name}" for name in class_names if name not in kept]
    unused = [n for n in state if n not in own and not n.endswith("num_batches_tracked")]
    return LoadReport(
        weights, list(loaded), [] if whole else kept, reinitialised, unused, aligned=source.aligned or not has_heads
    )


def _target_name(name: str, own: Container[str]) -> str:
    """Translate a classifier's name of a tensor to the network's own, below ``backbone.body``; leave other names."""
    name = name.removeprefix("module.")
    below = "backbone.body." + name.removeprefix("features.")
    return below if below in own else name


def _class_rows(
    theirs: Tensor, ours: Tensor, names: Sequence[str], their_names: Sequence[str] | None, rows: int, weights: str
) -> tuple[Tensor, list[str]]:
    if theirs.shape[1:] != ours.shape[1:] or theirs.shape[0] % rows:
        raise SegtrainError(
            f"weights {weights}: a class layer is {tuple(theirs.shape)} there, {tuple(ours.shape)} here"
        )
    result = ours.clone()
    if their_names is None or len(their_names) * rows != len(theirs):
        # Names unknown: the same number of classes is the best sign that they are the same.
        same = theirs.shape == ours.shape
        return (theirs, ["background", *names]) if same else (result, [])
    position = {name: index for index, name in enumerate(["background", *their_names[1:]])}
    kept = []
    for index, name in enumerate(["background", *names]):
        if name in position:
            result[index * rows : (index + 1) * rows] = theirs[position[name] * rows : (position[name] + 1) * rows]
            kept.append(name)
    return result, kept


def _summary(names: Sequence[str]) -> str:
    """``backbone, rpn``: the first part of dotted names, others whole; at most eight."""
    short = list(dict.fromkeys(n if n.startswith("rows of") else ".".join(n.split(".")[:2]) for n in names))
    return ", ".join(short[:8]) + (f" and {len(short) - 8} more" if len(short) > 8 else "")
