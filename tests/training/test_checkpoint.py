"""Checkpoints: complete, plain, and no way in for foreign code."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segtrain
from segtrain.benchmark.checkpoints import EvaluatedCheckpoint, with_all_categories
from segtrain.data.check.load import load_index
from segtrain.data.coco.category_names import with_labels_of
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.splits import Split, fingerprint_of
from segtrain.errors import SegtrainError
from segtrain.segmenters.inputs import KnownInputs
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.segmenters.tiles import tiled
from segtrain.training.checkpoint import FORMAT, load_checkpoint, load_segmenter
from segtrain.training.checkpoint_paths import checkpoint_file, newest_checkpoint
from segtrain.training.resume import find_resumed, initial_state, run_directory
from tests.helpers.scripts import write_data
from tests.helpers.tiny_networks import CLASSES, picture, settings, tiny
from tests.helpers.tiny_runs import checkpoint, training


def saved(path: Path, **changes: Any) -> Path:
    checkpoint(**{"model": tiny().state_dict()} | changes).save(path)
    return path


def node(**changes: Any) -> dict[str, Any]:
    """A configuration whose segmenter has these arguments changed."""
    config = checkpoint().config
    return {**config, "segmenter": {**config["segmenter"], **changes}}


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}
    path = tmp_path / "new" / "last.pt"
    original = checkpoint(
        model=tiny().state_dict(), training=training(optimizer=optimizer, best=0.25), val_ids=[3, 2**40],
        metrics={"mask_ap": float("nan")}, minutes=1.5,
    )  # fmt: skip
    original.save(path)
    assert set(torch.load(path, weights_only=True)) >= {"format", "model", "config", "class_names", "category_ids"}
    loaded = load_checkpoint(path)
    for name in ("config", "class_names", "category_ids", "max_dets", "precision", "seed", "val_ids", "minutes"):
        assert getattr(loaded, name) == getattr(original, name)
    assert np.isnan(loaded.metrics["mask_ap"])
    assert all(torch.equal(value, loaded.model[name]) for name, value in original.model.items())
    assert loaded.training is not None
    assert loaded.training["best"] == 0.25
    assert list(path.parent.iterdir()) == [path]


def test_the_segmenter_of_a_checkpoint(tmp_path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    path = saved(tmp_path / "best.pt", model=model.state_dict(), precision="bf16", max_dets=3)
    segmenter = load_segmenter(path)
    assert not segmenter.training
    assert segmenter.precision == "bf16"
    image, _ = picture(0, 64, 64, 2)
    assert len(segmenter.segment([image])[0]) <= 3
    exact = load_segmenter(path, max_dets=10, precision="fp32")
    np.testing.assert_array_equal(exact.segment([image])[0].boxes, model.segment([image])[0].boxes)


def test_sizes_of_images_and_settings_of_windows(tmp_path: Path) -> None:
    inputs = {"scale": 1.0, "input": [64, 80], "image": [64, 80]}
    network = load_segmenter(saved(tmp_path / "best.pt", inputs=inputs, config=node(tile=512, overlap=0.1)))
    assert network.inputs == KnownInputs(1.0, (64, 80), (64, 80))
    assert (network.tile, network.overlap) == (512, 0.1)
    assert tiled(load_segmenter(tmp_path / "best.pt", tile="off")).tiling.tile == "off"
    with pytest.raises(SegtrainError, match=r"its inputs\.scale is 0, not a number above 0; the file is damaged"):
        load_segmenter(saved(tmp_path / "wrong.pt", inputs=inputs | {"scale": 0}))


def test_a_checkpoint_of_before_windows(tmp_path: Path) -> None:
    content = torch.load(saved(tmp_path / "best.pt"), weights_only=True)
    del content["inputs"], content["config"]["segmenter"]["tile"], content["config"]["segmenter"]["overlap"]
    torch.save(content, tmp_path / "old.pt")
    network = load_segmenter(tmp_path / "old.pt")
    assert (network.tile, network.overlap, network.inputs) == ("auto", 0.25, None)
    assert tiled(network).tiling.inputs == KnownInputs(1.0, (400, 400), (500, 500))  # up to max_size


def test_settings_that_replace_those_of_training(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.pt", config=node(mask_paste="exact"))
    network = load_segmenter(path, settings={"mask_paste": "torchvision", "boxes": "mask"})
    assert isinstance(network, MaskRCNN)
    assert (network.mask_paste, network.box_source) == ("torchvision", "mask")
    with pytest.raises(SegtrainError, match=r"segmenter\.mask_past\b"):
        load_segmenter(path, settings={"mask_past": "torchvision"})


def test_weights_named_by_the_configuration_are_not_asked_for(tmp_path: Path) -> None:
    """The file that the run began with may be gone."""
    path = saved(tmp_path / "best.pt", config=node(weights="/gone/features.pt"))
    load_segmenter(path)


def test_the_newest_run(tmp_path: Path) -> None:
    for age, name in ((30, "b"), (10, "c"), (20, "a")):
        path = tmp_path / name / "checkpoints" / "best.pt"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    assert newest_checkpoint(tmp_path).parts[-3] == "c"
    with pytest.raises(SegtrainError, match="train a network first"):
        newest_checkpoint(tmp_path / "none")


def test_a_run_folder_stands_for_its_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    with pytest.raises(SegtrainError, match="run: holds no checkpoint"):
        checkpoint_file(tmp_path / "run")
    checkpoint().save(folder / "last.pt")
    assert checkpoint_file(tmp_path / "run") == folder / "last.pt"
    checkpoint().save(folder / "best.pt")
    assert checkpoint_file(tmp_path / "run") == folder / "best.pt"
    assert checkpoint_file(tmp_path / "run", preferred="last.pt") == folder / "last.pt"
    assert checkpoint_file(folder) == folder / "best.pt"
    assert checkpoint_file(folder / "last.pt") == folder / "last.pt"
    with pytest.raises(SegtrainError, match="none: no such file"):
        checkpoint_file(tmp_path / "none")


FOREIGN = [
    "os.system",
    "builtins.eval",
    "segtrain.training.checkpoint.torch.load",
    "segtrain.training.checkpoint.Path.write_text",
    "segtrain.nodes.instantiate",
    "segtrain.cli.launch.os.system",
    "segtrain.no.such.thing",
    "segtrainevil.attack",
    "segtrain.segmenters",
    "${oc.env:HOME}",
    "",
    None,
    7,
    {"_target_": "os.system"},
    # Ours, but no segmenters: calling them with arguments out of a file would write, read or run what it likes.
    "segtrain.runtime.write_atomically",
    "segtrain.nodes.build",
    "segtrain.cli.launch.launch",
]


@pytest.mark.few(6)
@pytest.mark.parametrize("target", FOREIGN)
def test_foreign_code_is_refused_by_name(tmp_path: Path, target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "best.pt", config=node(_target_=target))
    with pytest.raises(SegtrainError, match="segtrain") as caught:
        load_segmenter(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_code_of_a_package_that_the_user_trusts(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.pt", config=node(_target_="tests.helpers.unet.UNet"))
    with pytest.raises(SegtrainError, match=r"'tests\.helpers\.unet\.UNet'.*: 'trust=\[tests\]'"):
        load_segmenter(path)
    for trust in (["test"], ["tests.help"], ["tests.helpers.tiny_networks"], ["tests.helpers.unet.U"]):
        with pytest.raises(SegtrainError, match="is not part of segtrain"):
            load_segmenter(path, trust=trust)
    for trust in (["tests"], ["tests.helpers"], ["tests.helpers.unet"]):
        with pytest.raises(SegtrainError, match=r"segmenter\.architecture: tests\.helpers\.unet\.UNet has no such"):
            load_segmenter(path, trust=trust)  # it is looked at, and these are not its settings


@pytest.mark.few(5)
@pytest.mark.parametrize(
    "target",
    [
        *FOREIGN[:9],
        "tests.helpers.scripts.json.loads",
        "tests.helpers.scripts.logging.shutil.rmtree",
        "tests.helpers.tiny_networks.torch.load",
        "segtrain.training.checkpoint.segtrain.os.system",
        "testsevil.attack",
    ],
)
def test_trust_reaches_no_further_than_its_package(tmp_path: Path, target: str) -> None:
    path = saved(tmp_path / "best.pt", config=node(_target_=target))
    with pytest.raises(SegtrainError, match="do not use this file") as caught:
        load_segmenter(path, trust=["tests"])
    assert "trust=[os]" not in str(caught.value)
    assert "trust=[builtins]" not in str(caught.value)


def test_a_checkpoint_does_not_trust_in_the_users_place(tmp_path: Path) -> None:
    config = {**node(_target_="tests.helpers.unet.UNet"), "trust": ["tests"]}
    with pytest.raises(SegtrainError, match="is not part of segtrain"):
        load_segmenter(saved(tmp_path / "best.pt", config=config))


class Names:
    def __init__(self, class_names: list[str]) -> None:
        self.class_names = class_names


def test_a_trusted_part_that_does_not_learn(tmp_path: Path) -> None:
    segmenter = {"_target_": f"{__name__}.Names", "_partial_": True}
    path = saved(tmp_path / "best.pt", config={**checkpoint().config, "segmenter": segmenter})
    with pytest.raises(SegtrainError, match=r"segmenter: .*\.Names builds a Names, which does not learn"):
        load_segmenter(path, trust=["tests"])


ATTACK = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": ["attacked"]}}


@pytest.mark.parametrize(
    "hidden",
    [
        ATTACK,
        [1, [ATTACK]],
        {"deep": {"deeper": [ATTACK]}},
        (ATTACK,),
        [(1, {"x": (ATTACK,)})],
        "${oc.create:{_target_:pathlib.Path.touch,self:{_target_:pathlib.Path,_args_:[attacked]}}}",
        ["${oc.decode:'{_target_: pathlib.Path.touch}'}"],
        "${oc.env:HOME}",
    ],
)
def test_foreign_code_hidden_among_the_arguments(tmp_path: Path, hidden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "best.pt", config=node(weights=hidden))
    with pytest.raises(SegtrainError) as caught:
        load_segmenter(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "attacked").exists()


def test_a_configuration_with_more_than_plain_values(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match="plain values"):
        load_segmenter(saved(tmp_path / "best.pt", config=node(weights=torch.zeros(1))))


@pytest.mark.parametrize("config", [{}, None, [], {"segmenter": None}, {"segmenter": {"weights": None}}])
def test_a_configuration_without_a_segmenter(tmp_path: Path, config: Any) -> None:
    with pytest.raises(SegtrainError, match=r"has no segmenter|its config is (None|a list), not a mapping"):
        load_segmenter(saved(tmp_path / "best.pt", config=config))


@pytest.mark.parametrize(
    ("written", "version", "message"),
    [
        (1, None, rf"segtrain before 0\.1\.0 in checkpoint format 1, .* with format {FORMAT}; train again, or begin"),
        (FORMAT + 1, "9.0.0", rf"segtrain 9\.0\.0 in checkpoint format {FORMAT + 1}, .* install that version"),
    ],
)
def test_checkpoints_of_other_versions_are_refused(
    tmp_path: Path, written: int, version: str | None, message: str
) -> None:
    path = saved(tmp_path / "best.pt")
    content = torch.load(path, weights_only=True)
    assert (content["format"], content.pop("version")) == (FORMAT, segtrain.__version__)
    torch.save(content | {"format": written} | ({"version": version} if version else {}), path)
    for load in (load_checkpoint, load_segmenter):
        with pytest.raises(SegtrainError, match=message) as caught:
            load(path)
        assert f"segmenter.weights={path}" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert tiny(weights=str(path)).state_dict().keys() == content["model"].keys()  # the remedy works


def test_arguments_that_this_version_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match=r"segmenter\.depth"):
        load_segmenter(saved(tmp_path / "best.pt", config=node(depth=3)))


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.pt", config=node(fpn_channels=24))
    with pytest.raises(SegtrainError, match=r"is from another model: backbone\.fpn"):
        load_segmenter(path)
    path = saved(tmp_path / "best.pt", class_names=["one"], category_ids=[1])
    with pytest.raises(SegtrainError, match=r"roi_heads\.box_predictor"):
        load_segmenter(path)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match="no such file"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save(tiny().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(SegtrainError, match=r"weights alone go into segmenter\.weights="):
        load_checkpoint(tmp_path / "weights.pt")
    whole = saved(tmp_path / "best.pt").read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        (tmp_path / "part.pt").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SegtrainError, match=r"part\.pt"):
            load_checkpoint(tmp_path / "part.pt")


KEYS = MaskRCNN.resume_keys
TRAINING = training()


def test_where_a_run_starts(tmp_path: Path) -> None:
    fresh, output = checkpoint(seed=9), tmp_path / "run"
    assert find_resumed(None, output) is None
    assert find_resumed("auto", output) is None
    assert initial_state(fresh, None, KEYS) is fresh
    last = saved(output / "checkpoints" / "last.pt", training=TRAINING, step=40, epoch=2, minutes=3.0)
    state = initial_state(fresh, find_resumed("auto", output), KEYS)
    assert (state.step, state.epoch, state.minutes, state.seed) == (40, 2, 3.0, 9)
    saved(output / "checkpoints" / "best.pt")
    other = tmp_path / "other"
    resumed = find_resumed(str(last), other)
    assert initial_state(fresh, resumed, KEYS).step == 40
    with run_directory(other, resumed):
        assert (other / "checkpoints" / "best.pt").exists()
    with run_directory(output, find_resumed("auto", output)):
        assert last.exists()
    assert last.exists()
    assert find_resumed(None, output) is None
    with run_directory(output, None):
        assert not last.exists(), "a run that starts anew keeps nothing of the old one"
    assert not list(output.iterdir())


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("saved_one", [False, True])
def test_a_replaced_run_comes_back_if_the_new_one_saves_nothing(tmp_path: Path, saved_one: bool, killed: bool) -> None:
    last = saved(tmp_path / "checkpoints" / "last.pt", step=40)
    (tmp_path / "metrics.jsonl").write_text("old")

    def fail() -> None:
        with run_directory(tmp_path, None):
            (tmp_path / "metrics.jsonl").write_text("new")
            if saved_one:
                saved(last, step=1)
            if killed:
                shutil.copytree(tmp_path, tmp_path.with_name("killed"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    if killed:  # the folder as such an end leaves it; the next run tidies up
        shutil.rmtree(tmp_path)
        tmp_path.with_name("killed").rename(tmp_path)
        with pytest.raises(KeyboardInterrupt), run_directory(tmp_path, None):
            raise KeyboardInterrupt
    assert load_checkpoint(last).step == (1 if saved_one else 40)
    assert (tmp_path / "metrics.jsonl").read_text() == ("new" if saved_one else "old")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "metrics.jsonl"}


def test_a_missing_state_to_resume(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match=r"nowhere\.pt: no such file; give a run's folder"):
        find_resumed("nowhere.pt", tmp_path)


def test_validation_keeps_its_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another draw would validate on images that were learned from."""
    drawn = {"val_annotations": None, "val_fraction": 0.5, "split_by": None, "folds": None, "fold": None}
    named = {"val_annotations": "val.json"}
    config = {**checkpoint().config, "data": {"val_fraction": 0.5}}
    path = saved(tmp_path / "last.pt", training=TRAINING, val_ids=[4, 7], config=config)
    resumed = find_resumed(str(path), tmp_path)
    assert resumed is not None
    assert resumed.known_val_ids(drawn) == [4, 7]
    assert caplog.messages == []
    assert resumed.known_val_ids({**drawn, "val_fraction": 0.6, "split_by": "slide"}) == [4, 7]
    assert caplog.messages == [
        "data.val_fraction=0.6 draws nothing here: the run keeps its split, drawn with 0.5",
        "data.split_by=slide draws nothing here: the run keeps its split, drawn with None",
    ]
    assert resumed.known_val_ids(named) is None
    resumed = find_resumed(str(saved(path, training=TRAINING, val_ids=None)), tmp_path)
    assert resumed is not None
    assert resumed.known_val_ids(named) is None
    with pytest.raises(SegtrainError, match=r"give data\.val_annotations, not data\.val_fraction"):
        resumed.known_val_ids(drawn)


def test_a_resolved_setting_is_kept_without_the_weights_that_it_came_from(tmp_path: Path) -> None:
    model = tiny(aligned="auto")
    started = checkpoint(model=model.state_dict(), config=node(aligned="auto", weights="/gone.pt"), training=TRAINING)
    path = tmp_path / "last.pt"
    started.with_settings("segmenter", model.resolved_settings).save(path)
    loaded = load_segmenter(path)
    assert isinstance(loaded, MaskRCNN)
    assert loaded.aligned
    resumed = find_resumed(str(path), tmp_path / "run")
    assert resumed is not None
    given = checkpoint().config["segmenter"]
    assert resumed.known_settings(given | {"aligned": "auto"}) == given | {"aligned": True}
    assert resumed.known_settings(given | {"aligned": False}) == given | {"aligned": False}
    assert resumed.known_settings(given | {"roi_align": "auto"})["roi_align"] == "auto"  # of this machine
    with pytest.raises(SegtrainError, match=r"segmenter\.aligned cannot be replaced after training"):
        load_segmenter(path, settings={"aligned": "auto"})
    with pytest.raises(SegtrainError, match=r"segmenter\.aligned is True, this run's is False"):
        initial_state(checkpoint(config=node(aligned=False)), resumed, KEYS)
    assert initial_state(checkpoint(config=node(aligned=True)), resumed, KEYS).step == started.step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["square", "round"]}, "its categories is square, round, this run's is round, square"),
        ({"config": node(architecture="resnet18_fpn")}, "segmenter.architecture is resnet18_fpn"),
        ({"config": node(anchor_ratios=[1.0])}, r"segmenter.anchor_ratios is \[1.0\], this run's is \[0.5, 1.0, 2.0\]"),
        ({"config": node(_target_="my.unet")}, "segmenter._target_ is my.unet"),
        ({"training": None}, "no state to resume; use last.pt"),
    ],
)
def test_states_of_other_runs(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = saved(tmp_path / "last.pt", **{"training": TRAINING} | changes)
    with pytest.raises(SegtrainError, match=message):
        initial_state(checkpoint(), find_resumed(str(path), tmp_path / "run"), KEYS)


def test_validations_on_other_images_are_not_counted_together(tmp_path: Path) -> None:
    def named(val: str) -> dict[str, Any]:
        return {**checkpoint().config, "data": {"root": "/data", "val_annotations": val, "val_images": "val"}}

    path = saved(tmp_path / "last.pt", training=TRAINING, validations=3, config=named("val.json"))
    for val, counted in (("val.json", 3), ("other.json", None)):
        fresh = checkpoint(config=named(val))
        assert initial_state(fresh, find_resumed(str(path), tmp_path / "run"), KEYS).validations == counted


def test_the_examples_are_the_builders() -> None:
    assert settings().keys() < checkpoint().config["segmenter"].keys()
    assert checkpoint().class_names == CLASSES


CHOSEN = "Fine-tuned Mask R-CNN. Its weights are the best of 3 validations on the images that are evaluated here"
TRAINING_FILE = {"val_annotations": None, "val_images": None, "train_annotations": "val.json", "train_images": "val"}


@pytest.mark.parametrize(
    ("changes", "data", "said"),
    [
        ({}, {}, CHOSEN),
        ({"threshold_images": 1}, {}, CHOSEN.replace("CNN.", "CNN, its score threshold chosen on 1 training image.")),
        ({"val_ids": [101, 102, 103, 104]}, TRAINING_FILE, CHOSEN),
        ({"val_ids": [101, 102, 104]}, TRAINING_FILE, None),  # learned from image 103
        ({"validations": 1}, {}, None),
        ({"validations": None}, {}, None),
        ({"training": {"batch": 1}}, {}, None),  # last.pt
        ({"metrics": {"mask_ap": float("nan")}}, {}, None),  # of undefined ones the last
        ({}, {"val_annotations": "train.json"}, None),
        ({}, {"val_images": "train"}, None),
    ],
)
def test_what_the_weights_were_chosen_on_is_said(
    tmp_path: Path, changes: dict[str, Any], data: dict[str, Any], said: str | None
) -> None:
    root = write_data(tmp_path, images=4)
    own = {"root": str(root), "val_annotations": "val.json", "val_images": "val", "train_annotations": "train.json"}
    config = {"data": own | {"train_images": "train"} | data}
    values = {"config": config, "validations": 3, "metrics": {"mask_ap": 0.5}} | changes
    evaluated = Split("val", load_index(root / "val.json"), ImageReader(root / "val", "auto", 10**6))
    found = EvaluatedCheckpoint(tmp_path / "best.pt", checkpoint(**values)).description("Mask R-CNN", None, evaluated)
    assert found == (said or "Fine-tuned Mask R-CNN")


@pytest.mark.parametrize("lacking", [None, 0, 1])
def test_what_the_weights_were_chosen_on_is_told_by_the_content(tmp_path: Path, lacking: int | None) -> None:
    """A category that validation lacks is added in an evaluation, wherever it stands in training."""
    root = write_data(tmp_path, images=4)
    paths = [root / f"{name}.json" for name in ("train", "val")]
    content = json.loads(paths[1].read_text())
    if lacking is not None:
        gone = content["categories"].pop(lacking)["id"]
        content["annotations"] = [own for own in content["annotations"] if own["category_id"] != gone]
        paths[1].write_text(json.dumps(content))
    train, val = (load_index(path) for path in paths)
    reader = ImageReader(root / "val", "auto", 10**6)
    learned = fingerprint_of(Split("val", with_labels_of(train, val), reader))
    saved = checkpoint(validations=3, metrics={"mask_ap": 0.5}, contents={"train": "", "val": learned})
    own = EvaluatedCheckpoint(tmp_path / "best.pt", saved)
    evaluated = with_all_categories(Split("val", val, reader), [own])
    assert own.description("Mask R-CNN", None, evaluated) == CHOSEN
    # Other images in place of those that the checkpoint names.
    content["images"][0]["file_name"] = content["images"][1]["file_name"]
    paths[1].write_text(json.dumps(content))
    evaluated = replace(evaluated, index=load_index(paths[1]))
    assert own.description("Mask R-CNN", None, evaluated) == "Fine-tuned Mask R-CNN"
