"""The table of runs that differ by their seed alone."""

from segtrain.report.tables.cells import METRICS, MISSING, Cell, Results, Row, Table, shown


def seed_table(results: Results) -> Table | None:
    """Class-agnostic means and standard deviations, a row for each configuration; None without any."""
    groups = results.get("seeds") or []
    columns = [c for c in METRICS if any(c.key in group["class_agnostic"] for group in groups)]
    rows = []
    for group in groups:
        found = []
        for column in columns:
            values = group["class_agnostic"].get(column.key)
            if values is None:
                found.append(Cell(None, MISSING))
            else:
                text = shown(column, values["mean"])
                ends = f"{shown(column, values['low'])} to {shown(column, values['high'])}"
                found.append(Cell(values["mean"], text, details=(f"± {shown(column, values['deviation'])}", ends)))
        rows.append(Row(f"seeds {', '.join(map(str, group['seeds']))}", tuple(found)))
    return Table(tuple(columns), tuple(rows)) if rows and columns else None
