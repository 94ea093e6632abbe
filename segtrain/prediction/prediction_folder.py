"""Output folder of a prediction: written file by file, so that a later run goes on where one has stopped."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import ceil
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import msgspec

import segtrain
from segtrain.errors import SegtrainError
from segtrain.io import naming, write_atomically
from segtrain.prediction.found_objects import COLUMNS
from segtrain.prediction.sources import RESULTS, Source
from segtrain.records import Category
from segtrain.report.gallery.encode import EncodedImage
from segtrain.report.gallery.found_images import IMAGES_PER_PAGE
from segtrain.report.prediction_page import FIRST, INDEX, PagePlace, prediction_page

_SETTINGS, _DONE = "settings.json", "done.jsonl"
_COCO = {"predictions.json": "annotations.jsonl", "polygons.json": "polygons.jsonl"}  # files, and their annotations
_WHOLE = (*_COCO, "objects.csv", FIRST)
FOLDERS = ("overlays", "labels", "masks", "outlines", "pages")  # of a file for each image
_STREAMS = ("images.jsonl", "annotations.jsonl", "polygons.jsonl", "objects.csv", "gallery.jsonl")


class Totals(NamedTuple):
    """Sums over images.

    Attributes:
        images: images, pages counted one by one.
        objects: found objects.
        overlaps: pixels of label maps where masks overlap.
        full: images with as many objects as the network may return.
        cut: images that were cut into windows.
        shrunk: images that were smaller in the network than those of its training.
    """

    images: int = 0
    objects: int = 0
    overlaps: int = 0
    full: int = 0
    cut: int = 0
    shrunk: int = 0

    def plus(self, other: "Totals") -> "Totals":
        """Add other sums.

        >>> Totals(1, 5).plus(Totals(1, 2))
        Totals(images=2, objects=7, overlaps=0, full=0, cut=0, shrunk=0)
        """
        return Totals(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class _Done(msgspec.Struct):
    """Line of ``done.jsonl``: an image file whose results are complete.

    Attributes:
        path: the image file.
        size: its size in bytes.
        mtime: its time of change in nanoseconds.
        key: name of its results.
        written: files that were written for it, relative to the folder.
        lengths: lengths of the other files of ``.predict`` afterwards; what follows them is of a file that is not done.
        totals: sums over all images up to here.
    """

    path: str
    size: int
    mtime: int
    key: str
    written: list[str]
    lengths: dict[str, int]
    totals: Totals


class PredictionFolder:
    """Files that a prediction writes, and ``.predict``, from which a later run goes on.

    Args:
        path: the folder.
        root: folder that the names of images are relative to.

    Attributes:
        path: the folder.
        root: folder that the names of images are relative to; that of the first run.
        totals: sums over all images so far.
        keys: names of results that are taken.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root, self.totals = path, root, Totals()
        self.keys: set[str] = set()
        self._own = path / RESULTS
        self._done: dict[str, tuple[int, int]] = {}  # size and time of change by path
        self._lengths = dict.fromkeys(_STREAMS, 0)
        self._totals_done = self.totals  # when a file was finished last
        self._written: list[str] = []  # since then
        self._files: dict[str, IO[bytes]] = {}

    @classmethod
    def open(cls, path: Path, settings: Mapping[str, Any], root: Path, *, overwrite: bool) -> Self:
        """Begin, or go on with what an earlier run has done.

        Args:
            path: the folder.
            settings: all that results depend on; an earlier run must have had the same.
            root: folder that the names of images are relative to, unless an earlier run had another.
            overwrite: True to begin anew; the files of earlier runs are removed.

        Raises:
            SegtrainError: an earlier run had other settings, its files are damaged, or the folder holds other results.
        """
        folder = cls(path, root)
        asked = {**json.loads(json.dumps(settings)), "root": str(root)}
        if overwrite:
            folder._remove()
        known = folder._read_settings()
        held = [name for name in (*_WHOLE, *FOLDERS, INDEX) if (path / name).exists()]
        if known is None and held and not overwrite:
            raise SegtrainError(f"{path} holds {' and '.join(held)} already; choose another --out, or --overwrite")
        if known is None:
            write_atomically(folder._own / _SETTINGS, json.dumps(asked, indent=1))
        else:
            folder._require_same(known, asked)
            folder.root = Path(known["root"])
        whole = sum(map(folder._take, folder._read_done()))
        for name, length in {**folder._lengths, _DONE: whole}.items():
            folder._files[name] = folder._append_to(folder._own / name, length)
        return folder

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def is_done(self, path: Path) -> bool:
        """Return True if the results of an image file are complete; those of a file that is gone stay.

        Raises:
            SegtrainError: the file has changed since.
        """
        known = self._done.get(str(path))
        if known is None:
            return False
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        if known != (status.st_size, status.st_mtime_ns):
            raise SegtrainError(f"{path}: has changed since it was segmented; begin anew with --overwrite")
        return True

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the results of an image.

        Args:
            name: path relative to the folder.
            content: text or bytes.
        """
        self._written.append(name)
        write_atomically(self.path / name, content, sync=False)

    def place_of(self, name: str) -> Path:
        """Return the path of a file of the results of an image that is written piece by piece, and make its folder.

        Args:
            name: path relative to the folder.
        """
        self._written.append(name)
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add_image(
        self, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]],
        polygons: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], shown: EncodedImage | None,
        totals: Totals,
    ) -> None:  # fmt: skip
        """Append an image.

        Args:
            image: its entry in the COCO file.
            annotations: entries of its objects.
            polygons: the same with polygons for masks; empty to leave them out.
            rows: rows of the table of objects.
            shown: the image for the pages of ``index.html``; None to leave it out.
            totals: its sums.
        """
        self.totals = self.totals.plus(totals)
        text = io.StringIO()
        csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n").writerows(rows)
        parts = (
            _line(image),
            b"".join(map(_line, annotations)),
            b"".join(map(_line, polygons)),
            text.getvalue().encode(errors="backslashreplace"),
            b"" if shown is None else msgspec.json.encode(shown) + b"\n",
        )
        for name, part in zip(_STREAMS, parts, strict=True):
            self._append(name, part)

    def finish_file(self, source: Source) -> None:
        """Record that all images of a file are done."""
        status = source.path.stat()
        for name in _STREAMS:
            self._files[name].flush()
            self._lengths[name] = self._files[name].tell()
        done = _Done(
            str(source.path), status.st_size, status.st_mtime_ns, source.key, self._written, self._lengths, self.totals
        )
        self._append(_DONE, msgspec.json.encode(done) + b"\n")
        self._files[_DONE].flush()
        self._remember(done)

    def drop_unfinished(self) -> None:
        """Remove what was written since a file was finished last."""
        self.totals = self._totals_done
        for name in self._written:
            (self.path / name).unlink(missing_ok=True)
        self._written = []
        for name, length in self._lengths.items():
            self._files[name].flush()
            self._files[name].truncate(length)
            self._files[name].seek(length)

    def write_coco(self, name: str, categories: Sequence[Category], description: str, score_threshold: float) -> str:
        """Write a whole COCO file out of the lines so far; memory holds one line at a time.

        Args:
            name: "predictions.json", or "polygons.json".
            categories: categories of the objects.
            description: text that says what has found them.
            score_threshold: least score, by which an evaluation of the file takes them all.

        Returns:
            The name of the file.
        """
        info = {"description": description, "version": segtrain.__version__, "score_threshold": score_threshold}
        entries = [{"id": category.id, "name": category.name} for category in categories]

        def lines() -> Iterator[bytes]:
            yield b'{"info": ' + json.dumps(info).encode()
            for key, stream in (("images", "images.jsonl"), ("annotations", _COCO[name])):
                yield f',\n"{key}": ['.encode()
                for number, line in enumerate(self._lines(stream)):
                    yield (b",\n" if number else b"\n") + line
                yield b"]"
            yield b',\n"categories": ' + json.dumps(entries).encode() + b"}\n"

        return self._replace(name, lines())

    def write_table(self) -> str:
        """Write ``objects.csv`` out of the rows so far, and return its name."""
        rows = (line + b"\n" for line in self._lines("objects.csv"))
        return self._replace(
            "objects.csv", (part for own in ([",".join(COLUMNS).encode() + b"\n"], rows) for part in own)
        )

    def write_index(self, title: str, facts: str, files: Sequence[str]) -> str:
        """Write ``index.html`` and the pages after it out of the images so far; memory holds one page at a time.

        Args:
            title: heading of the pages.
            facts: one line of numbers about all images.
            files: names of the other files of the prediction.

        Returns:
            The name of the first page.
        """
        images, decoder = self._lines("gallery.jsonl"), msgspec.json.Decoder(EncodedImage)
        pages = max(1, ceil(self.totals.images / IMAGES_PER_PAGE))
        for number in range(1, pages + 1):
            place = PagePlace(number, pages, (number - 1) * IMAGES_PER_PAGE + 1, self.totals.images)
            shown = [decoder.decode(line) for line in islice(images, IMAGES_PER_PAGE)]
            page = prediction_page(title, facts, files, shown, place)
            write_atomically(self.path / place.name, page, sync=False)
        return FIRST

    def _replace(self, name: str, parts: Iterator[bytes]) -> str:
        temporary = self._own / f"{name}.new"
        with naming(temporary), temporary.open("wb") as out:
            out.writelines(parts)
        temporary.replace(self.path / name)
        return name

    def _lines(self, name: str) -> Iterator[bytes]:
        self._files[name].flush()
        with (self._own / name).open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")

    def _append(self, name: str, content: bytes) -> None:
        with naming(self._own / name):
            self._files[name].write(content)

    def _append_to(self, path: Path, length: int) -> IO[bytes]:
        path.touch()
        if path.stat().st_size < length:
            raise _damaged(path)
        file = path.open("r+b")
        file.truncate(length)
        file.seek(length)
        return file

    def _read_settings(self) -> dict[str, Any] | None:
        path = self._own / _SETTINGS
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.exists() else None
        except msgspec.MsgspecError:
            raise _damaged(path) from None

    def _read_done(self) -> Iterator[tuple[_Done, int]]:
        """Read the whole lines of ``done.jsonl``, with their lengths."""
        path = self._own / _DONE
        if not path.exists():
            return
        decoder = msgspec.json.Decoder(_Done)
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    try:
                        yield decoder.decode(line), len(line)
                    except msgspec.MsgspecError:
                        raise _damaged(path) from None

    def _take(self, read: tuple[_Done, int]) -> int:
        """Take over a file that an earlier run has done, and return the length of its line."""
        done, length = read
        self.totals, self._lengths = Totals(*done.totals), {**self._lengths, **done.lengths}
        self._remember(done)
        return length

    def _remember(self, done: _Done) -> None:
        self._done[done.path] = done.size, done.mtime
        self.keys.add(done.key)
        self._totals_done, self._written = self.totals, []

    def _remove(self) -> None:
        """Remove the files of earlier runs, as far as they are known."""
        try:
            written = [name for done, _ in self._read_done() for name in done.written]
        except SegtrainError:  # what a damaged list names stays
            written = []
        if (self._own / _SETTINGS).exists():
            written += [*_WHOLE, *(f"{INDEX}/{page.name}" for page in (self.path / INDEX).glob("*.html"))]
        own = [f"{RESULTS}/{name}" for name in (_SETTINGS, _DONE, *_STREAMS)]
        for name in (*written, *own):
            (self.path / name).unlink(missing_ok=True)

    def _require_same(self, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        differing = [key for key in now if key != "root" and now[key] != then.get(key)]
        if differing:
            raise SegtrainError(
                f"{self.path} holds predictions with another {' and another '.join(differing)}; choose another "
                "--out, or --overwrite to begin anew"
            )


def _damaged(path: Path) -> SegtrainError:
    return SegtrainError(f"{path}: damaged; begin anew with --overwrite, or choose another --out")


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
