"""Kinds of files that are mistaken for images, told by their first bytes."""

import re
import string
from typing import NamedTuple

_CONVERT = "convert it to PNG or TIFF"
_PHOTO = "convert it to JPEG or PNG"
_EXPORT = "export its images as TIFF"
_UNPACK = "unpack it"
HEAD = 4096  # bytes of a file that `describe_file` looks at


class FileKind(NamedTuple):
    """Kind of a file.

    Attributes:
        name: noun phrase, such as "a Git LFS pointer".
        remedy: action that leads to an image; "" if the file has to be replaced.
    """

    name: str
    remedy: str


# First bytes of binary files; a number before them is their place.
_SIGNATURES: list[tuple[int, bytes, FileKind]] = [
    (0, b"8BPS", FileKind("a Photoshop document", "export it as PNG or TIFF")),
    (0, b"%PDF", FileKind("a PDF document", "export its images as PNG or TIFF")),
    (0, b"%!", FileKind("PostScript, which is a program and not run", _CONVERT)),
    (0, b"\xc5\xd0\xd3\xc6", FileKind("PostScript, which is a program and not run", _CONVERT)),
    (128, b"DICM", FileKind("a DICOM file", _CONVERT)),
    (344, b"n+1\0", FileKind("a NIfTI volume", "export its slices as TIFF")),
    (344, b"ni1\0", FileKind("the header of a NIfTI volume", "export its slices as TIFF")),
    (0, b"ZISRAWFILE", FileKind("a Zeiss CZI file", _EXPORT)),
    (0, b"\x70\0\0\0", FileKind("a Leica LIF file", _EXPORT)),
    (0, b"\xda\xce\xbe\x0a", FileKind("a Nikon ND2 file", _EXPORT)),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind("an OLE file (Olympus OIB, Zeiss ZVI, or Office)", _EXPORT)),
    (0, b"\x89HDF\r\n\x1a\n", FileKind("an HDF5 file (Imaris, ilastik, MATLAB)", _EXPORT)),
    (0, b"CDF", FileKind("a NetCDF file", _EXPORT)),
    (0, b"MATLAB ", FileKind("a MATLAB file", _EXPORT)),
    (0, b"\x93NUMPY", FileKind("a NumPy array", "save it as PNG or TIFF")),
    (0, b"\x80\x04\x95", FileKind("a Python pickle", "save its images as PNG or TIFF")),
    (0, b"PAR1", FileKind("a Parquet table", "unpack its images")),
    (0, b"SQLite format 3\0", FileKind("an SQLite database", "unpack its images")),
    (0, b"\x76\x2f\x31\x01", FileKind("an OpenEXR picture", _CONVERT)),
    (0, b"#?RADIANCE", FileKind("a Radiance HDR picture", _CONVERT)),
    (0, b"GRIB", FileKind("a GRIB file", _CONVERT)),
    (0, b"BUFR", FileKind("a BUFR file", _CONVERT)),
    (0, b"SIMPLE  =", FileKind("a FITS file", _CONVERT)),
    (0, b"\xd7\xcd\xc6\x9a", FileKind("a Windows metafile", _CONVERT)),
    (40, b" EMF", FileKind("a Windows metafile", _CONVERT)),
    (0, b"gimp xcf", FileKind("a GIMP document", "export it as PNG or TIFF")),
    (0, b"\xff\x0a", FileKind("a JPEG XL picture", _PHOTO)),
    (4, b"JXL \r\n\x87\n", FileKind("a JPEG XL picture", _PHOTO)),
    (0, b"FUJIFILMCCD-RAW", FileKind("a camera's raw file (Fujifilm RAF)", _PHOTO)),
    (0, b"IIRO", FileKind("a camera's raw file (Olympus ORF)", _PHOTO)),
    (0, b"IIRS", FileKind("a camera's raw file (Olympus ORF)", _PHOTO)),
    (0, b"IIU\0", FileKind("a camera's raw file (Panasonic RW2)", _PHOTO)),
    (0, b"FOVb", FileKind("a camera's raw file (Sigma X3F)", _PHOTO)),
    (0, b"\0MRM", FileKind("a camera's raw file (Minolta MRW)", _PHOTO)),
    (0, b"PK\x03\x04", FileKind("a zip archive", _UNPACK)),
    (0, b"PK\x05\x06", FileKind("a zip archive", _UNPACK)),
    (0, b"\x1f\x8b", FileKind("a gzip archive", _UNPACK)),
    (0, b"BZh", FileKind("a bzip2 archive", _UNPACK)),
    (0, b"\xfd7zXZ\0", FileKind("an xz archive", _UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", FileKind("a zstd archive", _UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", _UNPACK)),
    (0, b"Rar!\x1a\x07", FileKind("a rar archive", _UNPACK)),
    (257, b"ustar", FileKind("a tar archive", _UNPACK)),
    (0, b"\x1aE\xdf\xa3", FileKind("a video (Matroska or WebM)", "extract its frames")),
    (0, b"FLV\x01", FileKind("a video (FLV)", "extract its frames")),
    (0, b"\0\0\x01\xba", FileKind("a video (MPEG)", "extract its frames")),
    (0, b"\0\0\x01\xb3", FileKind("a video (MPEG)", "extract its frames")),
    (0, b"0&\xb2u\x8ef\xcf\x11", FileKind("a video (WMV)", "extract its frames")),
    (0, b"\0\x05\x16\x07", FileKind("a macOS metadata file", "name the file without ._ before its name")),
    (0, b"Bud1", FileKind("a macOS folder file", "")),
    (0, b"L\0\0\0\x01\x14\x02\0", FileKind("a Windows shortcut", "put the image itself there")),
    (0, b"bplist", FileKind("a property list (a placeholder of iCloud?)", "download the image itself")),
    (0, b"\x7fELF", FileKind("a program", "")),
    (0, b"MZ", FileKind("a program", "")),
]  # fmt: skip
# Brands of ISO base media files, such as HEIC photographs and videos.
_BRANDS: list[tuple[tuple[bytes, ...], FileKind]] = [
    ((b"crx ",), FileKind("a camera's raw file (Canon CR3)", _PHOTO)),
    ((b"avif", b"avis"), FileKind("an AVIF picture, which this Pillow cannot read", _PHOTO)),
    ((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), FileKind("a HEIC photograph", _PHOTO)),
]
# First bytes of images; without the rest they are damaged.
_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
_DOWNLOAD = "download the image again"
# Beginnings of texts, in lower case, without white space before them.
_TEXTS: list[tuple[str, FileKind]] = [
    (r"version https://(git-lfs|hawser)\.github\.com/spec/", FileKind("a Git LFS pointer", "run git lfs pull")),
    (r"\S*/annex/objects/", FileKind("a git-annex pointer", "run git annex get")),
    (r"(outs|md5|hash):\s", FileKind("a DVC pointer", "run dvc pull")),
    (r"data:image/", FileKind("an image as base64 text", "decode it")),
    (
        r"(<\?xml.{0,1000}?)?(<!--.{0,2000}?-->\s*)?(<!doctype\s+svg.{0,500}?)?<svg\b",
        FileKind("an SVG drawing", "convert it to PNG"),
    ),
    (
        r"(<!--.{0,500}?-->\s*)?(<!doctype html|<html|<head|<body|<script)",
        FileKind("an HTML page (a failed download?)", _DOWNLOAD),
    ),
    (r"<\?xml.{0,1000}?<error", FileKind("an error message of a server (a failed download?)", _DOWNLOAD)),
    (r"<(\?xml|[a-z]+[\s>])", FileKind("an XML file", "")),
    (r"[\[{]", FileKind("a json file", "")),
]


def describe_file(head: bytes, size: int) -> FileKind | None:
    """Describe a file that cannot be read as an image.

    Args:
        head: first bytes of the file, ``HEAD`` of them or the whole file.
        size: number of bytes of the file.

    Returns:
        Its kind; None if it is not known.

    >>> describe_file(b"version https://git-lfs.github.com/spec/v1", 130)
    FileKind(name='a Git LFS pointer', remedy='run git lfs pull')
    >>> describe_file(b"GIF89a", 6)
    FileKind(name='a damaged GIF', remedy='')
    """
    if size == 0:
        return FileKind("an empty file", "")
    if not head.strip(b"\0"):
        return FileKind("a file of zero bytes only (an interrupted copy?)", "copy it again")
    for look in (_signature, _brand, _damaged_by_text_mode, describe_jpeg, _image, _text):
        if kind := look(head):
            return kind
    return None


def _signature(head: bytes) -> FileKind | None:
    for place, signature, kind in _SIGNATURES:
        if head.startswith(signature, place):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return FileKind("a video (AVI)", "extract its frames")
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return FileKind("a sound file", "")
    return None


def _brand(head: bytes) -> FileKind | None:
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4], "big"), 128), 4))}
        for names, kind in _BRANDS:
            if brands.intersection(names):
                return kind
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return FileKind("a video (MP4 or QuickTime)", "extract its frames")
    return None


def _damaged_by_text_mode(head: bytes) -> FileKind | None:
    """Recognize images whose bytes were changed by a transfer as text."""
    if re.match(rb"(\x89|\xef\xbf\xbd|\xc2\x89|\?|\x09)?PNG\r?\n", head) and not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return FileKind("a PNG whose bytes were changed by a transfer as text", "copy it as binary")
    if head.startswith((b"\xef\xbf\xbd\xef\xbf\xbd", b"\xc3\xbf\xc3\x98\xc3\xbf")):
        return FileKind("a binary file whose bytes were changed by a transfer as text", "copy it as binary")
    return None


def describe_jpeg(head: bytes) -> FileKind | None:
    """Recognize the kinds of JPEG that Pillow cannot decode: of more than 8 bits, or lossless.

    Args:
        head: first bytes of the file.

    Returns:
        Its kind; None for other JPEGs, and other files.
    """
    if not head.startswith(b"\xff\xd8\xff"):
        return None
    place = 2
    while place + 9 < len(head) and head[place] == 0xFF:
        marker = head[place + 1]
        if marker in (0xC3, 0xC7, 0xCB, 0xCF):
            return FileKind("a lossless JPEG", _CONVERT)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits = head[place + 4]
            return FileKind(f"a JPEG of {bits} bits per sample", _CONVERT) if bits != 8 else None
        place += 2 + int.from_bytes(head[place + 2 : place + 4], "big")
    return None


def _image(head: bytes) -> FileKind | None:
    return next((FileKind(f"a damaged {name}", "") for magic, name in _IMAGES.items() if head.startswith(magic)), None)


def _text(head: bytes) -> FileKind | None:
    text = _decoded(head)
    if text is None:
        return None
    text = text.strip().lower()
    for beginning, kind in _TEXTS:
        if re.match(beginning, text, re.DOTALL):
            return kind
    return FileKind("a text file", "")


def _decoded(head: bytes) -> str | None:
    for encoding, mark in (("utf-16", b"\xff\xfe"), ("utf-16", b"\xfe\xff"), ("utf-8-sig", b"")):
        if head.startswith(mark):
            text = head.decode(encoding, errors="ignore")
            odd = sum(not (character.isprintable() or character in string.whitespace) for character in text)
            lost = len(head) - len(text.encode("utf-8", errors="ignore")) > 8 and encoding == "utf-8-sig"
            return None if odd or lost else text
    return None
