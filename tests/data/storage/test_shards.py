import io
import json
import pickle
import random
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import segtrain
from segtrain.data.coco.shard_annotations import shard_annotations
from segtrain.data.loader import TrainingLoader
from segtrain.data.open_data import open_data, training_samples
from segtrain.data.storage import transfer
from segtrain.data.storage.address import Address
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.data.storage.tar_shards import expand_shards, open_shards
from segtrain.errors import SegtrainError
from tests.data.storage.test_remote import settings
from tests.helpers import remote_data
from tests.helpers.web_server import WebServer, web_server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "_FIRST_WAIT", 0.001)
    return tmp_path / "cache" / "segtrain"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


def tar(members: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def sample(number: int) -> dict[str, bytes]:
    """An image with its json, as SA-1B has them."""
    annotation = {key: value for key, value in remote_data.annotation(number).items() if key != "image_id"}
    content = {"image": {"image_id": number, "height": 16, "width": 16}, "annotations": [annotation]}
    content["categories"] = [{"id": 1, "name": "cell"}]  # type: ignore[assignment]
    return {f"{number}.png": remote_data.png(number), f"{number}.json": json.dumps(content).encode()}


def shard(numbers: range) -> bytes:
    return tar({name: content for number in numbers for name, content in sample(number).items()})


def write(folder: Path) -> Path:
    """Write three shards of two images each, and the same data as files."""
    for place in range(3):
        (folder / f"train-{place:03d}.tar").write_bytes(shard(range(1 + 2 * place, 3 + 2 * place)))
    for name, content in remote_data.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def batches(root: Path | str, **changes: Any) -> list[tuple[list[int], list[np.ndarray]]]:
    data = settings(str(root), **changes)
    split = open_data(data, ["train"], 0)["train"]
    samples = training_samples(split, None, 0, data)  # type: ignore[arg-type]
    loader = TrainingLoader(samples, batch_size=2, workers=0, seed=3)
    return [
        (batch.image_ids, [image.numpy() for image in batch.images])
        for epoch in (0, 1)
        for batch in loader.epoch(epoch)
    ]


@pytest.mark.parametrize("annotations", ["train.json", "train-{000..002}.tar"])
@pytest.mark.parametrize("images", ["train-*.tar", "train-{000..002}.tar"])
def test_shards_give_the_same_batches_as_files(tmp_path: Path, annotations: str, images: str) -> None:
    write(tmp_path)
    expected = batches(tmp_path)
    found = batches(tmp_path, train_annotations=annotations, train_images=images)
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]
    for (_, own), (_, other) in zip(found, expected, strict=True):
        assert all(map(np.array_equal, own, other))


def test_annotated_shards_need_no_other_key(tmp_path: Path) -> None:
    write(tmp_path)
    data = settings(str(tmp_path), train_annotations="train-*.tar", train_images=None, val_annotations=None,
                    val_images=None, val_fraction=0.34)  # fmt: skip
    splits = open_data(data, ["train", "val"], 0)
    assert [len(split.index.images) for split in splits.values()] == [4, 2]
    assert splits["train"].images is not None
    assert splits["train"].images.read(splits["train"].index.images[0]).shape == (16, 16, 3)
    loaded = segtrain.load_coco(tmp_path / "train-*.tar", tmp_path / "train-*.tar")
    assert segtrain.check(loaded).errors == 0


def test_over_the_web_shards_are_listed_once_and_read_in_parts(server: WebServer, cache: Path) -> None:
    server.files = {f"train-{place}.tar": shard(range(1 + 2 * place, 3 + 2 * place)) for place in range(3)}
    server.etags = dict.fromkeys(server.files, "1")
    address = Address(f"{server.address}/train-{{0..2}}.tar")
    store = open_shards(address, DiskCache(cache / "images", 10**6))
    listed = server.requests.total()
    again = open_shards(address)
    assert server.requests.total() == listed
    server.faults["train-1.tar"] = ["500", "cut"]
    names = [f"{number}.png" for number in range(1, 7)]
    random.Random(0).shuffle(names)
    for name in names:
        assert store.read(name) == again.read(name) == remote_data.png(int(name[0]))
    before = server.requests.total()
    assert store.read("3.png") == remote_data.png(3)  # from the cache
    assert server.requests.total() == before
    assert store.place("3.png") == f"{server.address}/train-1.tar/3.png"
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert copy.read("6.png") == remote_data.png(6)
    assert batches(server.address, train_annotations="train-{0..2}.tar", train_images="train-{0..2}.tar")
    server.ranges = False
    with pytest.raises(SegtrainError, match="whole files only"):
        again.read("5.png")


def test_shards_of_a_store_that_lists_its_files() -> None:
    system = fsspec.filesystem("memory")
    system.store.clear()
    for place in range(2):
        system.pipe_file(f"/shards/{place}.tar", shard(range(1 + 2 * place, 3 + 2 * place)))
    store = open_shards(Address("memory://shards/*.tar"))
    assert store.lazy
    assert store.read("4.png") == remote_data.png(4)


@given(
    members=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=60)
        .filter(lambda name: name.strip(".") != "")
        .map(lambda name: f"{name * (1 + len(name) % 4)}.png"),
        st.binary(max_size=2_000),
        max_size=8,
    ),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_every_member_is_found(tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes], form: int) -> None:
    path = tmp_path_factory.mktemp("shards") / "a.tar"
    path.write_bytes(tar(members, form))
    store = open_shards(path)
    with tarfile.open(path) as archive:
        assert list(store.names()) == archive.getnames()
    assert {name: store.read(name) for name in store.names()} == members
    assert not store.holds("none")


def test_damaged_shards_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = shard(range(1, 5))
    path = tmp_path / "a.tar"
    first_end = 512 + -(-len(remote_data.png(1)) // 512) * 512
    for damaged in (
        whole[: len(whole) // 3],
        whole[: first_end + 300],
        whole[:first_end] + b"x" * 512 + whole[first_end + 512 :],
        b"",
        b"no tar" * 1000,
    ):
        path.write_bytes(damaged)
        with pytest.raises(SegtrainError, match=r"a\.tar: .*tar file"):
            open_shards(path)
    path.write_bytes(whole.rstrip(b"\0") + b"\0" * (-len(whole.rstrip(b"\0")) % 512))
    assert open_shards(path).holds("4.png")
    assert "lacks its end mark" in caplog.text


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "copy.tar").write_bytes(shard(range(2, 4)))
    with pytest.raises(SegtrainError, match=r"train-000\.tar and .*copy\.tar: two members have the name 2\."):
        open_shards(tmp_path / "{train-000,copy}.tar")
    with pytest.raises(SegtrainError, match="compressed"):
        batches(tmp_path, train_images="train.tar.gz")
    with pytest.raises(SegtrainError, match="no such shards"):
        batches(tmp_path, train_images="none-*.tar")
    with pytest.raises(SegtrainError, match=r"train-003\.tar: no such file"):
        batches(tmp_path, train_images="train-{002..003}.tar")
    with pytest.raises(SegtrainError, match="does not list"):
        expand_shards(Address("https://host/*.tar"))
    (tmp_path / "bare.tar").write_bytes(tar({"1.png": remote_data.png(1)}))
    with pytest.raises(SegtrainError, match="no image has a json"):
        batches(tmp_path, train_annotations="bare.tar")


def test_names_in_folders_and_missing_members(tmp_path: Path) -> None:
    write(tmp_path)
    members = {f"./deep/{number}.png": remote_data.png(number) for number in range(1, 7)}
    (tmp_path / "deep.tar").write_bytes(tar(members))
    assert len(batches(tmp_path, train_images="deep.tar")) == 6
    (tmp_path / "few.tar").write_bytes(tar({"1.png": remote_data.png(1)}))
    with pytest.raises(SegtrainError, match=r"few\.tar/2\.png: no such image \(5 of 6 are missing\)"):
        batches(tmp_path, train_images="few.tar")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (lambda own, image: [own], "1"),
        (lambda own, image: {"annotations": [own], **image}, "1"),
        (lambda own, image: {"image": image, "annotations": [own]}, "1"),
        (lambda own, image: {"image": image, "annotations": [{**own, "category_id": None}]}, "object"),
        (lambda own, image: json.loads(remote_data.coco(range(1, 2))), "cell"),
    ],
)
def test_forms_of_the_json_of_an_image(tmp_path: Path, form: Any, name: str) -> None:
    content = form(remote_data.annotation(5), {"height": 16, "width": 16})
    (tmp_path / "a.tar").write_bytes(tar({"x.png": remote_data.png(1), "x.json": json.dumps(content).encode()}))
    found = json.loads(shard_annotations(tmp_path / "a.tar").read_bytes())
    assert [category["name"] for category in found["categories"]] == [name]
    index = segtrain.load_coco(tmp_path / "a.tar", tmp_path / "a.tar").index
    assert (index.counts.used, index.images[0].file_name, index.images[0].size) == (1, "x.png", (16, 16))


def test_json_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    for content, said in (
        (b"{", "not a json"),
        (b'{"boxes": 1}', "no list"),
        (b'{"images": [{}, {}], "annotations": []}', "2 images"),
    ):
        (tmp_path / "a.tar").write_bytes(tar({"x.png": b"", "x.json": content}))
        with pytest.raises(SegtrainError, match=rf"a\.tar/x\.json: .*{said}"):
            shard_annotations(tmp_path / "a.tar")
