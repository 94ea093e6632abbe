"""Issues of a data set: the types with severity and remedy, and those found, counted with a few examples."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy.typing as npt

# An error: data that cannot be used; ``data.check=strict`` stops. A warning: data that were repaired, or left out
# without a loss. A note: worth knowing, and nothing is done.
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_ANNOTATION = "correct it; else the annotation is left out"
_IMAGE = "correct it; else the image is left out"
_RENUMBERED = "correct it; else a repetition is left out, another entry gets a new id, without annotations"
_POLYGON = "the polygon is left out"
_EXAMPLES_KEPT = 3


class IssueType(NamedTuple):
    """Type of an issue.

    Attributes:
        severity: severity, which decides what ``data.check`` does.
        title: problem, as shown in a table.
        action: remedy that was applied, or can be.
    """

    severity: Severity
    title: str
    action: str


ISSUE_TYPES: dict[str, IssueType] = {
    # The file and its lists.
    "file-unreadable": IssueType("error", "the file cannot be read", "check the path and its permissions"),
    "not-json": IssueType("error", "the file is not json", "export it again"),
    "wrong-root": IssueType("error", "the json is no object", "export it as COCO json"),
    "missing-list": IssueType("error", "images, annotations or categories missing", "export it as COCO json"),
    "empty-list": IssueType("error", "images or categories empty", "export it again"),
    "file-form": IssueType(
        "note", "file in another form than json with three lists", "read; --fix writes the usual form"
    ),
    "files-joined": IssueType("note", "several files joined to one", "read as one file"),
    "wrong-type": IssueType("error", "entry or field of the wrong type", "correct it; else the entry is left out"),
    "size-missing": IssueType("warning", "image without its size", "taken from the image file"),
    "size-turned": IssueType(
        "warning",
        "image whose width and height the json exchanges, while its annotations do not",
        "taken from the image file, upright by data.exif",
    ),
    "size-form": IssueType("warning", "image size as text or in a list", "read as the number that it is"),
    # Ids and categories.
    "duplicate-image-id": IssueType("error", "image id that occurs twice", _RENUMBERED),
    "duplicate-category-id": IssueType("error", "category id that occurs twice", _RENUMBERED),
    "unknown-image": IssueType(
        "error", "annotation of an image that is not listed", "add that image; else it is left out"
    ),
    "unknown-category": IssueType(
        "error", "annotation of an unlisted category", "add that category; else it is left out"
    ),
    "duplicate-annotation-id": IssueType("warning", "annotation id that occurs twice", "numbered anew"),
    "annotation-id-zero": IssueType("warning", "annotation id 0, which COCO counts as a miss", "numbered anew"),
    "id-not-integer": IssueType(
        "warning", "id that is missing, negative or no whole number", "replaced by a whole number"
    ),
    "category-unnamed": IssueType("warning", "category without a name", "named after its id"),
    "category-same-name": IssueType("warning", "category with the name of another", "kept apart; rename or merge them"),
    "category-alike": IssueType(
        "warning", "category names that differ only in case or spaces", "kept apart; rename or merge them"
    ),
    "category-not-learned": IssueType(
        "error",
        "category of validation that training lacks",
        "name it in the categories of training, or rename it or take it out in validation",
    ),
    "category-not-validated": IssueType(
        "note", "category of training that validation lacks", "its scores are undefined, the others' are not affected"
    ),
    "category-left-out": IssueType(
        "note", "category of validation that training lacks, without annotations", "left out"
    ),
    "category-other-id": IssueType("note", "category with another id in validation", "matched by name"),
    "id-zero": IssueType("note", "image or category id 0", "kept; --fix gives it another id"),
    "id-beyond-int32": IssueType("note", "id beyond 32 bits", "kept; some tools cannot read it"),
    "id-gaps": IssueType("note", "category ids with gaps", "kept; labels are 1 to K inside"),
    "category-root": IssueType(
        "warning", "parent of all other categories, without objects", "left out; Roboflow adds it"
    ),
    "category-unused": IssueType("note", "category without objects", "kept; its scores are undefined"),
    # Masks against their witnesses: boxes, areas, and the size of the image.
    "frame": IssueType(
        "error",
        "masks in another frame than their boxes or images",
        "data.frame=auto (or --fix) corrects them; where the boxes are wrong instead, data.witnesses=masks replaces "
        "them; else kept as stored",
    ),
    "frame-unknown": IssueType(
        "error",
        "masks that contradict their boxes in no known way",
        "export the file again, or set data.witnesses=masks if the masks are right, to take boxes and areas from them; "
        "else kept as stored",
    ),
    "frame-outside": IssueType(
        "error",
        "annotations outside of their images",
        "set data.frame=[H, W] if they belong to images of that size, or export the file again; else kept as stored",
    ),
    "masks-in-corner": IssueType(
        "warning",
        "masks in the upper left corners of their images only",
        "kept; set data.frame=[H, W] if they belong to smaller images of that size",
    ),
    "frame-corrected": IssueType("warning", "masks moved into the frame of their images", "as data.frame demands"),
    "boxes-wrong": IssueType(
        "warning",
        "boxes that contradict masks, which are right",
        "kept, so that box AP is wrong; data.witnesses=masks takes boxes and areas from the masks",
    ),
    "witnesses-replaced": IssueType("note", "boxes and areas taken from masks", "as data.witnesses demands"),
    "areas-wrong": IssueType(
        "warning",
        "areas that are a multiple of the masks'",
        "kept, and decide what is small, medium and large; data.witnesses=masks takes areas and boxes from the masks",
    ),
    "areas-of-boxes": IssueType(
        "note",
        "areas that are width times height of the box",
        "kept, though COCO's are those of masks and decide what is small; data.witnesses=masks",
    ),
    # Segmentations.
    "segmentation-type": IssueType("error", "segmentation that is neither polygons nor run lengths", _ANNOTATION),
    "mask-lost": IssueType("error", "segmentation of which no polygon can be drawn", _ANNOTATION),
    "rle-sum": IssueType("error", "run lengths that do not sum to H x W", _ANNOTATION),
    "rle-corrupt": IssueType("error", "run-length string that is no code", _ANNOTATION),
    "rle-size": IssueType("error", "run lengths of another size than the image", _ANNOTATION),
    "segmentation-form": IssueType(
        "warning",
        "segmentation in another form than COCO's",
        "read, as its meaning is clear; --fix rewrites it",
    ),
    "box-without-mask": IssueType(
        "error",
        "object drawn as a box, without a mask",
        "set data.boxes_without_masks=ignore to neither learn nor count what is there, or =box to take the box as the "
        "mask (=error stops here); else the annotation is left out",
    ),
    "box-ignored": IssueType(
        "note", "object drawn as a box, ignored", "neither learned nor counted (data.boxes_without_masks=ignore)"
    ),
    "box-as-mask": IssueType(
        "note", "object drawn as a box, which is its mask", "the box is drawn (data.boxes_without_masks=box)"
    ),
    "mask-is-box": IssueType(
        "note",
        "mask that is a rectangle, its own box",
        "kept; if objects were drawn as boxes, their outlines are not known",
    ),
    "segmentation-empty": IssueType("warning", "empty segmentation", "the annotation is left out"),
    "mask-empty": IssueType("warning", "mask without a pixel in the image", "the annotation is left out"),
    "object-without-pixel": IssueType(
        "error", "mask without a pixel in the image, of an object that has a box there", _ANNOTATION
    ),
    "polygon-four-numbers": IssueType("warning", "polygon of 4 numbers, which COCO's tools take for a box", _POLYGON),
    "polygon-few-points": IssueType("warning", "polygon of fewer than 3 points", _POLYGON),
    "polygon-odd-count": IssueType("warning", "polygon with an odd count of numbers", _POLYGON),
    "polygon-not-finite": IssueType("warning", "polygon with NaN, infinity, or what is no number", _POLYGON),
    "polygon-huge": IssueType("warning", "polygon with coordinates far outside any image", _POLYGON),
    "polygon-outside": IssueType("note", "polygon that reaches outside the image", "cut at its border"),
    "polygon-self-intersecting": IssueType(
        "note", "polygon that crosses or touches itself", "kept; drawn as COCO draws it"
    ),
    # The rest of an annotation.
    "box-missing": IssueType("warning", "annotation without a box", "taken from the mask"),
    "box-invalid": IssueType("warning", "box without size, outside the image, or no box at all", "taken from the mask"),
    "box-outside": IssueType("warning", "box that reaches outside the image", "kept as given"),
    "box-contradicts-mask": IssueType(
        "warning", "box that lies elsewhere than its mask", "kept; training takes the mask's"
    ),
    "box-form": IssueType("warning", "box in another form than [x, y, width, height]", "read, as its meaning is clear"),
    "area-form": IssueType("warning", "area as text or in a list", "read as the number that it is"),
    "area-missing": IssueType("warning", "annotation without an area", "taken from the mask"),
    "area-invalid": IssueType("warning", "area that is zero, negative or no number", "taken from the mask"),
    "area-far-off": IssueType("warning", "area more than 2x away from the mask's pixels", "kept as given"),
    "crowd-missing": IssueType(
        "warning", "iscrowd missing, or neither 0 nor 1", "taken as 1 if another number, else 0"
    ),
    "crowd-only": IssueType(
        "error",
        "no object, only regions to ignore",
        "nothing can be learned or measured with it",
    ),
    "crowd-by-tool": IssueType(
        "warning",
        "crowd flags that look like a drawing tool's",
        "ignored as crowd regions; CVAT flags brush masks so: if they are objects, set data.crowd=objects",
    ),
    "rings-as-holes": IssueType(
        "warning",
        "area that contradicts the union of polygons: one inside another seems to be a hole",
        "filled, as COCO defines; data.rings=even_odd takes polygons inside others as holes",
    ),
    "rings-not-holes": IssueType(
        "warning",
        "area that takes no polygon for a hole",
        "cut out, as data.rings=even_odd demands; data.rings=union fills them",
    ),
    "annotation-repeated": IssueType(
        "warning", "annotation that two entries of an image share", "the later is left out"
    ),
    "annotation-duplicate": IssueType("note", "annotation that repeats another (mask IoU > .98)", "kept"),
    # Image files.
    "image-outside-folder": IssueType("error", "file name that leads out of the image folder", _IMAGE),
    "image-missing": IssueType("error", "image file that is not there", _IMAGE),
    "image-ambiguous": IssueType(
        "error",
        "image file that is not there, while several fit its name",
        "write its name; else the image is left out",
    ),
    "image-renamed": IssueType(
        "warning", "image file of another name than the json states", "the one file that fits is read; --fix names it"
    ),
    "image-url-only": IssueType(
        "note", "image without a file name, but with an address", "the name is taken from coco_url"
    ),
    "image-backslash": IssueType("note", "file name with \\ between folders", "read as /; --fix writes it"),
    "same-file-merged": IssueType(
        "warning", "image that is listed under several ids", "made one image with the annotations of all"
    ),
    "same-file-contradictory": IssueType(
        "error",
        "image under several ids whose annotations contradict each other",
        "keep one of them; else the later entry is left out",
    ),
    "image-unreadable": IssueType("error", "image file that cannot be read", "replace it; else the image is left out"),
    "image-foreign": IssueType(
        "error", "file that is something else than an image", "get or convert the image; else the image is left out"
    ),
    "image-not-transferred": IssueType(
        "error", "remote image file that cannot be transferred", "try again; else the image is left out"
    ),
    "image-truncated": IssueType("error", "image file that breaks off", "replace it; else the image is left out"),
    "image-too-large": IssueType(
        "error",
        "more pixels than data.max_image_pixels",
        "save it as a TIFF in tiles, which is read by windows, or raise the limit; else the image is left out",
    ),
    "image-too-large-to-train": IssueType(
        "error",
        "training image of more pixels than data.max_image_pixels",
        "cut it into smaller images with their annotations, or raise the limit; else the image is left out",
    ),
    "image-size": IssueType("error", "image of another size than the json states", _IMAGE),
    "image-intensity": IssueType(
        "error", "samples of a type without a range", "give data.intensity a range of it; else the image is left out"
    ),
    "image-constant-in-most": IssueType(
        "error", "image that reads as nearly constant, as most do", "give data.intensity the range that they use"
    ),
    "image-constant": IssueType("note", "image that reads as nearly constant", "kept; see data.intensity"),
    "image-few-levels": IssueType(
        "note", "image that keeps fewer than 32 grey levels", "data.intensity can give a narrower range"
    ),
    "image-blank-pixels": IssueType("note", "image with pixels that hold no data", "these pixels are read as black"),
    "image-exif": IssueType(
        "note", "image with an EXIF orientation", "data.exif=auto reads it in the orientation of the json's size"
    ),
    "image-in-windows": IssueType(
        "note",
        "image of more pixels than data.max_image_pixels",
        "read by windows in evaluation and validation; training needs it cut into smaller images",
    ),
    "image-cmyk": IssueType("note", "CMYK image", "read as RGB"),
    "image-grey": IssueType("note", "grey image", "read as RGB of three equal channels"),
    "image-palette": IssueType("note", "palette image", "read as RGB"),
    "image-alpha": IssueType("note", "image with an alpha channel", "read as RGB, alpha discarded"),
    "image-transparent": IssueType(
        "warning",
        "image of which most is transparent",
        "the colours of its transparent pixels are read; flatten it if they are wrong",
    ),
    "image-deep": IssueType("note", "image of more than 8 bits", "scaled to 8 bits from the range of data.intensity"),
    "image-pages": IssueType(
        "error",
        "image file of several pages or frames that differ",
        "set data.pages=first, max or mean; else the image is left out",
    ),
    "image-channels": IssueType(
        "error", "image file whose channels have no known meaning", "set data.channels; else the image is left out"
    ),
    "image-pages-joined": IssueType("note", "image file of several pages", "equal, or made one as data.pages says"),
    "image-other-sizes": IssueType("note", "image file with thumbnails or a pyramid", "the image itself is read"),
    "image-channels-chosen": IssueType("note", "image of other channels than RGB", "read as data.channels says"),
    "image-duplicate": IssueType("note", "identical files under several ids", "kept"),
    "image-one-source": IssueType(
        "note", "images of one source (.rf.HASH, or another extension)", "kept, on one side of a drawn split"
    ),
    # The set.
    "leak": IssueType(
        "note", "identical file in training and validation", "kept; remove one, or validation scores are too high"
    ),
    "leak-of-source": IssueType(
        "note",
        "images of one source (.rf.HASH) in training and validation",
        "kept; move one, or validation scores are too high",
    ),
    "images-empty": IssueType("note", "image without annotations", "kept as a negative"),
    "over-max-dets": IssueType(
        "warning",
        "image with more objects than max_dets",
        "raise data.max_dets, which limits recall; where images are cut into windows, it limits each of them",
    ),
    "no-objects": IssueType(
        "warning", "no usable object in the whole file", "nothing can be learned or measured with it"
    ),
    "category-rare": IssueType("note", "category in at most 10 images", "its scores are uncertain"),
    "object-too-small": IssueType("note", "object too small for the network", "raise segmenter.scale or min_size"),
}
FRAME_ERRORS = ("frame", "frame-unknown", "frame-outside")  # they concern a file as a whole


@dataclass
class Issue:
    """Issue found in a data set: its count and examples.

    Attributes:
        kind: type of the issue, a key of ``ISSUE_TYPES``.
        count: number of occurrences.
        examples: one line for each of the first few: file, annotation or image id, and the problem.
    """

    kind: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def severity(self) -> Severity:
        """Severity of its kind."""
        return ISSUE_TYPES[self.kind].severity

    @property
    def line(self) -> str:
        """One line: title, count, first example, and remedy."""
        return self.told(ISSUE_TYPES[self.kind].action)

    @property
    def done(self) -> str:
        """The same line with the remedy that was applied, if the data were left out or repaired."""
        action = ISSUE_TYPES[self.kind].action
        return self.told(action.partition("; else ")[2] or action)

    def told(self, action: str) -> str:
        """Format title, count, first example, and an action."""
        title = ISSUE_TYPES[self.kind].title
        return f"{title}: {self.count}, {'first ' if self.count > 1 else ''}{self.examples[0]}; {action}"


class Issues:
    """Issues by kind; iteration is by severity, errors first, then in the order of the table."""

    def __init__(self) -> None:
        self._found: dict[str, Issue] = {}

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count an occurrence.

        Args:
            kind: type of the issue, a key of ``ISSUE_TYPES``.
            example: one line that names the file, the annotation or the image; kept if it is among the first.
            count: occurrences that the example stands for.
        """
        assert kind in ISSUE_TYPES, kind
        issue = self._found.setdefault(kind, Issue(kind))
        issue.count += count
        if len(issue.examples) < _EXAMPLES_KEPT:
            issue.examples.append(example)

    def extend(self, kind: str, places: Sequence[Any] | npt.NDArray[Any], example: Callable[[Any], str]) -> None:
        """Count an occurrence at each place.

        Args:
            kind: type of the issue, a key of ``ISSUE_TYPES``.
            places: places of the occurrences, as ``example`` takes them.
            example: returns one line about a place; called for the first few only.
        """
        for place in places[:_EXAMPLES_KEPT]:
            self.add(kind, example(place))
        if len(places) > _EXAMPLES_KEPT:
            self._found[kind].count += len(places) - _EXAMPLES_KEPT

    def merge(self, other: Iterable[Issue]) -> None:
        """Add the issues of another collector."""
        for issue in other:
            own = self._found.setdefault(issue.kind, Issue(issue.kind))
            own.count += issue.count
            own.examples += issue.examples[: _EXAMPLES_KEPT - len(own.examples)]

    def of(self, severity: Severity) -> list[Issue]:
        """Select the issues of one severity."""
        return [issue for issue in self if issue.severity == severity]

    def lines(self, severities: Collection[Severity]) -> list[str]:
        """Format the issues of these severities: a line each with title, count, first example, and applied remedy."""
        return [issue.line for issue in self if issue.severity in severities]

    def __iter__(self) -> Iterator[Issue]:
        order = {
            kind: (SEVERITIES.index(entry.severity), place) for place, (kind, entry) in enumerate(ISSUE_TYPES.items())
        }
        return iter(sorted(self._found.values(), key=lambda issue: order[issue.kind]))

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, kind: str) -> Issue:
        return self._found.get(kind, Issue(kind))
