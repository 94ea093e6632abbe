"""``data.check`` at the start of both scripts: what stops them, what is left out and counted, what is only told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from tests.helpers.scripts import SMALL, Finished, data_of, message, run, write_data


class Damage(NamedTuple):
    """What is wrong with a split, and what becomes of it."""

    do: Callable[[Path, str], None]
    strict: str  # in the one line that stops a script
    told: str  # in the line about it, with data.check=warn
    dropped: int  # annotations, likewise
    unreadable: int  # images, likewise
    off: str | None  # in the line that ends a script with data.check=off; None: it goes on


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """No two files are the same, and nothing has to be mended."""
    root = write_data(tmp_path / "data")
    for number, path in enumerate(sorted(root.glob("*/*.png"))):
        path.write_bytes(path.read_bytes() + bytes([number]))
    for split in ("train", "val"):
        change(root, split, state_all)
    return root


def change(data: Path, split: str, how: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((data / f"{split}.json").read_text())
    how(content)
    (data / f"{split}.json").write_text(json.dumps(content))


def state_all(content: dict[str, Any]) -> None:
    for entry in content["annotations"]:
        x0, y0, x1, _, _, y1 = entry["segmentation"][0][:6]
        entry.update(bbox=[x0, y0, x1 - x0, y1 - y0], area=(x1 - x0) * (y1 - y0), iscrowd=0)


def of_annotation(**values: Any) -> Callable[[Path, str], None]:
    return lambda data, split: change(data, split, lambda content: content["annotations"][0].update(values))


def remove_image(data: Path, split: str) -> None:
    (data / split / f"{1 if split == 'train' else 101}.png").unlink()


def shrink_image(data: Path, split: str) -> None:
    Image.new("RGB", (30, 20)).save(data / split / f"{1 if split == 'train' else 101}.png")


CORRUPT = {"size": [48, 48], "counts": "~~"}
UNKNOWN = "annotation 1 names the unknown image 999"
NO_CODE = "annotation 1: the run-length string '~~' is corrupt"
SIZES = "the file is 20x30, the annotations say 48x48"
DAMAGES = {
    "unknown image": Damage(of_annotation(image_id=999), UNKNOWN, UNKNOWN, 1, 0, None),
    "corrupt code": Damage(of_annotation(segmentation=CORRUPT), NO_CODE, NO_CODE, 1, 0, NO_CODE),
    "missing image": Damage(
        remove_image, ".png: no such image (1 of 5 are missing)", "not there", 3, 1, "No such file"
    ),
    "wrong size": Damage(shrink_image, SIZES, SIZES, 3, 1, SIZES),
}
EPOCH = ["trainer.batch_size=5", "trainer.max_steps=1", "output_dir=run"]
ROWS = ["methods=none", "+segmenter@segmenters.otsu=threshold_otsu", "output_dir=report"]


def start(script: str, data: Path, *overrides: str) -> Finished:
    """A run of one epoch, or an evaluation of one method."""
    own = {"train": [*SMALL, *EPOCH], "evaluate": ROWS}[script]
    return run(script, *own, *data_of(data), *overrides, folder=data.parent)


def counts(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((data.parent / "report" / "results.json").read_text())["data"]
    return found


@pytest.mark.few(3)
@pytest.mark.parametrize("script", ["train", "evaluate"])
@pytest.mark.parametrize("case", DAMAGES)
def test_strict_stops(case: str, script: str, data: Path) -> None:
    split = "train" if script == "train" else "val"
    DAMAGES[case].do(data, split)
    text = message(start(script, data))
    assert str(data / split) in text
    assert DAMAGES[case].strict in text
    assert not list(data.parent.rglob("checkpoints"))
    assert not list(data.parent.rglob("results.json"))


@pytest.mark.few(2)
@pytest.mark.parametrize("case", DAMAGES)
def test_warn_leaves_out_and_counts(case: str, data: Path) -> None:
    damage = DAMAGES[case]
    damage.do(data, "val")
    finished = start("evaluate", data, "data.check=warn")
    assert (finished.code, finished.err) == (0, "")
    assert [line for line in finished.out.splitlines() if line.startswith("val: ") and damage.told in line]
    found = counts(data)
    assert (found["dropped"], found["unreadable_images"]) == (damage.dropped, damage.unreadable)
    assert (found["images"], found["annotations"]) == (5 - damage.unreadable, 12)
    assert found["used"] + found["crowd"] + found["dropped"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("case", DAMAGES)
def test_warn_trains_on_the_rest(case: str, data: Path) -> None:
    DAMAGES[case].do(data, "train")
    finished = start("train", data, "data.check=warn")
    assert (finished.code, finished.err) == (0, "")
    assert [line for line in finished.out.splitlines() if line.startswith("train: ") and DAMAGES[case].told in line]


@pytest.mark.few(2)
@pytest.mark.parametrize("script", [pytest.param("train", marks=pytest.mark.slow), "evaluate"])
@pytest.mark.parametrize("case", DAMAGES)
def test_off_says_nothing_until_it_matters(case: str, script: str, data: Path) -> None:
    damage = DAMAGES[case]
    damage.do(data, "train" if script == "train" else "val")
    finished = start(script, data, "data.check=off")
    if damage.off is None:
        assert (finished.code, finished.err) == (0, "")
        assert damage.told not in finished.out
    else:
        assert damage.off in message(finished)


def test_what_is_mended_is_counted(data: Path) -> None:
    change(data, "val", lambda content: content["annotations"][0].pop("bbox"))
    change(data, "val", lambda content: content["annotations"][1].update(area=-1, iscrowd=None))
    finished = start("evaluate", data)
    assert (finished.code, finished.err) == (0, "")
    assert (counts(data)["repaired"], counts(data)["used"], counts(data)["dropped"]) == (2, 12, 0)
    for line in (
        "val: annotation without a box: 1, 101.png, annotation 1; taken from the mask",
        "val: area that is zero, negative or no number: 1, 101.png, annotation 2: -1; taken from the mask",
        "val: iscrowd missing, or neither 0 nor 1: 1, 101.png, annotation 2; taken as 1 if another number, else 0",
    ):
        assert line in finished.out.splitlines()


def test_leaks_and_small_objects_are_told(data: Path) -> None:
    shutil.copy(data / "train" / "3.png", data / "val" / "102.png")
    change(data, "train", lambda content: content["annotations"][4].update(area=9))
    finished = start("train", data)
    assert (finished.code, finished.err) == (0, "")
    told = "102.png (image 102) in validation: identical to train/3.png (image 3) in training"
    assert len([line for line in finished.out.splitlines() if told in line]) == 1
    assert len([line for line in finished.out.splitlines() if "object too small for the network" in line]) == 1


@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_the_second_start_looks_at_nothing(script: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start(script, data, "data.check=warn")
    assert first.code == 0
    for name in ("check.load.AnnotationChecks", "check.known_headers.check_headers", "open_data.find_leaks"):
        monkeypatch.setattr(f"segtrain.data.{name}", None)
    assert start(script, data, "data.check=warn", "overwrite=true").code == 0
    change(data, "train" if script == "train" else "val", lambda content: content.update(info=1))
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        start(script, data, "data.check=warn", "overwrite=true")
