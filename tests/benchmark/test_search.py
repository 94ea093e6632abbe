"""The search for settings: what it finds, what it looks at, and when it ends."""

import os
import random
import signal
from dataclasses import replace
from math import isnan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from segtrain.benchmark.search import BATCH, FINALISTS, Budget, Tuned, Winner, search
from segtrain.benchmark.search_space import build_segmenter
from segtrain.benchmark.setting_scorer import FEW, SOME, SettingScorer
from segtrain.benchmark.training_images import TrainingImages
from segtrain.data.splits import Split, open_splits
from segtrain.errors import SegtrainError
from segtrain.evaluation import GroundTruthSet, predict, score
from segtrain.segmenters.classical.segmenter import LabelMapSegmenter
from segtrain.stopping import finishing_work, stop_requested, stop_signals
from tests.helpers.scripts import write_data

CONFIGS = Path(__file__).parents[2] / "configs" / "segmenter"
OTSU: dict[str, Any] = yaml.safe_load((CONFIGS / "threshold_otsu.yaml").read_text())
SPOILT = {**OTSU, "min_area": 400}  # larger than any object of the data: as it stands it finds nothing
SPACE = {"method": {"denoise": [0.0, 0.5, 1.0], "polarity": ["border", "dark", "bright"]}, "min_area": [16, 150, 400]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), images=8)


def open_split(root: Path, **changes: Any) -> dict[Any, Split]:
    settings: dict[str, Any] = {
        "root": root, "train_annotations": "train.json", "train_images": "train", "val_annotations": "val.json",
        "val_images": "val", "val_fraction": None, "exif": "auto", "max_image_pixels": 10**6, "check": "strict",
        "seed": 0, "need": ["train"],
    }  # fmt: skip
    return open_splits(**{**settings, **changes})


def tuned(node: dict[str, Any] = SPOILT, space: Any = SPACE) -> Tuned:
    return Tuned({"otsu": node}, {"otsu": space}, "")


def found(root: Path, row: Tuned | None = None, count: int | None = 6, **changes: Any) -> tuple[Winner, TrainingImages]:
    images = TrainingImages(open_split(root)["train"], count, 0, skip=False)
    settings: dict[str, Any] = {"metric": "mask_ap", "processes": 1, "budget": Budget(None, 12), "seed": 0} | changes
    return searched(images, row or tuned(), **settings), images


def searched(
    images: TrainingImages, row: Tuned, *, budget: Budget, seed: int = 0, metric: Any = "mask_ap", processes: int = 1,
    show: Any = lambda *_: None, begun: Winner | None = None,
) -> Winner:  # fmt: skip
    scorer = SettingScorer(images, metric, max_dets=10, seed=seed)
    with scorer.shared(processes):
        return search(row, scorer, budget=budget, seed=seed, show=show, begun=begun)


@pytest.mark.parametrize("metric", ["mask_ap", "miou"])
def test_the_winner_is_better_and_its_value_is_the_benchmark_s(root: Path, metric: str) -> None:
    winner, images = found(root, metric=metric)
    assert winner.node["min_area"] < 400
    assert winner.trials == 12
    assert 2 <= winner.completed <= 12
    split = open_split(root)["train"]
    reference = GroundTruthSet.of(split.index.subset(images.ids))

    def measured(node: dict[str, Any]) -> float:
        detections = predict(build_segmenter(node), images.read(images.ids), reference.categories, 0.5)
        track = score(detections, reference, 10)["class_agnostic"]
        assert track is not None
        return track.value(metric)

    assert winner.value == pytest.approx(measured(winner.node), abs=1e-12)
    assert winner.value > measured(SPOILT) + 0.2


def test_what_is_there_already_is_never_made_worse(root: Path) -> None:
    """Even if there is time for nothing else."""
    winner, _ = found(root, tuned(OTSU), budget=Budget(None, 1))
    assert winner.node == OTSU
    assert (winner.trials, winner.completed) == (1, 1)


def test_a_number_of_trials_decides_alone(root: Path) -> None:
    """Whatever the number of processes."""
    first, second, third = (found(root, processes=processes)[0] for processes in (1, 1, 3))
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0) == replace(third, seconds=0.0)


def test_what_segmenters_draw_is_the_same_in_each_search(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment, drawn = LabelMapSegmenter.segment, list[float]()

    def drawing(self: LabelMapSegmenter, images: Any) -> Any:
        drawn.append(random.random())
        return segment(self, images)

    monkeypatch.setattr(LabelMapSegmenter, "segment", drawing)
    for seed in (0, 0, 1):
        random.random()
        found(root, tuned(OTSU), count=2, budget=Budget(None, 1), seed=seed)
    assert len(set(drawn)) == 4
    assert drawn[:2] == drawn[2:4]


def test_a_search_ends_when_all_is_tried(root: Path) -> None:
    winner, _ = found(root, tuned(space={"min_area": [16, 400]}), budget=Budget(None, 1000))
    assert winner.trials < 100
    assert winner.node == {**SPOILT, "min_area": 16}


def test_a_candidate_without_values_to_try_is_tried_once_as_it_stands(root: Path) -> None:
    row = Tuned({"spoilt": SPOILT, "sound": OTSU}, {"spoilt": {"min_area": [300, 400]}}, "")
    winner, _ = found(root, row, budget=Budget(None, 1000))
    assert winner.node == OTSU
    assert winner.settings == {"sound": ""}
    assert winner.value == winner.standing > 0
    assert winner.trials < 100
    assert found(root, row, budget=Budget(None, 1))[0].node == SPOILT


def test_rows_without_any_values_to_try_are_compared(root: Path) -> None:
    winner, _ = found(root, Tuned({"spoilt": SPOILT, "sound": OTSU, "again": OTSU}, {}, ""))
    assert winner.node == OTSU
    assert winner.trials == 3


class KnownScores:
    """Scores of settings that are the same on every image, in place of segmenting any."""

    def __init__(self, images: int) -> None:
        self.views = [SimpleNamespace(objects=[1]) for _ in range(images)]
        self.parts = self.views[:SOME]
        self.segmented: list[tuple[int, int]] = []  # settings and views of each call

    def segment(self, nodes: list[dict[str, Any]], views: list[Any], deadline: float) -> list[list[float]]:
        self.segmented.append((len(nodes), len(views)))
        return [[1 / node["min_area"]] * len(views) for node in nodes]

    def value(self, views: list[Any], parts: list[float]) -> float:
        assert len(views) == len(parts)
        return parts[0]

    def end(self) -> None:
        pass


def test_what_is_better_on_some_images_is_scored_on_all_of_them_at_once() -> None:
    values = list(range(1, 1001))
    scorer: Any = KnownScores(96)
    row = tuned({**OTSU, "min_area": 1000}, {"min_area": values})
    winner = search(row, scorer, budget=Budget(None, 300), seed=0, show=lambda *_: None)
    on_few, on_rest = (sum(n for n, views in scorer.segmented if views == count) for count in (FEW, 96 - SOME))
    assert on_few == 299  # all but the candidate's own
    assert on_rest == winner.completed - 1 > FINALISTS
    assert (winner.trials, winner.images) == (300, 96)
    assert winner.value == 1 / winner.node["min_area"] > 10 * winner.standing


def test_without_time_the_first_candidate_stays(root: Path) -> None:
    winner, _ = found(root, budget=Budget(1e-9, None))
    assert winner.node == SPOILT
    assert isnan(winner.value)
    assert (winner.trials, winner.completed) == (0, 0)


def test_something_must_end_a_search() -> None:
    with pytest.raises(SegtrainError, match=r"tune\.seconds and tune\.trials are both null"):
        Budget(None, None)


def test_progress_is_told(root: Path) -> None:
    told: list[tuple[float, int, float]] = []
    images = TrainingImages(open_split(root)["train"], 3, 0, skip=False)
    searched(images, tuned(), budget=Budget(None, 5), show=lambda *state: told.append(state))
    assert [trials for _, trials, _ in told] == sorted(trials for _, trials, _ in told)
    assert {trials for _, trials, _ in told} == {1, 5}
    assert all(share == pytest.approx(trials / 5) for share, trials, _ in told)
    best = [value for _, _, value in told]
    assert best == sorted(best)


def test_training_images_are_a_draw_with_their_truth(root: Path) -> None:
    split = open_split(root)["train"]
    few, every = (TrainingImages(split, count, 0, skip=False) for count in (4, None))
    assert list(every.ids[:4]) == list(few.ids)
    assert sorted(every.ids) == [image.id for image in split.index.images]
    assert list(few.ids) != list(TrainingImages(split, 4, 1, skip=False).ids)
    assert few.ground_truth.sizes.keys() == set(few.ids)
    assert few.objects == len(few.ground_truth.truths)
    assert {truth["category_id"] for truth in few.ground_truth.truths} == {1}
    assert split.images is not None
    for image in split.index.images:
        for _ in range(2):  # the second time from memory
            ((number, pixels),) = every.read([image.id])
            assert number == image.id
            assert np.array_equal(pixels.permute(1, 2, 0).numpy(), split.images.read(image))


def test_a_drawn_validation_split_is_not_searched_on(root: Path) -> None:
    splits = open_split(
        root, val_annotations=None, val_images=None, val_fraction=0.4, need=["train", "val"], seed=3
    )  # fmt: skip
    searched = TrainingImages(splits["train"], None, 0, skip=False).ids
    held_out = {image.id for image in splits["val"].index.images}
    assert held_out
    assert not held_out & set(searched)
    with pytest.raises(ValueError, match="not on val"):
        TrainingImages(splits["val"], None, 0, skip=False)


def test_a_signal_ends_a_search_with_the_best_so_far(root: Path) -> None:
    images = TrainingImages(open_split(root)["train"], 6, 0, skip=False)

    def stop(_: float, __: int, ___: float) -> None:
        if not stop_requested():
            os.kill(os.getpid(), signal.SIGTERM)

    for processes in (1, 2):
        with stop_signals(), finishing_work():
            winner = searched(images, tuned(), budget=Budget(None, 200), processes=processes, show=stop)
        assert (winner.trials, winner.completed) == (1, 1)
        assert winner.node == SPOILT


@pytest.mark.parametrize("count", [6, SOME + 4])
def test_an_interrupted_search_goes_on_with_what_it_has_tried(root: Path, tmp_path: Path, count: int) -> None:
    data = write_data(tmp_path, images=count) if count > 6 else root
    images = TrainingImages(open_split(data)["train"], count, 0, skip=False)

    def stop(_: float, trials: int, __: float) -> None:
        if trials > BATCH and not stop_requested():
            os.kill(os.getpid(), signal.SIGTERM)

    with stop_signals(), finishing_work():
        begun = searched(images, tuned(), budget=Budget(None, 27), show=stop)
    assert BATCH < begun.trials < 27
    begun = msgspec.msgpack.decode(msgspec.msgpack.encode(begun), type=Winner)  # as it is kept on the disk
    with stop_signals(), finishing_work():
        os.kill(os.getpid(), signal.SIGTERM)
        stopped_at_once = searched(images, tuned(), budget=Budget(None, 27), begun=begun)
    assert replace(stopped_at_once, seconds=begun.seconds) == begun
    whole = searched(images, tuned(), budget=Budget(None, 27), begun=begun)
    assert whole.trials == 27
    assert len(set(whole.tried.settings)) == 27  # of 27 in the grid: none is tried again
    assert whole.value >= begun.value
    assert (whole.standing, whole.images, whole.objects) == (begun.standing, begun.images, begun.objects)
    assert whole.seconds > begun.seconds
