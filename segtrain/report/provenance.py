"""Where a report came from: its data and its checkpoints, as a reader wants them."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from segtrain.report.tables.cells import Results


def data_title(results: Results) -> str:
    """What was evaluated on: the folder of the data and the annotation file in it."""
    name, path = results["data"].get("name"), results["data"].get("annotations_file")
    folders = [part for part in PurePath(path).parent.parts if part not in ("annotations", "/")] if path else []
    return ", ".join(filter(None, [*folders[-1:], name]))


def checkpoints(results: Results) -> dict[str, list[tuple[str, str]]]:
    """By learned row, what its checkpoint says of itself."""
    known = results.get("checkpoints") or {"Checkpoint": results.get("checkpoint")}
    return {name: facts(checkpoint) for name, checkpoint in known.items() if checkpoint}


def facts(known: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values for a reader: few digits, and nothing that is unknown or no single value."""
    return [
        (name, _digits(value) if isinstance(value, float) else str(value))
        for name, value in known.items()
        if value is not None and not isinstance(value, Mapping)
    ]


def _digits(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
