"""Glossary of a report: its metrics, from the registry, and the terms that all sections share."""

from collections.abc import Sequence

from segtrain.benchmark.results import Results
from segtrain.metrics.metric import Metric
from segtrain.metrics.registry import METRICS
from segtrain.report.blocks import Section, Term, Terms
from segtrain.report.text import MISSING


def definitions(results: Results, of_sections: Sequence[Term]) -> Section:
    """Make the glossary.

    Args:
        results: an evaluation.
        of_sections: terms that sections define.
    """
    undefined = Term(
        MISSING, "Not defined: nothing to measure, or the method does not provide it (boxes without masks)."
    )
    return Section("definitions", "Definitions", [Terms([*general_terms(results), *of_sections, undefined])])


def general_terms(results: Results) -> list[Term]:
    """Define the metrics and the terms that they need."""
    return [
        Term("IoU", "Intersection over union: pixels shared by two masks, over pixels in either. 1 is a perfect fit."),
        *metric_terms(),
        Term(
            "Operating point",
            f"AP and AR use every detection, ranked by score, per image and category the {results.data.max_dets} "
            "best-scored ones. All other mask metrics need a decision instead: they use the detections whose score "
            f"reaches the method's threshold ({_thresholds(results)}).{_chosen(results)}{_by_category(results)}",
        ),
        Term(
            "Class-agnostic, class-aware",
            "Class-agnostic: all categories become one before scoring, so every method can be compared; overlapping "
            "detections of different categories are all kept, none suppresses another. Class-aware: the category "
            "must be right too; methods that know no categories have no such row.",
        ),
    ]


def metric_terms() -> list[Term]:
    """Define the metrics of the registry; those of one definition share a term."""
    groups: dict[str, list[Metric]] = {}
    for metric in METRICS:
        groups.setdefault(metric.definition, []).append(metric)
    return [
        Term(", ".join(metric.title for metric in metrics), f"{definition} Source: {metrics[0].source}.")
        for definition, metrics in groups.items()
    ]


def _thresholds(results: Results) -> str:
    """List the score thresholds with their methods: ``0.5 for mask_rcnn; 0 for kmeans, …``."""
    rows: dict[float, list[str]] = {}
    for name, method in results.methods.items():
        rows.setdefault(method.score_threshold or 0.0, []).append(name)
    return "; ".join(f"{threshold:g} for {', '.join(names)}" for threshold, names in sorted(rows.items(), reverse=True))


def _by_category(results: Results) -> str:
    """Say which numbers use thresholds of single categories, if there are any."""
    names = [name for name, method in results.methods.items() if method.category_thresholds]
    if not names:
        return ""
    have = "has thresholds" if len(names) == 1 else "have thresholds"
    return (
        f" In class-aware numbers and in the confusion matrix {', '.join(names)} {have} of single categories, listed "
        "per category. Where training has chosen them each has the highest F1 of its category: class-aware F1 and PQ "
        "are means over categories, so that each threshold serves its own term. Class-agnostic numbers use the one "
        "threshold of all categories."
    )


def _chosen(results: Results) -> str:
    """State the origin of the thresholds of checkpoints, if it is known."""
    return "".join(
        f" The checkpoint's own of {name}, {known.score_threshold:g}, had the highest F1 on "
        f"{known.threshold_images} images of the training split."
        for name, known in results.checkpoints.items()
        if known and known.threshold_images
    )
