"""F1 at a few of the IoU that a match may need, of every method."""

from segtrain.report.tables.cells import Column, Results, Row, Table, cells, is_oracle, mark_best, ranking

F1_COLUMNS = tuple(
    Column(f"{iou:.2f}", f"F1 at {iou:.2f}", f"F1 of matched objects at IoU {iou:.2f}, at the row's score threshold")
    for iou in (0.5, 0.6, 0.7, 0.8, 0.9)
)


def f1_table(results: Results) -> Table | None:
    """Class-agnostic F1 of every method that has it, best mask AP first; None if none has.

    Args:
        results: the content of ``results.json``.
    """
    rows = []
    for name in ranking(results):
        method = results["methods"][name]
        if curve := (method.get("class_agnostic") or {}).get("f1_curve"):
            values = {f"{iou:.2f}": f1 for iou, f1 in zip(curve["thresholds"], curve["f1"], strict=True)}
            rows.append(Row(name, cells(F1_COLUMNS, values), oracle=is_oracle(method)))
    return Table(F1_COLUMNS, mark_best(F1_COLUMNS, rows)) if rows else None
