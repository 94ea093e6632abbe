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


def folded_relu6(**arguments: int) -> nn.Sequential:
    """A convolution, a frozen normalisation and a ReLU6, folded."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, bias=False, **arguments), FrozenBatchNorm2d(6), nn.ReLU6(True))
    module[1].weight.fill_(4.0)  # some values then exceed 6
    fold_frozen_norms(module)
    assert type(module[2]) is nn.Identity
    return module


def test_relu6_is_folded_only_where_it_follows() -> None:
    norm, conv = FrozenBatchNorm2d(2), nn.Conv2d(2, 2, 1)
    module = nn.Sequential(conv, norm, nn.Sequential(nn.ReLU6()), nn.ReLU6(), copy.deepcopy(conv), nn.ReLU6())
    fold_frozen_norms(module)
    assert not module[0].clamps
    assert sum(type(layer) is nn.ReLU6 for layer in module.modules()) == 3


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_an_optimizer_step_and_a_moving_average_take_effect(training: bool, fused: bool) -> None:
    """What is kept for inference is computed anew once weights have changed, in the network and in its copy."""
    module = folded_relu6().train(training)
    average = copy.deepcopy(module)
    images = torch.randn(1, 6, 8, 8)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, fused=fused)

    def outputs() -> list[Tensor]:
        with torch.inference_mode():
            found = [network.eval()(images) for network in (module, average)]
        module.train(training)
        return found

    for _ in range(3):
        before = outputs()
        module(images).sum().backward()
        if training:  # in between, as if images were drawn before a step
            outputs()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 0.5)
        for found, old, network in zip(outputs(), before, (module, average), strict=True):
            assert not torch.equal(found, old)
            assert torch.equal(found, network(images))


def test_precision_can_change_between_images() -> None:
    module, images = folded_relu6(), torch.randn(1, 6, 8, 8)
    with torch.inference_mode():
        first = module(images)
        with torch.autocast("cpu", torch.bfloat16):
            half = module(images)
        again = module(images)
    assert half.dtype == torch.bfloat16
    assert torch.equal(first, again)
    torch.testing.assert_close(half.float(), first, rtol=0.05, atol=0.1)


def test_weights_made_in_inference_mode() -> None:
    with torch.inference_mode():
        module = folded_relu6()
        images = torch.randn(1, 6, 8, 8)
        before = module(images)
        module[0].weight.mul_(2)
        assert not torch.equal(module(images), before)


def test_a_frozen_kernel_serves_training_after_inference() -> None:
    module = folded_relu6()
    module[0].weight.requires_grad_(False)
    images = torch.randn(1, 6, 8, 8, requires_grad=True)
    with torch.inference_mode():
        module(images)
    module(images).sum().backward()
    assert images.grad is not None
