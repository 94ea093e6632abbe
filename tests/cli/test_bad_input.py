"""Bad input ends in one line on stderr, exit code 1, and nothing is overwritten."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.training.checkpoint import load_checkpoint
from tests.conftest import Workplace
from tests.helpers.scripts import ROOT, SMALL, data_of, message, run

Json = dict[str, Any]


def spoil(path: Path, change: Callable[[Json], Any]) -> None:
    """Change a json in place; a change may return something else to write."""
    content = json.loads(path.read_text())
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed))


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def resave(source: Path, target: Path, **changes: Any) -> Path:
    """A copy of a checkpoint with some entries changed."""
    content = torch.load(source, weights_only=True)
    torch.save({**content, **changes}, target)
    return target


def remove(key: str) -> Callable[[Json], None]:
    return lambda content: content.pop(key)


def first_annotation(**values: Any) -> Callable[[Json], None]:
    return lambda content: content["annotations"][0].update(values)


def only_crowds(content: Json) -> None:
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1


BAD_FILES: dict[str, tuple[Callable[[Json], Any], list[str]]] = {
    "list": (lambda content: content["images"], ["train.json", "list"]),
    "no images": (remove("images"), ["train.json", "images"]),
    "no annotations": (remove("annotations"), ["train.json", "annotations"]),
    "no categories": (remove("categories"), ["train.json", "categories"]),
    "empty images": (lambda content: {**content, "images": []}, ["train.json", "images is empty"]),
    "empty categories": (lambda content: {**content, "categories": []}, ["train.json", "categories is empty"]),
    "empty annotations": (lambda content: {**content, "annotations": []}, ["train.json", "no usable annotation"]),
    "unknown image": (first_annotation(image_id=999), ["annotation 1", "unknown image 999", "add that image"]),
    "unknown category": (first_annotation(category_id=99), ["annotation 1", "unknown category 99"]),
    "only crowds": (only_crowds, ["train.json", "all crowd regions", "data.crowd=objects"]),
    "size": (lambda content: content["images"][1].update(height=50), ["2.png", "48x48", "50x48", "correct"]),
    "no such image": (lambda content: content["images"][1].update(file_name="no.png"), ["no.png", "no such image"]),
    "outside": (lambda content: content["images"][1].update(file_name="../x.png"), ["../x.png", "relative"]),
}


@pytest.mark.few(4)
@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_annotations(case: str, data: Path, tmp_path: Path) -> None:
    change, expected = BAD_FILES[case]
    spoil(data / "train.json", change)
    text = message(run("train", *SMALL, *data_of(data), "output_dir=run", folder=tmp_path))
    for part in expected:
        assert part in text
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("case", ["list", "no annotations", "empty images", "unknown image"])
def test_bad_annotations_to_evaluate_on(case: str, data: Path, tmp_path: Path) -> None:
    spoil(data / "val.json", BAD_FILES[case][0])
    text = message(run("evaluate", "methods=none", *data_of(data), "output_dir=report", folder=tmp_path))
    assert "val.json" in text
    assert not (tmp_path / "report" / "results.json").exists()


@pytest.mark.parametrize("content", ["", "{not json", "\x00\x01"])
def test_unreadable_json(content: str, data: Path, tmp_path: Path) -> None:
    (data / "val.json").write_text(content)
    assert "val.json" in message(run("evaluate", "methods=none", *data_of(data), folder=tmp_path))


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.root=nowhere", ["nowhere", "no such file"]),
        ("data.train_annotations=no.json", ["no.json", "data.train_annotations"]),
        ("data.train_annotations=null data.root=.", ["holds no COCO json", "set data.train_annotations"]),
        ("data.train_images=no", ["no such image folder", "data.train_images"]),
        ("data.train_images=null", ["data.train_images is null"]),
        ("data.val_annotations=null", ["data.val_annotations is null", "data.val_fraction"]),
        ("data.val_images=no", ["no such image folder", "data.val_images"]),
        ("data.val_images=null", ["no such image", "data.val_images"]),
        ("data.val_fraction=0.5", ["exclude each other"]),
        ("device=gpu", ["device=gpu", "use auto, cpu, cuda"]),
        ("device=cuda:99", ["device=cuda:99", "device=auto"]),
        ("segmenter.weights=no.pt", ["segmenter.weights=no.pt", "no such file"]),
        ("segmenter.min_size=32", ["min_size", "scale"]),
        ("optimizer.lr=-1", ["torch.optim.AdamW", "learning rate"]),
        ("augmentation.transforms.flip.p=2", ["transforms.flip", "p=2"]),
        ("trainer.max_steps=null trainer.epochs=null", ["never end", "trainer.epochs"]),
        ("resume=no.pt", ["no.pt", "no such file"]),
        ("resume=auto", ["resume=auto needs output_dir="]),
    ],
)
def test_what_is_not_there(override: str, expected: list[str], workplace: Workplace, tmp_path: Path) -> None:
    finished = run("train", *SMALL, *data_of(workplace.data), *override.split(), folder=tmp_path)
    text = message(finished)
    for part in expected:
        assert part in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("setting", ["segmenter.weights=COCO_V2", "segmenter.architecture=vgg"])
def test_settings_of_the_network_are_checked_before_data_are_drawn(setting: str, tmp_path: Path) -> None:
    assert f"{setting}: " in message(run("train", setting, folder=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_failed_run_leaves_no_empty_folder(tmp_path: Path) -> None:
    message(run("train", "data=coco", "output_dir=run", folder=tmp_path))
    message(run("evaluate", "checkpoint=no.pt", "output_dir=report", folder=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("train", ["seed=0,a"], ["seed=a: give a whole number from 0"]),
        ("train", ["seed=0,-1", "sed=3"], ["seed=-1: give a whole number from 0", "sed=3: no such key"]),
        ("train", ["device=cpu,cuda:9"], ["device=cuda:9: not there"]),
        ("train", ["optimizer.lr=0.1,-1,-2"], ["learning rate: -1", "learning rate: -2"]),
        ("train", ["segmenter.weights=null,COCO_V2"], ["segmenter.weights=COCO_V2: "]),
        ("train", ["segmenter=mask_rcnn_resnet18_fpn,foo"], ["segmenter=foo: no such option"]),
        ("train", ["trainer.batch_size=range(1,-1,-1)"], ["trainer.batch_size=0: "]),
        ("train", ["schedule.warmup_factor=interval(0.5,2)"], ["interval(0.5,2): an interval is for a search"]),
        ("train", ["optimizer=glob(*)", "optimizer.lr=-1"], ["torch.optim.AdamW: ", "torch.optim.SGD: "]),
        ("train", ["optimizer=glob(x*)"], ["optimizer=glob(x*): matches no option"]),
        ("evaluate", ["tune.images=3,0"], ["tune.images=0: "]),
    ],
)
def test_every_value_of_a_sweep_is_checked(
    script: str, arguments: list[str], expected: list[str], tmp_path: Path
) -> None:
    text = message(run(script, "--multirun", *arguments, folder=tmp_path))
    for part in expected:
        assert text.count(part) == 1, text
    assert not list(tmp_path.iterdir())


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["optimizer.lr=abc"], ["optimizer.lr=abc: give a number"]),
        (["trainer.batch_size=abc", "optimizer.lr=-1"], ["trainer.batch_size=abc: ", "learning rate: -1"]),
        (["optimizer.betas=[2,0.9]", "device=gpu"], ["beta", "device=gpu: not a device"]),
        (["optimizer=sgd", "optimizer.lr=-1", "sed=1"], ["torch.optim.SGD: ", "sed=1: no such key"]),
    ],
)
def test_settings_of_parts_are_checked_before_data_are_drawn(
    arguments: list[str], expected: list[str], tmp_path: Path
) -> None:
    text = message(run("train", *arguments, folder=tmp_path))
    for part in expected:
        assert text.count(part) == 1, text
    assert not list(tmp_path.iterdir())


def test_a_missing_image_is_found_before_training(data: Path, tmp_path: Path) -> None:
    (data / "val" / "102.png").unlink()
    (data / "val" / "103.png").unlink()
    text = message(run("train", *SMALL, *data_of(data), folder=tmp_path))
    assert "102.png: no such image (2 of 5 are missing); set data.val_images" in text


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_corrupt_image_is_named(split: str, data: Path, tmp_path: Path) -> None:
    name = {"train": "2.png", "val": "102.png"}[split]
    path = data / split / name
    path.write_bytes(path.read_bytes()[:60])
    text = message(run("train", *SMALL, *data_of(data), "trainer.max_steps=4", folder=tmp_path))
    assert name in text
    assert "data.on_bad_image=skip" in text


def test_skipped_images_are_counted(data: Path, tmp_path: Path) -> None:
    for name in ("train/2.png", "val/102.png"):
        (data / name).write_bytes(b"no image")
    whole_epoch = ["trainer.batch_size=5", "trainer.max_steps=1", "data.on_bad_image=skip"]
    training = run("train", *SMALL, *data_of(data), *whole_epoch, "output_dir=run", folder=tmp_path)
    assert (training.code, training.err) == (0, "")
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(entry.get("train/skipped_images", 0) for entry in entries) == 1
    assert "2.png" in training.out
    rows = ["methods=none", "+segmenter@segmenters.otsu=threshold_otsu", "output_dir=report"]
    text = message(run("evaluate", *rows, *data_of(data), folder=tmp_path))
    assert "102.png" in text
    assert "data.on_bad_image=skip" in text
    evaluation = run("evaluate", *rows, *data_of(data), "data.on_bad_image=skip", folder=tmp_path)
    assert (evaluation.code, evaluation.err) == (0, "")
    found = json.loads((tmp_path / "report" / "results.json").read_text())["data"]
    assert (found["images"], found["unreadable_images"]) == (4, 1)
    assert found["used"] + found["crowd"] + found["dropped"] == found["annotations"] == 12
    assert found["dropped"] == 3


def test_weights_of_another_shape(workplace: Workplace, tmp_path: Path) -> None:
    overrides = [*SMALL, *data_of(workplace.data), f"segmenter.weights={workplace.best}"]
    text = message(run("train", *overrides, "segmenter.fpn_channels=16", folder=tmp_path))
    assert str(workplace.best) in text
    assert "(8, " in text
    assert "(16, " in text


@pytest.mark.few(1)
@pytest.mark.parametrize("content", ["text", "number", "dictionary", "code"])
def test_what_is_not_weights(content: str, workplace: Workplace, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    if content == "text":
        path.write_text("weights")
    else:
        torch.save({"number": 3, "dictionary": {"a": 1}, "code": print}[content], path)
    text = message(run("train", *SMALL, *data_of(workplace.data), f"segmenter.weights={path}", folder=tmp_path))
    assert str(path) in text
    assert "weights.pt" in message(run("evaluate", f"checkpoint={path}", folder=tmp_path))


@pytest.mark.few(2)
@pytest.mark.parametrize("checkpoint", ["no.pt", "[a.pt,b.pt]", "data", None])
def test_no_checkpoint(checkpoint: str | None, data: Path, tmp_path: Path) -> None:
    named = [] if checkpoint is None else [f"checkpoint={checkpoint}"]
    text = message(run("evaluate", *named, "output_dir=report", folder=tmp_path))
    if checkpoint is None:
        assert "train a network first" in text
    else:
        assert checkpoint.strip("[]").split(",")[0] in text


GIVE_THE_DATA = "data=coco data.root=DIR data.val_annotations=FILE data.val_images=DIR"


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ([], f"or use methods=classical {GIVE_THE_DATA}"),
        (["methods=classical"], f"or give the data: {GIVE_THE_DATA}"),
        (["methods=none", "predictions.theirs=found.json"], f"or give the data: {GIVE_THE_DATA}"),
        (["data=synthetic"], "or use methods=classical"),
    ],
)
def test_no_checkpoint_and_what_does_without(arguments: list[str], remedy: str, tmp_path: Path) -> None:
    text = message(run("evaluate", *arguments, folder=tmp_path))
    assert text.startswith(
        "error: no checkpoint below runs/train: train a network first, name one with checkpoint=PATH"
    )
    assert text.endswith(f", {remedy}")


def test_half_a_checkpoint(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "half.pt").write_bytes(workplace.best.read_bytes()[:100_000])
    assert "half.pt" in message(run("evaluate", "checkpoint=half.pt", folder=tmp_path))
    weights = torch.load(workplace.best, weights_only=True)["model"]
    torch.save(weights, tmp_path / "bare.pt")
    assert "segmenter.weights=" in message(run("evaluate", "checkpoint=bare.pt", folder=tmp_path))


@pytest.mark.few(1)
@pytest.mark.parametrize("target", ["os.system", "segtrain.masks.np.save", 3])
def test_a_checkpoint_runs_no_foreign_code(target: object, workplace: Workplace, tmp_path: Path) -> None:
    config = load_checkpoint(workplace.best).config
    for number, segmenter in enumerate(
        [{"_target_": target, "command": "touch hacked"}, {**config["segmenter"], "architecture": {"_target_": target}}]
    ):
        path = resave(workplace.best, tmp_path / f"{number}.pt", config={**config, "segmenter": segmenter})
        arguments = ["methods=mask_rcnn", f"checkpoint={path}", f"output_dir=report{number}"]
        text = message(run("evaluate", *arguments, folder=tmp_path))
        assert str(target) in text
        assert path.name in text
    assert not (tmp_path / "hacked").exists()


def test_a_checkpoint_draws_no_data_with_foreign_code(workplace: Workplace, tmp_path: Path) -> None:
    config = load_checkpoint(workplace.best).config
    data = {**config["data"], "generator": {"_target_": "os.mkdir", "path": "hacked"}}
    path = resave(workplace.best, tmp_path / "bad.pt", config={**config, "data": data})
    run("evaluate", "methods=none", f"checkpoint={path}", "output_dir=report", folder=tmp_path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("segmenter.fpn_channels=16", ["segmenter.fpn_channels is 8", "16"]),
        ("segmenter=mask_rcnn_resnet18_fpn", ["segmenter.architecture is mobilenet_v2_fpn", "resnet18_fpn"]),
        ("optimizer=sgd", ["optimizer._target_ is torch.optim.AdamW", "torch.optim.SGD"]),
        ("classes", ["categories is square, bar", "square, beam"]),
        ("best", ["best.pt", "use last.pt"]),
    ],
)
def test_resume_from_another_run(override: str, expected: list[str], workplace: Workplace, data: Path) -> None:
    if override == "classes":
        for split in ("train", "val"):
            spoil(data / f"{split}.json", lambda content: content["categories"][1].update(name="beam"))
    state = workplace.best if override == "best" else workplace.best.with_name("last.pt")
    overrides = [*SMALL, *data_of(data), *([override] if "=" in override else [])]
    text = message(run("train", *overrides, f"resume={state}", "output_dir=new", folder=data.parent))
    for part in [str(state), *expected]:
        assert part in text
    assert not (data.parent / "new" / "checkpoints").exists()


RECORD = {"image_id": 101, "category_id": 3, "bbox": [1, 1, 5, 5], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{**RECORD, "image_id": 999}], "record 1 (image 999): no such image"),
        ([RECORD, {**RECORD, "category_id": 99}], "record 2 (image 101): no such category"),
        ([{**RECORD, "score": "high"}], "record 1 (image 101): score"),
        ({"predictions": []}, "list of records"),
        (None, "cannot read the predictions"),
    ],
)
def test_bad_predictions(content: object, expected: str, data: Path, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "found.json").write_text(json.dumps(content))
    rows = ["methods=none", "predictions.other=found.json"]
    text = message(run("evaluate", *rows, *data_of(data), "output_dir=report", folder=tmp_path))
    assert "found.json" in text
    assert expected in text


def test_a_bad_file_among_those_that_processes_share(data: Path, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps([RECORD]))
    (tmp_path / "bad.json").write_text(json.dumps([{**RECORD, "image_id": 999}]))
    rows = ["methods=none", *(f"predictions.{name}={name}.json" for name in ("good", "bad"))]
    text = message(run("evaluate", *rows, *data_of(data), "output_dir=report", "threads=2", folder=tmp_path))
    assert "bad.json: record 1 (image 999): no such image" in text


def test_a_folder_that_holds_results_is_left_alone(workplace: Workplace) -> None:
    before = digest(workplace.folder)
    for script, folder, held in (
        ("train", "run", "checkpoints"),
        ("evaluate", "report", "results.json"),
        ("train", "report", "results.json"),
        ("evaluate", "run", "checkpoints"),
    ):
        text = message(run(script, "methods=none" if script == "evaluate" else "seed=1", f"output_dir={folder}",
                           folder=workplace.folder))  # fmt: skip
        assert f"{folder} already holds {held}" in text
        assert "overwrite=true" in text
        assert ("resume=auto" in text) == (script == {"checkpoints": "train", "results.json": "evaluate"}[held])
    assert digest(workplace.folder) == before


@pytest.mark.parametrize("refused", ["setting", "header", "pixels"])
def test_a_run_is_replaced_only_by_one_that_works(refused: str, workplace: Workplace, data: Path) -> None:
    folder = data.parent / "run"
    shutil.copytree(workplace.run, folder)
    before = digest(folder)
    overrides = [*SMALL, *data_of(data), "output_dir=run", "overwrite=true", "trainer.preview_images=1"]
    if refused == "setting":
        overrides.append("optimizer.lr=-1")
    else:
        path = data / "train" / "4.png"
        path.write_bytes(b"no image" if refused == "header" else path.read_bytes()[:60])
        overrides.append("trainer.batch_size=5")
    message(run("train", *overrides, folder=data.parent))
    after = digest(folder)
    if refused == "pixels":  # this run had begun, and the log says so
        assert after.pop("train.log") != before.pop("train.log")
    assert after == before


def test_a_refused_evaluation_leaves_the_record_of_the_last_one(workplace: Workplace, tmp_path: Path) -> None:
    shutil.copytree(workplace.report, tmp_path / "report")
    before = digest(tmp_path / "report")
    message(run("evaluate", "checkpoint=no.pt", "output_dir=report", "overwrite=true", folder=tmp_path))
    assert digest(tmp_path / "report") == before


@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_an_output_folder_that_cannot_be_written(script: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "output_dir file" in message(run(script, "output_dir=file", folder=tmp_path))
    assert "is a file" in message(run(script, "output_dir=file/run", folder=tmp_path))
    assert (tmp_path / "file").read_text() == "mine"
    closed = "/proc/run" if os.geteuid() == 0 else str(tmp_path / "closed")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
    assert f"output_dir {closed} cannot be written" in message(run(script, f"output_dir={closed}", folder=tmp_path))


def test_other_categories_than_the_checkpoints(workplace: Workplace, data: Path) -> None:
    spoil(data / "val.json", lambda content: content["categories"][1].update(name="beam"))
    arguments = [f"checkpoint={workplace.best}", "methods=mask_rcnn", f"data.root={data}", "threads=1"]
    text = message(run("evaluate", *arguments, folder=data.parent))
    assert "square, bar" in text
    assert "square, beam" in text
    assert "tracks=class_agnostic" in text
    finished = run("evaluate", *arguments, "tracks=class_agnostic", "output_dir=report", folder=data.parent)
    assert (finished.code, finished.err) == (0, "")
    row = json.loads((data.parent / "report" / "results.json").read_text())["methods"]["mask_rcnn"]
    assert row["class_agnostic"]["mask_ap"] is not None
    assert row["class_aware"] is None


def test_the_ids_of_categories_change_no_number(workplace: Workplace, data: Path) -> None:
    def exchange(content: Json) -> None:
        new = {3: 20, 7: 10}
        for entry in content["categories"]:
            entry["id"] = new[entry["id"]]
        for annotation in content["annotations"]:
            annotation["category_id"] = new[annotation["category_id"]]

    arguments = [f"checkpoint={workplace.best}", "methods=mask_rcnn", "gallery=0", f"data.root={data}", "threads=1"]
    found = []
    for name, ids in (("before", {3, 7}), ("after", {10, 20})):
        if name == "after":
            spoil(data / "val.json", exchange)
        finished = run("evaluate", *arguments, f"output_dir={name}", folder=data.parent)
        assert (finished.code, finished.err) == (0, "")
        row = json.loads((data.parent / name / "results.json").read_text())["methods"]["mask_rcnn"]
        found.append({entry.pop("name"): entry for entry in row["class_aware"].pop("per_category")})
        assert {entry.pop("id") for entry in found[-1].values()} == ids
        found[-1]["all"] = row["class_aware"]["mask_ap"]
    assert found[0] == found[1]


def test_data_may_lack_a_category_of_the_checkpoint(workplace: Workplace, data: Path) -> None:
    def without_bars(content: Json) -> None:
        content["categories"] = [entry for entry in content["categories"] if entry["name"] == "square"]
        content["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] == 3]

    spoil(data / "val.json", without_bars)
    arguments = [f"checkpoint={workplace.best}", "methods=mask_rcnn", f"data.root={data}", "threads=1"]
    finished = run("evaluate", *arguments, "output_dir=report", folder=data.parent)
    assert (finished.code, finished.err) == (0, "")
    assert "lacks the categories bar of the checkpoint; they have no scores" in finished.out
    row = json.loads((data.parent / "report" / "results.json").read_text())["methods"]["mask_rcnn"]
    objects = {entry["name"]: entry["annotations"] for entry in row["class_aware"]["per_category"]}
    assert objects == {"square": 8, "bar": 0}


def test_a_loss_that_is_not_finite(workplace: Workplace, tmp_path: Path) -> None:
    overrides = [*SMALL, *data_of(workplace.data), "optimizer.lr=1e30", "schedule=constant", "schedule.warmup_steps=0"]
    text = message(run("train", *overrides, "trainer.max_steps=20", "trainer.max_grad_norm=null", folder=tmp_path))
    assert "the loss is not finite at step" in text
    assert "images" in text
    assert "loss_mask=" in text


NO_FILE = ["data=coco", "data.train_annotations=no.json", "data.train_images=x", "data.val_fraction=0.5"]


# The same as a person sees it, in a process of its own.
@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("train", ["trainer.epoch=3"], "did you mean trainer.epochs?"),
        pytest.param("evaluate", [], "no checkpoint below runs/train", marks=pytest.mark.slow),
        pytest.param("train", NO_FILE, "no.json: no such file", marks=pytest.mark.slow),
        pytest.param("train", ["trainer.batch_size=0"], "trainer.batch_size=0", marks=pytest.mark.slow),
        pytest.param("evaluate", ["methods=none", *NO_FILE], "no.json: no such file", marks=pytest.mark.slow),
        pytest.param("evaluate", ["output_dir=/dev/null/x"], "cannot be written", marks=pytest.mark.slow),
    ],
)
def test_in_a_process(script: str, arguments: list[str], expected: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, str(ROOT / f"{script}.py"), *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 1
    assert expected in finished.stderr


def test_a_torchvision_of_another_build(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    reason = "operator torchvision::nms does not exist"
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise RuntimeError('{reason}')")
    finished = subprocess.run(
        [sys.executable, str(ROOT / "train.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"error: torchvision cannot be imported ({reason})")
    assert finished.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_corrupt_file_in_a_process_with_workers(data: Path, tmp_path: Path) -> None:
    """The error travels through a loader's worker, with a progress bar on the terminal."""
    path = data / "train" / "3.png"
    path.write_bytes(path.read_bytes()[:60])  # its header is whole
    overrides = [*SMALL, *data_of(data), "trainer.workers=1", "trainer.preview_images=1", "trainer.max_steps=9"]
    finished = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *overrides], cwd=tmp_path, capture_output=True, text=True
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 1
    assert "3.png: cannot read the image" in finished.stderr
