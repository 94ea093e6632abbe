"""Section on confusions: which categories are taken for which, at the operating point."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import inf

import numpy as np

from segtrain.arrays import IntArray
from segtrain.benchmark.results import Confusion, Results
from segtrain.console import counted
from segtrain.evaluation import Detections, GroundTruthSet, metric_input
from segtrain.mask_records import column, reaching
from segtrain.metrics.confusion import confusion_cells, pair_objects
from segtrain.report.blocks import Block, Bullets, CellImages, Folded, Heading, Matrix, Paragraph, Section

_SHOWN = 20  # most categories of a matrix; the others are added up
_LISTED = 30  # most images of a cell that are named
_PAIRS = 5  # most confused pairs that are named
_MISSED, _FALSE, _OTHERS = "missed", "no object", "others"


def find_confusions(
    detections: Detections, ground_truth: GroundTruthSet, max_dets: int, names: Mapping[int, str]
) -> list[Confusion] | None:
    """Count which categories a method takes for which.

    Args:
        detections: detections of the method.
        ground_truth: true objects, with their categories.
        max_dets: detections per image and category that count for AP.
        names: file name of each image, by its id.

    Returns:
        None for a method without masks or categories, and on data of a single category.
    """
    ids = [category.id for category in ground_truth.categories]
    if detections.masks is None or not detections.class_aware or len(ids) < 2:
        return None
    if detections.category_thresholds:
        # A detection that does not reach the threshold of its category must not take an object from one that does.
        masks = reaching(detections.masks, detections.score_threshold, detections.category_thresholds)
        detections = replace(detections, masks=masks, score_threshold=-inf, category_thresholds={})
    assert detections.masks is not None
    found, true = (
        np.searchsorted(ids, column(records, "category_id")) for records in (detections.masks, ground_truth.truths)
    )
    matches = metric_input(detections, ground_truth, max_dets).matches("segm")
    pairs = pair_objects(matches, detections.score_threshold)
    rows, columns = confusion_cells(pairs, found, true, categories=len(ids))
    of_found, of_true = (column(records, "image_id") for records in (detections.masks, ground_truth.truths))
    image = np.where(pairs.truth >= 0, np.append(of_true, 0)[pairs.truth], np.append(of_found, 0)[pairs.detection])
    known = [*ids, None]
    cells = rows * len(known) + columns
    order = np.argsort(cells, kind="stable")
    found_cells, starts = np.unique(cells[order], return_index=True)
    images = np.split(image[order], starts[1:])  # one empty part without any cell
    return [
        _confusion(known[cell // len(known)], known[cell % len(known)], own, names)
        for cell, own in zip(found_cells.tolist(), images, strict=False)
    ]


def _confusion(true: int | None, found: int | None, image: IntArray, names: Mapping[int, str]) -> Confusion:
    """Describe a cell of the matrix.

    Args:
        true: id of the true category; None for no object.
        found: id of the category that was found; None for missed objects.
        image: id of the image of each object.
        names: file name of each image, by its id.
    """
    images = Counter(image.tolist()).most_common()
    return Confusion(true, found, len(image), len(images), [names[image_id] for image_id, _ in images[:_LISTED]])


def confused_images(results: Results) -> list[tuple[str, str]]:
    """Choose an image for each of the most confused pairs of the best method that tells categories apart.

    Returns:
        File name and reason of each image.
    """
    names = {category.id: category.name for category in results.data.categories}
    for method in results.contenders:
        entries = results.methods[method].confusion
        wrong = [e for e in entries or () if e.true is not None and e.found is not None and e.true != e.found]
        if entries is not None:
            most = sorted((e for e in wrong if e.images), key=lambda e: -e.count)[:_PAIRS]
            return [(e.images[0], f"{method} takes {names[e.true]} for {names[e.found]}") for e in most]  # type: ignore[index]
    return []


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
    cells = {(place[entry.true], place[entry.found]): entry for entry in entries}
    for cell, entry in cells.items():
        matrix[cell] = entry.count
    pairs = _pairs(matrix, list(names.values()))
    words = Bullets(pairs) if pairs else Paragraph("No object that was found has another category.")
    return [words, _shown(matrix, list(names.values()), name, cells)]


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


def _shown(matrix: IntArray, names: Sequence[str], method: str, cells: Mapping[tuple[int, int], Confusion]) -> Matrix:
    """Make the matrix that is shown: categories that are confused most often, the others added up.

    Args:
        matrix: (K + 1, K + 1) numbers of objects.
        names: names of the K categories.
        method: name of the method.
        cells: entries that are not 0, by row and column.
    """
    count = len(names)
    between = matrix[:count, :count].copy()
    np.fill_diagonal(between, 0)
    importance = np.lexsort((-matrix[:count].sum(axis=1), -(between.sum(axis=0) + between.sum(axis=1))))
    kept = np.sort(importance[:_SHOWN]).tolist() if count > _SHOWN else list(range(count))
    groups = [[number] for number in kept]
    shown = [names[number] for number in kept]
    caption = "Numbers of objects, and their shares of the row. Press a cell for its images."
    mixed = None
    if len(kept) < count:
        groups.append(sorted(set(range(count)) - set(kept)))
        mixed = len(shown)
        shown.append(_OTHERS)
        caption += f" The {count - len(kept)} categories that are confused least are added up."
    groups.append([count])
    counts = [[int(matrix[np.ix_(rows, columns)].sum()) for columns in groups] for rows in groups]
    entries = {
        (r, c): [cells[cell] for cell in product(rows, columns) if cell in cells]
        for r, rows in enumerate(groups)
        for c, columns in enumerate(groups)
    }
    images = {place: _images(own) for place, own in entries.items() if own}
    label = f"Confusion matrix of {method}"
    return Matrix([*shown, _FALSE], [*shown, _MISSED], counts, caption, label, mixed, method, groups, images)


def _images(entries: Sequence[Confusion]) -> CellImages:
    """Name the images of some entries, those with most objects first; their number is a lower bound for several."""
    named = list(dict.fromkeys(name for entry in sorted(entries, key=lambda e: -e.count) for name in entry.images))
    number = max([len(named), *(entry.in_images for entry in entries)])
    cut = any(entry.in_images > len(entry.images) for entry in entries)
    return CellImages(named[:_LISTED], number, len(entries) > 1 and cut)
