"""Convolution and the ReLU6 behind it, in one pass over the activations on the CPU.

In place, torch's ReLU6 copies its input for the backward pass; in any case it reads and writes the whole map once more.
oneDNN clamps what a convolution writes while it is in the cache: the same values to the bit. The operators for that are
private to torch: in a release without them, convolution and ReLU6 are computed one after the other.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolve_and_clamp(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute ``relu6(conv(x))``.

    Args:
        conv: convolution whose stride, padding, dilation and groups hold, with numbers for a padding.
        x: (B, C, H, W) of the type of the weights.
        weight: (D, C / groups, h, w) kernel in place of the convolution's own.
        bias: (D,) bias in place of the convolution's own.

    >>> x, one = torch.tensor([[[[-2.0, 2.0, 9.0]]]]), torch.ones(1)
    >>> convolve_and_clamp(nn.Conv2d(1, 1, 1), x, weight=one.view(1, 1, 1, 1), bias=one)
    tensor([[[[0., 3., 6.]]]])
    """
    if x.device.type != "cpu" or x.dtype not in _fused_types():
        return F.relu6(F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups))
    result: Tensor = _FusedReLU6.apply(x, weight, bias, conv)
    return result


@cache
def _fused_types() -> frozenset[torch.dtype]:
    """Return the types that oneDNN computes in on this processor; none if this torch lacks its private operators."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return frozenset()
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return frozenset()
    knows_bfloat16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    bfloat16 = knows_bfloat16 is not None and knows_bfloat16()
    return frozenset([torch.float32, torch.bfloat16] if bfloat16 else [torch.float32])


class _FusedReLU6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, conv: nn.Conv2d) -> Tensor:
        result: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            x, weight, bias, conv.padding, conv.stride, conv.dilation, conv.groups, "hardtanh", [0.0, 6.0], ""
        )
        ctx.save_for_backward(x, weight, result)
        ctx.conv = conv
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, result = ctx.saved_tensors
        conv: nn.Conv2d = ctx.conv
        # Where the result is 0 or 6 its gradient ends, as where the argument of ReLU6 is beyond.
        gradient = torch.ops.aten.hardtanh_backward.default(gradient, result, 0.0, 6.0)
        inputs = gradient, x, weight
        if conv.groups == conv.in_channels and conv.stride != (1, 1):
            # oneDNN's backward pass of a strided depthwise convolution takes in bfloat16 five times as long or more.
            inputs = gradient.float(), x.float(), weight.float()
        wanted = list(ctx.needs_input_grad[:3])
        gradients = torch.ops.aten.convolution_backward.default(
            *inputs, [len(weight)], conv.stride, conv.padding, conv.dilation, False, (0, 0), conv.groups, wanted
        )
        typed = [part.to(x.dtype) if needed else None for part, needed in zip(gradients, wanted, strict=True)]
        return *typed, None
