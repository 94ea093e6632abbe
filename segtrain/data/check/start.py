"""What a script's start makes of the findings about its splits: ``data.check``."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from segtrain.data.check.checked import CheckMode, refuse_errors
from segtrain.data.check.identical_files import find_leaks
from segtrain.data.check.images import check_headers
from segtrain.data.check.sets import check_set
from segtrain.data.check.verdicts import remembered, signature, signatures
from segtrain.data.finding_kinds import KINDS
from segtrain.data.findings import Finding, Findings
from segtrain.data.images.reader import ImageReader
from segtrain.data.index.image_table import ImageInfo
from segtrain.data.splits.opening import Split, SplitName
from segtrain.errors import SegtrainError

logger = logging.getLogger(__name__)


class _Verdict(msgspec.Struct):
    """What the headers of a split's images say."""

    findings: list[Finding]
    unusable: dict[int, str]


class _Leaks(msgspec.Struct):
    """Images that are in both splits."""

    findings: list[Finding]


def check_split(split: Split, check: CheckMode, max_dets: int, *, skip: bool) -> Split:
    """Look at the headers of a split's images, and at the split as a whole.

    Args:
        split: whose annotations are checked already.
        check: "strict": an image that cannot be used is an error; "warn": it is left out; "off": nobody looks.
        max_dets: detections per image that the model returns and AP uses.
        skip: whether who loads the images passes over those that cannot be read, and counts them.

    Returns:
        The split, with more findings, and perhaps without some images.

    Raises:
        SegtrainError: an image cannot be used, and the check is strict; or none can.
    """
    if check == "off":
        return split
    findings, index = Findings(), split.index
    parts: list[Findings | list[Finding]] = [index.findings, check_set(index, max_dets)]
    unusable: dict[int, str] = {}
    if split.images is not None:
        verdict = _header_verdict(split.images, list(index.images))
        unusable = verdict.unusable
        parts.append(verdict.findings)
    for part in parts:
        findings.merge(part)
    if check == "strict" and not skip:
        refuse_errors(findings, str(index.path))
    if check == "warn" and unusable:
        return _without(replace(split, index=replace(index, findings=findings)), unusable)
    return replace(split, index=replace(index, findings=findings))


def check_leaks(splits: Mapping[SplitName, Split]) -> Findings:
    """Images that are in both of two splits, by content."""
    findings = Findings()
    files = {name: _files(split) for name, split in splits.items()}
    if len(files) == 2 and all(files.values()):
        paths = [[str(path.absolute()) for path in own.values()] for own in files.values()]
        found = [[signature(Path(path))[1:] for path in own] for own in paths]
        verdict = remembered([paths, found], _Leaks, lambda: _Leaks(list(find_leaks(files["train"], files["val"]))))
        findings.merge(verdict.findings)
    return findings


def tell(name: str, findings: Findings) -> None:
    """Log what was found: a line for each error and warning, and one for all notes."""
    for finding in (*findings.of("error"), *findings.of("warning")):
        logger.warning("%s: %s", name, finding.done)
    if notes := findings.of("note"):
        counted = ", ".join(f"{KINDS[finding.kind].title} ({finding.count})" for finding in notes)
        logger.info("%s, notes: %s", name, counted)


def _header_verdict(reader: ImageReader, images: list[ImageInfo]) -> _Verdict:
    def look() -> _Verdict:
        report = check_headers(images, reader)
        return _Verdict(list(report.findings), report.unusable)

    stated = [(image.id, image.file_name, image.height, image.width) for image in images]
    found = signatures(reader.folder, (image.file_name for image in images))
    folder = str(reader.folder.absolute())
    return remembered([folder, reader.exif, reader.max_pixels, stated, found], _Verdict, look)


def _files(split: Split) -> dict[int, Path]:
    """Where the images lie that have a name to trust."""
    if split.images is None:
        return {}
    found = {}
    for image in split.index.images:
        try:
            found[image.id] = split.images.path(image.file_name)
        except SegtrainError:
            continue  # counted as an error of its own
    return found


def _without(split: Split, unusable: Mapping[int, str]) -> Split:
    """The split without some images, which are counted."""
    kept = [image.id for image in split.index.images if image.id not in unusable]
    if not kept:
        raise SegtrainError(f"{split.index.path}: none of its images can be used; {next(iter(unusable.values()))}")
    index = split.index.subset(kept)
    return replace(
        split,
        index=index,
        unreadable_images=split.unreadable_images + len(unusable),
        unreadable_annotations=split.unreadable_annotations + split.index.counts.annotations - index.counts.annotations,
    )
