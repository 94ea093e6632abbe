"""A mask file for each object, and Pascal VOC's PNGs, converted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segtrain.cli.main import main
from tests.helpers.conversions import SIZE, STAR, Plane, assert_equal, convert, draw_image, objects, polygon_plane


def save_mask(path: Path, plane: Plane) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(plane.astype(np.uint8) * 255).save(path)


def planes(count: int) -> list[Plane]:
    random = np.random.default_rng(count)
    return [random.integers(0, 20, SIZE) == 0 for _ in range(count)]


@pytest.mark.parametrize(
    ("image", "mask"),
    [("{0}/images/{0}.png", "{0}/masks/{1}.png"), ("images/{0}.png", "masks/{0}/{1}.png")],
)
def test_a_mask_file_for_each_object(image: str, mask: str, tmp_path: Path) -> None:
    expected = {"aa": planes(3), "bb": planes(2)}
    for name, own in expected.items():
        draw_image(tmp_path / "stage1" / image.format(name))
        for place, plane in enumerate(own):
            save_mask(tmp_path / "stage1" / mask.format(name, f"m{place}"), plane)
    content = convert(tmp_path / "stage1", tmp_path / "out.json", "--classes", "nucleus")
    found = objects(content)
    assert len(found) == 2
    for name, own in found.items():
        assert_equal(own, [("nucleus", plane) for plane in expected[Path(name).stem]])


@pytest.mark.parametrize("count", [1, 2])
def test_several_values_are_no_mask(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file of several values is a label map; several files may be either, and are not guessed."""
    for name in "ab":
        draw_image(tmp_path / "set" / name / "images" / f"{name}.png")
        plane = np.where(planes(1)[0], np.arange(SIZE[1]) % 3, 0).astype(np.uint8)
        for place in range(count):
            path = tmp_path / "set" / name / "masks" / (f"{name}.png" if count == 1 else f"{place}.png")
            save_mask(path, plane)
            Image.fromarray(plane).save(path)
    source = [str(tmp_path / "set")]
    if count == 1:
        assert len(convert(tmp_path / "set", tmp_path / "out.json")["annotations"]) == 4
        assert "(--format labelmaps)" in capsys.readouterr().out
    else:
        assert main(["convert", *source, str(tmp_path / "out.json")]) == 1
        assert "0.png: holds several values; if each is an object, convert it with" in capsys.readouterr().err
        content = convert(tmp_path / "set", tmp_path / "out.json", "--format", "masks")
        assert_equal(next(iter(objects(content).values())), [("object", plane != 0)] * 2)


def test_images_without_masks_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        draw_image(tmp_path / "set" / "images" / f"{name}.png")
    save_mask(tmp_path / "set" / "masks" / "a" / "1.png", planes(1)[0])
    assert len(convert(tmp_path / "set", tmp_path / "out.json")["images"]) == 1
    assert "images without a folder of masks: images/b.png" in capsys.readouterr().out


def test_masks_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "set" / "a" / "images" / "a.png")
    draw_image(tmp_path / "set" / "b" / "images" / "b.png")
    save_mask(tmp_path / "set" / "a" / "masks" / "1.png", planes(1)[0])
    assert len(convert(tmp_path / "set", tmp_path / "out.json")["images"]) == 1
    assert "images without a folder of masks: b/images/b.png" in capsys.readouterr().out
    save_mask(tmp_path / "set" / "a" / "masks" / "2.png", planes(1)[0][:, :-1])
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "b.json")]) == 1
    assert "2.png: has 40x59 pixels, its image 40x60" in capsys.readouterr().err


def voc_palette() -> np.ndarray[Any, Any]:
    """The table of the VOC development kit."""
    table = np.zeros((256, 3), np.uint8)
    for index in range(256):
        value, colour = index, [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                colour[channel] |= ((value >> channel) & 1) << (7 - place)
            value >>= 3
        table[index] = colour
    return table


def write_voc(root: Path, name: str, numbers: np.ndarray[Any, Any], kinds: dict[int, int], *, palette: bool) -> None:
    classes = np.zeros_like(numbers)
    for number, kind in (*kinds.items(), (255, 255)):
        classes[numbers == number] = kind
    for folder, plane in (("SegmentationObject", numbers), ("SegmentationClass", classes)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        if palette:
            image = Image.fromarray(plane.astype(np.uint8)).convert("P")
            image.putpalette(voc_palette().reshape(-1).tolist())
            image.putdata(plane.reshape(-1).tolist())
        else:
            image = Image.fromarray(voc_palette()[plane])
        image.save(root / folder / f"{name}.png")
    draw_image(root / "JPEGImages" / f"{name}.jpg")


def numbered() -> np.ndarray[Any, Any]:
    plane = np.zeros(SIZE, np.int64)
    plane[4:20, 4:30] = 255
    plane[5:19, 5:29] = 1
    plane[10:14, 10:14] = 255
    plane[20:36, 33:59] = 2
    plane[polygon_plane(STAR) & (plane == 0)] = 3
    return plane


@pytest.mark.parametrize("palette", [True, False])
def test_pascal_voc(palette: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, plane = tmp_path / "VOCdevkit" / "VOC2012", numbered()
    write_voc(root, "2007_1", plane, {1: 15, 2: 8, 3: 15}, palette=palette)
    content = convert(tmp_path / "VOCdevkit", tmp_path / "out.json")
    assert_equal(
        objects(content)["2007_1.jpg"],
        [
            ("person", plane == 1),
            ("cat", plane == 2),
            ("person", plane == 3),
            ("person", plane == 255),
            ("cat", plane == 255),
        ],
    )
    assert [entry["iscrowd"] for entry in content["annotations"]] == [0, 0, 0, 1, 1]
    assert [entry["name"] for entry in content["categories"]] == ["cat", "person"]
    assert "void pixels, written as regions to ignore" in capsys.readouterr().out


def test_pascal_voc_of_cvat_with_a_label_map_and_parts(tmp_path: Path) -> None:
    root, plane = tmp_path / "export", numbered()
    for name in ("a", "b"):
        write_voc(root, name, plane, {1: 1, 2: 2, 3: 1}, palette=False)
    table = ["# label:color_rgb:parts:actions", "background:0,0,0::", "cell:128,0,0::", "wall:0,128,0::"]
    (root / "labelmap.txt").write_text("\n".join(table))
    sets = root / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a\n")
    (sets / "val.txt").write_text("b\n")
    assert main(["convert", str(root), str(tmp_path / "out.json")]) == 0
    content = __import__("json").loads((tmp_path / "out_val.json").read_text())
    assert [name for name, _ in objects(content)["b.jpg"]] == ["cell", "wall", "cell", "cell", "wall"]
    assert [entry["name"] for entry in content["categories"]] == ["cell", "wall"]


@pytest.mark.parametrize("table", [None, ["background:0,0,0::", "boat:0,0,128::", "car:128,128,128::"]])
def test_grey_colours_are_colours(table: list[str] | None, tmp_path: Path) -> None:
    """The colour of a car is grey, and its value would be the index of a boat."""
    numbers = np.zeros(SIZE, np.int64)
    numbers[3:9, 3:9], numbers[20:30, 3:9] = 7, 3
    write_voc(tmp_path / "voc", "a", numbers, {7: 7, 3: 7}, palette=False)
    if table:
        (tmp_path / "voc" / "labelmap.txt").write_text("\n".join(table))
    found = objects(convert(tmp_path / "voc", tmp_path / "out.json"))
    assert_equal(found["a.jpg"], [("car", numbers == 3), ("car", numbers == 7)])


def test_names_of_labelme_and_wrong_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc(tmp_path / "voc", "a", numbered(), {1: 1, 2: 2, 3: 1}, palette=True)
    (tmp_path / "voc" / "class_names.txt").write_text("_background_\ncell\nwall\n")
    content = convert(tmp_path / "voc", tmp_path / "out.json", "--classes", "wall")
    assert [name for name, _ in objects(content)["a.jpg"]] == ["wall", "wall"]
    for line in ("cat", "cell:1,2", "cell:1,2,300::", "cell:a,b,c::"):
        (tmp_path / "voc" / "labelmap.txt").write_text(f"background:0,0,0::\n{line}\n")
        assert main(["convert", str(tmp_path / "voc"), str(tmp_path / "b.json")]) == 1
        assert f"labelmap.txt: line 2 ({line}) is not as in cell:128,0,0::" in capsys.readouterr().err
