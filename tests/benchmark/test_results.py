"""``results.json``: read back equal, with the keys that other programs parse, and refused if it is no such file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from segtrain.benchmark.results import Bootstrap, Results
from segtrain.errors import SegtrainError
from segtrain.metrics.scores import Interval, TrackScores, plain
from tests.helpers.report_examples import HOSTILE, METRICS, complete, method, results, with_kinds, with_limits

KEYS = [
    "methods", "reference", "comparisons", "contests", "bootstrap", "mask_ceiling", "reasons", "strata",
    "contrast_gap", "true_boxes", "seeds", "data", "warnings", "environment", "command", "directory", "checkpoint",
    "checkpoints", "verdict", "claims", "runs",
]  # fmt: skip
METHOD_KEYS = [
    "class_agnostic", "class_aware", "timing", "counts", "score_threshold", "description", "score", "family", "costs",
    "calibration", "errors", "strata",
]  # fmt: skip
TRACK_KEYS = [*METRICS, "per_category", "precision_recall", "coco", "f1_curve", "intervals"]
CATEGORY_KEYS = [
    "mask_ap", "mask_ap50", "box_ap", "iou", "f1_50", "pq", "boundary_iou", "id", "name", "annotations"
]  # fmt: skip
DATA_KEYS = [
    "images", "annotations", "used", "crowd", "repaired", "dropped", "unreadable_images", "categories", "max_dets",
    "name", "annotations_file", "findings", "windows", "contents", "source",
]  # fmt: skip


@pytest.fixture
def content() -> Any:
    """Everything that results can hold."""
    found = with_kinds(with_limits(complete()))
    for name, row in found["methods"].items():
        row["errors"] = {
            "class_agnostic": {"ap50": 0.5, "lost": {"missed": 0.25}, "counts": {"missed": 7}},
            "class_aware": None,
            "touching": {"objects": 8, "found": 7, "merged": 6, "split": 1},
        }
        row["technique"] = name.partition("_")[0]
    spread = {"mask_ap": {"mean": 0.5, "deviation": 0.1, "low": 0.4, "high": 0.6}}
    found["contests"] = {
        "mask_ap": {
            "difference": 0.2, "low": 0.1, "high": 0.3, "p": 0.01, "least_p": 0.002, "first": "mask_rcnn",
            "second": "threshold_otsu",
        }
    }  # fmt: skip
    found["seeds"] = [{"rows": ["a", "b"], "seeds": [0, 1], "class_agnostic": spread, "class_aware": {}}]
    found["checkpoints"] = {"mask_rcnn": {"path": "best.pt", "metrics": {"mask_ap": 0.5, "box_ap": float("nan")}}}
    return found


def strict(text: str) -> Any:
    """Read as RFC 8259 defines JSON, which has neither NaN nor infinities."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in results.json"))


def test_results_are_read_back_equal(content: Any, tmp_path: Path) -> None:
    written = Results.of(content)
    (tmp_path / "results.json").write_text(written.to_json())
    read = Results.load(tmp_path / "results.json")
    assert read == written
    assert read.to_json() == written.to_json()
    assert isinstance(read.bootstrap, Bootstrap)
    track = read.methods["mask_rcnn"].class_agnostic
    assert isinstance(track, TrackScores)
    assert track.intervals["miou"] == Interval(*content["methods"]["mask_rcnn"]["class_agnostic"]["intervals"]["miou"])


def test_every_number_is_kept_and_undefined_ones_are_null(content: Any) -> None:
    stored = strict(Results.of(content).to_json())
    for key in ("mask_ceiling", "seeds", "contests", "true_boxes", "data", "verdict", "claims", "environment"):
        assert stored[key] == plain(content[key])
    assert list(stored["methods"]) == list(content["methods"])
    for name, row in plain(content["methods"]).items():
        assert {key: stored["methods"][name].get(key) for key in row} == row
    assert stored["methods"]["mask_rcnn"]["class_agnostic"]["mask_ap_large"] is None
    assert stored["checkpoints"]["mask_rcnn"]["metrics"] == {"mask_ap": 0.5, "box_ap": None}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_what_json_lacks_is_null(value: float) -> None:
    found = results()
    found["methods"]["mask_rcnn"]["class_aware"]["miou"] = value
    found["methods"]["mask_rcnn"]["class_aware"]["f1_curve"] = {"thresholds": [0.5], "f1": [value]}
    stored = strict(Results.of(found).to_json())["methods"]["mask_rcnn"]["class_aware"]
    assert stored["miou"] is None
    assert stored["f1_curve"]["f1"] == [None]


def test_keys_are_those_that_programs_parse(content: Any) -> None:
    stored = strict(Results.of(content).to_json())
    assert list(stored) == KEYS
    row = stored["methods"]["mask_rcnn"]
    assert list(row) == [*METHOD_KEYS, "technique"]
    assert list(stored["methods"]["kmeans_oracle"]) == [*METHOD_KEYS, "technique", "oracle"]
    assert set(row["class_aware"]) == set(TRACK_KEYS)
    assert set(row["class_aware"]["per_category"][0]) == set(CATEGORY_KEYS)
    assert set(row["class_aware"]["coco"]) == {"segm", "bbox"}
    assert {key: set(part) for key, part in row["timing"].items()} == {
        "data": {"median", "p95"},
        "segmentation": {"median", "p95"},
        "scoring": {"total"},
        "by_size": {"pixels", "seconds", "images"},
    }
    assert set(row["counts"]) == {"images", "detections", "images_without_detections", "found"}
    assert all(len(ends) == 2 for ends in row["class_aware"]["intervals"].values())
    assert list(stored["data"]) == DATA_KEYS
    assert set(stored["comparisons"]["kmeans"]["mask_ap"]) == {"difference", "low", "high", "p", "least_p"}
    assert set(stored["contests"]["mask_ap"]) == {"difference", "low", "high", "p", "least_p", "first", "second"}


def test_names_are_data(tmp_path: Path) -> None:
    written = Results.of(results({HOSTILE: method(0.2, 0.1, [HOSTILE], aware=True)}))
    (tmp_path / "results.json").write_text(written.to_json())
    assert Results.load(tmp_path / "results.json") == written


def drop(*path: Any) -> Callable[[Any], None]:
    """Remove an entry."""

    def change(found: Any) -> None:
        for key in path[:-1]:
            found = found[key]
        del found[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (drop("methods"), "methods"),
        (drop("mask_ceiling"), "mask_ceiling"),
        (drop("methods", "kmeans", "class_agnostic"), "class_agnostic"),
        (drop("methods", "kmeans", "class_agnostic", "per_category"), "per_category"),
        (drop("methods", "kmeans", "timing", "scoring"), "scoring"),
        (lambda found: found["bootstrap"].update(seed="x"), r"\$.bootstrap.seed"),
        (lambda found: found.update(methods=[]), "structure"),
        (lambda found: found["methods"].update(kmeans=None), "structure"),
    ],
)
def test_a_file_of_another_version_is_refused(
    content: Any, tmp_path: Path, change: Callable[[Any], None], culprit: str
) -> None:
    stored = Results.of(content).to_builtins()
    change(stored)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(stored))
    said = rf"^.*results\.json: is no results\.json of this version \(.*{culprit}.*\); evaluate again$"
    with pytest.raises(SegtrainError, match=said) as error:
        Results.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"7", b'{"methods": {', b"\xff\xfe\x00", b"<html>"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(text)
    with pytest.raises(SegtrainError, match=r"results\.json: .*; evaluate again$") as error:
        Results.load(path)
    assert "\n" not in str(error.value)
    assert "object" not in str(error.value).replace("Expected `object`", "")  # no word of Python's


def test_a_file_that_is_cut_short_is_called_damaged(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(Results.of(content).to_json()[:-100])
    with pytest.raises(SegtrainError, match=r"results\.json: is damaged \(.*\); evaluate again$"):
        Results.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match=r"no\.json: cannot be read \(No such file or directory\)$"):
        Results.load(tmp_path / "no.json")


def test_a_record_of_other_fields_is_a_mistake_of_the_program() -> None:
    with pytest.raises(msgspec.ValidationError, match="missing required field `seed`"):
        Bootstrap.of({"resamples": 3})


def test_plain_unwraps_numpy_and_paths() -> None:
    value = {"a": np.float32(0.5), 3: np.array([1, 2]), "p": Path("x"), "t": (np.nan, -np.inf, True, np.int64(7))}
    assert plain(value) == {"a": 0.5, "3": [1, 2], "p": "x", "t": [None, None, True, 7]}
    json.dumps(plain(value), allow_nan=False)
