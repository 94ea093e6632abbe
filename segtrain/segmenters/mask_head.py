"""The last layers of the mask head, for one category a region: nobody looks at the masks of the others."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor


def own_class_logits(x: Tensor, predictor: MaskRCNNPredictor, labels: Tensor) -> Tensor:
    """What ``predictor(x)[arange(R), labels]`` is, without computing the other categories' masks.

    The transposed convolution has kernel 2 and stride 2: its output blocks do not overlap, so it is one matrix product,
    several times faster than the stock kernel on the CPU, in the backward pass above all. What follows works on single
    pixels and need not have them in order: only the finished logits are put in place.

    Args:
        x: (R, C, P, P) features of each region.
        predictor: torchvision's: transposed convolution, ReLU, 1x1 convolution to a map for each category.
        labels: (R,) the category of each region.

    Returns:
        (R, 2 P, 2 P).
    """
    regions, _, height, width = x.shape
    weight, bias = predictor.conv5_mask.weight, predictor.conv5_mask.bias
    channels = weight.shape[1]
    # Columns in the order (row in the block, column in the block, channel).
    matrix = weight.permute(2, 3, 1, 0).reshape(4 * channels, -1)
    blocks = F.relu(F.linear(x.permute(0, 2, 3, 1), matrix, bias.repeat(4)), inplace=True)
    rows = predictor.mask_fcn_logits.weight[labels, :, 0, 0]
    logits = torch.bmm(rows[:, None], blocks.reshape(regions, -1, channels).transpose(1, 2)).float()
    logits = logits + predictor.mask_fcn_logits.bias[labels, None, None]
    ordered: Tensor = logits.reshape(regions, height, width, 2, 2).permute(0, 1, 3, 2, 4)
    return ordered.reshape(regions, 2 * height, 2 * width)
