"""Numbers by stratum against pycocotools' own area ranges, and against plain loops."""

import contextlib
import io
from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import masks
from segtrain.metrics.candidates import find_candidates
from segtrain.metrics.matching import IOU_THRESHOLDS
from segtrain.metrics.strata import Trait, classes, numbers_by_stratum, resampled_by_stratum, thirds
from tests.helpers.builders import truth_of
from tests.helpers.coco_referee import referee
from tests.helpers.random_scenes import Scene, inputs_of, scene

NAMES = ("low", "mid", "high")


def merged(seed: int, truths: int = 60, predictions: int = 150) -> Scene:
    """A scene of one category, true areas those of the masks but for a few."""
    drawn = scene(seed, truths, predictions)
    for record in [*drawn.truths, *drawn.predictions]:
        record["category_id"] = 1
    for truth in drawn.truths:
        if truth["area"] > 1000:
            truth["area"] = float(masks.area([truth["segmentation"]])[0])
    return drawn


def by_areas(drawn: Scene, areas: list[list[float]], max_dets: int, truths: Any = None) -> Any:
    """pycocotools with area ranges of our own."""
    truths = drawn.truths if truths is None else truths
    evaluator = referee(truths, drawn.predictions, drawn.sizes, [1], "segm", max_dets)
    evaluator.params.areaRng, evaluator.params.areaRngLbl = areas, [str(n) for n in range(len(areas))]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def ours(drawn: Scene, traits: list[Trait], max_dets: int = 100, threshold: float = 0.5) -> Any:
    return numbers_by_stratum(inputs_of(drawn, category_ids=[1], max_dets=max_dets, score_threshold=threshold), traits)


def plain_ap(evaluator: Any, share: float) -> float:
    """COCO's AP by loops over what pycocotools matched, each false detection counting as a share of one."""
    found = [e for e in evaluator.evalImgs if e is not None]
    objects = sum(int((~np.asarray(e["gtIgnore"], dtype=bool)).sum()) for e in found)
    precisions = []
    for t in range(len(IOU_THRESHOLDS)):
        entries = [
            (-score, bool(match), bool(ignored))
            for e in found
            for score, match, ignored in zip(e["dtScores"], e["dtMatches"][t], e["dtIgnore"][t], strict=True)
        ]
        hits, misses, curve = 0, 0.0, []
        for _, match, ignored in sorted(entries, key=lambda entry: entry[0]):
            if not ignored:
                hits, misses = hits + match, misses + (0 if match else share)
                curve.append((hits / objects, hits / (hits + misses)))
        for recall in np.linspace(0, 1, 101):
            precisions.append(max((p for r, p in curve if r >= recall), default=0.0))
    return float(np.mean(precisions))


@pytest.mark.parametrize("max_dets", [4, 100])
@pytest.mark.parametrize("seed", range(4))
def test_sizes_are_cocos_area_ranges(seed: int, max_dets: int) -> None:
    drawn = merged(seed)
    area = np.array([np.nan if t["iscrowd"] else t["area"] for t in drawn.truths])
    trait = thirds(area, NAMES, sized=True)
    assert len(trait.names) == 3
    ends = [0.0, *trait.bounds, 1e10]
    tables = by_areas(drawn, [[ends[i], ends[i + 1]] for i in range(3)], max_dets).eval["precision"]
    (found,) = ours(drawn, [trait], max_dets)
    expected = [tables[:, :, 0, i, 0].mean() for i in range(3)]
    assert [n.ap for n in found] == pytest.approx(expected, abs=1e-12)
    assert max(expected) > 0.05


@pytest.mark.parametrize("seed", range(4))
def test_other_strata_share_the_false_detections(seed: int) -> None:
    """pycocotools ignores what lies outside an area range: true areas are set so that this is the stratum."""
    drawn = merged(seed)
    rng = np.random.default_rng(seed)
    of = np.where([t["iscrowd"] for t in drawn.truths], -1, rng.integers(0, 3, len(drawn.truths)))
    trait, objects = classes(of, NAMES), int((of >= 0).sum())
    (found,) = ours(drawn, [trait])
    for number, stratum in enumerate(found):
        truths = [{**t, "area": 5e3 if own == number else 1e6} for t, own in zip(drawn.truths, of, strict=True)]
        evaluator = by_areas(drawn, [[0, 1e4]], 100, truths)
        share = (of == number).sum() / objects
        assert stratum.ap == pytest.approx(plain_ap(evaluator, share), abs=1e-12)
        # The loops are right where pycocotools can tell.
        assert plain_ap(evaluator, 1.0) == pytest.approx(evaluator.eval["precision"][:, :, 0, 0, 0].mean(), abs=1e-12)
        assert stratum.ap > plain_ap(evaluator, 1.0)


@pytest.mark.parametrize("threshold", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_recall_and_iou_at_the_operating_point(seed: int, threshold: float) -> None:
    drawn = merged(seed)
    of = np.array([-1 if t["iscrowd"] else n % 2 for n, t in enumerate(drawn.truths)])
    (found,) = ours(drawn, [classes(of, NAMES[:2])], threshold=threshold)
    kept = Scene(drawn.sizes, drawn.truths, [p for p in drawn.predictions if p["score"] >= threshold])
    matched: set[int] = set()
    for entry in by_areas(kept, [[0, 1e10]], 1000).evalImgs:
        if entry is not None:
            ids = np.asarray(entry["gtIds"])[np.asarray(entry["gtMatches"])[0] > 0]
            matched |= set(ids.tolist())
    for number, stratum in enumerate(found):
        here = [t for t, own in zip(drawn.truths, of, strict=True) if own == number]
        assert stratum.recall == pytest.approx(np.mean([t["id"] in matched for t in here]))
        overlaps = []
        for truth in here:
            plane = masks.decode(truth["segmentation"])
            best = 0.0
            for p in kept.predictions:
                if p["image_id"] == truth["image_id"]:
                    other = masks.decode(p["segmentation"])
                    either = (plane | other).sum()
                    best = max(best, (plane & other).sum() / either if either else 0.0)
            overlaps.append(best)
        assert stratum.iou == pytest.approx(np.mean(overlaps))
    assert found[0] != found[1]


def test_one_pass_gives_what_single_ones_give() -> None:
    drawn = merged(7)
    area = np.array([np.nan if t["iscrowd"] else t["area"] for t in drawn.truths])
    traits = [thirds(area, NAMES, sized=True), thirds(-area, NAMES), classes(np.where(np.isnan(area), -1, 0), ["one"])]
    assert ours(drawn, traits) == [ours(drawn, [trait])[0] for trait in traits]


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_resample_is_the_numbers_of_its_images(seed: int, sized: bool) -> None:
    """Each image as often as it was drawn, under new ids; the strata keep their bounds."""
    drawn, rng = merged(seed), np.random.default_rng(seed)
    value = np.array([np.nan if t["iscrowd"] else t["area"] if sized else rng.random() for t in drawn.truths])
    trait = thirds(value, NAMES, sized=sized)
    images = sorted(drawn.sizes)
    draws = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), size=5)
    draws[0] = 1
    found = resampled_by_stratum(inputs_of(drawn, category_ids=[1], max_dets=20), trait, draws)
    assert found.shape == (3, 5)
    for times, values in zip(draws, found.T, strict=True):
        truths: Any = []
        copies, of, predictions = 0, [], []
        for image_id, often in zip(images, times, strict=True):
            for copy in range(copies, copies + often):
                here = [n for n, t in enumerate(drawn.truths) if t["image_id"] == image_id]
                truths += [{**drawn.truths[n], "image_id": copy} for n in here]
                of += [trait.of[n] for n in here]
                predictions += [{**p, "image_id": copy} for p in drawn.predictions if p["image_id"] == image_id]
            copies += often
        again = Trait(trait.names, trait.bounds, np.array(of), sized)
        copy = Scene(dict.fromkeys(range(copies), (1, 1)), truths, predictions)
        (expected,) = numbers_by_stratum(inputs_of(copy, category_ids=[1], max_dets=20), [again])
        assert values == pytest.approx([stratum.ap for stratum in expected], abs=1e-12, nan_ok=True)


def test_a_single_stratum_is_the_whole() -> None:
    drawn = merged(5)
    (found,) = ours(drawn, [classes(np.array([-t["iscrowd"] for t in drawn.truths]), ["all"])])
    table = by_areas(drawn, [[0, 1e10]], 100).eval["precision"]
    assert found[0].ap == pytest.approx(table.mean(), abs=1e-12)


def test_a_rare_kind_is_not_worse_for_being_rare() -> None:
    """Of each kind half is found; there are as many false detections as objects."""
    rle = [masks.encode_crop(np.ones((4, 4)), 5 * (n % 20), 5 * (n // 20), (60, 100)) for n in range(160)]
    truths = [{**truth_of(r), "id": n} for n, r in enumerate(rle[:80], 1)]
    score = [0.9 - n / 1000 for n in range(160)]
    chosen = [n for n in range(160) if n % 2 == 0 or n >= 80]
    rng = np.random.default_rng(0)
    found = [
        {"image_id": 1, "category_id": 1, "segmentation": rle[n], "score": score[rng.integers(160)]} for n in chosen
    ]
    drawn = Scene({1: (60, 100)}, truths, found)  # type: ignore[arg-type]
    of = np.array([int(n >= 72) for n in range(80)])
    ((common, rare),) = ours(drawn, [classes(of, ["common", "rare"])], max_dets=400, threshold=0.0)
    assert common.recall == rare.recall == 0.5
    assert rare.ap == pytest.approx(common.ap, abs=0.12)
    assert rare.ap > 0.2


def test_nothing_found_and_nothing_there() -> None:
    empty = Scene({1: (9, 9)}, [truth_of(masks.encode(np.eye(9)))], [])
    ((found,),) = ours(empty, [classes(np.zeros(1, dtype=np.int64), ["all"])])
    assert (found.ap, found.recall, found.iou) == (0, 0, 0)
    # A kind without objects has no numbers.
    ((found, _),) = ours(empty, [Trait(["none", "all"], (), np.ones(1, dtype=np.int64))])
    assert isnan(found.ap)
    assert isnan(found.recall)
    assert isnan(found.iou)
    assert ours(Scene({1: (9, 9)}, [], []), []) == []


def test_the_best_overlap_is_taken_within_the_image() -> None:
    rle = masks.encode(np.eye(9))
    found: Any = [{"image_id": 2, "category_id": 1, "segmentation": rle, "score": 1.0}]
    truths = [truth_of(rle, image_id=1), truth_of(rle, image_id=2), truth_of(rle, image_id=3)]
    candidates = find_candidates(truths, found, image_ids=[1, 2, 3], category_ids=[1], iou_type="segm")
    assert candidates.max_iou_per_truth(3, score_threshold=1.0).tolist() == [0, 1, 0]
    assert candidates.max_iou_per_truth(3, score_threshold=1.1).tolist() == [0, 0, 0]


@given(st.lists(st.one_of(st.integers(0, 12).map(float), st.floats(0, 1e6), st.just(float("nan"))), max_size=40))
def test_thirds_divide_all_values(values: list[float]) -> None:
    given_values = np.array(values, dtype=np.float64)
    trait = thirds(given_values, NAMES)
    known = given_values[~np.isnan(given_values)]
    assert (trait.of[np.isnan(given_values)] == -1).all()
    assert sum(trait.objects) == len(known)
    assert all(trait.objects)
    assert len(trait.names) == min(3, len(set(known.tolist()))) or len(trait.names) == 2
    assert len(trait.bounds) == max(0, len(trait.names) - 1)
    # Equal values stay together, and strata do not interleave.
    for number in range(len(trait.names) - 1):
        assert given_values[trait.of == number].max() <= trait.bounds[number]
        assert trait.bounds[number] <= given_values[trait.of == number + 1].min()
        assert given_values[trait.of == number].max() < given_values[trait.of == number + 1].min()


def test_thirds_are_thirds_where_values_differ() -> None:
    values = np.random.default_rng(0).permutation(100).astype(float)
    assert thirds(values, NAMES).objects == [33, 34, 33]
    assert thirds(values, NAMES).bounds == [32.5, 66.5]
    assert thirds(np.array([1.0, 1, 1, 1, 5]), NAMES).names == ("low", "high")
    assert thirds(np.ones(4), NAMES).names == ("all",)
    assert thirds(np.zeros(0), NAMES).names == ()


def test_kinds_that_nothing_is_of_are_left_out() -> None:
    trait = classes(np.array([2, -1, 0, 2]), NAMES)
    assert (list(trait.names), trait.objects, trait.of.tolist()) == (["low", "high"], [1, 2], [1, -1, 0, 1])
