"""A large COCO json, read in one pass and never held as a whole: its annotations are cut into pieces before parsing.

Parsing a file into entries, and then the entries, takes everything twice. Here the list of annotations is found by its
name, and cut where one entry seems to end and the next to begin. Nothing is taken on trust: a cut in the wrong place,
in a text or in a nest of objects, leaves pieces that are no json, and then the file has to be read the slow way.
"""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.index.entries import FileAnnotation

_PIECE = 2**20  # bytes, about: its objects stay in the processor's cache
_HEAD = 2**23  # bytes read at a time before the annotations; whatever comes behind them must fit into one piece
_NAME = re.compile(rb'"annotations"\s*:')
_FIRST = re.compile(_NAME.pattern + rb"\s*(?=\[\s*(\{)|\[\s*[^\s{]|[^\s\[])")
_LAST = re.compile(rb'\}\s*\](?=\s*(?:\}\s*\Z|,\s*"(?:images|categories|info|licenses|type)"\s*:))')
_BETWEEN = re.compile(rb"\}\s*(,)\s*\{")

_decoder = msgspec.json.Decoder(list[FileAnnotation])


def cut_out(path: Path) -> tuple[npt.NDArray[np.uint8], int, int, int] | None:
    """A file without its annotations, and where these lie, by the look of it; None if that cannot be seen.

    Args:
        path: of a large file.

    Returns:
        Room for the whole file; how much of it holds the content with an empty list in place of the annotations; first
        byte of that list in the file, and one past its last.

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
            first = _FIRST.search(room.data[: held + read], max(held - 100, 0))  # it may lie across two blocks
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
    """Memory that costs nothing where nobody writes."""
    # Not NumPy's own, which asks for huge pages: the system may stall for longer than the file takes to read.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    return np.frombuffer(mmap.mmap(-1, size, **private), dtype=np.uint8)


def read_pieces(path: Path, start: int, stop: int) -> Iterator[list[FileAnnotation]]:
    """The annotations of a list, some thousands at a time; the texts of a piece are gone when the next is asked for.

    Args:
        path: of the file.
        start: of the list, at its bracket.
        stop: one past its other bracket.

    Raises:
        ValueError: a piece is no list of objects.
        OSError: the file cannot be read.
    """
    room = bytearray(2 * _PIECE)  # one for all pieces: fresh memory each time would cost more than parsing
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
