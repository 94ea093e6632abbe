"""Verdict on the masks of a file: the frame in which they are, or the witnesses that are wrong."""

import msgspec
import numpy as np

from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.data.coco.record_tables import AnnotationTable, ImageTable
from segtrain.data.frames.bounds import (
    are_fractions,
    centres_outside,
    describe_reach,
    factor_of_areas,
    fills_images,
    find_way_into_images,
    leaves_images,
)
from segtrain.data.frames.evidence import (
    CLOSE,
    POLYGON_READINGS,
    Evidence,
    Kind,
    areas_agree,
    compare,
    gather,
    is_box_area,
)
from segtrain.data.frames.geometry import Geometry
from segtrain.data.frames.run_lengths import READINGS, STORED, WITHOUT_WITNESSES
from segtrain.data.frames.ways import AGREEING, FEWEST, Way, find_layout, find_way, moved_extents

SHARE = 0.25  # share of the annotations that contradict their witnesses, from which the whole file is reported
_SOME = 0.1  # the same, if one frame makes nearly all of them agree
_SAMPLE = 1_000  # annotations of which a frame is guessed; it is then verified on all
_READ = 200  # of these, annotations that are read in all ways
_PIXELS = 5e7  # total of their planes
_TURNED = ("with x and y exchanged",)  # boxes that are exchanged as well do not tell it from a rotation
_COMPACT = 3  # ratio of the areas of boxes, from which the smaller one shows that a reading is right
_EXACT = 0.02  # relative difference of areas that are the same


class Frame(msgspec.Struct, frozen=True):
    """Correction of a file's masks of one kind.

    Attributes:
        kind: kind of the masks.
        reading: reading of their numbers.
        geometries: geometry by position of the image; other images stay as they are.
        single: True if an annotation is corrected only where it contradicts its witnesses and the correction agrees.
        with_boxes: True if the boxes are in the same frame and move along.
        words: the correction in words, such as "multiplied by 0.5".
    """

    kind: Kind
    reading: str
    geometries: dict[int, Geometry]
    single: bool
    with_boxes: bool
    words: str


class Verdict(msgspec.Struct):
    """Problem of a file's masks or of their witnesses.

    Attributes:
        issue: type of the issue, a key of ``ISSUE_TYPES``.
        count: annotations that it concerns.
        text: problem in one line.
        frame: correction, if one was found and verified.
    """

    issue: str
    count: int
    text: str
    frame: Frame | None = None


def judge(images: ImageTable, annotations: AnnotationTable, suspects: BoolArray) -> list[Verdict]:
    """Judge a file by the annotations that contradict their boxes, areas or images.

    Args:
        images: images of the index.
        annotations: annotations of the index.
        suspects: (N,) True for rows of the table that contradict one of their witnesses, or cannot be drawn.
    """
    rows = annotations.rows
    if not suspects.any():
        return []
    first = annotations.text.array[np.minimum(rows["start"], len(annotations.text.array) - 1)]
    verdicts = []
    kinds: tuple[tuple[Kind, bytes], ...] = (("polygons", b"["), ("run-length masks", b'{"'))
    for kind, marks in kinds:
        of_kind = (rows["image"] >= 0) & ~rows["boxed"] & np.isin(first, list(marks))
        odd = int((of_kind & suspects).sum())
        if odd and (kind == "run-length masks" or odd >= max(FEWEST, _SOME * of_kind.sum())):
            verdict = _Judge(images, annotations, np.flatnonzero(of_kind), suspects, kind).verdict()
            verdicts += [verdict] if verdict else []
    return verdicts


class _Judge:
    """Judge of the masks of one kind."""

    def __init__(
        self, images: ImageTable, annotations: AnnotationTable, places: IntArray, suspects: BoolArray, kind: Kind
    ) -> None:
        self._images, self._annotations, self._kind = images, annotations, kind
        self._places, self._suspects = places, suspects
        self._sample = self._gather(_choose(annotations, places, suspects), [])

    def verdict(self) -> Verdict | None:
        """Return the verdict; None if too few annotations contradict their witnesses."""
        sample = self._sample
        if not len(sample.rows):
            return None
        found = compare(sample.stored.extents, sample.boxes, sample.sizes)
        stated = ~np.isnan(sample.numbers[:, 0])
        odd = stated & (found.elsewhere | ~sample.usable_as_stored())
        several = _distinct(sample, odd) >= FEWEST
        if several and odd.sum() >= _SOME * len(odd) and (verdict := self._contradiction(odd)):
            return verdict
        if self._kind == "run-length masks" and (verdict := self._single(odd)):
            return verdict
        if self._kind == "run-length masks" and not stated.any() and (verdict := self._misread()):
            return verdict
        drawn = odd & ~np.isnan(sample.stored.extents[:, 0])  # masks without a pixel are errors by themselves
        if several and drawn.sum() >= SHARE * len(odd):
            return self._unexplained(drawn)
        return self._outside()

    def _gather(self, places: IntArray, readings: list[str]) -> Evidence:
        return gather(self._images, self._annotations, places, self._kind, readings)

    def _read(self, odd: BoolArray) -> Evidence:
        """Read some of the sample's odd annotations in all ways."""
        rows = self._sample.rows[odd]
        pixels = float(self._sample.sizes[odd].prod(axis=1).mean())
        fewer = max(10, min(_READ, int(_PIXELS / pixels)))
        chosen = rows[:: -(-len(rows) // fewer)]
        readings = list(READINGS if self._kind == "run-length masks" else POLYGON_READINGS)
        return self._gather(chosen, readings)

    def _contradiction(self, odd: BoolArray) -> Verdict | None:
        """Explain boxes that lie elsewhere than their masks."""
        read = self._read(odd)
        by_masks, by_boxes = find_way(read), find_layout(read)
        if by_boxes and (not by_masks or by_boxes[1] > by_masks[1]):
            words = f"once read as {by_boxes[0].describe()}"
            return self._wrong_boxes(odd, f"they agree {words}")
        if not by_masks:
            return None
        way = by_masks[0]
        if _masks_are_right(self._sample.subset(odd), way):
            return self._wrong_boxes(odd, f"boxes are in another frame: masks agree with them once {_words(way, read)}")
        return self._verified(way)

    def _wrong_boxes(self, odd: BoolArray, why: str) -> Verdict:
        count = self._extrapolated(odd)
        return Verdict("boxes-wrong", count, f"{count:,} of {len(self._places):,} boxes contradict their masks; {why}")

    def _extrapolated(self, odd: BoolArray) -> int:
        """Estimate the number of odd annotations of the file from the sample."""
        if len(self._sample.rows) >= len(self._places):
            return int(odd.sum())
        return int(self._suspects[self._places].sum())

    def _verified(self, way: Way) -> Verdict | None:
        """Fit a way to the whole file, choose the images that it belongs to, and verify that nearly all agree."""
        whole = self._gather(self._places, [way.reading])
        found = compare(whole.stored.extents, whole.boxes, whole.sizes)
        stated = ~np.isnan(whole.numbers[:, 0])
        odd = stated & (found.elsewhere | ~whole.usable_as_stored())
        geometries = way.geometries(whole if way.fitted is None or way.by == "file" else whole.subset(stated))
        if way.fitted is not None and way.by == "file":
            geometries = dict.fromkeys(whole.images.tolist(), next(iter(way.geometries(whole.subset(odd)).values())))
        moved = compare(moved_extents(whole, way.reading, geometries), whole.boxes, whole.sizes)
        single = False
        if moved.same[stated].mean() < AGREEING:
            if way.reading != STORED:
                single = True
            else:
                better = _count(whole.images, moved.same) > _count(whole.images, stated & ~odd)
                geometries = {image: geometry for image, geometry in geometries.items() if better[image]}
        after = _after(whole, way.reading, geometries, odd, single=single)
        if after[stated].mean() < AGREEING or not geometries:
            return None
        words = _words(way, whole, next(iter(geometries.values())))
        frame = Frame(self._kind, way.reading, geometries, single, False, words)
        count = int(odd.sum())
        agree = int((after & odd).sum())
        text = (
            f"{count:,} of {len(whole.rows):,} {self._kind} contradict their boxes{_example(whole, odd)}, and "
            f"{agree:,} of them agree once {words}"
        )
        return Verdict("frame", count, text, frame)

    def _single(self, odd: BoolArray) -> Verdict | None:
        """Find run lengths that another reading makes exact: box and area agree to the pixel, where they did not."""
        if not odd.any():
            return None
        read = self._read(odd)
        exact = {name: _is_exact(read, name) for name in READINGS if name != STORED}
        name = max(exact, key=lambda reading: int(exact[reading].sum()))
        if not exact[name].any():
            return None
        whole = self._gather(self._places[self._suspects[self._places]], [name])
        right = _is_exact(whole, name)
        words = f"read as {name}"
        frame = Frame(self._kind, name, dict.fromkeys(whole.images[right].tolist(), Geometry()), True, False, words)
        count = int(right.sum())
        text = (
            f"{count:,} of {len(self._places):,} {self._kind} contradict their boxes and areas"
            f"{_example(whole, right)}, and agree to the pixel once {words}"
        )
        return Verdict("frame", count, text, frame)

    def _misread(self) -> Verdict | None:
        """Find run lengths without boxes that are scattered or overlap, and compact in another reading."""
        read = self._read(np.isin(self._sample.rows, np.flatnonzero(self._suspects)))
        if len(read.rows) < FEWEST:
            return None
        name = min(WITHOUT_WITNESSES, key=lambda reading: float(np.median(_box_areas(read, reading))))
        whole = self._gather(self._places, [name])
        right = _is_compact(whole, name)
        if right.mean() < AGREEING:
            return None
        words, count = f"read as {name}", int(right.sum())
        frame = Frame(self._kind, name, dict.fromkeys(whole.images.tolist(), Geometry()), False, False, words)
        text = f"{count:,} of {len(right):,} {self._kind} fill their images, and are compact once {words}"
        return Verdict("frame", count, text, frame)

    def _unexplained(self, odd: BoolArray) -> Verdict:
        """Decide between masks and boxes that contradict each other in an unknown way, by the areas."""
        sample, count = self._sample, self._extrapolated(odd)
        told = odd & ~np.isnan(sample.areas) & ~is_box_area(sample.areas, sample.numbers) & sample.usable_as_stored()
        agree = areas_agree(sample.stored.areas, sample.areas, sample.stored.extents)
        inside = ~centres_outside(sample.stored.extents, sample.sizes)
        if told.sum() >= max(FEWEST, 0.5 * odd.sum()) and (agree & inside)[told].mean() >= AGREEING:
            return self._wrong_boxes(odd, "areas agree with the masks, so the boxes are wrong")
        text = (
            f"{count:,} of {len(self._places):,} {self._kind} contradict their boxes, and no known frame makes them "
            "agree"
        )
        return Verdict("frame-unknown", count, text)

    def _other_unit(self, factor: float) -> Verdict:
        """Report areas that are all the same multiple of those of masks, which agree with boxes and images."""
        text = f"areas are {factor**2:.3g} times those of the masks, as in another unit"
        return Verdict("areas-wrong", len(self._places), text)

    def _outside(self) -> Verdict | None:
        """Find masks that agree with their boxes, and lie outside of their images."""
        sample = self._sample
        usable = sample.usable_as_stored()
        if not usable.all():
            sample = sample.subset(usable)
        extents = sample.stored.extents
        if not len(sample.rows):
            return None
        leaves, fractions = leaves_images(sample, extents), are_fractions(sample)
        factor = factor_of_areas(sample)
        in_corner = factor is not None and fills_images(sample, factor)
        if not (leaves or fractions or in_corner):
            return None if factor is None else self._other_unit(factor)
        with_boxes = bool((~np.isnan(sample.numbers[:, 0])).any())
        way = find_way_into_images(sample)
        if way is not None:
            whole = self._gather(self._places, [])
            geometries = way.geometries(whole)
            words = _words(way, whole)
            moved = moved_extents(whole, STORED, geometries)
            if centres_outside(moved, whole.sizes).mean() <= 0.02:
                frame = Frame(self._kind, STORED, geometries, False, with_boxes, words)
                what = f"{self._kind} and their boxes" if with_boxes else self._kind
                why = (
                    "lie outside of their images"
                    if leaves
                    else ("are smaller than a pixel" if fractions else "contradict the stated areas")
                )
                either = " (or turned by 90 degrees: look at a picture)" if way.geometry.orientation in _TURNED else ""
                text = f"{what} {why}, and agree with them once {words}{either}"
                return Verdict("frame", len(whole.rows), text, frame)
        if not leaves:
            return None
        outside = int(centres_outside(extents, sample.sizes).sum())
        told = describe_reach(extents, sample.sizes)
        text = f"{outside:,} of {len(sample.rows):,} {self._kind} lie outside of their images: {told}"
        return Verdict("frame-outside", outside, text)


def _choose(annotations: AnnotationTable, places: IntArray, suspects: BoolArray) -> IntArray:
    """Choose the annotations of some images, evenly among those with suspects."""
    if len(places) <= _SAMPLE:
        return places
    image = annotations.rows["image"][places]
    odd = np.unique(image[suspects[places]])
    per_image = max(1.0, np.isin(image, odd).sum() / len(odd))
    chosen = odd[:: max(1, int(len(odd) * per_image / _SAMPLE))]
    return places[np.isin(image, chosen)][: 2 * _SAMPLE]


def _count(images: IntArray, marks: BoolArray) -> IntArray:
    return np.bincount(images, weights=marks, minlength=int(images.max(initial=-1)) + 1).astype(np.int64)


def _distinct(evidence: Evidence, odd: BoolArray) -> int:
    """Count different pairs of mask and box, since repetitions add no evidence."""
    return len(np.unique(np.concatenate([evidence.numbers, evidence.stored.extents], axis=1)[odd], axis=0))


def _after(
    evidence: Evidence, reading: str, geometries: dict[int, Geometry], odd: BoolArray, *, single: bool
) -> BoolArray:
    """Find the annotations that agree with their boxes after a correction."""
    moved = compare(moved_extents(evidence, reading, geometries), evidence.boxes, evidence.sizes).same
    chosen = odd & moved if single else np.isin(evidence.images, list(geometries))
    stored = compare(evidence.stored.extents, evidence.boxes, evidence.sizes).same & evidence.usable_as_stored()
    return np.where(chosen, moved, stored | (~odd & ~np.isnan(evidence.numbers[:, 0])))


def _example(evidence: Evidence, odd: BoolArray) -> str:
    """Name the first area that is far from its mask's, in brackets; empty if there is none."""
    with np.errstate(invalid="ignore"):
        far = odd & ((evidence.areas > 2 * evidence.stored.areas) | (2 * evidence.areas < evidence.stored.areas))
    if not far.any():
        return ""
    first = int(np.flatnonzero(far)[0])
    return f" (area {evidence.areas[first]:g}, mask {evidence.stored.areas[first]:.10g} pixels)"


def _is_exact(evidence: Evidence, reading: str) -> BoolArray:
    """Find masks whose box and area agree in a reading to the pixel, and in the image's own size."""
    extents, areas, frames = evidence.readings[reading]
    apart = np.abs(extents - evidence.boxes).max(axis=1)
    with np.errstate(invalid="ignore"):
        same = (apart <= CLOSE) & (np.abs(areas - evidence.areas) <= _EXACT * evidence.areas + 1)
    return np.asarray(same & (frames == evidence.sizes).all(axis=1))


def _box_areas(evidence: Evidence, reading: str) -> FloatArray:
    """Return the areas of the boxes that masks fill in a reading; infinite for a mask that cannot be read so."""
    extents = evidence.readings[reading].extents
    return np.asarray(np.nan_to_num((extents[:, 2:] - extents[:, :2]).prod(axis=1), nan=np.inf))


def _is_compact(evidence: Evidence, reading: str) -> BoolArray:
    """Find masks whose box is several times smaller in another reading than as stored."""
    alone = np.bincount(evidence.images, minlength=1)[evidence.images] == 1  # one object may well cover its image
    smaller = _COMPACT * _box_areas(evidence, reading) < _box_areas(evidence, STORED)
    return np.asarray(smaller & ~(alone & ("begin with 1s" in reading)))


def _words(way: Way, evidence: Evidence, geometry: Geometry | None = None) -> str:
    """Describe a way in words, with the scale and shift of one image as an example."""
    geometry = geometry or next(iter(way.geometries(evidence).values()))
    parts = [] if way.reading == STORED else [f"read as {way.reading}"]
    if described := geometry.describe():
        parts.append(described)
    if not parts:
        parts.append("cut or padded at the right and the bottom to the size of the image")
    shared = {
        "file": "",
        "size": " (in the first image; images of each size have their own)",
        "image": " (in the first image; each has its own)",
    }
    return ", and ".join(parts) + (shared[way.by] if way.fitted else "")


def _masks_are_right(evidence: Evidence, way: Way) -> bool:
    """Decide whether the boxes are in another frame rather than the masks: they leave the image, or miss most of it."""
    if way.reading != STORED or way.geometry.unit != "pixels" or not evidence.usable_as_stored().all():
        return False
    masks_outside, boxes_outside = (
        float(centres_outside(part, evidence.sizes).mean()) for part in (evidence.stored.extents, evidence.boxes)
    )
    if max(masks_outside, boxes_outside) >= _SOME:
        return boxes_outside > masks_outside
    told = ~np.isnan(evidence.areas) & ~is_box_area(evidence.areas, evidence.numbers)
    if told.sum() < FEWEST or way.fitted not in ("scale", "scale of each axis", "scale and shift"):
        return False
    cover_masks, cover_boxes = (_cover(part, evidence.sizes) for part in (evidence.stored.extents, evidence.boxes))
    agree = areas_agree(evidence.stored.areas, evidence.areas, evidence.stored.extents)[told].mean() >= AGREEING
    return bool(agree and cover_masks > 0.75 > cover_boxes)


def _cover(extents: FloatArray, sizes: FloatArray) -> float:
    """Return how far boxes reach towards the right and lower border of their images, at most 1."""
    return float(np.quantile(extents[:, 2:] / sizes[:, ::-1], 0.98, axis=0).min().clip(max=1))
