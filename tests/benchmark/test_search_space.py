"""Candidates and the values that are tried of them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from segtrain.benchmark.oracle import Oracle
from segtrain.benchmark.search import Tuned
from segtrain.benchmark.search_space import candidates
from segtrain.errors import SegtrainError

OTSU: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "configs/segmenter/threshold_otsu.yaml").read_text())


def test_a_grid_is_every_combination_and_touches_nothing_else() -> None:
    space = {"otsu": {"method": {"denoise": [0.0, 0.5], "finish": {"fill": [False, True]}}, "min_area": [16]}}
    (candidate,) = candidates({"otsu": OTSU}, space)
    before = yaml.safe_dump(OTSU)
    grid = candidate.grid()
    assert candidate.size == len(grid) == 4
    assert [(n["method"]["denoise"], n["method"]["finish"]["fill"]) for n in grid] == [
        (0.0, False), (0.0, True), (0.5, False), (0.5, True)
    ]  # fmt: skip
    assert grid[2] == OTSU
    assert yaml.safe_dump(OTSU) == before
    assert candidate.with_values(candidate.own_values()) == OTSU
    assert [d.name for d in candidate.dimensions] == ["method.denoise", "method.finish.fill", "min_area"]
    assert [d.ordered for d in candidate.dimensions] == [True, False, True]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"otzu": {}}, "space.otzu: no such candidate; did you mean otsu?"),
        (
            {"otsu": {"method": {"denoize": [0.5]}}},
            "space.otsu.method.denoize: the candidate has no such key; did you ",
        ),
        ({"otsu": {"min_area": 3}}, "space.otsu.min_area=3: not a list of values to try; give one"),
        ({"otsu": {"min_area": []}}, "not a list of values"),
        ({"otsu": {"min_area": [16, "many"]}}, "otsu.min_area=many: give a whole number"),
        ({"otsu": {"method": {"polarity": ["border", "grey"]}}}, "otsu.method.polarity=grey"),
        ({"otsu": {"method": {"finish": {"opening": [0, -1]}}}}, "otsu.method.finish.opening=-1"),
    ],
)
@pytest.mark.parametrize("row", [Tuned, Oracle])
def test_a_space_that_does_not_fit_is_one_line(row: Any, space: Any, expected: str) -> None:
    with pytest.raises(SegtrainError) as caught:
        row({"otsu": OTSU}, space, "")
    assert expected in str(caught.value)


def test_there_must_be_a_candidate() -> None:
    with pytest.raises(SegtrainError, match="candidates: there is none"):
        Tuned({}, {}, "")


def test_a_search_begins_with_what_is_there() -> None:
    with pytest.raises(SegtrainError, match=r"space\.otsu\.min_area: \[8\] lacks 16, which the candidate itself has"):
        Tuned({"otsu": OTSU}, {"otsu": {"min_area": [8]}}, "")
