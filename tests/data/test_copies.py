"""Copies of one picture stay on one side of a drawn split."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segtrain.data.check import copies
from segtrain.data.check.command import main as check
from segtrain.data.check.copies import group_copies, join_groups
from segtrain.data.check.load import load_index
from segtrain.data.images.image_reader import ImageReader
from segtrain.errors import SegtrainError
from tests.data.test_splits import open_with

SQUARE = [[1, 1, 6, 1, 6, 6, 1, 6]]
ONE = {"train_annotations": "coco.json", "train_images": "images", "val_annotations": None, "val_images": None}


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)


def write(folder: Path, pictures: dict[str, np.ndarray], json_name: str = "coco.json") -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / "images" / name)
    content = {
        "images": [{"id": i, "file_name": name, "height": 8, "width": 8} for i, name in enumerate(pictures, start=1)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": SQUARE} for i in range(1, len(pictures) + 1)
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    path = folder / json_name
    path.write_text(json.dumps(content))
    return path


def groups_of(path: Path) -> list[int] | None:
    found = group_copies(load_index(path), ImageReader(path.parent / "images", "auto", 10**6))
    return None if found is None else found.tolist()


def versions(number: int) -> dict[str, np.ndarray]:
    """Roboflow's augmented versions of a picture."""
    return {f"cell-{number}_jpg.rf.{k}{number:07d}.png": noise(10 * number + k) for k in range(3)}


def renamed(number: int) -> dict[str, np.ndarray]:
    return {f"{number}.png": noise(number), f"again{number}.png": noise(number)}


def converted(number: int) -> dict[str, np.ndarray]:
    return {f"{number}.png": noise(number), f"other{number}.bmp": noise(number)}


def another_format(number: int) -> dict[str, np.ndarray]:
    return {f"{number}.png": noise(number), f"{number}.jpg": noise(number)}


@pytest.mark.parametrize("copied", [versions, renamed, converted, another_format])
@pytest.mark.parametrize("seed", range(3))
def test_copies_stay_together(
    copied: Callable[[int], dict[str, np.ndarray]], seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    families = [copied(number) for number in range(8)]
    write(
        tmp_path, {name: pixels for family in families for name, pixels in family.items()} | {"alone.png": noise(999)}
    )
    with caplog.at_level("INFO"):
        splits: dict[Any, Any] = open_with(tmp_path, **ONE, val_fraction=0.4, seed=seed)
    val = {image.file_name for image in splits["val"].index.images}
    assert all(set(family) <= val or not set(family) & val for family in families)
    assert 0.2 * sum(map(len, families)) < len(val) < 0.6 * sum(map(len, families))
    many = sum(len(family) - 1 for family in families)
    assert f"{many} images are copies of 8 others" in caplog.text


def test_a_group_of_patients_takes_the_copies_along(tmp_path: Path) -> None:
    path = write(tmp_path, {f"{number}.png": noise(number // 2) for number in range(12)})  # 0 = 1, 2 = 3, ...
    content = json.loads(path.read_text())
    for number, image in enumerate(content["images"]):
        image["patient"] = (number + 1) // 4  # 0-2, 3-6, 7-10, 11
    path.write_text(json.dumps(content))
    with pytest.raises(SegtrainError, match="all images are connected"):
        open_with(tmp_path, **ONE, val_fraction=0.4, split_by="patient")
    assert open_with(tmp_path, **ONE, val_fraction=0.4)


def test_different_pictures_and_plain_ones_are_no_copies(tmp_path: Path) -> None:
    pictures = {f"{number}.png": noise(number) for number in range(4)}
    path = write(tmp_path, pictures | {f"black{number}.png": np.zeros((8, 8), np.uint8) for number in range(4)})
    assert groups_of(path) is None


def test_without_images_names_are_compared(tmp_path: Path) -> None:
    path = write(tmp_path, versions(1) | versions(2))
    found = group_copies(load_index(path), None)
    assert found is not None
    assert found.tolist() == [0, 0, 0, 1, 1, 1]


def test_pixels_of_many_images_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, converted(1) | renamed(2))
    monkeypatch.setattr(copies, "MOST_PIXELS", 255)
    with caplog.at_level("INFO"):
        assert groups_of(path) == [0, 1, 2, 2]
    assert "not their pixels" in caplog.text
    monkeypatch.setattr(copies, "MOST_PIXELS", 256)
    assert groups_of(path) == [0, 0, 1, 1]


def test_a_damaged_file_is_no_copy(tmp_path: Path) -> None:
    path = write(tmp_path, renamed(1) | renamed(2))
    for name in ("1.png", "again1.png"):
        (tmp_path / "images" / name).write_bytes(b"no image")
    assert groups_of(path) == [0, 1, 2, 2]


@given(st.lists(st.lists(st.none() | st.integers(0, 5), min_size=7, max_size=7), min_size=1, max_size=3))
def test_groups_are_connected_components(keys: list[list[int | None]]) -> None:
    linked = np.eye(7, dtype=bool)
    for own in keys:
        for one in range(7):
            for other in range(7):
                linked[one, other] |= own[one] is not None and own[one] == own[other]
    for _ in range(7):
        linked = linked @ linked
    found = join_groups(keys)
    assert (linked == (found[:, None] == found[None])).all()


def test_the_check_tells_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = versions(1)
    first, *others = pictures
    write(tmp_path, {first: pictures[first], "x.png": noise(5), "x.bmp": noise(6)})
    write(tmp_path, {name: pictures[name] for name in others}, "val.json")
    words = [tmp_path / "coco.json", tmp_path / "images", "--against", tmp_path / "val.json", "--json"]
    check([*map(str, words), "--against-images", str(tmp_path / "images")])
    found = {issue["kind"]: issue for issue in json.loads(capsys.readouterr().out)["findings"]}
    assert found["leak-of-source"]["count"] == 2
    assert found["image-one-source"]["examples"] == ["x.png (image 2) and x.bmp (image 3)"]
