"""Networks as programs of ``torch.export``."""

import json
import logging
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from segtrain.arrays import RgbArray
from segtrain.errors import SegtrainError
from segtrain.export.agreement import Found
from segtrain.export.facts import TrainedNetwork
from segtrain.export.onnx_example import mask_shift, paste
from segtrain.export.onnx_file import any_size, example_image
from segtrain.segmenters.mask_rcnn.stock_network import traceable_network
from segtrain.segmenters.state_file import summarise_error

logger = logging.getLogger(__name__)
ABOUT = "about.json"  # file in the archive


def write_torch_export(network: TrainedNetwork, path: Path) -> str:
    """Write a network as program of ``torch.export``.

    Args:
        network: the network.
        path: path of the file.

    Returns:
        A line on the file.

    Raises:
        SegtrainError: torch cannot export the network.
    """
    logger.info("torch traces the network, which takes a minute")
    module = traceable_network(network.settings, network.num_classes, network.checkpoint.model)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of torch and torchvision about each other
            program = torch.export.export(module, (example_image(),), dynamic_shapes=(any_size(),), strict=False)
    except Exception as error:  # whatever it stumbles over
        raise SegtrainError(
            f"torch {version('torch')} cannot export this network ({summarise_error(error)}); install a newer version"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, path, extra_files={ABOUT: json.dumps(network.facts)})
    return "image (height, width, 3) uint8 -> boxes, labels, scores, masks"


def torch_export_detector(path: Path) -> Callable[[RgbArray], Found]:
    """Return a function that finds the objects of an image by the written program."""
    files = {ABOUT: ""}
    module = torch.export.load(path, extra_files=files).module()
    about = json.loads(files[ABOUT])

    def detect(image: RgbArray) -> Found:
        with torch.inference_mode():
            boxes, labels, scores, cells = (part.numpy() for part in module(torch.tensor(image)))
        kept, size = scores >= np.array(about["score_thresholds"])[labels - 1], image.shape[:2]
        shift = mask_shift(about, size)
        planes = [paste(mask, box, size, shift) for mask, box in zip(cells[kept], boxes[kept], strict=True)]
        return Found(boxes[kept], labels[kept], scores[kept], planes)

    return detect
