"""Section on Mask R-CNN's limits: the resolution of its masks, and the calibration of its scores."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np

from segtrain import masks
from segtrain.benchmark.results import Calibration, CalibrationBin, MaskResolutionLimit, Results
from segtrain.benchmark.runner import MethodResult
from segtrain.console import with_progress
from segtrain.evaluation import GroundTruthSet, metric_input
from segtrain.metrics.average_precision import coco_summary
from segtrain.metrics.calibration import calibration
from segtrain.metrics.metric import MetricInput
from segtrain.metrics.registry import MASK_AP_KEYS, METRICS
from segtrain.records import GroundTruth, Prediction
from segtrain.report.blocks import Block, Bullets, Charts, Heading, Paragraph, Section, Term
from segtrain.report.charts import Chart, Line, Point, Style, series_styles, unit_axis
from segtrain.report.tables import Column, Row, Table, make_cells, mark_best, metric_column
from segtrain.report.text import number_text

_CALIBRATION = (
    Column("count", "detections", "Detections that count: all but those on crowd regions", None, 0),
    Column("mean_score", "mean score", "Mean of their scores", None),
    Column("precision", "right", "Share of them that is right at IoU 0.50", None),
    Column("mean_iou", "mean IoU", "Mean IoU with the true object that each overlaps most", None),
    Column("ece", "ECE", "Expected calibration error: distance of score and share of right detections", "low"),
    Column("ece_iou", "ECE to IoU", "Distance of score and mean IoU, averaged in the same way", "low"),
)
_CLOSE = 0.02  # scores this near to the truth, on average, are about right
_LARGEST, _SMALLEST = 11.0, 3.0  # radii of a bin's mark in pixels


def limits(results: Results) -> Section | None:
    """Show the limits of masks and scores; None if nothing of them is known."""
    ceiling, calibrated = ceiling_table(results), calibrations(results)
    if ceiling is None and not calibrated:
        return None
    blocks: list[Block] = [Paragraph(" ".join(ceiling_sentences(results))), ceiling] if ceiling else []
    if calibrated:
        blocks += [
            Heading("Can the scores be trusted?"),
            Paragraph(
                "A score of 0.8 should mean that 8 of 10 such detections are right. This holds for dots on the dotted "
                "diagonal; below it scores are too high, above it too low."
            ),
            Charts(
                reliability_charts(results),
                "Filled: share of detections that are right at IoU 0.50. Rings: mean IoU with the best-fitting true "
                "object. The area of a dot tells how many detections have such scores.",
                table=reliability_table(results),
            ),
            Bullets(calibration_sentences(results)),
            calibration_table(results),
        ]
    title = "Mask R-CNN's limits" if ceiling else "Calibration of scores"
    return Section("limits", title, blocks, definitions=_definitions(results))


def ceiling_sentences(results: Results) -> list[str]:
    """State the scores of perfect boxes with masks of the network's resolution, and those of the networks."""
    ceiling = results.mask_resolution_limit
    if ceiling is None or ceiling.mask_ap is None:
        return []
    said = [
        f"Mask R-CNN draws each mask on {ceiling.resolution} × {ceiling.resolution} cells and stretches them over the "
        f"object's box. {_pasting(ceiling)} True boxes with masks exactly as they are taught reach a mask AP of "
        f"{number_text(ceiling.mask_ap)} on these data, a mean IoU of {number_text(ceiling.mean_iou)} with the "
        f"{ceiling.objects:,} true objects."
    ]
    max_dets = results.data.max_dets
    cut = ceiling.most_objects > max_dets
    within = f", at the {max_dets} best-scored detections of an image," if cut else ""
    technique = results.methods[ceiling.input_of].technique
    for name in results.contenders:
        method = results.methods[name]
        own = method.metric("mask_ap")
        limited = name == ceiling.input_of or (technique is not None and method.technique == technique)
        if limited and own is not None and ceiling.mask_ap > 0:
            share = (
                f"{100 * own / ceiling.mask_ap:.0f} % of it"
                if own <= ceiling.mask_ap
                else "more, since its boxes make up for some of the loss"
            )
            said.append(f"{name}{within} has {number_text(own)}, {share}.")
    return said


def _pasting(ceiling: MaskResolutionLimit) -> str:
    """Describe how cells become pixels, and what an object loses by it."""
    if ceiling.mask_paste == "torchvision":
        return (
            "As in torchvision, the box is cut to whole pixels first, which costs small objects most; "
            "segmenter.mask_paste=exact avoids it."
        )
    learned = (
        "The network samples its features and mask targets at pixel centres, so its masks stay where they are"
        if ceiling.aligned
        else "Masks that a network has learned by torchvision's conventions, up to half an input pixel too far to the "
        "left and above, are moved back"
    )
    return (
        "Masks are exact: a pixel belongs to the object if the value interpolated between the cells around its centre "
        f"exceeds 0.5, with the box as predicted, not cut to whole pixels. {learned}. Only detail finer than a cell is "
        "lost."
    )


def ceiling_table(results: Results) -> Table | None:
    """Make the table of perfect masks, then of the methods with learned scores; None if the ceiling is not known."""
    ceiling = results.mask_resolution_limit
    if ceiling is None or ceiling.mask_ap is None:
        return None
    columns = tuple(metric_column(metric) for metric in METRICS if metric.key in MASK_AP_KEYS)
    perfect = {key: getattr(ceiling, key) for key in MASK_AP_KEYS}
    rows = [Row(f"perfect {ceiling.resolution} × {ceiling.resolution} masks", make_cells(columns, perfect))]
    for name in calibrations(results):
        if track := results.methods[name].class_agnostic:
            rows.append(Row(name, make_cells(columns, track.metrics)))
    caption = "Class-agnostic. The first row is the ceiling: the true objects, passed through such masks."
    return Table(columns, tuple(rows), "Mask resolution limit", caption, sortable=False)


def reliability_charts(results: Results) -> list[Chart]:
    """Draw the reliability diagram of each method whose scores are learned."""
    styles = series_styles(results.ranked, results.oracles)
    return [_reliability(name, own, styles[name]) for name, own in calibrations(results).items()]


def calibration_table(results: Results) -> Table:
    """Make the table of calibration errors of all methods whose scores are learned."""
    rows = [
        Row(name, make_cells(_CALIBRATION, {**_overall(own), "ece": own.ece, "ece_iou": own.ece_iou}))
        for name, own in calibrations(results).items()
    ]
    return mark_best(
        Table(_CALIBRATION, tuple(rows), "Calibration of scores", "ECE: mean distance of score and outcome, 0 is best.")
    )


def reliability_table(results: Results) -> Table:
    """Make the table of the reliability diagrams' bins, those without detections left out."""
    columns = (Column("count", "detections", "Detections with such scores", None, 0), *_CALIBRATION[1:4])
    rows = []
    for name, own in calibrations(results).items():
        for part in _filled(own):
            values = {key: getattr(part, key) for key in ("count", "mean_score", "precision", "mean_iou")}
            rows.append(Row(name, make_cells(columns, values), f"{part.low:.1f} to {part.high:.1f}"))
    return Table(columns, tuple(rows), "Reliability", "Detections by their score.", first_head="scores")


def calibration_sentences(results: Results) -> list[str]:
    """State for each method if its scores are too high or too low."""
    said = []
    for name, own in calibrations(results).items():
        values = _overall(own)
        gap = values["mean_score"] - values["precision"]
        verdict = f"{abs(gap):.3f} too {'high' if gap > 0 else 'low'}" if abs(gap) >= _CLOSE else "about right"
        said.append(
            f"{name}: scores are {verdict} on average (mean score {number_text(values['mean_score'])}, share of right "
            f"detections {number_text(values['precision'])}); bin by bin they are off by {number_text(own.ece)} (ECE)."
        )
    return said


def calibrations(results: Results) -> dict[str, Calibration]:
    """Collect the calibration of those contenders that have one, best method first."""
    found = {name: results.methods[name].calibration for name in results.contenders}
    return {name: own for name, own in found.items() if own}


def _reliability(name: str, own: Calibration, style: Style) -> Chart:
    ring, bins = Style(style.slot, "ring"), _filled(own)
    most = max(part.count for part in bins)
    shares, overlaps = [], []
    for part in bins:
        radius = max(_SMALLEST, _LARGEST * (part.count / most) ** 0.5)  # the area tells the number
        score, right, overlap = _means(part)
        said = (
            f"score {part.low:.1f} to {part.high:.1f}, {part.count:,} detections, mean score {score:.2f}, "
            f"right {right:.2f}, mean IoU {overlap:.2f}"
        )
        shares.append(Point(score, right, Style(style.slot), said, radius=radius))
        overlaps.append(Point(score, overlap, ring, said, radius=radius))
    line = Line([(point.x, point.y) for point in shares], Style(style.slot), name)
    return Chart(
        name,
        unit_axis("mean score"),
        unit_axis("share right, mean IoU"),
        [Line([(0, 0), (1, 1)]), line, *overlaps, *shares],
        aspect=1.0,
        note=f"ECE {number_text(own.ece)}",
    )


def _means(part: CalibrationBin) -> tuple[float, float, float]:
    """Return the mean score, the precision and the mean IoU of a bin with detections."""
    assert part.mean_score is not None
    assert part.precision is not None
    assert part.mean_iou is not None
    return part.mean_score, part.precision, part.mean_iou


def _filled(own: Calibration) -> Sequence[CalibrationBin]:
    return [part for part in own.bins if part.count]


def _overall(own: Calibration) -> dict[str, float]:
    """Combine the bins: their total count, and means weighted by the counts."""
    bins = _filled(own)
    count = sum(part.count for part in bins)
    sums = [sum(part.count * _means(part)[i] for part in bins) for i in range(3)]
    means = dict(zip(("mean_score", "precision", "mean_iou"), (value / count for value in sums), strict=True))
    return {"count": count, **means}


def _definitions(results: Results) -> list[Term]:
    terms = []
    if ceiling := results.mask_resolution_limit:
        pasted = {
            "exact": "every pixel's centre reads the bilinear surface through the cells, cut at 0.5",
            "torchvision": "cells resized to the box's whole pixels, cut at 0.5",
        }[ceiling.mask_paste]
        terms.append(
            Term(
                f"Perfect {ceiling.resolution} × {ceiling.resolution} masks",
                f"Each true mask is sampled over its tight box to {ceiling.resolution} × {ceiling.resolution} cells as "
                f"the targets of training are (He et al., 2017; RoIAlign, at {ceiling.input_of}'s input size), pasted "
                f"back as predictions are ({pasted}), and scored as a detection of score 1, with no cut at a number of "
                "detections. Crowds are left out.",
            )
        )
    if calibrations(results):
        terms.append(
            Term(
                "Calibration, ECE",
                "A learned score claims how likely a detection is right. In ten bins of equal width the mean score is "
                "compared with the share that is right at IoU 0.50 (matched as for AP; detections on crowds left out); "
                "the expected calibration error is the mean distance, weighted by the bins' counts (Guo et al., 2017; "
                "for detections, Küppers et al., 2020). ECE to IoU compares with the mean IoU instead (in the manner "
                "of Oksuz et al., 2023), each detection's with the true object it overlaps most. 0 is best.",
            )
        )
    return terms


BATCH_OBJECTS = 1024  # about so many at once: large ones side by side cost less, and all at once would cost memory


def compute_mask_resolution_limit(
    rows: Mapping[str, MethodResult], ground_truth: GroundTruthSet
) -> MaskResolutionLimit | None:
    """Score the masks that a network with perfect boxes and a perfect mask head would return.

    Every true object is a detection of score 1; crowds are left out. The number of detections is not limited.

    Args:
        rows: methods by name; masks are drawn on the grid of the first method that has one.
        ground_truth: true objects.

    Returns:
        None without such a method or true objects.
    """
    truths = [truth for truth in ground_truth.class_agnostic().truths if not truth["iscrowd"]]
    networks = [(name, row.mask_grid) for name, row in rows.items() if row.mask_grid is not None]
    if not truths or not networks:
        return None
    name, grid = networks[0]
    found: list[Prediction] = []
    overlaps: list[float] = []
    for images in with_progress("limit of mask resolution", list(_batches(truths))):
        real = [[truth["segmentation"] for truth in image] for image in images]
        sizes = [ground_truth.sizes[image[0]["image_id"]] for image in images]
        for image, left in zip(images, grid.redraw(real, sizes), strict=True):
            for truth, mask in zip(image, left, strict=True):
                overlaps.append(float(masks.iou([mask], [truth["segmentation"]], [False])[0, 0]))
                own = truth["image_id"], truth["category_id"]
                found.append(Prediction(image_id=own[0], category_id=own[1], segmentation=mask, score=1.0))
    image_sizes = dict(sorted(ground_truth.sizes.items()))
    inputs = MetricInput(
        truths, found, None, [truths[0]["category_id"]], image_sizes, max_dets=len(found), score_threshold=0.0
    )
    precision = coco_summary(inputs, "segm")
    return MaskResolutionLimit.of(
        {
            "resolution": grid.side,
            "input_of": name,
            "mask_paste": grid.mask_paste,
            "aligned": grid.aligned,
            "objects": len(truths),
            "most_objects": max(Counter(truth["image_id"] for truth in truths).values()),
            **dict(zip(MASK_AP_KEYS, precision.stats, strict=False)),
            "mean_iou": np.mean(overlaps),
        }
    )


def measure_calibration(row: MethodResult, ground_truth: GroundTruthSet, max_dets: int) -> Calibration | None:
    """Compare the class-agnostic scores of a method with the precision and IoU of its detections.

    Args:
        row: the method.
        ground_truth: true objects.
        max_dets: detections per image and category that AP and AR use.

    Returns:
        None without masks or detections, and for scores that are not learned or not in [0, 1].
    """
    if row.ranked_by is not None or row.oracle or row.detections.masks is None:
        return None
    measured = calibration(metric_input(row.detections, ground_truth, max_dets))
    return Calibration.of(measured) if measured else None


def _batches(truths: Sequence[GroundTruth]) -> Iterator[list[list[GroundTruth]]]:
    """Yield the objects by image, some images at a time."""
    batch: list[list[GroundTruth]] = []
    for _, image in groupby(sorted(truths, key=lambda truth: truth["image_id"]), lambda truth: truth["image_id"]):
        batch.append(list(image))
        if sum(map(len, batch)) >= BATCH_OBJECTS:
            yield batch
            batch = []
    if batch:
        yield batch
