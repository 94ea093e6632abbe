"""Tuned and oracle rows of evaluate.py, from end to end: what they read, what they leave, what the report says."""

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from segtrain.benchmark.methods import TunedMethod
from segtrain.benchmark.tuning import Tuning
from segtrain.cli.main import main
from segtrain.nodes import quote_override
from tests.conftest import Workplace
from tests.helpers.scripts import data_of, message, run

TUNED = ["threshold_tuned", "edge_tuned", "kmeans_tuned"]
ORACLES = ["threshold_oracle", "edge_oracle", "kmeans_oracle"]
ODD_NAME = "müller's {report}, (1) = #1"  # of an output folder, to be quoted in stated commands
QUICK = ["tune.trials=6", "gallery=0", "threads=1"]
_opened: list[Path] | None = None
_watching = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and not isinstance(arguments[0], int):
        _opened.append(Path(os.fsdecode(arguments[0])).absolute())


@contextmanager
def openings() -> Iterator[list[Path]]:
    """Every file that is opened within, by whatever part of Python."""
    global _opened, _watching
    if not _watching:
        sys.addaudithook(_note)  # it cannot be taken off again
        _watching = True
    _opened = found = []
    try:
        yield found
    finally:
        _opened = None


def evaluate(folder: Path, *arguments: str, output: str = "report") -> dict[str, Any]:
    finished = run("evaluate", *arguments, *QUICK, f"output_dir={quote_override(output)}", folder=folder)
    assert (finished.code, finished.err) == (0, "")
    content: dict[str, Any] = json.loads((folder / output / "results.json").read_text())
    return content


def stated_command(output: Path, row: str) -> list[str]:
    """The arguments that a winner's file says to use it with."""
    text = (output / "tuned" / "segmenter" / f"{row}_winner.yaml").read_text()
    return shlex.split(text.splitlines()[0].removeprefix("# python evaluate.py "))


def winner(folder: Path, row: str, output: str = "report") -> dict[str, Any]:
    node: dict[str, Any] = yaml.safe_load((folder / output / "tuned" / "segmenter" / f"{row}_winner.yaml").read_text())
    return node


@dataclass
class TunedRows:
    """An evaluation of all tuned rows: where it ran, its results, and the files that were opened while tuning."""

    folder: Path
    results: dict[str, Any]
    read: list[Path]


@pytest.fixture(scope="module")
def tuned(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> TunedRows:
    read: list[Path] = []

    def watched(method: Any) -> Any:
        def call(self: Any, *arguments: Any) -> Any:
            with openings() as found:
                result = method(self, *arguments)
            read.extend(found)
            return result

        return call

    folder = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        for kind, step in ((Tuning, "open"), (TunedMethod, "tune")):
            patch.setattr(kind, step, watched(getattr(kind, step)))
        found = evaluate(folder, "methods=tuned", *data_of(workplace.data), output=ODD_NAME)
    return TunedRows(folder, found, read)


def test_the_validation_split_is_never_read_while_tuning(workplace: Workplace, tuned: TunedRows) -> None:
    assert list(tuned.results["methods"]) == TUNED
    data = workplace.data
    below = {path.relative_to(data).parts[0] for path in tuned.read if path.is_relative_to(data)}
    assert below == {"train", "train.json"}
    images = {path.name for path in tuned.read if path.parent == data / "train"}
    assert images == {f"{number}.png" for number in range(1, 6)}


@pytest.mark.slow
def test_the_validation_split_does_not_change_what_is_found(tuned: TunedRows, data: Path) -> None:
    """The same winners with other validation images and labels."""
    rng = np.random.default_rng(0)
    content = json.loads((data / "val.json").read_text())
    for image in content["images"]:
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(data / "val" / image["file_name"])
    content["annotations"] = content["annotations"][:1]
    (data / "val.json").write_text(json.dumps(content))
    evaluate(data.parent, "methods=tuned", *data_of(data), output="after")
    for row in TUNED:
        assert winner(tuned.folder, row, ODD_NAME) == winner(data.parent, row, "after")


def test_a_winner_is_a_segmenter_like_any_other(tuned: TunedRows) -> None:
    first = tuned.results["methods"]
    for row in TUNED:
        again = evaluate(tuned.folder, *stated_command(tuned.folder / ODD_NAME, row), output=f"again_{row}")
        assert list(again["methods"]) == [row]
        outputs = [tuned.folder / name for name in (ODD_NAME, f"again_{row}")]
        records = [(output / "predictions" / f"{row}.json").read_text() for output in outputs]
        assert records[0] == records[1]
        assert len(records[0]) > 100
        assert again["methods"][row]["class_agnostic"]["mask_ap"] == first[row]["class_agnostic"]["mask_ap"]
        assert again["methods"][row]["description"] == first[row]["description"]
        assert first[row]["family"] == "tuned"
        assert re.search(r" 6 settings on (up to )?5 training images\b", first[row]["description"])


def test_a_winner_is_applied_to_new_images(workplace: Workplace, tuned: TunedRows, tmp_path: Path) -> None:
    folder = tuned.folder / ODD_NAME
    file = folder / "tuned" / "segmenter" / "threshold_tuned_winner.yaml"
    assert main(["predict", str(file), str(workplace.data / "val"), "--out", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    found = {(names[own["image_id"]], own["segmentation"]["counts"]) for own in content["annotations"]}
    records = json.loads((folder / "predictions" / "threshold_tuned.json").read_text())
    assert found == {(str(own["image_id"]), own["segmentation"]["counts"]) for own in records}
    assert found


def test_costs_stand_in_the_results(workplace: Workplace) -> None:
    found = json.loads((workplace.report / "results.json").read_text())["methods"]
    keys = {"training_minutes", "training_images", "training_objects", "tuning_seconds", "peak_memory_gib"}
    assert all(method["costs"].keys() == keys for method in found.values())
    for row in TUNED:
        costs = found[row]["costs"]
        assert costs["tuning_seconds"] > 0
        assert (costs["training_images"], costs["training_objects"]) == (5, 12)
        assert costs["training_minutes"] is None
    network = found["mask_rcnn"]["costs"]
    assert network["training_minutes"] > 0
    assert network["tuning_seconds"] is None
    assert set(found["kmeans"]["costs"].values()) == {None, found["kmeans"]["costs"]["peak_memory_gib"]}
    if sys.platform == "linux":
        assert 0 <= found["kmeans"]["costs"]["peak_memory_gib"] < 4
    oracle = found["threshold_oracle"]["costs"]
    assert oracle["tuning_seconds"] > 0
    assert {oracle[key] for key in keys if key.startswith("training")} == {None}


def test_oracles_are_marked_and_compete_with_nobody(workplace: Workplace) -> None:
    found = json.loads((workplace.report / "results.json").read_text())["methods"]
    assert [name for name, method in found.items() if method.get("oracle")] == ORACLES
    for name in ORACLES:
        assert "An upper bound of each image's F1" in found[name]["description"]
        assert found[name]["timing"]["segmentation"] is None
        base = {"threshold_oracle": "threshold_otsu", "edge_oracle": "edge_canny", "kmeans_oracle": "kmeans_lab"}[name]
        assert found[name]["class_agnostic"]["f1_50"] >= found[base]["class_agnostic"]["f1_50"]


def test_without_a_training_split_tuned_rows_are_left_out(workplace: Workplace, tmp_path: Path) -> None:
    arguments = [*data_of(workplace.data), "data.train_annotations=null"]
    found = evaluate(tmp_path, *arguments, "methods=tuned", "+segmenter@segmenters.otsu=threshold_otsu")
    assert list(found["methods"]) == ["otsu"]
    (warning,) = [said for said in found["warnings"] if "tune" in said]
    assert warning.startswith("threshold_tuned, edge_tuned, kmeans_tuned left out, with nothing to tune on")
    assert "data.train_annotations is null" in warning
    assert "left out, with nothing to tune on" in (tmp_path / "report" / "report.md").read_text()
    finished = run("evaluate", *arguments, "methods=tuned", "output_dir=none", folder=tmp_path)
    assert "there is no row to evaluate" in message(finished)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (2, "the 2 training images drawn hold no object; raise tune.images"),
        (1, "the training image drawn holds no object; raise tune.images"),
    ],
)
def test_a_draw_without_objects_is_told(data: Path, images: int, said: str) -> None:
    content = json.loads((data / "train.json").read_text())
    drawn = np.random.default_rng(0).permutation([image["id"] for image in content["images"]])[:images]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] not in drawn]
    (data / "train.json").write_text(json.dumps(content))
    arguments = [*data_of(data), f"tune.images={images}", "methods=tuned", "+segmenter@segmenters.otsu=threshold_otsu"]
    found = evaluate(data.parent, *arguments)
    assert list(found["methods"]) == ["otsu"]
    assert f"{', '.join(TUNED)} left out, with nothing to tune on: {said}" in found["warnings"]


def test_winners_of_before_go_with_the_rest_unless_they_are_used(workplace: Workplace, tmp_path: Path) -> None:
    data, row = data_of(workplace.data), "+segmenter@segmenters.mine=edge_tuned"
    evaluate(tmp_path, "methods=none", row, *data)
    left = tmp_path / "report" / "tuned" / "segmenter" / "mine_winner.yaml"
    evaluate(tmp_path, *stated_command(tmp_path / "report", "mine"), "overwrite=true")
    assert left.is_file()
    evaluate(tmp_path, "methods=none", "+segmenter@segmenters.otsu=threshold_otsu", *data, "overwrite=true")
    assert not left.exists()


def test_without_time_the_report_says_that_a_row_is_not_tuned(workplace: Workplace, tmp_path: Path) -> None:
    arguments = ["methods=none", "+segmenter@segmenters.mine=threshold_tuned", "tune.seconds=1e-6"]
    found = evaluate(tmp_path, *arguments, *data_of(workplace.data))
    assert found["warnings"][-1].startswith("mine is not tuned: no setting was scored in time")
    assert winner(tmp_path, "mine")["method"]["offset"] == 0


def test_unreadable_training_images_are_skipped_when_asked(workplace: Workplace, data: Path) -> None:
    (data / "train" / "2.png").write_bytes(b"no image")
    arguments = ["methods=none", "+segmenter@segmenters.mine=threshold_tuned", *data_of(data)]
    found = evaluate(data.parent, *arguments, "data.on_bad_image=skip", "data.check=off")
    assert found["methods"]["mine"]["costs"]["training_images"] == 4


def test_a_space_is_changed_like_any_setting(workplace: Workplace, tmp_path: Path) -> None:
    row = "segmenters.threshold_tuned"
    arguments = ["methods=tuned", f"~{'segmenters.edge_tuned'}", "~segmenters.kmeans_tuned", *data_of(workplace.data)]
    finished = run("evaluate", *arguments, f"{row}.space.otsu.min_area=[16,x]", folder=tmp_path)
    assert "otsu.min_area=x: give a whole number" in message(finished)
    evaluate(tmp_path, *arguments, f"{row}.space.otsu.min_area=[16]", f"~{row}.candidates.local", f"~{row}.space.local")
    assert winner(tmp_path, "threshold_tuned")["min_area"] == 16


@pytest.mark.slow
def test_a_checkpoint_names_the_training_split_too(workplace: Workplace, tmp_path: Path) -> None:
    newest = tmp_path / "runs" / "train" / "a run" / "checkpoints" / "best.pt"
    newest.parent.mkdir(parents=True)
    shutil.copy(workplace.best, newest)
    found = evaluate(tmp_path, "methods=tuned")
    assert list(found["methods"]) == TUNED
    expected = ("Only 5 images", "The rows are not compared with a reference")
    assert [said for said in found["warnings"] if not said.startswith(expected)] == []
    shutil.copytree(newest.parents[1], tmp_path / "runs" / "train" / "newer")
    again = evaluate(tmp_path, *stated_command(tmp_path / "report", "edge_tuned"), output="again")
    assert again["checkpoint"]["path"] == str(newest)
    assert again["methods"]["edge_tuned"]["class_agnostic"] == found["methods"]["edge_tuned"]["class_agnostic"]


def test_evaluated_images_are_not_searched_on(workplace: Workplace, tmp_path: Path) -> None:
    """Where a file or folder of images serves as both, what it shares is left out, and the report says so."""
    root = shutil.copytree(workplace.data, tmp_path / "data")
    both = [*data_of(root), "data.train_annotations=val.json", "data.train_images=val", "methods=tuned"]
    found = run("evaluate", *both, *QUICK, "output_dir=none", folder=tmp_path)
    assert "all training images are among the evaluated ones" in found.out + found.err
    train, val = (json.loads((root / f"{name}.json").read_text()) for name in ("train", "val"))
    train["images"] += [{**image, "id": 1000 + image["id"]} for image in val["images"][:2]]
    (root / "train.json").write_text(json.dumps(train))
    shutil.copytree(root / "train", root / "both")
    shutil.copytree(root / "val", root / "both", dirs_exist_ok=True)
    one_folder = [*data_of(root), "data.train_images=both", "data.val_images=both", "data.check=off"]
    said = "2 training images are evaluated too; settings were searched on the others"
    assert said in evaluate(tmp_path, *one_folder, "methods=tuned", output="some")["warnings"]
