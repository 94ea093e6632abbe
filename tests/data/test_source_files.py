"""Files of a folder of labels, all of them and a sample."""

import json
from pathlib import Path

import pytest

from segtrain.data.foreign import glance, source_files
from segtrain.data.foreign.glance import read_keys
from segtrain.data.foreign.label_kinds import recognise
from segtrain.errors import SegtrainError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_hidden_files_are_left_out_and_links_followed_once(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    touch(root, "a.json", "in/b.JSON", "in/c.txt", "._a.json", ".DS_Store", "in/Thumbs.db")
    touch(root, ".ipynb_checkpoints/a-checkpoint.json", "__MACOSX/x.json")
    touch(elsewhere, "d.json", "deep/e.json")
    for name, target in (("loop", root), ("link", elsewhere), ("again", elsewhere / "deep"), ("self", root / "self")):
        (root / name).symlink_to(target)
    assert source_files.source_files(root) == ["a.json", "again/e.json", "in/b.JSON", "in/c.txt", "self"]
    (root / "again").unlink()
    assert source_files.source_files(root, ".json") == ["a.json", "in/b.JSON", "link/d.json", "link/deep/e.json"]


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "in/a.json")
    scan = source_files.os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("in"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(source_files.os, "scandir", refuse)
    with pytest.raises(SegtrainError, match=r"in: cannot be read \(Permission denied\)"):
        source_files.source_files(tmp_path)
    assert source_files.sample_files(tmp_path) == []


def test_a_sample_reaches_every_ending_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_files, "_FILES", 2)
    touch(tmp_path, *(f"train/{number}.jpg" for number in range(9)), "train/z.json", "val/1.jpg")
    assert source_files.sample_files(tmp_path) == ["train/0.jpg", "train/1.jpg", "train/z.json", "val/1.jpg"]


def test_keys_of_a_large_json_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"info": {}, "images": [{"id": 1}], "annotations": {"1": {}}, "categories": []}))
    expected = {key: bytes(value)[:1] for key, value in read_keys(path).items() if key != "info"}
    monkeypatch.setattr(glance, "_LARGE", 10)
    assert {key: value[:1] for key, value in read_keys(path).items()} == expected
    assert [kind.name for kind in recognise(path)] == ["livecell", "coco"]
