"""Reading weights: published ones, torchvision's files, our checkpoints, backbones alone."""

import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import torch
import torchvision
from torch import Tensor
from torchvision.models import WeightsEnum
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from segtrain.errors import SegtrainError

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # torch prints in bold
_PUBLISHED = {
    "resnet50_fpn": ("MaskRCNN_ResNet50_FPN_Weights", "ResNet50_Weights"),
    "resnet50_fpn_v2": ("MaskRCNN_ResNet50_FPN_V2_Weights", "ResNet50_Weights"),
    "resnet18_fpn": ("ResNet18_Weights",),
    "mobilenet_v2_fpn": ("MobileNet_V2_Weights",),
}


def read_weights(weights: str, architecture: str) -> tuple[dict[str, Tensor], Sequence[str] | None]:
    """The tensors by name and, where known, the names of labels 0..K.

    Args:
        weights: a published name, or the path of a file.
        architecture: decides which published names there are.

    Raises:
        SegtrainError: they cannot be had, or are not weights.
    """
    published = {}
    for enum_name in _PUBLISHED[architecture]:
        enum = getattr(torchvision.models, enum_name, None) or getattr(torchvision.models.detection, enum_name)
        published.update({member.name: member for member in enum})
    if weights in published:
        return _download(published[weights]), published[weights].meta["categories"]
    if not Path(weights).exists():
        raise SegtrainError(
            f"segmenter.weights={weights}: no such file, and {architecture} has no published weights of this name "
            f"({', '.join(published)})"
        )
    content = read_state(Path(weights))
    names = content.get("class_names")
    state = content.get("model", content.get("state_dict", content))
    if not state or not _is_state(state):
        raise SegtrainError(f"weights {weights}: holds no tensors by name; give a file with a state_dict")
    return dict(state), ["background", *names] if isinstance(names, list) else None


def read_state(path: Path) -> dict[str, object]:
    """What a file written by ``torch.save`` holds, without running any code of it.

    Raises:
        SegtrainError: there is no such file, or it is not a dictionary of tensors and plain values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats: nothing that a user can change
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SegtrainError(f"{path}: no such file; give the path of a checkpoint or weights file") from None
    except Exception as error:  # a damaged pickle fails in whatever way it stumbles
        raise SegtrainError(
            f"{path}: not a checkpoint or weights file that can be read ({_reason(error)}); give another file, or "
            "write it anew with torch.save(model.state_dict(), PATH)"
        ) from None
    if not isinstance(content, Mapping):
        raise SegtrainError(f"{path}: holds a {type(content).__name__}, not weights by name; save a state_dict")
    return dict(content)


def trained_without_epsilon(weights: str, architecture: str) -> bool:
    """Whether these are torchvision's oldest weights, whose batch normalisation has an epsilon of 0.

    Args:
        weights: a published name, or the path of a file.
        architecture: of the network they are for.
    """
    original = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    return architecture == "resnet50_fpn" and Path(weights).name in (original.name, Path(original.url).name)


def _download(member: WeightsEnum) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = member.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, no space, or a damaged file from an earlier attempt
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise SegtrainError(
            f"weights {member.name} cannot be loaded ({_reason(error)}): download {member.url} elsewhere "
            f"and put it into {folder}, or give the file by segmenter.weights=PATH"
        ) from None
    return state


def _is_state(content: object) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(content, Mapping) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    )


def _reason(error: Exception) -> str:
    """The first sentence of what an error says, or its kind; of code in a pickle, what it would have called."""
    text = _ESCAPES.sub("", str(error))
    if foreign := re.search(r"GLOBAL (\S+)", text):
        return f"it holds more than tensors and plain values: {foreign[1]}"
    sentence = re.split(r"\.\s|\n", text.strip(), maxsplit=1)[0] if not isinstance(error, KeyError) else ""
    return textwrap.shorten(sentence, 100, placeholder=" ...") or type(error).__name__
