"""Errors against a plain retelling of the paper that takes its matches from pycocotools."""

from collections import Counter
from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from segtrain import masks
from segtrain.metrics.average_precision import average_precision
from segtrain.metrics.candidates import find_candidates
from segtrain.metrics.matching import Matches, match_candidates
from segtrain.metrics.tide import MISSES, TYPES, error_costs, error_types, fixed_precision
from segtrain.records import GroundTruth, Prediction
from tests.helpers.builders import truth_of
from tests.helpers.coco_referee import referee
from tests.helpers.random_scenes import CATEGORIES, Scene, inputs_of, scene

ALL = (*TYPES, MISSES)
Found = list[dict[str, Any]]  # detections in the order of the referee: right (a truth or None), type, truth meant


def reference_errors(drawn: Scene, category_ids: list[int], max_dets: int) -> tuple[Found, list[int], set[int]]:
    """The counted detections, the ids of the counted truths, and those of the missed ones."""
    evaluator = referee(drawn.truths, drawn.predictions, drawn.sizes, category_ids, "segm", max_dets)
    found: Found = []
    counted: list[int] = []
    for entry in evaluator.evalImgs:
        if entry is None or list(entry["aRng"]) != [0, 1e10]:
            continue
        counted += [i for i, ignored in zip(entry["gtIds"], entry["gtIgnore"], strict=True) if not ignored]
        for d, number in enumerate(entry["dtIds"]):
            if not entry["dtIgnore"][0, d]:
                matched = int(entry["dtMatches"][0, d])
                found.append({**drawn.predictions[number - 1], "number": number, "right": matched or None})
    real = {t["id"]: t for t in drawn.truths if t["id"] in counted}
    for detection in found:
        detection["type"], detection["meant"] = (None, None) if detection["right"] else wrong(detection, real)
    covered = {d["right"] for d in found} | {d["meant"] for d in found}
    return found, counted, set(counted) - covered


def wrong(detection: dict[str, Any], real: dict[int, GroundTruth]) -> tuple[str, int | None]:
    own: dict[int, float] = {}
    other: dict[int, float] = {}
    for number, truth in real.items():
        if truth["image_id"] == detection["image_id"]:
            iou = coco_mask.iou([detection["segmentation"]], [truth["segmentation"]], [0])[0][0]
            (own if truth["category_id"] == detection["category_id"] else other)[number] = iou
    best_own, best_other = max(own.values(), default=0), max(other.values(), default=0)
    if 0.1 <= best_own < 0.5:
        return "location", max(own, key=lambda n: own[n])
    if best_other >= 0.5:
        return "category", max(other, key=lambda n: other[n])
    if best_own >= 0.5:
        return "duplicates", None
    if max(best_own, best_other) <= 0.1:
        return "background", None
    return "both", None


def reference_precision(drawn: Scene, errors: tuple[Found, list[int], set[int]], fix: tuple[str, ...]) -> float:
    """Average precision at IoU .5 after errors of some types were put right, one detection after the other."""
    found, counted, missed = errors
    category = {t["id"]: t["category_id"] for t in drawn.truths}
    images = sorted(drawn.sizes)
    taken = {d["right"] for d in found if d["right"]}
    ranking: dict[int, list[tuple[Any, bool]]] = {category[number]: [] for number in counted}
    for d in sorted(found, key=lambda d: (-d["score"], d["number"])):
        where, hit = d["category_id"], d["right"] is not None
        if d["type"] in fix:
            if d["meant"] is None or d["meant"] in taken:
                continue
            taken.add(d["meant"])
            where, hit = category[d["meant"]], True
        ranking.setdefault(where, []).append(((-d["score"], images.index(d["image_id"]), d["number"]), hit))
    values = []
    for c in sorted({category[number] for number in counted}):
        number = sum(category[n] == c and not (MISSES in fix and n in missed) for n in counted)
        hits = [hit for _, hit in sorted(ranking[c])]
        if number == 0:
            values.append(1.0 if not hits else 0.0)
            continue
        curve = [(sum(hits[: i + 1]) / number, sum(hits[: i + 1]) / (i + 1)) for i in range(len(hits))]
        best = [max((p for r, p in curve if r >= recall), default=0.0) for recall in np.linspace(0, 1, 101)]
        values.append(float(np.mean(best)))
    return float(np.mean(values)) if values else float("nan")


def ours(drawn: Scene, category_ids: list[int], max_dets: int) -> tuple[Matches, Any]:
    candidates = find_candidates(
        drawn.truths, drawn.predictions, image_ids=list(drawn.sizes), category_ids=category_ids, iou_type="segm"
    )
    matches = match_candidates(candidates)
    return matches, error_types(matches, candidates, max_dets=max_dets)


def agnostic(drawn: Scene) -> Scene:
    truths: Any = [{**t, "category_id": 1} for t in drawn.truths]
    predictions: Any = [{**p, "category_id": 1} for p in drawn.predictions]
    return Scene(drawn.sizes, truths, predictions)


def assert_same(drawn: Scene, category_ids: list[int], max_dets: int) -> Counter[str]:
    expected = reference_errors(drawn, category_ids, max_dets)
    found, _, missed = expected
    matches, errors = ours(drawn, category_ids, max_dets)
    place = {int(number) + 1: d for d, number in enumerate(matches.record)}
    for detection in found:
        d = place[detection["number"]]
        kind = detection["type"]
        assert errors.type[d] == (-1 if kind is None else TYPES.index(kind))
        for ids, mine in ((detection["meant"], errors.meant[d]), (detection["right"], errors.right[d])):
            assert (ids is None) == (mine < 0)
            assert ids is None or drawn.truths[matches.truth_record[mine]]["id"] == ids
    seen = {place[detection["number"]] for detection in found}
    others = [d for d in range(len(matches.record)) if d not in seen]
    assert (errors.type[others] == -1).all()
    assert (errors.right[others] == -1).all()
    assert {drawn.truths[n]["id"] for n in matches.truth_record[errors.missed]} == missed
    fixes = [(), *((name,) for name in ALL), ALL, ("category", "location"), ("location", MISSES)]
    values = [reference_precision(drawn, expected, fix) for fix in fixes]
    assert fixed_precision(matches, errors, fixes) == pytest.approx(values, abs=1e-9, nan_ok=True)
    return Counter(d["type"] for d in found) + Counter({MISSES: len(missed)})


@pytest.mark.parametrize("max_dets", [3, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_every_error_and_its_cost(seed: int, max_dets: int) -> None:
    drawn = scene(seed, predictions=300)
    counts = assert_same(drawn, CATEGORIES, max_dets)
    assert min(counts[name] for name in ALL) > 0 or max_dets == 3
    assert_same(agnostic(drawn), [1], max_dets)


def test_random_scenes_show_all_types() -> None:
    counts = sum((assert_same(scene(seed, 40, 90), CATEGORIES, 3) for seed in range(10, 13)), Counter())
    assert min(counts[name] for name in ALL) > 0


places = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5), st.integers(0, 5))


@st.composite
def crowded(draw: st.DrawFn) -> Scene:
    """Many rivals on few pixels, equal overlaps and equal scores, crowds, instances too large to count."""
    real = draw(st.lists(st.tuples(places, st.integers(0, 3), st.integers(1, 2), st.integers(1, 2)), max_size=8))
    found = draw(st.lists(st.tuples(places, st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)), max_size=12))

    def rle(place: tuple[int, int, int, int]) -> masks.Rle:
        x, y, width, height = place
        return masks.encode_crop(np.ones((height, width)), x, y, (9, 9))

    truths = [
        {**truth_of(rle(p), category, image, iscrowd=kind == 0), "id": number, "area": 2e10 if kind == 1 else 9.0}
        for number, (p, kind, image, category) in enumerate(real, 1)
    ]
    predictions = [
        Prediction(image_id=image, category_id=category, segmentation=rle(p), score=score / 4)
        for p, score, image, category in found
    ]
    return Scene({1: (9, 9), 2: (9, 9)}, truths, predictions)  # type: ignore[arg-type]


@given(crowded(), st.sampled_from([1, 2, 100]))
def test_crowded_scenes(drawn: Scene, max_dets: int) -> None:
    assert_same(drawn, [1, 2], max_dets)
    assert_same(agnostic(drawn), [1], max_dets)


@given(crowded(), st.sampled_from([1, 2, 100]), st.booleans())
def test_each_false_detection_has_one_type_and_nothing_is_left_when_all_is_put_right(
    drawn: Scene, max_dets: int, merged: bool
) -> None:
    drawn, ids = (agnostic(drawn), [1]) if merged else (drawn, [1, 2])
    matches, errors = ours(drawn, ids, max_dets)
    counted = (matches.rank < max_dets) & ~matches.ignored(0, 0)
    false = counted & (matches.truth(0, 0) < 0)
    assert ((errors.type >= 0) == false).all()
    assert ((errors.right >= 0) == (counted & ~false)).all()
    about = np.isin(errors.type, [TYPES.index("category"), TYPES.index("location")])
    assert ((errors.meant >= 0) == about).all()
    # Each true object that counts is found, meant by an error, or missed.
    real = set(np.flatnonzero(~matches.truth_ignored[0]).tolist())
    known = {n for n in (*errors.right.tolist(), *errors.meant.tolist()) if n >= 0}
    missed = set(np.flatnonzero(errors.missed).tolist())
    assert known | missed == real
    assert not known & missed
    if merged:
        assert not np.isin(errors.type, [TYPES.index("category"), TYPES.index("both")]).any()
    before, everything, *single = fixed_precision(matches, errors, [(), ALL, *((name,) for name in ALL)])
    assert everything == 1 if real else isnan(everything)
    assert all(before - 1e-12 <= value <= 1 + 1e-12 for value in single) or not real


@pytest.mark.parametrize("max_dets", [2, 100])
@pytest.mark.parametrize("seed", range(5))
def test_the_precision_before_is_ap50(seed: int, max_dets: int) -> None:
    drawn = scene(seed, predictions=300)
    for part, ids in ((drawn, CATEGORIES), (agnostic(drawn), [1])):
        costs = error_costs(inputs_of(part, category_ids=ids, max_dets=max_dets))
        expected = average_precision(
            part.truths, part.predictions, image_ids=list(part.sizes), category_ids=ids, max_dets=max_dets,
            iou_type="segm", sizes=part.sizes,
        )  # fmt: skip
        assert costs.ap50 == pytest.approx(expected.stats[1], abs=1e-9)
        assert list(costs.lost) == list(costs.counts) == [n for n in ALL if ids != [1] or n not in ("category", "both")]


def strip(start: int, stop: int, row: int = 0) -> masks.Rle:
    return masks.encode_crop(np.ones((1, stop - start)), start, row, (4, 20))


def test_counted_by_hand() -> None:
    """One of each: an image with objects of two categories, one in each row of pixels."""
    truths = [truth_of(strip(0, 10, row), 1 + row % 2) for row in range(4)]
    found = [
        (strip(0, 10), 1, 0.9),  # right
        (strip(0, 9), 1, 0.8),  # a duplicate of it
        (strip(0, 4, 1), 2, 0.7),  # the object of row 1, too small
        (strip(0, 10, 2), 2, 0.6),  # that of row 2, in the other category
        (strip(0, 4, 3), 1, 0.5),  # that of row 3, both
        (strip(12, 16), 1, 0.4),  # nothing
    ]
    predictions = [Prediction(image_id=1, category_id=c, segmentation=m, score=s) for m, c, s in found]
    truths = [{**t, "id": i} for i, t in enumerate(truths, 1)]  # type: ignore[misc]
    costs = error_costs(inputs_of(Scene({1: (1, 1)}, truths, predictions), category_ids=[1, 2]))
    assert costs.counts == dict.fromkeys(ALL, 1)
    # Recalls 0 to .5 of category 1 have precision 1, and nothing is right in category 2.
    half = 51 / 101
    assert costs.ap50 == pytest.approx(half / 2)
    assert costs.lost["location"] == pytest.approx(half / 2)  # category 2 gains as much
    # Put into category 1, it is second of two hits, behind the duplicate: precision 2/3 up to recall 1.
    assert costs.lost["category"] == pytest.approx((50 / 101) * (2 / 3) / 2)
    assert costs.lost["both"] == costs.lost["duplicates"] == costs.lost["background"] == 0
    assert costs.lost[MISSES] == 0  # category 2 has no hit that could count for more


def test_a_method_that_finds_nothing_loses_all_to_misses() -> None:
    costs = error_costs(inputs_of(Scene({1: (1, 1)}, [truth_of(strip(0, 5))], []), category_ids=[1]))
    assert costs.ap50 == 0
    assert costs.lost == {"location": 0, "duplicates": 0, "background": 0, MISSES: 1}


def test_without_true_objects_nothing_is_defined() -> None:
    found = [Prediction(image_id=1, category_id=1, segmentation=strip(0, 5), score=1.0)]
    costs = error_costs(inputs_of(Scene({1: (1, 1)}, [], found), category_ids=[1]))
    assert isnan(costs.ap50)
    assert all(isnan(value) for value in costs.lost.values())
    assert costs.counts["background"] == 1
