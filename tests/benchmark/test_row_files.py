"""Parts of rows on the disk."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest

from segtrain.benchmark import fingerprints, row_files
from segtrain.benchmark.method_runs import FoundRows
from segtrain.benchmark.row_files import FOLDER, KeptDetections, RowFiles, describe_machine
from segtrain.errors import SegtrainError
from segtrain.evaluation import Detections
from tests.helpers.random_scenes import scene


class Part(msgspec.Struct, frozen=True):
    numbers: list[float]


def rows(folder: Path, *sources: Path) -> RowFiles:
    return RowFiles(folder, sources, "a machine")


def test_a_part_is_found_by_its_fingerprint_alone(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    rows(own).keep("part", "abc", "otsu", Part([0.1, float("inf")]))
    found = rows(other, own).find("part", "abc", Part)
    assert found is not None
    assert found.content == Part([0.1, float("inf")])
    assert found.origin.folder == own
    assert found.origin.measured.endswith(", a machine")
    assert rows(other, own).find("part", "abd", Part) is None
    assert rows(other, own).find("whole", "abc", Part) is None
    assert rows(other).find("part", "abc", Part) is None
    # What was found is part of the new evaluation too.
    assert rows(tmp_path / "third", other).find("part", "abc", Part) is not None


def test_detections_are_kept_in_full(tmp_path: Path) -> None:
    drawn = scene(1)
    seconds = {"data": [0.1, 0.2], "segmentation": [0.3, 0.4]}
    boxes = drawn.box_predictions
    found = Detections(drawn.predictions, boxes, True, 0.25, seconds, exported_boxes=boxes[:3], timed=[4, 7])
    costs, greys = {"peak_memory_gib": 0.5, "tuning_seconds": None}, {7: (0, 255)}
    rows(tmp_path).keep("detections", "abc", "net", KeptDetections.of(found, costs, greys))
    kept = rows(tmp_path, tmp_path).find("detections", "abc", KeptDetections)
    assert kept is not None
    again = kept.content.detections()
    assert list(again.masks or ()) == drawn.predictions
    assert (again.boxes, again.exported_boxes) == (boxes, boxes[:3])
    assert (again.class_aware, again.score_threshold, again.seconds, again.timed) == (True, 0.25, seconds, [4, 7])
    assert (kept.content.costs, kept.content.greys) == (costs, greys)


def test_a_damaged_part_is_said_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows(tmp_path).keep("part", "abc", "otsu", Part([0.5] * 50))
    (path,) = (tmp_path / FOLDER).iterdir()
    whole = path.read_bytes()
    for place in (3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert rows(tmp_path, tmp_path).find("part", "abc", Part) is None
    path.write_bytes(whole[:-4])
    assert rows(tmp_path, tmp_path).find("part", "abc", Part) is None
    assert len(caplog.messages) == 4
    assert all(str(path) in message for message in caplog.messages)


def test_a_damaged_part_is_taken_from_another_evaluation(tmp_path: Path) -> None:
    damaged, whole = tmp_path / "damaged", tmp_path / "whole"
    for folder in (damaged, whole):
        rows(folder).keep("part", "abc", "otsu", Part([0.5]))
    (path,) = (damaged / FOLDER).iterdir()
    path.write_bytes(b"")
    found = rows(damaged, damaged, whole).find("part", "abc", Part)
    assert found is not None
    assert found.origin.folder == whole
    assert rows(damaged, damaged).find("part", "abc", Part) is not None


def test_a_part_of_another_type_or_format_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows(tmp_path).keep("part", "abc", "otsu", Part([0.5]))
    assert rows(tmp_path, tmp_path).find("part", "abc", KeptDetections) is None
    assert "is damaged" in caplog.text
    monkeypatch.setattr(row_files, "_FORMAT", 99)
    assert rows(tmp_path, tmp_path).find("part", "abc", Part) is None
    assert len(caplog.messages) == 1


def test_parts_of_no_row_go(tmp_path: Path) -> None:
    for name in ("old", "found"):
        rows(tmp_path).keep("part", name, "otsu", Part([]))
    now = rows(tmp_path, tmp_path)
    now.keep("part", "new", "otsu", Part([]))
    assert now.find("part", "found", Part) is not None
    now.drop_others()
    assert now.find("part", "old", Part) is None
    assert now.find("part", "found", Part) is not None
    assert now.find("part", "new", Part) is not None


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match="there is no folder rows in it"):
        rows(tmp_path, tmp_path / "none")


def test_the_note_names_the_machine_and_says_where_it_is_another(tmp_path: Path) -> None:
    machines = [describe_machine({"processor": "a CPU", "threads": threads}) for threads in (2, 2, 8)]
    machines.append(describe_machine({"processor": "a CPU", "threads": 2, "gpu": "a GPU"}))
    RowFiles(tmp_path, [], machines[0]).keep("part", "abc", "otsu", Part([]))
    notes = []
    for machine in machines[1:]:
        kept = RowFiles(tmp_path, [tmp_path], machine)
        part = kept.find("part", "abc", Part)
        assert part is not None
        found = FoundRows(kept, "")
        found.note("otsu", part.origin)
        notes += found.notes()
    assert all(", a CPU, threads=2" in note and note.endswith(": otsu") for note in notes)
    assert "not to be compared" not in notes[0]
    assert "not to be compared with times of this run, on a CPU, threads=8" in notes[1]
    assert "not to be compared with times of this run, on a GPU, a CPU, threads=2" in notes[2]


def test_the_fingerprint_of_a_node_follows_weights_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, code = tmp_path / "best.pt", tmp_path / "my_segmenter.py"
    weights.write_bytes(b"1")
    code.write_text("def label(image): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    network: Any = {"_target_": "segtrain.training.checkpoint.load_segmenter", "path": str(weights)}
    own: Any = {"_target_": "segtrain.x.Labels", "method": {"_target_": "my_segmenter.label", "size": 3}}
    before = [fingerprints.of_node(network), fingerprints.of_node(own)]
    (tmp_path / "moved.pt").write_bytes(b"1")
    assert fingerprints.of_node({**network, "path": str(tmp_path / "moved.pt")}) == before[0]
    weights.write_bytes(b"2")
    assert fingerprints.of_node(network) != before[0]
    assert fingerprints.of_node(own) == before[1]
    code.write_text("def label(image): return image\n")
    assert fingerprints.of_node(own) != before[1]


def test_the_fingerprint_of_a_node_follows_the_code_of_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_network.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    node: Any = {"_target_": "segtrain.training.checkpoint.load_segmenter", "path": "none.pt"}
    trusted: Any = {"_target_": "my_network.Network", "weights": str(tmp_path / "weights.pt")}
    before = [fingerprints.of_node(node, trusted), fingerprints.of_node(node)]
    assert before[0] != before[1]
    (tmp_path / "weights.pt").write_bytes(b"1")  # training has begun with them; the checkpoint has its own
    assert fingerprints.of_node(node, trusted) == before[0]
    # Code outside the package may draw at random, that of the package does not.
    assert fingerprints.of_node(node, trusted, seed=1) != before[0]
    assert fingerprints.of_node(node, seed=1) == before[1]
    (tmp_path / "my_network.py").write_text("SIZE = 3\n")
    assert fingerprints.of_node(node, trusted) != before[0]
    assert fingerprints.of_node(node) == before[1]


def test_the_fingerprint_of_a_node_covers_every_file_that_it_names(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    node: Any = {"_target_": "segtrain.x.Labels", "settings": {"tables": [str(table), "x" * 5000, "a\0b"]}}
    found = [fingerprints.of_node(node)]
    for content in ("1", "2"):
        table.write_text(content)
        found.append(fingerprints.of_node(node))
    assert len(set(found)) == 3


def test_the_fingerprint_of_the_code_follows_the_libraries_that_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprints.of_code.__wrapped__()
    monkeypatch.setattr(fingerprints, "_version", lambda name: "0.1" if name == "scikit-image" else version(name))
    assert fingerprints.of_code.__wrapped__() != before
