"""Text of ``--help``: the keys as the YAML files state them, with defaults and comments."""

import re
from pathlib import Path

_NOT_KEYS = ("defaults", "hydra")


def keys_of(folder: Path, root: str) -> str:
    """List the keys of a root and of its data, as they stand in the files.

    Args:
        folder: of the YAML files.
        root: file name without its ending.
    """
    data = ["data:", *(f"  {line}" for line in _keys(folder / "data" / "coco.yaml"))]
    # Hydra fills in the template by string.Template, where a single $ begins a name.
    return "\n".join([*_keys(folder / f"{root}.yaml"), *data]).replace("$", "$$")


def _keys(path: Path) -> list[str]:
    """Return the lines of a file that state keys."""
    lines: list[str] = []
    top = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if named := re.match(r"(\w+):", line):
            top = named[1]
        if top not in ("", *_NOT_KEYS) and line.strip() and not line.startswith("#"):
            lines.append(line)
    return lines
