"""Analysis of rows, in one process and in several."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from segtrain.benchmark.runner import MethodResult
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.evaluation import TRACKS, Detections, GroundTruthSet
from segtrain.records import Category
from segtrain.report.row_analysis import Analyst, RowAnalysis
from tests.helpers.random_scenes import Scene, ground_truth_of, scene


@pytest.fixture(scope="module")
def drawn() -> Scene:
    return scene(2, predictions=120)


def rows_of(drawn: Scene) -> dict[str, MethodResult]:
    return {
        "learned": MethodResult(Detections(drawn.predictions, None, True, 0.5)),
        "boxes": MethodResult(Detections(None, drawn.box_predictions, True, 0.5)),
        "agnostic": MethodResult(Detections(drawn.predictions[::2], None, False, 0.5), technique="threshold"),
    }


def analyst_of(reference: GroundTruthSet) -> Analyst:
    infos = [ImageInfo(image_id, f"{image_id}.png", *size) for image_id, size in reference.sizes.items()]
    split: Any = SimpleNamespace(images=None, index=SimpleNamespace(images=infos))
    return Analyst(split, reference, 20, TRACKS, resamples=20, seed=3)


def plain(analysis: RowAnalysis) -> bytes:
    return msgspec.msgpack.encode(msgspec.structs.replace(analysis, scoring_seconds=0.0))


def test_processes_change_no_number(drawn: Scene) -> None:
    rows, analyst = rows_of(drawn), analyst_of(ground_truth_of(drawn))
    alone, shared = (dict(analyst.analyse(rows, processes)) for processes in (1, 3))
    assert alone.keys() == shared.keys() == rows.keys()
    assert {name: plain(own) for name, own in alone.items()} == {name: plain(own) for name, own in shared.items()}


def test_an_analysis_is_kept_in_full(drawn: Scene) -> None:
    """Numbers that are not defined included."""
    analyst = analyst_of(ground_truth_of(drawn))
    for row in rows_of(drawn).values():
        analysis = analyst.analyse_row(row)
        again = msgspec.msgpack.decode(msgspec.msgpack.encode(analysis), type=RowAnalysis)
        assert plain(again) == plain(analysis)
        assert again.tracks == analysis.tracks


def test_one_category_has_one_analysis_for_both_tracks(drawn: Scene) -> None:
    """Its own numbers are those of a category of another id, whose tracks are computed apart."""
    found = []
    for identifier in (1, 5):
        truths: Any = [{**truth, "category_id": identifier} for truth in drawn.truths]
        records: Any = [{**record, "category_id": identifier} for record in drawn.predictions]
        reference = GroundTruthSet([Category(identifier, "cell")], drawn.sizes, truths)
        found.append(analyst_of(reference).analyse_row(MethodResult(Detections(records, None, True, 0.5))))
    one, other = found
    assert one.tracks["class_agnostic"] == other.tracks["class_agnostic"]
    aware = [own.tracks["class_aware"] for own in found]
    assert aware[0] is not None
    assert aware[1] is not None
    assert aware[0].metrics == aware[1].metrics
    assert aware[0].per_category[0].metrics == aware[1].per_category[0].metrics
    assert one.errors == other.errors
