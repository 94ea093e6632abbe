"""Steps that are not finite or do not fit: kept, left out, repeated, or divided."""

import io
import json
import logging
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.cli.main import main
from segtrain.data.coco.index import CocoIndex
from segtrain.data.loader import Batch
from segtrain.errors import SegtrainError
from segtrain.segmenters import Trainable
from segtrain.training.checkpoint import load_checkpoint
from segtrain.training.gradients import Gradients, OutOfMemoryError
from segtrain.training.nan_bundle import StepReport, replay_bundle
from tests.helpers.tiny_networks import CLASSES, picture, settings, tiny
from tests.helpers.tiny_runs import Run, checkpoint, unet_run, write_data
from tests.helpers.unet import UNet


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CocoIndex:
    return write_data(tmp_path_factory.mktemp("data"))


def explode_at(monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
    """Make some calls of the loss infinite, counted from 1."""
    original, count = UNet.losses, [0]

    def losses(self: UNet, *arguments: Any) -> dict[str, torch.Tensor]:
        count[0] += 1
        terms = original(self, *arguments)
        return {name: value * math.inf for name, value in terms.items()} if count[0] in calls else terms

    monkeypatch.setattr(UNet, "losses", losses)


def unet_checkpoint() -> Any:
    segmenter = {"_target_": "tests.helpers.unet.UNet", "_partial_": True, "width": 4}
    return checkpoint(config={**checkpoint().config, "segmenter": segmenter})


def strict_json(path: Path) -> dict[str, Any]:
    """Content of a file that is JSON also for other parsers than Python's."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    content: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return content


def test_a_step_is_left_out_and_counted(index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explode_at(monkeypatch, {2})
    run = unet_run(index, tmp_path / "checkpoints", start=unet_checkpoint(), changes={"on_nan": "skip"})
    trainer = run.trainer()
    take, weights = trainer._train_step, []

    def step(group: Any) -> None:
        take(group)
        weights.append({name: value.clone() for name, value in trainer.learner.segmenter.state_dict().items()})

    trainer._train_step = step  # type: ignore[method-assign]
    trainer.fit()
    assert len(weights) == 6
    for name, value in weights[1].items():
        if "num_batches_tracked" not in name:
            assert torch.equal(value, weights[0][name]), name
    assert run.curve("train/steps_left_out") == [0, 1, 1, 1, 1, 1]
    assert math.isnan(run.curve("train/gradient_norm")[1])
    report = strict_json(tmp_path / "nan" / "step_1" / "report.json")
    assert report["losses"] == {"loss_pixels": "inf"}
    assert report["not_finite"] == {}
    parts = {"down.0", "middle.0", "middle.1", "up.0", "classify.weight", "classify.bias"}
    assert report["gradient_norms"].keys() == parts
    assert len(report["images"]) == 2


def test_norms_tell_which_part_has_an_infinite_gradient(index: CocoIndex, tmp_path: Path) -> None:
    """The loss is finite: its root has an infinite slope at 0."""

    class Steep(UNet):
        def losses(self, *arguments: Any) -> dict[str, torch.Tensor]:
            return super().losses(*arguments) | {"loss_root": (self.down[0].bias * 0).sum().sqrt()}

    run = Run(index, tmp_path / "checkpoints", start=unet_checkpoint(), network=lambda: Steep(CLASSES, width=4))
    with pytest.raises(SegtrainError, match="the gradient is not finite at step 0"):
        run.fit()
    report = strict_json(tmp_path / "nan" / "step_0" / "report.json")
    assert report["losses"]["loss_root"] == 0
    norms = report["gradient_norms"]
    assert norms.pop("down.0") == "nan"
    assert all(0 < norm < math.inf for norm in norms.values())


def test_a_part_of_a_step_is_named_as_such(index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explode_at(monkeypatch, {1})
    one_of_two = lambda *numbers: StepReport(*numbers[:-1], "process 0 of 2")  # noqa: E731
    monkeypatch.setattr("segtrain.training.trainer.StepReport", one_of_two)
    with pytest.raises(SegtrainError, match="segtrain replay"):
        unet_run(index, tmp_path / "checkpoints", start=unet_checkpoint()).fit()
    bundle = tmp_path / "nan" / "step_0"
    assert strict_json(bundle / "report.json")["process"] == "process 0 of 2"
    assert replay_bundle(bundle, trust=["tests"]).lines()[0].startswith("step 0, the part of process 0 of 2, images ")


def test_bundles_of_many_steps_left_out_do_not_fill_the_disk(
    index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("segtrain.training.trainer.BUNDLES", 1)
    explode_at(monkeypatch, {1, 3})
    run = unet_run(index, tmp_path / "checkpoints", start=unet_checkpoint(), changes={"on_nan": "skip"})
    run.fit()
    assert [path.name for path in (tmp_path / "nan").iterdir()] == ["step_0"]
    assert any(message.endswith("left out, 2 so far, of which the first 1 are kept") for message in caplog.messages)


def test_a_resumed_state_that_explodes_names_the_best_weights(
    index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    unet_run(index, folder, start=unet_checkpoint(), changes={"max_steps": 2}).fit()
    resumed = load_checkpoint(folder / "last.pt")
    explode_at(monkeypatch, {1})
    with pytest.raises(SegtrainError, match=r"begin another run with segmenter.weights=\S+best.pt$"):
        unet_run(index, folder, start=resumed, changes={"max_steps": 4}).fit()


def test_three_in_a_row_end_a_training(index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explode_at(monkeypatch, {2, 3, 4})
    changes = {"on_nan": "skip", "checkpoint_minutes": 1e-9}
    run = unet_run(index, tmp_path / "checkpoints", start=unet_checkpoint(), changes=changes)
    with pytest.raises(SegtrainError, match=r"not finite at step 3 .*; segtrain replay \S+/nan/step_3 repeats"):
        run.fit()
    assert {path.name for path in (tmp_path / "nan").iterdir()} == {"step_1", "step_2", "step_3"}


def test_three_in_a_row_end_a_training_across_a_resumption(
    index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    explode_at(monkeypatch, {2, 3, 4})
    unet_run(index, folder, start=unet_checkpoint(), changes={"on_nan": "skip", "max_steps": 3}).fit()
    with pytest.raises(SegtrainError, match="not finite at step 3"):
        unet_run(index, folder, start=load_checkpoint(folder / "last.pt"), changes={"on_nan": "skip"}).fit()


def test_a_step_is_repeated_to_the_bit(index: CocoIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = settings(norm="batch", rois_per_image=16)  # those of the run's network
    node = {**checkpoint().config["segmenter"], **own}
    start = checkpoint(config={**checkpoint().config, "segmenter": node})
    run = Run(index, tmp_path / "checkpoints", start=start, changes={"checkpoint_minutes": 1e-9})
    trainer = run.trainer()
    take = trainer._train_step

    def step(group: Any) -> None:
        if trainer.state.step == 2:
            with torch.no_grad():
                trainer.learner.segmenter.backbone.fpn.layer_blocks[0][0].bias[:2] = math.nan
        take(group)

    trainer._train_step = step  # type: ignore[method-assign]
    with pytest.raises(SegtrainError, match="segtrain replay"):
        trainer.fit()
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt").step == 2  # the last good one
    bundle = tmp_path / "nan" / "step_2"
    report = strict_json(bundle / "report.json")
    assert report["not_finite"] == {"backbone.fpn.layer_blocks.0.0.bias": 2}
    again = vars(replay_bundle(bundle))
    for part in ("losses", "gradient_norms"):
        again[part] = {name: value if math.isfinite(value) else str(value) for name, value in again[part].items()}
    assert again == report
    assert main(["replay", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert "weights: 2 of backbone.fpn.layer_blocks.0.0.bias" in out
    assert "loss_mask: nan" in out
    assert main(["replay", str(tmp_path)]) == 1
    assert "step.pt: no such file" in capsys.readouterr().err
    assert_damage_is_told(bundle / "step.pt", capsys)


def assert_damage_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Replay damaged copies of a bundle's file: each ends in one line."""

    def told() -> str:
        assert main(["replay", str(path.parent)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {path}")
        return line

    content = path.read_bytes()
    whole = torch.load(io.BytesIO(content))
    changed = bytearray(content)
    changed[len(content) // 2] ^= 8
    path.write_bytes(changed)
    assert "does not match its checksum" in told()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert "would inflate to" in told()
    for field, value in {"class_names": 5, "config": {}, "model": {}, "precision": None}.items():
        torch.save({**whole, "checkpoint": {**whole["checkpoint"], field: value}}, path)
        told()
    torch.save({**whole, "batches": 3}, path)
    assert "not a bundle that can be read" in told()


def batch_of(count: int) -> Batch:
    pairs = [picture(number, 64, 64, 3 + number) for number in range(count)]
    return Batch([image for image, _ in pairs], [target for _, target in pairs], list(range(count)), [], count)


def gradients_of(network: Trainable, batches: list[Batch], most: int | None) -> tuple[list[torch.Tensor], Any]:
    """Return the gradients of batches on a device that holds ``most`` images at once."""
    network.train()
    forward = network.forward

    def limited(images: Any, targets: Any) -> Any:
        if most is not None and len(images) > most and torch.is_grad_enabled():
            raise OutOfMemoryError("CUDA out of memory")
        return forward(images, targets)

    network.forward = limited  # type: ignore[method-assign]

    def seed() -> None:
        torch.manual_seed(5)

    losses = Gradients(network).accumulate(batches, 7, seed)
    return [p.grad.clone() for p in network.parameters() if p.grad is not None], losses


def unet() -> Trainable:
    torch.manual_seed(0)
    network = UNet(CLASSES, width=4)
    network.middle[1] = torch.nn.Identity()  # batch statistics are those of each part
    return network


@pytest.mark.parametrize("most", [1, 2])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(most: int, caplog: pytest.LogCaptureFixture) -> None:
    batches = [batch_of(4), batch_of(3)]
    whole, losses = gradients_of(unet(), batches, None)
    with caplog.at_level(logging.WARNING):
        divided, found = gradients_of(unet(), batches, most)
    for first, second in zip(whole, divided, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)
    assert [pytest.approx(own) for own in losses] == found
    assert len(caplog.messages) == 1
    assert "image 0 with 3 objects; image 1 with 4 objects" in caplog.messages[0]
    assert "trainer.batch_size=2 avoids it" in caplog.messages[0]


def test_parts_of_regions_count_by_their_number() -> None:
    """Every anchor and region is sampled, so that there is no draw."""
    settings = {"rpn_anchors_per_image": 10**6, "rois_per_image": 10**4}
    batches = [batch_of(2)]
    whole, losses = gradients_of(tiny(**settings), batches, None)
    divided, found = gradients_of(tiny(**settings), batches, 1)
    assert losses[0] == pytest.approx(found[0], rel=1e-4)
    for first, second in zip(whole, divided, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_an_image_that_does_not_fit_alone() -> None:
    with pytest.raises(SegtrainError, match=r"does not hold the step: image 0 with 3 objects; lower trainer"):
        gradients_of(unet(), [batch_of(1)], 0)
