"""The folder of an evaluation: each row's records, and what must not be replaced in it."""

import json
from collections.abc import Collection
from pathlib import Path

from segtrain.errors import SegtrainError
from segtrain.evaluation import Findings
from segtrain.io import write_atomically

REPORT_FILES = ("results.json", "results.csv", "report.md", "report.html")


class EvaluationFolder:
    """Where an evaluation writes; ``predictions/NAME.json`` holds a row's masks, ``NAME.bbox.json`` its boxes.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._given: dict[Path, str] = {}  # result files that rows were read from, links resolved -> their rows

    def keep(self, path: Path, row: str) -> None:
        """Take note of a file that a row was read from: it may lie in the folder, and is never replaced."""
        self._given.setdefault(path.resolve(), row)

    def prepare(self, rows: Collection[str], overwrite: bool) -> None:
        """Make sure that nothing given is replaced, and make room.

        Args:
            rows: names of all rows.
            overwrite: remove what an earlier evaluation left in the folder, but no file that a row was read from.

        Raises:
            SegtrainError: a file that a row was read from would be replaced, or two rows would write the same one.
        """
        reports = [self.path / name for name in REPORT_FILES]
        for path in reports:
            self._refuse_given(path, None)
        seen: set[Path] = set()
        for name in rows:
            for path in self._record_paths(name):
                if path in seen:
                    raise SegtrainError(f"two rows would write {path}; choose another name for one of them")
                seen.add(path)
                self._refuse_given(path, name)
        if overwrite:
            records = (self.path / "predictions").rglob("*.json")
            winners = (self.path / "tuned" / "segmenter").glob("*_winner.yaml")
            for path in [*records, *winners, *reports]:
                if path.resolve() not in self._given:
                    path.unlink(missing_ok=True)

    def write_records(self, name: str, found: Findings) -> None:
        """Write what a row found, unless it was read from that very file."""
        for path, records in zip(self._record_paths(name), (found.masks, found.boxes), strict=True):
            if records is not None and path.resolve() not in self._given:
                write_atomically(path, json.dumps(records))

    def _record_paths(self, name: str) -> tuple[Path, Path]:
        folder = self.path / "predictions"
        return folder / f"{name}.json", folder / f"{name}.bbox.json"

    def _refuse_given(self, path: Path, row: str | None) -> None:
        owner = self._given.get(path.resolve())
        if owner not in (None, row):
            raise SegtrainError(
                f"predictions.{owner}: {path} would be replaced by this evaluation; choose another output_dir"
            )
