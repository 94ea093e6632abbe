"""Records that readers of labels give, and the list of what they left out or mended."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segtrain.errors import SegtrainError
from segtrain.io import printable
from segtrain.masks import Rle

NO_CLASS = "object"  # name of objects that have none
Deed = Literal["left out", "mended", "note"]
_EXAMPLES = 3


@dataclass(frozen=True)
class LabelledObject:
    """An object of an image, as a tool labelled it.

    Polygons and mask together are the object; one without either has a box at best.

    Attributes:
        category: name of its class.
        origin: place in the source, for messages, such as "a.json, shape 3".
        polygons: outlines [x1, y1, x2, y2, ...] in pixels, united.
        mask: run-length mask of the image's size; None if the polygons say it all.
        box: x, y, width and height in pixels, where the source has a box alone.
        group: objects of one category and group in an image are one object; None for no group.
        iscrowd: True for a region to ignore.
        attributes: further values, written as they are.
    """

    category: str
    origin: str
    polygons: Sequence[list[float]] = ()
    mask: Rle | None = None
    box: Sequence[float] | None = None
    group: Hashable = None
    iscrowd: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HeldFile:
    """An image file that labels hold, or that is made of a part of another file.

    Attributes:
        path: path that it would have where the labels are.
        read: returns its content.
    """

    path: Path
    read: Callable[[], bytes]


@dataclass(frozen=True)
class LabelledImage:
    """An image with its objects.

    Attributes:
        path: image file.
        size: (H, W) in pixels, upright.
        objects: its objects; none for an image without any.
        labels: label file that they are from.
        by_name: True if the image was found by its name alone, elsewhere than the labels say.
        split: part of the data that the source puts it in, such as "train"; None if it says nothing.
        held: image file that the labels hold, for where `path` turns out to be another image; None for none.
    """

    path: Path
    size: tuple[int, int]
    objects: Sequence[LabelledObject]
    labels: Path
    by_name: bool = False
    split: str | None = None
    held: HeldFile | None = None


class Tally:
    """Counts of the cases that were left out, mended or noted, by reason, with the first examples of each."""

    def __init__(self) -> None:
        self._found: dict[tuple[Deed, str], tuple[int, list[str]]] = {}

    def add(self, deed: Deed, reason: str, example: str) -> None:
        """Count one case.

        Args:
            deed: what was done.
            reason: why, the same for all cases that are counted together.
            example: where.
        """
        count, examples = self._found.get((deed, reason), (0, []))
        if len(examples) < _EXAMPLES and example not in examples:
            examples.append(example)
        self._found[deed, reason] = count + 1, examples

    def lines(self) -> list[str]:
        """Describe each reason in a line: what is left out first, then what is mended, then notes."""
        order: Sequence[Deed] = ("left out", "mended", "note")
        return [
            f"{deed:<8} {count:>6,}  {reason}: {'; '.join(map(printable, examples))}"
            for kind in order
            for (deed, reason), (count, examples) in self._found.items()
            if deed == kind
        ]


@dataclass(frozen=True)
class Labels:
    """All that a source holds.

    Attributes:
        images: its images, in any order.
        categories: names of the classes in the source's own order; None to sort those that objects have.
        unused: further names that the format knows, of which no object is.
    """

    images: Sequence[LabelledImage]
    categories: Sequence[str] | None = None
    unused: Sequence[str] = ()


@dataclass(frozen=True)
class Request:
    """Source to read, with the user's options for it.

    Attributes:
        source: file or folder of labels.
        images: folder of the images; None to look for them where the source is.
        classes: names of classes that the user gave; None without any.
        tally: receives what is left out, mended or noted.
        stated: True if the user named the format, False if it was recognised.
        shown: wraps the items of a long loop, to show how far it is.
    """

    source: Path
    images: Path | None
    classes: Sequence[str] | None
    tally: Tally
    stated: bool = True
    shown: Callable[[str, Sequence[Any]], Any] = lambda name, items: items

    @property
    def only_class(self) -> str:
        """Name of the class of all objects, for sources that name none.

        Raises:
            SegtrainError: the user gave several names.
        """
        if self.classes and len(self.classes) > 1:
            raise SegtrainError(
                f"--classes {','.join(self.classes)}: {self.source} names no classes; give one name for all objects"
            )
        return self.classes[0] if self.classes else NO_CLASS

    @property
    def folder(self) -> Path:
        """Folder of the source."""
        return self.source if self.source.is_dir() else self.source.parent


Reader = Callable[[Request], Labels]
# Receives images by the part of the data, names of all classes, the folder that is written, and the tally; checks that
# the files can be named, and returns the function that writes them.
Writer = Callable[[Mapping[str, Sequence[LabelledImage]], Sequence[str], Path, Tally], Callable[[], None]]
