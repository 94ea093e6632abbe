"""Steps that settings share on one image: equal results, and a bound of their memory."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from segtrain.benchmark.proposals import Proposals
from segtrain.benchmark.search import Tuned
from segtrain.benchmark.search_space import build_segmenter
from segtrain.segmenters.classical import shared_steps
from segtrain.segmenters.classical.shared_steps import shared_step, sharing_steps

CONFIGS = Path(__file__).parents[2] / "configs" / "segmenter"


def tuned(name: str) -> Tuned:
    """The candidates and the space of a tuned row's YAML."""
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    names = [default.split("@candidates.") for default in content["defaults"] if default != "_self_"]
    nodes = {own: yaml.safe_load((CONFIGS / f"{option}.yaml").read_text()) for option, own in names}
    return Tuned(nodes, content["space"], content["description"])


@pytest.mark.parametrize("name", ["threshold_tuned", "edge_tuned", "kmeans_tuned"])
def test_settings_find_the_same_whether_they_share_steps_or_not(name: str) -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 90, (3, 48, 56), dtype=np.uint8))
    image[:, 8:20, 10:26] += 90
    image[:, 14:30, 22:36] += 70
    proposals = Proposals(tuned(name).candidates, seed=0)
    settings = proposals.draw(25, proposals.standing())
    random.Random(0).shuffle(settings)
    segmenters = [build_segmenter(proposals.node(setting)) for setting in settings]
    alone = [segmenter.segment([image])[0] for segmenter in segmenters]
    with sharing_steps():
        together = [segmenter.segment([image])[0] for segmenter in segmenters]
    for own, shared in zip(alone, together, strict=True):
        assert list(own.rles) == list(shared.rles)
        assert np.array_equal(own.scores, shared.scores)
    assert sum(len(own) for own in alone) > 25


def test_the_oldest_results_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_steps, "_MOST", 1000)
    calls = []

    @shared_step
    def repeated(value: int) -> np.ndarray:
        calls.append(value)
        return np.full(50, value)  # 400 bytes

    with sharing_steps():
        for value in (1, 2, 1, 3, 2, 1):
            assert (repeated(value) == value).all()
    assert calls == [1, 2, 3, 1]
