"""Files that the arguments of a prediction name."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from segtrain.errors import SegtrainError
from segtrain.io import common_folder
from segtrain.prediction.sources import Source, find_images, name_sources


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def find_sources(given: list[str], stdin: Iterable[str] = (), leave_out: Path | None = None) -> list[Source]:
    paths = find_images(given, stdin, leave_out)
    return name_sources(paths, common_folder(paths))


def test_folders_patterns_files_and_a_list_are_read_once_each(tmp_path: Path) -> None:
    touch(tmp_path, "a/2.png", "a/1.JPG", "a/deep/3.tif", "a/notes.txt", "a/.hidden/4.png", "a/._1.png", "b/5.gif")
    given = [str(tmp_path / "a"), str(tmp_path / "b" / "*.gif"), str(tmp_path / "a" / "2.png"), "-"]
    found = find_sources(given, [f"{tmp_path}/b/5.gif\n", "\n"])
    assert [source.name for source in found] == ["a/1.JPG", "a/2.png", "a/deep/3.tif", "b/5.gif"]
    assert [source.key for source in found] == ["a/1", "a/2", "a/deep/3", "b/5"]
    assert [source.path for source in found] == [tmp_path / source.name for source in found]


def test_results_are_no_sources(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "out/overlays/1.png")
    assert [source.name for source in find_sources([str(tmp_path)], (), tmp_path / "out")] == ["1.png"]


def test_no_two_sources_share_a_key(tmp_path: Path) -> None:
    touch(tmp_path, "x.png", "x.tif", "X.PNG", "x_png.gif", "y.png")
    keys = [source.key for source in find_sources([str(tmp_path)])]
    assert len({key.casefold() for key in keys}) == 5
    assert "y" in keys


def test_keys_that_are_taken_are_not_given_again(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/1.tif", "a/1_tif.png")
    taken = {"a/1", "a/1_TIF"}
    keys = [source.key for source in name_sources([tmp_path / "a" / "1.tif"], tmp_path, taken)]
    assert keys == ["a/1_tif_2"]
    with pytest.raises(SegtrainError, match="outside"):
        name_sources([tmp_path / "a" / "1.tif"], tmp_path / "b")


@pytest.mark.parametrize(
    ("given", "said"),
    [("none.png", "none.png: no such file or folder"), ("*.png", "matches no file"), ("empty", "holds no images")],
)
def test_what_is_not_there_is_named(given: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegtrainError, match=said.replace("*", r"\*")):
        find_sources([str(tmp_path / given)])
