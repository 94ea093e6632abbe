"""Words and the terminal's table for a comparison of two evaluations."""

from collections.abc import Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from segtrain.comparison.compared_results import Change, ComparedResults, Drop, MethodChanges
from segtrain.console import counted
from segtrain.metrics.registry import METRICS
from segtrain.report.text import join_words, number_text, p_phrase, p_text

TITLES = {metric.key: metric.title for metric in METRICS}
HEADLINE = tuple(metric.key for metric in METRICS if metric.headline)
SHOWN = ("mask_ap", "miou", "f1_50")  # in the terminal, where no others are asked for
_MOST = 6  # categories or strata that a sentence names
_STYLES = {"rose": "bold green", "fell": "bold red"}


def describe_pairing(compared: ComparedResults) -> list[str]:
    """Say how the evaluations are compared, and what that is worth."""
    paired = [name for name in compared.methods if name not in compared.unpaired]
    sentences = []
    if paired:
        which = "" if not compared.unpaired else f" {join_words(paired)}:"
        sentences.append(
            f"Paired{which}: both evaluations are of the same {counted(compared.first.images, 'image')}; intervals and "
            f"p come from {counted(compared.resamples, 'resample')} of these, the same for both."
        )
    for reason in dict.fromkeys(compared.unpaired.values()):
        names = [name for name, own in compared.unpaired.items() if own == reason]
        which = "" if len(names) == len(compared.methods) else f" {join_words(names)}:"
        sentences.append(
            f"Unpaired{which}: {reason}. Intervals and p come from the two stored intervals as if these were "
            "independent; categories and strata have no intervals."
        )
    if compared.same_data is False:
        sentences.append("As the data differ, a change may be one of the data and not of the method.")
    return sentences


def describe_changes(compared: ComparedResults) -> list[str]:
    """Say what rose and what fell beyond chance, method by method, and which methods one evaluation lacks."""
    judged = {name: own for name, own in compared.methods.items() if not own.oracle}
    same = [name for name, own in judged.items() if _is_same(own)]
    sentences = [sentence for name, own in judged.items() for sentence in _of_method(name, own)]
    if not sentences:
        tested = [change for own in judged.values() for change in own.class_agnostic.values() if change.p is not None]
        beyond = "Nothing rose or fell beyond chance."
        sentences.append(beyond if tested or same else "Without intervals there are no tests.")
    if same:
        sentences.append(f"Unchanged: {join_words(same)}.")
    for names, which in ((compared.only_first, "first"), (compared.only_second, "second")):
        if names:
            sentences.append(f"Only the {which} evaluation has {join_words(names)}.")
    return sentences


def _is_same(own: MethodChanges) -> bool:
    """Return True if no number of a method has changed on any resample."""
    changes = [change for change in own.class_agnostic.values() if change.difference is not None]
    return bool(changes) and all(change.outcome in ("same", "untested") and not change.difference for change in changes)


def _of_method(name: str, own: MethodChanges) -> Iterator[str]:
    """Yield what rose and fell of a method: its headline metrics, then other metrics, categories and strata."""
    for outcome in ("rose", "fell"):
        main = {key: change for key, change in own.class_agnostic.items() if change.outcome == outcome}
        named = [f"{TITLES[key]} {change_text(main[key])}" for key in HEADLINE if key in main]
        others = [TITLES[key] for key in main if key not in HEADLINE]
        if others:
            named.append(f"also {join_words(others)}" if named else join_words(others))
        if named:
            yield f"{name} {outcome} beyond chance: {', '.join(named)}."
        for kind, changes in (("category", by_category(own, "mask_ap")), ("kind of object", by_stratum(own))):
            found = {group: change for group, change in changes.items() if change.outcome == outcome}
            if found:
                parts = [f"{group} ({_signed(change)})" for group, change in found.items()]
                yield f"{name}, mask AP by {kind}: {outcome} beyond chance for {join_words(parts, _MOST)}."


def by_category(own: MethodChanges, key: str) -> dict[str, Change]:
    """Return the changes of a metric by category."""
    return {name: changes[key] for name, changes in own.categories.items() if key in changes}


def by_stratum(own: MethodChanges) -> dict[str, Change]:
    """Return the changes of mask AP by stratum, named with its trait."""
    return {f"{name} ({trait})": change for trait, changes in own.strata.items() for name, change in changes.items()}


def change_text(change: Change) -> str:
    """Describe a change with its interval and p.

    >>> change_text(Change(0.25, 0.3, 0.05, 0.01, 0.09, 0.012))
    '0.250 → 0.300 (+0.050, 95 % interval +0.010 to +0.090, p = 0.012)'
    """
    text = f"{number_text(change.before)} → {number_text(change.after)}"
    if change.difference is None:
        return text
    parts = [_signed(change)]
    if change.low is not None and change.high is not None:
        parts.append(f"95 % interval {number_text(change.low, signed=True)} to {number_text(change.high, signed=True)}")
    if change.p is not None:
        parts.append(p_phrase(change.p, change.least_p))
    return f"{text} ({', '.join(parts)})"


def _signed(change: Change) -> str:
    return number_text(change.difference, signed=True)


def terminal_table(compared: ComparedResults, metrics: Sequence[str] = SHOWN) -> RichTable:
    """Make a table of some class-agnostic metrics of each method.

    Args:
        compared: comparison of two evaluations.
        metrics: keys of the metrics; of a method without masks box AP is shown.
    """
    table = RichTable(
        title="Class-agnostic: second evaluation minus first", title_justify="left", header_style="bold",
        box=SIMPLE_HEAD,
    )  # fmt: skip
    table.add_column("method", overflow="fold")
    table.add_column("metric")
    for column in ("first", "second", "difference", "95 % interval", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for name, own in compared.methods.items():
        shown = [key for key in metrics if key in own.class_agnostic] or ["box_ap"]
        for place, key in enumerate(shown):
            change = own.class_agnostic.get(key, Change(None, None))
            style = "" if own.oracle else _STYLES.get(change.outcome, "")
            cells = [number_text(change.before), number_text(change.after), _signed(change), interval_text(change)]
            table.add_row(
                Text("" if place else name), TITLES[key], *cells[:2], Text(cells[2], style=style), cells[3],
                "" if change.p is None else p_text(change.p, change.least_p), outcome_text(change, own),
            )  # fmt: skip
    return table


def interval_text(change: Change) -> str:
    """Format the interval of a change; empty without one."""
    if change.low is None or change.high is None:
        return ""
    return f"{number_text(change.low, signed=True)} to {number_text(change.high, signed=True)}"


def outcome_text(change: Change, own: MethodChanges) -> str:
    """Return the outcome of a change in a word or two; nothing for one that is not told from chance."""
    if own.oracle:
        return "upper bound"
    return {"undecided": "", "same": "unchanged", "untested": "not tested"}.get(change.outcome, change.outcome)


def describe_drops(drops: Sequence[Drop], limits: Mapping[str, float], *, beyond_chance: bool) -> list[str]:
    """Say which falls are beyond the limits, or that there are none.

    Args:
        drops: the falls.
        limits: largest fall by key.
        beyond_chance: True if falls that may be chance were left out.
    """
    stated = ", ".join(f"{key} {limit:g}" for key, limit in limits.items())
    how = "chance left out" if beyond_chance else "whether or not by chance"
    if not drops:
        return [f"No method fell by more than the limits ({stated}; {how})."]
    return [
        f"DROP {drop.method}: {drop.metric} {change_text(drop.change)}, "
        + ("not defined any more" if drop.change.difference is None else f"more than {drop.limit:g} ({how})")
        for drop in drops
    ]
