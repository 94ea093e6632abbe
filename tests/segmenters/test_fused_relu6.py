"""The fused convolution computes what a convolution and a ReLU6 compute."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtrain.segmenters.mask_rcnn import fused_relu6
from segtrain.segmenters.mask_rcnn.fused_relu6 import convolve_and_clamp

BFLOAT16 = torch.bfloat16 in fused_relu6._fused_types()


def separate(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.relu6(F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups))


def arguments(dtype: torch.dtype, **settings: int) -> tuple[nn.Conv2d, list[Tensor]]:
    """A convolution of 8 channels, and its input, weight and bias; a part of its values exceeds 6."""
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, padding=1, **settings)
    x = torch.randn(2, 8, 9, 7).to(memory_format=torch.channels_last)
    tensors = [x, conv.weight.detach() * 12, torch.randn(8)]
    return conv, [tensor.to(dtype).requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"groups": 8}, {"groups": 8, "stride": 2}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_values_and_gradients(dtype: torch.dtype, settings: dict[str, int]) -> None:
    conv, tensors = arguments(dtype, **settings)
    found, expected = convolve_and_clamp(conv, *tensors), separate(conv, *tensors)
    assert found.dtype == dtype
    assert (expected == 6).any()
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, expected)
    weights = torch.randn_like(found)
    gradients = torch.autograd.grad((found * weights).sum(), tensors)
    references = torch.autograd.grad((expected * weights).sum(), tensors)
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-5
    for gradient, reference in zip(gradients, references, strict=True):
        assert gradient.dtype == dtype
        assert float((gradient - reference).abs().max() / reference.abs().max()) < tolerance


def test_only_gradients_that_are_wanted() -> None:
    conv, (x, weight, bias) = arguments(torch.float32)
    convolve_and_clamp(conv, x.detach(), weight, bias.detach()).sum().backward()
    assert weight.grad is not None
    convolve_and_clamp(conv, x, weight.detach(), bias.detach()).sum().backward()
    assert x.grad is not None


@pytest.mark.skipif(not BFLOAT16, reason="this processor has no bfloat16")
def test_a_strided_depthwise_convolution_learns_in_float32() -> None:
    """Its backward pass in bfloat16 takes five times as long; the sums are then those of float32, rounded once."""
    conv, tensors = arguments(torch.bfloat16, groups=8, stride=2)
    exact = [tensor.detach().float().requires_grad_() for tensor in tensors]
    found, expected = convolve_and_clamp(conv, *tensors), separate(conv, *exact)
    kept = ((found > 0) & (found < 6)).float()  # where rounding makes a 6, its gradient ends
    gradients = torch.autograd.grad(found.sum(), tensors)
    references = torch.autograd.grad(expected, exact, kept.where((expected > 0) & (expected < 6), 0))
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient, reference.bfloat16(), rtol=0.01, atol=1e-6)


@pytest.fixture
def types_found_anew() -> Iterator[None]:
    fused_relu6._fused_types.cache_clear()
    yield
    fused_relu6._fused_types.cache_clear()


def gradients_of(conv: nn.Conv2d, tensors: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The result, and the gradients of a weighted sum of it."""
    result = convolve_and_clamp(conv, *tensors)
    weights = torch.linspace(-1, 1, result.numel()).view(result.shape).to(result)
    return result.detach(), torch.autograd.grad((result * weights).sum(), tensors)


@pytest.mark.usefixtures("types_found_anew")
@pytest.mark.parametrize(
    ("missing", "left"),
    [
        (["_convolution_pointwise"], set()),
        (["_is_mkldnn_bf16_supported"], {torch.float32}),
        (["_convolution_pointwise", "_is_mkldnn_bf16_supported"], set()),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_private_operators(
    monkeypatch: pytest.MonkeyPatch, missing: list[str], left: set[torch.dtype], dtype: torch.dtype
) -> None:
    conv, tensors = arguments(dtype, groups=8, stride=2)
    expected, references = gradients_of(conv, tensors)
    fused_relu6._fused_types.cache_clear()
    names = ("_convolution_pointwise", "_is_mkldnn_bf16_supported")
    kept = {name: getattr(torch.ops.mkldnn, name) for name in names if name not in missing}
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(**kept))
    assert fused_relu6._fused_types() == left
    found, gradients = gradients_of(conv, tensors)
    assert torch.equal(found, expected)
    for gradient, reference in zip(gradients, references, strict=True):
        tolerance = 0.02 if dtype == torch.bfloat16 else 1e-5
        assert float((gradient - reference).abs().max() / reference.abs().max()) < tolerance
