"""TIFFs of every type of samples, compared with the arrays that other libraries wrote into them."""

import io
import itertools
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segtrain.data.images.decode import decode
from segtrain.data.images.headers import read_header
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples

Array = npt.NDArray[Any]
LIMIT = 10**6
TYPES = [
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
]  # fmt: skip
LAYOUTS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "grey": ((17, 23), {"photometric": "minisblack"}),
    "white is zero": ((17, 23), {"photometric": "miniswhite"}),
    "colour": ((17, 23, 3), {"photometric": "rgb"}),
    "colour in planes": ((3, 17, 23), {"photometric": "rgb", "planarconfig": "separate"}),
    "colour and alpha": ((17, 23, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "grey and alpha": ((17, 23, 2), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
    "five channels": ((17, 23, 5), {"photometric": "minisblack", "planarconfig": "contig"}),
}


def samples(path: Path, size: tuple[int, int] | None = None, **settings: Any) -> Samples:
    return decode(path, size, Reading(max_pixels=LIMIT, **settings))


def noise(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def expected(array: Array, layout: str) -> Array:
    """What is read of an array in one of the layouts."""
    if layout == "white is zero" and array.dtype.kind != "f":
        limits = np.iinfo(array.dtype)
        return (int(limits.min) + int(limits.max) - array.astype(object)).astype(array.dtype)
    if layout == "colour in planes":
        return np.moveaxis(array, 0, -1)
    if layout == "grey and alpha":
        return array[:, :, 0]
    return array[:, :, :3] if array.ndim == 3 else array


@pytest.mark.few(25)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_and_layout_is_read_as_written(tmp_path: Path, dtype: str, layout: str) -> None:
    shape, about = LAYOUTS[layout]
    array = noise(shape, dtype)
    channels = (0, 1, 2) if layout == "five channels" else None
    choices = itertools.product("<>", (None, (16, 16)), (None, "zlib", "lzma"), (False, True))
    for number, (byteorder, tile, compression, predictor) in enumerate(choices):
        if predictor and (compression is None or array.dtype.kind == "f" or array.dtype.itemsize == 8):
            continue  # tifffile writes them with imagecodecs only
        tifffile.imwrite(
            tmp_path / "a.tif", array, byteorder=byteorder, tile=tile, rowsperstrip=None if tile else 5,
            compression=compression, predictor=predictor, bigtiff=number % 2 == 0, metadata=None, **about,
        )  # fmt: skip
        read = samples(tmp_path / "a.tif", (17, 23), channels=channels)
        assert read.array.dtype == array.dtype
        assert np.array_equal(read.array, expected(array, layout))
        whole = np.iinfo(dtype) if array.dtype.kind != "f" else None
        assert read.limits == (None if whole is None else (whole.min, whole.max))


@pytest.mark.parametrize("compression", [1, 5, 8, 32946, 32773])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (30, 40, 4)])
def test_compressions_of_libtiff(tmp_path: Path, compression: int, dtype: str, shape: tuple[int, ...]) -> None:
    """With the predictors that OpenCV chooses: differences of integers, or of the bytes of floats."""
    array = noise(shape, dtype)
    cv2.imwrite(str(tmp_path / "a.tif"), array, [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    assert np.array_equal(samples(tmp_path / "a.tif").array, array if array.ndim == 2 else array[:, :, [2, 1, 0]])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate"])
def test_pages_read_as_the_single_page(tmp_path: Path, mode: str, compression: str | None) -> None:
    """A file of two pages takes the way of its own decoder, one of a single page that of Pillow."""
    if compression == "jpeg" and mode in ("1", "P", "LA", "RGBA"):
        return
    picture = Image.fromarray(np.kron(noise((4, 5, 3)), np.ones((8, 8, 1), dtype=np.uint8))).convert(mode)
    other = Image.fromarray(noise((32, 40, 3), seed=1)).convert(mode)
    picture.save(tmp_path / "one.tif", compression=compression)
    picture.save(tmp_path / "two.tif", compression=compression, save_all=True, append_images=[other])
    assert np.array_equal(samples(tmp_path / "two.tif", pages="first").array, samples(tmp_path / "one.tif").array)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_of_any_number_of_bits(tmp_path: Path, bits: int, channels: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (5, 7, channels))
    (tmp_path / "a.tif").write_bytes(packed_tiff(values, bits))
    read = samples(tmp_path / "a.tif")
    high = 255 if bits < 8 else 2**bits - 1
    assert read.limits == (0, high)
    assert np.array_equal(read.array.reshape(values.shape), np.rint(values * (high / (2**bits - 1))))


def packed_tiff(values: Array, bits: int) -> bytes:
    """A TIFF of rows whose samples follow each other without a gap."""
    rows = ["".join(f"{value:0{bits}b}" for value in row.ravel()) for row in values]
    rows = [row + "0" * (-len(row) % 8) for row in rows]
    data = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)
    height, width, channels = values.shape
    return directory([
        (256, width), (257, height), (258, *[bits] * channels), (259, 1), (262, 1 if channels == 1 else 2), (273, 8),
        (277, channels), (278, height), (279, len(data)),
    ], data, "MM")  # fmt: skip


def directory(tags: list[tuple[int, ...]], data: bytes, order: str = "II") -> bytes:
    """A TIFF of one directory behind its data, which begin at 8; lists of values go before it."""
    mark = "<" if order == "II" else ">"
    entries = b""
    for tag, *values in tags:
        if len(values) == 1:
            entries += struct.pack(f"{mark}HHII", tag, 4, 1, values[0])
        else:
            data += bytes(-len(data) % 4)
            entries += struct.pack(f"{mark}HHII", tag, 4, len(values), 8 + len(data))
            data += struct.pack(f"{mark}{len(values)}I", *values)
    data += bytes(len(data) % 2)
    return (
        struct.pack(f"{mark}2sHI", order.encode(), 42, 8 + len(data))
        + data + struct.pack(f"{mark}H", len(tags)) + entries + bytes(4)
    )  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_turned_colour(tmp_path: Path, orientation: int, dtype: str) -> None:
    array = noise((4, 6, 3), dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    image = Image.new("L", (6, 4))
    places = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    image.paste(places)
    image.getexif()[0x0112] = orientation
    from PIL import ImageOps

    upright = array.reshape(24, 3)[np.array(ImageOps.exif_transpose(image))]
    assert np.array_equal(samples(tmp_path / "a.tif", upright.shape[:2]).array, upright)
    assert np.array_equal(samples(tmp_path / "a.tif", exif="ignore").array, array)
    assert read_header(tmp_path / "a.tif", upright.shape[:2], Reading()).size == upright.shape[:2]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_pixels_without_data_are_marked(tmp_path: Path, dtype: str) -> None:
    array = noise((5, 6), dtype)
    array[1, 2] = array[3, 3] = value = np.array(-3.4028234663852886e38 if dtype == "float32" else 7).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, extratags=[(42113, "s", 0, str(value), True)])
    valid = samples(tmp_path / "a.tif").valid
    assert valid is not None
    assert np.array_equal(valid, array != value)


def refusal(path: Path, **settings: Any) -> str:
    messages = set()
    for call in (decode, read_header):
        with pytest.raises(ImageError) as caught:
            call(path, None, Reading(**{"max_pixels": LIMIT, **settings}))
        assert str(caught.value).isprintable()
        messages.add(str(caught.value))
    return " | ".join(messages)


def test_kinds_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 5), dtype=np.complex64))
    assert "a TIFF of complex numbers of 64 bits" in refusal(path)
    tifffile.imwrite(path, noise((4, 32, 32)), photometric="minisblack", volumetric=True, tile=(16, 16, 16))
    assert "a TIFF of volumes: export its slices" in refusal(path)
    tifffile.imwrite(path, noise((4, 5)), extratags=[(50706, "B", 4, (1, 4, 0, 0), True)])
    assert "a camera's raw file (DNG): convert it" in refusal(path)
    with tifffile.TiffWriter(path) as file:
        file.write(
            noise((4, 5, 3)), photometric="rgb", subfiletype=1, subifds=1, extratags=[(271, "s", 0, "NIKON", True)]
        )
        file.write(noise((40, 50)), photometric="minisblack")
    assert "a camera's raw file (NIKON): convert it" in refusal(path)


def test_a_colour_model_of_16_bits_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise((4, 5, 4), "uint16"), photometric="separated")
    with pytest.raises(ImageError, match=r"a TIFF of 4 uint16 samples of colour model 5"):
        samples(tmp_path / "a.tif")


def test_the_limit_holds_for_every_way(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((30, 40, 3), "float32"), photometric="rgb")
    assert samples(path).array.shape == (30, 40, 3)
    with pytest.raises(ImageError, match="1200 pixels, more than the limit of 1199"):
        decode(path, None, Reading(max_pixels=1199))  # of which windows can be read, as its header says
    tifffile.imwrite(path, noise((30, 40), "uint32"), tile=(2048, 2048), metadata=None)
    assert "4194304 pixels" in refusal(path)
    tifffile.imwrite(path, noise((30, 40, 50)), photometric="minisblack", planarconfig="contig")
    assert "1200 pixels of 50 channels" in refusal(path, max_pixels=1200, channels=(0,))
    tifffile.imwrite(path, noise((50, 30, 40)), photometric="minisblack")
    assert "50 pages of 1200 pixels" in refusal(path, max_pixels=1200)
    assert samples(path, pages="first").array.shape == (30, 40)


def test_what_is_decompressed_never_outgrows_the_page(tmp_path: Path) -> None:
    """Each page of 20 bytes holds 100 MB of zeros, by the words of its data."""
    bomb = zlib.compress(bytes(10**8))
    for bits in (16, 8):
        content = directory([
            (256, 4), (257, 5), (258, bits, bits, bits), (259, 8), (262, 2), (273, 8), (277, 3), (278, 5),
            (279, len(bomb)), (284, 1),
        ], bomb)  # fmt: skip
        (tmp_path / "a.tif").write_bytes(content)
        tracemalloc.start()
        assert samples(tmp_path / "a.tif").array.shape == (5, 4, 3)
        assert tracemalloc.get_traced_memory()[1] < 10**7
        tracemalloc.stop()


def written(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "imagej":
        tifffile.imwrite(file, noise((3, 16, 20)), imagej=True, metadata={"axes": "ZYX"})
    elif kind == "ome":
        tifffile.imwrite(file, noise((2, 3, 16, 20)), ome=True, metadata={"axes": "ZCYX"})
    elif kind == "float":
        tifffile.imwrite(file, noise((16, 20, 3), "float32"), photometric="rgb", compression="zlib")
    elif kind == "tiles":
        tifffile.imwrite(file, noise((16, 20, 5)), photometric="minisblack", planarconfig="contig", tile=(16, 16))
    elif kind == "big":
        tifffile.imwrite(file, noise((2, 16, 20, 3), "uint16"), photometric="rgb", bigtiff=True)
    elif kind == "lzw":
        return bytes(cv2.imencode(".tif", noise((16, 20, 3), "uint16"), [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1])
    else:
        first, second = (Image.fromarray(noise((16, 20, 3), seed=seed)) for seed in (0, 1))
        first.save(file, "TIFF", compression=kind, save_all=True, append_images=[second])
    return file.getvalue()


KINDS = ["imagej", "ome", "float", "tiles", "big", "lzw", "jpeg", "packbits"]


@given(kind=st.sampled_from(KINDS), damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
       cut=st.floats(0.1, 1), pages=st.sampled_from(["error", "first", "max", "mean"]))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=5000)
def test_damage_ends_as_an_error_of_the_image(
    tmp_path: Path, kind: str, damage: list[tuple[float, int]], cut: float, pages: Any
) -> None:
    content = bytearray(written(kind))
    for place, value in damage:
        content[int(place * (len(content) - 1))] = value
    (tmp_path / "a.tif").write_bytes(content[: int(cut * len(content))] if cut < 0.5 else content)
    for call in (decode, read_header):
        try:
            call(tmp_path / "a.tif", None, Reading(max_pixels=LIMIT, pages=pages))
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017 - it need not be raised


def test_a_file_that_breaks_off_is_truncated(tmp_path: Path) -> None:
    for kind in ("float", "lzw", "big"):
        content = written(kind)
        (tmp_path / "whole.tif").write_bytes(content)
    tifffile.imwrite(tmp_path / "a.tif", noise((30, 40, 3), "float32"), photometric="rgb")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-100])
    with pytest.raises(ImageError, match="a TIFF that is truncated") as caught:
        samples(tmp_path / "a.tif")
    assert caught.value.kind == "image-truncated"
