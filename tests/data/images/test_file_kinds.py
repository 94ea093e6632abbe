"""Files that are no images are told by what they are."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtrain.data.images.file_kinds import describe_file
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import read_image
from tests.data.images.test_images import picture


def packed(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.png", b"png")
    elif kind == "tar":
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.png"))
    elif kind == "npy":
        np.save(file, np.zeros((2, 2)))
    else:
        Image.fromarray(picture()).save(file, format=kind)
    return file.getvalue()


def media(brand: bytes, *others: bytes) -> bytes:
    content = b"ftyp" + brand + bytes(4) + b"".join(others)
    return (len(content) + 4).to_bytes(4, "big") + content + bytes(64)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 6552\n"
FILES = {
    "a Git LFS pointer: run git lfs pull": LFS,
    "a git-annex pointer: run git annex get": b"../.git/annex/objects/Xk/0z/SHA256E-s1--00.png/SHA256E-s1--00.png\n",
    "a DVC pointer: run dvc pull": b"outs:\n- md5: 0123\n  size: 12\n  path: a.png\n",
    "an empty file": b"",
    "a file of zero bytes only": bytes(5000),
    "a text file": "Hallo, Größe\n".encode(),
    "an HTML page (a failed download?)": b"\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>",
    "an error message of a server": b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>',
    "an XML file": b"<annotation><folder>a</folder></annotation>",
    "an SVG drawing": b'<?xml version="1.0"?>\n<!-- made -->\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "a json file": json.dumps({"error": "not found"}).encode(),
    "an image as base64 text": b"data:image/png;base64,iVBORw0KGgo=",
    "a HEIC photograph: convert it to JPEG or PNG": media(b"heic", b"mif1", b"heic"),
    "a camera's raw file (Canon CR3)": media(b"crx ", b"isom"),
    "a video (MP4 or QuickTime)": media(b"isom", b"avc1"),
    "a video (AVI)": b"RIFF" + bytes(4) + b"AVI LIST" + bytes(64),
    "a video (Matroska or WebM)": b"\x1aE\xdf\xa3" + bytes(range(64)),
    "a camera's raw file (Fujifilm RAF)": b"FUJIFILMCCD-RAW 0201" + bytes(64),
    "a DICOM file": bytes(128) + b"DICM" + bytes(64),
    "a NIfTI volume": (348).to_bytes(4, "little") + bytes(340) + b"n+1\0" + bytes(64),
    "a Zeiss CZI file": b"ZISRAWFILE" + bytes(64),
    "a Leica LIF file": b"\x70\0\0\0" + bytes(range(64)),
    "a Nikon ND2 file": b"\xda\xce\xbe\x0a" + bytes(64),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "a Photoshop document: export it as PNG or TIFF": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\4\0\0\0\4\0\x08\0\3",
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "PostScript, which is a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n",
    "a zip archive: unpack it": packed("zip"),
    "a gzip archive: unpack it": gzip.compress(b"a" * 100, mtime=0),
    "a tar archive: unpack it": packed("tar"),
    "a NumPy array: save it as PNG or TIFF": packed("npy"),
    "a Python pickle": pickle.dumps({"a": 1}, protocol=4),
    "a JPEG XL picture": b"\xff\x0a" + bytes(range(64)),
    "a macOS metadata file": b"\0\x05\x16\x07\0\2\0\0Mac OS X" + bytes(64),
    "a property list (a placeholder of iCloud?)": b"bplist00" + bytes(64),
    "a PNG whose bytes were changed by a transfer as text": packed("png").replace(b"\r\n", b"\n"),
    "a damaged PNG": packed("png")[:8] + bytes(range(64)),
    "a damaged JPEG": packed("jpeg")[:20],
    "a lossless JPEG": b"\xff\xd8\xff\xc3\0\x0b\x08\0\4\0\6\1\1\x11\0" + bytes(64),
    "a JPEG of 12 bits per sample": b"\xff\xd8\xff\xc1\0\x0b\x0c\0\4\0\6\1\1\x11\0" + bytes(64),
    "no known image format; the file begins with the bytes 01 02 03 04 05 06 07 08": bytes(range(1, 9)) * 9,
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_what_is_no_image_is_named(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.png").write_bytes(FILES[what])
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a.png")
    assert f"a.png: cannot read the image ({what}" in str(caught.value)
    assert caught.value.kind in ("image-unreadable", "image-foreign")
    assert ("replace the file" in str(caught.value)) == (caught.value.kind == "image-unreadable")
    assert "data.on_bad_image=skip" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_are_known_in_every_encoding(encoding: str) -> None:
    content = "\n  {}".encode(encoding)
    kind = describe_file(content, len(content))
    assert kind is not None
    assert kind.name == "a json file"


def test_a_text_that_is_cut_within_a_character_is_a_text() -> None:
    content = ("ü" * 4000).encode()[:4095]
    kind = describe_file(content, 8000)
    assert kind is not None
    assert kind.name == "a text file"
