"""What the textbooks say of these methods, tested on the user's data: a sentence or two each, with their numbers."""

from collections.abc import Mapping
from typing import Any

from segtrain.report.analysis.mappings import Results, contenders, number

LEAST_OBJECTS, LEAST_IMAGES = 30, 10  # that highest and lowest contrast need each
FOUND, WELL = 0.05, 0.3  # AP: below the one a method finds next to nothing, from the other on it does well
FAILS = 0.5  # a method fails where its AP is at most this share of what it is elsewhere
LEAST_TIMED = 5  # images among the smallest and among the largest
SIZES_DIFFER = 2.0  # the largest images must have so many times the pixels of the smallest to tell anything of time
PROPORTION = 0.75  # time grows with the pixels if it grows by this share of what they do
SAY_LITTLE, SAY_MUCH = 0.75, 0.9  # AP of the true boxes as masks: below the one, from the other on


def claims(results: Results) -> list[str]:
    """What the data say about thresholds and contrast, k-means and image size, boxes and shape.

    What the rows at hand cannot test is left out.
    """
    return [*threshold_claim(results), *time_claim(results), *shape_claim(results)]


def threshold_claim(results: Results) -> list[str]:
    """Whether the best threshold does well at high contrast and fails where grey values overlap."""
    gap = results.get("contrast_gap") or {}
    strata = (results.get("strata") or {}).get("contrast") or []
    ends = _ends(results, gap.get("row"))
    if len(strata) < 2 or ends is None:
        return []
    lowest, highest = (
        f"{_counted(part['objects'], 'object')} of {part['name']} contrast" for part in (strata[0], strata[-1])
    )
    low, high = number(gap["low"]), number(gap["high"])
    around = "" if low is None or high is None else f" (95 % interval {low:.3f} to {high:.3f})"
    said = (
        f"“Thresholds do well at high contrast and fail where grey values overlap”: {_of_contrast(results, ends)}. "
        f"{gap['row']} has AP {ends[1]:.3f} on the {highest} and {ends[0]:.3f} on the {lowest}, a difference of "
        f"{gap['difference']:.3f}{around}"
    )
    standard = results.get("reference")
    if beside := _ends(results, standard):
        said += f"; {standard} has {beside[1]:.3f} and {beside[0]:.3f}"
    return [f"{said}."]


def _of_contrast(results: Results, ends: tuple[float, float]) -> str:
    """The verdict, from AP at lowest and at highest contrast."""
    gap, strata = results["contrast_gap"], results["strata"]["contrast"]
    low, high = number(gap["low"]), number(gap["high"])
    for part in (strata[0], strata[-1]):
        if part["objects"] < LEAST_OBJECTS:
            return f"these data cannot tell, with only {_counted(part['objects'], 'object')} of {part['name']} contrast"
        if part["images"] < LEAST_IMAGES:
            images = _counted(part["images"], "image")
            return f"these data cannot tell, with objects of {part['name']} contrast in only {images}"
    if max(ends) < FOUND:
        return "these data cannot tell, as thresholds find next to nothing in them"
    if low is None or high is None:
        return "nothing can be said without resamples of the images"
    if low <= 0 <= high:
        return "these data cannot tell"
    if high < 0:
        return "the reverse is true here"
    well, fails = ends[1] >= WELL, ends[0] <= FAILS * ends[1]
    if well and fails:
        return "so it is here"
    if well:
        return "here they do less well where grey values overlap, but do not fail"
    if fails:
        return "only the second half is true here"
    return "here they do well at neither, and worse where grey values overlap"


def time_claim(results: Results) -> list[str]:
    """Whether the best k-means row takes longer on larger images, about in proportion to their pixels."""
    known = {name: results["methods"][name]["timing"].get("by_size") or {} for name in contenders(results)}
    timed = {name: sizes for name, sizes in known.items() if min(sizes.get("seconds") or [0]) > 0}
    best = next((name for name in timed if results["methods"][name].get("technique") == "kmeans"), None)
    if best is None:
        return []
    claim = "“k-means costs time with image size”"
    small, large = timed[best]["images"]
    pixels = _growth(timed[best]["pixels"])
    if min(small, large) < LEAST_TIMED:
        few = f"{_counted(small, 'image')} among the smallest and {large:,} among the largest"
        return [f"{claim}: these images cannot tell, with {few}."]
    if pixels < SIZES_DIFFER:
        return [f"{claim}: these images cannot tell, as the largest have only {pixels:.2f} times the pixels."]
    growth = {name: _growth(sizes["seconds"]) for name, sizes in timed.items()}
    own = growth.pop(best)
    says = "so it is here" if own >= PROPORTION * pixels else "here time grows less than the pixels do"
    said = (
        f"{claim}: {says}. In the median the {large:,} largest images have {pixels:.1f} times the pixels of the "
        f"{small:,} smallest and take {best} {own:.1f} times as long"
    )
    others = sorted((ratio, name) for name, ratio in growth.items())
    if len(others) > 1:
        (least, first), (most, last) = others[0], others[-1]
        said += f", the other rows {least:.1f} ({first}) to {most:.1f} times ({last})"
    elif others:
        said += f", {others[0][1]} {others[0][0]:.1f} times"
    return [f"{said}."]


def shape_claim(results: Results) -> list[str]:
    """How far the true boxes get as masks."""
    known = results.get("true_boxes") or {}
    reach, filled = number(known.get("mask_ap")), number(known.get("filled"))
    if reach is None or filled is None:
        return []
    if reach < SAY_LITTLE:
        says = "so it is here"
    elif reach < SAY_MUCH:
        says = "only in part here"
    else:
        says = "not so here, as objects nearly fill them"
    return [
        f"“Boxes say nothing of shape”: {says}. The true boxes themselves, filled and taken as masks, reach mask AP "
        f"{reach:.3f}; an object fills {100 * filled:.0f} % of its box on average."
    ]


def _ends(results: Results, name: str | None) -> tuple[float, float] | None:
    """A row's AP at the lowest and at the highest contrast; None unless both are defined."""
    method: Mapping[str, Any] = results["methods"].get(name) or {}
    strata = (method.get("strata") or {}).get("contrast") or [{}]
    low, high = (number(strata[place].get("ap")) for place in (0, -1))
    return None if low is None or high is None else (low, high)


def _growth(pair: tuple[float, float]) -> float:
    return pair[1] / pair[0]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"
