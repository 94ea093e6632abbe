"""Section of a search on the page of a sweep: the value of each job in their order, and against each setting."""

from collections.abc import Sequence

from segtrain.report.blocks import Block, Charts, Paragraph, Section
from segtrain.report.charts import NARROW, WIDE, Axis, Chart, Line, Point, Style, axis_from_zero, nice_scale
from segtrain.report.labels import fit
from segtrain.report.parallel_axes import places_of, some_of
from segtrain.report.text import number_text
from segtrain.report.training_curves import title_of
from segtrain.training.patience import sign_of
from segtrain.training.sweep_journal import SweepJob, best_job, differing_keys, short_key

_FINISHED, _PRUNED = Style(0), Style(0, "ring")
_MOST = 12  # settings that are drawn
_MARGIN = 0.08  # of an axis of settings, at both ends


def search_section(jobs: Sequence[SweepJob]) -> Section | None:
    """Draw the values of the jobs of a search; None of a sweep that is no search, or whose jobs have no values yet.

    Args:
        jobs: jobs of a sweep.
    """
    valued = [job for job in jobs if job.drawn and job.value is not None and job.state in ("finished", "pruned")]
    best = best_job(valued)
    if best is None:
        return None
    height = axis_from_zero(title_of(best.monitor), max(map(_value, valued)))
    settings = " ".join(
        f"{short_key(key, list(best.settings))}={best.settings.get(key, '–')}" for key in differing_keys(jobs)
    )
    lead = (
        f"Best so far: job {best.number} with {number_text(best.value)} ({settings}). A dot is a finished job, a ring "
        "one that was ended early, with its value then; the line is the best of the finished ones so far. The best of "
        "many jobs is chosen by its luck as well: train with its settings and another seed before you rely on it."
    )
    keys = [key for key in differing_keys(jobs) if key != "seed"][:_MOST]
    blocks: list[Block] = [Paragraph(lead), Charts([_by_number(valued, best, height)])]
    if keys and len(valued) > 2:
        blocks.append(
            Charts(
                [_by_setting(valued, best, height, key, keys) for key in keys],
                "The same values against each setting; the others vary as well. Settings whose ends differ tenfold "
                "have logarithmic axes.",
            )
        )
    return Section("search", "Search", blocks)


def _value(job: SweepJob) -> float:
    assert job.value is not None
    return job.value


def _by_number(jobs: Sequence[SweepJob], best: SweepJob, height: Axis) -> Chart:
    """Draw the values in the order of the jobs, with the best of the finished ones so far."""
    corners: list[tuple[float, float]] = []
    sign = sign_of(best.monitor)
    for job in jobs:
        if job.state == "finished" and (not corners or sign * _value(job) > sign * corners[-1][1]):
            corners += [(job.number, corners[-1][1])] if corners else []
            corners.append((job.number, _value(job)))
    last = max(job.number for job in jobs)
    _, step = nice_scale(last, NARROW)
    ticks = [(n * max(step, 1.0), f"{n * max(step, 1.0):.0f}") for n in range(int(last / max(step, 1.0)) + 1)]
    numbers = Axis("number of the job", -0.5, last + 0.5, ticks)
    points = [_point(job, job.number, best) for job in jobs]
    line = Line([*corners, (last, corners[-1][1])], None, "best so far")
    return Chart(
        f"{height.title} in the order of the jobs", numbers, height, [line, *points], (WIDE, NARROW), aspect=0.5
    )


def _by_setting(jobs: Sequence[SweepJob], best: SweepJob, height: Axis, key: str, keys: Sequence[str]) -> Chart:
    places = places_of([job.settings.get(key, "–") for job in jobs])
    ticks = [(place, _short(value)) for value, place in some_of(places, 4 if len(places) <= 4 else 2)]
    axis = Axis(short_key(key, keys), -_MARGIN, 1 + _MARGIN, ticks)
    points = [_point(job, places[job.settings.get(key, "–")], best) for job in jobs]
    return Chart(key, axis, height, points, aspect=0.7)


def _short(value: str) -> str:
    """Write a long number with two digits, and shorten another long value, for a tick.

    >>> _short("0.0007294"), _short("128"), _short("default")
    ('0.00073', '128', 'default')
    """
    try:
        return value if len(value) < 7 else f"{float(value):.2g}"
    except ValueError:
        return fit(value, 60)


def _point(job: SweepJob, x: float, best: SweepJob) -> Point:
    style = _FINISHED if job.state == "finished" else _PRUNED
    title = f"job {job.number}: {number_text(job.value)}, {job.state}"
    return Point(x, _value(job), style, title, radius=6.5 if job == best else 4.0)
