"""In float32 our Mask R-CNN gives torchvision's losses, gradients and detections, from the same checkpoint.

Both get the same state, under which they answer as a trained network does (lively_networks.py); the other side is
torchvision's model with its own transform, RoIAlign, sampling, losses on full planes, and pasting.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lively_networks import lively_state
from PIL import Image
from tiny_networks import CLASSES, picture, planes, stock, tiny
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN

from segtrain import masks
from segtrain.instances import Instances
from segtrain.segmenters.mask_rcnn import MaskRCNN
from segtrain.targets import Target

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with real data")
IMAGES = 20  # of each data set

# More than there are anchors and proposals: every one of them is sampled, so that no draw matters.
EVERYTHING = 100_000
SMALL: dict[str, Any] = {
    "min_size": 128,
    "max_size": 256,
    "scale": None,
    "fpn_channels": 32,
    "box_head_width": 64,
    "mask_head_widths": [24, 16],
}
COUNTS: dict[str, Any] = {
    "rpn_candidates_train": 300,
    "rpn_proposals_train": 200,
    "rpn_candidates_test": 1000,
    "rpn_proposals_test": 1000,
    "detections_per_image": 100,
    "min_score": 0.05,
}
LARGE: dict[str, Any] = {"fpn_channels": 256, "box_head_width": 1024, "mask_head_widths": [256] * 4}
BATCH = [picture(0, 128, 160, 5), picture(1, 150, 128, 0), picture(2, 110, 116, 3)]
NETWORKS = [
    pytest.param("mobilenet_v2_fpn", {}),
    pytest.param("resnet18_fpn", {}),
    pytest.param("resnet50_fpn", LARGE, marks=pytest.mark.slow),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pair(
    architecture: str, images: Sequence[Tensor], classes: Sequence[str] = CLASSES, **changes: Any
) -> tuple[MaskRCNN, StockMaskRCNN]:
    """Ours and torchvision's with frozen normalisation and one state, made lively on some images."""
    shape = SMALL | COUNTS | changes
    state = lively_state(stock(architecture, classes, **shape | {"norm": "batch"}), images, seed=0)
    ours, theirs = tiny(architecture, classes, **shape), stock(architecture, classes, **shape)
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    return ours, theirs


def both_losses(
    ours: MaskRCNN, theirs: StockMaskRCNN, batch: Sequence[tuple[Tensor, Target]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    images, targets = [image for image, _ in batch], [target for _, target in batch]
    full = [{"boxes": t.boxes, "labels": t.labels, "masks": planes(image, t)} for image, t in batch]
    return ours.train().losses(images, targets), theirs.train()([image / 255 for image in images], full)


@pytest.mark.parametrize(("architecture", "shape"), NETWORKS)
def test_losses_and_every_gradient(architecture: str, shape: dict[str, Any]) -> None:
    """Each loss to 1e-4, each parameter's gradient to 1e-3: the norm of the difference over the norm."""
    sampled = {"rpn_anchors_per_image": EVERYTHING, "rois_per_image": EVERYTHING, "positive_fraction": 0.5}
    ours, theirs = pair(architecture, [image for image, _ in BATCH], **shape, **sampled)
    losses, expected = both_losses(ours, theirs, BATCH)
    assert losses.keys() == expected.keys()
    assert len(losses) == 5
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
        assert value > 1e-4, f"{name} says nothing"
    # Each term counts alike, or a small one's error hides behind the large ones.
    for terms in (losses, expected):
        torch.stack([value / expected[name].item() for name, value in terms.items()]).sum().backward()
    references = {name: parameter.grad for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.requires_grad}
    assert gradients.keys() == references.keys()
    assert len(gradients) > 50
    for name, reference in references.items():
        gradient = gradients[name]
        assert gradient is not None, name
        assert reference is not None, name
        assert reference.norm() > 0, name
        error = (gradient - reference).norm() / reference.norm()
        assert error <= 1e-3, f"{name}: {error}"


def stock_detections(model: StockMaskRCNN, image: Tensor) -> dict[str, Tensor]:
    with torch.inference_mode():
        return model.eval()([image / 255])[0]


def assert_same_detections(found: Instances, expected: dict[str, Tensor]) -> tuple[int, int]:
    """Count, labels, boxes to 1e-3 px, scores to 1e-5, masks to 0.1 % of the image's pixels.

    Two detections whose scores differ by less than that may come in either order.

    Returns:
        Pixels that differ, and pixels of torchvision's masks.
    """
    scores, boxes, labels = (expected[name].numpy() for name in ("scores", "boxes", "labels"))
    assert len(found) == len(scores)
    same = np.abs(found.scores[:, None] - scores) <= 1e-5
    same &= found.labels[:, None] == labels
    same &= np.abs(found.boxes[:, None] - boxes).max(axis=-1) <= 1e-3
    rank, partner = np.nonzero(same)
    assert np.array_equal(rank, np.arange(len(scores))), "ours alone, or ambiguous"
    assert np.array_equal(np.sort(partner), np.arange(len(scores))), "torchvision's alone"
    planes = (expected["masks"][:, 0] > 0.5).numpy()[partner]
    wrong = [int((masks.decode(rle) != plane).sum()) for rle, plane in zip(found.rles, planes, strict=True)]
    assert max(wrong) <= 1e-3 * planes[0].size
    return sum(wrong), int(planes.sum())


def assert_same_on(ours: MaskRCNN, theirs: StockMaskRCNN, images: Sequence[Tensor]) -> None:
    detections = wrong = pixels = 0
    for image in images:
        (found,), expected = ours.segment([image]), stock_detections(theirs, image)
        differing, size = assert_same_detections(found, expected)
        detections, wrong, pixels = detections + len(found), wrong + differing, pixels + size
    assert detections > 20 * len(images), "too few answers to compare"
    assert pixels > 10 * detections
    assert wrong <= 1e-3 * pixels


@pytest.mark.parametrize(("architecture", "shape"), NETWORKS)
def test_detections_on_drawn_images(architecture: str, shape: dict[str, Any]) -> None:
    images = [picture(number, 160 - 9 * number, 120 + 11 * number, 6)[0] for number in range(4)]
    assert_same_on(*pair(architecture, images[:3], **shape), images)


def first_images(folder: Path) -> list[Tensor]:
    paths = sorted(folder.iterdir())[:IMAGES]
    assert len(paths) == IMAGES
    arrays = [np.array(Image.open(path).convert("RGB")) for path in paths]
    return [torch.from_numpy(array).permute(2, 0, 1).contiguous() for array in arrays]


@pytest.mark.slow
@needs_real_data
def test_detections_on_nuclei() -> None:
    """The nuclei preset's network and counts."""
    shape = {
        "fpn_channels": 128,
        "box_head_width": 512,
        "mask_head_widths": [128, 128],
        "anchor_sizes": [[16], [32], [64], [128], [256]],
        "min_size": 512,
        "max_size": 1333,
        "rpn_proposals_test": 500,
        "detections_per_image": 400,
    }
    images = first_images(REAL / "nuclei" / "images" / "val")
    assert_same_on(*pair("mobilenet_v2_fpn", images[:2], ["nucleus"], **shape), images)


@pytest.mark.slow
@needs_real_data
def test_detections_on_coco() -> None:
    """torchvision's own network, anchors and counts; smaller images, for time."""
    shape = LARGE | {"anchor_sizes": [[32], [64], [128], [256], [512]], "min_size": 512, "max_size": 853}
    images = first_images(REAL / "coco" / "val2017")
    assert_same_on(*pair("resnet50_fpn", images[:1], [f"thing {n}" for n in range(90)], **shape), images)
