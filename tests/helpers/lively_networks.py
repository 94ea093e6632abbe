"""Random weights with which a Mask R-CNN behaves like a trained one: many different detections of clear scores."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as StockMaskRCNN

# Mean and deviation of each channel over positions and regions. Inputs of rectifiers: where half of them are cut off,
# rounding doubles every few layers, and some input always lies within rounding of the cut, where the gradient jumps.
RECTIFIED = (1.5, 0.5)
OTHERS = (0.0, 1.0)
OUTPUTS = {
    "rpn.head.cls_logits": (0.0, 2.0),
    "rpn.head.bbox_pred": (0.0, 0.1),
    "roi_heads.box_predictor.cls_score": (0.0, 1.0),
    "roi_heads.box_predictor.bbox_pred": (0.0, 0.3),
    "roi_heads.mask_predictor.mask_fcn_logits": (0.0, 3.0),
}
# Settings of small networks that find much.
SMALL_INPUT: dict[str, Any] = {"min_size": 128, "max_size": 256, "scale": None}
WIDTHS: dict[str, Any] = {"fpn_channels": 32, "box_head_width": 64, "mask_head_widths": [24, 16]}
COUNTS: dict[str, Any] = {
    "rpn_candidates_train": 300,
    "rpn_proposals_train": 200,
    "rpn_candidates_test": 1000,
    "rpn_proposals_test": 1000,
    "detections_per_image": 100,
    "min_score": 0.05,
}
# More than there are anchors and proposals: every one of them is sampled, so that no draw matters.
ALL_SAMPLED: dict[str, Any] = {"rpn_anchors_per_image": 100_000, "rois_per_image": 100_000}
WEIGHTED = nn.Conv2d | nn.Linear | nn.ConvTranspose2d


@torch.no_grad()
def lively_state(network: StockMaskRCNN, images: Sequence[Tensor], seed: int) -> dict[str, Tensor]:
    """Draw weights with which each channel of each layer has a given mean and spread on some images.

    With the usual random weights signals fade from layer to layer: all scores are nearly equal, all boxes equal their
    anchors, and rounding decides which of them are kept. Source: D. Mishkin, J. Matas, All you need is a good init,
    2016, where whole layers are scaled.

    Args:
        network: network with batch normalisation; the weights are loaded into it.
        images: uint8 RGB images (3, H, W).
        seed: seed of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, WEIGHTED):
            module.weight.normal_(generator=generator).div_(module.weight[0].numel() ** 0.5)
    done: set[str] = set()
    handles = []
    for name, module in network.eval().named_modules():
        if isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(_take_statistics))
        elif isinstance(module, WEIGHTED) and module.bias is not None:
            wanted = OUTPUTS.get(name, OTHERS if "fpn" in name else RECTIFIED)
            handles.append(module.register_forward_hook(partial(_spread_out, name, wanted, done)))
    network([image / 255 for image in images])
    for handle in handles:
        handle.remove()
    assert "roi_heads.mask_predictor.mask_fcn_logits" in done, "nothing was detected"
    return {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def _mean_and_deviation(values: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and deviation of each channel; the deviation is at least half of the mean, to limit rounding."""
    axes = [axis for axis in range(values.ndim) if axis != 1]
    mean = values.mean(axes)
    return mean, (values.var(axes) + (0.5 * mean).square()).sqrt().clamp(min=1e-6)


def _take_statistics(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    mean, deviation = _mean_and_deviation(inputs[0])
    norm.running_mean, norm.running_var = mean, deviation.square()
    norm.bias.fill_(RECTIFIED[0])
    norm.weight.fill_(RECTIFIED[1])


def _spread_out(
    name: str, wanted: tuple[float, float], done: set[str], module: nn.Module, _: object, output: Tensor
) -> Tensor | None:
    if name in done:  # the other levels of the pyramid
        return None
    done.add(name)
    mean, deviation = _mean_and_deviation(output)
    factor = wanted[1] / deviation
    shift = wanted[0] - mean * factor
    channel = 1 if isinstance(module, nn.ConvTranspose2d) else 0
    module.weight.mul_(factor.reshape([-1 if axis == channel else 1 for axis in range(module.weight.ndim)]))
    module.bias.mul_(factor).add_(shift)
    shape = [-1 if axis == 1 else 1 for axis in range(output.ndim)]
    return output * factor.reshape(shape) + shift.reshape(shape)
