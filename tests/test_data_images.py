"""Reading images: every mode, every orientation, every kind of damage."""

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from segtrain.data.images import check_header, image_path, read_image
from segtrain.errors import SegtrainError

NASTY = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data" / "nasty"
needs_nasty_files = pytest.mark.skipif(not NASTY.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with nasty files")


def picture(height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_modes_read_as_pillow_converts_them(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    path = tmp_path / f"a.{'tif' if mode in ('CMYK', 'YCbCr') else 'png'}"
    image.save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode
        expected = np.array(stored.convert("RGB"))
    read = read_image(path, (4, 6))
    assert (read.dtype, read.shape) == (np.uint8, (4, 6, 3))
    assert np.array_equal(read, expected)


def test_transparency_is_discarded_without_a_warning(tmp_path: Path) -> None:
    image = Image.fromarray(picture()).quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes(range(8)))
    with Image.open(tmp_path / "a.png") as stored:
        assert isinstance(stored.info["transparency"], bytes)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.array(image.convert("RGB")))


def test_lab_is_converted(tmp_path: Path) -> None:
    white = [Image.new("L", (6, 4), value) for value in (255, 128, 128)]
    Image.merge("LAB", white).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").min() > 250


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_scale_linearly_over_the_full_range(tmp_path: Path, suffix: str) -> None:
    grey = np.array([[0, 257, 514, 65535], [128, 129, 4095, 32768]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    read = read_image(tmp_path / f"a.{suffix}", (2, 4))
    assert read[..., 0].tolist() == [[0, 1, 2, 255], [0, 1, 16, 128]]
    assert (read == read[..., :1]).all()


@pytest.mark.parametrize("full", [1.0, 255.0, 65535.0])
def test_floats_scale_from_the_range_that_holds_them(tmp_path: Path, full: float) -> None:
    grey = np.array([[0, full / 5, full, np.nan]], dtype=np.float32)
    Image.fromarray(grey).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 51, 255, 0]


@pytest.mark.parametrize("orientation", range(10))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    exif_size = (6, 4) if orientation in (5, 6, 7, 8) else (4, 6)
    with Image.open(tmp_path / "a.png") as stored:
        upright = np.array(ImageOps.exif_transpose(stored))
    assert np.array_equal(read_image(tmp_path / "a.png"), upright)
    assert np.array_equal(read_image(tmp_path / "a.png", exif_size), upright)
    check_header(tmp_path / "a.png", exif_size)
    if orientation in (5, 6, 7, 8):
        assert np.array_equal(read_image(tmp_path / "a.png", (4, 6)), picture())
        check_header(tmp_path / "a.png", (4, 6))
    with pytest.raises(SegtrainError, match=f"a.png: the file is {exif_size[0]}x{exif_size[1]}, .* say 5x6"):
        read_image(tmp_path / "a.png", (5, 6))
    with pytest.raises(SegtrainError, match=f"a.png: the file is {exif_size[0]}x{exif_size[1]}, .* say 5x6"):
        check_header(tmp_path / "a.png", (5, 6))


def test_a_tiff_is_turned_once(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    assert np.array_equal(read_image(tmp_path / "a.tif", (6, 4)), np.rot90(picture(), -1))
    check_header(tmp_path / "a.tif", (6, 4))


def test_damage_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture(64, 64)).save(path)
    whole = path.read_bytes()
    (tmp_path / "folder.png").mkdir()
    damaged = {"absent": None, "empty": b"", "text": b"hello", "cut": whole[:3000], "head": whole[:20]}
    for name, content in damaged.items():
        path = tmp_path / f"{name}.png"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SegtrainError, match=f"{name}.png: cannot read the image") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)
        if name != "cut":  # behind its header
            with pytest.raises(SegtrainError, match=f"{name}.png: cannot read the image"):
                check_header(path, (64, 64))
    with pytest.raises(SegtrainError, match="folder"):
        read_image(tmp_path / "folder.png")


def test_no_damage_raises_anything_else(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "a"
    for suffix in ("png", "jpeg", "tiff", "gif"):
        Image.fromarray(picture(16, 16)).save(path, format=suffix)
        whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            damaged[random.integers(0, len(whole), 4)] = random.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            with contextlib.suppress(SegtrainError):
                assert read_image(path).dtype == np.uint8


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    with pytest.raises(SegtrainError, match="decompression bomb"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "b/../../a.png", "..\\a.png", "C:\\a.png", ""])
def test_names_stay_in_the_folder(name: str) -> None:
    with pytest.raises(SegtrainError, match="leads out of the image folder"):
        image_path(Path("images"), name)


def test_names_may_have_folders() -> None:
    assert image_path(Path("images"), "a/b..c.png") == Path("images/a/b..c.png")


@needs_nasty_files
@pytest.mark.parametrize("name", ["pillow/broken_data_stream.png", "pillow/truncated_jpeg.jpg"])
def test_broken_real_files_are_refused(name: str) -> None:
    with pytest.raises(SegtrainError, match=f"{name}: cannot read the image"):
        read_image(NASTY / name)


@needs_nasty_files
@pytest.mark.parametrize(
    "name",
    [
        *(f"exif/Landscape_{orientation}.jpg" for orientation in (0, 1, 3, 6, 8)),
        *("pillow/hopper_bad_exif.jpg", "pillow/hopper_gray.jpg", "pillow/hopper_orientation_6.jpg"),
        *("pillow/invalid-exif.jpg", "pillow/la.tga", "pillow/pil_sample_cmyk.jpg", "pillow/transparent.png"),
    ],
)
def test_odd_real_files_are_read(name: str) -> None:
    with warnings.catch_warnings(), Image.open(NASTY / name) as image:
        warnings.simplefilter("ignore")
        image.load()
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_image(NASTY / name), expected)


@needs_nasty_files
@pytest.mark.parametrize("name", ["pillow/16bit.cropped.tif", "pillow/hopper_16bit.pgm"])
def test_16_bit_real_files_keep_their_contrast(name: str) -> None:
    with Image.open(NASTY / name) as image:
        values = np.asarray(image).astype(np.float64)
    assert np.array_equal(read_image(NASTY / name)[..., 1], np.rint(values / 257))


@needs_nasty_files
def test_all_turned_landscapes_show_the_same(tmp_path: Path) -> None:
    upright = read_image(NASTY / "exif/Landscape_1.jpg", (1200, 1800)).astype(np.float64)
    for orientation in (0, 3, 6, 8):
        turned = read_image(NASTY / f"exif/Landscape_{orientation}.jpg", (1200, 1800))
        # The files were compressed apart from each other, and show a number of their own.
        assert np.median(np.abs(turned - upright)) <= 6, orientation
    assert read_image(NASTY / "exif/Landscape_6.jpg", (1800, 1200)).shape == (1800, 1200, 3)
