"""Decoding of one page of a TIFF to samples of any type, from its strips or tiles."""

import io
import lzma
import struct
import zlib
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin

from segtrain.data.images.orientation import exif_orientation
from segtrain.data.images.pages.tiff_pages import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO, TiffError, TiffPage
from segtrain.data.images.samples import Samples, samples_of

Array = npt.NDArray[np.generic]
_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _LZMA, _PACK_BITS, _ZSTD = 1, 5, 8, 32946, 34925, 32773, 50000
_NAMES = {
    2: "CCITT", 3: "CCITT fax 3", 4: "CCITT fax 4", 6: "old JPEG", 7: "JPEG", 22610: "JPEG XR", 33003: "JPEG 2000",
    33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG", 50001: "WebP", 50002: "JPEG XL",
    50013: "Pixtiff", 52546: "JPEG XL",
}  # fmt: skip
_BYTES = (_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _LZMA, _PACK_BITS, _ZSTD)
_SAVE = "save it as RGB or grey, without compression or with LZW"
_BITS_AT_ONCE = 2**24
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def decode_page(stream: BinaryIO, page: TiffPage) -> Samples:
    """Decode a page.

    The caller has compared the page's size with the limit of pixels; what is decompressed never grows beyond it.

    Args:
        stream: the file.
        page: page of it.

    Returns:
        (H, W, C) samples as stored, or (H, W) for one sample per pixel. Larger values are brighter.

    Raises:
        TiffError: the page is damaged, or compressed in a way that cannot be read.
    """
    if is_decoded_by_pillow(page):
        return _decode_by_pillow(stream, page)
    array = _assemble(stream, page)
    limits = None
    if page.bits < 8:  # as Pillow reads them
        array, limits = np.rint(array * (255 / (2**page.bits - 1))).astype(np.uint8), (0, 255)
    elif page.kind != "f":
        limits = (0, 2**page.bits - 1) if page.kind == "u" else (-(2 ** (page.bits - 1)), 2 ** (page.bits - 1) - 1)
    transparent = 0.0
    if page.alpha is not None:
        transparent = float(np.mean(array[:, :, page.alpha] == 0))
    samples = Samples(array[:, :, 0] if page.samples == 1 else array, limits, transparent=transparent)
    if page.nodata is not None:
        samples = valid_pixels(samples, page.nodata)
    return samples.inverted() if page.photometric == WHITE_IS_ZERO else samples


def is_decoded_by_pillow(page: TiffPage) -> bool:
    """Return True for compressions and colour models that are left to Pillow, which converts them to grey or RGB."""
    return page.compression not in _BYTES or page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)


def valid_pixels(samples: Samples, nodata: float) -> Samples:
    """Mark the pixels all of whose samples have the value that stands for no data."""
    array = samples.array
    value = np.array(nodata)
    same = array == (value.astype(array.dtype) if array.dtype.kind == "f" else value)
    return replace(samples, valid=~(same.all(axis=2) if same.ndim == 3 else same))


def _decode_by_pillow(stream: BinaryIO, page: TiffPage) -> Samples:
    """Decode a page of up to 8 bits by Pillow, which gets a file whose first page it is."""
    stream.seek(0)
    content = bytearray(stream.read())
    order = "<" if page.little_endian else ">"
    if bytes(content[2:4]) in (b"+\0", b"\0+"):  # BigTIFF
        struct.pack_into(f"{order}Q", content, 8, page.offset)
    else:
        struct.pack_into(f"{order}I", content, 4, page.offset)
    problem = f"a TIFF of {page.samples} {page.sample_name} samples of colour model {page.photometric}"
    if page.compression in _NAMES:
        problem += f", compressed by {_NAMES[page.compression]}"
    elif page.compression not in _BYTES:
        problem += f", of compression {page.compression}"
    if page.bits > 8 or page.kind != "u":
        raise TiffError(problem, _SAVE)
    try:
        with TiffImagePlugin.TiffImageFile(io.BytesIO(content)) as image:
            image.load()
            samples = samples_of(image)
            turned = page.orientation != 1 and exif_orientation(image, decoded=True) == 1
    except SyntaxError as error:
        raise TiffError(problem, _SAVE) from error
    return samples.turned(page.orientation, back=True) if turned else samples


def _assemble(stream: BinaryIO, page: TiffPage) -> Array:
    """Put the strips or tiles of a page together, as (H, W, samples)."""
    (height, width), (rows, columns) = page.size, page.segment
    depth, planes = (1, page.samples) if page.planar else (page.samples, 1)
    down, across = -(-height // rows), -(-width // columns)
    if min(len(page.offsets), len(page.counts)) < down * across * planes:
        raise TiffError(
            f"a damaged TIFF: {len(page.offsets)} of its {down * across * planes} strips or tiles are there"
        )
    # Tiles that are nowhere in the file are empty.
    whole = np.full((height, width, page.samples), page.nodata or 0, dtype=_type(page))
    for place in range(down * across * planes):
        plane, tile = divmod(place, down * across)
        y, x = tile // across * rows, tile % across * columns
        if not page.counts[place] or not page.offsets[place]:
            continue
        length = rows if page.tiled else min(rows, height - y)
        stream.seek(page.offsets[place])
        part = _segment(stream.read(page.counts[place]), page, length, columns, depth)[: height - y, : width - x]
        first = plane if page.planar else 0
        whole[y : y + part.shape[0], x : x + part.shape[1], first : first + depth] = part
    return whole


def _type(page: TiffPage) -> np.dtype[np.generic]:
    """Return the type that holds the samples of a page."""
    if page.kind == "f" or page.bits in (8, 16, 32, 64):
        if page.bits not in (8, 16, 32, 64) or (page.kind == "f" and page.bits == 8):
            raise TiffError(f"a TIFF of {page.samples} floating-point samples of {page.bits} bits", _SAVE)
        return np.dtype(f"{page.kind}{page.bits // 8}")
    if page.kind == "i" or page.bits > 32:
        raise TiffError(f"a TIFF of {page.samples} samples of {page.bits} bits", _SAVE)
    return np.dtype(np.uint8 if page.bits < 8 else np.uint16 if page.bits < 16 else np.uint32)


def _segment(packed: bytes, page: TiffPage, rows: int, columns: int, depth: int) -> Array:
    """Decode a strip or tile as (rows, columns, depth)."""
    row_bytes = -(-columns * depth * page.bits // 8)
    if page.reversed_bits:
        packed = packed.translate(_REVERSED)
    content = _unpack(packed, page.compression, rows, row_bytes)
    if len(content) < rows * row_bytes:
        raise TiffError("a TIFF that is truncated")
    raw = np.frombuffer(content, dtype=np.uint8, count=rows * row_bytes).reshape(rows, row_bytes)
    if page.bits not in (8, 16, 32, 64):
        return _unpack_bits(raw, page.bits, columns * depth).reshape(rows, columns, depth).astype(_type(page))
    if page.predictor == 3:
        return _undo_float_predictor(raw, _type(page), depth)
    stored = _type(page).newbyteorder("<" if page.little_endian else ">")
    samples = raw.view(stored).astype(_type(page)).reshape(rows, columns, depth)
    if page.predictor == 2:
        whole = samples.view(f"u{page.bits // 8}")
        np.cumsum(whole, axis=1, dtype=whole.dtype, out=whole)
    elif page.predictor != 1:
        raise TiffError(f"a TIFF of predictor {page.predictor}", _SAVE)
    return samples


def _unpack(packed: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Decompress bytes, to no more than the strip or tile holds."""
    size = rows * row_bytes
    try:
        if compression == _NONE:
            return packed
        if compression in (_DEFLATE, _OLD_DEFLATE):
            return zlib.decompressobj().decompress(packed, size)
        if compression == _LZMA:
            return lzma.LZMADecompressor().decompress(packed, size)
        return _unpack_by_libtiff(packed, compression, rows, row_bytes)
    except (zlib.error, lzma.LZMAError, OSError, SyntaxError) as error:
        raise TiffError(f"a damaged TIFF: {error}") from error


def _unpack_by_libtiff(packed: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Decompress bytes as the pixels of a grey TIFF, which Pillow gives to libtiff."""
    long = 4  # type of a tag
    tags = [
        (256, row_bytes), (257, rows), (258, 8), (259, compression), (262, 1), (273, 8), (277, 1), (278, rows),
        (279, len(packed)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", tag, long, 1, value) for tag, value in tags
    )
    file = struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed + directory + bytes(4)
    with TiffImagePlugin.TiffImageFile(io.BytesIO(file)) as image:
        return image.tobytes()


def _unpack_bits(raw: npt.NDArray[np.uint8], bits: int, number: int) -> npt.NDArray[np.uint32]:
    """Convert rows of packed samples, the highest bit first, to (rows, number) integers."""
    values = np.empty((len(raw), number), dtype=np.uint32)
    step = max(_BITS_AT_ONCE // max(number * bits, 1), 1)
    for first in range(0, len(raw), step):
        single = np.unpackbits(raw[first : first + step], axis=1, count=number * bits).reshape(-1, number, bits)
        value = values[first : first + step]
        value[...] = 0
        for bit in range(bits):
            value <<= 1
            value |= single[:, :, bit]
    return values


def _undo_float_predictor(raw: npt.NDArray[np.uint8], dtype: np.dtype[np.generic], depth: int) -> Array:
    """Undo predictor 3: differences of bytes, the first bytes of all samples of a row before the second ones."""
    rows, row_bytes = raw.shape
    summed = np.cumsum(raw.reshape(rows, -1, depth), axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, -1)
    together = np.ascontiguousarray(summed.transpose(0, 2, 1))
    values = together.reshape(rows, row_bytes).view(dtype.newbyteorder(">")).astype(dtype)
    return values.reshape(rows, -1, depth)
