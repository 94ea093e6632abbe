"""Table of a sweep for the terminal and as ``sweep.csv``: settings that differ, values, minutes and states."""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from segtrain.io import without_controls, write_atomically
from segtrain.report.sweep_page import sweep_page
from segtrain.report.text import number_text
from segtrain.report.training_curves import title_of
from segtrain.training.sweep_journal import (
    SweepGroup,
    SweepJob,
    describe_states,
    differing_keys,
    group_jobs,
    monitor_of,
    short_key,
)

CSV, PAGE = "sweep.csv", "sweep.html"
_NUMBERS = ("mean_of_seeds", "spread_of_seeds", "minutes", "state", "error")


def write_sweep(folder: Path, jobs: Sequence[SweepJob]) -> None:
    """Write the files of a sweep into its folder.

    Args:
        folder: folder of the sweep.
        jobs: jobs that have begun, at least one.

    Raises:
        OSError: a file cannot be written.
    """
    write_atomically(folder / CSV, without_controls(csv_text(jobs)), sync=False)
    write_atomically(folder / PAGE, without_controls(sweep_page(folder, jobs)), sync=False)


def csv_text(jobs: Sequence[SweepJob]) -> str:
    """Write one line for each job, best settings first; undefined numbers are empty.

    >>> print(csv_text([SweepJob(0, ["seed=3"], "finished", "0", 0.25, 1.5)]), end="")
    job,mask_ap,mean_of_seeds,spread_of_seeds,minutes,state,error
    0,0.25,0.25,,1.5,finished,
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    keys = differing_keys(jobs)
    writer.writerow(["job", *keys, monitor_of(jobs), *_NUMBERS])
    for group in group_jobs(jobs):
        for job in group.jobs:
            own = [job.settings.get(key) for key in keys]
            numbers = [job.value, group.mean, group.spread, round(job.minutes, 3)]
            writer.writerow([job.folder, *own, *numbers, job.state, job.error])
    return stream.getvalue()


class SweepTable:
    """Table of the settings of a sweep, the best mean first, jobs that differ in seed or fold in one row.

    A terminal that is too narrow for a column of each setting shows them in one column, by their short names.

    Args:
        jobs: jobs that have begun.

    >>> from rich.console import Console
    >>> jobs = [SweepJob(n, [f"optimizer.lr={n}e-3"], "finished", str(n), n / 10, 1.0) for n in (1, 2)]
    >>> Console(width=50).print(SweepTable(jobs))  # doctest: +NORMALIZE_WHITESPACE
    Sweep: 2 finished
    <BLANKLINE>
      lr     mask AP   minutes   state
     ───────────────────────────────────────
      2e-3     0.200       1.0   1 finished
      1e-3     0.100       1.0   1 finished
    <BLANKLINE>
    """

    def __init__(self, jobs: Sequence[SweepJob]) -> None:
        self._groups = group_jobs(jobs)
        self._title = f"Sweep: {describe_states(jobs)}"
        self._metric = title_of(monitor_of(jobs))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Measure the table; its largest width is that with a column of each setting."""
        return Measurement.get(console, options, self._wide())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table with a column of each setting, or with one of all where these do not fit."""
        wide = self._wide()
        unlimited = options.update(max_width=sys.maxsize)
        if Measurement.get(console, unlimited, wide).maximum <= options.max_width:
            yield wide
        else:
            yield self._table({"settings": [group.name for group in self._groups]})

    def _wide(self) -> RichTable:
        """Make the table with a column of each setting."""
        keys = list(self._groups[0].settings) if self._groups else []
        own = {short_key(key, keys): [group.settings[key] for group in self._groups] for key in keys}
        return self._table(own or {"settings": ["all alike"] * len(self._groups)})

    def _table(self, settings: Mapping[str, Sequence[str]]) -> RichTable:
        """Make a table with a column for each of the settings."""
        several = any(len(group.jobs) > 1 for group in self._groups)
        caption = f"{self._metric}: mean of seeds or folds ± standard deviation" if several else None
        table = RichTable(
            title=self._title, title_justify="left", caption=caption, caption_justify="left", header_style="bold",
            box=SIMPLE_HEAD,
        )  # fmt: skip
        for key in settings:
            table.add_column(key, overflow="fold")
        for name in (self._metric, "minutes"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for place, group in enumerate(self._groups):
            best = place == 0 and group.mean is not None and len(self._groups) > 1
            value = Text(value_text(group), style="bold green" if best else "")
            own = [Text(values[place]) for values in settings.values()]
            table.add_row(*own, value, f"{group.minutes:.1f}", Text(group.state))
        return table


def value_text(group: SweepGroup) -> str:
    """Return the mean and the spread of a group.

    >>> value_text(SweepGroup({}, [SweepJob(n, [], "finished", str(n), n / 10) for n in (1, 2)]))
    '0.150 ± 0.071'
    """
    spread = "" if group.spread is None else f" ± {number_text(group.spread)}"
    return f"{number_text(group.mean)}{spread}"
