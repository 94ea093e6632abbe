"""Frozen batch normalisation, folded into the convolution before it.

With frozen statistics ``bn(conv(x, w))`` is ``conv(x, w * scale) + shift``: scaling the few weights replaces two passes
over every activation. Exact up to rounding, differentiable in ``w``, and the state_dict stays torchvision's. A ReLU6
that follows in a ``Sequential`` moves into the convolution too (`convolve_and_clamp`).
"""

from collections.abc import Callable, Sequence
from typing import Self, cast

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from segtrain.segmenters.mask_rcnn.fused_relu6 import convolve_and_clamp


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
    folded: FoldedConv2d | None = None  # whose normalisation is the previous child
    for name, child in list(module.named_children()):
        if isinstance(child, FrozenBatchNorm2d) and previous and type(previous[1]) is nn.Conv2d:
            folded = FoldedConv2d(previous[1], child)
            setattr(module, previous[0], folded)
            setattr(module, name, FoldedNorm(child))
            folded.norm = (getattr(module, name),)
        elif isinstance(child, nn.ReLU6) and folded and isinstance(module, nn.Sequential):
            folded.clamps = True
            setattr(module, name, nn.Identity())
            folded = None
        else:
            folded = None
            fold_frozen_norms(child)
        previous = (name, child)


class FoldedNorm(FrozenBatchNorm2d):  # type: ignore[misc]
    """A frozen normalisation that returns its input, because the convolution before it applies its statistics."""

    def __init__(self, norm: FrozenBatchNorm2d) -> None:
        super().__init__(norm.weight.shape[0], eps=norm.eps)
        self.load_state_dict(norm.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Return the input, to which the convolution has applied the statistics."""
        return x


class FoldedConv2d(nn.Conv2d):
    """A convolution that also applies the frozen normalisation behind it, and a ReLU6 behind that.

    Attributes:
        norm: the normalisation.
        clamps: True if a ReLU6 follows.
    """

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
        self.clamps = False
        self._statistics, self._fixed = Memo(), Memo()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the weights and the bias that include the normalisation."""
        autocast = torch.is_autocast_enabled(x.device.type)
        dtype = torch.get_autocast_dtype(x.device.type) if autocast else self.weight.dtype
        x = x.to(dtype)
        own = [parameter for parameter in (self.weight, self.bias) if parameter is not None]
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in own):
            self._fixed.forget()  # a step follows, and fused optimizers leave the version of a weight as it is
            weight, bias = self._fold(dtype)
        else:
            sources = [*own, *self.norm[0].buffers()]
            weight, bias = self._fixed.recall(sources, lambda: self._fold(dtype), dtype, self.norm[0].eps)
        return convolve_and_clamp(self, x, weight, bias) if self.clamps else self._conv_forward(x, weight, bias)

    def train(self, mode: bool = True) -> Self:
        """Change between training and evaluation, and forget the weights that were kept for inference."""
        self._fixed.forget()
        return super().train(mode)

    def _fold(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the weights and the bias, with the normalisation."""
        norm = self.norm[0]
        scale, shift = self._statistics.recall([*norm.buffers()], lambda: _factors(norm), norm.eps)
        if self.bias is not None:
            shift = shift + self.bias * scale
        return (self.weight * scale[:, None, None, None]).to(dtype), shift.to(dtype)


def _factors(norm: FoldedNorm) -> tuple[Tensor, Tensor]:
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


class Memo:
    """Two tensors computed from others, kept until one of those changes."""

    def __init__(self) -> None:
        self._key: object = None

    def forget(self) -> None:
        """Drop the kept tensors, so that the next call computes them."""
        self._key = None

    def recall(
        self, sources: Sequence[Tensor], compute: Callable[[], tuple[Tensor, Tensor]], *others: object
    ) -> tuple[Tensor, Tensor]:
        """Return the kept tensors, or compute them without gradients.

        Args:
            sources: tensors that the result is computed from; changes in place are noticed by their version.
            compute: function that computes the result.
            others: further values that it depends on.
        """
        if any(source.is_inference() for source in sources):  # they have no version
            return compute()
        key = [(source.data_ptr(), source._version, source.device) for source in sources], others
        if key != self._key:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = compute()
            self._key = key
        return self._kept
