"""Parity of Mask R-CNN on a CUDA device with the CPU, from one state, in float32 and in bfloat16."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segtrain import masks
from segtrain.records import Instances
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from tests.helpers.lively_networks import ALL_SAMPLED, COUNTS, SMALL_INPUT, WIDTHS, lively_state
from tests.helpers.scripts import SMALL, data_of, run, write_data
from tests.helpers.tiny_networks import picture, stock, tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SETTINGS = SMALL_INPUT | WIDTHS | COUNTS | ALL_SAMPLED
BATCH = [picture(0, 128, 160, 5), picture(1, 150, 128, 0), picture(2, 110, 116, 3)]
IMAGES, TARGETS = [image for image, _ in BATCH], [target for _, target in BATCH]


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return lively_state(stock("mobilenet_v2_fpn", **SETTINGS | {"norm": "batch"}), IMAGES, seed=0)


def network(state: dict[str, Tensor], device: str, roi_align: str = "auto", aligned: bool = False) -> MaskRCNN:
    model = tiny("mobilenet_v2_fpn", **SETTINGS, roi_align=roi_align, aligned=aligned)
    model.load_state_dict(state)
    return model.to(device)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("roi_align", ["kernel", "gather"])
def test_losses_and_every_gradient(state: dict[str, Tensor], roi_align: str, aligned: bool) -> None:
    """Each loss to 1e-4, each parameter's gradient to 1e-3: the norm of the difference over the norm."""
    expected = network(state, "cpu", aligned=aligned).train()
    model = network(state, "cuda", roi_align, aligned).train()
    reference, losses = expected.losses(IMAGES, TARGETS), model.losses(IMAGES, TARGETS)
    for name, value in reference.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
    for terms in (reference, losses):
        torch.stack([value / reference[name].item() for name, value in terms.items()]).sum().backward()
    for (name, ours), theirs in zip(model.named_parameters(), expected.parameters(), strict=True):
        if theirs.requires_grad:
            assert ours.grad is not None, name
            assert theirs.grad is not None, name
            error = (ours.grad.cpu() - theirs.grad).norm() / theirs.grad.norm()
            assert error <= 1e-3, f"{name}: {error}"


@pytest.mark.parametrize("roi_align", ["kernel", "gather"])
def test_detections(state: dict[str, Tensor], roi_align: str) -> None:
    """Boxes to 1e-2 pixels, scores to 1e-4, masks to 0.1 % of the image."""
    expected = network(state, "cpu").segment(IMAGES)
    found = network(state, "cuda", roi_align).segment(IMAGES)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs) > 0
        order = match(ours, theirs)
        np.testing.assert_allclose(ours.boxes, theirs.boxes[order], atol=1e-2)
        np.testing.assert_allclose(ours.scores, theirs.scores[order], atol=1e-4)
        np.testing.assert_array_equal(ours.labels, theirs.labels[order])
        for rle, index in zip(ours.rles, order, strict=True):
            assert np.mean(masks.decode(rle) != masks.decode(theirs.rles[index])) <= 1e-3


def match(ours: Instances, theirs: Instances) -> list[int]:
    """The nearest box of the same label: detections of nearly equal scores may come in either order."""
    distance = np.abs(ours.boxes[:, None] - theirs.boxes).max(axis=-1)
    distance[ours.labels[:, None] != theirs.labels] = np.inf
    order = distance.argmin(axis=1)
    assert len(set(order.tolist())) == len(order)
    return [int(index) for index in order]


def test_bfloat16_losses(state: dict[str, Tensor]) -> None:
    """Within a few percent of float32: bfloat16 keeps eight bits."""
    expected, model = network(state, "cpu").train(), network(state, "cuda").train()
    model.precision = "bf16"
    reference, losses = expected.losses(IMAGES, TARGETS), model.losses(IMAGES, TARGETS)
    for name, value in reference.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=0.1), name
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_train_resume_and_evaluate(tmp_path: Path) -> None:
    arguments = [*data_of(write_data(tmp_path / "data")), *SMALL, "device=cuda", "trainer.precision=auto"]
    finished = run("train", *arguments, "output_dir=run", folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert "on cuda" in finished.out
    finished = run("train", *arguments, "output_dir=run", "resume=auto", "trainer.max_steps=4", folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert "done: 4 steps" in finished.out
    evaluation = ["methods=mask_rcnn", "checkpoint=run", "device=cuda", "output_dir=report", "bootstrap.resamples=10"]
    finished = run("evaluate", *evaluation, folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert results["environment"]["device"] == "cuda"
    assert (tmp_path / "report" / "report.html").exists()
