"""Both commands on remote data."""

import json
import tarfile
from pathlib import Path

import pytest

from segtrain.data.storage import transfer
from tests.helpers.scripts import SMALL, data_of, message, run, write_data
from tests.helpers.web_server import web_server

OTSU = ["methods=none", "+segmenter@segmenters.otsu=threshold_otsu", "bootstrap.resamples=10", "gallery=0"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(transfer, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "segtrain" / "images"


def test_train_and_evaluate_over_the_web(tmp_path: Path, cache: Path) -> None:
    data = write_data(tmp_path / "data")
    with tarfile.open(data / "val.tar", "w") as shard:
        for path in sorted((data / "val").iterdir()):
            shard.add(path, path.name)
    with web_server() as server:
        server.files = {path.relative_to(data).as_posix(): path.read_bytes() for path in data.rglob("*.*")}
        server.faults |= {"train/1.png": ["500"], "train/2.png": ["cut"], "val.tar": ["500"], "val.json": ["cut"]}
        remote = [*data_of(data)[:1], f"data.root={server.address}", *data_of(data)[2:], "data.val_images=val.tar"]
        kept = ["data.cache=disk", "data.cache_gb=0.001"]
        trained = run("train", *SMALL, *remote, *kept, "trainer.workers=1", "output_dir=run", folder=tmp_path)
        assert trained.code == 0, trained.err
        assert f"{server.address}/train.json" in trained.out + trained.err
        assert len([path for path in cache.iterdir() if not path.name.startswith(".")]) == 10
        evaluated = run("evaluate", "checkpoint=run", *OTSU, "output_dir=report", folder=tmp_path)
        assert evaluated.code == 0, evaluated.err
        server.files["val.json"] = b"{"
        said = message(run("evaluate", *OTSU, *remote, "output_dir=other", folder=tmp_path))
        assert "/val.json: not a json file" in said
    local = run("evaluate", *OTSU, *data_of(data), "output_dir=local", folder=tmp_path)
    assert local.code == 0, local.err
    own, other = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("local", "report"))
    assert own["methods"]["otsu"]["class_agnostic"] == other["methods"]["otsu"]["class_agnostic"]
    assert other["data"]["annotations_file"] == f"{server.address}/val.json"


def test_drawn_data_need_a_folder(tmp_path: Path) -> None:
    said = message(run("train", "data.root=memory://cells", folder=tmp_path))
    assert said.startswith("error: data.root=memory://cells: drawn data need a folder of this machine")
