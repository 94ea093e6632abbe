"""Pairs of networks for benchmarks: ours of a preset, and torchvision's of the same shape and weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.ops import FrozenBatchNorm2d

from segtrain.cli.config import register_schemas
from segtrain.segmenters.mask_rcnn.factory import TORCHVISION_NAMES, Shape, build_network, mask_rcnn
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.segmenters.mask_rcnn.preprocess import batch_images
from segtrain.targets import Target

CONFIGS = Path(__file__).parent.parent / "configs"
# Both sides then compute the same; only the pasting differs, by less than a pixel.
AS_TORCHVISION = {"aligned": False, "mask_scoring": "none"}


def settings_of(*overrides: str) -> dict[str, Any]:
    """Compose the segmenter's settings of ``train.py`` with these overrides."""
    register_schemas()
    with initialize_config_dir(str(CONFIGS), version_base=None):
        config = compose("train", [*overrides, "data.root=."])
    settings: Any = OmegaConf.to_container(config.segmenter, resolve=True)
    return {name: value for name, value in settings.items() if not name.startswith("_")}


def pair(
    settings: dict[str, Any], class_names: Sequence[str], images: Sequence[Tensor], min_size: int
) -> tuple[MaskRCNN, StockMaskRCNN]:
    """Build our network and torchvision's, with the same weights.

    Args:
        settings: settings of our segmenter.
        class_names: names of labels 1..K.
        images: uint8 images (3, H, W), from which a random backbone gets its frozen statistics.
        min_size: shorter side of the input of both networks.
    """
    torch.manual_seed(0)
    settings = {**settings, "norm": "frozen", "min_size": min_size, "scale": None} | AS_TORCHVISION
    ours = mask_rcnn(class_names, **settings)
    stock = stock_network(settings, class_names, min_size)
    stock.load_state_dict(ours.state_dict())
    if settings["weights"] is None:
        _measure_statistics(stock, batch_images(images, ours.input_size, ours.device).tensors)
        ours.load_state_dict(stock.state_dict())
    return ours, stock


def stock_network(settings: dict[str, Any], class_names: Sequence[str], min_size: int) -> StockMaskRCNN:
    """Build torchvision's network of our settings, with its own transform, RoIAlign, losses and pasting."""
    return build_network(
        Shape.of(settings),
        len(class_names) + 1,
        norm=settings["norm"],
        frozen_stages=settings["frozen_stages"],
        min_size=min_size,
        max_size=settings["max_size"],
        **{name: settings[name] for name in TORCHVISION_NAMES},
    )


@torch.no_grad()
def _measure_statistics(network: StockMaskRCNN, images: Tensor) -> None:
    """Set the statistics of frozen normalisations, neutral until now, to those of this batch, layer by layer."""
    norms = [module for module in network.modules() if isinstance(module, FrozenBatchNorm2d)]

    def measure(module: FrozenBatchNorm2d, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        module.running_mean.copy_(output.mean((0, 2, 3)))
        module.running_var.copy_(output.var((0, 2, 3)))
        whitened: Tensor = module.forward(output)
        return whitened

    handles = [module.register_forward_hook(measure) for module in norms]
    network.backbone(images)
    for handle in handles:
        handle.remove()


def planes(image: Tensor, target: Target) -> Tensor:
    """Decode the masks into planes as torchvision takes them, (N, H, W) uint8."""
    result = torch.zeros(len(target), *image.shape[1:], dtype=torch.uint8)
    for plane, crop, (x0, y0, x1, y1) in zip(result, target.masks, target.boxes.int().tolist(), strict=True):
        plane[y0:y1, x0:x1] = crop
    return result
