"""The ``curves`` command, and the page of curves that a training keeps in its folder."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from segtrain.console import CommandParser, print_text
from segtrain.errors import SegtrainError
from segtrain.io import without_controls, write_atomically
from segtrain.report.curves_page import curves_page
from segtrain.training.run_history import METRICS, RunHistory
from segtrain.training.sweep_journal import is_sweep_folder, job_folders

PAGE = "curves.html"  # in the folder of a run
_MARK = b'content="segtrain curves"'  # of pages that may be replaced
_SHARE = 0.005  # of the time that a page may take
logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Draw the curves of training runs, several in one chart.

    Args:
        arguments: what follows ``segtrain curves``.

    Returns:
        The exit code.

    Raises:
        SegtrainError: an argument is wrong, or a run has no numbers.
    """
    parser = CommandParser(prog="segtrain curves", description="Draw the curves of training runs, also while they run.")
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, such as runs/train/NAME, or of a sweep"
    )
    parser.add_argument("--out", type=Path, default=Path(PAGE), help=f"path of the page, by default ./{PAGE}")
    given = parser.parse_args(arguments)
    if given.out.is_dir() or (given.out.is_file() and _MARK not in given.out.read_bytes()[:1000]):
        raise SegtrainError(f"{given.out}: exists already, and is no page of segtrain curves; choose another --out")
    write_atomically(given.out, without_controls(curves_page(_read(given.runs))))
    print_text(f"Curves: {given.out}")
    return 0


def _read(folders: Sequence[Path]) -> dict[str, RunHistory]:
    """Read the numbers of runs by their names; jobs of sweeps without any are told and left out.

    Raises:
        SegtrainError: a run, or each job of a sweep, has no numbers.
    """
    found: dict[Path, RunHistory] = {}
    for folder in folders:
        history = RunHistory.read(folder)
        if history.series:
            found[folder] = history
            continue
        is_sweep = is_sweep_folder(folder)
        of_jobs = {path: RunHistory.read(path) for path in job_folders(folder)} if is_sweep else {}
        begun = {path: numbers for path, numbers in of_jobs.items() if numbers.series}
        if not begun:
            what = "no job has written numbers yet" if is_sweep else f"no numbers in {METRICS}"
            raise SegtrainError(f"{folder}: {what}; give the folder of a run or of a sweep, after its first steps")
        found |= begun
        if missing := [path.name for path in of_jobs if path not in begun]:
            print_text(f"{folder}: without numbers, left out: {', '.join(missing)}")
    # Of a run that is named twice, one name is left.
    named = _named(list(found))
    by_path = {path.absolute(): history for path, history in found.items()}
    return {name: by_path[path] for name, path in named.items()}


def _named(folders: Sequence[Path]) -> Mapping[str, Path]:
    """Name runs by their folders, or by as much of their paths as tells them apart.

    >>> list(_named([Path("runs/a/0"), Path("runs/b/0")])), list(_named([Path("runs/a"), Path("runs/a/")]))
    (['a/0', 'b/0'], ['a'])
    """
    paths = list(dict.fromkeys(folder.absolute() for folder in folders))
    most = max(len(path.parts) for path in paths)
    for length in range(1, most + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    return {str(path): path for path in paths}


class CurvesPage:
    """Page in the folder of a run under way; it is written anew after validations, as far as that takes little time.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._next = folder, 0.0

    def update(self, *, last: bool = False) -> None:
        """Write the page, unless the time since the last one is short beside what it takes.

        Args:
            last: True to write it in any case.
        """
        started = time.perf_counter()
        if started < self._next and not last:
            return
        try:
            self._write()
        except OSError as error:  # the state of the training matters more, and can be drawn later
            logger.warning(f"{self._folder / PAGE}: not written ({error.strerror}); segtrain curves draws it")
        took = time.perf_counter() - started
        self._next = started + took / _SHARE

    def _write(self) -> None:
        history = RunHistory.read(self._folder)
        if history.series:
            write_atomically(self._folder / PAGE, without_controls(curves_page({self._folder.name: history})))
