"""In float32 our Mask R-CNN gives torchvision's losses, gradients and detections, from the same checkpoint.

Both get the same state, under which they answer as a trained network does (lively_networks.py); the other side is
torchvision's model with its own transform, RoIAlign, sampling, losses on full planes, and pasting.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN

from segtrain import masks
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.targets import Target
from tests.helpers.lively_networks import ALL_SAMPLED, COUNTS, SMALL_INPUT, WIDTHS, lively_state
from tests.helpers.tiny_networks import CLASSES, picture, planes, stock, tiny

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with real data")
IMAGES = 20  # of each data set

BATCH = [picture(0, 128, 160, 5), picture(1, 150, 128, 0), picture(2, 110, 116, 3)]
NETWORKS = [
    pytest.param("mobilenet_v2_fpn", WIDTHS),
    pytest.param("resnet18_fpn", WIDTHS),
    pytest.param("resnet50_fpn", {}, marks=pytest.mark.slow),  # its widths are torchvision's own
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
    shape = SMALL_INPUT | COUNTS | changes
    state = lively_state(stock(architecture, classes, **shape | {"norm": "batch"}), images, seed=0)
    ours = tiny(architecture, classes, **shape, mask_paste="torchvision")
    theirs = stock(architecture, classes, **shape)
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
    ours, theirs = pair(architecture, [image for image, _ in BATCH], **shape, **ALL_SAMPLED, positive_fraction=0.5)
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


Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # boxes, labels, scores, planes


def our_detections(model: MaskRCNN, image: Tensor) -> Found:
    (found,) = model.segment([image])
    planes = [masks.decode(rle) for rle in found.rles]
    return found.boxes, found.labels, found.scores, np.array(planes, dtype=bool).reshape(-1, *found.size)


def stock_detections(model: StockMaskRCNN, image: Tensor) -> Found:
    """Of an image of 0 to 1."""
    with torch.inference_mode():
        found = model.eval()([image])[0]
    boxes, labels, scores = (found[name].numpy() for name in ("boxes", "labels", "scores"))
    return boxes, labels, scores, (found["masks"][:, 0] > 0.5).numpy()


def difference(found: Found, expected: Found) -> str:
    """Empty where count and labels are the same, boxes to 1e-3 px, scores to 1e-5, masks to 0.1 % of their image.

    Two detections whose scores differ by less than that may come in either order.
    """
    if len(found[0]) != len(expected[0]):
        return f"{len(found[0])} detections instead of {len(expected[0])}"
    same = np.abs(found[0][:, None] - expected[0]).max(axis=-1) <= 1e-3
    same &= found[1][:, None] == expected[1]
    same &= np.abs(found[2][:, None] - expected[2]) <= 1e-5
    if (same.sum(axis=0) != 1).any() or (same.sum(axis=1) != 1).any():
        return f"{(~same.any(axis=1)).sum()} detections of {len(same)} are others"
    if not len(same):
        return ""
    wrong = (found[3] != expected[3][same.argmax(axis=1)]).sum(axis=(1, 2))
    if (wrong > 1e-3 * found[3][0].size).any() or wrong.sum() > 1e-3 * expected[3].sum():
        return f"{wrong.sum()} pixels of {expected[3].sum()} differ, {wrong.max()} in one mask"
    return ""


def is_undecided(theirs: StockMaskRCNN, image: Tensor, expected: Found) -> bool:
    """Whether torchvision's own answer changes with noise of the size of rounding, which varies with the processor.

    Regions of one colour give equal scores, and some overlaps lie at a threshold of suppression.
    """
    generator = torch.Generator().manual_seed(0)
    noise = (3e-6 * torch.randn(image.shape, generator=generator) for _ in range(10))
    return any(difference(stock_detections(theirs, image + n), expected) for n in noise)


def assert_same_on(ours: MaskRCNN, theirs: StockMaskRCNN, images: Iterable[Tensor], count: int) -> None:
    """On the first images, up to a number, that torchvision itself is sure about."""
    agreed, undecided, detections = 0, 0, 0
    for image in images:
        found, expected = our_detections(ours, image), stock_detections(theirs, image / 255)
        if differs := difference(found, expected):
            assert is_undecided(theirs, image / 255, expected), differs
            undecided += 1
            continue
        agreed, detections = agreed + 1, detections + len(found[0])
        if agreed == count:
            break
    assert agreed == count
    assert undecided <= count / 4
    assert detections > 20 * count, "too few answers to compare"


@pytest.mark.parametrize(("architecture", "shape"), NETWORKS)
def test_detections_on_drawn_images(architecture: str, shape: dict[str, Any]) -> None:
    images = [picture(number, 160 - 9 * number, 120 + 11 * number, 6)[0] for number in range(4)]
    assert_same_on(*pair(architecture, images[:3], **shape), images, len(images))


def images_of(folder: Path) -> Iterator[Tensor]:
    for path in sorted(folder.iterdir()):
        with Image.open(path) as file:
            yield torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1).contiguous()


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
    folder = REAL / "nuclei" / "images" / "val"
    first = list(islice(images_of(folder), 2))
    assert_same_on(*pair("mobilenet_v2_fpn", first, ["nucleus"], **shape), images_of(folder), IMAGES)


@pytest.mark.slow
@needs_real_data
def test_detections_on_coco() -> None:
    """torchvision's own network, anchors and counts; smaller images, for time."""
    shape = {"anchor_sizes": [[32], [64], [128], [256], [512]], "min_size": 512, "max_size": 853}
    folder = REAL / "coco" / "val2017"
    first, classes = list(islice(images_of(folder), 1)), [f"thing {n}" for n in range(90)]
    assert_same_on(*pair("resnet50_fpn", first, classes, **shape), images_of(folder), IMAGES)
