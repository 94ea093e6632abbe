"""Images beyond the limit of pixels in data sets: checked, measured and shown by their windows."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import segtrain as st
from segtrain import masks
from segtrain.data.check.image_checks import check_headers, check_pixels
from segtrain.data.check.intensity_range import measure_images
from segtrain.data.check.known_headers import known_headers, to_be_read_whole
from segtrain.data.images import large_image
from segtrain.data.images.headers import read_header
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.intensities.intensity import FULL
from segtrain.data.images.large_image import LargeImage, read_or_open, read_picture
from segtrain.data.images.pages.tiff_windows import TiffWindows
from segtrain.data.images.reading import Reading
from segtrain.data.splits import Split, drop_unreadable
from segtrain.errors import SegtrainError
from tests.helpers.large_data import LIMIT, SIZE, large_picture, window_samples, write_large_data


def large_split(folder: Path, limit: int = LIMIT) -> tuple[Split, ImageReader]:
    split = st.load_coco(folder / "labels.json", folder / "images", intensity="full")
    assert split.images is not None
    reader = replace(split.images, max_pixels=limit)
    return replace(split, images=reader), reader


def test_the_check_decodes_each_tile_but_never_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_image, "_ROWS", 64)
    split, reader = large_split(write_large_data(tmp_path))
    read = window_samples(monkeypatch)
    images = list(split.index.images)
    report = check_headers(images, reader)
    assert [(issue.kind, issue.count) for issue in report.issues] == [("image-in-windows", 1)]
    assert (report.headers[1].size, report.headers[1].content) == (SIZE, "uint8 grey")
    assert not check_pixels(images, reader).unusable
    assert 0 < max(read) <= 64 * SIZE[1]
    path = tmp_path / "images" / "large.tif"
    path.write_bytes(path.read_bytes()[:-300])
    assert "large.tif" in check_pixels(images, reader).unusable[1]
    with pytest.raises(SegtrainError, match="none of the 1 images can be read"):
        drop_unreadable(split)


def test_memory_does_not_grow_with_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_image, "_OVERVIEW", 100)
    monkeypatch.setattr(large_image, "_ROWS", 64)
    monkeypatch.setattr("segtrain.data.images.pages.tiff_windows._CACHE", 100_000)
    peaks = []
    for height in (512, 512, 4096):  # the first one imports what all use
        path = tmp_path / f"{height}.tif"
        tifffile.imwrite(path, np.zeros((height, 1024), np.uint8), tile=(64, 64), compression="zlib")
        tracemalloc.start()
        LargeImage(path, None, Reading(), FULL).read((0, 0, 200, 200))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 250_000 < 1_000_000 < 4096 * 1024


def test_what_training_cannot_read_whole_is_an_error_for_it(tmp_path: Path) -> None:
    split, reader = large_split(write_large_data(tmp_path))
    known = to_be_read_whole(known_headers(reader, list(split.index.images), {}), reader, split.index.images)
    ((kind, example),) = [(issue.kind, issue.examples[0]) for issue in known.issues]
    assert (kind, example) == (
        "image-too-large-to-train",
        "large.tif (image 1): 300x420 pixels, too many to be read whole",
    )
    assert list(known.unusable) == [1]
    assert "cut it into smaller images" in known.issues[0].line
    small = known_headers(replace(reader, max_pixels=10**6), list(split.index.images), {})
    assert to_be_read_whole(small, replace(reader, max_pixels=10**6), split.index.images) is small


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tile": None, "rowsperstrip": 300}, "stored in one piece: save it in tiles"),
        ({"extratags": [(274, "H", 1, 6, True)]}, r"annotations say 300x420|does not stand upright"),
    ],
)
def test_what_cannot_be_read_by_windows_says_what_to_do(
    options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtrain.data.images.pages.tiff_windows._STRIP", LIMIT)
    split, reader = large_split(write_large_data(tmp_path, **options), 10**6)
    reader = replace(reader, max_pixels=LIMIT, exif="apply")
    (image,) = split.index.images
    with pytest.raises(ImageError, match=said):
        reader.check(image)
    with pytest.raises(ImageError, match=said):
        read_or_open(reader, image)


def test_other_formats_and_other_sizes_are_refused(tmp_path: Path) -> None:
    pixels, _ = large_picture()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="save it as a TIFF in tiles, which a network that cuts it reads by windows"):
        read_header(tmp_path / "a.png", SIZE, Reading(max_pixels=LIMIT))
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64))
    with pytest.raises(ImageError, match="the file is 300x420, the annotations say 300x421"):
        read_header(tmp_path / "a.tif", (300, 421), Reading(max_pixels=LIMIT))
    assert read_header(tmp_path / "a.tif", None, Reading(max_pixels=LIMIT)).large
    assert not read_header(tmp_path / "a.tif", None, Reading(max_pixels=300 * 420)).large


def test_pages_are_projected_by_windows_and_never_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pages = rng.integers(0, 200, (3, *SIZE)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, tile=(64, 64), photometric="minisblack", metadata={"axes": "ZYX"})
    windows = TiffWindows(tmp_path / "a.tif", None, Reading(pages="max"))
    assert np.array_equal(windows.read((10, 20, 200, 250)).array, pages.max(axis=0)[20:250, 10:200])
    with pytest.raises(ImageError, match=r"3 pages, each too large to be compared .*set data.pages=first, max or mean"):
        TiffWindows(tmp_path / "a.tif", None, Reading())


def test_the_range_is_found_from_the_overview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split, reader = large_split(write_large_data(tmp_path, np.uint16))
    (reduced,) = measure_images(split.index, reader, {"16-bit": [1]}, 0)
    (whole,) = measure_images(split.index, replace(reader, max_pixels=10**6), {"16-bit": [1]}, 0)
    assert (reduced.low, reduced.high) == (whole.low, whole.high)  # no sample is left out of so small an overview
    monkeypatch.setattr(large_image, "_OVERVIEW", 150)
    (image,) = split.index.images
    assert isinstance(large := read_or_open(reader, image), LargeImage)
    assert large.step == 3
    rles = [truth["segmentation"] for truth in split.index.truths(1)]
    shown = read_picture(reader, image, rles)
    assert shown.pixels.shape == (100, 140, 3)
    assert np.array_equal(masks.decode(masks.union(shown.masks, (100, 140))) > 0, large_picture()[1][::3, ::3] > 0)
