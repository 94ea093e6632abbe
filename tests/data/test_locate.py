"""Which file is meant: names of a json against names of files, as systems, browsers and tools write them."""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import segtrain
from segtrain.data.check import locate
from segtrain.data.check.command import main as check
from segtrain.data.check.load import load_index
from segtrain.data.check.locate import AbsentImages, locate_images
from segtrain.data.coco.index import CocoIndex
from segtrain.data.images.names import near_files
from segtrain.data.images.names.near_files import NearFiles
from segtrain.errors import SegtrainError

SQUARE = [[1, 1, 6, 1, 6, 6, 1, 6]]
HASH = "0123456789abcdef0123456789abcdef"
MISREAD = "zelle_grün.png".encode().decode("latin-1")


def picture(path: Path, grey: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path, format="PNG")


def write(path: Path, names: list[str]) -> Path:
    content = {
        "images": [{"id": i, "file_name": name, "height": 8, "width": 8} for i, name in enumerate(names, start=1)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": SQUARE, "bbox": [1, 1, 5, 5], "area": 25,
             "iscrowd": 0}
            for i in range(1, len(names) + 1)
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def locate_in(folder: Path, names: list[str], files: list[str]) -> tuple[CocoIndex, AbsentImages]:
    for number, file in enumerate(files):
        picture(folder / "images" / file, number)
    return locate_images(load_index(write(folder / "coco.json", names)), folder / "images")


# The name in the json, the name of the file below the image folder.
FITTING = [
    ("x.PNG", "x.png"),
    ("Cell.png", "cell.PNG"),
    ("/x.png", "x.png"),
    ("../images/x.png", "x.png"),
    ("..\\..\\label-studio\\media\\upload\\4\\x.png", "x.png"),
    ("C:\\Users\\Ann\\data\\x.png", "x.png"),
    ("C:/Users/Ann/data/x.png", "x.png"),
    ("\\\\server\\share\\x.png", "x.png"),
    ("/home/ann/data/images/train/x.png", "train/x.png"),
    ("file:///home/ann/x.png", "x.png"),
    ("images/train/x.png", "x.png"),
    ("x.png", "train/part1/x.png"),
    ("train/x.png", "images/train/x.png"),
    ("Train\\X.png", "train/x.png"),
    ("my%20cell.png", "my cell.png"),
    ("my+cell.png", "my cell.png"),
    ("my%2520cell.png", "my cell.png"),
    ("images%2Ftrain%2Fx.png", "train/x.png"),
    ("my cell.png", "my%20cell.png"),
    ("a&amp;b.png", "a&b.png"),
    (unicodedata.normalize("NFC", "grün.png"), unicodedata.normalize("NFD", "grün.png")),
    (unicodedata.normalize("NFD", "grün.png"), unicodedata.normalize("NFC", "grün.png")),
    (MISREAD, "zelle_grün.png"),
    ("zelle_grün.png", MISREAD),
    ("x.png ", "x.png"),
    (" x.png", "x.png"),
    ("x .png", "x.png"),
    ("0a1b2c3d-x.png", "x.png"),
    ("x.png", "0a1b2c3d-x.png"),
    ("/data/upload/1/0a1b2c3d-my_cell.png", "my cell.png"),
    ("/data/local-files/?d=set/images/x.png", "x.png"),
    ("/data/local-files/?d=set%5Cimages%5Cx.png", "x.png"),
    ("01234567-89ab-cdef-0123-456789abcdef_x.png", "x.png"),
    ("job_12/x.png", "x.png"),
    ("x.png", "default/x.png"),
    (f"cell-1_png.rf.{HASH}.jpg", "cell-1.png"),
    (f"my-cell-2-_png.rf.{HASH}.jpg", "my cell (2).png"),
    ("cell.jpg", f"cell_jpg.rf.{HASH}.jpg"),
    ("COCO_val2014_000000000042.jpg", "000000000042.jpg"),
    ("000000000042.jpg", "COCO_train2014_000000000042.jpg"),
    ("http://images.cocodataset.org/val2017/000000000042.jpg", "000000000042.jpg"),
    ("https://host/a/My%20cell.png?size=2#top", "my cell.png"),
    ("s3://bucket/key/x.png", "x.png"),
    ("x.png?v=3", "x.png"),
    ("x.jpeg", "x.jpg"),
    ("x.tiff", "x.TIF"),
    ("x.jpg", "x.png"),
    ("train/x.bmp", "train/x.tif"),
    ("x", "x.png"),
    ("x.jpg", "x.jpg.png"),
    ("a:b*c?.png", "a_b_c_.png"),
    ("my cell.png", "my_cell.png"),
    ("x (1).png", "x.png"),
    ("x.png", "x - Copy.png"),
    ("x.png", "x_copy.png"),
]


@pytest.mark.parametrize(("name", "file"), FITTING)
def test_the_one_file_that_fits_is_meant(name: str, file: str, tmp_path: Path) -> None:
    index, absent = locate_in(tmp_path, [name, "other.png"], [file, "other.png", "zzz.png"])
    assert not absent.problems
    assert index.images.names() == [file, "other.png"]
    issue = index.issues["image-renamed"]
    assert issue.count == 1
    assert f"(image 1) is read from {file}" in issue.examples[0]


# Names in the json, files.
OTHERS = [
    (["val/x.png"], ["train/x.png"]),  # folders that contradict each other
    (["tile_1_2.png"], ["tile_-1_2.png"]),  # the sign of a number
    (["x_1.png"], ["x_2.png"]),
    (["x (1).png"], ["x (2).png"]),
    ([f"x_png.rf.{HASH}.jpg"], [f"x_png.rf.{HASH[::-1]}.jpg"]),  # another version of it
    (["0a1b2c3d-x.png"], ["00000000-x.png"]),
    (["COCO_val2014_000000000042.jpg"], ["COCO_train2014_000000000042.jpg"]),
    (["x.png"], ["masks/x.png"]),
    (["x.jpg"], ["thumbs/x.png"]),
    (["x.jpg"], ["small/x.png"]),  # another format in a deeper folder
    (["x.jpg"], ["x.txt"]),
    (["x.png"], [".x.png"]),
    (["A.png", "a.png"], ["a.png"]),  # a system that knows no case has overwritten one of them
    (["a (1).png", "a.png"], ["a.png"]),
    (["val/1.png", "1.png"], ["1.png"]),
    (["x\0.png"], ["x.png"]),
    (["../secret.png"], ["x.png"]),
]


@pytest.mark.parametrize(("names", "files"), OTHERS)
def test_another_file_is_not_meant(names: list[str], files: list[str], tmp_path: Path) -> None:
    index, absent = locate_in(tmp_path, names, files)
    assert list(absent.problems) == [1]
    assert absent.problems[1].kind in ("image-missing", "image-outside-folder")
    assert index.images.names() == names


@pytest.mark.parametrize(
    ("names", "files", "said"),
    [
        (["X.png"], ["x.png", "x.PNG"], ("x.PNG", "x.png")),
        (["x.png"], ["a/x.png", "b/x.png"], ("a/x.png", "b/x.png")),
        (["x.jpg"], ["x.png", "x.tif"], ("x.png", "x.tif")),
        (["images/train/x.png"], ["x.png", "train/x.png"], ("/x.png", "train/x.png")),
        (["my%20x.png"], ["My x.png", "my X.png"], ("My x.png", "my X.png")),
        ([f"x_png.rf.{HASH}.jpg", f"x_png.rf.{HASH[::-1]}.jpg"], ["x.png"], ("x.png", HASH[::-1])),
        (["train/1.png", "val/1.png"], ["1.png"], ("1.png", "val/1.png")),
    ],
)
def test_two_files_that_fit_are_an_error_that_names_both(
    names: list[str], files: list[str], said: tuple[str, str], tmp_path: Path
) -> None:
    index, absent = locate_in(tmp_path, names, files)
    assert list(absent.problems) == list(range(1, len(names) + 1))
    assert {problem.kind for problem in absent.problems.values()} == {"image-ambiguous"}
    for part in said:
        assert part in str(absent.problems[1])
    with pytest.raises(SegtrainError, match="write the name of the file into the json"):
        absent.refuse(index, "data.train_images")


def test_a_closer_name_wins(tmp_path: Path) -> None:
    files = ["X.png", "x.jpg", "x.tif", "0a1b2c3d-x.png"]
    assert locate_in(tmp_path, ["x.png"], files)[0].images.names() == ["X.png"]


def test_links_and_copies_of_one_file_are_no_choice(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a" / "x.png")
    (tmp_path / "images" / "b").mkdir()
    os.link(tmp_path / "images" / "a" / "x.png", tmp_path / "images" / "b" / "x.png")
    assert locate_in(tmp_path, ["x.png"], [])[0].images.names() == ["a/x.png"]


def test_a_backslash_separates_folders_unless_a_file_has_it(tmp_path: Path) -> None:
    index, absent = locate_in(tmp_path, ["a\\x.png", "a\\y.png", ".\\a\\x.png"], ["a/x.png", "a\\y.png", "a/y.png"])
    assert not absent.problems
    assert index.images.names() == ["a/x.png", "a\\y.png", "./a/x.png"]
    assert index.issues["image-backslash"].count == 2
    assert not index.issues["image-renamed"].count


def test_names_that_are_there_cost_no_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_files, "list_files", lambda *_: pytest.fail("listed"))
    monkeypatch.setattr(locate, "list_folder", lambda *_: pytest.fail("listed"))
    index, absent = locate_in(tmp_path, ["a/x.png", "y.png", "b\\z.png"], ["a/x.png", "y.png", "b/z.png"])
    assert absent == AbsentImages()
    assert index.images.names()[2] == "b/z.png"


def test_the_folder_is_listed_once_and_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    listing = near_files.list_files

    def counted(folder: Path) -> near_files.Listing:
        calls.append(folder)
        return listing(folder, 3)

    monkeypatch.setattr(locate, "list_folder", counted)
    index, absent = locate_in(tmp_path, ["A.png", "Z.png"], ["a.png", "b.png", "c.png", "z.png"])
    assert calls == [tmp_path / "images"]
    assert index.images.names() == ["a.png", "Z.png"]
    assert "too many files" in str(absent.problems[2])


def test_a_folder_beside_the_image_folder_is_meant_rather_than_a_file_in_it(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "1.png", 1)
    picture(tmp_path / "images" / "1.png", 2)
    _, absent = locate_in(tmp_path, ["train/1.png"], [])
    assert absent.problems[1].kind == "image-ambiguous"
    assert str(tmp_path / "train" / "1.png") in str(absent.problems[1])


@pytest.mark.parametrize("there", ["train", "JPEGImages", ".", "set/images", "images/../elsewhere"])
@pytest.mark.parametrize("prefix", ["", "a/b/", "D:\\x\\"])
def test_the_folder_where_they_are_is_named(there: str, prefix: str, tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / there / f"{number}.png")
    picture(tmp_path / "images" / "far.png")
    index, absent = locate_in(tmp_path, [f"{prefix}{number}.png" for number in range(5)], [])
    assert absent.elsewhere is not None
    assert absent.elsewhere.folder.samefile(tmp_path / there)
    where = os.path.normpath(there)
    with pytest.raises(SegtrainError, match=rf"\(5 of 5 are missing\); 4 of 5 .*: set data.train_images={where}$"):
        absent.refuse(index, "data.train_images", tmp_path)


def test_many_missing_images_are_one_error_with_a_similar_name(tmp_path: Path) -> None:
    index, absent = locate_in(tmp_path, [f"cell_{number}_a.png" for number in range(300)], ["cell_0_b.png"])
    assert len(absent.problems) == 300
    with pytest.raises(
        SegtrainError, match=r"\(300 of 300 are missing\); there is one of a similar name: cell_0_b"
    ) as e:
        absent.refuse(index, "data.val_images")
    assert len(str(e.value)) < 500


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "Link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "images" / "away").symlink_to(tmp_path, target_is_directory=True)
    names = ["../secret.png", str(tmp_path / "secret.png"), "secret.png", "link.png"]
    data = locate_in(tmp_path, names, [])
    assert set(data[1].problems) == {1, 2, 3}
    with pytest.raises(SegtrainError, match="leads out of the image folder through a symbolic link"):
        segtrain.data.images.image_files.image_path(tmp_path / "images", data[0].images.names()[3])


@given(st.lists(st.text(max_size=12), max_size=6), st.lists(st.text(min_size=1, max_size=12), max_size=6))
def test_any_names_are_compared_without_an_error(names: list[str], files: list[str]) -> None:
    near = NearFiles(files, ())
    for name, found in near.find_all(dict.fromkeys(names)).items():
        assert set(found.files) <= set(files)
        assert near.find(name) == found.files
        near.alike(name)


def report(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    check([*map(str, arguments), "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    return {issue["kind"]: issue for issue in found}


def test_the_check_and_the_corrected_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["images\\A.png", "images\\b%20c.png", "d.png"]
    for file in ("a.png", "b c.png", "e1.png"):
        picture(tmp_path / "images" / file)
    path = write(tmp_path / "coco.json", names)
    found = report(capsys, path, tmp_path / "images", "--fix", tmp_path / "fixed.json")
    assert (found["image-renamed"]["count"], found["image-renamed"]["severity"]) == (2, "warning")
    assert found["image-missing"]["examples"] == ["d.png (image 3): there is no such file"]
    fixed = json.loads((tmp_path / "fixed.json").read_text())
    assert [image["file_name"] for image in fixed["images"]] == ["a.png", "b c.png"]
    assert not {"image-renamed", "image-missing"} & set(report(capsys, tmp_path / "fixed.json", tmp_path / "images"))
    picture(tmp_path / "images" / "d.png")  # the cached result is no longer asked for
    assert "image-missing" not in report(capsys, path, tmp_path / "images")


def test_sizes_are_taken_from_the_file_that_is_meant(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png", 7)
    path = write(tmp_path / "coco.json", ["train\\A.PNG"])
    content = json.loads(path.read_text())
    del content["images"][0]["height"]
    path.write_text(json.dumps(content))
    data = segtrain.load_coco(path, tmp_path / "images")
    assert data.index.images[0].size == (8, 8)


@pytest.mark.parametrize("file", ["000000000042.jpg", "val2017/000000000042.jpg"])
def test_an_address_takes_the_place_of_a_missing_name(file: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / file)
    path = write(tmp_path / "coco.json", ["x"])
    content = json.loads(path.read_text())
    del content["images"][0]["file_name"]
    content["images"][0]["coco_url"] = "http://images.cocodataset.org/val2017/000000000042.jpg"
    path.write_text(json.dumps(content))
    data = segtrain.load_coco(path, tmp_path / "images")
    assert data.index.images.names() == [file]
    assert data.index.issues["image-url-only"].count == 1


def test_loading_from_python(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png", 7)
    data = segtrain.load_coco(write(tmp_path / "coco.json", ["D:\\cells\\A.PNG"]), tmp_path / "images")
    assert data.images is not None
    assert (data.images.read(data.index.images[0]) == 7).all()
    path = write(tmp_path / "coco.json", ["no.png"])
    with pytest.raises(SegtrainError, match="no such image"):
        segtrain.load_coco(path, tmp_path / "images")
    assert len(segtrain.load_coco(path, tmp_path / "images", check="warn").absent.problems) == 1
