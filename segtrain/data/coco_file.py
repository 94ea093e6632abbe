"""The COCO json as it lies on disk: one buffer, and the raw entries of its three lists."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.findings import Findings
from segtrain.errors import SegtrainError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHAPE = "COCO json is an object with the lists images, annotations and categories"


class FileError(SegtrainError):
    """A file of which nothing can be used.

    Attributes:
        kind: what is wrong, a key of ``segtrain.data.finding_kinds.KINDS``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class FileImage(msgspec.Struct, gc=False):
    """An entry of ``images``; nothing is taken for granted, and keys that are not named here are ignored."""

    id: Any = None
    file_name: Any = None
    height: Any = None
    width: Any = None
    difficulty: Any = None


class FileCategory(msgspec.Struct, gc=False):
    """An entry of ``categories``."""

    id: Any = None
    name: Any = None


class FileAnnotation(msgspec.Struct, gc=False):
    """An entry of ``annotations``; what is seldom needed stays as it is written, and is empty where it is missing."""

    id: Any = None
    image_id: Any = None
    category_id: Any = None
    area: Any = None
    iscrowd: Any = None
    segmentation: msgspec.Raw = msgspec.Raw(b"")
    bbox: msgspec.Raw = msgspec.Raw(b"")


class _Root(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]


@dataclass
class RawFile:
    """A file whose lists are known, and whose entries are still text.

    Attributes:
        path: the file.
        buffer: (bytes,) uint8, its content.
        images: views of the buffer, one for each entry; likewise the other two.
    """

    path: Path
    buffer: npt.NDArray[np.uint8]
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]


def read_coco_file(path: Path) -> RawFile:
    """Read a file up to the entries of its lists.

    Raises:
        FileError: it cannot be read, is not COCO json, or lists no images or categories.
    """
    buffer = _read(path)
    try:
        root = _decode(buffer)
    except msgspec.ValidationError as error:
        raise _wrong_shape(path, error) from error
    except (ValueError, RecursionError) as error:
        buffer = _as_strict_json(path, buffer, error)
        try:
            root = _decode(buffer)
        except msgspec.ValidationError as wrong:
            raise _wrong_shape(path, wrong) from wrong
        except (ValueError, RecursionError) as wrong:
            raise FileError("not-json", f"{path}: not a json file ({wrong}); export it again") from wrong
    for kind, entries in (("images", root.images), ("categories", root.categories)):
        if not entries:
            raise FileError("empty-list", f"{path}: the list {kind} is empty; nothing can be learnt or measured")
    return RawFile(path, buffer, root.images, root.annotations, root.categories)


Entry = TypeVar("Entry", FileImage, FileCategory, FileAnnotation)


class EntryReader(Generic[Entry]):
    """Decodes the entries of a list.

    Args:
        kind: of the entries.
        name: of the list, for messages.
        findings: receives the entries that are no objects.
    """

    def __init__(self, kind: type[Entry], name: str, findings: Findings) -> None:
        self._kind: Callable[..., Entry] = kind
        self._fields, self._name, self._findings = kind.__struct_fields__, name, findings
        self._decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(kind)
        fields = [(field, msgspec.Raw, msgspec.Raw(b"")) for field in self._fields]
        self._raw_decoder = msgspec.json.Decoder(msgspec.defstruct("RawEntry", fields, gc=False))

    def read(self, raws: list[msgspec.Raw], first: int = 0) -> list[Entry | None]:
        """Decode entries; None stands for one that is no object.

        Args:
            raws: of the list.
            first: place of the first of them in the list.
        """
        try:
            return list(map(self._decoder.decode, raws))
        except (ValueError, RecursionError):
            return [self._read_alone(raw, place) for place, raw in enumerate(raws, first)]

    def _read_alone(self, raw: msgspec.Raw, place: int) -> Entry | None:
        try:
            texts: Any = self._raw_decoder.decode(raw)
        except (ValueError, RecursionError):
            self._findings.add("wrong-type", f"{self._name}[{place}] is no object")
            return None
        values = {field: getattr(texts, field) for field in self._fields}
        raw_fields = ("segmentation", "bbox") if self._kind is FileAnnotation else ()
        return self._kind(**{k: v if k in raw_fields else decode_leniently(bytes(v)) for k, v in values.items()})


def decode_leniently(text: bytes) -> Any:
    """The value of a piece of json; None if there is none, the text itself where no value can stand for it.

    Raises nothing: numbers beyond all ranges, half surrogates and bottomless nests stay text.
    """
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text.decode("utf-8", "replace")


def read_document(path: Path) -> dict[str, Any]:
    """A whole file as Python's values; it is known to be COCO json.

    Raises:
        FileError: it can no longer be read.
    """
    buffer = _read(path)
    try:
        document: dict[str, Any] = msgspec.json.decode(buffer.tobytes().removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        document = json.loads(_as_strict_json(path, buffer, error).tobytes())
    return document


def _read(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with path.open("rb") as stream:
            buffer = np.empty(path.stat().st_size, dtype=np.uint8)
            buffer.resize(stream.readinto(buffer.data), refcheck=False)  # it may have been cut in the meantime
    except OSError as error:
        raise FileError(
            "file-unreadable", f"{path}: cannot read the annotations ({error.strerror}); check the path"
        ) from error
    if not bytes(buffer[:64]).strip() and not buffer.tobytes().strip():
        raise FileError("not-json", f"{path}: the file is empty; give a COCO json")
    return buffer


def _decode(buffer: npt.NDArray[np.uint8]) -> _Root:
    marked = bytes(buffer[: len(_BYTE_ORDER_MARK)]) == _BYTE_ORDER_MARK
    return msgspec.json.decode(buffer.data[len(_BYTE_ORDER_MARK) if marked else 0 :], type=_Root)


def _wrong_shape(path: Path, error: msgspec.ValidationError) -> FileError:
    kind = "missing-list" if "missing required" in str(error) else "wrong-type" if "`$." in str(error) else "wrong-root"
    return FileError(kind, f"{path}: {error}; {_SHAPE}")


def _as_strict_json(path: Path, buffer: npt.NDArray[np.uint8], reason: Exception) -> npt.NDArray[np.uint8]:
    """What Python's own parser makes of a file: NaN and infinity, which it writes as well, become strings.

    Raises:
        FileError: it cannot read the file either.
    """
    try:
        content = json.loads(buffer.tobytes().removeprefix(_BYTE_ORDER_MARK), parse_constant=str, parse_float=_finite)
        return np.frombuffer(json.dumps(content).encode("ascii"), dtype=np.uint8).copy()
    except (ValueError, RecursionError):
        raise FileError("not-json", f"{path}: not a json file ({reason}); export it again") from reason


def _finite(text: str) -> float | str:
    return value if math.isfinite(value := float(text)) else text


def batches(entries: list[msgspec.Raw], size: int) -> Iterator[tuple[int, list[msgspec.Raw]]]:
    """The entries in runs of at most ``size``, each with the place of its first."""
    starts: Iterable[int] = range(0, len(entries), size)
    return ((start, entries[start : start + size]) for start in starts)
