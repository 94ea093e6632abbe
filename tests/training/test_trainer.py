"""The training loop: it learns, stops in time, resumes to the bit, keeps the best, and reports what goes wrong."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.data.coco.index import CocoIndex
from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.training.checkpoint import Checkpoint, load_checkpoint
from segtrain.training.patience import Patience
from segtrain.training.trainer import Trainer
from tests.helpers.tiny_runs import Run, checkpoint, train_settings, unet_run, write_data
from tests.helpers.unet import UNet


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CocoIndex:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(index: CocoIndex, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs of three steps without a break."""
    run = Run(index, tmp_path_factory.mktemp("whole"))
    run.fit()
    return run


def assert_same(first: object, second: object, path: str = "") -> None:
    """To the bit, at any depth."""
    if isinstance(first, torch.Tensor):
        assert isinstance(second, torch.Tensor)
        assert torch.equal(first, second), path
    elif isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys(), path
        for key in first:
            assert_same(first[key], second[key], f"{path}.{key}")
    elif isinstance(first, list):
        assert isinstance(second, list)
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{path}[{number}]")
    else:
        assert first == second or (first != first and second != second), path


def last(run: Run) -> Checkpoint:
    return load_checkpoint(run.folder / "last.pt")


def test_the_loss_goes_down(index: CocoIndex, tmp_path: Path) -> None:
    run = Run(index, tmp_path, changes={"epochs": 8, "ema_decay": None, "validate_every": None})
    run.fit()
    losses = run.curve("train/loss")
    assert len(losses) == 24
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])


def test_every_number_of_a_step_is_recorded(whole: Run) -> None:
    terms = {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
    names = {f"train/{name}" for name in (*terms, "loss", "learning_rate", "gradient_norm", "images_per_second")}
    step, values = whole.entries[0]
    assert step == 1
    assert names <= values.keys()
    assert values["train/loss"] == pytest.approx(sum(values[f"train/{term}"] for term in terms))
    rates = whole.curve("train/learning_rate")
    ramp = [0.1, 0.55, 1, 1, 1, 1]
    decay = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]
    assert rates == pytest.approx([3e-3 * r * d for r, d in zip(ramp, decay, strict=True)])


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"epochs": 1}, 3),
        ({"epochs": None, "max_steps": 4}, 4),
        ({"epochs": 5, "max_steps": 2}, 2),
        ({"epochs": 1, "max_steps": 50}, 3),
        ({"epochs": None, "max_minutes": 0.0}, 0),
    ],
)
def test_training_ends_at_the_first_limit_and_with_a_validation(
    index: CocoIndex, tmp_path: Path, limits: dict[str, Any], steps: int
) -> None:
    run = unet_run(index, tmp_path, changes={"validate_every": None} | limits)
    run.fit()
    assert [step for step, _ in run.validated] == [steps]
    assert last(run).step == steps
    assert (tmp_path / "best.pt").exists()


def test_validations_come_every_few_epochs_and_never_twice(index: CocoIndex, tmp_path: Path) -> None:
    run = unet_run(index, tmp_path, changes={"epochs": 3, "validate_every": 2})
    run.fit()
    assert [step for step, _ in run.validated] == [6, 9]


def test_minutes_end_training_and_leave_validation_out(
    index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock of our own: a step takes 10 s, a validation 1000 s."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    run = unet_run(index, tmp_path, changes={"epochs": None, "max_minutes": 1.1})

    def slow(function: Any, seconds: float) -> Any:
        def call(*arguments: Any) -> Any:
            now[0] += seconds
            return function(*arguments)

        return call

    monkeypatch.setattr(UNet, "losses", slow(UNet.losses, 10.0))
    trainer = run.trainer()
    trainer.validate = slow(run.validate, 1000.0)
    trainer.fit()
    assert trainer.state.step == 7
    assert last(run).minutes == pytest.approx(70 / 60)
    assert run.curve("train/minutes")[-1] == pytest.approx(70 / 60)
    assert run.curve("validation/seconds") == [1000.0] * 3


@pytest.mark.parametrize("stop", [3, *(pytest.param(stop, marks=pytest.mark.slow) for stop in (1, 4))])
def test_a_resumed_run_is_the_run_without_a_break(index: CocoIndex, tmp_path: Path, whole: Run, stop: int) -> None:
    """Broken off behind a save: at the end of an epoch, and within one."""
    first = Run(index, tmp_path / "first", changes={"checkpoint_minutes": 1e-9})
    break_off(first.trainer(), stop)
    state = last(first)
    assert state.step == stop
    second = Run(index, tmp_path / "second", start=state)
    second.fit()
    assert_same(last(second).training, last(whole).training)
    assert_same(last(second).model, last(whole).model)
    assert second.curve("train/loss") == whole.curve("train/loss")[stop:]


class PowerCutError(Exception):
    pass


def break_off(trainer: Trainer, step: int) -> None:
    """Train until ``last.pt`` of this step is written, and no further."""
    save = trainer._save_last

    def cut() -> None:
        save()
        if trainer.state.step == step:
            raise PowerCutError

    trainer._save_last = cut  # type: ignore[method-assign]
    with pytest.raises(PowerCutError):
        trainer.fit()


def test_resuming_a_finished_run_does_nothing(index: CocoIndex, tmp_path: Path, whole: Run) -> None:
    again = Run(index, tmp_path, start=last(whole))
    assert again.fit() == 0.0
    assert again.validated == []
    assert again.entries == []


def test_a_finished_run_goes_on_with_a_higher_limit(index: CocoIndex, tmp_path: Path) -> None:
    first = unet_run(index, tmp_path / "first")
    first.fit()
    more = unet_run(index, tmp_path / "more", start=last(first), changes={"epochs": 3})
    more.fit()
    assert last(more).step == 9
    assert [step for step, _ in more.validated] == [9]


def test_resuming_with_other_batches_shows_the_rest_of_the_epoch(index: CocoIndex, tmp_path: Path) -> None:
    seen: list[int] = []
    start, runs = checkpoint(), []
    for batch_size, stop in ((1, 2), (2, 3), (3, 5)):
        changes = {"checkpoint_minutes": 1e-9, "batch_size": batch_size, "validate_every": None}
        runs.append(unet_run(index, tmp_path / f"{batch_size}", start=start, changes=changes))
        trainer = runs[-1].trainer()
        take = trainer._train_step
        trainer._train_step = lambda group, take=take: (seen.extend(group[0].image_ids), take(group))[1]  # type: ignore[method-assign, misc, func-returns-value]
        break_off(trainer, stop)
        start = last(runs[-1])
    # Two images, two more, the last two; then the first three of the next epoch.
    assert sorted(seen[:6]) == [100, 101, 102, 103, 104, 105]
    assert (last(runs[1]).epoch, last(runs[2]).epoch, len(seen)) == (0, 1, 9)
    assert runs[2].curve("train/epoch") == [1.0, 1.5]


def test_resuming_with_and_without_averages(index: CocoIndex, tmp_path: Path) -> None:
    first = unet_run(index, tmp_path / "first")
    first.fit()
    plain = unet_run(index, tmp_path / "plain", start=last(first), changes={"epochs": 3, "ema_decay": None})
    plain.fit()
    assert_same(last(plain).model, last(plain).training["model"])  # type: ignore[index]
    averaged = unet_run(index, tmp_path / "averaged", start=last(plain), changes={"epochs": 4})
    averaged.fit()
    assert last(averaged).training["ema_updates"] == 3  # type: ignore[index]


@pytest.mark.parametrize("ema_decay", [0.9, None])
def test_the_best_weights_are_those_that_were_validated(
    index: CocoIndex, tmp_path: Path, ema_decay: float | None
) -> None:
    scores = [0.2, 0.5, 0.5, 0.1]
    run = unet_run(index, tmp_path, scores=list(scores), changes={"epochs": 4, "ema_decay": ema_decay})
    assert run.fit() == 0.5
    best = load_checkpoint(tmp_path / "best.pt")
    step, weights = run.validated[1]
    assert best.step == step == 6
    assert best.metrics == {"mask_ap": 0.5}
    assert best.training is None
    assert_same(dict(best.model), weights)
    final = last(run)
    assert final.training is not None
    assert final.training["best"] == 0.5
    # What they cost and were chosen from is the whole run, though they come from its middle.
    assert best.minutes == final.minutes > run.minutes_at(6)
    assert best.validations == final.validations == 4
    # With averages the validated weights are not those that learn.
    same = all(torch.equal(value, final.training["model"][name]) for name, value in final.model.items())
    assert same == (ema_decay is None)


def test_a_score_of_nothing_is_not_called_the_best(
    index: CocoIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        unet_run(index, tmp_path, scores=[0.0, 0.25, 0.25, math.nan], changes={"epochs": 4}).fit()
    lines = [line.partition(": ")[2] for line in caplog.messages if "validated in" in line]
    assert lines == [
        "mask_ap 0.0000  (no object is found well enough to count yet)",
        "mask_ap 0.2500  (best so far)",
        "mask_ap 0.2500",
        "mask_ap nan",
    ]


def test_validations_are_counted_where_their_best_is_known(index: CocoIndex, tmp_path: Path) -> None:
    first = unet_run(index, tmp_path / "first", scores=[0.4, 0.2])
    first.fit()
    more = {"start": last(first), "changes": {"epochs": 4}}
    goes_on = unet_run(index, first.folder, scores=[0.3, 0.1], **more)
    goes_on.fit()
    assert load_checkpoint(first.folder / "best.pt").validations == 4
    alone = unet_run(index, tmp_path / "alone", scores=[0.1, 0.3], **more)  # without the best.pt of before
    alone.fit()
    best = load_checkpoint(alone.folder / "best.pt")
    assert (best.validations, best.metrics) == (2, {"mask_ap": 0.3})
    old = unet_run(
        index, first.folder, scores=[0.1], start=replace(last(goes_on), validations=None), changes={"epochs": 5}
    )
    old.fit()
    assert load_checkpoint(first.folder / "best.pt").validations is None


def test_an_undefined_score_still_leaves_weights(index: CocoIndex, tmp_path: Path) -> None:
    run = unet_run(index, tmp_path, scores=[math.nan, math.nan])
    assert math.isnan(run.fit())
    assert load_checkpoint(tmp_path / "best.pt").step == 6


def gradients(trainer: Trainer) -> list[torch.Tensor]:
    """Of the next step, before the optimizer uses them."""
    found: list[torch.Tensor] = []

    def keep(*_: object) -> None:
        found.extend(p.grad.clone() for p in trainer.learner.segmenter.parameters() if p.grad is not None)

    trainer.learner.optimizer.register_step_pre_hook(keep)
    return found


def test_accumulation_averages_the_gradients_of_its_batches(index: CocoIndex, tmp_path: Path) -> None:
    run = Run(index, tmp_path, changes={"batch_size": 1, "accumulate_steps": 2, "max_grad_norm": None, "max_steps": 1})
    trainer = run.trainer()
    trainer.learner.segmenter.eval()
    found = gradients(trainer)
    batches = [batch for batch, _ in zip(trainer.loader.epoch(0), range(2), strict=False)]
    reference = run.trainer().learner.segmenter.eval()
    trainer._train_step(batches)
    seed = torch.initial_seed()
    torch.manual_seed(seed)
    for batch in batches:
        loss = sum(reference.losses(batch.images, batch.targets).values())
        assert isinstance(loss, torch.Tensor)
        (loss / 2).backward()
    expected = [p.grad for p in reference.parameters() if p.grad is not None]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("accumulate_steps", "steps"), [(1, 6), (2, 3), (4, 2), (10, 1)])
def test_accumulated_steps_are_counted_and_the_rest_of_an_epoch_is_used(
    index: CocoIndex, tmp_path: Path, accumulate_steps: int, steps: int
) -> None:
    run = unet_run(index, tmp_path, changes={"batch_size": 1, "accumulate_steps": accumulate_steps, "epochs": 1})
    seen: list[int] = []
    trainer = run.trainer()
    take = trainer._train_step
    trainer._train_step = lambda group: (seen.append(len(group)), take(group))[1]  # type: ignore[method-assign, func-returns-value]
    trainer.fit()
    assert (sum(seen), len(seen)) == (6, steps)
    assert last(run).step == steps


def test_long_gradients_are_shortened(index: CocoIndex, tmp_path: Path) -> None:
    run = Run(index, tmp_path, changes={"max_grad_norm": 0.01, "max_steps": 1})
    trainer = run.trainer()
    found = gradients(trainer)
    trainer.fit()
    assert torch.stack([g.norm() for g in found]).norm() == pytest.approx(0.01, rel=1e-3)
    assert run.curve("train/gradient_norm")[0] > 0.01  # what is recorded is the norm before


def test_the_draws_depend_on_the_seed_and_on_the_step(index: CocoIndex, tmp_path: Path) -> None:
    def seeds(seed: int) -> list[int]:
        run = Run(index, tmp_path)
        trainer = run.trainer()
        trainer.learner._seed = seed
        found = []
        for step in range(2):
            trainer.state.step = step
            trainer._train_step([])
            found.append(int(torch.randint(10**9, (1,))))
        return found

    first, second = seeds(0), seeds(1)
    assert len({*first, *second}) == 4
    assert seeds(1) == second


def test_a_loss_that_is_not_finite(index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(index, tmp_path)
    trainer = run.trainer()
    original, calls = MaskRCNN.losses, []

    def losses(self: MaskRCNN, *arguments: Any) -> dict[str, torch.Tensor]:
        calls.append(1)
        terms = original(self, *arguments)
        return {**terms, "loss_mask": terms["loss_mask"] * math.inf} if len(calls) == 3 else terms

    monkeypatch.setattr(MaskRCNN, "losses", losses)
    with pytest.raises(SegtrainError) as caught:
        trainer.fit()
    message = str(caught.value)
    ids = [f"{i}" for i in list(trainer.loader.epoch(0))[2].image_ids]
    assert f"at step 2 (images {', '.join(ids)})" in message
    assert "loss_mask=inf" in message
    for term in ("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"):
        assert f"{term}=" in message
    assert "\n" not in message


def test_weights_that_have_become_nan_are_reported(index: CocoIndex, tmp_path: Path) -> None:
    trainer = Run(index, tmp_path).trainer()
    with torch.no_grad():
        trainer.learner.segmenter.backbone.fpn.layer_blocks[0][0].bias.fill_(math.nan)
    with pytest.raises(SegtrainError, match="not finite at step 0"):
        trainer.fit()


def test_skipped_images_are_counted_and_an_epoch_of_nothing_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = write_data(tmp_path)
    (tmp_path / "1.png").write_bytes(b"no image")
    run = unet_run(index, tmp_path / "some", on_bad_image="skip", changes={"batch_size": 1})
    run.fit()
    assert last(run).step == 10
    assert run.curve("train/skipped_images")[-1] == 1
    assert sum("skipped, 1 so far" in message for message in caplog.messages) == 1
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(SegtrainError, match="no image of a whole epoch could be read"):
        unet_run(index, tmp_path / "none", on_bad_image="skip").fit()


def test_a_state_saved_behind_the_last_batch_goes_on_with_the_next_epoch(index: CocoIndex, tmp_path: Path) -> None:
    first = unet_run(index, tmp_path / "first", changes={"checkpoint_minutes": 1e-9})
    break_off(first.trainer(), 3)
    state = last(first)
    assert state.training is not None
    assert (state.epoch, state.training["batch"]) == (0, 3)  # the epoch's own end was not reached


def test_another_model_cannot_go_on(index: CocoIndex, tmp_path: Path, whole: Run) -> None:
    state = last(whole)
    assert state.training is not None
    state.training["model"].pop("rpn.head.cls_logits.weight")
    with pytest.raises(SegtrainError, match=r"another model: rpn\.head\.cls_logits\.weight is missing"):
        Run(index, tmp_path, start=state).trainer()


def test_the_last_steps_are_recorded_too(index: CocoIndex, tmp_path: Path) -> None:
    run = unet_run(index, tmp_path, changes={"log_every": 4, "max_steps": 5})
    run.fit()
    assert [step for step, values in run.entries if "train/loss" in values] == [4, 5]


@pytest.mark.parametrize("resumed", [False, True])
def test_patience_ends_a_training_that_does_not_improve(
    index: CocoIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture, resumed: bool
) -> None:
    """Gains up to `min_gain` do not count; a run that was broken off goes on counting."""
    scores = [0.2, 0.5, 0.515, 0.505, 0.9]
    changes = {"epochs": 9, "patience": 2, "min_gain": 0.02}
    run = unet_run(index, tmp_path, scores=list(scores), changes=changes)
    if resumed:
        break_off(run.trainer(), 9)  # saved before the third validation
        run = unet_run(index, tmp_path, start=last(run), scores=scores[2:], changes=changes)
    with caplog.at_level("INFO"):
        assert run.fit() == 0.515
    reason = "trainer.patience=2: 2 validations without a mask_ap above 0.5200 (step 6)"
    assert f"{reason}; the training ends here" in caplog.messages
    final, best = last(run), load_checkpoint(tmp_path / "best.pt")
    assert (final.step, final.ended, best.step, best.ended) == (12, reason, 9, reason)
    again = unet_run(index, tmp_path, start=final, scores=[0.9], changes=changes)
    again.fit()
    assert again.validated == []
    more = unet_run(index, tmp_path, start=final, scores=[0.6], changes=changes | {"patience": 3, "epochs": 5})
    assert more.fit() == 0.6
    assert (last(more).step, last(more).ended) == (15, "trainer.epochs=5")


def test_a_loss_is_better_where_it_is_lower_and_another_number_counts_anew(index: CocoIndex, tmp_path: Path) -> None:
    patience = Patience(1, "loss", 0.0)
    for step, value in enumerate([math.nan, 2.0, 1.5]):
        patience.update(value, step)
    assert (patience.best, patience.waited) == (1.5, 0)
    other = Patience(1, "mask_ap", 0.0)
    other.restore(patience.state())
    assert math.isnan(other.best)
    patience.update(1.6, 3)
    assert patience.is_exhausted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"validate_every": None}, "set trainer.validate_every"),
        ({"monitor": "loss"}, "needs trainer.validation_losses"),
    ],
)
def test_patience_without_what_it_looks_at_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SegtrainError, match=said):
        train_settings(patience=2, validation_losses=False, **changes)
