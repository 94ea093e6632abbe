"""Frozen batch normalisation, folded into the convolution before it.

With frozen statistics ``bn(conv(x, w))`` is ``conv(x, w * scale) + shift``: scaling the few weights replaces two passes
over every activation. Exact up to rounding, differentiable in ``w``, and the state_dict stays torchvision's.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d


def freeze_batch_norms(module: nn.Module) -> None:
    """Replace every ``BatchNorm2d`` below the module by a ``FrozenBatchNorm2d``, keeping names and values."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=child.eps)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            freeze_batch_norms(child)


def fold_frozen_norms(module: nn.Module) -> None:
    """Fold each frozen normalisation that directly follows a convolution, everywhere below the module."""
    previous: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, FrozenBatchNorm2d) and previous and type(previous[1]) is nn.Conv2d:
            folded = FoldedConv2d(previous[1], child)
            setattr(module, previous[0], folded)
            setattr(module, name, FoldedNorm(child))
            folded.norm = (getattr(module, name),)
        else:
            fold_frozen_norms(child)
        previous = (name, child)


class FoldedNorm(FrozenBatchNorm2d):  # type: ignore[misc]
    """Holds the statistics under their usual names; the convolution before it has already applied them."""

    def __init__(self, norm: FrozenBatchNorm2d) -> None:
        super().__init__(norm.weight.shape[0], eps=norm.eps)
        self.load_state_dict(norm.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Return the input, to which the convolution has applied the statistics."""
        return x


class FoldedConv2d(nn.Conv2d):
    """A convolution that also applies the frozen normalisation behind it."""

    norm: tuple[FoldedNorm]  # in a tuple, so that it is not registered a second time

    def __init__(self, conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            cast("tuple[int, int]", conv.kernel_size),
            cast("tuple[int, int]", conv.stride),
            cast("tuple[int, int]", conv.padding),
            cast("tuple[int, int]", conv.dilation),
            conv.groups,
            bias=conv.bias is not None,
        )
        self.load_state_dict(conv.state_dict())
        self.weight.requires_grad_(conv.weight.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the weights and the bias that include the normalisation."""
        norm = self.norm[0]
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        if self.bias is not None:
            shift = shift + self.bias * scale
        return self._convolve(x, self.weight * scale[:, None, None, None], shift)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        depthwise = self.groups == self.in_channels and self.stride != (1, 1)
        learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        if depthwise and learns and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # The CPU's backward pass of a strided depthwise convolution takes in bfloat16 five times as long or more.
            with torch.autocast("cpu", enabled=False):
                return cast("Tensor", self._conv_forward(x.float(), weight, bias)).to(torch.get_autocast_dtype("cpu"))
        return cast("Tensor", self._conv_forward(x, weight, bias))
