"""Our Mask R-CNN computes what torchvision's computes: losses, gradients, detections, names."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from segtrain import masks
from segtrain.segmenters import Segmenter, Trainable
from segtrain.segmenters.mask_rcnn import mask_geometry
from segtrain.segmenters.mask_rcnn import model as model_module
from segtrain.segmenters.mask_rcnn.mask_paste import paste_masks
from segtrain.segmenters.mask_rcnn.model import MaskRCNN, own_class_logits
from segtrain.segmenters.mask_rcnn.rpn import CentredAnchorGenerator
from segtrain.targets import Target
from tests.helpers.tiny_networks import ANCHORS, ARCHITECTURES, CLASSES, picture, planes, stock, tiny

# The large networks cost seconds each: among the quick tests they only detect.
LARGE = pytest.mark.slow
NORMS = [
    *[(name, norm) for name in ARCHITECTURES[:2] for norm in ("frozen", "batch")],
    pytest.param("resnet50_fpn", "frozen", marks=LARGE),
    pytest.param("resnet50_fpn", "batch", marks=LARGE),
    pytest.param("resnet50_fpn_v2", "frozen", marks=LARGE),
    pytest.param("resnet50_fpn_v2", "batch", marks=LARGE),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pair(architecture: str, **changes: Any) -> tuple[MaskRCNN, StockMaskRCNN]:
    """Ours and torchvision's, with the same weights and with statistics that are not neutral."""
    changes = {"min_size": 96, "scale": None, "max_size": 128} | changes
    ours, theirs = tiny(architecture, **changes, mask_paste="torchvision"), stock(architecture, **changes)
    generator = torch.Generator().manual_seed(1)
    state = ours.state_dict()
    for name, value in state.items():
        if name.endswith(("running_var", "bn1.weight", "bn2.weight")):
            state[name] = 0.8 + 0.4 * torch.rand(value.shape, generator=generator)
        elif name.endswith("running_mean"):
            state[name] = 0.1 * torch.randn(value.shape, generator=generator)
    ours.load_state_dict(state)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    # In our memory format: the kernels of the other one round differently, which statistics of small batches magnify.
    return ours, theirs.to(memory_format=torch.channels_last)


BATCH = [picture(0, 96, 128, 5), picture(1, 120, 90, 0), picture(2, 70, 64, 3)]


@pytest.mark.parametrize("size", [(0, 14, 14), (3, 14, 14), (2, 5, 7)])
def test_logits_of_the_own_class_are_those_of_the_whole_predictor(size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    predictor = MaskRCNNPredictor(6, 4, 3)
    labels = torch.tensor([2, 1, 2])[: size[0]]
    results = []
    inputs = torch.randn(size[0], 6, *size[1:])
    for function in (
        lambda x: predictor(x)[torch.arange(len(x)), labels],
        lambda x: own_class_logits(predictor, x, labels),
    ):
        x = inputs.clone().requires_grad_()
        predictor.zero_grad()
        output = function(x)
        output.square().sum().backward()
        results.append([output, x.grad, *(p.grad.clone() for p in predictor.parameters())])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_gradients_of_the_mask_predictor_repeat_themselves() -> None:
    """At a size at which torch adds up the gradient of an index in parallel, in any order."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    predictor = MaskRCNNPredictor(256, 256, 91)
    labels, x = torch.randint(1, 4, (256,)), torch.randn(256, 256, 1, 1)
    gradients = []
    for _ in range(10):
        predictor.zero_grad()
        own_class_logits(predictor, x, labels).square().sum().backward()
        gradients.append(predictor.mask_fcn_logits.weight.grad.clone())
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def our_losses(model: MaskRCNN, batch: list[tuple[Tensor, Target]]) -> dict[str, Tensor]:
    torch.manual_seed(7)
    for _ in batch:  # torchvision's transform draws one of its min_sizes for each image
        torch.empty(1).uniform_()
    return model.train().losses([image for image, _ in batch], [target for _, target in batch])


def stock_losses(model: StockMaskRCNN, batch: list[tuple[Tensor, Target]]) -> dict[str, Tensor]:
    torch.manual_seed(7)
    targets = [{"boxes": t.boxes, "labels": t.labels, "masks": planes(image, t)} for image, t in batch]
    losses: dict[str, Tensor] = model.train()([image / 255 for image, _ in batch], targets)
    return losses


def assert_same_losses(ours: MaskRCNN, theirs: StockMaskRCNN, batch: list[tuple[Tensor, Target]]) -> None:
    mine, expected = our_losses(ours, batch), stock_losses(theirs, batch)
    assert mine.keys() == expected.keys()
    for name, value in expected.items():
        assert mine[name].dtype == torch.float32
        torch.testing.assert_close(mine[name], value, rtol=1e-4, atol=1e-6, msg=name)
    torch.stack(list(mine.values())).sum().backward()
    torch.stack(list(expected.values())).sum().backward()
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    references = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    assert gradients.keys() == references.keys()
    for name, reference in references.items():
        error, size = (gradients[name] - reference).norm(), reference.norm()
        assert error <= 5e-3 * size + 1e-4, f"{name}: {error} of {size}"


@pytest.mark.parametrize(("architecture", "norm"), NORMS)
def test_losses_and_gradients_are_torchvisions(architecture: str, norm: str) -> None:
    """Three sizes in one batch, one image without objects."""
    assert_same_losses(*pair(architecture, norm=norm), BATCH)


@pytest.mark.parametrize("changes", [{"frozen_stages": 3}, {"anchor_sizes": [[4, 6]] * 5}, {"rois_per_image": 64}])
def test_losses_under_other_settings(changes: dict[str, Any]) -> None:
    assert_same_losses(*pair("resnet18_fpn", **changes), BATCH[::-1])


def test_a_batch_without_objects_trains() -> None:
    ours, theirs = pair("mobilenet_v2_fpn")
    assert_same_losses(ours, theirs, [BATCH[1], picture(9, 80, 80, 0)])
    losses = our_losses(ours, [BATCH[1]])
    assert losses["loss_mask"] == 0
    assert losses["loss_objectness"] > 0


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_training_without_objects_in_bfloat16(norm: str) -> None:
    model = tiny(norm=norm)
    model.precision = "bf16"
    terms = our_losses(model, [BATCH[1]])
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_bfloat16_losses_are_close_and_float32() -> None:
    model = tiny("resnet18_fpn")
    exact = our_losses(model, BATCH)
    model.precision = "bf16"
    rough = our_losses(model, BATCH)
    for name, value in exact.items():
        assert rough[name].dtype == torch.float32
        torch.testing.assert_close(rough[name], value, rtol=0.15, atol=0.02, msg=name)
    assert any(rough[name] != exact[name] for name in exact)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("architecture", "norm"),
    [
        ("resnet18_fpn", "frozen"),
        ("mobilenet_v2_fpn", "batch"),
        pytest.param("resnet50_fpn", "batch", marks=LARGE),
        ("resnet50_fpn_v2", "frozen"),
    ],
)
def test_detections_are_torchvisions(architecture: str, norm: str) -> None:
    ours, theirs = pair(architecture, norm=norm)
    for image, _ in BATCH:
        (found,), (expected,) = ours.segment([image]), infer(theirs, image)
        assert len(found) == len(expected["scores"]) > 0
        np.testing.assert_array_equal(found.labels, expected["labels"])
        np.testing.assert_allclose(found.scores, expected["scores"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.boxes, expected["boxes"], rtol=1e-4, atol=2e-3)
        assert found.size == tuple(image.shape[1:])
        for rle, plane in zip(found.rles, expected["masks"][:, 0] > 0.5, strict=True):
            # A probability within rounding of 0.5, or a box edge within rounding of a pixel's, may fall on either side.
            assert (masks.decode(rle) != plane.numpy()).sum() <= max(2, 0.01 * plane.sum())


def infer(model: StockMaskRCNN, image: Tensor) -> list[dict[str, Tensor]]:
    with torch.inference_mode():
        found: list[dict[str, Tensor]] = model.eval()([image / 255])
    return found


def test_segmenting_one_image_or_several_is_the_same() -> None:
    model = tiny("resnet18_fpn")
    images = [image for image, _ in BATCH]
    for alone, together in zip([model.segment([i])[0] for i in images], model.segment(images), strict=True):
        np.testing.assert_array_equal(alone.boxes, together.boxes)
        assert alone.rles == together.rles


def test_segmenting_leaves_the_mode_and_asks_for_no_gradients() -> None:
    model = tiny()
    assert isinstance(model, Segmenter)
    assert isinstance(model, Trainable)
    statistics = tiny(norm="batch").train()
    before = {name: value.clone() for name, value in statistics.state_dict().items()}
    statistics.segment([BATCH[0][0]])
    assert statistics.training
    assert all(torch.equal(value, before[name]) for name, value in statistics.state_dict().items())
    model.eval().segment([BATCH[0][0]])
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def filling(**changes: Any) -> MaskRCNN:
    """A network whose masks fill their boxes."""
    network = tiny(**changes)
    torch.nn.init.constant_(network.roi_heads.mask_predictor.mask_fcn_logits.bias, 5.0)
    return network


def test_boxes_of_masks() -> None:
    image, _ = picture(3, 96, 110, 4)
    (predicted,) = filling().segment([image])
    (tight,) = filling(boxes="mask").segment([image])
    assert tight.rles == predicted.rles
    assert predicted.predicted_boxes is None
    np.testing.assert_array_equal(tight.predicted_boxes, predicted.boxes)
    filled = masks.area(tight.rles) > 0
    assert (tight.boxes != predicted.boxes).any()
    np.testing.assert_array_equal(tight.boxes[filled], masks.boxes(tight.rles)[filled])
    np.testing.assert_array_equal(tight.boxes[~filled], predicted.boxes[~filled])


def test_masks_are_pasted_with_the_networks_shift() -> None:
    """Half an input pixel without alignment, nothing with it; the mode of pasting changes nothing but masks."""
    image, _ = picture(3, 96, 110, 4)
    plain, aligned = (filling(aligned=value) for value in (False, True))
    for network, shift in ((plain, 0.5), (aligned, 0.0)):
        used: list[Any] = []

        def spy(*given: Any, used: list[Any] = used) -> Any:
            used.append(given)
            return paste_masks(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mask_geometry, "paste_masks", spy)
            (found,) = network.segment([image])
        ((probabilities, boxes, size, given),) = used
        assert (size, given) == ((96, 110), (shift, shift))
        np.testing.assert_array_equal(boxes.numpy(), found.boxes)
        assert found.rles == paste_masks(probabilities, boxes, size, (shift, shift))
    (exact,) = plain.segment([image])
    plain.mask_paste = "torchvision"
    (cut,) = plain.segment([image])
    np.testing.assert_array_equal(cut.boxes, exact.boxes)
    assert cut.rles != exact.rles


def test_the_network_passes_its_alignment_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """To pooling, to mask targets, and to anchors."""
    seen: list[tuple[str, bool]] = []
    pyramid, targets = model_module.FeaturePyramid, model_module.sample_targets

    def build(*given: Any, **settings: Any) -> Any:
        made = pyramid(*given, **settings)
        seen.append(("pooling", made._aligned))
        return made

    def sample(*given: Any, aligned: bool) -> Any:
        seen.append(("targets", aligned))
        return targets(*given, aligned=aligned)

    monkeypatch.setattr(model_module, "FeaturePyramid", build)
    monkeypatch.setattr(model_module, "sample_targets", sample)
    for aligned in (False, True):
        network = tiny(aligned=aligned)
        network.train().losses([image for image, _ in BATCH], [target for _, target in BATCH])
        assert seen == [("pooling", aligned), ("targets", aligned)]
        assert isinstance(network.rpn.anchor_generator, CentredAnchorGenerator) == aligned
        seen.clear()


def test_scores_times_the_mean_over_the_masks_cells() -> None:
    """The same detections, each with its class score times its mask's confidence, best first again."""
    image, _ = picture(3, 96, 110, 4)
    seen: list[Tensor] = []
    plain, scored = (filling(min_size=120, scale=None) for _ in range(2))
    scored.mask_scoring = "mean_confidence"
    with pytest.MonkeyPatch.context() as patch:
        confidence = model_module.mask_confidence

        def spy(probabilities: Tensor) -> Tensor:
            seen.append(probabilities)
            return confidence(probabilities)

        patch.setattr(model_module, "mask_confidence", spy)
        before, after = plain.segment([image])[0], scored.segment([image])[0]
    (probabilities,) = seen
    means = [float(p[p > 0.5].mean()) if (p > 0.5).any() else 0.0 for p in probabilities]
    expected = before.scores * np.array(means, dtype=np.float32)
    order = np.argsort(-expected, kind="stable")
    assert len(before) > 3
    np.testing.assert_allclose(after.scores, expected[order], rtol=1e-6)
    np.testing.assert_array_equal(after.boxes, before.boxes[order])
    assert list(after.rles) == [before.rles[index] for index in order]


def test_nothing_found() -> None:
    found = tiny(min_score=1.0).segment([BATCH[0][0]])[0]
    assert len(found) == 0
    assert found.size == (96, 128)


def test_weights_that_are_not_numbers_give_losses_that_are_not_numbers() -> None:
    """The trainer reports them; nothing on the way may fail on them before."""
    model = tiny()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    assert any(not torch.isfinite(value) for value in our_losses(model, BATCH).values())
    assert len(model.segment([BATCH[0][0]])[0]) == 0


@pytest.mark.few(2)
@pytest.mark.parametrize("architecture", ["resnet50_fpn", "resnet50_fpn_v2"])
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_the_state_fits_the_stock_model_and_back(architecture: str, norm: str) -> None:
    ours = tiny(architecture, norm=norm, anchor_sizes=[[32], [64], [128], [256], [512]])
    builder = torchvision.models.get_model_builder(f"maskrcnn_{architecture}")
    theirs = builder(weights=None, weights_backbone=None, num_classes=len(CLASSES) + 1)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    # As a file holds it: plain, without what torch notes beside it.
    ours.load_state_dict(dict(theirs.state_dict()), strict=True)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("architecture", ARCHITECTURES[:2])
def test_the_small_networks_have_four_true_strides(architecture: str) -> None:
    model = tiny(architecture).eval()
    with torch.inference_mode():
        maps = list(model.backbone(torch.zeros(1, 3, 128, 192)).values())
    assert [tuple(m.shape[-2:]) for m in maps] == [(128 // s, 192 // s) for s in (4, 8, 16, 32, 64)]


def stage_of(name: str) -> int:
    """Stage of a backbone parameter's name; torchvision's order, written out again."""
    first = name.split(".")[0]
    if not first.isdigit():
        return int(first[-1]) if first.startswith("layer") else 0
    return sum(int(first) >= border for border in (2, 4, 7, 14))


@pytest.mark.parametrize("architecture", ARCHITECTURES[:2])
@pytest.mark.parametrize("stages", [0, 1, 3, 5])
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_frozen_stages_do_not_learn(architecture: str, stages: int, norm: str) -> None:
    model = tiny(architecture, frozen_stages=stages, norm=norm)
    for name, parameter in model.backbone.body.named_parameters():
        assert parameter.requires_grad == (stage_of(name) >= stages), name
    assert all(p.requires_grad for part in (model.backbone.fpn, model.rpn, model.roi_heads) for p in part.parameters())


def test_stages_are_torchvisions() -> None:
    """``trainable_backbone_layers=n`` there freezes the other 5 - n."""
    theirs = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    body = theirs.backbone.body
    for stages in (2, 3):
        trained = ["layer4", "layer3", "layer2", "layer1"][: 5 - stages]
        ours = stock("resnet50_fpn", frozen_stages=stages, min_size=96).backbone.body
        for name, parameter in ours.named_parameters():
            assert parameter.requires_grad == name.startswith(tuple(trained)), name
        assert dict(ours.named_parameters()).keys() <= dict(body.named_parameters()).keys()


NORMALISATION = (torch.nn.BatchNorm2d, FrozenBatchNorm2d)


def frozen_norms(model: MaskRCNN) -> bool:
    kinds = {isinstance(m, FrozenBatchNorm2d) for m in model.modules() if isinstance(m, NORMALISATION)}
    assert len(kinds) == 1
    return kinds.pop()


def test_norm_auto_is_frozen_where_there_are_weights_to_start_from() -> None:
    assert not frozen_norms(tiny(norm="auto"))
    assert frozen_norms(tiny(norm="auto", weights="IMAGENET1K_V1", initialise=False))
    assert not frozen_norms(tiny(norm="batch", weights="IMAGENET1K_V1", initialise=False))
    assert frozen_norms(tiny(norm="frozen"))


def test_anchors_are_the_settings() -> None:
    sizes = [[4, 5], [8, 9], [16, 17], [32, 33], [64, 65]]
    generator = tiny(anchor_sizes=sizes, anchor_ratios=[1.0, 2.0]).rpn.anchor_generator
    assert isinstance(generator, AnchorGenerator)
    assert generator.sizes == ((4, 5), (8, 9), (16, 17), (32, 33), (64, 65))
    assert generator.num_anchors_per_location() == [4] * 5
    assert tiny().rpn.anchor_generator.sizes == ANCHORS
