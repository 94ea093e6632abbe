"""The oracle: never worse on an image than any setting of its grid."""

from typing import Any

import numpy as np
import torch

from segtrain import masks
from segtrain.benchmark.oracle import Oracle
from segtrain.benchmark.search_space import build_segmenter
from segtrain.metrics.f1 import f1
from segtrain.records import Category, GroundTruth, Instances, Prediction, to_predictions
from tests.benchmark.test_search_space import OTSU

SPACE = {"method": {"polarity": ["bright", "dark"], "finish": {"watershed": [False, True]}}, "min_area": [16, 60]}


def scene(seed: int, dark: bool) -> tuple[torch.Tensor, list[GroundTruth]]:
    """Squares, some of them touching; the truth keeps them apart."""
    rng = np.random.default_rng(seed)
    plane, truths = np.zeros((60, 60)), list[GroundTruth]()
    for x in (4, 14, 32, 48):
        side, y = int(rng.integers(4, 11)), int(rng.integers(2, 45))
        plane[y : y + side, x : x + side] = 1
        rle = masks.encode_crop(np.ones((side, side)), x, y, (60, 60))
        truths.append(
            GroundTruth(id=len(truths) + 1, image_id=seed, category_id=1, segmentation=rle, bbox=[0, 0, 1, 1],
                        area=float(side**2), iscrowd=0)
        )  # fmt: skip
    grey = 40 + 160 * (1 - plane if dark else plane) + rng.normal(0, 4, plane.shape)
    return torch.from_numpy(grey.clip(0, 255).astype(np.uint8))[None].repeat(3, 1, 1), truths


def best_of(oracle: Oracle, image: torch.Tensor, truths: list[GroundTruth], *known: Any) -> list[masks.Rle]:
    image_id = truths[0]["image_id"] if truths else 1
    found = oracle.segment_knowing(image_id, image, truths, [Category(1, "object")], known)
    return [record["segmentation"] for record in found]


def quality(found: Any, truths: list[GroundTruth]) -> tuple[float, float]:
    image_id = truths[0]["image_id"]
    records = [
        Prediction(image_id=image_id, category_id=1, segmentation=rle, score=1 - n / 1e3) for n, rle in enumerate(found)
    ]
    both = [masks.union([r["segmentation"] for r in part], (60, 60)) for part in (records, truths)]
    planes = [masks.decode(rle) for rle in both]
    iou = (planes[0] & planes[1]).sum() / (planes[0] | planes[1]).sum()
    return f1(truths, records, category_ids=[1], image_ids=[image_id]).f1, float(iou)


def test_an_oracle_is_on_no_image_below_a_row_of_its_kind() -> None:
    blind = {**OTSU, "min_area": 400}  # finds none of the squares
    oracle = Oracle({"otsu": blind}, {}, "")
    tuned = build_segmenter({**OTSU, "min_area": 9})
    edges = build_segmenter(
        {
            **OTSU,
            "method": {"_target_": "segtrain.segmenters.classical.edges.sobel", "_partial_": True},
            "technique": "edges",
        }
    )
    image, truths = scene(1, False)
    assert not best_of(oracle, image, truths)
    assert (oracle.takes(tuned), oracle.takes(edges)) == (True, False)
    found = tuned.segment([image])[0]
    known = to_predictions(found, 1, [Category(1, "object")])
    assert best_of(oracle, image, truths, known) == found.rles
    oracle.others = 1
    assert "2 settings" in oracle.info.description


class Fixed:
    """A segmenter that finds in each image what it is told."""

    scores_are_learned = False

    def __init__(self, answers: dict[int, list[masks.Rle]]) -> None:
        self.answers = answers

    def segment(self, images: list[torch.Tensor]) -> list[Instances]:
        found = [self.answers[id(image)] for image in images]
        return [
            Instances((60, 60), np.zeros((n, 4), np.float32), np.zeros(n, np.int64), np.ones(n, np.float32), rles)
            for n, rles in ((len(rles), rles) for rles in found)
        ]


def test_the_bound_holds_for_each_image_and_not_for_the_f1_of_all() -> None:
    """Where one setting finds an object among 70 false ones and the other nothing, the former has the best F1."""
    (hard, hard_truths), (easy, easy_truths) = scene(1, False), scene(2, False)
    specks = [masks.encode_crop(np.ones((1, 1)), n % 60, 58 + n // 60, (60, 60)) for n in range(70)]
    reckless = Fixed({id(hard): [hard_truths[0]["segmentation"], *specks], id(easy): []})
    careful = Fixed({id(hard): [], id(easy): [truth["segmentation"] for truth in easy_truths]})
    oracle = Oracle({"otsu": OTSU}, {}, "")
    oracle.segmenters = [reckless, careful]

    def pooled(*found: Instances) -> float:
        pairs = zip((1, 2), found, strict=True)
        records = [record for n, one in pairs for record in to_predictions(one, n, [Category(1, "object")])]
        return f1([*hard_truths, *easy_truths], records, category_ids=[1], image_ids=[1, 2]).f1

    chosen = [best_of(oracle, image, truths) for image, truths in ((hard, hard_truths), (easy, easy_truths))]
    single = [careful.segment([image])[0] for image in (hard, easy)]
    assert [len(one) for one in chosen] == [71, len(easy_truths)]
    for best, one, truths in zip(chosen, single, (hard_truths, easy_truths), strict=True):
        assert quality(best, truths)[0] >= quality(one.rles, truths)[0]
    assert pooled(reckless.segment([hard])[0], careful.segment([easy])[0]) < 0.2 < 0.6 < pooled(*single)


def test_an_oracle_takes_the_best_of_its_grid() -> None:
    oracle = Oracle({"otsu": OTSU}, {"otsu": SPACE}, "Words.")
    assert len(oracle.segmenters) == 9  # as it stands too
    assert (
        oracle.info.description == "Words. 9 settings. An upper bound of each image's F1, chosen with the ground truth."
    )
    assert oracle.info.ranked_by == "contrast"
    chosen = set()
    for seed, dark in ((1, False), (2, True), (3, True), (4, False)):
        image, truths = scene(seed, dark)
        found = [segmenter.segment([image])[0] for segmenter in oracle.segmenters]
        qualities = [quality(one.rles, truths) for one in found]
        best = best_of(oracle, image, truths)
        assert quality(best, truths) == max(qualities)
        place = qualities.index(max(qualities))
        assert best == found[place].rles  # of equal ones the first
        chosen.add(place)
    assert len(chosen) > 1


def test_where_nothing_is_true_the_oracle_finds_as_little_as_it_can() -> None:
    oracle = Oracle({"otsu": OTSU}, {"otsu": SPACE}, "")
    image, truths = scene(1, False)
    counts = [len(segmenter.segment([image])[0]) for segmenter in oracle.segmenters]
    crowd = GroundTruth(**{**truths[0], "iscrowd": 1})
    for given in ([], [crowd]):
        assert len(best_of(oracle, image, given)) == min(counts)
