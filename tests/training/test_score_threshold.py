"""The score threshold: the one with the best F1 on training images, kept in the checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segtrain import masks
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.records import Category, GroundTruth, Prediction
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.training.checkpoint import Checkpoint, load_checkpoint
from segtrain.training.score_threshold import (
    THRESHOLDS,
    best_threshold,
    category_thresholds,
    select_score_threshold,
)
from tests.helpers.tiny_networks import tiny
from tests.helpers.tiny_runs import IDS, checkpoint, training, write_data

SIZE = (20, 20)
PLACES = [(x, y) for x in (0, 7, 14) for y in (0, 7, 14)]


def square(place: int) -> masks.Rle:
    x, y = PLACES[place]
    return masks.encode_crop(np.ones((5, 5)), x, y, SIZE)


def scene(true: list[int], found: list[tuple[int, float]]) -> tuple[Detections, GroundTruthSet]:
    """Squares that are there, and squares that were found, none of which overlaps another."""
    truths = [
        GroundTruth(
            id=n + 1, image_id=1, category_id=7, segmentation=square(p), bbox=[0, 0, 1, 1], area=25.0, iscrowd=0
        )
        for n, p in enumerate(true)
    ]
    records = [Prediction(image_id=1, category_id=9, segmentation=square(p), score=score) for p, score in found]
    return Detections(records, None, True, 0.0), GroundTruthSet([Category(7, "a"), Category(9, "b")], {1: SIZE}, truths)


@given(
    st.sets(st.integers(0, 8)), st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1)), unique_by=lambda f: f[0])
)  # fmt: skip
def test_no_threshold_is_better(true: set[int], found: list[tuple[int, float]]) -> None:
    """Counted by hand: whatever its category, a square is right if it is there."""
    threshold, value = best_threshold(*scene(sorted(true), found))
    by_hand = {}
    for one in THRESHOLDS:
        kept = {place for place, score in found if score >= one}
        wrong = len(kept ^ true)
        by_hand[one] = 2 * len(kept & true) / (2 * len(kept & true) + wrong) if true else 0.0
    assert value == pytest.approx(max(by_hand.values()))
    assert by_hand[threshold] == pytest.approx(value)
    nearer = [one for one in THRESHOLDS if abs(one - 0.5) < abs(threshold - 0.5) - 1e-9]
    assert all(by_hand[one] < value for one in nearer)


def test_where_nothing_tells_it_is_a_half() -> None:
    assert best_threshold(*scene([1, 2], [])) == (0.5, 0.0)
    assert best_threshold(*scene([], [(1, 0.9)])) == (0.5, 0.0)


def test_categories_with_enough_objects_have_thresholds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five squares of a are found with scores from .6 on, those of b with .3; b has one object less."""
    monkeypatch.setattr("segtrain.training.score_threshold._FEWEST", 5)
    truth, rest = scene(list(range(9)), [])[1], [(9, 0.3)] * 4
    truths = [{**one, "category_id": 7 if n < 5 else 9} for n, one in enumerate(truth.truths)]
    scores = [(7, 0.6 + n / 50) for n in range(5)] + rest
    records = [
        Prediction(image_id=1, category_id=category, segmentation=square(n), score=score)
        for n, (category, score) in enumerate(scores)
    ]
    wrong = [Prediction(image_id=1, category_id=7, segmentation=square(8), score=0.52)]
    found, ground_truth = Detections(records + wrong, None, True, 0.0), replace(truth, truths=truths)
    assert category_thresholds(found, ground_truth) == {"a": 0.55}
    monkeypatch.setattr("segtrain.training.score_threshold._FEWEST", 4)
    assert category_thresholds(found, ground_truth) == {"a": 0.55, "b": 0.3}
    alone = GroundTruthSet([Category(7, "a")], truth.sizes, truths[:5])
    assert category_thresholds(found, alone) == {}


@pytest.fixture
def split(tmp_path: Path) -> Split:
    folder = tmp_path / "images"
    folder.mkdir()
    return Split("train", write_data(folder, images=6), ImageReader(folder, exif="auto", max_pixels=10**6))


def write(path: Path, network: MaskRCNN, **changes: Any) -> Checkpoint:
    saved = checkpoint(model={name: value + 0 for name, value in network.state_dict().items()}, **changes)
    saved.save(path)
    return saved


def test_a_checkpoint_keeps_its_threshold(split: Split, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    network = tiny(min_score=0.0)
    original = write(path, network, category_ids=IDS, class_names=["round", "square", "c"])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()  # what the run ended with, which is not what is saved
    select_score_threshold(tmp_path, network, split, images=3, seed=0, given={"square": 0.37})
    stored = load_checkpoint(path)
    assert stored.score_threshold in THRESHOLDS
    assert stored.threshold_images == 3
    assert stored.category_thresholds == {"square": 0.37}
    for name, value in original.model.items():
        assert torch.equal(stored.model[name], value)
        assert torch.equal(network.state_dict()[name], value)


def test_the_last_weights_get_a_threshold_of_their_own(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The best weights' where they are the same ones; the state to go on with stays."""
    tried = iter([(0.3, 0.9), (0.7, 0.8), (0.4, 0.6)])
    monkeypatch.setattr("segtrain.training.score_threshold.best_threshold", lambda *_: next(tried))
    network = tiny()
    write(tmp_path / "best.pt", network)
    write(tmp_path / "last.pt", network, training=training(batch=5))

    def settled() -> list[float]:
        select_score_threshold(tmp_path, network, split, images=3, seed=0)
        return [load_checkpoint(tmp_path / f"{name}.pt").score_threshold for name in ("best", "last")]

    with caplog.at_level("INFO"):
        assert settled() == [0.3, 0.3]
    assert caplog.messages == [
        "score threshold 0.3: F1 0.9000 on 3 training images, stored in best.pt and last.pt",
        "score thresholds by category: none, as no category has 20 objects here of which some are found",
    ]
    assert load_checkpoint(tmp_path / "last.pt").training == training(batch=5)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    write(tmp_path / "last.pt", network)
    with caplog.at_level("INFO"):
        assert settled() == [0.7, 0.4]
    assert "score threshold 0.4: F1 0.6000 on 3 training images, stored in last.pt" in caplog.messages


def test_images_that_cannot_be_read_are_passed_over(split: Split, tmp_path: Path) -> None:
    assert split.images is not None
    for number in range(5):
        (split.images.folder / f"{number}.png").write_bytes(b"")
    network = tiny()
    write(tmp_path / "best.pt", network)
    select_score_threshold(tmp_path, network, split, images=3, seed=0)
    assert load_checkpoint(tmp_path / "best.pt").threshold_images == 1
    (split.images.folder / "5.png").unlink()
    with pytest.raises(SegtrainError, match="no image can be read"):
        select_score_threshold(tmp_path, network, split, images=3, seed=0)
