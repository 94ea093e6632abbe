"""Pages of a TIFF: their contents, and their axes as ImageJ, OME and tifffile describe them."""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import Image

# Values of tags.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
_REDUCED, _TRANSPARENCY_MASK = 1, 4  # bits of NewSubfileType
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4  # of SampleFormat
_ALPHA = (1, 2)  # of ExtraSamples
# Tags.
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _DESCRIPTION, _SAMPLES, _PLANAR = 254, 258, 262, 270, 277, 284
_SUB_IFDS, _EXTRA, _FORMAT, _NODATA, _ORIENTATION, _STK, _DNG, _DEPTH = 330, 338, 339, 42113, 274, 33629, 50706, 32997
_MOST_PAGES = 20_000
_PHOTO = "convert it to JPEG or PNG"
_LARGE = "pip install 'segtrain[large]', or save it with LZW or deflate"
_SAVE = "save it as RGB or grey, of 8 or 16 bits"


class TiffError(ValueError):
    """A TIFF that is damaged, or of a kind that is not read.

    Args:
        what: noun phrase for the kind of the file.
        remedy: action that leads to an image; "" if the file has to be replaced.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


@dataclass(frozen=True)
class TiffPage:
    """One page of a TIFF.

    Attributes:
        offset: place of its directory in the file.
        size: (H, W) as stored.
        samples: samples per pixel.
        bits: bits per sample.
        kind: kind of samples as in NumPy: "u", "i" or "f".
        photometric: value of PhotometricInterpretation.
        alpha: index of the sample that is alpha; None if there is none.
        planar: True if each sample is stored in a plane of its own.
        compression: value of Compression.
        predictor: value of Predictor.
        tiled: True for tiles, which are whole also at the borders; False for strips, of which the last may be lower.
        segment: (H, W) of a tile, or of a full strip.
        offsets: places of the tiles or strips in the file.
        counts: their lengths in bytes.
        reversed_bits: True if the first pixel is in the lowest bit of a byte.
        little_endian: True if samples are stored with the lowest byte first.
        orientation: EXIF orientation 1..8.
        nodata: value of samples that hold no data; None for no such value.
        reduced: True for a thumbnail, or a level of a pyramid.
        description: text that the page carries.
    """

    offset: int
    size: tuple[int, int]
    samples: int
    bits: int
    kind: str
    photometric: int
    alpha: int | None
    planar: bool
    compression: int
    predictor: int
    tiled: bool
    segment: tuple[int, int]
    offsets: Sequence[int]
    counts: Sequence[int]
    reversed_bits: bool
    little_endian: bool
    orientation: int
    nodata: float | None
    reduced: bool
    description: str

    @property
    def colour(self) -> bool:
        """True if the page says that its first samples are red, green and blue."""
        return self.photometric == RGB

    @property
    def sample_name(self) -> str:
        """Name of the type of a sample, such as "uint16", "float32" or "12-bit"."""
        if self.kind == "u" and self.bits not in (8, 16, 32, 64):
            return f"{self.bits}-bit"
        return {"u": "uint", "i": "int", "f": "float"}[self.kind] + str(self.bits)

    def alike(self, other: "TiffPage") -> bool:
        """Return True if another page holds samples of the same kind."""
        return (self.size, self.samples, self.bits, self.kind, self.colour) == (
            (other.size, other.samples, other.bits, other.kind, other.colour)
        )


@dataclass(frozen=True)
class TiffFile:
    """Pages of a TIFF.

    Attributes:
        pages: pages in the order of the file, without transparency masks.
        more: number of further images of other sizes, in directories below a page.
    """

    pages: Sequence[TiffPage]
    more: int


def pillow_reads(image: Image.Image) -> bool:
    """Return True if Pillow reads a TIFF rightly: of one page, and of samples that it has a mode for.

    Pillow keeps no sample of 16-bit colour whole, takes signed bytes for unsigned ones and unsigned integers of 32 bits
    for signed ones, and swaps the bytes of compressed big-endian floats.

    Args:
        image: opened TIFF.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, formats = tags.get(_BITS, (1,)), tags.get(_FORMAT, (_UNSIGNED,))
    samples, extra = tags.get(_SAMPLES, 1), tags.get(_EXTRA, ())
    if tags.next or tags.get(_SUBFILE_TYPE, 0) & _REDUCED or tags.get(_DEPTH, 1) != 1:
        return False
    if _SUB_IFDS in tags or _STK in tags or _DNG in tags:
        return False
    if _imagej_axes(str(tags.get(_DESCRIPTION, ""))) is not None:
        return False
    if samples > 1 and tags.get(_PLANAR, 1) != 1:
        return False
    photometric = tags.get(_PHOTOMETRIC, WHITE_IS_ZERO)
    colours = {RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}.get(photometric, 1)
    if samples != colours and (samples != colours + 1 or not extra or extra[0] not in _ALPHA):
        return False
    grey = photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and samples == 1
    return set(formats) <= {_UNSIGNED, _UNDEFINED} and (max(bits) <= 8 or (grey and set(bits) == {16}))


def read_pages(stream: BinaryIO) -> TiffFile:
    """Read the directories of a TIFF.

    Raises:
        TiffError: the file is damaged, or of a kind that is not read.
    """
    import tifffile  # takes 70 ms, and few data sets need it

    # Its warnings are not shown: problems that matter here are raised as errors.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    stream.seek(0)
    try:
        # No other file that a directory names is opened.
        with tifffile.TiffFile(stream, name="image.tif", _multifile=False) as file:
            entries: Any = file.pages
            first = entries[0]
            _refuse_kinds(first)
            pages, more = [], 0
            for index in range(_MOST_PAGES + 1):
                try:
                    entry = entries[index]
                except IndexError:
                    break
                more += len(entry.subifds or ())
                if not entry.subfiletype & _TRANSPARENCY_MASK:
                    pages.append(_page(entry, little_endian=file.byteorder == "<"))
    except TiffError:
        raise
    except Exception as error:  # tifffile raises a dozen types on damaged files
        text = " ".join(str(error).split()) or type(error).__name__
        raise TiffError(f"a damaged TIFF: {text}") from error
    if len(pages) > _MOST_PAGES:
        raise TiffError(f"a TIFF of more than {_MOST_PAGES} pages")
    if not pages:
        raise TiffError("a TIFF without an image")
    return TiffFile(pages, more)


def decode_compressed_tile(stream: BinaryIO, page: TiffPage, place: int) -> npt.NDArray[np.generic]:
    """Decode a strip or tile that is compressed as an image, such as a JPEG, through tifffile and imagecodecs.

    Args:
        stream: the file.
        page: page of it.
        place: number of the strip or tile.

    Returns:
        (h, w, samples), of the strip or tile as far as it lies in the image; YCbCr is converted to RGB.

    Raises:
        TiffError: imagecodecs is not installed, or the strip or tile is damaged.
    """
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream, name="image.tif", _multifile=False) as file:
        entries: Any = file.pages
        entry = next(own for own in entries if own.offset == page.offset)
        stream.seek(page.offsets[place])
        packed = stream.read(page.counts[place])
        try:
            array, _, shape = entry.decode(packed, place, jpegtables=entry.jpegtables, jpegheader=entry.jpegheader)
        except Exception as error:  # tifffile names the package that is missing; codecs raise a dozen types
            if "imagecodecs" in str(error):
                raise TiffError("a large TIFF whose tiles are compressed as images", _LARGE) from error
            raise TiffError(f"a damaged TIFF: {error}") from error
    decoded: npt.NDArray[np.generic] = array[0, : shape[1], : shape[2]]
    return decoded


def _refuse_kinds(first: Any) -> None:
    """Refuse formats that are built on TIFF, whose first page is only a preview or a part of the image."""
    maker = str(first.tags.valueof(271) or "").strip()
    if _DNG in first.tags or (first.subfiletype & _REDUCED and first.subifds):
        of = "DNG" if _DNG in first.tags else maker
        raise TiffError(f"a camera's raw file{f' ({of})' if of else ''}", _PHOTO)
    if first.photometric in (32803, 34892):
        raise TiffError("a camera's raw file", _PHOTO)
    if first.compression == 6 and first.parent.filehandle.size > 10:
        first.parent.filehandle.seek(8)
        if first.parent.filehandle.read(2) == b"CR":
            raise TiffError("a camera's raw file (Canon CR2)", _PHOTO)
    if _STK in first.tags and first.tags[_STK].count > 1:
        raise TiffError("a MetaMorph stack", "export its images as TIFF")
    if first.imagedepth > 1:
        raise TiffError("a TIFF of volumes", "export its slices as TIFF")


def _page(entry: Any, *, little_endian: bool) -> TiffPage:
    height, width = int(entry.imagelength), int(entry.imagewidth)
    bits, form = entry.bitspersample, int(entry.sampleformat)
    if isinstance(bits, tuple):
        raise TiffError(f"a TIFF of samples of {', '.join(map(str, bits))} bits", _SAVE)
    if form not in (_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED):
        raise TiffError(f"a TIFF of complex numbers of {bits} bits", "save their magnitude")
    samples, colours = int(entry.samplesperpixel), {RGB: 3, CMYK: 4, YCBCR: 3, LAB: 3}.get(entry.photometric, 1)
    alpha = next((colours + i for i, extra in enumerate(entry.extrasamples) if extra in _ALPHA), None)
    if min(height, width, samples, int(bits)) < 1:
        raise TiffError(f"a TIFF of {height}x{width} pixels of {samples} samples of {bits} bits")
    if entry.tilewidth:
        segment = int(entry.tilelength), int(entry.tilewidth)
    else:
        segment = min(int(entry.rowsperstrip), height), width
    if min(segment) < 1:
        raise TiffError("a damaged TIFF: strips or tiles of no size")
    return TiffPage(
        offset=int(entry.offset),
        size=(height, width),
        samples=samples,
        bits=int(bits),
        kind={_SIGNED: "i", _FLOAT: "f"}.get(form, "u"),
        photometric=int(entry.photometric),
        alpha=alpha if alpha is not None and alpha < samples else None,
        planar=int(entry.planarconfig) == 2 and samples > 1,
        compression=int(entry.compression),
        predictor=int(entry.predictor),
        tiled=bool(entry.tilewidth),
        segment=segment,
        offsets=entry.dataoffsets,
        counts=entry.databytecounts,
        reversed_bits=int(entry.fillorder) == 2,
        little_endian=little_endian,
        orientation=_orientation(entry.tags.valueof(_ORIENTATION)),
        nodata=parse_nodata(entry.tags.valueof(_NODATA)),
        reduced=bool(entry.subfiletype & _REDUCED),
        description=str(entry.description),
    )


def _orientation(value: Any) -> int:
    return int(value) if value in range(1, 9) else 1


def parse_nodata(value: object) -> float | None:
    """Convert the value of GDAL's tag for samples without data; None if it is no number.

    >>> parse_nodata("-9999"), parse_nodata("none")
    (-9999.0, None)
    """
    try:
        return float(str(value).strip(" \0"))
    except ValueError:
        return None


def arrange(pages: Sequence[TiffPage]) -> tuple[list[list[TiffPage]], str]:
    """Arrange pages of one size as frames of channels, as the first page describes them.

    Args:
        pages: pages of one size, in the order of the file.

    Returns:
        The channels of each frame, one page each, and the axes of the frames in words, such as "5 slices". If the file
        has no description, or one that contradicts its contents, each page is a frame, and the axes are "".
    """
    first = pages[0]
    axes = _imagej_axes(first.description)
    if axes and len(pages) == 1 and first.compression == 1:
        pages = _contiguous(first, axes["images"])
    for found in (axes, _ome_axes(first), _shaped_axes(first)):
        if found and found["order"] and len(pages) == np.prod([found[name] for name in found["order"]], dtype=float):
            return _split(pages, found)
    return [[page] for page in pages], ""


def _split(pages: Sequence[TiffPage], axes: dict[str, Any]) -> tuple[list[list[TiffPage]], str]:
    """Split pages whose order of axes, the slowest first, and numbers along them are known."""
    order = axes["order"]
    places = np.arange(len(pages)).reshape([axes[name] for name in order])
    if "channels" in order:
        places = np.moveaxis(places, order.index("channels"), -1).reshape(-1, axes["channels"])
    else:
        places = places.reshape(-1, 1)
    words = [f"{axes[name]} {name}" for name in order if name != "channels" and axes[name] > 1]
    return [[pages[place] for place in frame] for frame in places.tolist()], " x ".join(words)


def _contiguous(page: TiffPage, number: int) -> list[TiffPage]:
    """Describe the pages that ImageJ writes behind each other with one directory, in files beyond 4 GB."""
    ends = [offset + count for offset, count in zip(page.offsets, page.counts, strict=True)]
    if list(page.offsets[1:]) != ends[:-1]:
        return [page]
    step = ends[-1] - page.offsets[0]
    return [replace(page, offsets=[offset + k * step for offset in page.offsets]) for k in range(number)]


def _imagej_axes(description: str) -> dict[str, Any] | None:
    """Read ImageJ's numbers of images, channels, slices and frames; None for one image, or another program."""
    if not description.startswith("ImageJ="):
        return None
    found = dict(re.findall(r"^(images|channels|slices|frames)=(\d{1,6})\s*$", description, re.MULTILINE))
    axes: dict[str, Any] = {name: int(found.get(name, 1)) for name in ("images", "channels", "slices", "frames")}
    if not 1 < axes["images"] <= _MOST_PAGES:
        return None
    axes["order"] = ["frames", "slices", "channels"]
    return axes


def _ome_axes(page: TiffPage) -> dict[str, Any] | None:
    """Read the axes of OME-XML, of files whose pages are in its order of dimensions."""
    text = page.description
    if "<OME" not in text[:1000] or "<!ENTITY" in text:
        return None
    try:
        pixels = ElementTree.fromstring(text).findall(".//{*}Image/{*}Pixels")
        if len(pixels) != 1:
            return None
        attributes = pixels[0].attrib
        names = {"Z": "slices", "C": "channels", "T": "frames"}
        order = [names[axis] for axis in reversed(attributes["DimensionOrder"]) if axis in names]
        axes: dict[str, Any] = {name: int(attributes[f"Size{axis}"]) for axis, name in names.items()}
        axes["channels"] //= page.samples
        in_order = all(_is_in_order(block, order, axes) for block in pixels[0].findall("{*}TiffData"))
    except (ElementTree.ParseError, KeyError, ValueError):
        return None
    return {**axes, "order": order} if in_order else None


def _is_in_order(block: ElementTree.Element, order: Sequence[str], axes: dict[str, Any]) -> bool:
    """Return True if a block of OME's pages begins where the order of axes puts it."""
    letters = {"slices": "Z", "channels": "C", "frames": "T"}
    place = 0
    for name in order:
        place = place * axes[name] + int(block.get(f"First{letters[name]}", "0"))
    return int(block.get("IFD", place)) == place


def _shaped_axes(page: TiffPage) -> dict[str, Any] | None:
    """Read the axes that tifffile writes as json."""
    if not page.description.startswith("{"):
        return None
    try:
        about = json.loads(page.description)
        shape, letters = [int(length) for length in about["shape"]], str(about["axes"])
    except (ValueError, KeyError, TypeError):
        return None
    lengths = dict(zip(letters, shape, strict=False))
    names = {"C": "channels", "Z": "slices", "T": "frames"}
    pages = [letter for letter in letters if letter not in "YXS"]
    if not set(pages) <= names.keys():
        return None
    return {"order": [names[letter] for letter in pages], **{names[letter]: lengths[letter] for letter in pages}}
