"""Reading images: every mode, every orientation, every kind of damage."""

import ast
import contextlib
import os
import pickle
import resource
import struct
import time
import warnings
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from segtrain.data.coco.issues import ISSUE_TYPES
from segtrain.data.images.decode import decode
from segtrain.data.images.headers import Header, read_header
from segtrain.data.images.image_files import ImageError, image_path
from segtrain.data.images.image_reader import ImageReader, read_image
from segtrain.data.images.orientation import Exif
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples

LIMIT = 10_000_000
read = partial(read_image, max_pixels=LIMIT)


def header(
    path: Path, size: tuple[int, int] | None = None, *, exif: Exif = "auto", max_pixels: int = LIMIT, **changes: Any
) -> Header:
    return read_header(path, size, Reading(exif, max_pixels, **changes))


def samples(path: Path, size: tuple[int, int] | None = None, **changes: Any) -> Samples:
    return decode(path, size, Reading(max_pixels=LIMIT, **changes))


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
        assert stored.mode in (mode, "RGB")  # some releases of Pillow write a YCbCr TIFF as RGB
        expected = np.array(stored.convert("RGB"))
    pixels = read(path, (4, 6))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (4, 6, 3))
    assert np.array_equal(pixels, expected)


def test_transparency_is_discarded_without_a_warning(tmp_path: Path) -> None:
    image = Image.fromarray(picture()).quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes(range(8)))
    with Image.open(tmp_path / "a.png") as stored:
        assert isinstance(stored.info["transparency"], bytes)
    assert np.array_equal(read(tmp_path / "a.png"), np.array(image.convert("RGB")))


def test_lab_is_converted(tmp_path: Path) -> None:
    white = [Image.new("L", (6, 4), value) for value in (255, 128, 128)]
    Image.merge("LAB", white).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif").min() > 250


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_scale_linearly_over_the_full_range(tmp_path: Path, suffix: str) -> None:
    grey = np.array([[0, 257, 514, 65535], [128, 129, 4095, 32768]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    pixels = read(tmp_path / f"a.{suffix}", (2, 4))
    assert pixels[..., 0].tolist() == [[0, 1, 2, 255], [0, 1, 16, 128]]
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_samples_are_those_of_the_file(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 257, 514, 65535], [128, 129, 4095, 32768]], dtype=np.uint16)
    for grey, limits in ((deep, (0, 65535)), (deep.astype(np.uint8), (0, 255))):
        Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
        stored = samples(tmp_path / f"a.{suffix}", (2, 4))
        assert (stored.array.dtype, stored.limits) == (grey.dtype, limits)
        assert np.array_equal(stored.array, grey)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_whose_zero_is_white_is_inverted(tmp_path: Path, dtype: type[np.unsignedinteger[Any]]) -> None:
    grey = np.array([[0, 1, 200, 255]], dtype=dtype)
    Image.fromarray(grey).save(tmp_path / "a.tif", tiffinfo={262: 0})
    stored = tmp_path / "a.tif"
    with Image.open(stored) as image:
        assert image.tag_v2[262] == 0  # type: ignore[attr-defined]
    expected = np.iinfo(dtype).max - np.frombuffer(stored.read_bytes(), dtype, 4, strip_offset(stored))
    assert samples(stored).array.ravel().tolist() == expected.tolist()


def strip_offset(path: Path) -> int:
    with Image.open(path) as image:
        return int(image.tag_v2[273][0])  # type: ignore[attr-defined]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_grey_is_turned(tmp_path: Path, orientation: int) -> None:
    grey = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1000
    orientated(tmp_path / "a.tif", Image.fromarray(grey), orientation)
    plain = Image.fromarray(grey)
    plain.getexif()[0x0112] = orientation
    upright = np.array(ImageOps.exif_transpose(plain))
    for size, expected in ((upright.shape, upright), ((4, 6), grey if upright.shape == (6, 4) else upright)):
        array = samples(tmp_path / "a.tif", size).array
        assert np.array_equal(array, expected)
        assert array.flags.c_contiguous


def test_floats_scale_from_0_to_1(tmp_path: Path) -> None:
    grey = np.array([[0, 0.2, 1, np.nan]], dtype=np.float32)
    Image.fromarray(grey).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 51, 255, 0]


@pytest.mark.parametrize("orientation", range(10))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    exif_size = (6, 4) if orientation in (5, 6, 7, 8) else (4, 6)
    with Image.open(tmp_path / "a.png") as stored:
        upright = np.array(ImageOps.exif_transpose(stored))
    assert np.array_equal(read(tmp_path / "a.png"), upright)
    assert np.array_equal(read(tmp_path / "a.png", exif_size), upright)
    header(tmp_path / "a.png", exif_size)
    if orientation in (5, 6, 7, 8):
        assert np.array_equal(read(tmp_path / "a.png", (4, 6)), picture())
        header(tmp_path / "a.png", (4, 6))
    with pytest.raises(ImageError, match=f"a.png: the file is {exif_size[0]}x{exif_size[1]}, .* say 5x6"):
        read(tmp_path / "a.png", (5, 6))
    with pytest.raises(ImageError, match=f"a.png: the file is {exif_size[0]}x{exif_size[1]}, .* say 5x6"):
        header(tmp_path / "a.png", (5, 6))


def test_a_tiff_is_turned_once(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    assert np.array_equal(read(tmp_path / "a.tif", (6, 4)), np.rot90(picture(), -1))
    header(tmp_path / "a.tif", (6, 4))


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
        with pytest.raises(ImageError, match=f"{name}.png: cannot read the image") as caught:
            read(path)
        assert "\n" not in str(caught.value)
        if name != "cut":  # behind its header
            with pytest.raises(ImageError, match=f"{name}.png: cannot read the image"):
                header(path, (64, 64))
    with pytest.raises(ImageError, match="folder"):
        read(tmp_path / "folder.png")


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
            with contextlib.suppress(ImageError):
                assert read(path).dtype == np.uint8


def refusal(call: Any, *arguments: Any, **keywords: Any) -> tuple[str, str]:
    """The kind and the message of the error of a call, which fits in one line."""
    with pytest.raises(ImageError) as caught:
        call(*arguments, **keywords)
    assert caught.value.kind in ISSUE_TYPES
    assert caught.value.reason in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500
    return caught.value.kind, str(caught.value)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "content"), [
    ("image-missing", None),
    ("image-unreadable", b""),
    ("image-unreadable", b"hello"),
    ("image-foreign", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n"),
])  # fmt: skip
def test_what_is_no_image_is_told_by_its_header(tmp_path: Path, kind: str, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for call in (read, header):
        assert refusal(call, path)[0] == kind


@pytest.mark.parametrize("suffix", ["png", "jpeg", "gif", "bmp", "ppm", "tga", "tiff", "webp", "jp2"])
def test_a_file_that_breaks_off_is_told_from_one_that_is_no_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture(64, 64)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    header(path, (64, 64)) if suffix != "webp" else None
    kind, message = refusal(read, path)
    # Of a WebP the first bytes say how long it is, so it is refused as it is opened.
    assert kind == ("image-unreadable" if suffix == "webp" else "image-truncated")
    assert "replace the file, or set data.on_bad_image=skip" in message


def test_an_error_survives_the_way_home_from_a_worker(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read(tmp_path / "a.png")
    home = pickle.loads(pickle.dumps(caught.value))
    assert (type(home), str(home)) == (ImageError, str(caught.value))
    assert (home.kind, home.reason) == ("image-missing", "cannot read the image (No such file or directory)")


def orientated(path: Path, image: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if path.suffix == ".tif":
        image.save(path, tiffinfo={0x0112: orientation}, compression="tiff_lzw" if orientation % 2 else None)
    else:
        image.save(path, exif=exif, **({"lossless": True} if path.suffix == ".webp" else {}))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(4, 6), (5, 5)])
def test_every_reading_of_every_orientation(
    tmp_path: Path, suffix: str, orientation: int, shape: tuple[int, int]
) -> None:
    path, plain = tmp_path / f"a.{suffix}", tmp_path / f"plain.{suffix}"
    orientated(path, Image.fromarray(picture(*shape)), orientation)
    orientated(plain, Image.fromarray(picture(*shape)), 1)
    with Image.open(plain) as image:
        stored = np.array(image)
        image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    upright = np.array(ImageOps.exif_transpose(image))

    def both(size: tuple[int, int] | None, exif: str) -> np.ndarray:
        pixels = read(path, size, exif=exif)
        found = header(path, size, exif=exif)
        assert (found.size, found.orientation) == (pixels.shape[:2], orientation)
        assert found.turned == (orientation != 1 and np.array_equal(pixels, upright))
        return pixels

    for size in (None, upright.shape[:2]):
        assert np.array_equal(both(size, "apply"), upright)
        assert np.array_equal(both(size, "auto"), upright)
    for size in (None, stored.shape[:2]):
        assert np.array_equal(both(size, "ignore"), stored)
    if stored.shape == upright.shape:
        return
    assert np.array_equal(both(stored.shape[:2], "auto"), stored)
    for call in (read, header):
        for exif, size in (("apply", stored.shape[:2]), ("ignore", upright.shape[:2])):
            kind, message = refusal(call, path, size, exif=exif)
            assert kind == "image-size"
            assert "set data.exif=auto, or correct the json or the image" in message
        assert "set data.exif" not in refusal(call, path, (9, 9), exif="apply")[1]


def test_exif_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    late = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-12] + late + whole[-12:])
    assert np.array_equal(read(path, (6, 4)), np.rot90(picture(), -1))
    assert header(path, (6, 4)).turned
    assert not header(path, (4, 6)).turned


def memory_peak() -> int:
    """Of this process, in bytes; it never falls."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("side", [60_000, 2**31 - 1])
@pytest.mark.parametrize("wanted", ["pixels", "header"])
def test_a_bomb_is_refused_unread(tmp_path: Path, side: int, wanted: str) -> None:
    path = tmp_path / "a.png"
    rows = zlib.compress(bytes(7501 * 200), 9) if side == 60_000 else b""
    path.write_bytes(png_of(side, side, png_chunk(b"IDAT", rows)))
    before, started = memory_peak(), time.perf_counter()
    kind, message = refusal(read if wanted == "pixels" else header, path, (side, side))
    assert kind == "image-too-large"
    assert f"{side**2} pixels, more than the limit of {LIMIT}; save it as a TIFF in tiles" in message
    assert memory_peak() - before < 2**25
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("suffix", ["png", "gif", "webp", "ico", "bmp"])
def test_the_limit_is_exact(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (21, 21)).save(path, **({"sizes": [(21, 21)]} if suffix == "ico" else {}))
    for limit in (441, 442):
        assert read_image(path, max_pixels=limit).shape == (21, 21, 3)
    for limit in (1, 439, 440):
        assert refusal(read_image, path, max_pixels=limit)[0] == "image-too-large"
        assert refusal(header, path, max_pixels=limit)[0] == "image-too-large"


def test_an_honest_large_image_is_read_beyond_pillows_own_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (2000, 1000)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read(path).shape == (1000, 2000, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


NAMES_OUTSIDE = [
    "../a.png",
    "/a.png",
    "b/../../a.png",
    "..\\a.png",
    "C:\\a.png",
    "c:a.png",
    "",
    "\\a.png",
    "//host/a.png",
]


@pytest.mark.parametrize("name", NAMES_OUTSIDE)
def test_names_stay_in_the_folder(name: str) -> None:
    kind, message = refusal(image_path, Path("images"), name)
    assert kind == "image-outside-folder"
    assert "leads out of the image folder; make it relative" in message


@pytest.mark.parametrize(
    "name", ["a\0.png", "none/a\0.png", "\ud800.png", "a" * 5000, "a/" * 5000 + "b.png", "a\0" * 3000]
)
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    kind, message = refusal(image_path, tmp_path, name)
    assert kind == "image-missing"
    assert "there is no file of the name" in message


@pytest.mark.parametrize("name", ["new\nline.png", "\udc80.png", "bell\a.png", "x" * 250 + ".png", "ü.png", " "])
def test_odd_names_of_files_that_are_not_there(tmp_path: Path, name: str) -> None:
    assert refusal(read, image_path(tmp_path, name))[0] == "image-missing"
    Image.fromarray(picture()).save(image_path(tmp_path, name), format="PNG")
    assert read(image_path(tmp_path, name)).shape == (4, 6, 3)


def test_names_may_have_folders() -> None:
    assert image_path(Path("images"), "a/b..c.png") == Path("images/a/b..c.png")


@pytest.mark.parametrize("name", [".", "./", "folder", "folder/", "pipe", "null"])
def test_only_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    if name == "null":
        if os.geteuid() != 0:
            pytest.skip("only root makes devices")
        with contextlib.suppress(PermissionError):
            os.mknod(tmp_path / name, 0o20666, os.makedev(1, 3))
        if not (tmp_path / name).exists():
            pytest.skip("devices cannot be made here")
    for call in (read, header):
        kind, message = refusal(call, image_path(tmp_path, name))
        assert kind == "image-unreadable"
        assert "a directory, pipe or device" in message


def linked_folders(tmp_path: Path) -> Path:
    """images/ with an image and links, secret/ beside it."""
    for folder in ("images/inner", "secret"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(picture()).save(tmp_path / folder / "a.png")
    images = tmp_path / "images"
    (images / "out.png").symlink_to(tmp_path / "secret" / "a.png")
    (images / "out").symlink_to(tmp_path / "secret")
    (images / "up").symlink_to("..")
    (images / "far.png").symlink_to("out/a.png")
    (images / "in.png").symlink_to("inner/a.png")
    (images / "in").symlink_to(images / "inner")
    (images / "round.png").symlink_to("inner/../in/a.png")
    (images / "broken.png").symlink_to("nowhere.png")
    (images / "nowhere.png").symlink_to(tmp_path / "nothing.png")
    (images / "loop.png").symlink_to("loop.png")
    return images


@pytest.mark.parametrize("name", ["out.png", "out/a.png", "up/secret/a.png", "far.png", "broken.png", "out/none.png"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = linked_folders(tmp_path)
    kind, message = refusal(image_path, folder, name)
    assert kind == "image-outside-folder"
    assert "through a symbolic link, to " in message
    assert "; put the files themselves into it, or name the folder that holds them" in message


@pytest.mark.parametrize("name", ["in.png", "in/a.png", "round.png", "up/images/inner/a.png", "inner/a.png"])
def test_links_inside_the_folder_are_followed(tmp_path: Path, name: str) -> None:
    folder = linked_folders(tmp_path)
    assert np.array_equal(read(image_path(folder, name)), picture())
    alias = tmp_path / "alias"
    alias.symlink_to(folder)
    assert np.array_equal(read(image_path(alias, name)), picture())
    assert refusal(image_path, alias, "out.png")[0] == "image-outside-folder"


PARTS = st.sampled_from(["..", ".", "", "a.png", "in", "out", "up", "images", "secret", "inner", "out.png", "loop.png"])


@given(name=st.lists(PARTS | st.text(max_size=5), max_size=6).map("/".join) | st.text(max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "images" if (tmp_path / "images").exists() else linked_folders(tmp_path)
    with contextlib.suppress(ImageError):
        path = image_path(folder, name)
        assert Path(os.path.realpath(path)).is_relative_to(folder)
        assert np.array_equal(read(path), picture())


def test_a_link_to_itself_ends(tmp_path: Path) -> None:
    assert refusal(read, image_path(linked_folders(tmp_path), "loop.png"))[0] == "image-unreadable"


def test_a_reader_holds_what_reading_needs(tmp_path: Path) -> None:
    class Entry:
        id, file_name, size = 1, "a.png", (6, 4)

    orientated(tmp_path / "a.png", Image.fromarray(picture()), 6)
    reader = pickle.loads(pickle.dumps(ImageReader(tmp_path, "apply", 24)))
    assert np.array_equal(reader.read(Entry()), np.rot90(picture(), -1))
    assert (reader.check(Entry()).bytes, reader.check(Entry()).mtime_ns) == (
        (tmp_path / "a.png").stat().st_size,
        (tmp_path / "a.png").stat().st_mtime_ns,
    )
    assert refusal(ImageReader(tmp_path, "ignore", 24).read, Entry())[0] == "image-size"
    assert refusal(ImageReader(tmp_path, "apply", 23).check, Entry())[0] == "image-too-large"


def test_pillow_opens_images_in_few_places_only() -> None:
    package = Path(__file__).parents[3] / "segtrain"
    users = []
    for file in package.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        if any(isinstance(call, ast.Attribute) and ast.unparse(call) == "Image.open" for call in calls):
            users.append(file.name)
    # Masks as PNG inside of labels are no files, and the example beside an exported network runs without segtrain.
    assert sorted(users) == ["onnx_example.py", "opening.py", "outlines.py"]


@needs_nasty_files
@pytest.mark.parametrize("name", ["pillow/broken_data_stream.png", "pillow/truncated_jpeg.jpg"])
def test_broken_real_files_are_refused(name: str) -> None:
    kind, message = refusal(read, NASTY / name)
    assert kind == "image-truncated"
    assert f"{name}: cannot read the image (" in message
    header(NASTY / name)


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
    assert np.array_equal(read(NASTY / name), expected)


@needs_nasty_files
@pytest.mark.parametrize("name", ["pillow/16bit.cropped.tif", "pillow/hopper_16bit.pgm"])
def test_16_bit_real_files_keep_their_contrast(name: str) -> None:
    with Image.open(NASTY / name) as image:
        values = np.asarray(image).astype(np.float64)
    assert np.array_equal(read(NASTY / name)[..., 1], np.rint(values / 257))


@needs_nasty_files
def test_all_turned_landscapes_show_the_same(tmp_path: Path) -> None:
    upright = read(NASTY / "exif/Landscape_1.jpg", (1200, 1800)).astype(np.float64)
    for orientation in (0, 3, 6, 8):
        turned = read(NASTY / f"exif/Landscape_{orientation}.jpg", (1200, 1800))
        # The files were compressed apart from each other, and show a number of their own.
        assert np.median(np.abs(turned - upright)) <= 6, orientation
    assert read(NASTY / "exif/Landscape_6.jpg", (1800, 1200)).shape == (1800, 1200, 3)
