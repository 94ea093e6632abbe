"""The verdict: what the numbers say, in sentences, and whether the data can tell."""

from collections.abc import Sequence
from math import isnan
from typing import NamedTuple

from segtrain.metrics.bootstrap import CLEAR
from segtrain.reporting.tables.cells import METRICS, Results, listed, number, ranking, seconds

NEGLIGIBLE = 0.02  # a loss up to this in AP, IoU or F1 is taken as none
_TITLES = {column.key: column.title for column in METRICS}


class _Lead(NamedTuple):
    """By how much one row is better than another: the ends of its 95 % interval, and the corrected p."""

    low: float
    high: float
    p: float


def verdict(results: Results) -> list[str]:
    """Plain sentences: who wins on mask AP and on mIoU, where a baseline is good enough, what Mask R-CNN costs.

    Rows that cannot be had, because the ground truth chose their settings, are left out. The data can tell two rows
    apart where p, corrected for the number of rows, is below 0.05. A baseline is good enough where the whole 95 %
    interval of what it loses against Mask R-CNN lies below 0.02.
    """
    names = [name for name in ranking(results) if not results["methods"][name].get("oracle")]
    ap = "mask_ap" if _standing(results, names, "mask_ap") else "box_ap"
    sentences = [sentence for key in (ap, "miou") if (sentence := _winner(results, names, key))]
    if not sentences:
        return ["No method has a defined number on these data."]
    # A classical method says what its scores mean; learned ones have none to explain.
    baselines = [name for name in names if results["methods"][name].get("score") is not None]
    standard = results["reference"]
    if baselines and standard in names:
        sentences += _good_enough(results, standard, baselines)
        costs = (_time(results, standard, baselines[0]), _training(results, standard))
        sentences += [sentence for sentence in (*costs, *_seeds(results)) if sentence]
    return sentences


def _winner(results: Results, names: Sequence[str], key: str) -> str:
    """Who is best on a number, by how much, and whether the data can tell; nothing where it is undefined."""
    standing = _standing(results, names, key)
    if not standing:
        return ""
    winner, title = standing[0], _TITLES[key]
    best = f"{winner} has the best {title}, {_with_interval(results, winner, key)}"
    if len(standing) == 1:
        return f"{best}; no other method has one."
    second, standard = standing[1], results["reference"]
    margin = _margin(results, winner, second, key)
    if margin < 0.0005:
        sentence = f"{winner} and {second} have the same {title}, {_with_interval(results, winner, key)}."
    else:
        sentence = f"{best}, {margin:.3f} above {second}, the next best."
    sentence += _told(results, _lead(results, winner, second, key))
    if standard in standing[2:]:
        place = f"{standard} is number {standing.index(standard) + 1} of {len(standing)}"
        sentence += f" {place}, {_margin(results, winner, standard, key):.3f} below {winner}."
        sentence += _told(results, _lead(results, winner, standard, key))
    return sentence


def _told(results: Results, lead: _Lead | None) -> str:
    """Whether the data can tell two rows apart; nothing where the images were not resampled."""
    if lead is None:
        return ""
    resamples = (results.get("bootstrap") or {}).get("resamples")
    # The smallest p that there can be, corrected for the number of rows.
    least = len(results.get("comparisons") or {}) / (resamples + 1) if resamples else 0.0
    tells = "The data can tell them apart"
    if lead.p >= CLEAR:
        tells = "There are too few resamples to tell" if least >= CLEAR else "The data cannot tell them apart"
    return f" {tells}: the difference lies between {_text(lead.low)} and {_text(lead.high)}, {_p(lead.p)}."


def _good_enough(results: Results, standard: str, baselines: Sequence[str]) -> list[str]:
    """Where the best baseline loses next to nothing, where the data cannot tell, and where it is clearly worse."""
    enough: list[str] = []
    unsure: list[str] = []
    worse: list[str] = []
    for key, title in _TITLES.items():
        standing = _standing(results, baselines, key)
        lead = _lead(results, standard, standing[0], key) if standing else None
        if lead is None:
            continue
        loss = _margin(results, standard, standing[0], key)
        entry = f"{title} ({standing[0]}, {abs(loss):.3f} {'below' if loss > 0 else 'above'})"
        (enough if lead.high < NEGLIGIBLE else unsure if lead.p >= CLEAR or loss <= 0 else worse).append(entry)
    sentences = []
    if enough:
        sentences.append(
            f"A baseline is good enough, losing less than {NEGLIGIBLE} to {standard}, on {listed(enough)}."
        )
    if unsure:
        sentences.append(
            f"The data cannot tell whether the best baseline is as good as {standard} on {listed(unsure)}."
        )
    if worse:
        everywhere = "No baseline is good enough: the best one" if not enough and not unsure else "The best baseline"
        sentences.append(f"{everywhere} is clearly worse than {standard} on {listed(worse)}.")
    return sentences


def _time(results: Results, standard: str, baseline: str) -> str:
    """What an image takes, against the baseline of best AP."""
    slow, quick = (seconds(results["methods"][name]) for name in (standard, baseline))
    if not slow or not quick:
        return ""
    ratio = max(slow, quick) / min(slow, quick)
    times = f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.1f} times"
    than = f"{times} as long as" if slow >= quick else f"1/{ratio:.1f} of"
    return (
        f"{standard} takes {1000 * slow:.1f} ms per image, {than} {baseline}, the best baseline "
        f"({1000 * quick:.1f} ms)."
    )


def _training(results: Results, standard: str) -> str:
    """What had to be learned and labelled before; nothing where it is not known."""
    costs = results["methods"][standard].get("costs") or {}
    minutes, images, objects = (number(costs.get(f"training_{what}")) for what in ("minutes", "images", "objects"))
    if minutes is None:
        return ""
    labelled = f" on {images:,.0f} images" if images else ""
    labelled += f" with {objects:,.0f} labelled objects" if images and objects else ""
    return f"Its training took {minutes:.1f} minutes{labelled}."


def _seeds(results: Results) -> list[str]:
    """How far the runs of one configuration lie apart: what no interval over images knows of."""
    sentences = []
    for group in results.get("seeds") or []:
        values = group["class_agnostic"].get("mask_ap") or {}
        if values:
            sentences.append(
                f"Over {len(group['seeds'])} seeds of one configuration mask AP is {values['mean']:.3f} ± "
                f"{values['deviation']:.3f}, from {values['low']:.3f} to {values['high']:.3f}."
            )
    return sentences


def _value(results: Results, name: str, key: str) -> float:
    value = number((results["methods"][name].get("class_agnostic") or {}).get(key))
    return float("nan") if value is None else value


def _standing(results: Results, names: Sequence[str], key: str) -> list[str]:
    """The rows in which a class-agnostic number is defined, best first; equal ones keep the order of the tables."""
    defined = [name for name in names if not isnan(_value(results, name, key))]
    return sorted(defined, key=lambda name: -_value(results, name, key))


def _margin(results: Results, better: str, worse: str, key: str) -> float:
    """The difference of what the tables show, so that a reader who subtracts gets the same."""
    return round(_value(results, better, key), 3) - round(_value(results, worse, key), 3)


def _lead(results: Results, better: str, worse: str, key: str) -> _Lead | None:
    """How sure the difference of two rows is: one of them Mask R-CNN, or both the best; None where it is not known."""
    contest = (results.get("contests") or {}).get(key) or {}
    if results["reference"] not in (better, worse) and (contest.get("first"), contest.get("second")) == (better, worse):
        return _Lead(contest["low"], contest["high"], contest["p"])
    known, standard = results.get("comparisons") or {}, results["reference"]
    entry = ((known.get(worse) if better == standard else known.get(better)) or {}).get(key)
    if standard not in (better, worse) or not entry:
        return None
    low, high, p = (number(entry.get(part)) for part in ("low", "high", "p"))
    if low is None or high is None or p is None:
        return None
    return _Lead(-high, -low, p) if better == standard else _Lead(low, high, p)


def _with_interval(results: Results, name: str, key: str) -> str:
    track = results["methods"][name]["class_agnostic"]
    ends = (track.get("intervals") or {}).get(key)
    text = f"{_value(results, name, key):.3f}"
    return f"{text} (95 % interval {ends[0]:.3f} to {ends[1]:.3f})" if ends else text


def _text(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # no "-0.000"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
