"""Damaged checkpoints: refused in one line, whatever has become of them, with the one that is whole."""

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
from segtrain.training.checkpoint import load_checkpoint, load_segmenter
from segtrain.training.learner import Learner
from segtrain.training.resume import find_resumed
from tests.helpers.tiny_networks import tiny
from tests.helpers.tiny_runs import checkpoint, training


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


OF_ADAM = {"step": torch.tensor(2.0), "exp_avg": torch.zeros(2, 3), "exp_avg_sq": torch.ones(2, 3)}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"exp_avg": None}, ""),
        ({"exp_avg": [0.0] * 6}, ""),
        ({"exp_avg_sq": torch.ones(3, 2)}, ""),
        ({"step": torch.ones(5)}, ""),
        ({"exp_avg": ...}, "exp_avg"),
        ({"exp_avg_sq": ...}, "exp_avg_sq"),
    ],
)
def test_an_optimizer_that_could_not_step(changes: dict[str, Any], named: str) -> None:
    """``...`` for a value that is missing."""
    learner = Learner.__new__(Learner)
    learner.optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2, 3))])
    state = {name: value for name, value in {**OF_ADAM, **changes}.items() if value is not ...}
    groups = learner.optimizer.state_dict()["param_groups"]
    text = refusal(learner._restore_optimizer, {"state": {0: state}, "param_groups": groups})
    assert "has an optimizer " in text
    assert named in text


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("state", [{}, {0: {"momentum_buffer": None}}, {0: {"momentum_buffer": torch.ones(2, 3)}}])
def test_momentum_may_be_given_or_taken_away(momentum: float, state: dict[int, Any]) -> None:
    learner, weight = Learner.__new__(Learner), torch.nn.Parameter(torch.ones(2, 3))
    learner.optimizer = torch.optim.SGD([weight], lr=0.1, momentum=momentum)
    learner._restore_optimizer({"state": state, "param_groups": learner.optimizer.state_dict()["param_groups"]})
    assert torch.equal(weight, torch.ones(2, 3))
    assert weight.grad is None


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
