"""Section by kind of object: scores by size, contrast and crowding, and textbook claims."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from segtrain.arrays import CountArray, FloatArray, IntArray, RgbArray
from segtrain.benchmark.results import ContrastGap, MethodScores, Results, Stratum, StratumScores, TimeBySize, TrueBoxes
from segtrain.benchmark.runner import MethodResult
from segtrain.console import counted, with_progress
from segtrain.data.images.large_image import LargeImage, read_or_open
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import Detections, GroundTruthSet, metric_input
from segtrain.masks import Rle
from segtrain.metrics.average_precision import true_boxes
from segtrain.metrics.bootstrap import paired_difference
from segtrain.metrics.strata import (
    Trait,
    classes,
    ks_contrast,
    ks_contrast_by_windows,
    numbers_by_stratum,
    resampled_by_stratum,
    thirds,
)
from segtrain.records import OBJECT, GroundTruth
from segtrain.report.blocks import Block, Bullets, Charts, Folded, Heading, Paragraph, Section, Term, Terms
from segtrain.report.charts import Axis, Chart, Line, nice_scale, series_styles, step_ticks
from segtrain.report.tables import Cell, Column, Row, Table, Values, explain, is_zero, method_table
from segtrain.report.text import number_text, range_text
from segtrain.segmenters.classical.regions import luminance

TRAITS = ("size", "contrast", "crowding")
# Attribute, title and hint of a number, and why it may be 0.
_NUMBERS = (
    ("ap", "AP", "Mask AP of the objects of this kind", "Next to none of these objects is found."),
    (
        "recall",
        "recall",
        "Share of these objects that are matched at IoU 0.50, at the score threshold",
        "Next to none of these objects is found at IoU 0.50 by detections that reach the score threshold.",
    ),
    (
        "iou",
        "IoU",
        "Mean IoU of these objects with the detection that overlaps each most, at the score threshold",
        "Detections that reach the score threshold overlap next to none of these objects.",
    ),
)
_DEFINITIONS = (
    Term(
        "By kind of object",
        "Sizes and contrasts are thirds of these data's own objects, so that each has enough of them; S, M and L have "
        "COCO's fixed bounds. An object is touching if a pixel of another one is next to one of its own, overlapping "
        "if they share one. AP of a kind ignores all other objects, and detections matched to them. An unmatched "
        "detection counts by its own area among sizes, as in COCO. Its contrast or crowding is unknown, so there it "
        "is weighted by the kind's share of all objects; otherwise a rare kind would have a low AP only because it is "
        "rare (normalised precision, Hoiem et al., 2012). Recall is the share of objects matched at IoU 0.50, and IoU "
        "the mean over the objects of their best overlap with a detection, both at the operating point. All categories "
        "are treated as one.",
    ),
    Term(
        "Contrast",
        "Kolmogorov-Smirnov distance of an object's grey values to those within 3 pixels around it that belong to no "
        "object: the largest distance of the two cumulative distributions. At 1 some threshold separates them without "
        "a mistake; at 0 no threshold separates them at all.",
    ),
)
logger = logging.getLogger(__name__)
SIZES = ("smallest", "middle", "largest")
CONTRASTS = ("lowest", "middle", "highest")
CROWDINGS = ("alone", "touching", "overlapping")


def strata(results: Results) -> Section | None:
    """Show every method's numbers by kind of object; None where objects were not divided and nothing is claimed."""
    traits = _traits(results)
    if not traits and not results.claims:
        return None
    lead = (
        "The true objects, divided by size, by contrast to their surroundings, and by distance to each other. AP is "
        "that of the objects of one kind; all others are ignored."
    )
    blocks: list[Block] = [Paragraph(lead)]
    if charts := strata_charts(results):
        blocks.append(Charts(charts, legend=True))
    blocks.append(Terms([Term(trait, _described(parts, trait)) for trait, parts in traits.items()], "small strata"))
    blocks += [Folded(f"Numbers by {trait}", [table]) for trait, table in strata_tables(results).items()]
    if results.claims:
        blocks += [Heading("What textbooks say, on these data"), Bullets(results.claims)]
    return Section("kinds", "By kind of object", blocks, definitions=_DEFINITIONS if traits else ())


def strata_tables(results: Results) -> dict[str, Table]:
    """Make a table for each trait, with a column for each number and stratum."""
    tables = {}
    for trait, parts in _traits(results).items():
        columns = [
            Column(f"{key} {i}", f"{title} {stratum.name}", f"{hint}: {stratum.name}")
            for key, title, hint, _ in _NUMBERS
            for i, stratum in enumerate(parts)
        ]

        def values(name: str, method: MethodScores, trait: str = trait) -> Values | None:
            scores = _scores(method, trait)
            return {f"{key} {i}": getattr(own, key) for i, own in enumerate(scores) for key, *_ in _NUMBERS} or None

        table = method_table(results, columns, values, f"Results by {trait}", "Marked: best of its column.")
        if table.rows:
            tables[trait] = explain(table, _why)
    return tables


def strata_charts(results: Results) -> list[Chart]:
    """Draw AP over the strata of each trait that has several, a line for each contender, all on one scale."""
    styles = series_styles(results.ranked, results.oracles)
    traits = {trait: parts for trait, parts in _traits(results).items() if len(parts) > 1}
    values = {
        trait: {
            name: [
                (i + 0.5, own.ap) for i, own in enumerate(_scores(results.methods[name], trait)) if own.ap is not None
            ]
            for name in results.contenders
        }
        for trait in traits
    }
    known = [ap for methods in values.values() for points in methods.values() for _, ap in points]
    if not known:
        return []
    top, step = nice_scale(max(known))
    return [
        Chart(
            f"AP by {trait}",
            Axis(trait, 0, len(parts), [(i + 0.5, stratum.name) for i, stratum in enumerate(parts)]),
            Axis("mask AP", 0, top, step_ticks(top, step)),
            [Line(points, styles[name], name, dots=True) for name, points in values[trait].items() if points][::-1],
        )
        for trait, parts in traits.items()
    ]


def _traits(results: Results) -> dict[str, Sequence[Stratum]]:
    return {trait: results.strata[trait] for trait in TRAITS if results.strata.get(trait)}


def _scores(method: MethodScores, trait: str) -> Sequence[StratumScores]:
    """Return the scores of a method by stratum; none for boxes without masks."""
    return method.strata.get(trait, ()) if method.strata else ()


def _why(row: Row, column: Column, cell: Cell) -> str:
    (why,) = (why for key, *_, why in _NUMBERS if column.key.startswith(f"{key} "))
    return why if is_zero(cell.value) else ""


def _described(parts: Sequence[Stratum], trait: str) -> str:
    """Put the strata of a trait into words: their ranges and numbers of objects."""
    said = []
    for stratum in parts:
        low, high = (
            "" if end is None else f"{math.floor(end):,}" if trait == "size" else number_text(end)
            for end in (stratum.low, stratum.high)
        )
        span = range_text(low, high)
        bounds = f" ({span}{' pixels' if trait == 'size' else ''})" if span else ""
        said.append(f"{stratum.name}{bounds}, {counted(stratum.objects, 'object')}")
    return "; ".join(said)


def score_strata(
    detections: Detections, ground_truth: GroundTruthSet, traits: Mapping[str, Trait], max_dets: int
) -> dict[str, list[StratumScores]] | None:
    """Compute the scores of a method on each stratum, by trait; None for a method of boxes only.

    Args:
        detections: detections of the method.
        ground_truth: true objects, with their categories.
        traits: traits of the true objects, see ``find_traits``.
        max_dets: detections per image that AP uses.
    """
    if detections.masks is None:
        return None
    scores = numbers_by_stratum(metric_input(detections, ground_truth, max_dets), list(traits.values()))
    return {key: [StratumScores.of(part) for part in parts] for key, parts in zip(traits, scores, strict=True)}


def resample_contrast(
    row: MethodResult,
    ground_truth: GroundTruthSet,
    traits: Mapping[str, Trait],
    max_dets: int,
    draws: CountArray | None,
) -> list[list[float]] | None:
    """Compute AP at the lowest and at the highest contrast of a threshold method, on all images and on resamples.

    Args:
        row: the method.
        ground_truth: true objects.
        traits: traits of the true objects.
        max_dets: detections per image that AP uses.
        draws: (resamples, images) number of times that each image is drawn; None without resamples.

    Returns:
        AP at the lowest and at the highest contrast, each on all images first; None for other methods, for oracles, and
        with a single contrast.
    """
    trait = traits.get("contrast")
    if row.technique != "threshold" or row.oracle or row.detections.masks is None:
        return None
    if trait is None or len(trait.names) < 2:
        return None
    once = np.ones((1, len(ground_truth.sizes)), dtype=np.int8)
    every = once if draws is None else np.append(once, draws, axis=0)
    ap = resampled_by_stratum(metric_input(row.detections, ground_truth, max_dets), trait, every)
    return ap[[0, -1]].tolist()  # type: ignore[no-any-return]


def contrast_gap(
    rows: Mapping[str, MethodResult], contrasts: Mapping[str, Sequence[Sequence[float]] | None]
) -> ContrastGap | None:
    """Compute AP at the highest contrast minus AP at the lowest, of the threshold with the highest mask AP.

    Args:
        rows: methods by name.
        contrasts: AP at the lowest and at the highest contrast by method, see ``resample_contrast``.

    Returns:
        None without a threshold or with a single contrast.
    """
    known = {name: ap for name, ap in contrasts.items() if ap is not None}
    if not known:
        return None
    name = max(known, key=lambda name: _mask_ap(rows[name]))
    low, high = map(np.asarray, known[name])
    return ContrastGap.of({"row": name, **asdict(paired_difference(high[0], low[0], high[1:], low[1:]))})


def score_true_boxes(ground_truth: GroundTruthSet) -> TrueBoxes:
    """Score the true boxes, taken as masks."""
    merged = ground_truth.class_agnostic()
    return TrueBoxes.of(true_boxes(merged.truths, sizes=merged.sizes, category_id=OBJECT.id))


def _mask_ap(row: MethodResult) -> float:
    """Class-agnostic mask AP; -1 where it is undefined or was not computed."""
    track = row.tracks.get("class_agnostic")
    value = None if track is None else track.metrics.get("mask_ap")
    return -1.0 if value is None else value


def time_by_size(detections: Detections, ground_truth: GroundTruthSet) -> TimeBySize | None:
    """Compute the median pixels and seconds of the smallest and of the largest images; None if not timed here.

    Small and large are the lower and the upper third of the range of sizes on a logarithmic scale, so neither is empty.
    The first image, which warms caches up, is left out.
    """
    seconds = np.array(detections.seconds.get("segmentation", ())[1:], dtype=np.float64)
    sizes = [ground_truth.sizes[image_id] for image_id in detections.timed or ground_truth.sizes]
    pixels = np.array([height * width for height, width in sizes], dtype=np.float64)[1:]
    if not len(seconds) or len(seconds) != len(pixels):
        return None
    third = (pixels.max() / pixels.min()) ** (1 / 3)
    small, large = pixels <= pixels.min() * third, pixels >= pixels.max() / third
    return TimeBySize(
        pixels=(float(np.median(pixels[small])), float(np.median(pixels[large]))),
        seconds=(float(np.median(seconds[small])), float(np.median(seconds[large]))),
        images=(int(small.sum()), int(large.sum())),
    )


def find_traits(ground_truth: GroundTruthSet, split: Split, crowded: IntArray) -> dict[str, Trait]:
    """Compute the traits of the true objects that are defined for at least one of them.

    Args:
        ground_truth: true objects.
        split: evaluated data; without images there is no contrast.
        crowded: crowding of the true objects, see ``segtrain.metrics.touching.crowding_of_truths``.
    """
    truths, here = ground_truth.truths, defaultdict(list)
    crowds: dict[int, list[GroundTruth]] = defaultdict(list)
    for number, truth in enumerate(truths):
        if truth["iscrowd"]:
            crowds[truth["image_id"]].append(truth)
        else:
            here[truth["image_id"]].append(number)
    area, contrast = np.full((2, len(truths)), np.nan)
    for numbers in here.values():
        area[numbers] = [truths[n]["area"] for n in numbers]
    for image_id, image in _read(split, here):
        rles = [truths[n]["segmentation"] for n in here[image_id]]
        others = [crowd["segmentation"] for crowd in crowds[image_id]]
        contrast[here[image_id]] = _contrast(image, rles, others)
    found = {
        "size": thirds(area, SIZES, sized=True),
        "contrast": thirds(contrast, CONTRASTS),
        "crowding": classes(crowded, CROWDINGS),
    }
    return {key: trait for key, trait in found.items() if trait.names}


def _read(split: Split, wanted: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, RgbArray | LargeImage]]:
    """Yield the wanted images that can be read."""
    if split.images is None:
        return
    for image in with_progress("contrast of objects", [image for image in split.index.images if wanted.get(image.id)]):
        try:
            pixels = read_or_open(split.images, image)
        except SegtrainError as error:  # a row from a file was scored without it
            logger.warning(f"{error}; its objects have no contrast")
            continue
        yield image.id, pixels


def _contrast(image: RgbArray | LargeImage, rles: Sequence[Rle], others: Sequence[Rle]) -> FloatArray:
    if isinstance(image, LargeImage):
        return ks_contrast_by_windows(lambda box: _grey(image.rgb(box)), rles, others)
    return ks_contrast(_grey(image), rles, others)


def _grey(rgb: RgbArray) -> npt.NDArray[np.uint8]:
    """Compute the luminance, 0 to 255."""
    return np.rint(255 * luminance(rgb.astype(np.float32) / np.float32(255))).astype(np.uint8)


def make_strata(trait: Trait, ground_truth: GroundTruthSet) -> list[Stratum]:
    """Describe the strata of a trait, from low to high.

    Args:
        trait: the trait.
        ground_truth: true objects.
    """
    image = np.array([truth["image_id"] for truth in ground_truth.truths])
    ends = [None, *trait.bounds, None]
    ranged = bool(trait.bounds)
    return [
        Stratum(
            name=name,
            low=ends[index] if ranged else None,
            high=ends[index + 1] if ranged else None,
            objects=objects,
            images=len(np.unique(image[trait.of == index])),
        )
        for index, (name, objects) in enumerate(zip(trait.names, trait.objects, strict=True))
    ]
