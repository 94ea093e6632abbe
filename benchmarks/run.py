"""All benchmarks, one after the other.

    python benchmarks/run.py --nuclei DIR --coco DIR --check --save

Runs every script of this folder, each in a process of its own, and passes its options on; the trainings of ten minutes
only with ``--trainings``. A script that fails does not keep the others from running. At the end stand a table of all
rows, the bounds that were missed, and the scripts that failed; the exit code is 1 if there are any of these, or with
``--check`` of those. ``--json`` gets the rows of all.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import arguments, verdict
from rows import Row, read_rows, table, write_json

FOLDER = Path(__file__).parent
TRAININGS = ("time_to_quality.py",)
PASSED_ON = ("nuclei", "coco", "weights", "checkpoint", "repeats", "save")


def main(options: argparse.Namespace) -> None:
    """Run the scripts and summarise their rows."""
    rows: list[Row] = []
    failures = []
    began = time.perf_counter()
    for script in scripts(FOLDER, options.trainings):
        print(f"\n{script.name}", flush=True)
        started = time.perf_counter()
        found, code = measure(script, passed_on(options))
        print(f"{time.perf_counter() - started:.0f} s", flush=True)
        rows += found or []
        if found is None:
            failures.append(f"failed: {script.name}: exit code {code}; its last lines stand above")
    print(f"\n{table(rows)}\n\n{(time.perf_counter() - began) / 60:.1f} minutes in all", flush=True)
    if options.json:
        write_json(rows, options.json)
    missed = verdict(rows)
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures or (missed and options.check):
        sys.exit(1)


def scripts(folder: Path, trainings: bool) -> list[Path]:
    """List the benchmarks of the folder: scripts that end with the harness's table."""
    return [
        path
        for path in sorted(folder.glob("*.py"))
        if path.name != Path(__file__).name
        and (trainings or path.name not in TRAININGS)
        and "\nfrom harness import " in (text := path.read_text(encoding="utf-8"))
        and '\nif __name__ == "__main__":\n' in text
    ]


def passed_on(options: argparse.Namespace) -> list[str]:
    """Collect the options for each script, without those of the verdict, which is made here for all rows."""
    values = {name: getattr(options, name) for name in PASSED_ON}
    return [text for name, value in values.items() if value is not None for text in (f"--{name}", str(value))]


def measure(script: Path, options: list[str]) -> tuple[list[Row] | None, int]:
    """Run a script; return its rows, None if it failed, and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "rows.json"
        # Whatever is installed, it is this tree that is measured.
        path = os.pathsep.join(filter(None, [str(FOLDER.parent.absolute()), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, str(script), *options, "--hand-on", str(written)]
        code = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode
        return read_rows(written) if code == 0 and written.exists() else None, code


if __name__ == "__main__":
    parser = arguments("All benchmarks of this folder.")
    parser.add_argument("--trainings", action="store_true", help="also those that train for ten minutes")
    main(parser.parse_args())
