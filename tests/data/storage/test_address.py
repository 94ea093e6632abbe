from pathlib import Path

import pytest

from segtrain.cli.config import expand_paths
from segtrain.data.storage.address import Address, expand_location, is_address, locate


@pytest.mark.parametrize(
    ("folder", "name", "joined"),
    [
        ("s3://bucket/data", "train/1.png", "s3://bucket/data/train/1.png"),
        ("s3://bucket/data/", "1.png", "s3://bucket/data/1.png"),
        ("memory://", "1.png", "memory://1.png"),
        ("https://host/data", "a b#1%.png", "https://host/data/a%20b%231%25.png"),
        ("https://host/data?key=1", "1.png", "https://host/data/1.png?key=1"),
        ("zip://::/all.zip", "train/1.png", "zip://train/1.png::/all.zip"),
        ("simplecache::s3://bucket", "1.png", "simplecache::s3://bucket/1.png"),
        ("zip://images::https://host/all.zip", "1.png", "zip://images/1.png::https://host/all.zip"),
    ],
)
def test_names_are_joined_where_the_path_ends(folder: str, name: str, joined: str) -> None:
    assert str(Address(folder) / name) == joined
    assert (Address(folder) / "train.json").name == "train.json"


def test_what_is_relative_to_what() -> None:
    remote = Address("s3://bucket/data")
    assert locate("train.json", remote) == Address("s3://bucket/data/train.json")
    assert locate("gs://other/train.json", remote) == Address("gs://other/train.json")
    assert locate("/here/train.json", remote) == Path("/here/train.json")
    assert locate("s3://bucket/train", Path("/here")) == Address("s3://bucket/train")
    assert locate("train", Path("/here")) == Path("/here/train")
    assert not is_address("C:/data")
    assert not is_address("a::b")


def test_zip_archives_by_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("zip:///data/all.zip") == Address("zip://::/data/all.zip")
    assert locate("zip://all.zip/images") == Address(f"zip://images::{tmp_path}/all.zip")
    assert locate("zip://images::https://host/all.zip").name == "images"


def test_variables_and_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "cells")
    assert expand_location("s3://$BUCKET/data") == Address("s3://cells/data")
    config = {"data": {"root": "s3://${BUCKET}/data", "train_images": "https://host/a"}}
    assert expand_paths(config) == {"data": {"root": "s3://cells/data", "train_images": "https://host/a"}}
    assert Address("https://me:word@host/a?signature=1").shown == "https://host/a"
