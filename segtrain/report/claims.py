"""Textbook claims about the methods, tested on the evaluated data: a sentence or two each, with their numbers."""

from segtrain.benchmark.results import MethodScores, Results, StratumScores
from segtrain.console import counted

MIN_OBJECTS, MIN_IMAGES = 30, 10  # needed at the highest and at the lowest contrast each
FINDS, DOES_WELL = 0.05, 0.3  # AP: below the first a method finds next to nothing, from the second on it does well
FAILS = 0.5  # a method fails where its AP is at most this share of its AP elsewhere
MIN_TIMED_IMAGES = 5  # among the smallest and among the largest images
MIN_SIZE_RATIO = 2.0  # pixels of the largest images over those of the smallest that a statement on time needs
PROPORTIONAL = 0.75  # time grows with the pixels if it grows by this share of their growth
BOXES_FAIL, BOXES_SUFFICE = 0.75, 0.9  # AP of the true boxes as masks


def textbook_claims(results: Results) -> list[str]:
    """Test three claims: thresholds need contrast, k-means slows down with image size, boxes ignore shape.

    Claims that these methods and data cannot test are left out.
    """
    return [*threshold_claim(results), *time_claim(results), *shape_claim(results)]


def threshold_claim(results: Results) -> list[str]:
    """Compare the best threshold's AP on objects of the highest and of the lowest contrast."""
    gap, strata = results.contrast_gap, results.strata.get("contrast", ())
    ends = _contrast_ends(results.methods.get(gap.row)) if gap else None
    if gap is None or gap.difference is None or ends is None or len(strata) < 2:
        return []
    lowest, highest = (f"{counted(part.objects, 'object')} of {part.name} contrast" for part in (strata[0], strata[-1]))
    interval = "" if gap.low is None or gap.high is None else f" (95 % interval {gap.low:.3f} to {gap.high:.3f})"
    text = (
        f"“Thresholds do well at high contrast and fail where grey values overlap”: "
        f"{_contrast_finding(results, ends)}. {gap.row} has AP {ends[1]:.3f} on the {highest} and {ends[0]:.3f} on the "
        f"{lowest}, a difference of "
        f"{gap.difference:.3f}{interval}"
    )
    if results.reference and (beside := _contrast_ends(results.methods[results.reference])):
        text += f"; {results.reference} has {beside[1]:.3f} and {beside[0]:.3f}"
    return [f"{text}."]


def _contrast_finding(results: Results, ends: tuple[float, float]) -> str:
    """Judge the claim on thresholds from AP at the lowest and at the highest contrast."""
    gap, strata = results.contrast_gap, results.strata["contrast"]
    assert gap is not None
    for part in (strata[0], strata[-1]):
        if part.objects < MIN_OBJECTS:
            return f"undecided on these data, with only {counted(part.objects, 'object')} of {part.name} contrast"
        if part.images < MIN_IMAGES:
            images = counted(part.images, "image")
            return f"undecided on these data, with objects of {part.name} contrast in only {images}"
    if max(ends) < FINDS:
        return "undecided on these data, as thresholds find next to nothing in them"
    if gap.low is None or gap.high is None:
        return "undecided without resamples of the images"
    if gap.low <= 0 <= gap.high:
        return "undecided on these data"
    if gap.high < 0:
        return "the opposite holds on these data"
    well, fails = ends[1] >= DOES_WELL, ends[0] <= FAILS * ends[1]
    if well and fails:
        return "true on these data"
    if well:
        return "on these data they do less well where grey values overlap, but do not fail"
    if fails:
        return "only the second half is true on these data"
    return "on these data they do well at neither, and worse where grey values overlap"


def time_claim(results: Results) -> list[str]:
    """Compare the growth of the best k-means method's time with the growth of the images."""
    timed = {
        name: sizes
        for name in results.contenders
        if (sizes := results.methods[name].timing.by_size) is not None and min(sizes.seconds) > 0
    }
    best = next((name for name in timed if results.methods[name].technique == "kmeans"), None)
    if best is None:
        return []
    claim = "“k-means costs time with image size”"
    small, large = timed[best].images
    pixels = _growth(timed[best].pixels)
    if min(small, large) < MIN_TIMED_IMAGES:
        few = f"{counted(small, 'image')} among the smallest and {large:,} among the largest"
        return [f"{claim}: undecided on these images, with {few}."]
    if pixels < MIN_SIZE_RATIO:
        return [f"{claim}: undecided on these images, as the largest have only {pixels:.2f} times the pixels."]
    growth = {name: _growth(sizes.seconds) for name, sizes in timed.items()}
    own = growth.pop(best)
    finding = (
        "true on these data" if own >= PROPORTIONAL * pixels else "on these data time grows less than the pixels do"
    )
    text = (
        f"{claim}: {finding}. In the median the {large:,} largest images have {pixels:.1f} times the pixels of the "
        f"{small:,} smallest and take {best} {own:.1f} times as long"
    )
    others = sorted((ratio, name) for name, ratio in growth.items())
    if len(others) > 1:
        (least, first), (most, last) = others[0], others[-1]
        text += f", the other methods {least:.1f} ({first}) to {most:.1f} times ({last})"
    elif others:
        text += f", {others[0][1]} {others[0][0]:.1f} times"
    return [f"{text}."]


def shape_claim(results: Results) -> list[str]:
    """Judge how close the true boxes come to the masks when they are taken as masks."""
    boxes = results.true_boxes
    if boxes is None or boxes.mask_ap is None or boxes.filled is None:
        return []
    if boxes.mask_ap < BOXES_FAIL:
        finding = "true on these data"
    elif boxes.mask_ap < BOXES_SUFFICE:
        finding = "only partly true on these data"
    else:
        finding = "not true on these data, as objects nearly fill their boxes"
    return [
        f"“Boxes say nothing of shape”: {finding}. The true boxes themselves, filled and taken as masks, reach mask AP "
        f"{boxes.mask_ap:.3f}; an object fills {100 * boxes.filled:.0f} % of its box on average."
    ]


def _contrast_ends(method: MethodScores | None) -> tuple[float, float] | None:
    """Return the AP of a method at the lowest and at the highest contrast; None unless both are defined."""
    strata: list[StratumScores] = list(method.strata.get("contrast", ()) if method and method.strata else ())
    if not strata or strata[0].ap is None or strata[-1].ap is None:
        return None
    return strata[0].ap, strata[-1].ap


def _growth(pair: tuple[float, float]) -> float:
    return pair[1] / pair[0]
