"""Section on confusions: which categories are taken for which, at the operating point."""

from collections.abc import Sequence

import numpy as np

from segtrain.arrays import IntArray
from segtrain.benchmark.results import Confusion, Results
from segtrain.console import counted
from segtrain.evaluation import Detections, GroundTruthSet, metric_input
from segtrain.mask_records import column
from segtrain.metrics.confusion import confusion_matrix
from segtrain.report.blocks import Block, Bullets, Folded, Heading, Matrix, Paragraph, Section

_SHOWN = 20  # most categories of a matrix; the others are added up
_PAIRS = 5  # most confused pairs that are named
_MISSED, _FALSE, _OTHERS = "missed", "no object", "others"


def find_confusions(detections: Detections, ground_truth: GroundTruthSet, max_dets: int) -> list[Confusion] | None:
    """Count which categories a method takes for which.

    Args:
        detections: detections of the method.
        ground_truth: true objects, with their categories.
        max_dets: detections per image and category that count for AP.

    Returns:
        None for a method without masks or categories, and on data of a single category.
    """
    ids = [category.id for category in ground_truth.categories]
    if detections.masks is None or not detections.class_aware or len(ids) < 2:
        return None
    found, true = (
        np.searchsorted(ids, column(records, "category_id")) for records in (detections.masks, ground_truth.truths)
    )
    matches = metric_input(detections, ground_truth, max_dets).matches("segm")
    matrix = confusion_matrix(matches, found, true, categories=len(ids), score_threshold=detections.score_threshold)
    known = [*ids, None]
    return [Confusion(known[t], known[f], int(matrix[t, f])) for t, f in np.argwhere(matrix).tolist()]


def confusions(results: Results) -> Section | None:
    """Show a confusion matrix of each method that tells categories apart; None without one."""
    blocks: list[Block] = []
    for name in results.ranked:
        entries = results.methods[name].confusion
        if entries is None:
            continue
        own = _of_method(results, name, entries)
        blocks += [Heading(name), *own] if not blocks else [Folded(name, own)]
    if not blocks:
        return None
    lead = (
        "Detections at the operating point, matched to true objects at IoU 0.50 whatever their categories. Rows are "
        "true categories, columns those that were found; the shade is the share of its row."
    )
    return Section("confusions", "Confusions of categories", [Paragraph(lead), *blocks], short="Confusions")


def _of_method(results: Results, name: str, entries: Sequence[Confusion]) -> list[Block]:
    names = {category.id: category.name for category in results.data.categories}
    ids = list(names)
    matrix = np.zeros((len(ids) + 1, len(ids) + 1), dtype=np.int64)
    place: dict[int | None, int] = {identifier: number for number, identifier in enumerate([*ids, None])}
    for entry in entries:
        matrix[place[entry.true], place[entry.found]] = entry.count
    pairs = _pairs(matrix, list(names.values()))
    words = Bullets(pairs) if pairs else Paragraph("No object that was found has another category.")
    return [words, _shown(matrix, list(names.values()), f"Confusion matrix of {name}")]


def _pairs(matrix: IntArray, names: Sequence[str]) -> list[str]:
    """Name the most confused pairs of categories."""
    between = matrix[:-1, :-1].copy()
    np.fill_diagonal(between, 0)
    objects = matrix[:-1].sum(axis=1)
    order = np.argsort(-between, axis=None, kind="stable")[:_PAIRS]
    return [
        f"{names[t]} is taken for {names[f]} {'once' if between[t, f] == 1 else f'{between[t, f]:,} times'}, in "
        f"{100 * between[t, f] / objects[t]:.0f} % of its {counted(int(objects[t]), 'object')}."
        for t, f in zip(*np.unravel_index(order, between.shape), strict=True)
        if between[t, f]
    ]


def _shown(matrix: IntArray, names: Sequence[str], label: str) -> Matrix:
    """Make the matrix that is shown: categories that are confused most often, the others added up."""
    count = len(names)
    between = matrix[:count, :count].copy()
    np.fill_diagonal(between, 0)
    importance = np.lexsort((-matrix[:count].sum(axis=1), -(between.sum(axis=0) + between.sum(axis=1))))
    kept = np.sort(importance[:_SHOWN]).tolist() if count > _SHOWN else list(range(count))
    groups = [[number] for number in kept]
    shown = [names[number] for number in kept]
    caption = "Numbers of objects, and their shares of the row."
    mixed = None
    if len(kept) < count:
        groups.append(sorted(set(range(count)) - set(kept)))
        mixed = len(shown)
        shown.append(_OTHERS)
        caption += f" The {count - len(kept)} categories that are confused least are added up."
    groups.append([count])
    counts = [[int(matrix[np.ix_(rows, columns)].sum()) for columns in groups] for rows in groups]
    return Matrix([*shown, _FALSE], [*shown, _MISSED], counts, caption, label, mixed)
