"""Forms of a file name: changes by systems, browsers and annotation tools, and names that mean the same file.

The transformations are of three kinds. *Spelling* changes characters: separators, escapes, case, replaced characters.
An *affix* is put before or after a name by a tool. The *extension* follows the format that an image was converted to.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote_plus

from segtrain.io import IMAGE_EXTENSIONS

_SAME_FORMAT = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif", ".dib": ".bmp"}
_LONGEST = 1_000  # characters; longer names are damage
_ENCODINGS = ("cp1252", "latin-1", "cp437")  # as which UTF-8 is misread on Windows, on the web, and in zip archives
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://+", re.IGNORECASE)
_QUERY = re.compile(r"(?<=\w)[?#].*$", re.DOTALL)
_LOCAL_FILE = re.compile(r"local-files/?\?(?:.*&)?d=([^&#]*)")  # Label Studio's files of its own disk
_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")
_SIGN = re.compile(r"(?:(?<=[_ ,x])|^)-(?=\d)")  # of a number, as in tile_-1_2
_HEX = "[0-9a-fA-F]"
_ANY_EXTENSION = rf"(?:{'|'.join(extension[1:] for extension in sorted(IMAGE_EXTENSIONS))})"
# What a tool adds to a name, and the name without it.
_AFFIXES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (rf"{_HEX}{{8}}-(?!{_HEX}{{4}}-)(.+)", r"\1"),  # Label Studio's upload
        (rf"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}[-_](.+)", r"\1"),  # upload with a full UUID
        (rf"(.+)_({_ANY_EXTENSION})\.rf\.\w{{8,}}\.\w+", r"\1.\2"),  # Roboflow
        (r"COCO_(?:train|val|test)\d{4}_(\d+\.\w+)", r"\1"),  # COCO of 2014
        (r"(.+?)(?: ?\(\d+\)|(?: - |[ _-])(?:copy|kopie|copie|copia)(?: ?\(?\d+\)?)?)(\.\w+)", r"\1\2"),  # copies
        (rf"(.+\.{_ANY_EXTENSION})\.{_ANY_EXTENSION}", r"\1"),  # converters that append
    )
)
_ROBOFLOW = _AFFIXES[2][0]


class Parts(NamedTuple):
    """Path of a file in its parts.

    Attributes:
        folders: names of the folders, outermost first.
        stem: name without its extension.
        extension: extension of an image format, lower case with its dot; empty for none.
    """

    folders: tuple[str, ...]
    stem: str
    extension: str


def _spelled(name: str) -> str:
    """Remove the scheme and query of an address and the drive, and replace the separators of Windows."""
    if local := _LOCAL_FILE.search(name):
        name = local[1]
    address = _SCHEME.match(name)
    if address or (_QUERY.search(name) and PurePosixPath(_QUERY.sub("", name)).suffix.lower() in IMAGE_EXTENSIONS):
        name = _QUERY.sub("", name[address.end() if address else 0 :])
    return _DRIVE.sub("", name, count=1) if _DRIVE.match(name) else name


def _decoded(name: str) -> str:
    """Undo the escapes of addresses and of HTML, and misread UTF-8; compose accents."""
    for _ in range(2):  # some are escaped twice
        name = unquote_plus(name)
    return unicodedata.normalize("NFC", _reread(html.unescape(name)))


def _reread(name: str) -> str:
    if not name.isascii():
        for encoding in _ENCODINGS:
            try:
                return name.encode(encoding).decode("utf-8")
            except UnicodeError:
                continue
    return name


def _caseless(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _simple(name: str) -> str:
    """Replace all signs and spaces by the same one, since systems and tools exchange them."""
    return re.sub(r"[\W_]+", "_", _SIGN.sub("minus", unicodedata.normalize("NFKC", name)))


_SPELLINGS: tuple[Callable[[str], str], ...] = (str, _decoded, _caseless, _simple)
LOOSEST = len(_SPELLINGS) - 1


@lru_cache(maxsize=2**16)
def parts_of(name: str, level: int) -> Parts | None:
    r"""Split a name into its parts, after as many transformations of its spelling as the level says.

    Args:
        name: file name, path or address, as written.
        level: 0 for separators, drives and schemes; 1 for escapes and accents as well; 2 for case as well; 3 for signs
            and spaces as well.

    Returns:
        The parts; None if the name holds no file name.

    >>> parts_of(r"C:\data\train\A.PNG", 0)
    Parts(folders=('data', 'train'), stem='A', extension='.png')
    >>> parts_of("https://host/My%20cell.png?size=1", 2)
    Parts(folders=('host',), stem='my cell', extension='.png')
    """
    steps = _steps(name, decoded=level > 0)
    if not steps:
        return None
    *folders, base = steps
    stem, dot, suffix = base.rpartition(".")
    extension = f".{suffix.lower()}"
    if not (dot and stem and extension in IMAGE_EXTENSIONS):
        stem, extension = base, ""
    stem = stem.strip() if level else stem
    for spelling in _SPELLINGS[2 : level + 1]:
        folders, stem = list(map(spelling, folders)), spelling(stem)
    return Parts(tuple(folders), stem, extension)


def plain_path(name: str) -> str:
    r"""Return the path that a name states, with slashes, and without drive, root and parent folders.

    >>> plain_path(r"..\media\A.PNG"), plain_path("/data/x.png")
    ('media/A.PNG', 'data/x.png')
    """
    return "/".join(_steps(name, decoded=False))


def _steps(name: str, *, decoded: bool) -> list[str]:
    if len(name) > _LONGEST:
        return []
    text = _spelled(name)
    if decoded:
        text = _spelled(_decoded(text))
    steps = [part.strip() if decoded else part for part in text.replace("\\", "/").split("/")]
    return [part for part in steps if part not in ("", ".", "..")]


def without_affixes(name: str) -> Iterator[str]:
    """Yield a name without the additions of a tool, for each tool that may have made it.

    >>> list(without_affixes("train/cell_png.rf.0123456789abcdef.jpg")), list(without_affixes("0a1b2c3d-x.png"))
    (['train/cell.png'], ['x.png'])
    """
    folders, slash, base = name.replace("\\", "/").rpartition("/")
    for pattern, replacement in _AFFIXES:
        if match := pattern.fullmatch(base):
            yield folders + slash + match.expand(replacement)


def source_name(name: str) -> str:
    """Return the name of the image that a file was made of: without Roboflow's hash, and without its extension.

    >>> source_name("a/cell_png.rf.0123456789abcdef.jpg"), source_name("a/cell.tif")
    ('a/cell', 'a/cell')
    """
    folders, slash, base = name.rpartition("/")
    if (source := roboflow_source(base)) is not None:
        return folders + slash + source
    stem, dot, suffix = base.rpartition(".")
    return folders + slash + (stem if dot and stem and f".{suffix.lower()}" in IMAGE_EXTENSIONS else base)


def roboflow_source(name: str) -> str | None:
    """Return the stem of the image that Roboflow made a file of; None for other names.

    >>> roboflow_source("cell_png.rf.0123456789abcdef.jpg"), roboflow_source("cell.png")
    ('cell', None)
    """
    match = _ROBOFLOW.fullmatch(name) if ".rf." in name else None  # the search takes longer
    return match[1] if match else None


class Fit(NamedTuple):
    """Closeness of a file to a name; smaller is closer.

    Attributes:
        extension: 0 for the same extension, 1 for another one of the same format, 2 for another format.
        affix: 1 if one of the two has an affix.
        spelling: level of ``parts_of`` at which the names agree.
    """

    extension: int
    affix: int
    spelling: int


def closeness(name: str, file: str) -> Fit | None:
    r"""Find the transformations by which a name becomes that of a file; None if there are none.

    One side may have more folders than the other, but the folders must not contradict each other.

    Args:
        name: file name as written in a json.
        file: path of a file, relative to the image folder.

    >>> closeness(r"images\A%20b.png", "a b.png"), closeness("x.jpg", "x.png"), closeness("train/x.png", "val/x.png")
    (Fit(extension=0, affix=0, spelling=2), Fit(extension=2, affix=0, spelling=0), None)
    """
    pairs = [(0, name, file)]
    pairs += [(1, bare, file) for bare in without_affixes(name)]
    pairs += [(1, name, bare) for bare in without_affixes(file)]
    fits = []
    for affix, one, other in pairs:
        for level in range(LOOSEST + 1):
            rank = _compare(parts_of(one, level), parts_of(other, level))
            if rank is not None and rank + affix < 3:
                fits.append(Fit(rank, affix, level))
            if rank == 0 and not affix:
                return min(fits)  # whatever follows is farther
    return min(fits, default=None)


def _compare(name: Parts | None, file: Parts | None) -> int | None:
    """Compare at one level of spelling; return the difference of the extensions, None if the rest differs."""
    if name is None or file is None or name.stem != file.stem:
        return None
    longer, shorter = sorted((name.folders, file.folders), key=len, reverse=True)
    if shorter and longer[-len(shorter) :] != shorter:
        return None
    own, other = (_SAME_FORMAT.get(parts.extension, parts.extension) for parts in (name, file))
    if own == other:
        return 0 if name.extension == file.extension else 1
    # Deeper folders may hold masks or thumbnails in another format.
    return 2 if file.extension and len(file.folders) <= len(name.folders) else None
