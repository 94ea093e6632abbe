"""Damaged checkpoints: refused in one line, whatever has become of them, with the one that is whole."""

import copy
import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.weights import read_weights
from segtrain.segmenters.state_file import read_state
from segtrain.training.checkpoint import load_checkpoint, load_segmenter, restore_weights
from segtrain.training.optimizer_state import restore_optimizer
from segtrain.training.rehearsal import pending_state_bytes
from segtrain.training.resume import find_resumed
from tests.helpers.tiny_networks import tiny
from tests.helpers.tiny_runs import checkpoint, training, unet_run, write_data


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``best.pt`` and ``last.pt`` of a run."""
    folder = tmp_path_factory.mktemp("run")
    checkpoint(model=tiny().state_dict()).save(folder / "best.pt")
    checkpoint(model=tiny().state_dict(), training=training()).save(folder / "last.pt")
    return folder


def refusal(read: Any, *arguments: Any) -> str:
    with pytest.raises(SegtrainError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_changed_byte_is_found_wherever_it_is_read(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    (tmp_path / "last.pt").write_bytes((whole / "last.pt").read_bytes())
    content = bytearray((whole / "best.pt").read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content[largest.header_offset + 200] ^= 0x40
    path.write_bytes(content)
    for read in (load_checkpoint, load_segmenter, read_state):
        text = refusal(read, path)
        assert text.startswith(f"{path}: damaged, ")
        assert text.endswith(f"; {tmp_path / 'last.pt'} is whole")
    assert "damaged" in refusal(read_weights, str(path), "mobilenet_v2_fpn")
    path.rename(tmp_path / "last.pt")
    text = refusal(find_resumed, str(tmp_path), tmp_path)
    assert "damaged" in text
    assert "is whole" not in text


def test_no_changed_byte_changes_what_is_read(whole: Path, tmp_path: Path) -> None:
    content = (whole / "best.pt").read_bytes()
    original = load_checkpoint(whole / "best.pt")
    random = np.random.default_rng(0)
    refused = 0
    for place in [*random.integers(0, len(content), 30).tolist(), 0, 3, len(content) - 3, len(content) - 30]:
        changed = bytearray(content)
        changed[place] ^= int(random.integers(1, 256))
        (tmp_path / "changed.pt").write_bytes(changed)
        try:
            found = load_checkpoint(tmp_path / "changed.pt")
        except SegtrainError:
            refused += 1
            continue
        assert found.config == original.config  # a byte that means nothing, such as padding
        assert all(torch.equal(value, found.model[name]) for name, value in original.model.items())
    assert refused >= 25


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    state = tiny().state_dict()
    state["backbone.fpn.inner_blocks.0.0.bias"][:3] = value
    checkpoint(model=state).save(tmp_path / "best.pt")
    text = refusal(load_segmenter, tmp_path / "best.pt")
    assert "3 of 16 numbers of model.backbone.fpn.inner_blocks.0.0.bias are not finite" in text
    torch.save(state, tmp_path / "weights.pt")
    assert "are not finite" in refusal(read_weights, str(tmp_path / "weights.pt"), "mobilenet_v2_fpn")


def test_files_that_would_inflate(whole: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(whole / "best.pt") as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert "would inflate to" in refusal(load_checkpoint, packed)
    torch.save({"w": torch.zeros(1).expand(10**12)}, tmp_path / "wide.pt")
    assert "w would inflate to 1,000,000,000,000 numbers" in refusal(read_state, tmp_path / "wide.pt")


LAUGHS: Any = ["ha"]
for _ in range(40):
    LAUGHS = [LAUGHS] * 10
LOOP: dict[str, Any] = {}
LOOP["again"] = LOOP
GOOD = checkpoint().config
BAD: dict[str, list[Any]] = {
    "model": [None, {1: torch.zeros(1)}, {"w": 3}, []],
    "config": [{}, None, 5, {"segmenter": 3}, {**GOOD, "data": []}, {**GOOD, "x": LAUGHS}, {**GOOD, "x": LOOP}],
    "class_names": [5, [], ["a", 1], "ab", ["a", "a"], None],
    "category_ids": [5, [1.5, 2], ["1", "2"], [1]],
    "max_dets": [0, -1, "100", None, 1.5, True],
    "score_threshold": ["high", -1, 2, None, math.nan],
    "precision": ["fp64", None, 32],
    "seed": [-1, "0", None],
    "val_ids": ["12", [1, "2"], {}],
    "epoch": [-1, "1", None, 0.5],
    "step": [-(10**18), "1", None],
    "minutes": [-1.0, math.nan, math.inf, "long"],
    "metrics": [None, {"mask_ap": "high"}, [0.5], {1: 0.5}],
    "threshold_images": [-1, "x"],
    "training_images": [-1, None],
    "training_objects": ["many"],
    "intensity": [None, {}, {"ranges": {"uint16": ["a", "b"]}, "others": None, "rule": "auto", "images": 0}],
    "validations": [-1, "x"],
    "training": [5, {}, [1], *({**training(), key: ["x"]} for key in training())],
}


@pytest.mark.parametrize("field", BAD)
def test_fields_of_the_wrong_type(tmp_path: Path, field: str) -> None:
    for value in BAD[field]:
        path = tmp_path / "last.pt"
        checkpoint(**{"model": {"w": torch.zeros(1)}, field: value}).save(path)
        for read in (load_checkpoint, load_segmenter, lambda path: find_resumed(str(path), path.parent)):
            assert refusal(read, path).startswith(f"{path}: ")


def test_checkpoints_of_all_kinds_are_not_refused(tmp_path: Path) -> None:
    good = {"val_ids": [1, 2**40], "validations": None, "metrics": {"mask_ap": math.nan}, "training": training()}
    checkpoint(**good).save(tmp_path / "last.pt")
    assert load_checkpoint(tmp_path / "last.pt").val_ids == good["val_ids"]


class Own(torch.optim.SGD):
    """An optimizer with an attribute of its own, beside what PyTorch's copies of it keep."""

    def __init__(self, groups: Any, lr: float) -> None:
        super().__init__(groups, lr=lr, momentum=0.9)
        self.factor = 2.0

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["dampening"] = 1 - 1 / self.factor
        super().step(closure)


class Counting(torch.optim.SGD):
    """An optimizer with attributes that change with each step."""

    def __init__(self, groups: Any, lr: float) -> None:
        super().__init__(groups, lr=lr, momentum=0.9)
        self.seen = {"steps": 0}
        self.base = torch.optim.SGD(self.param_groups, lr=lr)

    def step(self, closure: Any = None) -> None:
        self.seen["steps"] += 1
        self.base.step()
        super().step(closure)


def test_an_optimizer_is_not_stepped_when_its_state_is_restored() -> None:
    optimizer = stepped(Counting)
    scheduled = stepped(torch.optim.AdamW)
    torch.optim.lr_scheduler.ConstantLR(scheduled)
    hooked = stepped(torch.optim.AdamW)
    calls: list[object] = []
    hooked.register_step_post_hook(lambda *given: calls.append(given))
    for each in (optimizer, scheduled, hooked):
        weights = [weight for group in each.param_groups for weight in group["params"]]
        before = [weight.detach().clone() for weight in weights]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        restore_optimizer(each, copy.deepcopy(each.state_dict()), "last.pt")
        assert all(torch.equal(weight, then) for weight, then in zip(weights, before, strict=True))
    assert isinstance(optimizer, Counting)
    assert optimizer.seen == {"steps": 1}
    assert not calls


def test_complex_weights_are_restored() -> None:
    network = torch.nn.Module()
    network.w = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
    restore_weights(network, network.state_dict(), "x.pt")
    text = refusal(restore_weights, network, {"w": torch.ones(2)}, "x.pt")
    assert "has w as float32, not as complex64" in text


def stepped(kind: Any, **settings: Any) -> torch.optim.Optimizer:
    """Return an optimizer of two parameters after a step, of a third that never had a gradient."""
    weights = [
        torch.nn.Parameter(torch.ones(2, 3)),
        torch.nn.Parameter(torch.ones(3)),
        torch.nn.Parameter(torch.ones(4)),
    ]
    optimizer: torch.optim.Optimizer = kind([{"params": weights[:1]}, {"params": weights[1:]}], lr=0.1, **settings)
    for weight in weights[:2]:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("exp_avg", ..., "lacks training.optimizer.state[0].exp_avg; "),
        ("exp_avg_sq", ..., "lacks training.optimizer.state[0].exp_avg_sq; "),
        ("step", torch.ones(5), "state[0].step is (5,) of float32, not a number"),
        ("step", "3", "state[0].step is '3', not a number"),
        ("exp_avg", [0.0] * 6, "state[0].exp_avg is list, not (2, 3) of float32"),
        ("exp_avg", None, "state[0].exp_avg is None, not (2, 3) of float32"),
        ("exp_avg", torch.ones(2, 3, dtype=torch.int32), "state[0].exp_avg is (2, 3) of int32, not (2, 3) of float32"),
        ("exp_avg", torch.ones(2, 3, dtype=torch.complex64), "state[0].exp_avg is (2, 3) of complex64"),
        ("exp_avg_sq", torch.ones(3, 2), "state[0].exp_avg_sq is (3, 2) of float32, not (2, 3) of float32"),
    ],
)
def test_damaged_values_of_an_optimizer(key: str, value: Any, named: str) -> None:
    """``...`` for a value that is missing."""
    optimizer = stepped(torch.optim.AdamW)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0][key] = value
    if value is ...:
        del saved["state"][0][key]
    text = refusal(restore_optimizer, optimizer, saved, "last.pt", 2)
    assert text.startswith("last.pt: ")
    assert named in text


def test_missing_entries_of_an_optimizer() -> None:
    optimizer = stepped(torch.optim.AdamW)
    saved = optimizer.state_dict()
    for state in ({}, {0: saved["state"][0]}):
        text = refusal(restore_optimizer, optimizer, {**saved, "state": state}, "last.pt", 2)
        assert f"training.optimizer.state has {len(state)} entries, not 2; the file is damaged" in text
    text = refusal(restore_optimizer, optimizer, {**saved, "state": {9: {}, 0: {}}}, "last.pt", 2)
    assert "training.optimizer.state[9] has no parameter" in text


def test_damaged_parameters_of_an_optimizer(tmp_path: Path) -> None:
    for params in ([0.5, 1.5], 3, ["0"]):
        state = training(optimizer={"state": {}, "param_groups": [{"params": params}]})
        checkpoint(model={"w": torch.zeros(1)}, training=state).save(tmp_path / "last.pt")
        assert "its training.optimizer.param_groups[0].params is " in refusal(load_checkpoint, tmp_path / "last.pt")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torch.optim.AdamW, {}),
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.SGD, {}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.Adafactor, {}),
        (torch.optim.NAdam, {}),
        (torch.optim.Rprop, {}),
        (torch.optim.ASGD, {}),
        (Own, {}),
    ],
)
@pytest.mark.parametrize("tells", [True, False])
def test_states_of_all_optimizers_are_restored(kind: Any, settings: dict[str, Any], tells: bool) -> None:
    first, second = stepped(kind, **settings), stepped(kind, **settings)
    saved = copy.deepcopy(first.state_dict())
    weights = [weight.clone() for group in second.param_groups for weight in group["params"]]
    restore_optimizer(second, saved, "last.pt", len(saved["state"]) if tells else None)
    after = [weight for group in second.param_groups for weight in group["params"]]
    assert all(
        torch.equal(weight, before) and weight.grad is None for weight, before in zip(after, weights, strict=True)
    )
    torch.testing.assert_close(second.state_dict()["state"], saved["state"])


@pytest.mark.parametrize("then", [0.0, 0.9])
@pytest.mark.parametrize("now", [0.0, 0.9])
def test_momentum_may_be_given_or_taken_away(then: float, now: float) -> None:
    saved = stepped(torch.optim.SGD, momentum=then).state_dict()
    optimizer = stepped(torch.optim.SGD, momentum=now)
    restore_optimizer(optimizer, saved, "last.pt", len(saved["state"]))
    assert all(group["momentum"] == now for group in optimizer.param_groups)


def test_the_state_that_an_own_optimizer_adds_is_estimated() -> None:
    assert pending_state_bytes(Own([torch.nn.Parameter(torch.zeros(1000))], lr=0.1)) == 4000


def test_weights_of_another_kind(tmp_path: Path) -> None:
    state = tiny().state_dict()
    name = "backbone.fpn.inner_blocks.0.0.bias"
    for dtype in (torch.int8, torch.complex64):
        checkpoint(model={**state, name: state[name].to(dtype)}).save(tmp_path / "best.pt")
        assert f"has {name} as {str(dtype)[6:]}, not as float32" in refusal(load_segmenter, tmp_path / "best.pt")
    checkpoint(model={key: v.half() if v.is_floating_point() else v for key, v in state.items()}).save(
        tmp_path / "b.pt"
    )
    load_segmenter(tmp_path / "b.pt")


def test_the_number_of_processes_is_checked(tmp_path: Path) -> None:
    checkpoint(model={}, training={**training(), "processes": "x"}).save(tmp_path / "last.pt")
    assert "training.processes" in refusal(load_checkpoint, tmp_path / "last.pt")


def test_the_message_on_resuming_names_the_file(tmp_path: Path) -> None:
    run = unet_run(write_data(tmp_path), tmp_path / "run", changes={"max_steps": 1})
    learner = run.trainer().learner
    state = learner.state()
    state["optimizer_entries"] = 5
    text = refusal(learner.restore, state, {}, "runs/last.pt")
    assert text.startswith("runs/last.pt: its training.optimizer.state has 0 entries, not 5")


def test_a_damaged_average_names_the_file(tmp_path: Path) -> None:
    run = unet_run(write_data(tmp_path), tmp_path / "run", changes={"max_steps": 1, "ema_decay": 0.9})
    learner = run.trainer().learner
    state = {**learner.state(), "ema_updates": 3}
    averaged = dict(learner.averaged.state_dict())
    learner.restore(state, averaged, "runs/last.pt")
    name = next(iter(averaged))
    text = refusal(learner.restore, state, {**averaged, name: torch.zeros(1)}, "runs/last.pt")
    assert text.startswith(f"runs/last.pt is from another model: {name} is (1,) there")
