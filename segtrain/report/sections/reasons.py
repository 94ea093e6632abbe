"""Section on numbers that are 0 or missing, and why."""

from collections.abc import Sequence

from segtrain.benchmark.results import Reason, Results
from segtrain.metrics.registry import METRICS
from segtrain.report.blocks import Folded, Section, Term, Terms
from segtrain.report.tables import SPEED
from segtrain.report.text import join_words, sentence

_TITLES = {**{metric.key: metric.title for metric in METRICS}, SPEED.key: SPEED.title}
_GROUPS = {"per_category": "some categories", "class_aware": "all class-aware numbers"}
_METHODS, _CATEGORIES = 6, 5  # most names in a line
_FOLDED = 8  # more reasons than this are folded


def reasons(results: Results) -> Section | None:
    """List the numbers that are 0 or missing, with their methods and reasons; None if there are none."""
    terms = reason_terms(results)
    if not terms:
        return None
    entries = Terms(terms, "reasons")
    blocks = [Folded(f"All {len(terms)} reasons", [entries])] if len(terms) > _FOLDED else [entries]
    return Section("reasons", "Why some numbers are 0 or missing", blocks, short="Zeros and dashes")


def reason_terms(results: Results) -> list[Term]:
    """Put each reason into a term: the numbers and methods that it concerns, and a sentence."""
    terms = []
    for reason in results.reasons:
        what = f"{_numbers(reason, results)} of {_methods(reason.rows, results)}"
        named = [note.said for note in reason.categories]
        if not named:
            terms.append(Term(what, sentence(reason.why)))
        elif len(named) <= _CATEGORIES + 1:
            terms.append(Term(what, sentence(f"{reason.why}: {join_words(named)}")))
        else:
            first, rest = named[:_CATEGORIES], named[_CATEGORIES:]
            why = sentence(f"{reason.why}: {', '.join(first)}").removesuffix(".")
            terms.append(Term(what, why, f"{join_words(rest)}.", len(rest)))
    return terms


def _numbers(reason: Reason, results: Results) -> str:
    aware = "class-aware " if reason.tracks == ["class_aware"] and set(reason.keys) - _GROUPS.keys() else ""
    tracks = [own for method in results.methods.values() for t in reason.tracks if (own := method.track(t))]
    known = [key for key in _TITLES if any(key in track.metrics for track in tracks)]
    others = [_TITLES[key] for key in known if key not in reason.keys]
    if len(reason.keys) > 4 and len(others) <= 2:
        return f"every {aware}number{f' but {join_words(others)}' if others else ''}"
    return aware + join_words([_GROUPS.get(key) or _TITLES.get(key, key) for key in reason.keys])


def _methods(names: Sequence[str], results: Results) -> str:
    with_masks = [name for name, method in results.methods.items() if method.has_masks]
    for group, text in ((list(results.methods), "every method"), (with_masks, "every method with masks")):
        if len(group) > 1 and set(names) == set(group):
            return text
    return join_words(names, _METHODS)
