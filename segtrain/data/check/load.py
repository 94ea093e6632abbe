"""Loading of an index with the checks of ``data.check``."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from segtrain.arrays import BoolArray
from segtrain.data.check.annotation_checks import FINDS_CROSSINGS, AnnotationChecks
from segtrain.data.check.cache import cached, fingerprint
from segtrain.data.check.crowd_checks import check_crowds
from segtrain.data.check.locate import AbsentImages, locate_images, size_reader
from segtrain.data.check.merging import merge_repeated_images
from segtrain.data.check.turned_sizes import with_turned_sizes
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import ISSUE_TYPES, Issue, Issues
from segtrain.data.coco.reader import read_index
from segtrain.data.coco.rules import COCO_RULES, AnnotationRules
from segtrain.data.frames.correct import correct, frames_of_size, from_masks
from segtrain.data.frames.judge import Frame, judge
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.storage.image_store import ImageFolder
from segtrain.errors import SegtrainError

logger = logging.getLogger(__name__)
CheckMode = Literal["strict", "warn", "off"]
_STATES = ("usable", "repaired", "plain")  # fields that depend on a row's mask
_NAMED = 3  # kinds of errors in one line
_MANY = 100_000  # annotations that take seconds to look at


class _CheckedAnnotations(msgspec.Struct):
    """Cached checks of a file's annotations: one bit for each row of the table, in its order."""

    usable: bytes
    repaired: bytes
    plain: bytes
    far_outside: bytes
    issues: list[Issue]
    frames: list[Frame]


def load_index(
    path: Path,
    check: CheckMode = "strict",
    rules: AnnotationRules = COCO_RULES,
    images: ImageReader | None = None,
) -> CocoIndex:
    """Read a COCO json file and check its annotations.

    Annotations are repaired where possible, and left out where they cannot be used; both are counted.

    Args:
        path: path of the file.
        check: "strict" if unusable annotations are an error, "warn" if they are left out, "off" if masks are not
            checked.
        rules: rules of reading annotations.
        images: reader of the images, for sizes that the json does not state; None without an image folder.

    Raises:
        SegtrainError: the file cannot be used at all; or an annotation cannot, and the check is strict.
    """
    size_of = None if images is None else size_reader(images)
    index = read_index(path, rules, size_of)
    asked = [*fingerprint(path), FINDS_CROSSINGS]
    if index.issues["size-missing"].count:  # masks depend on the image files then
        asked.append(_sizes(index))
    known = None
    if check != "off" and size_of is not None:
        known = _as_stored(index, asked)
        turned = with_turned_sizes(index, _marks(known.far_outside, index), size_of)
        if turned is not None:
            index, known = turned, None
            asked.append(_sizes(index))
    if rules.frame != "stored":
        if check == "off":
            raise SegtrainError("data.check=off looks at no mask, and data.frame needs it; set data.check=warn")
        index = _with_frames(index, asked)
    if rules.witnesses == "masks":
        index = from_masks(index)
    if check != "off":
        if known is None or (rules.frame, rules.witnesses) != ("stored", "stored"):
            known = cached([*asked, rules], _CheckedAnnotations, lambda: _check_annotations(index))
        rows = index.annotations.rows.copy()
        for name in _STATES:
            rows[name] = _marks(getattr(known, name), index)
        issues = Issues()
        index = replace(index, annotations=index.annotations.with_rows(rows))
        for part in (index.issues, known.issues, check_crowds(index)):
            issues.merge(part)
        index = replace(index, issues=issues)
    if check == "strict":
        refuse_errors(index.issues, str(path))
    return index


def _as_stored(index: CocoIndex, asked: Sequence[object]) -> _CheckedAnnotations:
    """Check annotations in the frame of the file, with the boxes and areas of the file."""
    stored = index.rules._replace(frame="stored", witnesses="stored")
    return cached([*asked, stored], _CheckedAnnotations, lambda: _check_annotations(index))


def _sizes(index: CocoIndex) -> list[list[int]]:
    return [index.images.rows[side].tolist() for side in ("height", "width")]


def _marks(packed: bytes, index: CocoIndex) -> BoolArray:
    """Unpack a bit for each row of the table."""
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=len(index.annotations.rows))
    return bits.astype(np.bool_)


def _with_frames(index: CocoIndex, asked: Sequence[object]) -> CocoIndex:
    """Move masks into the frame of their images, as ``data.frame`` demands; each correction becomes an issue."""
    frame = index.rules.frame
    frames = _as_stored(index, asked).frames if isinstance(frame, str) else frames_of_size(index, frame)
    issues = Issues()
    issues.merge(index.issues)
    for found in frames:
        index, moved = correct(index, found)
        if count := int(moved.sum()):
            issues.add("frame-corrected", f"{index.path.name}: {count:,} {found.kind} are {found.words}", count)
    return replace(index, issues=issues)


def with_image_files(index: CocoIndex, folder: ImageFolder | None) -> tuple[CocoIndex, AbsentImages]:
    """Find the files of an index's images, and make one image of entries that name the same file.

    Args:
        index: index of a json.
        folder: image folder or store of images; None without one, where names are used as they are written.

    Returns:
        The index with the names of the files, and the images whose file was not found.

    Raises:
        SegtrainError: masks were not checked, and one of an image under several ids cannot be drawn.
    """
    index, absent = (index, AbsentImages()) if folder is None else locate_images(index, folder)
    return merge_repeated_images(index), absent


def refuse_errors(issues: Issues, culprit: str, lenient: str | None = None) -> None:
    """Raise an error if any of the issues is an error.

    Args:
        issues: issues of a data set.
        culprit: file or folder that the issues concern.
        lenient: setting that leaves unusable parts out, for the message; None for ``data.check=warn``.

    Raises:
        SegtrainError: there are errors; the message names the first example of the first few types.
    """
    if errors := issues.of("error"):
        named = "; ".join(_describe(issue) for issue in errors[:_NAMED])
        more = f"; and {len(errors) - _NAMED} kinds of errors more" if len(errors) > _NAMED else ""
        files = any(issue.kind.startswith("image-") for issue in errors)
        lenient = lenient or ("data.check=warn or data.on_bad_image=skip" if files else "data.check=warn")
        raise SegtrainError(
            f"{culprit}: {named}{more}. {lenient} goes on without what cannot be used; "
            "python -m segtrain.data.check ANNOTATIONS IMAGES lists all of it"
        )


def _describe(issue: Issue) -> str:
    of = f" (1 of {issue.count}: {ISSUE_TYPES[issue.kind].title})" if issue.count > 1 else ""
    return f"{issue.examples[0]}{of}; {ISSUE_TYPES[issue.kind].action.partition(';')[0]}"


def _check_annotations(index: CocoIndex) -> _CheckedAnnotations:
    if len(index.annotations.rows) > _MANY:
        logger.info("%s: looking at every mask; the result is kept, so this happens once", index.path)
    verification = AnnotationChecks(index.images, index.annotations, index.rules)
    states = {name: np.packbits(verification.rows[name]).tobytes() for name in _STATES}
    states["far_outside"] = np.packbits(verification.far_outside).tobytes()
    issues, frames = verification.issues, []
    for verdict in judge(index.images, index.annotations, verification.suspects):
        issues.add(verdict.issue, f"{index.path.name}: {verdict.text}")
        frames += [] if verdict.frame is None else [verdict.frame]
    return _CheckedAnnotations(**states, issues=list(issues), frames=frames)
