"""Damage to a folder of images, as a function of a generator."""

import io
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(size: tuple[int, int], mode: str, suffix: str, **options: object) -> bytes:
    """Encode an image file of this (H, W)."""
    height, width = size
    pixels = np.add.outer(np.arange(height) * 3, np.arange(width) * 5).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, suffix, **options)
    return stream.getvalue()


def bomb(side: int) -> bytes:
    """Build a small PNG file whose header states many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def lay_traps(folder: Path) -> None:
    """Create the files that names of ``json_mutations`` lead to; the secret beside the folder must never be read."""
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(picture((20, 30), "RGB", "PNG"))
    if not (folder / "folder").exists():
        (folder / "folder").mkdir()
    (folder / "link_out.png").symlink_to("../outside/secret.png")
    (folder / "folder_out").symlink_to(outside, target_is_directory=True)
    (folder / "link_in.png").symlink_to("a.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "dangling.png").symlink_to("nothing.png")
    os.mkfifo(folder / "pipe")


def remove(rng: random.Random, path: Path) -> None:
    path.unlink()


def cut(rng: random.Random, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.choice([0, 1, 8, 60, len(content) // 2, len(content) - 3])])


def flip(rng: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 3, 30])):
        content[rng.randrange(min(len(content), rng.choice([40, 10**9])))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def other_format(rng: random.Random, path: Path) -> None:
    try:
        with Image.open(path) as image:
            size = image.size[::-1]
    except (OSError, Image.DecompressionBombError):  # damaged before
        size = 20, 30
    size = rng.choice([size, size, size[::-1], (1, 1), (3, 2000)])
    exif = Image.Exif()
    exif[0x112] = rng.choice([1, 3, 6, 8, 9])
    made: list[Callable[[], bytes]] = [
        lambda: picture(size, "L", "PNG"),
        lambda: picture(size, "1", "TIFF"),
        lambda: picture(size, "P", "GIF"),
        lambda: picture(size, "RGBA", "PNG"),
        lambda: picture(size, "LA", "PNG"),
        lambda: picture(size, "I;16", "PNG"),
        lambda: picture(size, "F", "TIFF"),
        lambda: picture(size, "CMYK", "JPEG"),
        lambda: picture(size, "RGB", "BMP"),
        lambda: picture(size, "RGB", "PPM"),
        lambda: picture(size, "RGB", "WEBP"),
        lambda: picture(size, "RGB", "JPEG", exif=exif),
        lambda: picture(size, "RGB", "PNG", exif=exif),
        lambda: picture(size, "RGB", "TIFF", exif=exif),
        lambda: picture(size, "P", "GIF", save_all=True, append_images=[Image.new("P", size[::-1], 3)]),
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 20\n(/etc/hostname) (r) file\n",
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='30' height='20'/>",
        lambda: bomb(50_000),
        lambda: bomb(2**31 - 1),
        lambda: rng.randbytes(300),
        lambda: b"P6\n999999999 999999999\n255\n",
        lambda: bytes(5000),
    ]
    path.write_bytes(rng.choice(made)())


def other_thing(rng: random.Random, path: Path) -> None:
    """Replace a file by a link, a folder or a pipe."""
    path.unlink()
    kind = rng.choice(["pipe", "folder", "out", "in", "device", "up"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        targets = {"out": "../outside/secret.png", "in": "b.png", "device": "/dev/zero", "up": ".."}
        path.symlink_to(targets[kind])


def same_content(rng: random.Random, path: Path) -> None:
    others = sorted(other for other in path.parent.iterdir() if other.is_file() and not other.is_symlink())
    path.write_bytes(rng.choice(others).read_bytes())


def no_folder(rng: random.Random, path: Path) -> None:
    folder = path.parent
    shutil.rmtree(folder)
    kind = rng.choice(["nothing", "file", "pipe", "empty"])
    if kind == "file":
        folder.write_bytes(b"x")
    elif kind == "pipe":
        os.mkfifo(folder)
    elif kind == "empty":
        folder.mkdir()


OF_FILES: list[Callable[[random.Random, Path], None]] = [
    remove, cut, cut, flip, flip, other_format, other_format, other_format, other_thing, other_thing, same_content,
    no_folder,
]  # fmt: skip
