"""train.py from end to end on a small data set."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segtrain.cli.main import main
from segtrain.training.checkpoint import load_checkpoint
from segtrain.training.run_history import IMAGES, OBJECTS
from segtrain.training.trackers.tensorboard_tracker import tag_of
from tests.conftest import Workplace
from tests.helpers.scripts import ROOT, SMALL, SMALL_NETWORK, data_of, run


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def steps(folder: Path, name: str = "train/loss") -> list[int]:
    return [entry["step"] for entry in journal(folder) if name in entry]


def test_the_folder_holds_what_others_rely_on(workplace: Workplace) -> None:
    names = {str(path.relative_to(workplace.run)) for path in workplace.run.rglob("*")}
    assert {"checkpoints/best.pt", "checkpoints/last.pt", "metrics.jsonl", "preview.png"} <= names
    assert {".hydra/config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml", "train.log"} <= names
    assert not [name for name in names if "tmp" in name]
    assert workplace.training.err == ""
    counted = "train: 5 images, 12 objects", "val: 5 images, 12 objects"
    for part in (*counted, "Mask R-CNN, aligned=true: ", "fp32 on cpu, 1 thread\n", "mask_ap"):
        assert part in workplace.training.out


def test_checkpoints_hold_what_evaluation_needs(workplace: Workplace) -> None:
    best, last = (load_checkpoint(workplace.run / "checkpoints" / f"{name}.pt") for name in ("best", "last"))
    assert best.class_names == ["square", "bar"]
    assert best.category_ids == [3, 7]
    assert (best.max_dets, best.score_threshold, best.precision, best.seed) == (100, 0.5, "fp32", 0)
    assert (best.step, best.val_ids) == (2, None)
    assert best.training is None
    assert last.training is not None
    assert Path(best.config["data"]["root"]) == workplace.data
    assert Path(best.config["output_dir"]) == workplace.run
    assert best.config["segmenter"]["aligned"] is True  # as resolved
    assert workplace.training.result == best.metrics["mask_ap"]


def test_the_score_threshold_is_chosen_at_the_end(workplace: Workplace, tmp_path: Path) -> None:
    arguments = [*SMALL, *data_of(workplace.data), "score_threshold=auto", "trainer.threshold_images=3"]
    finished = run("train", *arguments, "output_dir=run", folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    best, last = (load_checkpoint(tmp_path / "run" / "checkpoints" / f"{name}.pt") for name in ("best", "last"))
    assert (best.threshold_images, last.threshold_images) == (3, 3)
    assert last.score_threshold == best.score_threshold  # one validation, so the same weights
    assert f"score threshold {best.score_threshold:g}: F1 " in finished.out
    assert (best.training_images, best.training_objects) == (5, 12)
    evaluated = run("evaluate", "methods=mask_rcnn", "checkpoint=run/checkpoints/best.pt", "output_dir=report",
                    "gallery=0", "threads=1", folder=tmp_path)  # fmt: skip
    assert (evaluated.code, evaluated.err) == (0, "")
    row = json.loads((tmp_path / "report" / "results.json").read_text())["methods"]["mask_rcnn"]
    assert row["score_threshold"] == best.score_threshold
    assert row["description"] == "Fine-tuned Mask R-CNN, its score threshold chosen on 3 training images"
    assert (row["costs"]["training_images"], row["costs"]["training_objects"]) == (5, 12)


def test_a_preview_can_be_had_alone(workplace: Workplace, tmp_path: Path) -> None:
    arguments = [*SMALL, *data_of(workplace.data), "trainer.max_steps=0", "output_dir=run"]
    finished = run("train", *arguments, folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    with Image.open(tmp_path / "run" / "preview.png") as picture:
        assert min(picture.size) > 100
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_images_held_in_memory_change_nothing(workplace: Workplace, tmp_path: Path) -> None:
    finished = run("train", *SMALL, *data_of(workplace.data), "data.cache=ram", "output_dir=run", folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert "data.cache=ram: 5 images" in finished.out
    losses = [[entry.get("train/loss") for entry in journal(folder)] for folder in (tmp_path / "run", workplace.run)]
    assert losses[0] == losses[1]


def test_samplers_are_recipes(workplace: Workplace, tmp_path: Path) -> None:
    sampling = ["trainer.aspect_grouping=true", "trainer.repeat_threshold=1", "trainer.max_steps=null"]
    epochs = ["trainer.epochs=1", "output_dir=run"]
    finished = run("train", *SMALL, *data_of(workplace.data), *sampling, *epochs, folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    # Both categories are in four of five images, shown sqrt(5/4) times each: no whole image more.
    assert steps(tmp_path / "run") == [1, 2, 3]


def test_each_job_of_a_sweep_records_its_command(workplace: Workplace, tmp_path: Path) -> None:
    arguments = [*SMALL, *data_of(workplace.data), "trainer.max_steps=0", "output_dir=runs", "seed=3,4", "--multirun"]
    finished = run("train", *arguments, folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    for job, seed in (("0", 3), ("1", 4)):
        record = tmp_path / "runs" / job / ".hydra"
        assert f"seed={seed}" in yaml.safe_load((record / "overrides.yaml").read_text())
        assert yaml.safe_load((record / "config.yaml").read_text())["seed"] == seed
        assert yaml.safe_load((record / "hydra.yaml").read_text())["hydra"]["job"]["config_name"] == "train"
        assert "run folder" in (tmp_path / "runs" / job / "train.log").read_text()
    assert "runs/1" not in (tmp_path / "runs" / "0" / "train.log").read_text()


def test_metrics_are_those_of_tensorboard(workplace: Workplace) -> None:
    events = EventAccumulator(str(workplace.run)).Reload()
    told = {(tag, event.step): event.value for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}
    # Positions on the axis, settings, and counts of the data and of what has not happened are no curves.
    undrawn = [f"train/{name}" for name in ("epoch", "minutes", "threads", "skipped_images", "steps_left_out")]
    undrawn += [IMAGES, OBJECTS]
    written = {
        (tag_of(name), entry["step"]): value
        for entry in journal(workplace.run)
        for name, value in entry.items()
        if name not in ("step", *undrawn) and value is not None
    }
    assert told.keys() == written.keys()
    for key, value in written.items():
        assert told[key] == pytest.approx(value, rel=1e-6), key
    names = {name for entry in journal(workplace.run) for name in entry}
    wanted = {"train/loss", "train/loss_mask", "train/learning_rate", "train/gradient_norm", "train/images_per_second"}
    assert wanted | {"train/data_wait_share", "train/memory_gib"} <= names
    assert {"validation/mask_ap", "validation/box_ap", "validation/miou"} <= names
    assert {"validation/loss", "validation/loss_mask", "validation/categories/bar/mask_ap50"} <= names
    assert "training samples" in events.Tags()["images"]
    assert any(tag.startswith("validation/") for tag in events.Tags()["images"])
    assert {"config/text_summary", "custom_scalars__config__", "precision-recall/all categories"} <= {
        *events.Tags()["tensors"]
    }
    assert {"scores/false detections", "mask sizes/true (square root of pixels)"} <= {*events.Tags()["histograms"]}
    plugins = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"demo" in plugins
    assert b"trainer.max_steps" in plugins


def test_resume_auto_starts_afresh_then_goes_on(workplace: Workplace, tmp_path: Path) -> None:
    arguments = [*SMALL, *data_of(workplace.data), "output_dir=run", "resume=auto", "trainer.validate_every=1"]
    first = run("train", *arguments, folder=tmp_path)
    assert (first.code, first.err) == (0, "")
    assert steps(tmp_path / "run") == [1, 2]
    second = run("train", *arguments, "trainer.max_steps=5", folder=tmp_path)
    assert (second.code, second.err) == (0, "")
    assert "resuming" in second.out
    assert steps(tmp_path / "run") == [1, 2, 3, 4, 5]
    assert steps(tmp_path / "run", "validation/mask_ap") == [2, 3, 5]  # an epoch is three batches
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt").step == 5


def test_resume_from_a_path_in_a_new_folder(workplace: Workplace, tmp_path: Path) -> None:
    last = workplace.best.with_name("last.pt")
    before = last.read_bytes()
    arguments = [*SMALL, *data_of(workplace.data), f"resume={last}", "output_dir=new", "trainer.max_steps=3"]
    finished = run("train", *arguments, "trainer.batch_size=auto", folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert "trainer.batch_size=auto: 2, as in the run that is resumed" in finished.out
    assert "changed: trainer.batch_size" not in finished.out
    assert steps(tmp_path / "new") == [3]
    assert (tmp_path / "new" / "checkpoints" / "best.pt").exists()
    assert last.read_bytes() == before


@pytest.mark.slow
def test_resuming_with_another_seed_keeps_the_drawn_split(workplace: Workplace, tmp_path: Path) -> None:
    drawn = ["data.val_annotations=null", "data.val_images=null", "data.val_fraction=0.4", "output_dir=run"]
    arguments = [*SMALL, *data_of(workplace.data), *drawn, "resume=auto"]
    ids, recorded = [], []
    for more in ([], ["seed=3", "trainer.max_steps=3"], ["seed=4", "data.val_fraction=0.6", "trainer.max_steps=4"]):
        finished = run("train", *arguments, *more, folder=tmp_path)
        assert (finished.code, finished.err) == (0, "")
        ids.append(load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt").val_ids)
        recorded.append([(tmp_path / "run" / "split" / f"{name}.json").read_text() for name in ("train", "val")])
        assert ("keeps its split, drawn with 0.4" in finished.out) == ("data.val_fraction=0.6" in more)
    assert ids[0]
    assert ids == [ids[0]] * 3
    assert recorded == [recorded[0]] * 3


@pytest.mark.slow
def test_a_recorded_split_can_be_given_in_place_of_the_fraction(workplace: Workplace, data: Path) -> None:
    content = json.loads((data / "train.json").read_text())
    for image in content["images"]:
        image["slide"] = "ab"[image["id"] % 2]
    (data / "train.json").write_text(json.dumps(content))
    drawn = ["data.val_annotations=null", "data.val_images=null", "data.val_fraction=0.4", "data.split_by=slide"]
    first = run("train", *SMALL, *data_of(data), *drawn, "output_dir=first", folder=data.parent)
    assert (first.code, first.err) == (0, "")
    split = data.parent / "first" / "split"
    parts = [json.loads((split / f"{name}.json").read_text()) for name in ("train", "val")]
    assert sorted(len({image["slide"] for image in part["images"]}) for part in parts) == [1, 1]
    files = [f"data.{name}_annotations={split / name}.json" for name in ("train", "val")]
    again = run(
        "train", *SMALL, *data_of(data), *files, "data.val_images=null", "output_dir=second", folder=data.parent
    )
    assert (again.code, again.err) == (0, "")
    journals = [journal(data.parent / name) for name in ("first", "second")]
    keys = ("step", "train/loss", "validation/mask_ap", "validation/miou")
    losses = [[{k: entry[k] for k in keys if k in entry} for entry in each] for each in journals]
    assert losses[0] == losses[1]
    assert not (data.parent / "second" / "split").exists()
    evaluation = ["methods=mask_rcnn", "gallery=0", "threads=1"]
    for name in ("first", "second"):
        checkpoint = f"checkpoint={data.parent / name}/checkpoints/best.pt"
        assert run("evaluate", checkpoint, *evaluation, f"output_dir=e_{name}", folder=data.parent).code == 0
    found = [json.loads((data.parent / f"e_{name}" / "results.json").read_text()) for name in ("first", "second")]
    assert found[0]["data"]["used"] == found[1]["data"]["used"]
    assert found[0]["methods"]["mask_rcnn"]["class_aware"] == found[1]["methods"]["mask_rcnn"]["class_aware"]


def test_overwriting_leaves_nothing_of_the_old_run(workplace: Workplace, tmp_path: Path) -> None:
    arguments = [*SMALL, *data_of(workplace.data), "output_dir=run"]
    assert run("train", *arguments, folder=tmp_path).code == 0
    assert run("train", *arguments, "trainer.max_steps=1", "overwrite=true", folder=tmp_path).code == 0
    assert steps(tmp_path / "run") == [1]
    assert len(list((tmp_path / "run").glob("events.out*"))) == 1


def test_relative_paths_start_where_the_command_was_typed(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "data").symlink_to(workplace.data)
    (tmp_path / "weights.pt").symlink_to(workplace.best)
    arguments = [*SMALL, *data_of(Path("../data")), "segmenter.weights=../weights.pt", "trainer.max_steps=1"]
    finished = run("train", *arguments, "output_dir=../run", folder=tmp_path / "here")
    assert (finished.code, finished.err) == (0, "")
    config = load_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt").config
    assert Path(config["data"]["root"]).resolve() == workplace.data
    assert Path(config["segmenter"]["weights"]).is_absolute()
    assert not list((tmp_path / "here").iterdir())


def test_the_synthetic_data_set_is_made_and_learned(tmp_path: Path) -> None:
    size = ["train_images=8", "val_images=4", "size=64", "cells=[3,5]"]
    arguments = [*SMALL_NETWORK, *(f"data.generator.{s}" for s in size), "threads=1", "trainer.workers=0"]
    limits = ["trainer.max_steps=10", "trainer.batch_size=auto", "trainer.validation_images=0"]
    finished = run("train", *arguments, *limits, folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    for said in ("trainer.batch_size=auto: ", "10 steps of about "):
        assert sum(line.startswith(said) for line in finished.out.splitlines()) == 1
    assert (tmp_path / "data" / "synthetic" / "annotations" / "instances_val.json").exists()
    (folder,) = (tmp_path / "runs" / "train").iterdir()
    assert (folder / "checkpoints" / "best.pt").exists()
    evaluation = run("evaluate", "methods=mask_rcnn", "threads=1", folder=tmp_path)
    assert (evaluation.code, evaluation.err) == (0, "")
    (report,) = (tmp_path / "runs" / "evaluate").iterdir()
    found = json.loads((report / "results.json").read_text())
    assert found["checkpoint"]["path"] == str(folder / "checkpoints" / "best.pt")
    assert f"Report: {report / 'report.html'}" in evaluation.out.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_nothing_is_said_on_stderr(script: str, workplace: Workplace, tmp_path: Path) -> None:
    """With every warning on, which pytest's own filter would turn into errors, and with workers."""
    arguments = {
        "train": [*SMALL, *data_of(workplace.data), "trainer.workers=1", "augmentation=strong"],
        "evaluate": [f"checkpoint={workplace.best}"],
    }
    finished = subprocess.run(
        [sys.executable, "-W", "default", str(ROOT / f"{script}.py"), *arguments[script], "output_dir=out"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 0
    assert finished.stderr == ""
    assert "Warning" not in finished.stdout
    assert "Warning" not in (tmp_path / "out" / f"{script}.log").read_text()


def test_best_holds_the_weights_that_were_validated(workplace: Workplace) -> None:
    best, last = (load_checkpoint(workplace.run / "checkpoints" / f"{name}.pt") for name in ("best", "last"))
    assert last.training is not None
    name = "roi_heads.box_head.fc6.weight"
    assert torch.equal(best.model[name], last.model[name])  # averaged
    assert not torch.equal(best.model[name], last.training["model"][name])  # as the optimizer left them


def test_curves_lie_in_the_folder_and_can_be_laid_over_others(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 'content="segtrain curves"' in (workplace.run / "curves.html").read_text()
    page = tmp_path / "page.html"
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.jsonl").write_text((workplace.run / "metrics.jsonl").read_text())
    for _ in range(2):  # an own page is replaced
        assert main(["curves", str(workplace.run), str(other), "--out", str(page)]) == 0
    assert "2 training runs" in page.read_text()
    page.write_text("mine")
    assert main(["curves", str(workplace.run), "--out", str(page)]) == 1
    assert main(["curves", str(tmp_path), "--out", str(tmp_path / "new.html")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(";")[0] for line in said] == [
        f"{page}: exists already, and is no page of segtrain curves", f"{tmp_path}: no numbers in metrics.jsonl",
    ]  # fmt: skip
