"""The verdict: what the numbers say, in sentences, and whether the data can tell."""

from collections.abc import Collection, Sequence
from math import nan
from typing import Literal

from segtrain.report.analysis.comparisons import best_first
from segtrain.report.analysis.costs import cost_sentences
from segtrain.report.analysis.leads import Lead, lead
from segtrain.report.analysis.mappings import METRICS, Results, contenders, interval, number, shown_difference
from segtrain.report.text import join_words as listed

NEGLIGIBLE = 0.02  # a loss up to this in AP, IoU or F1 is taken as none
_TITLES = {column.key: column.title for column in METRICS}
_NAMED = ("mask_ap", "box_ap", "miou", "f1_50", "pq", "boundary_iou")  # others are counted beside them
_TELLS = {
    "apart": "The data can tell them apart",
    "cannot": "The data cannot tell them apart",
    "few": "There are too few resamples to tell",
}
_Standing = Literal["better", "enough", "few", "cannot", "worse"]


def verdict(results: Results) -> list[str]:
    """Plain sentences: who wins on mask AP and on mIoU, where a baseline is good enough, what the methods cost.

    Rows that cannot be had, because the ground truth chose their settings, are left out. The data can tell two rows
    apart where p is below 0.05: corrected for the number of rows where one of the two is Mask R-CNN, that of the pair
    alone otherwise. A baseline is good enough where the whole 95 % interval of what it loses against Mask R-CNN, which
    is not corrected, lies below 0.02.
    """
    names, standard = contenders(results), results["reference"]
    # A classical method says what its scores mean; learned ones have none to explain.
    baselines = [name for name in names if results["methods"][name].get("score") is not None]
    if names and all((results["methods"][name].get("counts") or {}).get("detections") == 0 for name in names):
        sentences = ["No method found anything."]
    else:
        ap = "mask_ap" if _standing(results, names, "mask_ap") else "box_ap"
        sentences = [sentence for key in (ap, "miou") if (sentence := _winner(results, names, key))]
        if not sentences:
            sentences.append("No method has a defined number on these data.")
        elif standard in names:
            sentences += _good_enough(results, standard, baselines)
    return sentences + cost_sentences(results, standard if standard in names else None, baselines)


def _winner(results: Results, names: Sequence[str], key: str) -> str:
    """Who is best on a number, by how much, and whether the data can tell; nothing where it is undefined."""
    standing, title = _standing(results, names, key), _TITLES[key]
    if not standing:
        return ""
    winner = standing[0]
    number_said = _with_interval(results, winner, key)
    if len(names) == 1:
        return f"The {title} of {winner} is {number_said}."
    if len(standing) == 1:
        return f"{winner} is the only method with a defined {title}, {number_said}."
    if _shows_zero(results, standing, key):
        return f"No method reaches a {title} of 0.001."
    second, standard = standing[1], results["reference"]
    margin = shown_difference(results, winner, second, key)
    if not margin:
        sentence = f"{winner} and {second} have the same {title}, {number_said}."
    else:
        sentence = f"{winner} has the best {title}, {number_said}, {margin:.3f} above {second}, the next best."
    sentence += _told(lead(results, winner, second, key))
    if standard in standing[2:]:
        behind = shown_difference(results, winner, standard, key)
        gap = f"{behind:.3f} below {winner}" if behind else f"with the same number as {winner}"
        sentence += f" {standard} is number {standing.index(standard) + 1} of {len(standing)}, {gap}."
        sentence += _told(lead(results, winner, standard, key))
    return sentence


def _told(known: Lead | None) -> str:
    """Whether the data can tell two rows apart; nothing where the images were not resampled."""
    return f" {_TELLS[known.answer]}: {known.words}." if known else ""


def _good_enough(results: Results, standard: str, baselines: Sequence[str]) -> list[str]:
    """Where the best baseline is better, loses next to nothing, cannot be told apart, and is clearly worse."""
    found: dict[_Standing, dict[str, str]] = {"better": {}, "enough": {}, "few": {}, "cannot": {}, "worse": {}}
    for key, title in _TITLES.items():
        best = next(iter(_standing(results, baselines, key)), None)
        loss = lead(results, standard, best, key) if best else None
        if best is None or loss is None or _shows_zero(results, (standard, best), key):
            continue
        above = shown_difference(results, best, standard, key) or 0.0
        gap = f"{abs(above):.3f} {'above' if above > 0 else 'below'}" if above else "the same"
        found[_standing_of(above, loss)][key] = f"{title} ({best}, {gap})"
    only_worse = not any(entries for case, entries in found.items() if case != "worse")
    subject = "No baseline is good enough: the best one" if only_worse else "The best baseline"
    as_good = f"whether the best baseline is as good as {standard}"
    said = {
        "better": f"The best baseline is clearly better than {standard}",
        "enough": f"A baseline is good enough, losing less than {NEGLIGIBLE} to {standard},",
        "few": f"There are too few resamples to tell {as_good}",
        "cannot": f"The data cannot tell {as_good}",
        "worse": f"{subject} is clearly worse than {standard}",
    }
    return [f"{said[case]} on {_enumerated(entries)}." for case, entries in found.items() if entries]


def _standing_of(above: float, loss: Lead) -> _Standing:
    """What a baseline is to Mask R-CNN, of which it is shown so far above and whose lead is known."""
    if loss.answer == "apart" and above > 0:
        return "better"
    if loss.high < NEGLIGIBLE:
        return "enough"
    if loss.answer == "apart":
        return "worse" if above < 0 else "cannot"
    return loss.answer


def _enumerated(entries: dict[str, str]) -> str:
    """The numbers that most readers look at, by key, and how many more there are; one of the others if none is."""
    named = [entry for key, entry in entries.items() if key in _NAMED] or list(entries.values())[:1]
    more = len(entries) - len(named)
    return listed([*named, f"{more} more"] if more else named)


def _standing(results: Results, names: Collection[str], key: str) -> list[str]:
    """The rows in which a class-agnostic number is defined, best first."""
    values = {name: _value(results, name, key) for name in results["methods"] if name in names}
    return best_first(values)


def _value(results: Results, name: str, key: str) -> float:
    value = number((results["methods"][name].get("class_agnostic") or {}).get(key))
    return nan if value is None else value


def _shows_zero(results: Results, names: Collection[str], key: str) -> bool:
    return all(round(_value(results, name, key), 3) == 0 for name in names)


def _with_interval(results: Results, name: str, key: str) -> str:
    ends = interval(results["methods"][name]["class_agnostic"], key)
    text = f"{_value(results, name, key):.3f}"
    return f"{text} (95 % interval {ends[0]:.3f} to {ends[1]:.3f})" if ends else text
