"""Page of a sweep: settings with their values, parallel coordinates, and the curves of the best."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segtrain.report.blocks import Section
from segtrain.report.charts import Style, series_styles
from segtrain.report.html import page_environment
from segtrain.report.learning_section import learning_section
from segtrain.report.parallel_axes import ParallelLine, parallel_chart
from segtrain.report.search_section import search_section
from segtrain.report.text import number_text
from segtrain.report.training_curves import curve_sections, title_of
from segtrain.training.run_history import RunHistory
from segtrain.training.sweep_journal import (
    SweepGroup,
    SweepJob,
    describe_states,
    differing_keys,
    group_jobs,
    monitor_of,
)

_CURVES = 5  # settings whose best job is drawn
_SECTIONS = ("quality", "losses")


def sweep_page(folder: Path, jobs: Sequence[SweepJob]) -> str:
    """Write a sweep as one self-contained HTML page.

    Args:
        folder: folder of the sweep, with those of its jobs.
        jobs: jobs that have begun, at least one.
    """
    groups, search = group_jobs(jobs), search_section(jobs)
    # The jobs of a search differ in all settings; their names are too long for legends.
    names = {id(group): f"job {group.best.folder}" if search else group.name for group in groups}
    styles = series_styles(list(names.values()))
    keys, value_title = differing_keys(jobs), title_of(monitor_of(jobs))
    lines = _lines(groups, names, styles)
    return (
        page_environment()
        .get_template("sweep.html.jinja")
        .render(
            title=folder.name,
            groups=groups,
            jobs=[(job, styles[names[id(group)]]) for group in groups for job in group.jobs],
            keys=keys,
            value_title=value_title,
            command="sweep",
            facts=describe_states(jobs),
            styles=styles,
            number=number_text,
            parallel=parallel_chart(keys, value_title, lines) if keys and len(lines) > 1 else None,
            search=search,
            labels=learning_section(folder, jobs),
            sections=_curves(folder, {names[id(group)]: group for group in groups[:_CURVES]}),
        )
    )


def _lines(groups: Sequence[SweepGroup], names: Mapping[int, str], styles: Mapping[str, Style]) -> list[ParallelLine]:
    finished = [(names[id(group)], job) for group in groups for job in group.jobs if job.state == "finished"]
    return [
        ParallelLine(job.settings, job.value, styles[name], name, f"job {job.number}: {number_text(job.value)}")
        for name, job in finished
        if job.value is not None
    ]


def _curves(folder: Path, groups: Mapping[str, SweepGroup]) -> list[Section]:
    """Draw quality and losses of the best job of each of the best settings."""
    histories = {name: RunHistory.read(folder / group.best.folder) for name, group in groups.items()}
    runs = {name: history for name, history in histories.items() if history.series}
    sections = {section.key: section for section in curve_sections(runs)}
    return [replace(sections[key], title=f"{sections[key].title} of the best") for key in _SECTIONS if key in sections]
