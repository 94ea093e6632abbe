"""Search for the intensity range of a data set, and issues of images that are read by it."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from segtrain import masks
from segtrain.arrays import BoolArray
from segtrain.console import progress
from segtrain.data.check.cache import cached, fingerprint, fingerprints
from segtrain.data.check.image_checks import Readings
from segtrain.data.check.known_headers import place_of
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.joined_files import KEPT_BESIDE
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.intensities.intensity import PLAIN, Intensity, Range, sample_type
from segtrain.data.images.intensities.value_range import choose_range, measure, mixed_scales
from segtrain.data.images.large_image import LargeImage, read_samples
from segtrain.errors import SegtrainError
from segtrain.io import printable, write_atomically
from segtrain.values import IntensityRule, IntensitySetting

(INTENSITY_FILE,) = KEPT_BESIDE  # beside the two files of a drawn split
MOST_IMAGES = 200  # of each kind of file that a range is found from


class Measurement(msgspec.Struct, frozen=True):
    """Values that an image uses.

    Attributes:
        name: file name and id of the image, for messages.
        type: type of its samples.
        limits: least and greatest value that the bits of a sample can hold; None for floating-point samples.
        low: least value, outliers left out.
        high: greatest value, outliers left out.
    """

    name: str
    type: str
    limits: tuple[int, int] | None
    low: float
    high: float

    @property
    def ends(self) -> Range:
        """Both ends."""
        return Range(self.low, self.high)


class _Measured(msgspec.Struct):
    """Cached measurements."""

    images: list[Measurement]


def measure_images(
    index: CocoIndex,
    reader: ImageReader,
    kinds: Mapping[str, Sequence[int]],
    seed: int,
) -> list[Measurement]:
    """Measure the images that a range is found from: at most 200 of each kind, drawn at random.

    Unchanged images are not measured again. Images that cannot be read, or hold no data, are passed over.

    Args:
        index: images, and the objects whose samples a range must hold.
        reader: reader of the images.
        kinds: ids of the images by the kind of their samples, such as "16-bit grey".
        seed: seed of the draw, not negative.
    """
    drawn: list[int] = []
    for _, ids in sorted(kinds.items()):
        order = np.random.default_rng(seed).permutation(sorted(ids))
        drawn += sorted(order[:MOST_IMAGES].tolist())
    if not drawn:
        return []
    places = index.images.places(drawn).tolist()
    infos = [index.images[place] for place in places]

    def look() -> _Measured:
        with (
            ThreadPoolExecutor(os.cpu_count() or 1) as threads,
            progress("range of intensities", len(places), transient=True) as stage,
        ):
            found = threads.map(lambda place: _measure(index, reader, place, stage.advance), places)
            return _Measured([one for one in found if one is not None])

    stated = [(info.id, info.file_name, info.height, info.width) for info in infos]
    files = fingerprints(reader.folder, (info.file_name for info in infos))
    asked = [place_of(reader), str(reader.reading), stated, files, fingerprint(index.path)]
    return cached(None if reader.lazy else asked, _Measured, look).images


def _measure(index: CocoIndex, reader: ImageReader, place: int, advance: Callable[[], None]) -> Measurement | None:
    info = index.images[place]
    try:
        samples, large = read_samples(reader, info)
        ends = measure(samples, _objects(index, place, info, large))
    except SegtrainError:  # counted where all images are looked at
        return None
    finally:
        advance()
    if ends is None:
        return None
    name = f"{printable(info.file_name)} (image {info.id})"
    return Measurement(name, sample_type(samples), samples.limits, ends.low, ends.high)


def _objects(index: CocoIndex, place: int, info: ImageInfo, large: LargeImage | None) -> BoolArray | None:
    """Draw the objects of an image, reduced if it is large; None if there are none, or some cannot be drawn."""
    rows = index.annotations.of_image(place)
    rows = rows[rows["usable"] & ~rows["crowd"]]
    try:
        rles = index.masks(rows, info.size)
    except SegtrainError:
        return None
    if large is not None:
        rles = large.reduced(rles)
    return masks.decode(masks.union(rles, large.overview.array.shape[:2] if large else info.size)) if rles else None


def find_intensity(measured: Sequence[Measurement], rule: IntensityRule) -> Intensity:
    """Find the range of each type of samples.

    Args:
        measured: measurements of images.
        rule: "auto" or "percentile".

    Raises:
        SegtrainError: floating-point images have different scales.
    """
    by_type: dict[str, list[Measurement]] = defaultdict(list)
    for one in measured:
        by_type[one.type].append(one)
    ranges = {}
    for name, group in by_type.items():
        if name == PLAIN and rule == "auto":
            continue
        ends, limits = [one.ends for one in group], group[0].limits
        if limits is None and (scales := mixed_scales(ends)):
            said = " and ".join(f"{count} from {bounds}" for bounds, count in scales)
            raise SegtrainError(
                f"{name} images of different scales: {said}, the first {group[0].name}; convert them to one scale, or "
                f"give data.intensity=[LOW, HIGH]"
            )
        ranges[name] = choose_range(ends, limits, rule)
    return Intensity(ranges, others=None, rule=rule, images=len(measured))


def settle_intensity(
    index: CocoIndex,
    reader: ImageReader,
    deep: Mapping[str, Sequence[int]],
    setting: IntensitySetting,
    seed: int = 0,
) -> Intensity:
    """Choose the ranges of a single data set: those of the setting, else saved ones, else those of its images.

    Args:
        index: images and objects.
        reader: reader of the images.
        deep: ids of the images of more than 8 bits, by the kind of their samples.
        setting: value of ``data.intensity``.
        seed: seed of the draw of images.

    Raises:
        SegtrainError: images of one type have different scales.
    """
    given = Intensity.given(setting)
    if given is not None:
        return given
    rule: IntensityRule = "percentile" if setting == "percentile" else "auto"
    known = kept_intensity(index.path, rule) or Intensity(others=None, rule=rule)
    kinds = all_kinds(index, deep) if rule == "percentile" else deep
    return known.completed(find_intensity(measure_images(index, reader, kinds, seed), rule))


def all_kinds(index: CocoIndex, deep: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """Add the images of 8 bits to those of more, as ids by the kind of their samples."""
    known = {identifier for ids in deep.values() for identifier in ids}
    return {**deep, PLAIN: [image.id for image in index.images if image.id not in known]}


def check_intensity(measured: Sequence[Measurement], intensity: Intensity) -> Issues:
    """Find measured images that are nearly constant, or have few grey levels, when they are read.

    Args:
        measured: measurements of images.
        intensity: ranges that the images are read by.
    """
    readings = Readings()
    for one in measured:
        if (bounds := intensity.range_of_type(one.type, one.limits, one.ends)) is not None:
            readings.add(one.name, one.ends, bounds, one.limits)
    return readings.issues()


def write_intensity(folder: Path, intensity: Intensity) -> None:
    """Write the ranges beside the annotation files of a folder, for `kept_intensity`."""
    write_atomically(folder / INTENSITY_FILE, json.dumps(intensity.to_plain(), indent=1))


def kept_intensity(annotations: Path, rule: IntensityRule) -> Intensity | None:
    """Read the ranges that were saved beside an annotation file; None if there are none, or of another rule.

    Args:
        annotations: path of the annotation file.
        rule: "auto" or "percentile".

    Raises:
        SegtrainError: the file with the ranges is damaged.
    """
    path = annotations.with_name(INTENSITY_FILE)
    if not path.is_file():
        return None
    try:
        found = Intensity.from_plain(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"cannot be read ({type(error).__name__}: {error})"
        raise SegtrainError(f"{path}: {reason}; remove it, or give data.intensity") from error
    return found if found.rule == rule else None
