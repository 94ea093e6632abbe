"""What the methods took, in the verdict's sentences: time on an image, training, the search for settings, seeds."""

from collections.abc import Sequence

from segtrain.report.analysis.mappings import Results, number, seconds


def cost_sentences(results: Results, standard: str | None, baselines: Sequence[str]) -> list[str]:
    """What is known of the costs.

    Args:
        results: the content of ``results.json``.
        standard: the row of Mask R-CNN; None without it.
        baselines: the classical rows, best first.
    """
    said = []
    if standard and baselines:
        said.append(_time(results, standard, baselines[0]))
    if standard:
        said.append(_training(results, standard))
    if baselines:
        said.append(_search(results, baselines[0]))
    return [sentence for sentence in [*said, *_seeds(results)] if sentence]


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
    minutes = number((results["methods"][standard].get("costs") or {}).get("training_minutes"))
    if minutes is None:
        return ""
    return f"Training {standard} took {minutes:.1f} minutes{_labelled(results, standard, 'image')}."


def _search(results: Results, baseline: str) -> str:
    """What the search for the settings of the best baseline took; nothing where there was none."""
    spent = number((results["methods"][baseline].get("costs") or {}).get("tuning_seconds"))
    if spent is None:
        return ""
    return f"Searching the settings of {baseline} took {spent:.0f} s{_labelled(results, baseline, 'training image')}."


def _labelled(results: Results, name: str, what: str) -> str:
    """The images that a row learned from, and their objects."""
    costs = results["methods"][name].get("costs") or {}
    images, objects = (number(costs.get(f"training_{what}")) for what in ("images", "objects"))
    if not images:
        return ""
    said = f" on {images:,.0f} {what}{'s' if images > 1 else ''}"
    return said + (f" with {objects:,.0f} labelled object{'s' if objects > 1 else ''}" if objects else "")


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
