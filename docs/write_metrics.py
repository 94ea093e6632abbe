"""Table of metrics in ``docs/report.md``, written from the registry: ``python docs/write_metrics.py``."""

import re
from pathlib import Path

from segtrain.metrics.registry import METRICS

PAGE = Path(__file__).parent / "report.md"
BLOCK = re.compile(r"(?<=<!-- metrics: written by docs/write_metrics.py -->\n).*(?=<!-- end of metrics -->)", re.DOTALL)


def metrics_table() -> str:
    """Format all metrics as a Markdown table, one row for each definition."""
    rows = ["| metric | key | definition | source |", "|---|---|---|---|"]
    for definition in dict.fromkeys(metric.definition for metric in METRICS):
        metrics = [metric for metric in METRICS if metric.definition == definition]
        titles = ", ".join(metric.title for metric in metrics)
        keys = ", ".join(f"`{metric.key}`" for metric in metrics)
        rows.append(f"| {titles} | {keys} | {definition} | {metrics[0].source} |")
    return "\n".join(rows) + "\n"


def updated(page: str) -> str:
    """Replace the table in the text of the page."""
    return BLOCK.sub(lambda _: metrics_table(), page)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
