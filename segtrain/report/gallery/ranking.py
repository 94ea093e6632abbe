"""Validation images in order: by a method's F1, by how far methods differ, and which of them a report shows."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from segtrain.metrics.f1 import f1
from segtrain.records import GroundTruth, Prediction

Scores = dict[int, float]  # image id -> F1 of the image, nan where there is nothing to find and nothing was found


def per_image_f1(truths: Sequence[GroundTruth], predictions: Sequence[Prediction], image_ids: Sequence[int]) -> Scores:
    """Class-agnostic F1 at IoU .50 of each image."""
    one_truth: list[GroundTruth] = [{**truth, "category_id": 1} for truth in truths]
    one_prediction: list[Prediction] = [{**prediction, "category_id": 1} for prediction in predictions]
    counts = f1(one_truth, one_prediction, category_ids=[1], image_ids=image_ids).per_image
    return {
        i: 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan
        for i, (tp, fp, fn) in ((i, counts[i]) for i in image_ids)
    }


def best_first(scores: Scores, objects: Mapping[int, int]) -> list[int]:
    """The images that have an F1, the highest first; among equals the fuller image says more."""
    return sorted((i for i in scores if not math.isnan(scores[i])), key=lambda i: (-scores[i], -objects[i], i))


def worst_first(scores: Scores, objects: Mapping[int, int]) -> list[int]:
    """The images that have an F1, the lowest first; among equals the fuller image says more."""
    return sorted((i for i in scores if not math.isnan(scores[i])), key=lambda i: (scores[i], -objects[i], i))


def widest_first(scores: Mapping[str, Scores], objects: Mapping[int, int]) -> list[int]:
    """The images on which the F1 of methods differ, those of the largest standard deviation first."""
    apart = {}
    for image_id in objects:
        known = [value for own in scores.values() if not math.isnan(value := own[image_id])]
        if len(set(known)) > 1:
            apart[image_id] = float(np.std(known))
    return sorted(apart, key=lambda i: (-apart[i], -objects[i], i))


def choose(
    scores: Mapping[str, Scores],
    objects: Mapping[int, int],
    each: int,
    oracles: Collection[str] = (),
    reference: str | None = None,
) -> list[tuple[int, str]]:
    """The best and the worst images of every method, and those on which methods differ most.

    The reference (else the first method) comes first, with its median images, and those where another one beats it.

    Args:
        scores: by method, F1 of every image.
        objects: true instances of every image.
        each: images for each reason.
        oracles: methods that were set with the truth in hand; that they beat others or differ from them says nothing.
        reference: row that the others are compared with.

    Returns:
        (image id, first reason) pairs; no image twice.
    """
    fair = {name: values for name, values in scores.items() if name not in oracles}
    name = reference if reference in fair else next(iter(fair or scores))
    own = scores[name]
    order = best_first(own, objects)
    middle = max(0, (len(order) - each) // 2)
    few = min(each, (len(order) + 1) // 2)  # of few images the better half is not the worst too
    lost = []
    for image_id in own:
        rivals = [(values[image_id], rival) for rival, values in fair.items() if rival != name]
        value, rival = max(((v, r) for v, r in rivals if not math.isnan(v)), default=(0.0, ""))
        # nan: nothing to find and rightly nothing found, which no rival can beat.
        if value > own[image_id]:
            lost.append((value - own[image_id], image_id, rival))
    lost.sort(key=lambda entry: (-entry[0], entry[1]))
    kinds = {
        "won": [(i, f"{rival} beats {name}") for _, i, rival in lost[:each]],
        "best": [(i, f"Best of {name}") for i in order[:few]],
        "worst": [(i, f"Worst of {name}") for i in worst_first(own, objects)[:few]],
        "median": [(i, f"Median of {name}") for i in order[middle : middle + each]],
        "apart": [(i, "Methods differ most") for i in widest_first(fair, objects)[:each]],
    }
    for other in scores:
        kinds[f"best of {other}"] = [(i, f"Best of {other}") for i in best_first(scores[other], objects)[:each]]
        kinds[f"worst of {other}"] = [(i, f"Worst of {other}") for i in worst_first(scores[other], objects)[:each]]
    # An image that several reasons apply to is shown once, for the first of them.
    seen: set[int] = set()
    for kind, picks in kinds.items():
        kinds[kind] = [pick for pick in picks if pick[0] not in seen]
        seen.update(i for i, _ in picks)
    first = [*kinds.pop("best"), *kinds.pop("median"), *kinds.pop("worst")[::-1], *kinds.pop("won")]
    return [*first, *(pick for picks in kinds.values() for pick in picks)]
