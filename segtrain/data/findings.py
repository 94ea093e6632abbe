"""What can be wrong with a data set, how grave it is, and what is done about it: one table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy.typing as npt

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

# An error: something is there and cannot be used. A warning: it was mended, or nothing was lost with it. A note: worth
# knowing, nothing is done.
_EXAMPLES_KEPT = 3


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        severity: decides what ``data.check`` does.
        title: what is wrong, for a table.
        action: what is done about it, or can be.
    """

    severity: Severity
    title: str
    action: str


KINDS: dict[str, Kind] = {
    # The file and its lists.
    "file-unreadable": Kind("error", "the file cannot be read", "check the path and its permissions"),
    "not-json": Kind("error", "the file is not json", "export it again"),
    "wrong-root": Kind("error", "the json is no object of lists", "export it as COCO json"),
    "missing-list": Kind("error", "images, annotations or categories is missing", "export it as COCO json"),
    "empty-list": Kind("error", "images or categories is empty", "export it again"),
    "wrong-type": Kind("error", "an entry or field of the wrong type", "correct it; else the entry is left out"),
    # Ids and categories.
    "duplicate-image-id": Kind("error", "images with the same id", "correct it; else the later one gets a new id, and the annotations stay with the first"),
    "duplicate-category-id": Kind("error", "categories with the same id", "correct it; else the later one gets a new id, and the annotations stay with the first"),
    "unknown-image": Kind("error", "annotations of an image that is not listed", "add the image; else the annotation is left out"),
    "unknown-category": Kind("error", "annotations of a category that is not listed", "add the category; else the annotation is left out"),
    "duplicate-annotation-id": Kind("warning", "annotations with the same id", "numbered anew; COCO's tools lose all but the last"),
    "annotation-id-zero": Kind("warning", "annotation id 0", "numbered anew; COCO's evaluator counts it as a miss"),
    "id-not-integer": Kind("warning", "ids that are missing or no whole numbers", "replaced by whole numbers"),
    "category-unnamed": Kind("warning", "categories without a name", "named after their id"),
    "category-same-name": Kind("warning", "categories with the same name", "kept apart; rename one, or merge them"),
    "id-zero": Kind("note", "image or category id 0", "kept; --fix gives it another id"),
    "id-beyond-int32": Kind("note", "ids beyond 32 bits", "kept; some tools cannot read them"),
    "id-gaps": Kind("note", "category ids with gaps", "kept; labels are numbered 1 to K inside"),
    "category-unused": Kind("note", "categories without annotations", "kept; their scores are undefined"),
    # Segmentations.
    "segmentation-empty": Kind("warning", "annotations without a segmentation", "left out"),
    "mask-empty": Kind("warning", "masks without a pixel inside the image", "left out"),
    "segmentation-type": Kind("error", "segmentations that are neither polygons nor run lengths", "correct it; else the annotation is left out"),
    "mask-lost": Kind("error", "segmentations of which no polygon can be drawn", "correct it; else the annotation is left out"),
    "polygon-four-numbers": Kind("warning", "polygons of 4 numbers", "the polygon is left out; COCO's tools take it for a box, or fail"),
    "polygon-few-points": Kind("warning", "polygons of fewer than 3 points", "the polygon is left out"),
    "polygon-odd-count": Kind("warning", "polygons with an odd count of numbers", "the polygon is left out"),
    "polygon-not-finite": Kind("warning", "polygons with NaN, infinity, or what is no number", "the polygon is left out"),
    "polygon-huge": Kind("warning", "polygons with coordinates far outside any image", "the polygon is left out"),
    "polygon-outside": Kind("note", "polygons that reach outside the image", "cut at its border"),
    "polygon-self-intersecting": Kind("note", "polygons that cross themselves", "kept; drawn as COCO draws them"),
    "rle-sum": Kind("error", "run lengths that do not sum to the image's pixels", "export it again; else the annotation is left out"),
    "rle-corrupt": Kind("error", "run-length strings that are no code", "export it again; else the annotation is left out"),
    "rle-size": Kind("error", "run lengths of another size than the image", "correct size or image; else the annotation is left out"),
    # The rest of an annotation.
    "box-missing": Kind("warning", "annotations without a box", "taken from the mask"),
    "box-invalid": Kind("warning", "boxes of zero or negative size, or no boxes at all", "taken from the mask"),
    "box-outside": Kind("warning", "boxes that reach outside the image", "kept as given"),
    "box-contradicts-mask": Kind("warning", "boxes that lie elsewhere than their masks", "kept as given for evaluation; training takes the mask's"),
    "area-missing": Kind("warning", "annotations without an area", "taken from the mask"),
    "area-invalid": Kind("warning", "areas that are zero, negative or no number", "taken from the mask"),
    "area-far-off": Kind("warning", "areas more than twice or less than half the mask's pixels", "kept as given; decides small, medium and large"),
    "crowd-missing": Kind("warning", "annotations without iscrowd, or with another value than 0 and 1", "taken as 0"),
    "annotation-duplicate": Kind("note", "annotations that repeat another one (mask IoU above .98, same category)", "kept"),
    # Image files.
    "image-outside-folder": Kind("error", "file names that lead out of the image folder", "make them relative to it, without links; else the image is left out"),
    "image-missing": Kind("error", "image files that are not there", "correct the folder or the name; else the image is left out"),
    "image-unreadable": Kind("error", "image files that cannot be read", "replace the file; else the image is left out"),
    "image-truncated": Kind("error", "image files that break off", "replace the file; else the image is left out"),
    "image-too-large": Kind("error", "images of more pixels than data.max_image_pixels", "raise it if the file is honest; else the image is left out"),
    "image-size": Kind("error", "images of another size than the json states", "correct the json; else the image is left out"),
    "image-exif": Kind("note", "images with an EXIF orientation", "data.exif decides; auto takes the reading of the json's size"),
    "image-cmyk": Kind("note", "CMYK images", "read as RGB"),
    "image-grey": Kind("note", "grey images", "read as RGB of three equal channels"),
    "image-palette": Kind("note", "palette images", "read as RGB"),
    "image-alpha": Kind("note", "images with an alpha channel", "read as RGB, alpha discarded"),
    "image-deep": Kind("note", "images of more than 8 bits", "scaled to 8 bits by the full range"),
    "image-animated": Kind("note", "images of several frames", "the first frame is read"),
    "image-duplicate": Kind("note", "identical files under several ids", "kept"),
    # The set.
    "leak": Kind("note", "identical files in training and validation", "kept; remove one, or the numbers flatter"),
    "images-empty": Kind("note", "images without annotations", "kept as negatives"),
    "over-max-dets": Kind("note", "images with more objects than data.max_dets", "raise data.max_dets, or recall is cut"),
    "category-rare": Kind("note", "categories with few objects", "expect noisy numbers for them"),
    "object-too-small": Kind("note", "objects smaller than the network can see at its input size", "raise segmenter.scale or min_size"),
}  # fmt: skip


@dataclass
class Finding:
    """How often something was found, and where.

    Attributes:
        kind: a key of ``KINDS``.
        count: of occurrences.
        examples: the first few, one line each: file, annotation or image id, and what is wrong.
    """

    kind: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def severity(self) -> Severity:
        """Of its kind."""
        return KINDS[self.kind].severity


class Findings:
    """Findings by kind; iterates by severity, errors first, and by the table's order within."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count an occurrence.

        Args:
            kind: a key of ``KINDS``.
            example: one line that names the culprit; kept if it is among the first.
            count: occurrences that the example stands for.
        """
        assert kind in KINDS, kind
        finding = self._found.setdefault(kind, Finding(kind))
        finding.count += count
        if len(finding.examples) < _EXAMPLES_KEPT:
            finding.examples.append(example)

    def extend(self, kind: str, places: Sequence[Any] | npt.NDArray[Any], example: Callable[[Any], str]) -> None:
        """Count an occurrence at each place.

        Args:
            kind: a key of ``KINDS``.
            places: anything that ``example`` can tell apart.
            example: one line about a place; asked for the first few only.
        """
        for place in places[:_EXAMPLES_KEPT]:
            self.add(kind, example(place))
        if len(places) > _EXAMPLES_KEPT:
            self._found[kind].count += len(places) - _EXAMPLES_KEPT

    def merge(self, other: "Findings") -> None:
        """Take over what another collector holds."""
        for finding in other:
            own = self._found.setdefault(finding.kind, Finding(finding.kind))
            own.count += finding.count
            own.examples += finding.examples[: _EXAMPLES_KEPT - len(own.examples)]

    def of(self, severity: Severity) -> list[Finding]:
        """Those of one severity."""
        return [finding for finding in self if finding.severity == severity]

    def __iter__(self) -> Iterator[Finding]:
        order = {kind: (SEVERITIES.index(entry.severity), place) for place, (kind, entry) in enumerate(KINDS.items())}
        return iter(sorted(self._found.values(), key=lambda finding: order[finding.kind]))

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, kind: str) -> Finding:
        return self._found.get(kind, Finding(kind))
