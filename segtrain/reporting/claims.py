"""What the textbooks say of these methods, tested on the user's data: a sentence or two each, with their numbers."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

from segtrain.reporting.comparisons import STANDARD
from segtrain.reporting.tables import Results, contenders, is_oracle, number

NOTICEABLE = 0.02  # a difference of AP below it is taken as none
SIZES_DIFFER = 1.5  # the largest images must have so many times the pixels of the smallest to tell anything of time
_NEARLY_ALL = 0.9


def claims(results: Results) -> list[str]:
    """What the data say about thresholds and contrast, k-means and image size, boxes and shape.

    What the rows at hand cannot test is left out.
    """
    return [*threshold_claim(results), *time_claim(results), *shape_claim(results)]


def threshold_claim(results: Results) -> list[str]:
    """Whether thresholds do well at high contrast and fail where grey values overlap, beside Mask R-CNN."""
    strata = (results.get("strata") or {}).get("contrast") or []
    ends = {name: found for name in contenders(results) if (found := _ends(results["methods"][name], "contrast"))}
    rows = [name for name in _classical(results, "threshold") if name in ends]
    if len(strata) < 2 or not rows:
        return []
    best = rows[0]
    low, high = ends[best]
    drop = high["ap"] - low["ap"]
    says = (
        "so it is here" if drop >= NOTICEABLE else "not so here" if drop > -NOTICEABLE else "the reverse is true here"
    )
    said = (
        f"“Thresholds do well at high contrast and fail where grey values overlap”: {says}. {best} has AP "
        f"{high['ap']:.3f} and recall {high['recall']:.3f} on the {strata[-1]['objects']:,} objects of highest "
        f"contrast, AP {low['ap']:.3f} and recall {low['recall']:.3f} on the {strata[0]['objects']:,} of lowest"
    )
    if STANDARD in ends:
        low, high = ends[STANDARD]
        said += (
            f"; {STANDARD} has AP {high['ap']:.3f} and recall {high['recall']:.3f}, and AP {low['ap']:.3f} and recall "
            f"{low['recall']:.3f}"
        )
    kept = [f"{_percent(share)} for {name}" for name in (best, STANDARD) if (share := _kept(ends.get(name)))]
    said += f". AP at low contrast is {' and '.join(kept)} of that at high contrast." if kept else "."
    if len(rows) > 1:
        lose = sum(ends[name][1]["ap"] - ends[name][0]["ap"] >= NOTICEABLE for name in rows)
        said += f" Of {len(rows)} threshold rows, {lose} {'does' if lose == 1 else 'do'} worse there."
    return [said]


def time_claim(results: Results) -> list[str]:
    """Whether k-means takes longer on larger images, beside all other rows that were timed."""
    times = {}
    for name in contenders(results):
        known = (results["methods"][name].get("timing") or {}).get("by_size") or {}
        if min(known.get("seconds") or [0]) > 0:
            times[name] = known["pixels"][1] / known["pixels"][0], known["seconds"][1] / known["seconds"][0]
    clusters = [name for name in _classical(results, "kmeans") if name in times]
    if not clusters:
        return []
    claim, larger = "“k-means costs time with image size”", times[clusters[0]][0]
    if larger < SIZES_DIFFER:
        return [f"{claim}: these images cannot tell, as the largest have only {larger:.2f} times the pixels."]
    longest = max(times[name][1] for name in clusters)
    says = "so it is here" if longest >= SIZES_DIFFER else "not so here"
    own = ", ".join(f"{times[name][1]:.1f} times for {name}" for name in clusters)
    power = log(longest) / log(larger)
    said = f"{claim}: {says}. The largest images have {larger:.1f} times the pixels of the smallest; the time is {own}"
    said += f" (at most as pixels to the power of {power:.1f})" if longest > 1 else ""
    if STANDARD in times:
        said += f", {times[STANDARD][1]:.1f} times for {STANDARD}"
    others = sorted((ratio, name) for name, (_, ratio) in times.items() if name not in (*clusters, STANDARD))
    if len(others) > 1:
        (least, first), (most, last) = others[0], others[-1]
        said += f", and {least:.1f} ({first}) to {most:.1f} times ({last}) for the others"
    elif others:
        said += f", {others[0][0]:.1f} times for {others[0][1]}"
    return [f"{said}."]


def shape_claim(results: Results) -> list[str]:
    """How far boxes are right where masks are not, and how far the true boxes would get as masks."""
    apart = []
    for name in contenders(results):
        track = results["methods"][name].get("class_agnostic") or {}
        mask, box = number(track.get("mask_ap")), number(track.get("box_ap"))
        if mask is not None and box is not None:
            apart.append((box - mask, name, box, mask))
    known = results.get("true_boxes") or {}
    reach, filled = number(known.get("mask_ap")), number(known.get("filled"))
    if reach is None or filled is None:
        return []
    says = "nearly all of it here, as objects fill their boxes" if reach >= _NEARLY_ALL else "so it is here"
    said = (
        f"“Boxes say nothing of shape”: {says}. The true boxes themselves, filled and taken as masks, reach mask AP "
        f"{reach:.3f}; an object fills {_percent(filled)} of its box on average."
    )
    if apart:
        more = [entry for entry in apart if entry[0] >= NOTICEABLE]
        said += f" Box AP is above mask AP in {len(more)} of {len(apart)} methods"
        if more:
            _, name, box, mask = max(more)
            said += f", most in {name} ({box:.3f} and {mask:.3f})"
        said += "."
    return [said]


def _classical(results: Results, prefix: str) -> list[str]:
    """Classical rows of a kind, best first; they say what their scores mean, learned ones need not."""
    methods = results["methods"]
    names = [name for name in contenders(results) if name.startswith(prefix)]
    return [name for name in names if methods[name].get("score") is not None and not is_oracle(methods[name])]


def _ends(method: Mapping[str, Any], trait: str) -> tuple[dict[str, float], dict[str, float]] | None:
    """A row's numbers in the first and the last stratum of a trait; None unless all are defined."""
    strata: Sequence[Mapping[str, Any]] = (method.get("strata") or {}).get(trait) or []
    ends = [{key: number(strata[place].get(key)) for key in ("ap", "recall")} for place in (0, -1) if strata]
    known = [{key: value for key, value in end.items() if value is not None} for end in ends]
    return (known[0], known[1]) if [len(end) for end in known] == [2, 2] else None


def _kept(ends: tuple[dict[str, float], dict[str, float]] | None) -> float | None:
    """AP at the low end over that at the high end."""
    return ends[0]["ap"] / ends[1]["ap"] if ends and ends[1]["ap"] > 0 else None


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
