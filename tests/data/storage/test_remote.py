"""Remote data sets through the doors that users take: open_data, the check and the Python API."""

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from omegaconf import OmegaConf

import segtrain as st
from segtrain.data.check.command import main
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.open_data import open_data, training_samples
from segtrain.data.splits import Split
from segtrain.data.storage import transfer
from segtrain.data.storage.address import Address
from segtrain.data.storage.remote_folder import RemoteFolder
from segtrain.errors import SegtrainError
from tests.helpers import remote_data
from tests.helpers.web_server import WebServer, web_server

FILES = remote_data.files()
CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "_FIRST_WAIT", 0.001)
    return tmp_path / "cache" / "segtrain"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        running.files = {f"data/{name}": content for name, content in FILES.items()}
        yield running


def in_memory(_: Path) -> str:
    system = fsspec.filesystem("memory")
    system.store.clear()
    for name, content in FILES.items():
        system.pipe_file(f"/cells/{name}", content)
    return "memory://cells"


def in_files(folder: Path) -> str:
    for name, content in FILES.items():
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return f"file://{folder}/data"


def in_zip(folder: Path) -> str:
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"cells/{name}", content)
    return f"zip://{folder}/all.zip/cells"


def settings(root: str, **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(CONFIGS / "data" / "coco.yaml"))  # type: ignore[assignment]
    paths = {
        "train_annotations": "train.json", "train_images": "images/train",
        "val_annotations": "val.json", "val_images": "images/val",
    }  # fmt: skip
    return known | {"root": root} | paths | changes


def open_both(root: str, **changes: Any) -> dict[Any, Split]:
    return open_data(settings(root, **changes), ["train", "val"], 0)


def pixels(split: Split) -> list[np.ndarray]:
    assert split.images is not None
    return [split.images.read(image) for image in split.index.images]


@pytest.mark.parametrize("place", [in_memory, in_files, in_zip])
def test_the_same_data_wherever_they_lie(place: Callable[[Path], str], tmp_path: Path) -> None:
    in_files(tmp_path)
    local, remote = open_both(str(tmp_path / "data")), open_both(place(tmp_path))
    for name in ("train", "val"):
        assert list(local[name].index.images) == list(remote[name].index.images)
        assert local[name].index.counts == remote[name].index.counts
        assert all(map(np.array_equal, pixels(local[name]), pixels(remote[name])))
    sample = training_samples(remote["train"], None, 0, settings("unused"))[0, 0]  # type: ignore[arg-type]
    assert sample.image.shape == (3, 16, 16)  # type: ignore[union-attr]


def test_over_the_web_nothing_is_read_twice_that_is_read_once(server: WebServer) -> None:
    for name in server.files:
        server.etags[name] = "1"
    splits = open_both(f"{server.address}/data")
    assert len(pixels(splits["train"])) == 6
    open_both(f"{server.address}/data")
    assert server.requests["data/train.json"] == 1
    server.etags["data/train.json"] = "2"
    open_both(f"{server.address}/data")
    assert server.requests["data/train.json"] == 2


def test_without_a_version_annotations_are_copied_each_time(server: WebServer) -> None:
    assert len(open_both(f"{server.address}/data")["train"].index.images) == 6
    server.files["data/train.json"] = remote_data.coco(range(1, 5))
    assert len(open_both(f"{server.address}/data")["train"].index.images) == 4


def test_faults_are_tried_again(server: WebServer) -> None:
    server.faults["data/train.json"] = ["500", "500", "cut", "500"]
    server.faults["data/images/train/1.png"] = ["500", "cut", "500"]
    splits = open_both(f"{server.address}/data")
    assert len(pixels(splits["train"])) == 6


def test_faults_that_stay_are_told_with_the_address_and_the_attempts(server: WebServer) -> None:
    folder = RemoteFolder(Address(f"{server.address}/data/images/train"))
    reader = ImageReader(folder, "auto", 10**6)
    server.faults["data/images/train/1.png"] = ["500"] * 50
    with pytest.raises(ImageError, match=rf"{server.address}/data/images/train/1.png: .*5 attempts.*500") as caught:
        reader.read(ImageInfo(1, "1.png", 16, 16))
    assert caught.value.kind == "image-not-transferred"
    assert server.requests["data/images/train/1.png"] == 5
    server.faults["data/images/train/2.png"] = ["403"] * 50
    with pytest.raises(ImageError, match="403"):
        reader.read(ImageInfo(2, "2.png", 16, 16))
    assert server.requests["data/images/train/2.png"] == 1  # no attempt will succeed
    with pytest.raises(ImageError, match=r"9\.png.*no such file") as caught:
        reader.read(ImageInfo(9, "9.png", 16, 16))
    assert caught.value.kind == "image-missing"
    server.faults["data/train.json"] = ["500"] * 50
    with pytest.raises(SegtrainError, match=rf"{server.address}/data/train.json: .*5 attempts"):
        open_both(f"{server.address}/data")


def test_a_server_that_does_not_answer_is_no_missing_file() -> None:
    with web_server() as gone:
        address = gone.address
    with pytest.raises(SegtrainError, match=rf"{address}/train\.json: cannot be read, 5 attempts failed"):
        st.load_coco(f"{address}/train.json")
    with pytest.raises(SegtrainError, match=rf"{address}/1\.png: cannot read|{address}/1\.png: cannot be read, 5"):
        st.read_image(f"{address}/1.png")


def test_a_wrong_folder_is_told_before_the_start(server: WebServer) -> None:
    with pytest.raises(SegtrainError, match=r"images/1\.png: no such image"):
        open_both(f"{server.address}/data", train_images="images")
    with pytest.raises(SegtrainError, match=r"other\.json: no such file"):
        open_both(f"{server.address}/data", train_annotations="other.json")


def test_few_headers_are_read_before_the_start(server: WebServer) -> None:
    count = 1_000
    content = json.loads(remote_data.coco(range(1, count + 1)))
    server.files["data/many.json"] = json.dumps(content).encode()
    same = remote_data.png(1)
    server.files |= {f"data/many/{number}.png": same for number in range(1, count + 1)}
    open_data(
        settings(f"{server.address}/data", train_annotations="many.json", train_images="many", val_fraction=0.1,
                 val_annotations=None, val_images=None), ["train", "val"], 0,
    )  # fmt: skip
    assert sum(number for name, number in server.requests.items() if name.startswith("data/many/")) < count / 3


def test_a_damaged_remote_image_is_an_error_when_it_is_read_or_left_out(server: WebServer) -> None:
    server.files["data/images/train/3.png"] = b"<html>busy</html>"
    with pytest.raises(SegtrainError, match=r"3\.png"):
        open_both(f"{server.address}/data")  # it is among the few that are looked at
    splits = open_both(f"{server.address}/data", check="off", on_bad_image="skip")
    data = settings("", on_bad_image="skip")
    samples = training_samples(splits["train"], None, 0, data)  # type: ignore[arg-type]
    assert "3.png" in samples[0, 2].reason  # type: ignore[union-attr]


def test_names_of_other_forms_are_found_where_files_can_be_listed(tmp_path: Path) -> None:
    root = in_memory(tmp_path)
    content = json.loads(FILES["train.json"])
    content["images"][0]["file_name"] = "C:\\data\\1.png"
    fsspec.filesystem("memory").pipe_file("/cells/train.json", json.dumps(content).encode())
    split = open_both(root)["train"]
    assert split.index.images[0].file_name == "1.png"
    assert split.index.issues["image-renamed"].count == 1


def test_the_same_address_in_both_splits_is_a_leak(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = in_memory(tmp_path)
    open_both(root, val_annotations="train.json", val_images="images/train")
    assert any("in training as well" in record.message for record in caplog.records)


def test_the_python_api(server: WebServer) -> None:
    root = f"{server.address}/data"
    data = st.load_coco(f"{root}/val.json", f"{root}/images/val")
    assert f"{root}/val.json" in repr(data)
    assert st.check(data).errors == 0
    assert len(st.predict(st.classical("threshold_otsu"), data).masks) > 0  # type: ignore[arg-type]
    assert st.read_image(f"{root}/images/val/7.png").shape == (16, 16, 3)
    with pytest.raises(SegtrainError, match=r"8x\.png"):
        st.read_image(f"{root}/images/val/8x.png")


def test_the_check_command(server: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = f"{server.address}/data"
    both = [f"{root}/train.json", f"{root}/images/train", "--cache", "disk", "--cache-gb", "0.001"]
    assert main([*both, "--fix", str(tmp_path / "fixed.json")]) == 0
    assert server.requests["data/images/train/1.png"] == 1
    server.files["data/images/train/2.png"] = b"no image"
    assert main(both[:2]) == 1
    assert "2.png" in capsys.readouterr().out


def test_missing_packages_and_protocols_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    for address, said in (
        ("s3://bucket/data", "pip install s3fs"),
        ("gs://bucket/data", "pip install gcsfs"),
        ("nosuch://data", "nosuch"),
    ):
        with pytest.raises(SegtrainError, match=said):
            st.load_coco(f"{address}/train.json")
