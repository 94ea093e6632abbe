"""Section on several training runs: their settings, a ranking, paired differences, seeds, cost, and curves."""

import math

from segtrain.benchmark.results import Results
from segtrain.benchmark.run_names import SEPARATOR, common_name, short_keys
from segtrain.benchmark.run_results import Configuration, Run, RunDifference, RunPair, Runs
from segtrain.console import counted
from segtrain.metrics.bootstrap import CLEAR
from segtrain.metrics.registry import METRICS
from segtrain.report.blocks import Block, Bullets, Charts, Folded, Heading, Listing, Paragraph, Section
from segtrain.report.charts import series_styles
from segtrain.report.tables import Cell, Column, Row, Table, metric_column
from segtrain.report.text import MISSING, join_words, number_text, p_phrase, p_text, time_text
from segtrain.report.training_curves import curve_sections
from segtrain.training.run_history import RunHistory

_TITLES = {metric.key: metric.title for metric in METRICS}
_MOST_SETTINGS = 8  # columns of settings; more are folded
_MOST_PAIRS = 10  # pairs in a table; more are folded
_DRAWN = ("quality", "losses")


def runs(results: Results) -> Section | None:
    """Show the training runs; None if there are less than two."""
    found, seeds = results.runs, seed_table(results)
    if found is None and seeds is None:
        return None
    blocks: list[Block] = []
    if found is not None:
        if len(found.configurations) > 1:
            blocks += _ranking(found)
        blocks += [Heading("Settings and cost"), *_settings(results, found)]
    if seeds is not None:
        blocks += [Heading("Seeds of one configuration"), seeds]
    if found is not None:
        blocks += _curves(results, found)
    return Section("runs", "Runs", blocks)


def _ranking(found: Runs) -> list[Block]:
    """Rank the configurations, and show which differences the data can tell."""
    title = _TITLES[found.metric]
    lead = (
        f"Configurations by {title}, class-agnostic; runs that differ in their seed alone are one, with the mean. "
        "Δ: difference to the best one, with its 95 % interval, paired on the same images; p is corrected for the "
        "number of pairs (Holm). Ranks: those that the differences which the data can tell allow."
    )
    columns = (
        Column("mean", title, f"{title}, mean over the seeds, ± their standard deviation", None),
        Column("difference", "Δ best", "Difference to the best configuration", None, signed=True),
        Column("p", "p", "p-value of that difference, corrected for the number of pairs", None),
        Column("runs", "runs", "Number of runs", None, decimals=0),
    )
    rows = [_ranked(found, place, own) for place, own in enumerate(found.configurations)]
    blocks: list[Block] = [
        Paragraph(lead),
        Bullets(ranking_words(found)),
        Table(columns, tuple(rows), "Ranking of the runs", first_head="ranks"),
    ]
    if found.pairs:
        table = _pairs(found)
        heading = "Paired differences"
        many = len(found.pairs) > _MOST_PAIRS
        blocks += [Folded(f"{heading}: {len(found.pairs)} pairs", [table])] if many else [Heading(heading), table]
    return blocks


def _ranked(found: Runs, place: int, own: Configuration) -> Row:
    best = _pair(found, found.configurations[0].name, own.name) if place else None
    spread = () if own.deviation is None else (f"± {number_text(own.deviation)}",)
    cells = [Cell(own.mean, number_text(own.mean), details=spread), Cell(None, MISSING), Cell(None, MISSING)]
    if best is not None:
        ends = f"[{number_text(-best.high, signed=True)}, {number_text(-best.low, signed=True)}]"
        cells[1] = Cell(-best.difference, number_text(-best.difference, signed=True), details=(ends,))
        cells[2] = Cell(best.p, p_text(best.p, best.least_p))
    cells.append(Cell(float(len(own.rows)), str(len(own.rows))))
    low, high = own.ranks
    return Row(own.name, tuple(cells), category=str(low) if low == high else f"{low} to {high}")


def _pair(found: Runs, first: str, second: str) -> RunDifference | None:
    """Look up the difference of two configurations on the metric of the ranking, the better one first."""
    known = (pair.differences.get(found.metric) for pair in found.pairs if (pair.first, pair.second) == (first, second))
    return next(known, None)


def _pairs(found: Runs) -> Table:
    """Make the table of the paired differences of all metrics."""
    keys = [key for key in _TITLES if any(key in pair.differences for pair in found.pairs)]
    columns = tuple(
        Column(key, f"Δ {_TITLES[key]}", f"{_TITLES[key]}: first minus second, 95 % interval and p", None, signed=True)
        for key in keys
    )
    rows = [
        Row(f"{pair.first} − {pair.second}", tuple(_difference(pair.differences.get(key)) for key in keys))
        for pair in found.pairs
    ]
    caption = "Each metric's p is corrected for the number of pairs; a star marks differences that the data can tell."
    return Table(columns, tuple(rows), "Paired differences of the runs", caption)


def _difference(own: RunDifference | None) -> Cell:
    if own is None:
        return Cell(None, MISSING)
    ends = f"[{number_text(own.low, signed=True)}, {number_text(own.high, signed=True)}]"
    text = number_text(own.difference, signed=True) + (" *" if own.told else "")
    return Cell(own.difference, text, details=(ends, p_phrase(own.p, own.least_p)))


def ranking_words(found: Runs) -> list[str]:
    """Say which configurations the data can tell apart, and what the seeds say of it."""
    title, best, *others = _TITLES[found.metric], *found.configurations
    if not found.pairs:
        return [
            f"{best.name} has the highest {title}, {number_text(best.mean)}; without resamples no difference is tested."
        ]
    known = {own.name: _pair(found, best.name, own.name) for own in others}
    above = [
        f"{name} ({number_text(own.difference, signed=True)}, 95 % interval {number_text(own.low, signed=True)} to "
        f"{number_text(own.high, signed=True)}, {p_phrase(own.p, own.least_p)})"
        for name, own in known.items()
        if own is not None and own.told
    ]
    unresolved = [name for name, own in known.items() if own is not None and _is_unresolved(own)]
    alike = [name for name, own in known.items() if name not in unresolved and (own is None or not own.told)]
    words = [f"{best.name} has the highest {title}, {number_text(best.mean)}."]
    if above:
        words.append(f"The data can tell that {best.name} is above {join_words(above, 4)}.")
    if unresolved:
        pairs = sum(found.metric in pair.differences for pair in found.pairs)
        enough = 1000 * math.ceil(pairs / CLEAR / 1000)
        words.append(
            f"So few resamples cannot tell {best.name} from {join_words(unresolved, 6)}, however different they are: "
            f"corrected for {pairs} pairs, no p can be below {CLEAR}. Evaluate again with bootstrap.resamples={enough}."
        )
    if alike:
        words.append(f"The data cannot tell {best.name} from {join_words(alike, 6)}.")
    lower = [pair for pair in found.pairs if pair.first != best.name and _told(pair, found.metric)]
    if lower:
        said = [f"{pair.first} above {pair.second}" for pair in lower]
        words.append(f"Further differences that the data can tell: {join_words(said, 4)}.")
    return [*words, *_seed_words(found)]


def _is_unresolved(own: RunDifference) -> bool:
    """Return True if p is as small as the resamples allow, and these are too few for any difference to be told."""
    return own.least_p >= CLEAR and own.p <= own.least_p


def _told(pair: RunPair, metric: str) -> bool:
    return metric in pair.differences and pair.differences[metric].told


def _seed_words(found: Runs) -> list[str]:
    """Say how far the differences are those of seeds."""
    if all(len(own.rows) == 1 for own in found.configurations):
        return [
            "Each configuration was trained once: differences are those of these weights, and other seeds may differ; "
            "train each with several seeds to tell."
        ]
    within = [
        f"{pair.first} and {pair.second} (2 standard errors: {number_text(own.of_seeds)})"
        for pair in found.pairs
        if (own := pair.differences.get(found.metric)) is not None
        and own.of_seeds is not None
        and own.p < CLEAR
        and not own.told
    ]
    said = "Beyond chance on these images, but within the spread of the seeds"
    return [f"{said}: {join_words(within, 4)}."] if within else []


def _settings(results: Results, found: Runs) -> list[Block]:
    """List the settings in which the runs differ, and what each has cost."""
    keys = list(found.runs[0].settings)
    shorts = short_keys(keys)
    few, many = keys[:_MOST_SETTINGS], keys[_MOST_SETTINGS:]
    heads = ["run", *shorts[:_MOST_SETTINGS], "minutes", "steps", "time per image", "folder"]
    rows = [[run.row, *(run.settings[key] for key in few), *_cost(results, run)] for run in found.runs]
    blocks: list[Block] = [Listing(heads, rows, "Settings and cost of the runs")]
    if many:
        more = [[run.row, *(run.settings[key] for key in many)] for run in found.runs]
        further = Listing(["run", *shorts[_MOST_SETTINGS:]], more, "Further settings of the runs")
        blocks.append(Folded(f"{counted(len(many), 'further setting')} that differ", [further]))
    if not keys:
        blocks.append(Paragraph("The runs do not differ in any setting that changes a result."))
    return blocks


def _cost(results: Results, run: Run) -> list[str]:
    seconds = results.methods[run.row].seconds
    time = MISSING if seconds is None else time_text(seconds)
    return [f"{run.minutes:.1f}", f"{run.steps:,}", time, run.folder]


def _curves(results: Results, found: Runs) -> list[Block]:
    """Draw the curves of the trainings, in the colours of their rows."""
    known = {run.row: run for run in found.runs if run.history}
    if not known:
        return []
    histories = {
        name: RunHistory({key: [(round(step), value) for step, value in series] for key, series in run.history.items()})
        for name, run in known.items()
    }
    sections = {own.key: own for own in curve_sections(histories, series_styles(results.ranked, results.oracles))}
    charts = [block for key in _DRAWN if key in sections for block in sections[key].blocks if isinstance(block, Charts)]
    if not charts:
        return []
    lead = "Of each run's validations; losses: solid lines of validation, dotted ones of training."
    if absent := [run.row for run in found.runs if not run.history]:
        lead += f" No metrics.jsonl lies beside the checkpoint of {join_words(absent, 4)}."
    joined = Charts([chart for block in charts for chart in block.charts], legend=True)
    return [Heading("Training curves"), Paragraph(lead), joined]


def seed_table(results: Results) -> Table | None:
    """Make the table of runs that differ by their seed alone; None without any."""
    spreads = [group.class_agnostic for group in results.seeds]
    columns = [metric_column(metric) for metric in METRICS if any(metric.key in spread for spread in spreads)]
    rows = []
    for group in results.seeds:
        cells = []
        for column in columns:
            spread = group.class_agnostic.get(column.key)
            if spread is None:
                cells.append(Cell(None, MISSING))
            else:
                ends = f"{column.text(spread.low)} to {column.text(spread.high)}"
                details = (f"± {column.text(spread.deviation)}", ends)
                cells.append(Cell(spread.mean, column.text(spread.mean), details=details))
        seeds = f"seeds {', '.join(map(str, group.seeds))}"
        name = f"{common_name(group.rows)}{SEPARATOR}" if len(results.seeds) > 1 else ""
        rows.append(Row(f"{name}{seeds}", tuple(cells)))
    if not rows or not columns:
        return None
    caption = "Mean, ± standard deviation, least and greatest value of the runs; intervals over images leave it out."
    return Table(tuple(columns), tuple(rows), "Seeds of one configuration", caption)
