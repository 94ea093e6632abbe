"""The entries of a COCO file's lists, decoded without taking anything for granted."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from segtrain.data.findings import Findings


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

    def read(self, raws: list[msgspec.Raw], first: int = 0) -> tuple[list[Entry], list[int]]:
        """Decode entries.

        Args:
            raws: of the list.
            first: place of the first of them in the list.

        Returns:
            The entries; and the places, counted from 0 here, of those that are no objects, for which blank ones stand.
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
    """The value of a piece of json; None if there is none, the text itself where no value can stand for it.

    Raises nothing: numbers beyond all ranges, half surrogates and bottomless nests stay text.
    """
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text.decode("utf-8", "replace")
