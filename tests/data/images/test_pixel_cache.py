"""Decoded images in memory: the same pixels and the same errors as from the files, and no file read twice."""

import logging
import multiprocessing
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from segtrain.arrays import RgbArray
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.dataset import CocoDataset, Sample, Skipped
from segtrain.data.images.image_reader import ImageReader, read_image
from segtrain.data.images.pixel_cache import PixelCache
from segtrain.data.loader import Batch, TrainingLoader
from segtrain.data.open_data import training_samples
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from tests.helpers.tiny_runs import write_data


def images(folder: Path, count: int = 12) -> list[ImageInfo]:
    """PNG and JPEG, grey and coloured, of different sizes, in no order of ids."""
    random = np.random.default_rng(0)
    found = []
    for k in range(count):
        height, width, name = 5 + 3 * k, 40 - 2 * k, f"{k}.{'jpg' if k % 3 else 'png'}"
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels if k % 2 else pixels[..., 0]).save(folder / name)
        found.append(ImageInfo(1000 - 7 * k if k % 2 else k, name, height, width))
    return found


def reader(folder: Path) -> Any:
    return ImageReader(folder, "auto", 10**6).read


def test_pixels_are_those_of_the_files(tmp_path: Path) -> None:
    infos = images(tmp_path)
    cache = PixelCache(infos, reader(tmp_path), keep_errors=False)
    expected = [read_image(tmp_path / info.file_name, max_pixels=10**6) for info in infos]
    for path in tmp_path.iterdir():
        path.unlink()
    for held in (cache, pickle.loads(pickle.dumps(cache))):
        for info, pixels in zip(infos, expected, strict=True):
            assert np.array_equal(held.read(info), pixels)


def test_what_is_read_is_the_callers_own(tmp_path: Path) -> None:
    infos = images(tmp_path, 2)
    cache = PixelCache(infos, reader(tmp_path), keep_errors=False)
    first = cache.read(infos[1])
    before = first.copy()
    first[...] = 0
    assert np.array_equal(cache.read(infos[1]), before)


def test_every_image_is_read_once(tmp_path: Path) -> None:
    infos, seen = images(tmp_path), []

    def read(info: ImageInfo) -> RgbArray:
        seen.append(info.id)
        pixels: RgbArray = reader(tmp_path)(info)
        return pixels

    cache = PixelCache(infos, read, keep_errors=False)
    for info in infos * 2:
        cache.read(info)
    assert sorted(seen) == sorted(info.id for info in infos)


def test_images_that_cannot_be_read_are_told_as_without_a_cache(tmp_path: Path) -> None:
    infos = images(tmp_path)
    (tmp_path / infos[3].file_name).write_bytes(b"broken")
    (tmp_path / infos[8].file_name).unlink()
    with pytest.raises(SegtrainError, match="cannot read the image"):
        PixelCache(infos, reader(tmp_path), keep_errors=False)
    cache = PixelCache(infos, reader(tmp_path), keep_errors=True)
    for place, info in enumerate(infos):
        if place in (3, 8):
            with pytest.raises(SegtrainError) as expected:
                reader(tmp_path)(info)
            with pytest.raises(SegtrainError) as found:
                cache.read(info)
            assert str(found.value) == str(expected.value)
        else:
            assert np.array_equal(cache.read(info), reader(tmp_path)(info))


def test_threads_leave_the_warning_filters_as_they_were(tmp_path: Path) -> None:
    before = warnings.filters[:]
    PixelCache(images(tmp_path, 18), reader(tmp_path), keep_errors=False)
    assert warnings.filters == before


@dataclass
class _Memory:
    available: int


def test_what_does_not_fit_is_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [ImageInfo(k, f"{k}.png", 20_000, 20_000) for k in range(1000)]
    with pytest.raises(
        SegtrainError, match=r"needs 1117\.59 GiB for 1000 decoded images, .* use data\.cache=none"
    ) as no:
        PixelCache(infos, reader(tmp_path), keep_errors=False)
    assert "\n" not in str(no.value)
    infos = images(tmp_path, 2)
    needed = sum(3 * info.height * info.width for info in infos)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: _Memory(int(needed / 0.79)))
    PixelCache(infos, reader(tmp_path), keep_errors=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: _Memory(int(needed / 0.81)))
    with pytest.raises(SegtrainError, match=r"may take 80% of the 0\.00 GiB of memory that are free"):
        PixelCache(infos, reader(tmp_path), keep_errors=False)


@pytest.fixture
def index(tmp_path: Path) -> CocoIndex:
    return write_data(tmp_path)


def data(**changes: Any) -> dict[str, Any]:
    return {"cache": "ram", "on_bad_image": "error", "min_object_pixels": 1} | changes


def samples(index: CocoIndex, **changes: Any) -> CocoDataset:
    return training_samples(
        Split("train", index, ImageReader(index.path.parent, "auto", 10**6)), None, 0, data(**changes)
    )  # type: ignore[arg-type]


def flatten(batch: Batch) -> list[Any]:
    return [batch.image_ids, [image.tolist() for image in batch.images], batch.skipped]


@pytest.mark.parametrize(
    ("workers", "method"), [(0, None), (2, "fork"), pytest.param(2, "spawn", marks=pytest.mark.slow)]
)
def test_training_sees_the_same_batches(index: CocoIndex, workers: int, method: str | None) -> None:
    if method is not None and method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    plain = TrainingLoader(samples(index, cache="none"), batch_size=2, workers=0, seed=0)
    expected = [flatten(batch) for batch in plain.epoch(1)]
    held = samples(index)
    for path in index.path.parent.glob("*.png"):
        path.unlink()
    loader = TrainingLoader(held, batch_size=2, workers=workers, seed=0, start_method=method)
    assert [flatten(batch) for batch in loader.epoch(1)] == expected
    assert isinstance(held[0, 0], Sample)  # in this process too, whose buffer may have moved


def test_bad_images_follow_their_setting(index: CocoIndex) -> None:
    (index.path.parent / "4.png").write_bytes(b"broken")
    with pytest.raises(SegtrainError, match=r"4\.png: cannot read the image"):
        samples(index)
    held, plain = samples(index, on_bad_image="skip"), samples(index, on_bad_image="skip", cache="none")
    assert isinstance(held[0, 4], Skipped)
    assert held[0, 4] == plain[0, 4]
    assert isinstance(held[0, 3], Sample)


def test_a_cache_says_what_it_took(index: CocoIndex, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert samples(index, cache="none").cache is None
        assert caplog.messages == []
        samples(index)
    assert caplog.messages == ["data.cache=ram: 6 images, 0.00 GiB, decoded in 0 s"]
