"""What the textbooks say of these methods, tested on the user's data: a sentence or two each, with their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from segtrain.reporting.tables.cells import Results, contenders, is_oracle, number

NOTICEABLE = 0.02  # a difference of AP below it is taken as none
SIZES_DIFFER = 1.5  # the largest images must have so many times the pixels of the smallest to tell anything of time
_NEARLY_ALL = 0.9
_WELL = 0.3  # an AP from which on a method does well
_FOUND = 0.05  # an AP below which a method finds nothing worth comparing


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
    drop = ends[best][1]["ap"] - ends[best][0]["ap"]
    most = max(end["ap"] for end in ends[best])
    if most < _FOUND:
        says = "these data cannot tell, as thresholds find next to nothing in them"
    elif most < _WELL and drop >= NOTICEABLE:
        says = "only the second half is true here"
    else:
        says = "so it is here" if drop >= NOTICEABLE else "not so here" if drop > -NOTICEABLE else "the reverse is true"
    low, high = (f"{strata[place]['objects']:,} objects of {strata[place]['name']} contrast" for place in (0, -1))
    said = (
        f"“Thresholds do well at high contrast and fail where grey values overlap”: {says}. On the {high} {best} has "
        f"{_quality(ends[best][1])}, on the {low} {_quality(ends[best][0])}{_share(ends[best])}"
    )
    if (standard := results.get("reference")) in ends:
        said += f"; {standard} has {_quality(ends[standard][1])} and {_quality(ends[standard][0])}"
        said += _share(ends[standard])
    if len(rows) > 1:
        worse = sum(ends[name][1]["ap"] - ends[name][0]["ap"] >= NOTICEABLE for name in rows)
        said += f". Of {len(rows)} threshold rows {worse} lose AP from the one to the other"
    return [f"{said}."]


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
    says = "so it is here" if max(times[name][1] for name in clusters) >= SIZES_DIFFER else "not so here"
    shown = [*clusters, *(name for name in times if name == results.get("reference"))]
    parts = [f"{name} {times[name][1]:.1f} times" for name in shown]
    others = sorted((ratio, name) for name, (_, ratio) in times.items() if name not in shown)
    if len(others) > 1:
        (least, first), (most, last) = others[0], others[-1]
        parts.append(f"the others {least:.1f} ({first}) to {most:.1f} times ({last})")
    else:
        parts += [f"{name} {ratio:.1f} times" for ratio, name in others]
    return [f"{claim}: {says}. Images of {larger:.1f} times the pixels take {', '.join(parts)} as long."]


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
    says = "not so here, as objects nearly fill them" if reach >= _NEARLY_ALL else "so it is here"
    said = (
        f"“Boxes say nothing of shape”: {says}. The true boxes themselves, filled and taken as masks, reach mask AP "
        f"{reach:.3f}; an object fills {_percent(filled)} of its box on average."
    )
    if apart:
        more = [entry for entry in apart if entry[0] >= NOTICEABLE]
        said += f" Box AP is above mask AP by {NOTICEABLE} or more in {len(more)} of {len(apart)} methods"
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


def _quality(numbers: Mapping[str, float]) -> str:
    return f"AP {numbers['ap']:.3f} (recall {numbers['recall']:.3f})"


def _share(ends: tuple[dict[str, float], dict[str, float]]) -> str:
    """What is left of AP from the high end to the low one."""
    low, high = (end["ap"] for end in ends)
    return f", {_percent(low / high)} of that AP" if low < high else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
