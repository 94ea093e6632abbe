"""Proposals of settings: all are new and of the space, and they follow the seed."""

from typing import Any

import pytest

from segtrain.benchmark.proposals import Proposals, Setting
from segtrain.benchmark.search_space import Candidate, candidates

LEVELS: dict[str, Any] = {
    "_target_": "segtrain.segmenters.classical.threshold.multi", "_partial_": True, "low": 0.2, "high": 0.5
}  # fmt: skip
MEAN: dict[str, Any] = {"_target_": "segtrain.segmenters.classical.threshold.mean", "_partial_": True}
SPACE = {"levels": {"low": [0.1, 0.2, 0.3, 0.4], "high": [0.4, 0.5, 0.6]}}


@pytest.fixture
def row() -> list[Candidate]:
    return candidates({"mean": MEAN, "levels": LEVELS}, SPACE)


def test_the_candidates_own_settings_come_first(row: list[Candidate]) -> None:
    proposals = Proposals(row, seed=0)
    standing = proposals.standing()
    assert [proposals.node(setting) for setting in standing] == [MEAN, LEVELS]
    assert [proposals.described(setting) for setting in standing] == [
        {"mean": ""},
        {"levels": "", "low": 0.2, "high": 0.5},
    ]


@pytest.mark.parametrize("with_parents", [False, True])
def test_every_setting_is_proposed_once(row: list[Candidate], with_parents: bool) -> None:
    proposals = Proposals(row, seed=3)
    found = proposals.standing()
    while drawn := proposals.draw(5, found[::-1] if with_parents else []):
        assert drawn == sorted(drawn)
        found += drawn
    assert set(found) == {Setting(0, ()), *(Setting(1, (low, high)) for low in range(4) for high in range(3))}
    assert len(found) == 13


def test_the_seed_decides(row: list[Candidate]) -> None:
    drawn = []
    for seed in (0, 0, 1):
        proposals = Proposals(row, seed)
        drawn.append(proposals.draw(6, proposals.standing()))
    assert drawn[0] == drawn[1] != drawn[2]


def test_many_variations_are_near_their_parent() -> None:
    values = [number / 100 for number in range(101)]
    node = {**LEVELS, "low": 0.5, "high": 0.5}
    proposals = Proposals(candidates({"levels": node}, {"levels": {"low": values, "high": values}}), seed=0)
    parent = proposals.standing()
    drawn = proposals.draw(16, parent)
    near = [one for one in drawn if max(abs(place - 50) for place in one.places) <= 1]
    assert 2 <= len(near) <= 8  # of 10,200 settings, 16 of which were drawn
