"""Full check of a data set: the json, every image file, and the set as a whole."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from segtrain.data.check.annotation_checks import FINDS_CROSSINGS
from segtrain.data.check.cache import cached, fingerprint, fingerprints
from segtrain.data.check.copies import find_one_source, find_source_leaks
from segtrain.data.check.image_checks import FormatCount, HeaderReport, check_headers, check_pixels, count_formats
from segtrain.data.check.intensity_range import INTENSITY_FILE, settle_intensity
from segtrain.data.check.known_headers import deep_images, known_headers, place_of
from segtrain.data.check.load import load_index, with_image_files
from segtrain.data.check.locate import AbsentImages, count_images
from segtrain.data.check.set_checks import (
    CategoryCount,
    category_histogram,
    check_set,
    find_duplicates,
    find_leaks,
    find_shared_names,
)
from segtrain.data.coco.category_names import compare_categories
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issue, Issues
from segtrain.data.coco.rules import COCO_RULES, AnnotationRules
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.images.orientation import Exif
from segtrain.data.images.reading import Pages
from segtrain.data.storage.image_store import ImageFolder
from segtrain.errors import SegtrainError
from segtrain.values import IntensitySetting


@dataclass(frozen=True)
class CheckSettings:
    """Settings of a check.

    Attributes:
        annotations: path of the json.
        images: image folder, or store of images.
        against: path of the json of a validation set, whose images should not be among these.
        against_images: image folder of the other json; None for ``images`` or a folder beside it, whichever holds the
            most of its images.
        exif: value of ``data.exif``.
        max_dets: value of ``data.max_dets``.
        max_pixels: value of ``data.max_image_pixels``.
        intensity: value of ``data.intensity``, or the ranges themselves.
        rules: rules of reading annotations.
        pages: value of ``data.pages``.
        channels: value of ``data.channels``.
    """

    annotations: Path
    images: ImageFolder
    against: Path | None
    against_images: ImageFolder | None
    exif: Exif
    max_dets: int
    max_pixels: int
    intensity: IntensitySetting | Intensity
    rules: AnnotationRules = COCO_RULES
    pages: Pages = "error"
    channels: tuple[int, ...] | None = None

    @property
    def reader(self) -> ImageReader:
        """Reader of the images."""
        return ImageReader(self.images, self.exif, self.max_pixels, self.pages, self.channels)


class CheckReport(msgspec.Struct):
    """Report of a check.

    Attributes:
        issues: issues by severity.
        counts: numbers of annotations by their use, see `segtrain.data.coco.index.AnnotationCounts`.
        categories: numbers of objects and images of each category.
        lost_images: problem of each image that cannot be used, by id.
        formats: formats of the usable images, the most frequent first.
        intensity: ranges that the images are read by, in words; empty if all are read as they are.
    """

    issues: list[Issue]
    counts: dict[str, int]
    categories: list[CategoryCount]
    lost_images: dict[int, str]
    formats: list[FormatCount]
    intensity: str = ""

    @property
    def errors(self) -> int:
        """Number of occurrences of errors."""
        return sum(issue.count for issue in self.issues if issue.severity == "error")

    def __str__(self) -> str:
        """Return a line for each type of issue, with its count and first example, and the counts of the data set."""
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        if self.intensity:
            counts += f"\nintensity: {self.intensity}"
        return "\n".join([*(f"{issue.severity}: {issue.line}" for issue in self.issues), counts])


def run_checks(
    settings: CheckSettings, advance: Callable[[str, int], Callable[[], None]]
) -> tuple[CheckReport, CocoIndex]:
    """Run all checks of a data set; unchanged data are not checked again.

    Args:
        settings: settings of the check.
        advance: returns, for the name and the number of steps of a stage, the function to call after each step.

    Returns:
        The report, and the index of the json.

    Raises:
        FileError: a json cannot be used at all.
        SegtrainError: there is no image folder.
    """
    if isinstance(settings.images, Path) and not settings.images.is_dir():
        raise SegtrainError(f"{settings.images}: no such image folder; give the folder of the images")
    reader = settings.reader
    index, absent = open_checked(settings)
    others = replace(reader, folder=settings.against_images or settings.images)
    other = load_index(settings.against, "warn", settings.rules, others) if settings.against else None
    folder = settings.images if other is None else settings.against_images or _folder_of(other, settings.images)
    others = replace(others, folder=folder)
    others_absent = AbsentImages()
    if other is not None:
        other, others_absent = with_image_files(other, folder)
    asked: list[object] = [
        FINDS_CROSSINGS,
        place_of(reader),
        str(settings),
        fingerprint(settings.annotations),
        fingerprint(settings.annotations.with_name(INTENSITY_FILE)),
        *_files(index, absent, settings.images),
    ]
    if other is not None:
        asked += [place_of(others), fingerprint(other.path), *_files(other, others_absent, folder)]
    look = partial(_look, settings, (index, absent), None if other is None else (other, others_absent), folder, advance)
    return cached(None if reader.lazy or others.lazy else asked, CheckReport, look), index


def open_checked(settings: CheckSettings) -> tuple[CocoIndex, AbsentImages]:
    """Read the json of a check, and find its images.

    Args:
        settings: settings of the check.

    Returns:
        The index, and the images whose file was not found.

    Raises:
        FileError: the json cannot be used at all.
    """
    index = load_index(settings.annotations, "warn", settings.rules, settings.reader)
    return with_image_files(index, settings.images)


def _folder_of(index: CocoIndex, images: ImageFolder) -> ImageFolder:
    """Locate the images of another json: this folder or one beside it, whichever holds the most of them."""
    if not isinstance(images, Path):
        return images
    beside = sorted(path for path in images.absolute().parent.iterdir() if path.is_dir())
    folders = {path.resolve(): path for path in (*beside, images)}
    held = dict(zip(folders.values(), count_images(index, list(folders.values())), strict=True))
    best = [path for path, count in held.items() if 0 < count == max(held.values())]
    if not best:
        raise SegtrainError(f"{index.path}: its images are neither in {images} nor beside it; give --against-images")
    if len(best) > 1:  # 1.png, 2.png, ...: the wrong one would make leaks of them all
        raise SegtrainError(f"{index.path}: its images may lie in {best[0]} or in {best[1]}; give --against-images")
    return best[0]


def _files(index: CocoIndex, absent: AbsentImages, folder: ImageFolder) -> list[object]:
    """Fingerprint the files of a set: those that are there, and what is said about the others."""
    names = index.images.names()
    return [*fingerprints(folder, names), names, *map(str, absent.problems.values())]


def settled_reader(settings: CheckSettings, index: CocoIndex) -> ImageReader:
    """Return the reader of the images with the ranges of intensities that a check has chosen.

    Args:
        settings: settings of the check.
        index: index of the json, from `run_checks`, which has looked at all images.

    Raises:
        SegtrainError: images of one type have different scales.
    """
    return _with_intensity(settings, index, known_headers(settings.reader, list(index.images), {}).deep)


def _with_intensity(settings: CheckSettings, index: CocoIndex, deep: Mapping[str, Sequence[int]]) -> ImageReader:
    intensity = settings.intensity
    if not isinstance(intensity, Intensity):
        intensity = settle_intensity(index, settings.reader, deep, intensity)
    return replace(settings.reader, intensity=intensity)


def _look(
    settings: CheckSettings,
    images: tuple[CocoIndex, AbsentImages],
    others: tuple[CocoIndex, AbsentImages] | None,
    other_images: ImageFolder,
    advance: Callable[[str, int], Callable[[], None]],
) -> CheckReport:
    reader = settings.reader
    index, absent = images
    entries = list(index.images)
    headers = check_headers(entries, reader, advance("image headers", len(entries)), absent.problems)
    kinds = deep_images(headers)
    reader = _with_intensity(settings, index, kinds)
    readable = [image for image in entries if image.id not in headers.unusable]
    pixels = check_pixels(readable, reader, advance("images", len(readable)))
    paths = _paths(headers)
    parts = [index.issues, headers.issues, pixels.issues, find_duplicates(paths), find_one_source(index)]
    if others is not None:
        other, others_absent = others
        theirs = replace(reader, folder=other_images)
        headers_of_others = check_headers(list(other.images), theirs, absent=others_absent.problems)
        parts += [compare_categories(index, other), find_source_leaks(index, other)]
        parts.append(find_leaks(paths, _paths(headers_of_others)))
        if reader.folder == theirs.folder and not isinstance(reader.folder, Path):
            parts.append(find_shared_names(index, other))
    issues = Issues()
    for part in [*parts, check_set(index, settings.max_dets)]:
        issues.merge(part)
    lost = {**headers.unusable, **pixels.unusable}
    intensity = reader.intensity
    said = str(intensity) if kinds or intensity.rule in ("given", "percentile") else ""
    formats = count_formats(headers)
    return CheckReport(list(issues), asdict(index.counts), category_histogram(index), lost, formats, said)


def _paths(report: HeaderReport) -> dict[int, Path]:
    """Return the files of a folder of this machine, whose content is compared; those of a store are not."""
    return {key: header.path for key, header in report.headers.items() if isinstance(header.path, Path)}
