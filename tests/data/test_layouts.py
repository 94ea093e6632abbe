"""Layouts of COCO data that a root alone leads to, and labels of other tools where COCO json is expected."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from segtrain.cli.launch import compose_runs
from segtrain.cli.main import main
from segtrain.data.foreign.label_kinds import LABEL_KINDS, recognise
from segtrain.data.layouts import with_folds, with_layout
from segtrain.errors import SegtrainError
from tests.helpers.conversions import STAR, draw_image, write_json
from tests.helpers.scripts import SMALL, run

NOTHING: dict[str, Any] = {
    "root": None, "generator": None, "val_fraction": None, "train_annotations": None, "train_images": None,
    "val_annotations": None, "val_images": None, "folds": None, "fold": None,
}  # fmt: skip


def write_part(json_path: Path, *images: Path, folder: Path | None = None) -> None:
    """Write a COCO json of a few images, with their files."""
    entries, annotations = [], []
    polygon = [value for point in STAR for value in point]
    for number, image in enumerate(images, 1):
        draw_image(image)
        name = image.name if folder is None else image.relative_to(folder).as_posix()
        entries.append({"id": number, "file_name": name, "height": 40, "width": 60})
        mask = {"segmentation": [polygon], "bbox": [6.5, 4, 24, 27.75], "area": 400, "iscrowd": 0}
        annotations.append({"id": number, "image_id": number, "category_id": 1, **mask})
    categories = [{"id": 1, "name": "cell"}]
    info = {"info": {"year": 2024}, "licenses": []}
    write_json(json_path, {**info, "categories": categories, "images": entries, "annotations": annotations})


def coco_2017(root: Path) -> list[str | float | None]:
    for part in ("train2017", "val2017"):
        write_part(root / "annotations" / f"instances_{part}.json", root / part / "000000000001.jpg")
        write_part(root / "annotations" / f"person_keypoints_{part}.json", root / part / "000000000001.jpg")
        write_json(root / "annotations" / f"captions_{part}.json", {"info": {}, "images": [], "annotations": []})
    annotations = [f"annotations/instances_{part}.json" for part in ("train2017", "val2017")]
    return [annotations[0], "train2017", annotations[1], "val2017", None]


def roboflow(root: Path) -> list[str | float | None]:
    for part in ("train", "valid", "test"):
        write_part(root / part / "_annotations.coco.json", root / part / f"{part}_png.rf.0123456789abcdef.jpg")
    return ["train/_annotations.coco.json", "train", "valid/_annotations.coco.json", "valid", None]


def cvat(root: Path) -> list[str | float | None]:
    images = [root / "images" / "default" / f"{number}.png" for number in range(8)]
    write_part(root / "annotations" / "instances_default.json", *images)
    return ["annotations/instances_default.json", "images/default", None, None, 0.2]


def cvat_with_subsets(root: Path) -> list[str | float | None]:
    for part in ("Train", "Validation"):
        write_part(root / "annotations" / f"instances_{part}.json", root / "images" / part / f"{part}.png")
    annotations = [f"annotations/instances_{part}.json" for part in ("Train", "Validation")]
    return [annotations[0], "images/Train", annotations[1], "images/Validation", None]


def nuclei(root: Path) -> list[str | float | None]:
    for part in ("train", "val"):
        write_part(root / "annotations" / f"instances_{part}.json", root / "images" / part / "1.png")
    annotations = [f"annotations/instances_{part}.json" for part in ("train", "val")]
    return [annotations[0], "images/train", annotations[1], "images/val", None]


def names_with_folders(root: Path) -> list[str | float | None]:
    for part in ("train", "val"):
        write_part(root / f"set_{part}.json", root / "set" / part / "1.png", folder=root / "set")
    return ["set_train.json", "set", "set_val.json", "set", None]


LAYOUTS = [coco_2017, roboflow, cvat, cvat_with_subsets, nuclei, names_with_folders]
KEYS = ("train_annotations", "train_images", "val_annotations", "val_images", "val_fraction")


@pytest.mark.parametrize("write", LAYOUTS)
def test_a_root_is_enough(write: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    expected = write(tmp_path)
    found = with_layout({**NOTHING, "root": str(tmp_path)})
    assert [found[key] for key in KEYS] == expected
    said = [f"data.{key}={value}" for key, value in zip(KEYS, expected, strict=True) if value is not None]
    assert caplog.messages == [f"{tmp_path}: taken {' '.join(said)}"]


def test_a_fold_needs_no_validation_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    nuclei(tmp_path)
    given = {**NOTHING, "root": str(tmp_path), "folds": 5, "fold": 2}
    found = with_layout(with_folds(given))
    assert found == {**given, "train_annotations": "annotations/instances_train.json", "train_images": "images/train"}
    named = {**found, "val_annotations": "val.json", "val_images": "val"}
    assert with_folds(named) == found
    assert "fold 2 of 5 of the training images is validated on; val.json is not read" in caplog.text
    assert with_folds(NOTHING) == NOTHING


def test_what_is_given_stays(tmp_path: Path) -> None:
    nuclei(tmp_path)
    given = {**NOTHING, "root": str(tmp_path), "val_fraction": 0.1, "train_images": "elsewhere"}
    found = with_layout(given)
    assert found == {**given, "train_annotations": "annotations/instances_train.json"}
    named = {**NOTHING, "root": str(tmp_path), "train_annotations": "my.json"}
    assert with_layout(named) == named
    remote = {**NOTHING, "root": "s3://bucket/data"}
    assert with_layout(remote) == remote
    assert with_layout({**NOTHING, "root": str(tmp_path)}, "val")["val_images"] == "images/val"


def test_what_is_not_clear_is_an_error(tmp_path: Path) -> None:
    coco_2017(tmp_path)
    write_part(tmp_path / "annotations" / "instances_train2014.json", tmp_path / "train2014" / "1.jpg")
    with pytest.raises(SegtrainError, match=r"instances_train2014.json and .*2017.json may be meant for train; set"):
        with_layout({**NOTHING, "root": str(tmp_path)})
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegtrainError, match=r"holds no COCO json; set data\.train_annotations"):
        with_layout({**NOTHING, "root": str(tmp_path / "empty")})
    write_part(tmp_path / "lost" / "train.json", tmp_path / "away" / "1.jpg")
    with pytest.raises(SegtrainError, match=r"its images, such as 1\.jpg, are in no folder of .*lost; set"):
        with_layout({**NOTHING, "root": str(tmp_path / "lost")})


def test_train_takes_a_root_alone(tmp_path: Path) -> None:
    cvat(tmp_path / "export")
    taken_by_experiments = ("data=", "trainer.max_minutes=", "segmenter.scale=")
    network = [setting for setting in SMALL if not setting.startswith(taken_by_experiments)]
    limits = ["trainer.max_minutes=null", "trainer.max_steps=0", "trainer.epochs=null", "segmenter.weights=null"]
    settings = ["experiment=finetune", *network, *limits, "segmenter.frozen_stages=0", "data.root=export"]
    finished = run("train", *settings, "output_dir=run", folder=tmp_path)
    assert finished.code == 0, finished.err
    assert "taken data.train_annotations=annotations/instances_default.json data.train_images=images/default" in (
        finished.out
    )
    saved = (tmp_path / "run" / ".hydra" / "config.yaml").read_text()
    assert "train_images: images/default" in saved


@pytest.mark.parametrize("experiment", ["finetune", "photos", "nuclei"])
def test_experiments_leave_the_layout_to_the_root(experiment: str, tmp_path: Path) -> None:
    expected = cvat(tmp_path)
    (composed,) = compose_runs("train", [f"experiment={experiment}", f"data.root={tmp_path}"])
    found = with_layout(composed["data"])
    assert [found[key] for key in KEYS] == expected


def write_labels(folder: Path, kind: str) -> Path:
    """Write the smallest labels of a kind."""
    if kind == "labelme":
        return write_json(folder / "labels" / "a.json", {"shapes": [], "imagePath": "a.png"}).parent
    if kind == "via":
        return write_json(folder / "via.json", {"_via_img_metadata": {}})
    if kind == "labelmaps":
        return draw_image(folder / "maps" / "masks" / "a.png").parents[1]
    path = folder / "annotations.xml"
    path.write_text("<annotations><version>1.1</version><meta></meta></annotations>")
    return path


@pytest.mark.parametrize("kind", ["labelme", "via", "labelmaps", "cvat"])
def test_labels_of_other_tools_are_answered_by_a_command(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path, kind)
    out = labels.with_name(f"{labels.stem}_coco.json")
    command = shlex.join(["segtrain", "convert", str(labels), str(out)])
    draw_image(tmp_path / "images" / "a.png")
    assert main(["check", str(labels), str(tmp_path / "images"), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert f"convert them: {command}" in finding["examples"][0]
    if labels.is_dir():
        with pytest.raises(SegtrainError, match=re.escape(f"convert them: {command}; set data.train_annotations")):
            with_layout({**NOTHING, "root": str(labels)})


def test_train_answers_labels_of_other_tools_by_a_command(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, "labelme")
    command = f"convert them: {shlex.join(['segtrain', 'convert', str(labels), str(tmp_path / 'labels_coco.json')])}"
    named = [f"data.train_annotations={labels}", f"data.train_images={tmp_path}", "data.val_fraction=0.5"]
    for settings in (named, [f"data.root={labels}"]):
        finished = run("train", *SMALL, *settings, folder=tmp_path)
        assert finished.code == 1
        assert command in finished.err


def test_every_kind_has_a_line_of_help(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    out = capsys.readouterr().out
    assert all(f"  {kind.name:<12}{kind.title}" in out for kind in LABEL_KINDS)
    assert recognise(tmp_path) == []
    assert main(["convert", str(tmp_path), str(tmp_path / "out.json")]) == 1
    assert "holds no labels that are recognised; name their kind with --format" in capsys.readouterr().err


def test_hidden_files_and_looping_links_are_passed_over(tmp_path: Path) -> None:
    nuclei(tmp_path)
    hidden = tmp_path / "annotations" / ".instances_train.json"
    hidden.write_bytes((tmp_path / "annotations" / "instances_train.json").read_bytes())
    (tmp_path / "a_loop").symlink_to(tmp_path / "a_loop")
    assert with_layout({**NOTHING, "root": str(tmp_path)})["val_images"] == "images/val"
