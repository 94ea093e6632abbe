"""File of measured rows: a section for each benchmark, with the machine and the versions that it ran on."""

import re
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rows import Row, cells

from segtrain.io import write_atomically

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Measured

Written by the benchmarks themselves, with `--save`: each replaces the section of its own name. *Ours* and *stock* are
medians, where a section says of how many; the docstring of each script says what both sides do, and on which data. A
ratio says how many times better ours is, and *bound* how good it has to be.
"""
PACKAGES = ("torch", "torchvision", "numpy", "scikit-image", "scikit-learn", "pycocotools", "hotcoco")
COLUMNS = ("row", "what", "ours", "stock", "ratio", "bound", "verdict")


def save(path: Path, script: str, rows: Sequence[Row], repeats: int) -> None:
    """Write a script's section, and leave those of the others as they are.

    Args:
        path: path of the Markdown file; it need not exist.
        script: file name of the script.
        rows: measured rows.
        repeats: repetitions of each measurement.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    # What stands before the first heading is the head, which is written anew.
    sections = {_heading(part): part.strip() for part in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]}
    sections[script] = _section(script, rows, repeats)
    parts = [HEAD.strip(), *(sections[name] for name in sorted(sections))]
    write_atomically(path, "\n\n".join(parts) + "\n")


def _heading(section: str) -> str:
    return section.partition("\n")[0].removeprefix("## ").strip()


def _section(script: str, rows: Sequence[Row], repeats: int) -> str:
    lines = [COLUMNS, ("---", "---", *["---:"] * 4, "---"), *(_line(row) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {script}\n\n{_circumstances(repeats)}\n\n{table}"


def _circumstances(repeats: int) -> str:
    import torch

    from segtrain.runtime import describe_environment

    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = describe_environment(device, "auto", torch.get_num_threads())
    gpu = f", {found['gpu']}" if "gpu" in found else ""
    machine = f"{found['processor']}, {found['cores']} cores, {found['memory_gib']} GiB{gpu}; {found['platform']}"
    versions = ", ".join([f"python {found['python']}", *(f"{name} {_version(name)}" for name in PACKAGES)])
    times = f"medians of {repeats}" if repeats > 1 else "once"
    return (
        f"- measured: {date.today().isoformat()}, {times}, torch threads: {found['threads']}\n"
        f"- machine: {machine}\n"
        f"- versions: {versions}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # one that only some benchmarks need
        return "absent"


def _line(row: Row) -> tuple[str, ...]:
    name, ours, stock, ratio, bound, what = cells(row)
    return f"`{name}`", " ".join(what.replace("|", "\\|").split()), ours, stock, ratio, bound, _verdict(row)


def _verdict(row: Row) -> str:
    """State whether the bound holds, and by how much; nothing without a bound."""
    share = row.margin
    if share is None:
        return ""
    if row.miss:
        return f"**missed by {1 - share:.1%}**"
    return f"held by {share - 1:.0%}" if share < 2 else f"held {share:.3g} times over"
