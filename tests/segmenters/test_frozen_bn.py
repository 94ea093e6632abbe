"""Folded normalisation computes what the separate layers compute and looks the same from outside."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18
from torchvision.ops import FrozenBatchNorm2d

from segtrain.segmenters.mask_rcnn.frozen_bn import FoldedConv2d, fold_frozen_norms, freeze_batch_norms


def wild(module: nn.Module) -> nn.Module:
    """Statistics and weights as a trained network has them, not the neutral ones."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low in (
                (layer.running_mean, -1),
                (layer.bias, -1),
                (layer.running_var, 0),
                (layer.weight, 0.5),
            ):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return module.eval()


def block(bias: bool) -> nn.Module:
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=bias)
    return wild(nn.Sequential(conv, nn.BatchNorm2d(6), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)))


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients(bias: bool) -> None:
    torch.manual_seed(0)
    plain = block(bias)
    folded = copy.deepcopy(plain)
    freeze_batch_norms(folded)
    fold_frozen_norms(folded)
    assert isinstance(folded[0], FoldedConv2d)
    assert type(folded[3]) is FrozenBatchNorm2d  # follows no convolution: stays as it is
    for parameter in (plain[1].weight, plain[1].bias, plain[3].weight, plain[3].bias):
        parameter.requires_grad_(False)
    images = torch.randn(2, 4, 9, 11)
    results = []
    for module in (plain, folded):
        inputs = images.clone().requires_grad_()
        output = module(inputs)
        output.square().sum().backward()
        results.append([output, inputs.grad, *[p.grad for p in module.parameters() if p.requires_grad]])
    assert len(results[0]) == len(results[1])
    for mine, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("builder", [resnet18, mobilenet_v2])
def test_a_whole_backbone(builder: type[nn.Module]) -> None:
    torch.manual_seed(0)
    plain = builder(weights=None).eval()
    frozen = copy.deepcopy(plain)
    freeze_batch_norms(frozen)
    names = list(frozen.state_dict())
    fold_frozen_norms(frozen)
    assert not any(type(m) is FrozenBatchNorm2d for m in frozen.modules()), "every one follows a convolution"
    assert list(frozen.state_dict()) == names == [n for n in plain.state_dict() if "num_batches" not in n]
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(frozen(images), plain(images), rtol=1e-4, atol=1e-5)
    plain.load_state_dict(frozen.state_dict())
    frozen.load_state_dict(plain.state_dict())


def test_freezing_keeps_values_and_leaves_nothing_to_learn() -> None:
    plain = block(bias=False)
    frozen = copy.deepcopy(plain)
    freeze_batch_norms(frozen)
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name])
    assert [name for name, _ in frozen.named_parameters()] == ["0.weight", "4.weight", "4.bias"]
    before = frozen[1].running_mean.clone()
    frozen.train()(torch.randn(2, 4, 8, 8))
    assert torch.equal(frozen[1].running_mean, before)


def test_a_new_state_takes_effect() -> None:
    """The folded kernel is computed from the buffers at each call, not once when folding."""
    first, second = block(bias=False), block(bias=False)
    second.load_state_dict({name: value * 2 for name, value in first.state_dict().items()})
    freeze_batch_norms(first)
    fold_frozen_norms(first)
    first.load_state_dict(second.state_dict())
    images = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(first(images), second(images))


def test_copies_do_not_share_statistics() -> None:
    module = block(bias=False)
    freeze_batch_norms(module)
    fold_frozen_norms(module)
    images = torch.randn(1, 4, 8, 8)
    before = module(images)
    twin = copy.deepcopy(module)
    assert isinstance(twin[1], FrozenBatchNorm2d)
    twin[1].weight.zero_()
    assert torch.equal(module(images), before)
    assert not torch.equal(twin(images), before)


def test_a_fixed_kernel_stays_fixed() -> None:
    module = block(bias=False)
    module[0].weight.requires_grad_(False)
    freeze_batch_norms(module)
    fold_frozen_norms(module)
    frozen: Tensor = module[0].weight
    assert not frozen.requires_grad
    assert [name for name, p in module.named_parameters() if p.requires_grad] == ["4.weight", "4.bias"]


def test_a_strided_depthwise_convolution_learns_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6, bias=False)
    folded = nn.Sequential(conv, FrozenBatchNorm2d(6))
    fold_frozen_norms(folded)
    x = torch.randn(2, 6, 9, 8).bfloat16().float().requires_grad_()  # nothing is lost where it enters
    expected = folded(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = folded(x)
        with torch.no_grad():
            alone = folded(x)
    assert found.dtype == alone.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())
    assert not torch.equal(alone, found)  # the weights are rounded as well
    torch.testing.assert_close(alone, found, rtol=0.05, atol=0.05)
    weights = torch.randn_like(found)
    gradients = torch.autograd.grad((found * weights).sum(), [x, folded[0].weight])
    references = torch.autograd.grad((expected * weights.float()).sum(), [x, folded[0].weight])
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-4)
