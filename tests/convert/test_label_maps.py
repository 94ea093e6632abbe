"""Label maps, converted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from segtrain.cli.main import main
from tests.helpers.conversions import SIZE, assert_equal, convert, draw_image, objects

IMAGE_NAMES = ["cell_01.png", "cell_02.png"]


def label_map(seed: int, values: list[int]) -> np.ndarray[Any, Any]:
    """Draw overlapping rectangles; each later one covers the earlier ones, and the first gets a hole."""
    random, plane = np.random.default_rng(seed), np.zeros(SIZE, np.int64)
    for value in values:
        y, x = random.integers(0, 25, 2)
        plane[y : y + random.integers(8, 15), x : x + random.integers(8, 30)] = value
    plane[2:4, 50:58] = values[0]  # a second part
    return plane


def save(path: Path, plane: np.ndarray[Any, Any], dtype: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(plane.astype(dtype)).save(path)
    else:
        tifffile.imwrite(path, plane.astype(dtype))


def expected_of(plane: np.ndarray[Any, Any], name: str = "object") -> list[tuple[str, Any]]:
    return [(name, plane == value) for value in np.unique(plane) if value]


@pytest.mark.parametrize(
    ("image", "map_name", "dtype"),
    [
        ("{}.png", "{}_masks.tif", "uint16"),  # Cellpose
        ("{}.tif", "{}_cp_masks.png", "uint16"),
        ("images/{}.tif", "masks/{}.tif", "uint16"),  # StarDist
        ("my_labels/images/{}.tif", "my_labels/masks/{}.tif", "uint16"),
        ("images/{}.png", "masks/{}.png", "uint8"),
        ("train/images/{}.png", "train/labels/{}.tif", "int32"),
        ("{}.png", "{}_Nuclei.tiff", "uint32"),  # CellProfiler
        ("images/{}.png", "output/{}_Nuclei.tiff", "uint32"),
        ("{}.png", "labels/{}_label.tiff", "float32"),
    ],
)
def test_maps_of_every_type_and_place(image: str, map_name: str, dtype: str, tmp_path: Path) -> None:
    planes = {}
    for seed, stem in enumerate(("cell_01", "cell_02")):
        draw_image(tmp_path / "set" / image.format(stem))
        planes[stem] = label_map(seed, [3, 1, 200 if dtype == "uint8" else 60_000, 9])
        save(tmp_path / "set" / map_name.format(stem), planes[stem], dtype)
    content = convert(tmp_path / "set", tmp_path / "out.json", "--classes", "nucleus")
    found = objects(content)
    assert len(found) == 2
    for (name, own), plane in zip(sorted(found.items()), planes.values(), strict=True):
        assert Path(name).stem in planes
        assert_equal(own, expected_of(plane, "nucleus"))


def test_large_numbers_and_palettes(tmp_path: Path) -> None:
    plane = label_map(3, [5, 70_000, 2])
    draw_image(tmp_path / "set" / "images" / "a.png")
    save(tmp_path / "set" / "masks" / "a.tif", plane, "uint32")
    assert_equal(objects(convert(tmp_path / "set", tmp_path / "a.json"))["a.png"], expected_of(plane))
    small = label_map(4, [1, 2, 3])
    palette = Image.fromarray(small.astype(np.uint8)).convert("P")
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    palette.putdata(small.reshape(-1).tolist())
    palette.save(tmp_path / "palette.png")
    (tmp_path / "set" / "masks" / "a.tif").unlink()
    (tmp_path / "palette.png").rename(tmp_path / "set" / "masks" / "a.png")
    assert_equal(objects(convert(tmp_path / "set", tmp_path / "b.json"))["a.png"], expected_of(small))


def test_colours_are_objects(tmp_path: Path) -> None:
    plane = label_map(5, [1, 2])
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 7, 255]], np.uint8)
    draw_image(tmp_path / "pictures" / "a.png")
    (tmp_path / "anything").mkdir()
    Image.fromarray(colours[plane]).save(tmp_path / "anything" / "a.png")
    options = ["--images", str(tmp_path / "pictures"), "--format", "labelmaps"]
    found = objects(convert(tmp_path / "anything", tmp_path / "out.json", *options))["a.png"]
    assert_equal(found, [("object", plane == 2), ("object", plane == 1)])  # in the order of their numbers


def test_what_does_not_fit_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "set" / "images" / "a.png", (30, 30))
    save(tmp_path / "set" / "masks" / "a.png", label_map(0, [1]), "uint8")
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 1
    assert "has 40x60 pixels, its image a.png 30x30" in capsys.readouterr().err
    (tmp_path / "set" / "masks" / "a.png").unlink()
    tifffile.imwrite(tmp_path / "set" / "masks" / "a.tif", np.full((30, 30), 0.5, np.float32))
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 1
    assert "give label maps, not probabilities" in capsys.readouterr().err
    save(tmp_path / "set" / "masks" / "a.tif", label_map(0, [1])[:30, :30], "uint8")
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json"), "--classes", "a,b"]) == 1
    assert "names no classes; give one name" in capsys.readouterr().err


def test_maps_and_images_without_a_partner_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        draw_image(tmp_path / "set" / "images" / f"{name}.png")
    for name in ("b", "c"):
        save(tmp_path / "set" / "masks" / f"{name}.png", label_map(0, [1, 2]), "uint8")
    assert len(convert(tmp_path / "set", tmp_path / "out.json")["images"]) == 1
    out = capsys.readouterr().out
    assert "no image file of this name: masks/c.png" in out
    assert "images without a label map, which are not written: images/a.png" in out


@pytest.mark.parametrize(
    ("maps", "images"), [("masks", "images"), ("train_labels", "raw"), ("gt/train", "images/train")]
)
def test_the_folder_of_the_maps_alone(maps: str, images: str, tmp_path: Path) -> None:
    plane = label_map(0, [1, 2])
    draw_image(tmp_path / images / "a.jpg")
    save(tmp_path / maps / "a.tif", plane, "uint16")
    options = ["--format", "labelmaps"] if "/" in maps else []
    assert_equal(objects(convert(tmp_path / maps, tmp_path / "out.json", *options))["a.jpg"], expected_of(plane))


def test_maps_of_another_folder_are_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The image of the second map is missing, and another folder has one of its name."""
    for folder, names in (("d1", "a"), ("d2", "ab")):
        for name in names:
            draw_image(tmp_path / "set" / folder / "images" / f"{name}.png")
    for folder, names in (("d1", "ab"), ("d2", "a")):
        for name in names:
            save(tmp_path / "set" / folder / "masks" / f"{name}.png", label_map(len(names), [1, 2]), "uint8")
    source = [str(tmp_path / "set"), str(tmp_path / "out.json"), "--format", "labelmaps"]
    assert main(["convert", *source]) == 0
    found = objects(json.loads((tmp_path / "out.json").read_text()))
    assert list(found) == ["d1/images/a.png", "d2/images/a.png"]
    assert_equal(found["d1/images/a.png"], expected_of(label_map(2, [1, 2])))
    assert f"another folder's: b.png of {tmp_path}/set/d1/masks/b.png" in capsys.readouterr().out
