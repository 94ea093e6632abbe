"""COCO json files on disk: their bytes, the raw entries of the three lists, and their tolerant decoding."""

import mmap
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.coco.file_forms import describe_structure, loads, strict_json, three_lists
from segtrain.data.coco.issues import Issues
from segtrain.data.foreign.label_kinds import conversion_advice
from segtrain.errors import SegtrainError

_PIECE = 2**20  # bytes per piece, approximately; its objects then fit into the processor's cache
_HEAD = 2**23  # bytes read at a time before the annotations; the content after them must fit into one piece
_NAME = re.compile(rb'"annotations"\s*:')
_FIRST = re.compile(_NAME.pattern + rb"\s*(?=\[\s*(\{)|\[\s*[^\s{]|[^\s\[])")
_LAST = re.compile(rb'\}\s*\](?=\s*(?:\}\s*\Z|,\s*"(?:images|categories|info|licenses|type)"\s*:))')
_BETWEEN = re.compile(rb"\}\s*(,)\s*\{")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LARGE = 2**22  # bytes; smaller files are fast to read at once
_SHAPE = "COCO json is an object with the lists images, annotations and categories"


class FileImage(msgspec.Struct, gc=False):
    """Unchecked entry of ``images``; keys that are not named here are ignored."""

    id: Any = None
    file_name: Any = None
    height: Any = None
    width: Any = None
    difficulty: Any = None
    coco_url: Any = None


class FileCategory(msgspec.Struct, gc=False):
    """Unchecked entry of ``categories``."""

    id: Any = None
    name: Any = None
    supercategory: Any = None


class FileAnnotation(msgspec.Struct, gc=False):
    """Unchecked entry of ``annotations``; mask and box stay json text, empty where they are missing."""

    id: Any = None
    image_id: Any = None
    category_id: Any = None
    area: Any = None
    iscrowd: Any = None
    segmentation: msgspec.Raw = msgspec.Raw(b"")
    bbox: msgspec.Raw = msgspec.Raw(b"")


Entry = TypeVar("Entry", FileImage, FileCategory, FileAnnotation)


class EntryReader(Generic[Entry]):
    """Decoder of the entries of a list.

    Args:
        kind: type of the entries.
        name: name of the list, for messages.
        issues: receives an issue for each entry that is no json object.
    """

    def __init__(self, kind: type[Entry], name: str, issues: Issues) -> None:
        self._kind: Callable[..., Entry] = kind
        self._fields, self._name, self._findings = kind.__struct_fields__, name, issues
        self._decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(kind)
        fields = [(field, msgspec.Raw, msgspec.Raw(b"")) for field in self._fields]
        self._raw_decoder = msgspec.json.Decoder(msgspec.defstruct("RawEntry", fields, gc=False))

    def read(self, raws: list[msgspec.Raw], first: int = 0) -> tuple[list[Entry], list[int]]:
        """Decode entries.

        Args:
            raws: json texts of entries.
            first: position of the first of them in the list.

        Returns:
            The entries, and the indices of those that are no json objects, which are replaced by blank entries.
        """
        try:
            return list(map(self._decoder.decode, raws)), []
        except (ValueError, RecursionError):
            alone = [self._read_alone(raw, place) for place, raw in enumerate(raws, first)]
        blank = [place for place, entry in enumerate(alone) if entry is None]
        return [self._kind() if entry is None else entry for entry in alone], blank

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
    """Decode a piece of json; None if it is empty, the text itself if it cannot be decoded.

    Never raises: out-of-range numbers, lone surrogates and too deep nesting are returned as text.

    >>> decode_leniently(b"[1, 2]"), decode_leniently(b"1e999"), decode_leniently(b"")
    ([1, 2], '1e999', None)
    """
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text.decode("utf-8", "replace")


_decoder = msgspec.json.Decoder(list[FileAnnotation])


def stream_annotations(path: Path) -> tuple[npt.NDArray[np.uint8], int, int, int] | None:
    """Read a file without its annotations, and locate these by a search of the text; None if it finds no such list.

    Args:
        path: large COCO json.

    Returns:
        A buffer as large as the file; the number of its bytes that hold the content, with an empty list in place of the
        annotations; the position of the first byte of the annotations in the file, and the position after their last.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    room = _reserve(size)
    with path.open("rb") as file:
        held, first = 0, None
        while first is None:
            if not (read := file.readinto(room.data[held : held + _HEAD])):
                return None
            first = _FIRST.search(room.data[: held + read], max(held - 100, 0))  # a match may cross two blocks
            held += read
        start = first.end()
        tail_start = max(size - _PIECE, start)
        file.seek(tail_start)
        tail = file.read()
    last = _LAST.search(tail)
    if first[1] is None or last is None or _NAME.search(tail, last.end()):  # no list of objects, or several
        return None
    rest = b"[]" + tail[last.end() :]
    if start + len(rest) > size:
        return None
    room[start : start + len(rest)] = np.frombuffer(rest, dtype=np.uint8)
    return room, start + len(rest), start, tail_start + last.end()


def _reserve(size: int) -> npt.NDArray[np.uint8]:
    """Reserve anonymous memory; pages are allocated when they are first written."""
    # NumPy would request huge pages, for which the system may stall for longer than the file takes to read.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    return np.frombuffer(mmap.mmap(-1, size, **private), dtype=np.uint8)


def read_pieces(path: Path, start: int, stop: int) -> Iterator[list[FileAnnotation]]:
    """Yield the annotations of a list, some thousands at a time; texts of a piece are overwritten by the next one.

    Args:
        path: COCO json.
        start: position of the list's opening bracket in the file.
        stop: position after its closing bracket.

    Raises:
        ValueError: a piece is no list of objects.
        OSError: the file cannot be read.
    """
    room = bytearray(2 * _PIECE)  # reused for all pieces: allocation would take more time than parsing
    with path.open("rb") as file, memoryview(room) as view:
        file.seek(start)
        held, left = 0, stop - start
        while left:
            read = file.readinto(view[held : min(held + left, held + _PIECE, len(room))])
            if not read:
                raise ValueError("an entry is too long, or the file has become shorter")
            held, left = held + read, left - read
            if not left:
                yield _decoder.decode(view[:held])
                return
            cuts = [match.start(1) for match in _BETWEEN.finditer(view[:held], max(held - read // 4, 0))]
            if cuts:
                # The comma between two pieces closes the one as a bracket, and then opens the other.
                cut = cuts[-1]
                room[cut] = ord("]")
                yield _decoder.decode(view[: cut + 1])
                room[cut] = ord("[")
                room[: held - cut] = room[cut:held]
                held -= cut


class FileError(SegtrainError):
    """Error of a file that cannot be used at all.

    Attributes:
        kind: type of the problem, a key of ``segtrain.data.coco.issues.ISSUE_TYPES``.
        path: path of the file.
    """

    def __init__(self, kind: str, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.kind, self.path = kind, path


class _Root(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]
    segtrain_joined: Any = None  # notes of ``joined_files``


@dataclass
class RawFile:
    """COCO json whose lists are decoded, and whose entries are still text.

    Attributes:
        path: path of the file.
        buffer: (bytes,) uint8 content of the file, or space for it.
        images: text of each image.
        annotations: text of each annotation; empty if they are read in pieces.
        categories: text of each category.
        pieces: positions of the first byte of the annotations in the file and after their last one, if they are read in
            pieces.
        forms: other forms of the file that were converted, such as a byte-order mark.
        joined: notes on how it was joined from several files; see ``joined_files``.
    """

    path: Path
    buffer: npt.NDArray[np.uint8]
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]
    pieces: tuple[int, int] | None = None
    forms: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)


def open_in_pieces(path: Path) -> RawFile | None:
    """Open a large file in the usual layout, without reading its annotations; None for any other file.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        found = stream_annotations(path) if path.stat().st_size >= _LARGE else None
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
    forms = ["a byte-order mark"] if _is_marked(room) else []
    return RawFile(path, room, root.images, [], root.categories, (start, stop), forms, _notes(root))


def _notes(root: _Root) -> list[str]:
    return root.segtrain_joined if isinstance(root.segtrain_joined, list) else []


def read_coco_file(path: Path) -> RawFile:
    """Read a file up to the entries of its lists.

    Raises:
        FileError: the file cannot be read, is not COCO json, or lists no images or categories.
    """
    buffer, forms = _read_usual(path)
    try:
        root = _decode(buffer)
    except msgspec.ValidationError as error:
        raise _wrong_shape(path, error, buffer) from error
    except (ValueError, RecursionError) as error:
        raise FileError("not-json", path, f"not a json file ({error}); export it again") from error
    for kind, entries in (("images", root.images), ("categories", root.categories)):
        if not entries:
            raise FileError("empty-list", path, f"the list {kind} is empty; nothing can be learned or measured")
    return RawFile(path, buffer, root.images, root.annotations, root.categories, forms=forms, joined=_notes(root))


def read_strictly(path: Path) -> tuple[bytes, list[str]]:
    """Read a file as strict json in UTF-8, with the entries of images, annotations and categories in lists.

    Returns:
        The json, and the forms that it had instead.

    Raises:
        FileError: the file cannot be read, or is not json.
    """
    buffer, forms = _read_usual(path)
    return buffer.tobytes().removeprefix(_BYTE_ORDER_MARK), forms


def read_document(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Decode a whole file that is known to be COCO json.

    Returns:
        The content, and the forms that it had; see ``read_strictly``.

    Raises:
        FileError: the file cannot be read, or a part of it is not json.
    """
    content, forms = read_strictly(path)
    try:
        document: dict[str, Any] = msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:  # out-of-range numbers, lone surrogates, text that is not UTF-8
        try:
            document = loads(content.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            raise FileError("not-json", path, f"not a json file throughout ({error}); export it again") from error
    return document, forms


def _read_usual(path: Path) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Read a file; other forms are converted, see ``strict_json`` and ``three_lists``."""
    buffer = _read(path)
    forms = ["a byte-order mark"] if _is_marked(buffer) else []
    try:
        _decode(buffer)
        return buffer, forms
    except msgspec.ValidationError:
        content = buffer.tobytes().removeprefix(_BYTE_ORDER_MARK)
    except (ValueError, RecursionError) as error:
        try:
            content, found = strict_json(buffer.tobytes(), error)
        except ValueError as refusal:
            advice = conversion_advice(path)
            message = str(refusal) if advice is None else f"not COCO json, but {advice}"
            raise FileError("not-json", path, message) from error
        forms += found
    content, found = three_lists(content)
    return np.frombuffer(content, dtype=np.uint8).copy(), forms + found


def _read(path: Path) -> npt.NDArray[np.uint8]:
    try:
        if path.exists() and not path.is_file():  # reading a pipe could block
            advice = conversion_advice(path)
            reason = "cannot read the annotations (a directory, pipe or device); give a file"
            raise FileError("file-unreadable", path, reason if advice is None else f"no COCO json, but {advice}")
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


def _is_marked(buffer: npt.NDArray[np.uint8]) -> bool:
    return bytes(buffer[: len(_BYTE_ORDER_MARK)]) == _BYTE_ORDER_MARK


def _decode(buffer: npt.NDArray[np.uint8]) -> _Root:
    return msgspec.json.decode(buffer.data[len(_BYTE_ORDER_MARK) if _is_marked(buffer) else 0 :], type=_Root)


def _wrong_shape(path: Path, error: msgspec.ValidationError, buffer: npt.NDArray[np.uint8]) -> FileError:
    kind = "missing-list" if "missing required" in str(error) else "wrong-type" if "`$." in str(error) else "wrong-root"
    if (advice := conversion_advice(path)) is not None:
        return FileError(kind, path, f"{error}; {_SHAPE}, and these are {advice}")
    other = describe_structure(buffer.tobytes().removeprefix(_BYTE_ORDER_MARK))
    return FileError(kind, path, f"{error}; {_SHAPE}{f', and this is {other}' if other else ''}")
