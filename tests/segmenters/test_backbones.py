"""A new backbone: one entry of the table, from training to a checkpoint's weights."""

from pathlib import Path

import pytest
import torch
import torchvision

from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.backbones import BACKBONES, Backbone
from segtrain.segmenters.mask_rcnn.weights import load_weights
from tests.helpers.tiny_networks import CLASSES, picture, tiny


def regnet() -> torch.nn.Module:
    network = torchvision.models.regnet_y_400mf(weights=None)
    return torch.nn.Sequential(network.stem, *network.trunk_output)


REGNET = Backbone(
    body=regnet,
    levels={"1": "0", "2": "1", "3": "2", "4": "3"},
    channels=(48, 104, 208, 440),
    stages=(("0.",), ("1.",), ("2.",), ("3.",), ("4.",)),
    published=("RegNet_Y_400MF_Weights",),
)
RESNET34 = Backbone(
    body=lambda: torchvision.models.resnet34(weights=None),
    levels={f"layer{level + 1}": str(level) for level in range(4)},
    channels=(64, 128, 256, 512),
    stages=(("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("layer4.",)),
    published=("ResNet34_Weights",),
)


@pytest.mark.parametrize("backbone", [RESNET34, REGNET], ids=["resnet34", "regnet"])
def test_one_entry_is_enough(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "other_fpn", backbone)
    model = tiny("other_fpn", frozen_stages=2)
    frozen = [name for name, p in model.backbone.body.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(name.startswith((*backbone.stages[0], *backbone.stages[1])) for name in frozen)
    image, target = picture(0, 64, 96, 3)
    torch.stack(list(model.train().losses([image], [target]).values())).sum().backward()
    assert model.segment([image])[0].size == (64, 96)


def test_a_classifiers_weights_reach_the_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "resnet34_fpn", RESNET34)
    classifier = torchvision.models.resnet34(weights=None)
    torch.save(classifier.state_dict(), tmp_path / "resnet34.pth")
    model = tiny("resnet34_fpn")
    report = load_weights(model, str(tmp_path / "resnet34.pth"), "resnet34_fpn", CLASSES)
    assert set(report.unused) == {"fc.weight", "fc.bias"}
    assert torch.equal(model.backbone.body.layer4[2].conv2.weight, classifier.layer4[2].conv2.weight)


def test_an_unknown_backbone_is_named() -> None:
    with pytest.raises(
        SegtrainError, match=r"segmenter\.architecture=resnet34_fpn: no such backbone; did you mean resnet50"
    ):
        tiny("resnet34_fpn")
