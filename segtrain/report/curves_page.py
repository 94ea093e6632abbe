"""Page of curves: losses, quality, learning rate and time of one training run, or of several in one chart each."""

from collections.abc import Mapping

from segtrain.report.charts import series_styles
from segtrain.report.html import page_environment
from segtrain.report.text import number_text
from segtrain.report.training_curves import curve_sections
from segtrain.training.fit_words import describe_fit
from segtrain.training.run_history import RunHistory


def curves_page(runs: Mapping[str, RunHistory]) -> str:
    """Write the curves of runs as one self-contained HTML page.

    Args:
        runs: numbers of each run by its name, at least one.
    """
    sections = curve_sections(runs)
    names = list(runs)
    return (
        page_environment()
        .get_template("curves.html.jinja")
        .render(
            command="curves",
            title=names[0] if len(names) == 1 else f"{len(names)} training runs",
            rows=[(name, _facts(history)) for name, history in runs.items()],
            styles=series_styles(names),
            words={name: describe_fit(history) for name, history in runs.items()},
            sections=sections,
        )
    )


def _facts(history: RunHistory) -> tuple[str, ...]:
    """Return the numbers of a run for the table: steps, minutes, validations, best mask AP, its step, last losses."""
    steps = max((series[-1][0] for series in history.series.values() if series), default=0)
    quality = history.of("validation/mask_ap")
    step, best = max(quality, key=lambda entry: entry[1], default=(None, None))
    losses = [series[-1][1] if (series := history.of(f"{part}/loss")) else None for part in ("train", "validation")]
    texts = [number_text(value) for value in (best, *losses)]
    return (
        f"{steps:,}", f"{history.minutes_at(steps):.1f}", str(len(quality)), texts[0],
        "–" if step is None else f"{step:,}", *texts[1:],
    )  # fmt: skip
