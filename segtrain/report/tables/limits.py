"""Mask R-CNN's own limits: what its small masks let through, and what its scores are worth."""

from collections.abc import Mapping
from typing import Any

from segtrain.report.analysis.mask_ceiling import is_mask_rcnn
from segtrain.report.tables.cells import METRICS, Column, Results, Row, Table, cells, contenders, mark_best, number

_KEYS = ("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large")
_CALIBRATION = (
    Column("count", "detections", "Detections that count: all but those on crowd regions", None, 0),
    Column("mean_score", "mean score", "Mean of their scores", None),
    Column("precision", "right", "Share of them that is right at IoU 0.50", None),
    Column("mean_iou", "mean IoU", "Mean IoU with the true object that each overlaps most", None),
    Column("ece", "ECE", "Expected calibration error: distance of score and share of right ones", "low"),
    Column("ece_iou", "ECE to IoU", "The same distance to the mean IoU", "low"),
)
_CLOSE = 0.02  # scores this near to the truth, on average, are as good as right


def ceiling_sentences(results: Results) -> list[str]:
    """What perfect boxes and masks of 28 x 28 would reach, and where Mask R-CNN stands; nothing if it is not known."""
    ceiling = results.get("mask_ceiling") or {}
    top, fit = number(ceiling.get("mask_ap")), number(ceiling.get("mean_iou"))
    if top is None or fit is None:
        return []
    side = ceiling["resolution"]
    said = [
        f"Mask R-CNN draws each mask on {side} × {side} cells and stretches them over the object's box. Even exact "
        f"boxes with masks exactly as they are taught reach a mask AP of {top:.3f} on these data, a mean IoU of "
        f"{fit:.3f} with the {ceiling['objects']:,} true objects."
    ]
    max_dets = results["data"].get("max_dets")
    cut = max_dets and ceiling["most_objects"] > max_dets
    within = f", at the {max_dets} best-scored detections of an image," if cut else ""
    for name in contenders(results):
        method = results["methods"][name]
        own = number((method.get("class_agnostic") or {}).get("mask_ap"))
        shown = is_mask_rcnn(name, method.get("technique"), method.get("score"), results["reference"])
        if shown and own is not None and top > 0:
            share = (
                f"{100 * own / top:.0f} % of it" if own <= top else "more, since its boxes make up for some of the loss"
            )
            said.append(f"{name}{within} has {own:.3f}, {share}.")
    return said


def ceiling_table(results: Results) -> Table | None:
    """The perfect one in the first row, then the methods with learned scores; None if it is not known."""
    ceiling = results.get("mask_ceiling") or {}
    if number(ceiling.get("mask_ap")) is None:
        return None
    columns = tuple(column for column in METRICS if column.key in _KEYS)
    rows = [Row(f"perfect {ceiling['resolution']} × {ceiling['resolution']} masks", cells(columns, ceiling))]
    rows += [Row(name, cells(columns, results["methods"][name]["class_agnostic"])) for name in _calibrated(results)]
    return Table(columns, tuple(rows))


def calibration_table(results: Results) -> Table | None:
    """How far scores are from what became of the detections, of all methods whose scores are learned."""
    rows = [Row(name, cells(_CALIBRATION, _overall(own))) for name, own in _calibrated(results).items()]
    return Table(_CALIBRATION, mark_best(_CALIBRATION, rows)) if rows else None


def calibration_sentences(results: Results) -> list[str]:
    """Whether each method's scores are too high or too low."""
    said = []
    for name, own in _calibrated(results).items():
        values = _overall(own)
        gap = values["mean_score"] - values["precision"]
        sure = f"{abs(gap):.3f} too {'high' if gap > 0 else 'low'}" if abs(gap) >= _CLOSE else "about right"
        said.append(
            f"{name}: scores are {sure} on average (mean score {values['mean_score']:.3f}, share of right detections "
            f"{values['precision']:.3f}); bin by bin they are off by {values['ece']:.3f} (ECE)."
        )
    return said


def reliability_rows(results: Results) -> list[tuple[str, str, list[str]]]:
    """Method, range of scores, and the numbers of each bin that is not empty, as text."""
    return [
        (
            name,
            f"{part['low']:.1f} to {part['high']:.1f}",
            [f"{part['count']:,}", *(f"{part[key]:.3f}" for key in ("mean_score", "precision", "mean_iou"))],
        )
        for name, own in _calibrated(results).items()
        for part in own["bins"]
        if part["count"]
    ]


def limit_definitions(results: Results) -> list[tuple[str, str]]:
    """Terms of this section, with their sources."""
    found = []
    if ceiling := results.get("mask_ceiling"):
        seen = f"at {ceiling['input_of']}'s input size" if ceiling.get("input_of") else "at the images' own size"
        found.append(
            (
                "Perfect 28 × 28 masks",
                "Each true mask is sampled over its tight box to 28 × 28 cells as the targets of training are (He et "
                f"al., 2017; torchvision's RoIAlign, {seen}), pasted back as predictions are (cells resized to the "
                "box's whole pixels, cut at 0.5), and scored as a detection of score 1, with no cut at a number of "
                "detections. Crowds are left out.",
            )
        )
    if _calibrated(results):
        found.append(
            (
                "Calibration, ECE",
                "A learned score claims how likely a detection is right. In ten bins of equal width the mean score is "
                "compared with the share that is right at IoU 0.50 (matched as for AP; detections on crowds left out); "
                "the expected calibration error is the mean distance, weighted by the bins' counts (Guo et al., 2017; "
                "for detections, Küppers et al., 2020). ECE to IoU compares with the mean IoU instead (in the manner "
                "of Oksuz et al., 2023), each detection's with the true object it overlaps most. 0 is best.",
            )
        )
    return found


def _calibrated(results: Results) -> dict[str, Mapping[str, Any]]:
    """The calibration of those methods that have one, in the order of the tables."""
    known = {name: results["methods"][name].get("calibration") for name in contenders(results)}
    return {name: own for name, own in known.items() if own and number(own.get("ece")) is not None}


def _overall(own: Mapping[str, Any]) -> dict[str, float]:
    """The bins taken together."""
    filled = [part for part in own["bins"] if part["count"]]
    count = sum(part["count"] for part in filled)
    means = {
        key: sum(part["count"] * part[key] for part in filled) / count
        for key in ("mean_score", "precision", "mean_iou")
    }
    return {"count": count, "ece": own["ece"], "ece_iou": own["ece_iou"], **means}
