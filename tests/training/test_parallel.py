"""Several processes train as one that sees all of their images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from segtrain import distributed
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.splits import Split
from segtrain.evaluation import Detections, gathered
from segtrain.segmenters import Trainable
from segtrain.training.batch_size import choose_batch_size
from segtrain.training.forecast import announce
from segtrain.training.parallel import synchronise_norms
from segtrain.training.validation import Validation
from tests.helpers.processes import together
from tests.helpers.tiny_networks import CLASSES, tiny
from tests.helpers.tiny_runs import Run, write_data
from tests.helpers.unet import UNet


def all_drawn() -> Trainable:
    """A network whose losses look at every anchor and every region, so that nothing is left to chance."""
    return tiny(rpn_anchors_per_image=4000, rois_per_image=100, positive_fraction=1.0)


def unet() -> Trainable:
    torch.manual_seed(0)
    return UNet(CLASSES, width=4)


def trained(folder: Path, batch_size: int, network: Any, changes: dict[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    """Train on 7 images, the last of them without objects; return the curves and the averaged weights."""
    index = write_data(folder, images=7)
    settings = {"batch_size": batch_size, "epochs": None, "max_steps": 4, "validate_every": None, **changes}
    run = Run(index, folder, changes=settings, network=network)
    run.fit()
    return [values for _, values in run.entries], run.validated[-1][1]


def rehearsed(folder: Path) -> dict[str, Tensor]:
    """Train the U-Net of `all_parts` once more, after a forecast."""
    index = write_data(folder, images=7)
    changes = {"batch_size": 1, "epochs": None, "max_steps": 20, "validate_every": None, "accumulate_steps": 2}
    run = Run(index, folder, changes=changes, network=unet)
    trainer, dataset = run.trainer(), run.dataset()
    found = announce(trainer, dataset, Split("val", index, dataset.images), threshold_images=0, presets={})
    assert found is not None
    assert found.steps == 20
    trainer.settings = replace(trainer.settings, max_steps=4)
    trainer.fit()
    return run.validated[-1][1]


def impatient(folder: Path) -> tuple[int, str | None]:
    """Train the U-Net until its validations have not improved once."""
    index = write_data(folder, images=7)
    changes = {"batch_size": 1, "epochs": 9, "patience": 1}
    run = Run(index, folder / "impatient", changes=changes, network=unet, scores=[0.2, 0.1])
    trainer = run.trainer()
    trainer.fit()
    return trainer.state.step, trainer.state.ended


def validated(folder: Path) -> dict[str, float]:
    """Validate a network that finds something, on 5 images."""
    folder.mkdir()
    index = write_data(folder, images=5)
    split = Split("val", index, ImageReader(folder, exif="auto", max_pixels=10**6))
    validation = Validation(split, max_dets=10, score_threshold=0.1, show=lambda done: None, losses=True)
    return validation(all_drawn().eval(), 1)


def normalised(norm: nn.Module) -> list[Tensor]:
    """Normalise this process's part of three images; return all that comes of it."""
    torch.manual_seed(0)
    parts = torch.randn(3, 4, 5, 6, dtype=torch.float64).split([1, 2] if distributed.size() > 1 else [3])
    x = parts[distributed.rank()].contiguous(memory_format=torch.channels_last).requires_grad_()
    y = norm(x)
    (y**3).sum().backward()
    weight, bias = (parameter.grad for parameter in norm.parameters())
    assert x.grad is not None
    assert weight is not None
    assert bias is not None
    return [y.detach(), x.grad, *(buffer.clone() for buffer in norm.buffers()), weight, bias]


def normalised_together() -> list[Tensor]:
    """Normalise, and do it once more with a stand-in in the second process."""
    norm = synchronise_norms(nn.Sequential(nn.BatchNorm2d(4, dtype=torch.float64)), dist.new_group())[0]
    own = normalised(norm)
    norm.counts = distributed.is_first()
    assert norm.running_mean is not None
    before = norm.running_mean.clone()
    norm(torch.full((2, 4, 3, 3), 1.0 if norm.counts else 9.0, dtype=torch.float64))
    return [*own, (norm.running_mean - 0.9 * before) / 0.1]


def all_parts(folder: Path) -> dict[str, Any]:
    """Do everything in one go, because processes take seconds to start; each in its own folder."""
    folder = folder / f"{distributed.rank()}"
    folder.mkdir()
    ids = [7, 3, 9, 4, 1]
    own = distributed.share(ids)
    records: list[Any] = [{"image_id": i, "score": score} for i in own for score in (0.9, 0.5)]
    return {
        "mask_rcnn": trained(folder, 2, all_drawn, {}),
        "files": sorted(path.name for path in folder.glob("*.pt")),
        "unet": trained(folder, 1, unet, {"accumulate_steps": 2}),
        "rehearsed": rehearsed(folder),
        "batch_size": choose_batch_size(unet(), Run(write_data(folder), folder).dataset(), reserve=0),
        "gathered": gathered(Detections(records, None, True, 0.5, {"data": [float(i) for i in own]}), ids),
        "impatient": impatient(folder),
        "validated": validated(folder / "val"),
        "norm": normalised_together(),
        "same": distributed.differing(0),
        "other": distributed.differing(distributed.rank()),
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return together(2, all_parts, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize(
    ("name", "batch_size", "network", "accumulate"), [("mask_rcnn", 4, all_drawn, 1), ("unet", 2, unet, 2)]
)
def test_two_processes_take_the_steps_of_one(
    results: list[dict[str, Any]], tmp_path: Path, name: str, batch_size: int, network: Any, accumulate: int
) -> None:
    """7 images in batches of 4 or 2: in the last one, a process has fewer images than the other, or none."""
    curves, weights = trained(tmp_path, batch_size, network, {"accumulate_steps": accumulate})
    for result in results:
        found, shared = result[name]
        assert len(found) == len(curves)
        for ours, alone in zip(found, curves, strict=True):
            for term in alone:
                if term.startswith("train/loss") or term in ("train/gradient_norm", "train/epoch"):
                    assert ours[term] == pytest.approx(alone[term], rel=1e-5, abs=1e-6), term
        if name == "mask_rcnn":  # the U-Net has a bias before a norm, which moves at random
            for parameter, value in weights.items():
                torch.testing.assert_close(shared[parameter], value, rtol=1e-4, atol=1e-5, msg=parameter)


@pytest.mark.parametrize("name", ["mask_rcnn", "unet"])
def test_all_processes_hold_the_same_weights(results: list[dict[str, Any]], name: str) -> None:
    first, second = (result[name][1] for result in results)
    assert all(torch.equal(first[parameter], value) for parameter, value in second.items())


def test_a_forecast_changes_nothing(results: list[dict[str, Any]]) -> None:
    for result in results:
        assert all(torch.equal(result["unet"][1][name], value) for name, value in result["rehearsed"].items())


def test_all_processes_choose_one_batch_size(results: list[dict[str, Any]]) -> None:
    assert results[0]["batch_size"] == results[1]["batch_size"]


def test_only_the_first_process_writes(results: list[dict[str, Any]]) -> None:
    assert [result["files"] for result in results] == [["best.pt", "last.pt"], []]


def test_detections_come_in_the_order_of_the_images(results: list[dict[str, Any]]) -> None:
    found, nothing = (result["gathered"] for result in results)
    assert nothing is None
    assert [record["image_id"] for record in found.masks] == [7, 7, 3, 3, 9, 9, 4, 4, 1, 1]
    assert [record["score"] for record in found.masks] == [0.9, 0.5] * 5
    assert found.boxes is None
    assert found.seconds == {"data": [7.0, 3.0, 9.0, 4.0, 1.0]}


def test_validation_is_that_of_one_process(results: list[dict[str, Any]], tmp_path: Path) -> None:
    alone = validated(tmp_path / "val")
    assert alone["miou"] > 0
    for result in results:
        assert result["validated"] == pytest.approx(alone, abs=1e-9, nan_ok=True)


def test_all_processes_lose_their_patience_together(results: list[dict[str, Any]]) -> None:
    reason = "trainer.patience=1: 1 validation without a mask_ap above 0.2000 (step 4)"
    assert [result["impatient"] for result in results] == [(8, reason)] * 2


def test_norms_see_the_images_of_all_processes(results: list[dict[str, Any]]) -> None:
    alone = normalised(nn.BatchNorm2d(4, dtype=torch.float64))
    first, second = (result["norm"] for result in results)
    for place in (0, 1):  # output, and gradient of the input
        torch.testing.assert_close(torch.cat([first[place], second[place]]), alone[place])
    for place in (2, 3, 4):  # statistics, and their number
        for own in (first, second):
            torch.testing.assert_close(own[place], alone[place])
    for place in (5, 6):  # gradients of the parameters, which are averaged later
        torch.testing.assert_close(first[place] + second[place], alone[place])


def test_a_stand_in_does_not_count(results: list[dict[str, Any]]) -> None:
    for result in results:
        torch.testing.assert_close(result["norm"][-1], torch.ones(4, dtype=torch.float64))


def test_values_that_differ_are_found(results: list[dict[str, Any]]) -> None:
    for result in results:
        assert result["same"] == []
        assert result["other"] == [1]
