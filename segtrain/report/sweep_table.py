"""Table of a sweep for the terminal and as ``sweep.csv``: settings that differ, values, minutes and states."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
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


def terminal_table(jobs: Sequence[SweepJob]) -> RichTable:
    """Make a table of the settings of a sweep, the best mean first, jobs that differ in their seed in one row."""
    groups = group_jobs(jobs)
    keys = list(groups[0].settings) if groups else []
    several = any(len(group.jobs) > 1 for group in groups)
    title = title_of(monitor_of(jobs))
    caption = f"{title}: mean of the seeds ± standard deviation" if several else None
    table = RichTable(
        title=f"Sweep: {describe_states(jobs)}", title_justify="left", caption=caption, caption_justify="left",
        header_style="bold", box=SIMPLE_HEAD,
    )  # fmt: skip
    for key in keys or ["settings"]:
        table.add_column(key, overflow="fold")
    for name in (title, "minutes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state")
    for place, group in enumerate(groups):
        best = place == 0 and group.mean is not None and len(groups) > 1
        settings = [Text(value) for value in group.settings.values()] or [Text("all alike")]
        value = Text(value_text(group), style="bold green" if best else "")
        table.add_row(*settings, value, f"{group.minutes:.1f}", Text(group.state))
    return table


def value_text(group: SweepGroup) -> str:
    """Return the mean and the spread of a group.

    >>> value_text(SweepGroup({}, [SweepJob(n, [], "finished", str(n), n / 10) for n in (1, 2)]))
    '0.150 ± 0.071'
    """
    spread = "" if group.spread is None else f" ± {number_text(group.spread)}"
    return f"{number_text(group.mean)}{spread}"
