"""Networks as ONNX files."""

import importlib.util
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
from segtrain.export.onnx_example import Network
from segtrain.segmenters.mask_rcnn.stock_network import traceable_network
from segtrain.segmenters.state_file import summarise_error

logger = logging.getLogger(__name__)
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_EXAMPLE_SIZE = (96, 128)  # (H, W) of the image that is traced; any other size may be given afterwards
_LARGEST = 100_000  # pixels along a side
OUTPUTS = ("boxes", "labels", "scores", "masks")


def require_onnx() -> None:
    """Check that the packages of ONNX are installed.

    Raises:
        SegtrainError: one is missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SegtrainError(f"--to onnx needs {', '.join(missing)}: pip install 'segtrain[export]'")


def write_onnx(network: TrainedNetwork, path: Path) -> str:
    """Write a network as ONNX file.

    Args:
        network: the network.
        path: path of the file.

    Returns:
        A line on the file: its inputs, outputs and opset.

    Raises:
        SegtrainError: a package is missing, or torch cannot export the network.
    """
    require_onnx()
    logger.info("torch traces the network, which takes a minute")
    module = traceable_network(network.settings, network.num_classes, network.checkpoint.model)
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of torch and torchvision about each other
            program = torch.onnx.export(
                module,
                (example_image(),),
                dynamo=True,
                dynamic_shapes=(any_size(),),
                input_names=["image"],
                output_names=list(OUTPUTS),
                verbose=False,
            )
    except Exception as error:  # whatever its exporter stumbles over
        raise SegtrainError(
            f"torch {version('torch')} and onnxscript {version('onnxscript')} cannot export this network "
            f"({summarise_error(error)}); install newer versions of both"
        ) from error
    assert program is not None
    program.model.metadata_props.update({name: json.dumps(value) for name, value in network.facts.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path))
    opset = program.model.opset_imports[""]
    return f"image (height, width, 3) uint8 -> {', '.join(OUTPUTS)}; opset {opset}"


def onnx_detector(path: Path) -> Callable[[RgbArray], Found]:
    """Return a function that finds the objects of an image as the example code does."""
    network = Network(path)

    def detect(image: RgbArray) -> Found:
        boxes, labels, scores, cells = network.detect(np.ascontiguousarray(image))
        planes = [network.paste(mask, box, image.shape[:2]) for mask, box in zip(cells, boxes, strict=True)]
        return Found(boxes, labels, scores, planes)

    return detect


def example_image() -> torch.Tensor:
    """Return an image (H, W, 3) to trace a network with."""
    return torch.zeros((*_EXAMPLE_SIZE, 3), dtype=torch.uint8)


def any_size() -> dict[int, object]:
    """Return the dimensions of an image that may have any size."""
    return {axis: torch.export.Dim(name, min=2, max=_LARGEST) for axis, name in enumerate(("height", "width"))}
