"""Networks as weights and code for torchvision alone."""

import runpy
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from segtrain.arrays import RgbArray
from segtrain.data.images.image_reader import as_tensor
from segtrain.export.agreement import Found
from segtrain.export.facts import TrainedNetwork
from segtrain.segmenters.mask_rcnn.stock_network import stock_code

_ABOUT = """Mask R-CNN that segtrain has trained, as torchvision's network: {names}.

    model, about = load_model()
    found = model([image])[0]  # image: float32 RGB (3, H, W) in [0, 1]; masks > 0.5 are the pixels of the objects

`about` holds class_names and score_thresholds of labels 1..K, and more. Scores are class scores alone{scoring}.
"""
_SCORING = """;
segtrain multiplies each by the mean probability over the mask's cells above .5, and chose its threshold so"""


def write_torchvision(network: TrainedNetwork, path: Path) -> str:
    """Write the weights of a network, and beside them the code that loads them into torchvision's.

    Args:
        network: the network.
        path: path of the weights; the code has the ending ``.py``.

    Returns:
        A line on the files.
    """
    names = ", ".join(network.checkpoint.class_names).replace("\\", "/").replace('"', "'")
    scoring = ""
    if network.settings["mask_scoring"] != "none":
        scoring = _SCORING
    code = stock_code(network.settings, network.num_classes, _ABOUT.format(names=names, scoring=scoring))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": network.checkpoint.model, **network.facts}, path)
    path.with_suffix(".py").write_text(code.replace('with_suffix(".pt")', f'with_suffix("{path.suffix}")'))
    own = (
        "torchvision's own network"
        if not network.settings["aligned"]
        else "torchvision's network, with aligned pooling and anchors"
    )
    return f"{own}; every key of the state_dict is loaded, and none is missing"


def torchvision_detector(path: Path, least_scores: Sequence[float]) -> Callable[[RgbArray], Found]:
    """Return a function that finds the objects of an image by the written code.

    Args:
        path: path of the weights.
        least_scores: least class score of an object of each label 1..K.
    """
    model, _ = runpy.run_path(str(path.with_suffix(".py")))["load_model"](path)

    def detect(image: RgbArray) -> Found:
        with torch.inference_mode():
            found = model([as_tensor(image).float() / 255])[0]
        kept = found["scores"] >= torch.tensor(least_scores)[found["labels"] - 1]
        boxes, labels, scores, masks = (found[name][kept].numpy() for name in ("boxes", "labels", "scores", "masks"))
        return Found(boxes, labels, scores, list(masks[:, 0] > 0.5))

    return detect
