"""Notes of an evaluation of result files, and the numbers it always holds."""

from pathlib import Path
from typing import Any

import pytest

from segtrain.evaluation import TRACKS
from tests.helpers.result_file_bench import Bench, boxes, perfect


def scored(scores: list[float]) -> list[dict[str, Any]]:
    return [{**record, "score": score} for record, score in zip(perfect(), scores, strict=False)]


def test_scores_on_another_scale_are_noted(tmp_path: Path) -> None:
    bench = Bench(tmp_path).add("own", perfect()).add("percent", perfect(score=90.0) + perfect(score=0.25))
    bench.add("logits", scored([-3.5, 0.4, 2.0])).add("boxes", [{**box, "score": 100} for box in boxes()])
    found = bench.results()
    assert found["warnings"] == [
        "The rows are not compared with a reference, as none is trained; reference=NAME chooses one",
        "percent: scores from 0.25 to 90 are not in [0, 1]; the score threshold 0.5 takes 15 of 30 detections, and "
        "calibration is left out; if they are percents, score_threshold=50 stands for 0.5",
        "logits: scores from -3.5 to 2 are not in [0, 1]; the score threshold 0.5 takes 1 of 3 detections, and "
        "calibration is left out",
        "boxes: scores from 100 to 100 are not in [0, 1]; the score threshold 0.5 takes 15 of 15 detections, and "
        "calibration is left out; if they are percents, score_threshold=50 stands for 0.5",
    ]
    assert [name for name, method in found["methods"].items() if method["calibration"]] == ["own"]


@pytest.mark.parametrize(("score", "noted"), [(0.0, True), (0.49, True), (0.5, False), (1.0, False)])
def test_scores_that_do_not_reach_the_threshold_are_noted(tmp_path: Path, score: float, noted: bool) -> None:
    found = Bench(tmp_path).add("row", perfect(score=score)).results()["warnings"]
    assert (
        found
        == [
            "row: 0 of 15 detections reach the score threshold 0.5, for 15 true objects; if its scores only rank, "
            "score_threshold=0 takes all"
        ]
        * noted
    )


def test_every_track_has_its_intervals_if_only_none(tmp_path: Path) -> None:
    """Without resamples there are none."""
    found = Bench(tmp_path).add("row", perfect()).add("boxes", boxes()).results()["methods"]
    assert [found[name][track]["intervals"] for name in found for track in TRACKS] == [{}] * 4
