"""Images whose size the json does not state: taken from their files, in every command."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import segtrain
from segtrain.data.check import command
from segtrain.data.check.load import load_index
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.orientation import Exif
from segtrain.data.splits import open_splits
from segtrain.errors import SegtrainError
from tests.data.test_issues import annotation, coco, image
from tests.helpers.file_mutations import picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "7.png").write_bytes(picture((10, 20), "RGB", "PNG"))
    (tmp_path / "8.png").write_bytes(picture((15, 30), "RGB", "PNG"))
    return tmp_path


def write(folder: Path, *images: dict[str, Any]) -> Path:
    content = coco(annotation(), annotation(id=6, image_id=8), images=list(images))
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


def without(entry: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in keys}


@pytest.mark.parametrize(
    "entry",
    [
        without(image(8), "height", "width"),
        without(image(8, width=30), "height"),
        image(8, height=0, width=0),
        image(8, height=None, width=None),
        image(8, height=15, width=0),
        image(8, height="0", width="0"),
    ],
    ids=str,
)
@pytest.mark.parametrize("check", ["strict", "off"])
def test_a_missing_size_is_that_of_the_file(entry: dict[str, Any], check: Any, folder: Path) -> None:
    path = write(folder, image(7), entry)
    index = load_index(path, check, images=ImageReader(folder, "auto", 10**6))
    assert [own.size for own in index.images] == [(10, 20), (15, 30)]
    assert index.truths(8)[0]["segmentation"]["size"] == [15, 30]
    assert index.issues["size-missing"].count == 1
    assert not index.issues.of("error")


def test_an_image_on_its_side_is_taken_upright(folder: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 15)).save(folder / "8.png", exif=exif)
    path = write(folder, image(7), without(image(8), "height", "width"))
    modes: dict[Exif, tuple[int, int]] = {"auto": (30, 15), "apply": (30, 15), "ignore": (15, 30)}
    for mode, size in modes.items():
        index = load_index(path, images=ImageReader(folder, mode, 10**6))
        assert index.images[1].size == size


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (image(8, file_name="9.png", height=0, width=0), "its file does not tell its size either: .*9.png"),
        (image(8, height=0, width=31), "its file is 15 high and 30 wide"),
        (image(8, height=-1, width=20), "has height -1 and width 20; give its size in pixels"),
    ],
)
def test_a_size_that_cannot_be_found_is_an_error(entry: dict[str, Any], message: str, folder: Path) -> None:
    path = write(folder, image(7), entry)
    with pytest.raises(SegtrainError, match=message):
        load_index(path, images=ImageReader(folder, "auto", 10**6))
    index = load_index(path, "warn", images=ImageReader(folder, "auto", 10**6))
    assert [own.id for own in index.images] == [7]


def test_without_image_folder_the_remedy_is_named(folder: Path) -> None:
    path = write(folder, image(7), image(8, height=0, width=0))
    with pytest.raises(SegtrainError, match="has height 0 and width 0; give its size in pixels, or the image folder"):
        load_index(path)


def test_another_file_of_another_size_is_checked_anew(folder: Path) -> None:
    """Results of the check are kept, and belong to the sizes that the files had."""
    path = write(folder, image(7), image(8, height=0, width=0))
    assert load_index(path, images=ImageReader(folder, "auto", 10**6)).counts.used == 2
    Image.new("RGB", (2, 2)).save(folder / "8.png")
    index = load_index(path, "warn", images=ImageReader(folder, "auto", 10**6))
    assert (index.images[1].size, index.counts.used) == ((2, 2), 1)


@pytest.mark.parametrize("use", ["needed", "welcome", "unused"])
def test_splits_take_sizes_from_the_folder_in_any_case(use: Any, folder: Path) -> None:
    path = write(folder, image(7, height=0, width=0), image(8, height=0, width=0))
    splits = open_splits(
        root=folder,
        train_annotations=None,
        train_images=None,
        val_annotations=path.name,
        val_images=".",
        val_fraction=None,
        exif="auto",
        max_image_pixels=10**6,
        check="strict",
        seed=0,
        need=["val"],
        images=use,
    )
    assert [own.size for own in splits["val"].index.images] == [(10, 20), (15, 30)]


def test_the_check_and_its_copy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(folder, image(7, height="10"), image(8, height=0, width=0))
    against = ["--against", str(path), "--against-images", str(folder)]
    assert command.main([str(path), str(folder), "--fix", str(folder / "fixed.json"), *against]) == 0
    assert "images[1] (image 8) has height 0 and width 0" in capsys.readouterr().out
    fixed = load_index(folder / "fixed.json")
    assert [own.size for own in fixed.images] == [(10, 20), (15, 30)]
    assert "image entry 2: height 0 -> 15" in (folder / "fixed.log").read_text().splitlines()


def test_from_python(folder: Path) -> None:
    path = write(folder, image(7), image(8, height=0, width=0))
    data = segtrain.load_coco(path, folder)
    assert data.index.images[1].size == (15, 30)
    assert segtrain.check(data).errors == 0
