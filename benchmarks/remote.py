"""Reading of images from other places than a folder, and the memory of an index for each entry.

    python benchmarks/remote.py --coco DIR --save

All sides read the same photographs through ``ImageReader.read``, one at a time, and take turns. Measured is processor
time, that of the web server included, with the files in the system's cache: what the way costs without a disk or a
network.

- stock: the folder itself.
- ours: a web server on this machine (``remote_http``), the cache on the disk in front of it (``remote_cache``), and a
  tar file of all images, read by its index (``remote_shard``). Bounds are on the ratio to the folder.

``index_image`` and ``index_annotation`` are the bytes that the tables of an index hold for each entry, from drawn files
of COCO's length, without the peak while the file is read.
"""

import argparse
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from harness import alternate, arguments, finish
from large_json import generate
from rows import Row
from stand_ins import coco

from segtrain.data.check.load import load_index
from segtrain.data.coco.reader import read_index
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.storage.address import Address
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.data.storage.image_store import ImageFolder
from segtrain.data.storage.remote_folder import RemoteFolder
from segtrain.data.storage.tar_shards import open_shards

IMAGES = 50


def main(options: argparse.Namespace) -> None:
    """Print a line for each row."""
    with tempfile.TemporaryDirectory() as folder:
        finish([*reading_rows(options, Path(folder)), *index_rows(Path(folder), options.images)], options)


def reading_rows(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Measure an image's reading from each place."""
    with coco(options) as splits:
        split = splits[0]
        images = list(load_index(split.annotations).images)[:IMAGES]
        stock = ImageReader(split.images, "auto", 10**8)
        with tarfile.open(folder / "images.tar", "w") as shard:
            for image in images:
                shard.add(split.images / image.file_name, image.file_name)
        with server(split.images) as address:
            http = RemoteFolder(address)
            places: dict[str, tuple[ImageFolder, str, float]] = {
                "remote_http": (http, "web server on this machine", 0.3),
                "remote_cache": (RemoteFolder(address, DiskCache(folder / "cache", 10**9)), "cache on the disk", 0.8),
                "remote_shard": (open_shards(folder / "images.tar"), "tar file", 0.9),
            }
            for name, (place, what, bound) in places.items():
                ours = ImageReader(place, "auto", 10**8)
                new, old = alternate(ours.read, stock.read, images, options.repeats, time.process_time)
                yield Row(name, f"{len(images)} images of {split.name}, {what}", "ms", 1e3 * new, 1e3 * old, bound)


@contextmanager
def server(folder: Path) -> Iterator[Address]:
    """Serve a folder on a free port of this machine, as a context."""

    class Quiet(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield Address(f"http://127.0.0.1:{listener.server_address[1]}")
    finally:
        listener.shutdown()
        listener.server_close()


def index_rows(folder: Path, images: int) -> Iterator[Row]:
    """Measure the bytes of an index's tables for each entry."""
    annotations = 7 * images
    generate(folder / "large.json", images, annotations)
    index = read_index(folder / "large.json")
    what = f"{images:,} images, {annotations:,} polygons, generated"
    table = index.annotations
    names = sum(len(name) for name in index.images.names())
    held = table.rows.nbytes + table.text.array.nbytes
    yield Row(
        "index_image", what, "bytes", (index.images.rows.nbytes + names + table.starts.array.nbytes) / images, None, 100
    )
    yield Row("index_annotation", what, "bytes", held / annotations, None, 800)


if __name__ == "__main__":
    given = arguments("Images from other places than a folder.")
    given.add_argument("--images", type=int, default=20_000, help="of the generated json")
    main(given.parse_args())
