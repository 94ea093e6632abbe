"""Files of tensors by name, read without running any code of them, and only if they are whole."""

import re
import textwrap
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from segtrain.errors import SegtrainError
from segtrain.io import printable

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # torch prints in bold
_CHECKPOINTS = ("best.pt", "last.pt")  # of a run; where one is damaged, the other may not be


def read_state(path: Path, *, finite: bool = True) -> dict[str, object]:
    """Read a dictionary that ``torch.save`` wrote, without running any code of it.

    The checksums of the file are compared first, since PyTorch reads over changed bytes.

    Args:
        path: path of the file.
        finite: False to allow tensors that are not finite.

    Raises:
        SegtrainError: there is no such file, or it is damaged, or not a dictionary of finite tensors and plain values.
            The message names the run's other checkpoint if that one is whole.
    """
    try:
        return _read_whole(path, finite=finite)
    except FileNotFoundError:
        raise SegtrainError(f"{path}: no such file; give the path of a checkpoint or weights file") from None
    except SegtrainError as error:
        raise SegtrainError(f"{error}{_usable_beside(path)}") from None


def _read_whole(path: Path, *, finite: bool = True) -> dict[str, object]:
    """Read a file; `FileNotFoundError` if there is none."""
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats: nothing that a user can change
            if zipfile.is_zipfile(stream):  # files of before PyTorch 1.6 are none, and have no checksums
                _check_archive(stream, path)
            stream.seek(0)
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except (FileNotFoundError, SegtrainError):
        raise
    except Exception as error:  # a damaged pickle fails in whatever way it stumbles
        raise SegtrainError(
            f"{path}: not a checkpoint or weights file that can be read ({summarise_error(error)}); give another file, "
            "or write it anew with torch.save(model.state_dict(), PATH)"
        ) from None
    if not isinstance(content, Mapping):
        raise SegtrainError(f"{path}: holds a {type(content).__name__}, not weights by name; save a state_dict")
    for name, tensor in _tensors(content):
        _check_tensor(path, name, tensor)
        if finite:
            _check_finite(path, name, tensor)
    return dict(content)


def _check_archive(stream: IO[bytes], path: Path) -> None:
    """Refuse an archive whose content is not what was written, or more than the file can hold.

    Raises:
        SegtrainError: an entry is compressed, or differs from its checksum.
        BadZipFile: the directory of the archive is damaged.
    """
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        # PyTorch compresses nothing, and entries that share their bytes would be another way to inflate.
        size = sum(entry.file_size for entry in entries)
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or size > stream.seek(0, 2):
            raise SegtrainError(
                f"{path}: would inflate to {size / 2**20:,.0f} MB, and torch.save compresses nothing; do not use it"
            )
        damaged = archive.testzip()
    if damaged is not None:
        raise SegtrainError(f"{path}: damaged, {printable(damaged)} in it does not match its checksum; use another")


def _check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse a tensor that is larger than its content."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise SegtrainError(f"{path}: {name} is no plain tensor; save a state_dict of dense tensors")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise SegtrainError(f"{path}: {name} would inflate to {tensor.numel():,} numbers; do not use this file")


def _check_finite(path: Path, name: str, tensor: Tensor) -> None:
    if (tensor.is_floating_point() or tensor.is_complex()) and not bool(tensor.isfinite().all()):
        wrong = int((~tensor.isfinite()).sum())
        raise SegtrainError(f"{path}: {wrong:,} of {tensor.numel():,} numbers of {name} are not finite; use another")


def _tensors(content: object) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested containers with their dotted names, each container once."""
    waiting: list[tuple[str, object]] = [("", content)]
    seen: set[int] = set()
    while waiting:
        name, part = waiting.pop()
        if isinstance(part, Tensor):
            yield printable(name), part
        elif isinstance(part, Mapping | list | tuple | set) and id(part) not in seen:
            seen.add(id(part))
            items = part.items() if isinstance(part, Mapping) else enumerate(part)
            waiting += [(f"{name}.{key}" if name else str(key), value) for key, value in items]


def _usable_beside(path: Path) -> str:
    """Say whether the other checkpoint of a run is whole."""
    if path.name not in _CHECKPOINTS:
        return ""
    other = path.with_name(next(name for name in _CHECKPOINTS if name != path.name))
    try:
        _read_whole(other)
    except (OSError, SegtrainError):
        return ""
    return f"; {other} is whole"


def summarise_error(error: Exception) -> str:
    """Return the first sentence of an error, or its type; of code in a pickle, the name that it would have called."""
    text = _ESCAPES.sub("", str(error))
    if foreign := re.search(r"GLOBAL (\S+)", text):
        return f"it holds more than tensors and plain values: {foreign[1]}"
    sentence = re.split(r"\.\s|\n", text.strip(), maxsplit=1)[0] if not isinstance(error, KeyError) else ""
    return textwrap.shorten(sentence, 100, placeholder=" ...") or type(error).__name__
