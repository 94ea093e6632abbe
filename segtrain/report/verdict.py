"""Verdict in sentences: whether any method is of use, the best one, baselines that are good enough, and the costs."""

from collections.abc import Collection, Mapping, Sequence
from math import isnan, nan
from typing import Literal, NamedTuple

from segtrain.benchmark.comparisons import FEW_IMAGES, rank_defined
from segtrain.benchmark.results import Comparison, Results
from segtrain.benchmark.run_names import common_name
from segtrain.console import counted
from segtrain.metrics.bootstrap import CLEAR
from segtrain.metrics.registry import METRICS
from segtrain.report.tables import shown_difference
from segtrain.report.text import DECIMALS, join_words, p_phrase

NEGLIGIBLE = 0.02  # losses of AP, IoU or F1 below it do not matter in practice
USEFUL = 0.1  # AP, IoU or F1 below it is near 0: nine of ten objects are missed, or nine of ten detections are false
SHORT_TRAINING = 10  # minutes; after fewer, a network that finds little tells nothing of what it can find
_TITLES = {metric.key: metric.title for metric in METRICS}
_NAMED = [metric.key for metric in METRICS if metric.headline and metric.key != "mask_ap50"]  # others are only counted
_SIGNIFICANCE = {
    "yes": "The difference is significant",
    "no": "The difference is not significant",
    "too few resamples": "There are too few resamples to test the difference",
}
_Outcome = Literal["better", "enough", "too few resamples", "no", "worse"]


def verdict(results: Results) -> list[str]:
    """State the best methods by mask AP and mIoU, baselines that are good enough, and the costs of the methods.

    Oracles are left out. Two methods differ where p is below 0.05: corrected for the number of methods where one of
    them is the reference, that of the pair alone otherwise. A baseline is good enough where the whole 95 % interval of
    its loss against the reference, which is not corrected, lies below ``NEGLIGIBLE``, and its own value reaches
    ``USEFUL``.

    Differences say nothing where no method is of use, so none is stated then; nor is a baseline called good enough
    beside a reference that is of no use. Where fewer than ``FEW_IMAGES`` images were evaluated, that comes first.
    """
    names, reference = results.contenders, results.reference
    baselines = [name for name in names if results.methods[name].is_classical]
    if names and all(results.methods[name].counts.detections == 0 for name in names):
        sentences = ["No method found anything."]
    elif names and not any(is_useful(results, name) for name in names):
        sentences = [_useless(results, names)]
    else:
        ap = "mask_ap" if _standing(results, names, "mask_ap") else "box_ap"
        sentences = [sentence for key in (ap, "miou") if (sentence := _winner(results, key))]
        if not sentences:
            sentences.append("No method has a defined score on these data.")
        elif reference in names and is_useful(results, reference):
            sentences += _good_enough(results, reference, baselines)
    if reference in names and not is_useful(results, reference):
        sentences += _untrained(results, reference)
    return [*_few_images(results), *sentences, *_costs(results, reference if reference in names else None, baselines)]


def is_useful(results: Results, name: str) -> bool:
    """Return True if a method is of use: its F1 at IoU .50 or its AP50 reaches ``USEFUL``; of boxes, their AP.

    A method without any of these numbers, since there is no true object, is not judged, and counts as useful.

    Args:
        results: an evaluation.
        name: name of the method.
    """
    values = [value for key in ("f1_50", "mask_ap50") if not isnan(value := _value(results, name, key))]
    if not values:
        values = [value for value in [_value(results, name, "box_ap")] if not isnan(value)]
    return not values or max(values) >= USEFUL


class PairwiseComparison(NamedTuple):
    """Difference of two methods on a metric.

    Attributes:
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        p: p-value; corrected where one of them is the reference, that of the pair alone otherwise.
        least_p: smallest p-value that so many resamples allow; None if it is not known.
        compared: number of methods that p is corrected for.
    """

    low: float
    high: float
    p: float
    least_p: float | None
    compared: int

    @property
    def significant(self) -> Literal["yes", "no", "too few resamples"]:
        """Outcome of the test; with too few resamples no p-value is small."""
        if self.p < CLEAR:
            return "yes"
        return "too few resamples" if self.least_p is not None and self.p <= self.least_p else "no"

    def describe(self) -> str:
        """State the interval and p, and the correction where it made p large although the interval excludes 0."""
        low, high = (f"{round(end, DECIMALS) + 0.0:.3f}".replace("-", "−") for end in (self.low, self.high))
        text = f"95 % interval {low} to {high}, {p_phrase(self.p, self.least_p)}"
        excludes_zero = self.low > 0 or self.high < 0
        if excludes_zero and self.p >= CLEAR and self.compared > 1:
            return f"{text} after correction for {self.compared} methods"
        return text


def compare(results: Results, better: str, worse: str, key: str) -> PairwiseComparison | None:
    """Compare two methods on a class-agnostic metric.

    Args:
        results: an evaluation.
        better: name of the first method.
        worse: name of the method that is subtracted from the first.
        key: ``Metric.key``.

    Returns:
        None if it was not computed: neither is the reference and they are not the best two.
    """
    if results.reference in (better, worse):
        other = worse if better == results.reference else better
        compared = sum(key in metrics for metrics in results.comparisons.values())
        return _pairwise(results.comparison(other, key), compared, turned=better == results.reference)
    contest = results.contests.get(key)
    if contest is None or {contest.first, contest.second} != {better, worse}:
        return None
    return _pairwise(contest, 1, turned=contest.first == worse)


def _pairwise(known: Comparison | None, compared: int, *, turned: bool) -> PairwiseComparison | None:
    if known is None:
        return None
    low, high = (-known.high, -known.low) if turned else (known.low, known.high)
    return PairwiseComparison(low, high, known.p, known.least_p, compared)


def _useless(results: Results, names: Sequence[str]) -> str:
    """State that no method is of use, and what the best one found."""
    best = max(names, key=lambda name: (results.methods[name].counts.found or 0, -names.index(name)))
    subject = f"the best, {best}," if len(names) > 1 else best
    return f"No method is of use on these data: {subject} {_found(results, best)}."


def _untrained(results: Results, reference: str) -> list[str]:
    """State what a learned reference of no use found, and whether its training was long enough to judge it."""
    minutes = results.methods[reference].costs.training_minutes
    found = _found(results, reference)
    if minutes is None:
        return [f"{reference} is of no use on these data: it {found}."]
    after = f"{reference} {found} after {minutes:.1f} minutes of training"
    if minutes < SHORT_TRAINING:
        kind = "Mask R-CNN" if results.methods[reference].technique == "mask_rcnn" else "this network"
        return [f"{after}: this says nothing about {kind}; train longer."]
    return [f"{after}: look at its training curves, and at the labels, before comparing it."]


def _found(results: Results, name: str) -> str:
    """State how many objects a method finds, among how many detections."""
    counts = results.methods[name].counts
    if not counts.detections:
        return "detected nothing"
    detections = f"{counted(counts.detections, 'detection')} of any score"
    if counts.found is None:
        title, value = next(
            (_TITLES[key], value) for key in ("f1_50", "box_ap") if not isnan(value := _value(results, name, key))
        )
        return f"has {title} {value:.3f} with {detections}"
    return f"finds {counts.found:,} of {counted(results.data.used, 'object')} among {detections}"


def _few_images(results: Results) -> list[str]:
    images = results.data.images
    if images >= FEW_IMAGES or len(results.contenders) < 2:
        return []
    number = f"Only {images} images were" if images > 1 else "A single image was"
    return [f"{number} evaluated: with fewer than {FEW_IMAGES}, differences between methods cannot be trusted."]


def _winner(results: Results, key: str) -> str:
    """Name the best method on a metric, by how much, and whether that is significant; nothing where it is undefined."""
    standing, title = _standing(results, results.contenders, key), _TITLES[key]
    if not standing:
        return ""
    winner = standing[0]
    value = _with_interval(results, winner, key)
    if len(results.contenders) == 1:
        return f"The {title} of {winner} is {value}."
    if len(standing) == 1:
        return f"{winner} is the only method with a defined {title}, {value}."
    if _shows_zero(results, standing, key):
        return f"No method reaches a {title} of 0.001."
    second, reference = standing[1], results.reference
    margin = shown_difference(results, winner, second, key)
    if not margin:
        sentence = f"{winner} and {second} have the same {title}, {value}."
    else:
        sentence = f"{winner} has the best {title}, {value}, {margin:.3f} above {second}, the second best."
    sentence += _test(compare(results, winner, second, key))
    if reference in standing[2:]:
        behind = shown_difference(results, winner, reference, key)
        gap = f"{behind:.3f} below {winner}" if behind else f"with the same value as {winner}"
        sentence += f" {reference} is number {standing.index(reference) + 1} of {len(standing)}, {gap}."
        sentence += _test(compare(results, winner, reference, key))
    return sentence


def _test(known: PairwiseComparison | None) -> str:
    """State the outcome of a test; nothing where the images were not resampled."""
    return f" {_SIGNIFICANCE[known.significant]}: {known.describe()}." if known else ""


def _good_enough(results: Results, reference: str, baselines: Sequence[str]) -> list[str]:
    """State the metrics on which the best baseline is better than the reference, good enough, equal, or worse."""
    found: dict[_Outcome, dict[str, str]] = {"better": {}, "enough": {}, "too few resamples": {}, "no": {}, "worse": {}}
    for key, title in _TITLES.items():
        best = next(iter(_standing(results, baselines, key)), None)
        loss = compare(results, reference, best, key) if best else None
        if best is None or loss is None or _shows_zero(results, (reference, best), key):
            continue
        above = shown_difference(results, best, reference, key) or 0.0
        gap = f"{abs(above):.3f} {'above' if above > 0 else 'below'}" if above else "the same"
        outcome = _outcome(above, loss)
        if outcome != "enough" or _value(results, best, key) >= USEFUL:
            found[outcome][key] = f"{title} ({best}, {gap})"
    only_worse = not any(entries for outcome, entries in found.items() if outcome != "worse")
    subject = "No baseline is good enough: the best one" if only_worse else "The best baseline"
    openings = {
        "better": f"The best baseline is significantly better than {reference}",
        "enough": f"A baseline is good enough, losing less than {NEGLIGIBLE} to {reference},",
        "too few resamples": f"There are too few resamples to compare the best baseline with {reference}",
        "no": f"The best baseline and {reference} do not differ significantly",
        "worse": f"{subject} is significantly worse than {reference}",
    }
    return [f"{openings[outcome]} on {_enumerate(entries)}." for outcome, entries in found.items() if entries]


def _outcome(above: float, loss: PairwiseComparison) -> _Outcome:
    """Classify a baseline.

    Args:
        above: shown difference of the baseline to the reference.
        loss: reference minus baseline.
    """
    if loss.significant == "yes" and above > 0:
        return "better"
    if loss.high < NEGLIGIBLE:
        return "enough"
    if loss.significant == "yes":
        return "worse" if above < 0 else "no"
    return loss.significant


def _enumerate(entries: Mapping[str, str]) -> str:
    """Name the headline metrics, and how many others there are; one of the others if there is no headline metric."""
    named = [entry for key, entry in entries.items() if key in _NAMED] or list(entries.values())[:1]
    more = len(entries) - len(named)
    return join_words([*named, f"{more} more"] if more else named)


def _standing(results: Results, names: Collection[str], key: str) -> list[str]:
    """Rank the methods for which a class-agnostic metric is defined."""
    return rank_defined({name: _value(results, name, key) for name in results.methods if name in names})


def _value(results: Results, name: str, key: str) -> float:
    value = results.methods[name].metric(key)
    return nan if value is None else value


def _shows_zero(results: Results, names: Collection[str], key: str) -> bool:
    return all(round(_value(results, name, key), DECIMALS) == 0 for name in names)


def _with_interval(results: Results, name: str, key: str) -> str:
    track = results.methods[name].class_agnostic
    ends = track.intervals.get(key) if track else None
    text = f"{_value(results, name, key):.3f}"
    return f"{text} (95 % interval {ends.low:.3f} to {ends.high:.3f})" if ends else text


def _costs(results: Results, reference: str | None, baselines: Sequence[str]) -> list[str]:
    """State the time on an image, of training, of the search for settings, and the spread over seeds, where known."""
    sentences = []
    if reference and baselines:
        sentences.append(_time_cost(results, reference, baselines[0]))
    if reference and (minutes := results.methods[reference].costs.training_minutes) is not None:
        sentences.append(f"Training {reference} took {minutes:.1f} minutes{_labels(results, reference, 'image')}.")
    if baselines and (seconds := results.methods[baselines[0]].costs.tuning_seconds) is not None:
        labels = _labels(results, baselines[0], "training image")
        sentences.append(f"Searching the settings of {baselines[0]} took {seconds:.0f} s{labels}.")
    for group in results.seeds:
        if spread := group.class_agnostic.get("mask_ap"):
            configuration = common_name(group.rows) if len(results.seeds) > 1 else "one configuration"
            sentences.append(
                f"Over {len(group.seeds)} seeds of {configuration} mask AP is {spread.mean:.3f} ± "
                f"{spread.deviation:.3f}, from {spread.low:.3f} to {spread.high:.3f}."
            )
    return [sentence for sentence in sentences if sentence]


def _time_cost(results: Results, reference: str, baseline: str) -> str:
    slow, quick = results.methods[reference].seconds, results.methods[baseline].seconds
    if not slow or not quick:
        return ""
    ratio = max(slow, quick) / min(slow, quick)
    times = f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.1f} times"
    than = f"{times} as long as" if slow >= quick else f"1/{ratio:.1f} of"
    return (
        f"{reference} takes {1000 * slow:.1f} ms per image, {than} {baseline}, the best baseline "
        f"({1000 * quick:.1f} ms)."
    )


def _labels(results: Results, name: str, noun: str) -> str:
    """State how many images a method learned from, and their objects."""
    images, objects = results.methods[name].costs.training_images, results.methods[name].costs.training_objects
    if not images:
        return ""
    return f" on {counted(images, noun)}" + (f" with {counted(objects, 'labelled object')}" if objects else "")
