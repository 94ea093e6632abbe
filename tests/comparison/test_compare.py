"""The command ``compare`` on two small evaluations of invented result files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from segtrain.cli import compare_command
from segtrain.comparison.compare import compare_results
from segtrain.comparison.compared_results import Change, ComparedResults
from segtrain.comparison.drops import find_drops, read_limits
from segtrain.comparison.page import compare_page
from segtrain.comparison.sides import Side
from segtrain.comparison.words import describe_changes, describe_pairing
from segtrain.errors import SegtrainError
from segtrain.metrics.bootstrap import draw_images
from tests.helpers.scripts import run, write_data

IMAGES, RESAMPLES = 13, 60
MISSED = {"first": lambda n: n == 3, "second": lambda n: n % 3 != 0}  # images in which the squares are missed


def detections(data: Path, missed: Callable[[int], bool]) -> list[dict[str, Any]]:
    """The true objects as detections; in some images without the squares, and with a false one."""
    content = json.loads((data / "val.json").read_text())
    found = []
    for number, true in enumerate(content["annotations"]):
        if true["category_id"] == 7 or not missed(true["image_id"] - 101):
            found.append({key: true[key] for key in ("image_id", "category_id", "segmentation")} | {"score": 0.9})
        elif number % 3 == 0:
            wrong = [[40, 40, 47, 40, 47, 47, 40, 47]]
            found.append({"image_id": true["image_id"], "category_id": 3, "segmentation": [wrong[0]], "score": 0.6})
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the evaluations "first", "second" and "both"; read-only."""
    folder = tmp_path_factory.mktemp("compare")
    data = write_data(folder / "data", IMAGES)
    for name, missed in MISSED.items():
        (folder / f"{name}.json").write_text(json.dumps(detections(data, missed)))
    rows = {name: [f"predictions.net={name}.json", "predictions.same=second.json"] for name in MISSED}
    rows["first"].append("predictions.old=first.json")
    rows["both"] = ["predictions.one=first.json", "predictions.two=second.json", "reference=one"]
    for name, given in rows.items():
        settings = ["methods=none", "gallery=0", f"bootstrap.resamples={RESAMPLES}", "threads=1", f"output_dir={name}"]
        place = ["data=coco", "data.root=data", "data.val_annotations=val.json", "data.val_images=val"]
        finished = run("evaluate", *place, *settings, *given, folder=folder)
        assert finished.code == 0, finished.err
    return folder


@pytest.fixture(scope="module")
def compared(folder: Path) -> ComparedResults:
    return compare_results(Side.load(folder / "first"), Side.load(folder / "second" / "results.json"))


def test_paired_changes_are_those_of_one_evaluation_of_both(folder: Path, compared: ComparedResults) -> None:
    known = json.loads((folder / "both" / "results.json").read_text())["comparisons"]["two"]
    assert known
    assert compared.same_data
    assert not compared.unpaired
    for key, own in known.items():
        change = compared.methods["net"].class_agnostic[key]
        if change.outcome != "same":
            assert (change.difference, change.low, change.high, change.p) == pytest.approx(
                (own["difference"], own["low"], own["high"], own["p"])
            )


def test_the_f1_of_a_category_is_that_of_counts_by_hand(folder: Path, compared: ComparedResults) -> None:
    """Squares are found with their whole masks or not at all, so hits and errors of an image are known."""
    truth = json.loads((folder / "data" / "val.json").read_text())
    counts = np.zeros((2, IMAGES, 3))  # hits, false, missed
    for side, missed in enumerate(MISSED.values()):
        found = detections(folder / "data", missed)
        for place in range(IMAGES):
            true = sum(own["image_id"] == 101 + place and own["category_id"] == 3 for own in truth["annotations"])
            squares = [own for own in found if own["image_id"] == 101 + place and own["category_id"] == 3]
            hits = sum(own["score"] > 0.8 for own in squares)
            counts[side, place] = hits, len(squares) - hits, true - hits

    def f1(sums: Any) -> Any:
        return 2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2])

    drawn = [f1(draw @ counts[1]) - f1(draw @ counts[0]) for draw in draw_images(IMAGES, RESAMPLES, seed=0)]
    difference = f1(counts[1].sum(axis=0)) - f1(counts[0].sum(axis=0))
    change = compared.methods["net"].categories["square"]["f1_50"]
    assert change.difference == pytest.approx(difference)
    assert (change.low, change.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    p = (1 + sum(abs(own - difference) >= abs(difference) - 1e-12 for own in drawn)) / (RESAMPLES + 1)
    assert change.p == pytest.approx(p)  # the only change that is tested
    assert change.outcome == "fell"
    assert compared.methods["net"].categories["bar"]["f1_50"].outcome == "same"
    assert set(compared.methods["net"].strata) == {"size", "contrast", "crowding"}


def test_the_words_and_the_page_name_what_changed(compared: ComparedResults) -> None:
    said = "\n".join([*describe_pairing(compared), *describe_changes(compared)])
    assert f"Paired: both evaluations are of the same {IMAGES} images" in said
    assert "net fell beyond chance: mask AP" in said
    assert "net, mask AP by category: fell beyond chance for square" in said
    assert "Unchanged: same." in said
    assert "Only the first evaluation has old." in said
    page = compare_page(compared, ["DROP net"])
    assert all(text in page for text in ("net fell beyond chance", "DROP net", "unchanged", 'id="strata"', "square"))
    content = json.loads(compared.to_json())
    assert content["methods"]["net"]["class_agnostic"]["mask_ap"]["outcome"] == "fell"


def command(*arguments: str | Path) -> int:
    return compare_command.main([str(argument) for argument in arguments])


def test_a_drop_is_an_exit_code(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = folder / "first", folder / "second"
    files = tmp_path / "found.json", tmp_path / "found.html"
    assert command(*sides, "--max-drop", "mask_ap=0.02,miou=1", "--json", files[0], "--html", files[1]) == 3
    out = capsys.readouterr().out
    assert "DROP net: mask_ap" in out
    assert [drop["metric"] for drop in json.loads(files[0].read_text())["drops"]] == ["mask_ap"]
    assert command(*sides, "--max-drop", "mask_ap=0.9", "--json", files[0]) == 0  # its own files are replaced
    assert "No method fell by more than the limits (mask_ap 0.9; whether or not by chance)." in capsys.readouterr().out
    with pytest.raises(SegtrainError, match="is no page of segtrain compare"):
        command(*sides, "--html", folder / "first" / "report.html")
    for wrong in ("0", "many"):
        with pytest.raises(SegtrainError, match=f"argument --resamples: {wrong} is not a whole number from 1; see"):
            command(*sides, "--resamples", wrong)


def test_limits_apply_to_what_is_defined_and_may_leave_out_chance(compared: ComparedResults) -> None:
    change = compared.methods["net"].class_agnostic["mask_ap"]
    assert change.difference is not None
    exact = read_limits([f"mask_ap={-change.difference!r}", "class_aware.f1_50=0"])
    assert [drop.metric for drop in find_drops(compared, exact)] == ["class_aware.f1_50"]
    own = msgspec.structs.replace(
        compared.methods["net"], class_agnostic={"mask_ap": msgspec.structs.replace(change, p=0.2)}
    )
    by_chance = msgspec.structs.replace(compared, methods={"net": own})
    assert [len(find_drops(by_chance, {"mask_ap": 0.0}, beyond_chance=only)) for only in (False, True)] == [1, 0]
    assert [len(find_drops(compared, {"mask_ap": 0.0}, beyond_chance=only)) for only in (False, True)] == [1, 1]
    rising = msgspec.structs.replace(change, before=change.after, after=change.before, difference=-change.difference)
    methods = {"net": msgspec.structs.replace(compared.methods["net"], class_agnostic={"mask_ap": rising})}
    assert not find_drops(msgspec.structs.replace(compared, methods=methods), {"mask_ap": 0.0})
    gone = {"net": msgspec.structs.replace(compared.methods["net"], class_agnostic={"mask_ap": Change(0.5, None)})}
    assert find_drops(msgspec.structs.replace(compared, methods=gone), {"mask_ap": 0.0})
    for wrong in ("mask_app=0.1", "mask_ap", "mask_ap=-1", "mask_ap=nan"):
        with pytest.raises(SegtrainError, match=r"no such metric|give a limit from 0 to 1"):
            read_limits([wrong])
    with pytest.raises(SegtrainError, match="no method that both evaluations have has a mask_ap_large"):
        find_drops(compared, {"mask_ap_large": 0.1})


def moved(folder: Path, target: Path) -> tuple[Side, Side]:
    """Copies of both evaluations, and of the data that they name, which may be spoilt."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    for name in MISSED:
        path = target / name / "results.json"
        path.write_text(path.read_text().replace(str(folder), str(target)))
    first, second = (Side.load(target / name) for name in MISSED)
    return first, second


def test_data_that_moved_are_named_or_the_comparison_is_unpaired(folder: Path, tmp_path: Path) -> None:
    first, second = moved(folder, tmp_path)
    elsewhere = (tmp_path / "data" / "val.json").rename(tmp_path / "other.json")
    found = compare_results(first, second)
    (reason,) = set(found.unpaired.values())
    assert "val.json: no such file" in reason
    assert "name the annotations with --annotations FILE" in reason
    change = found.methods["net"].class_agnostic["mask_ap"]
    assert change.p is not None
    assert change.least_p is None
    assert "Unpaired: its annotations cannot be read again" in describe_pairing(found)[0]
    paired = compare_results(first, second, annotations=elsewhere)
    assert not paired.unpaired
    elsewhere.write_text(elsewhere.read_text().replace("48.0", "47.5").replace('"id": 101', '"id": 9101'))
    with pytest.raises(SegtrainError, match="--annotations FILE"):
        compare_results(first, second, annotations=elsewhere)


def test_other_data_and_lost_predictions_are_said(folder: Path, tmp_path: Path) -> None:
    first, second = moved(folder, tmp_path)
    (tmp_path / "second" / "predictions" / "net.json").unlink()
    found = compare_results(first, second)
    assert list(found.unpaired) == ["net"]
    assert "net.json: no such file; copy the folder predictions" in found.unpaired["net"]
    assert found.methods["same"].paired
    path = tmp_path / "second" / "results.json"
    content = json.loads(path.read_text())
    content["data"]["contents"] = "0"
    path.write_text(json.dumps(content))
    assert set(compare_results(first, Side.load(path)).unpaired.values()) == {"the images or their true objects differ"}
    del content["data"]["contents"], content["data"]["source"]  # as before they were recorded
    path.write_text(json.dumps(content))
    (reason,) = set(compare_results(first, Side.load(path)).unpaired.values())
    assert "does not state which data it is of" in reason
    content["data"]["used"] -= 1
    path.write_text(json.dumps(content))
    assert compare_results(first, Side.load(path)).same_data is False
    content["methods"] = {"other": content["methods"]["net"]}
    path.write_text(json.dumps(content))
    with pytest.raises(SegtrainError, match="no method in common: net, same, old in the first, other in the second"):
        compare_results(first, Side.load(path))


def test_numbers_that_the_predictions_do_not_lead_to_are_noted(folder: Path, tmp_path: Path) -> None:
    first, second = moved(folder, tmp_path)
    shutil.copy(tmp_path / "first" / "predictions" / "net.json", tmp_path / "second" / "predictions" / "net.json")
    found = compare_results(first, second)
    assert any("the mask AP of net is" in note for note in found.notes)
    assert found.methods["net"].class_agnostic["mask_ap"].outcome == "same"


def test_boxes_of_masks_are_compared_by_the_stored_intervals(folder: Path, tmp_path: Path) -> None:
    first, second = moved(folder, tmp_path)
    predictions = tmp_path / "second" / "predictions"
    masks = json.loads((predictions / "net.json").read_text())
    boxes = [{key: own[key] for key in ("image_id", "category_id", "score")} | {"bbox": [2, 2, 9, 9]} for own in masks]
    (predictions / "net.bbox.json").write_text(json.dumps(boxes))
    found = compare_results(first, second)
    (note,) = (note for note in found.notes if "net" in note)
    assert "hold the boxes of the masks of net, not those that it predicts" in note
    change = found.methods["net"].class_agnostic["box_ap"]
    stored = (side.results.methods["net"].metric("box_ap") for side in (first, second))
    assert (change.before, change.after, change.least_p) == (*stored, None)
    assert found.methods["net"].class_agnostic["mask_ap"].least_p is not None
    assert not any("box_ap" in changes for changes in found.methods["net"].categories.values())
