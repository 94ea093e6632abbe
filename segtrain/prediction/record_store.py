"""Results of a prediction while it runs: appended image by image, so that a later run goes on where one has stopped."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import segtrain
from segtrain.errors import SegtrainError
from segtrain.io import naming, write_atomically
from segtrain.prediction.object_table import COLUMNS
from segtrain.records import Category

FOLDER = ".predict"
_STREAMS = ("images.jsonl", "annotations.jsonl", "objects.csv")


@dataclass
class Totals:
    """Sums over all images so far.

    Attributes:
        images: images, pages counted one by one.
        objects: found objects.
        overlaps: pixels of label maps where masks overlap.
        full: images with as many objects as the network may return.
    """

    images: int = 0
    objects: int = 0
    overlaps: int = 0
    full: int = 0

    def __iadd__(self, other: Self) -> Self:
        for name in ("images", "objects", "overlaps", "full"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@dataclass
class RecordStore:
    """Files below ``.predict`` of an output folder; ``predictions.json`` and ``objects.csv`` are made of them.

    A file of images is done once its line stands in ``done.jsonl`` with the lengths of the other files; what follows
    these lengths is of a file that was not finished, and is cut off.

    Attributes:
        folder: the output folder.
        totals: sums over all images so far.
        done: size in bytes and time of change of each finished file, by its path.
    """

    folder: Path
    totals: Totals = field(default_factory=Totals)
    done: dict[str, tuple[int, int]] = field(default_factory=dict)
    _files: dict[str, IO[bytes]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> Self:
        """Begin, or go on with what an earlier run has done.

        Args:
            folder: the output folder.
            settings: all that the results depend on; an earlier run must have had the same.
            overwrite: True to begin anew.

        Raises:
            SegtrainError: an earlier run had other settings, its files are damaged, or the folder holds other files.
        """
        store = cls(folder)
        own = folder / FOLDER
        known = own / "settings.json"
        if known.exists() and not overwrite:
            store._require_same(json.loads(known.read_text()), settings)
        elif not known.exists() and (folder / "predictions.json").exists() and not overwrite:
            raise SegtrainError(f"{folder} holds predictions.json already; choose another --out, or --overwrite")
        else:
            for name in ("done.jsonl", *_STREAMS):
                (own / name).unlink(missing_ok=True)
            write_atomically(known, json.dumps(settings, indent=1))
        lengths = store._read_done()
        for name in ("done.jsonl", *_STREAMS):
            store._files[name] = store._append_to(own / name, lengths.get(name, 0))
        return store

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def add_image(self, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> None:
        """Append an image and its objects."""
        self._write("images.jsonl", _line(image))
        self._write("annotations.jsonl", b"".join(map(_line, annotations)))

    def add_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows of the table of objects."""
        text = io.StringIO()
        csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n").writerows(rows)
        self._write("objects.csv", text.getvalue().encode())

    def finish_file(self, path: Path) -> None:
        """Record that all images of a file are done."""
        status = path.stat()
        lengths = {name: self._files[name].tell() for name in _STREAMS}
        totals = vars(self.totals)
        about = {"path": str(path), "size": status.st_size, "mtime": status.st_mtime_ns}
        for name in _STREAMS:
            self._files[name].flush()
        self._write("done.jsonl", _line({**about, "lengths": lengths, "totals": totals}))
        self._files["done.jsonl"].flush()

    def drop_unfinished(self, before: Totals) -> None:
        """Forget what has been appended since a file was finished last.

        Args:
            before: sums of that time.
        """
        self.totals = before
        lengths = self._read_done()
        for name in _STREAMS:
            self._files[name].truncate(lengths.get(name, 0))
            self._files[name].seek(0, 2)

    def write_coco(self, categories: Sequence[Category], description: str) -> Path:
        """Write ``predictions.json``, a whole COCO file, out of the lines so far; memory holds one line at a time.

        Args:
            categories: categories of the objects.
            description: text that says what has found them.
        """
        path = self.folder / "predictions.json"
        temporary = self.folder / FOLDER / "predictions.json"
        info = {"description": description, "version": segtrain.__version__}
        with naming(temporary), temporary.open("wb") as out:
            out.write(b'{"info": ' + json.dumps(info).encode())
            for name in ("images", "annotations"):
                out.write(f',\n"{name}": ['.encode())
                for number, line in enumerate(self._lines(f"{name}.jsonl")):
                    out.write((b",\n" if number else b"\n") + line)
                out.write(b"]")
            entries = [{"id": category.id, "name": category.name} for category in categories]
            out.write(b',\n"categories": ' + json.dumps(entries).encode() + b"}\n")
        temporary.replace(path)
        return path

    def write_table(self) -> Path:
        """Write ``objects.csv`` out of the rows so far."""
        path, temporary = self.folder / "objects.csv", self.folder / FOLDER / "objects.csv.new"
        with naming(temporary), temporary.open("wb") as out:
            out.write((",".join(COLUMNS) + "\n").encode())
            out.writelines(line + b"\n" for line in self._lines("objects.csv"))
        temporary.replace(path)
        return path

    def images(self) -> Iterator[dict[str, Any]]:
        """Read the images so far."""
        return map(json.loads, self._lines("images.jsonl"))

    def _lines(self, name: str) -> Iterator[bytes]:
        if name in self._files:
            self._files[name].flush()
        with (self.folder / FOLDER / name).open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")

    def _write(self, name: str, content: bytes) -> None:
        with naming(self.folder / FOLDER / name):
            self._files[name].write(content)

    def _append_to(self, path: Path, length: int) -> IO[bytes]:
        path.touch()
        if path.stat().st_size < length:
            raise SegtrainError(f"{path}: shorter than it was when it was written; begin anew with --overwrite")
        file = path.open("r+b")
        file.truncate(length)
        file.seek(length)
        return file

    def _read_done(self) -> dict[str, int]:
        """Read which files are done, and return the lengths that the files of this store had then."""
        path = self.folder / FOLDER / "done.jsonl"
        lengths: dict[str, int] = {}
        whole = 0
        self.done = {}
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            whole += len(line)
            self.done[entry["path"]] = (entry["size"], entry["mtime"])
            lengths = entry["lengths"]
            self.totals = Totals(**entry["totals"])
        return {**lengths, "done.jsonl": whole}

    def _require_same(self, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        differing = [key for key in now if json.loads(json.dumps(now[key])) != then.get(key)]
        if differing:
            raise SegtrainError(
                f"{self.folder} holds predictions with another {' and another '.join(differing)}; choose another "
                "--out, or --overwrite to begin anew"
            )


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
