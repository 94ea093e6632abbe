"""Images beyond the limit of pixels, which are read by windows."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import tifffile
from PIL import Image

import segtrain as st
from segtrain import masks
from segtrain.cli.main import main
from segtrain.data.images import large_image
from segtrain.data.images.decode import decode
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.intensities.intensity import FULL
from segtrain.data.images.large_image import LargeImage
from segtrain.data.images.pages import tiff_windows
from segtrain.data.images.pages.tiff_pages import TiffPage
from segtrain.data.images.pages.tiff_segments import decode_page
from segtrain.data.images.pages.tiff_windows import TiffWindows
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples
from segtrain.errors import SegtrainError
from segtrain.prediction import large_files
from segtrain.records import Instances, to_label_map
from segtrain.segmenters.tiles import TiledSegmenter, Tiling
from tests.helpers.large_data import window_samples

SIZE = (300, 410)
KINDS: dict[str, tuple[tuple[int, ...], type, dict[str, Any]]] = {
    "16-bit tiles": (SIZE, np.uint16, {"tile": (64, 48)}),
    "deflated RGB tiles": ((*SIZE, 3), np.uint8, {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}),
    "RGB strips": ((*SIZE, 3), np.uint8, {"photometric": "rgb", "rowsperstrip": 17}),
    "RGB planes": ((3, *SIZE), np.uint8, {"photometric": "rgb", "planarconfig": "separate", "tile": (64, 64)}),
    "dark is high": (SIZE, np.uint8, {"tile": (32, 64), "photometric": "miniswhite"}),
    "one strip": ((*SIZE, 3), np.uint16, {"photometric": "rgb", "rowsperstrip": 300}),
    "one strip of each plane": ((3, *SIZE), np.uint8, {"photometric": "rgb", "planarconfig": "separate"}),
    "float32": (SIZE, np.float32, {"tile": (32, 64), "compression": "zlib"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_parts_of_the_whole(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, dtype, options = KINDS[kind]
    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 200, shape).astype(dtype), **options)
    whole = decode(tmp_path / "a.tif", None, Reading())
    monkeypatch.setattr(tiff_windows, "_STRIP", 10_000)
    windows = TiffWindows(tmp_path / "a.tif", 0, Reading(max_pixels=10))
    assert (windows.size, windows.frames) == (SIZE, 1)
    for _ in range(12):
        x0, x1 = sorted(int(n) for n in rng.choice(SIZE[1] + 1, 2, replace=False))
        y0, y1 = sorted(int(n) for n in rng.choice(SIZE[0] + 1, 2, replace=False))
        part = windows.read((x0, y0, x1, y1))
        assert part.array.dtype == whole.array.dtype
        assert np.array_equal(part.array, whole.array[y0:y1, x0:x1])
        assert part.limits == whole.limits


def test_few_decoded_tiles_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(120 * 130, dtype=np.uint16).reshape(120, 130)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(32, 48))
    monkeypatch.setattr(tiff_windows, "_CACHE", 3 * 32 * 48 * 2)
    decoded = list[TiffPage]()

    def decode_counted(stream: BinaryIO, page: TiffPage) -> Samples:
        decoded.append(page)
        return decode_page(stream, page)

    monkeypatch.setattr(tiff_windows, "decode_page", decode_counted)
    windows = TiffWindows(tmp_path / "a.tif", 0, Reading())
    for x0, y0, x1, y1 in ((0, 0, 130, 32), (0, 0, 96, 32), (0, 64, 130, 120), (0, 0, 48, 32)):
        assert np.array_equal(windows.read((x0, y0, x1, y1)).array, pixels[y0:y1, x0:x1])
    assert len(decoded) == 3 + 0 + 6 + 1


def refuse(*_: object, **__: object) -> None:
    raise ValueError("<COMPRESSION.JPEG: 7> requires the 'imagecodecs' package")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_tiles_that_are_compressed_as_images(mode: str, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    pixels = np.add.outer(np.arange(100), np.arange(130))[:, :, None] + [0, 10, 20]
    array = np.asarray(Image.fromarray(pixels.astype(np.uint8)).convert(mode))
    kind = "ycbcr" if mode == "RGB" else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", array, tile=(32, 48), compression="jpeg", photometric=kind)
    whole = decode(tmp_path / "a.tif", None, Reading()).array
    part = TiffWindows(tmp_path / "a.tif", 0, Reading()).read((20, 30, 121, 97)).array
    assert part.shape == array[30:97, 20:121].shape
    assert np.abs(part.astype(int) - whole[30:97, 20:121]).max() <= 2  # two decoders


def test_what_cannot_be_read_by_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((900, 50, 3), np.uint8)).save(tmp_path / "jpeg.tif", compression="jpeg")
    pixels = np.zeros((40, 50, 3), np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(tifffile.TiffPage, "decode", refuse)
        with pytest.raises(ImageError, match=r"compressed as images: pip install 'segtrain\[large\]', or save it"):
            TiffWindows(tmp_path / "jpeg.tif", 0, Reading()).read((0, 0, 9, 9))
    tifffile.imwrite(tmp_path / "one.tif", pixels, photometric="rgb", compression="zlib", rowsperstrip=40)
    with monkeypatch.context() as patch:
        patch.setattr(tiff_windows, "_STRIP", 5_000)
        with pytest.raises(ImageError, match="stored in one piece: save it in tiles"):
            TiffWindows(tmp_path / "one.tif", 0, Reading())
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.tif")
    with pytest.raises(ImageError, match="colour model 5: save it as RGB or grey"):
        TiffWindows(tmp_path / "cmyk.tif", 0, Reading())
    tifffile.imwrite(tmp_path / "turned.tif", pixels, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    with pytest.raises(ImageError, match="does not stand upright"):
        TiffWindows(tmp_path / "turned.tif", 0, Reading())
    assert TiffWindows(tmp_path / "turned.tif", 0, Reading(exif="ignore")).size == (40, 50)
    tifffile.imwrite(tmp_path / "cut.tif", pixels + 7, tile=(16, 16), photometric="rgb")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:-900])
    windows = TiffWindows(tmp_path / "cut.tif", 0, Reading())
    with pytest.raises(ImageError, match="truncated"):
        windows.read((0, 0, 50, 40))


def picture() -> Any:
    """Draw squares on a dark ground, some across the borders of tiles and windows."""
    pixels = np.full((700, 1100), 30, np.uint8)
    for number, (y, x) in enumerate(np.random.default_rng(1).permutation(70)[:40, None] * [[10, 15]] % [[680, 1070]]):
        pixels[y : y + 9 + number % 9, x : x + 12] = 200
    return pixels


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, picture(), tile=(128, 128), compression="zlib")
    return path


def predicted(out: Path) -> Any:
    return json.loads((out / "predictions.json").read_text())["annotations"]


def test_a_large_image_gives_what_the_whole_gives(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(large_image, "_OVERVIEW", 500)
    command = [
        "predict",
        "threshold_mean",
        str(large),
        "--tile",
        "256",
        "--save",
        "coco,table,labels,overlays,outlines",
    ]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    assert main([*command, "--out", str(tmp_path / "parts"), "--max-pixels", "1000"]) == 0
    whole, parts = predicted(tmp_path / "whole"), predicted(tmp_path / "parts")
    assert len(whole) > 20
    assert parts == whole
    rows = [(tmp_path / name / "objects.csv").read_text() for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    labels = [tifffile.imread(tmp_path / name / "labels" / "large.tif") for name in ("whole", "parts")]
    assert labels[0].dtype == labels[1].dtype == np.uint16
    assert np.array_equal(*labels)
    with Image.open(tmp_path / "parts" / "overlays" / "large.png") as overlay:
        assert max(overlay.size) < 1100
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path / "masks"), "--max-pixels", "1000", "--save", "masks,index"]) == 0
    assert "no single masks of so large an image are written" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "masks" / "masks").exists()


def test_python_reads_a_large_image_by_windows(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = st.classical("threshold_mean")
    model = replace(method, segmenter=TiledSegmenter(method.segmenter, Tiling(256)))
    (whole,) = model.predict(large)
    assert len(whole) > 20
    monkeypatch.setattr("segtrain.api.Reading", partial(Reading, max_pixels=1000))
    read = window_samples(monkeypatch)
    (parts,) = model.predict(large)
    assert list(parts.rles) == list(whole.rles)
    assert max(read) < 700 * 1100
    with pytest.raises(SegtrainError, match="networks loaded with tile=SIZE read TIFFs by windows"):
        method.predict(large)


def test_label_maps_by_tiles_are_those_of_the_whole() -> None:
    """The better of two objects on top, wherever tiles end."""
    rng, size = np.random.default_rng(2), (700, 1100)
    rles = [
        masks.encode_crop(rng.random((150, 200)) < 0.9, int(x), int(y), size)
        for y, x in rng.integers((0, 0), (550, 900), (40, 2))
    ]
    scores = np.linspace(0.9, 0.1, 40, dtype=np.float32)
    found = Instances(size, masks.boxes(rles).astype(np.float32), np.ones(40, np.int64), scores, rles)
    tiles = list(large_files.label_tiles(found))
    drawn = np.block([tiles[row : row + 3] for row in (0, 3)])
    assert np.array_equal(drawn[:700, :1100], to_label_map(found))


def test_an_overview_shows_every_nth_pixel(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_image, "_OVERVIEW", 300)
    image = LargeImage(large, 0, Reading(), FULL)
    assert image.step == 4
    assert np.array_equal(image.overview.array, picture()[::4, ::4])
    planes = [np.zeros((700, 1100), bool) for _ in range(3)]
    planes[0][5:30, 7:90] = planes[1][699:, 1099:] = planes[2][8:9, 16:17] = True
    reduced = image.reduced([masks.encode(plane) for plane in planes])
    assert [masks.decode(rle).tolist() for rle in reduced] == [plane[::4, ::4].tolist() for plane in planes]


def test_a_large_image_that_is_not_cut_is_named(
    large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(picture()).save(tmp_path / "large.png")
    command = ["predict", "threshold_mean", str(large), str(tmp_path / "large.png"), "--max-pixels", "1000", "--out"]
    assert main([*command, str(tmp_path / "out")]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "large.tif (the image has 770000 pixels, more than the limit of 1000; --tile SIZE reads it by windows)" in out
    )
    assert (
        "large.png (the image has 770000 pixels, more than the limit of 1000; raise --max-pixels, or save it as" in out
    )
