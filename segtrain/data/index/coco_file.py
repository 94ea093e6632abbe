"""The COCO json as it lies on disk: one buffer, and the raw entries of its three lists."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.index.pieces import cut_out
from segtrain.errors import SegtrainError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LARGE = 2**22  # bytes; smaller files take no time in any way
_SHAPE = "COCO json is an object with the lists images, annotations and categories"


class FileError(SegtrainError):
    """A file of which nothing can be used.

    Attributes:
        kind: what is wrong, a key of ``segtrain.data.finding_kinds.KINDS``.
        path: the file.
    """

    def __init__(self, kind: str, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.kind, self.path = kind, path


class _Root(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]


@dataclass
class RawFile:
    """A file whose lists are known, and whose entries are still text.

    Attributes:
        path: the file.
        buffer: (bytes,) uint8, its content, or room for that.
        images: the text of each entry; likewise the other two.
        pieces: where in the file the annotations lie, if they are to be read in pieces; there are none here then.
    """

    path: Path
    buffer: npt.NDArray[np.uint8]
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]
    pieces: tuple[int, int] | None = None


def open_in_pieces(path: Path) -> RawFile | None:
    """A large file of the usual order, whose annotations are still on the disk; None for any other.

    Raises:
        FileError: it cannot be read.
    """
    try:
        found = cut_out(path) if path.stat().st_size >= _LARGE else None
    except OSError as error:
        raise _unreadable(path, error) from error
    if found is None:
        return None
    room, held, start, stop = found
    try:
        root = _decode(room[:held])
    except (ValueError, RecursionError):
        return None
    if root.annotations or not root.images or not root.categories:
        return None
    return RawFile(path, room, root.images, [], root.categories, (start, stop))


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
            raise FileError("not-json", path, f"not a json file ({wrong}); export it again") from wrong
    for kind, entries in (("images", root.images), ("categories", root.categories)):
        if not entries:
            raise FileError("empty-list", path, f"the list {kind} is empty; nothing can be learnt or measured")
    return RawFile(path, buffer, root.images, root.annotations, root.categories)


def read_strictly(path: Path) -> bytes:
    """The content of a file as strict json in UTF-8, whatever Python and other tools have written there.

    Raises:
        FileError: it cannot be read, or is no json.
    """
    buffer = _read(path)
    try:
        _decode(buffer)
    except msgspec.ValidationError:
        pass
    except (ValueError, RecursionError) as error:
        buffer = _as_strict_json(path, buffer, error)
    return buffer.tobytes().removeprefix(_BYTE_ORDER_MARK)


def read_document(path: Path) -> dict[str, Any]:
    """A whole file as Python's values; it is known to be COCO json.

    Raises:
        FileError: it can no longer be read, or is no json where nobody has looked yet.
    """
    content = read_strictly(path)
    try:
        document: dict[str, Any] = msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:  # numbers beyond all ranges, half surrogates, text that is no UTF-8
        try:
            document = _loads(content.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            raise FileError("not-json", path, f"not a json file throughout ({error}); export it again") from error
    return document


def _read(path: Path) -> npt.NDArray[np.uint8]:
    try:
        if path.exists() and not path.is_file():  # a pipe would keep its reader waiting
            reason = "cannot read the annotations (a directory, pipe or device); give a file"
            raise FileError("file-unreadable", path, reason)
        with path.open("rb") as stream:
            buffer = np.empty(path.stat().st_size, dtype=np.uint8)
            buffer.resize(stream.readinto(buffer.data), refcheck=False)  # it may have been cut in the meantime
    except OSError as error:
        raise _unreadable(path, error) from error
    if not bytes(buffer[:64]).strip() and not buffer.tobytes().strip():
        raise FileError("not-json", path, "the file is empty; give a COCO json")
    return buffer


def _unreadable(path: Path, error: OSError) -> FileError:
    return FileError("file-unreadable", path, f"cannot read the annotations ({error.strerror}); check the path")


def _decode(buffer: npt.NDArray[np.uint8]) -> _Root:
    marked = bytes(buffer[: len(_BYTE_ORDER_MARK)]) == _BYTE_ORDER_MARK
    return msgspec.json.decode(buffer.data[len(_BYTE_ORDER_MARK) if marked else 0 :], type=_Root)


def _wrong_shape(path: Path, error: msgspec.ValidationError) -> FileError:
    kind = "missing-list" if "missing required" in str(error) else "wrong-type" if "`$." in str(error) else "wrong-root"
    return FileError(kind, path, f"{error}; {_SHAPE}")


def _as_strict_json(path: Path, buffer: npt.NDArray[np.uint8], reason: Exception) -> npt.NDArray[np.uint8]:
    """What Python's own parser makes of a file: NaN and infinity, which it writes as well, become strings, and half
    surrogates question marks.

    Raises:
        FileError: it cannot read the file either.
    """
    try:
        content = _loads(buffer.tobytes().removeprefix(_BYTE_ORDER_MARK))
        strict = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")  # half surrogates are not in UTF-8
        return np.frombuffer(strict, dtype=np.uint8).copy()
    except (ValueError, RecursionError):
        raise FileError("not-json", path, f"not a json file ({reason}); export it again") from reason


def _loads(text: str | bytes) -> Any:
    """The value of json in which numbers that Python has no finite ones for become strings."""
    return json.loads(text, parse_constant=str, parse_float=_finite, parse_int=_short)


def _short(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # Python takes thousands of digits for an attack
        return text


def _finite(text: str) -> float | str:
    return value if math.isfinite(value := float(text)) else text
