"""evaluate.py from end to end on a small data set."""

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segtrain.benchmark import tuning
from segtrain.benchmark.methods import Method, OracleMethod
from segtrain.data.check.load import load_index
from segtrain.evaluation import GroundTruthSet
from segtrain.report.row_analysis import Analyst
from segtrain.training.checkpoint import load_checkpoint
from tests.conftest import Workplace
from tests.helpers.scripts import SMALL, data_of, message, run

REAL_DATA = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")).absolute()
NUMBERS = (
    "mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large", "mask_ar", "box_ap",
    "miou", "fg_iou", "f1_50", "pq", "sq", "rq", "boundary_iou",
)  # fmt: skip
ROWS = [
    "threshold_mean", "threshold_multi", "edge_sobel", "edge_laplace", "kmeans",
    "threshold_otsu", "threshold_local", "edge_canny", "kmeans_lab", "threshold_tuned", "edge_tuned", "kmeans_tuned",
    "threshold_oracle", "edge_oracle", "kmeans_oracle", "mask_rcnn",
]  # fmt: skip


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def evaluate(folder: Path, *arguments: str, output: str = "report") -> dict[str, Any]:
    finished = run("evaluate", *arguments, f"output_dir={output}", "threads=1", folder=folder)
    assert (finished.code, finished.err) == (0, "")
    return results(folder / output)


def test_the_folder_holds_what_others_rely_on(workplace: Workplace) -> None:
    names = {str(path.relative_to(workplace.report)) for path in workplace.report.rglob("*") if path.is_file()}
    assert {"results.json", "results.csv", "report.md", "report.html", ".hydra/config.yaml"} <= names
    predictions = {name for name in names if name.startswith("predictions/")}
    truth = "ground_truth.class_agnostic"
    assert predictions == {f"predictions/{name}.json" for name in [*ROWS, "mask_rcnn.bbox", truth]}
    assert str(workplace.report / "report.html") in workplace.evaluation.out
    assert workplace.evaluation.err == ""
    for row in ROWS:
        assert row in workplace.evaluation.out


def test_an_evaluation_of_result_files_needs_no_torch(workplace: Workplace, tmp_path: Path) -> None:
    """Nor does its gallery; PyTorch takes seconds, and half of the memory of a large evaluation."""
    row = f"predictions.otsu={workplace.report / 'predictions' / 'threshold_otsu.json'}"
    arguments = ["methods=none", row, *data_of(workplace.data), f"output_dir={tmp_path / 'report'}", "threads=2"]
    code = f"import sys; import segtrain as st; st.evaluate({arguments}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "False"
    assert "<img" in (tmp_path / "report" / "report.html").read_text()
    found, before = results(tmp_path / "report")["methods"], results(workplace.report)["methods"]
    assert found["otsu"]["class_agnostic"]["mask_ap"] == before["threshold_otsu"]["class_agnostic"]["mask_ap"]


def test_results_have_the_agreed_shape(workplace: Workplace) -> None:
    found = results(workplace.report)
    assert list(found["methods"]) == ROWS
    for name, method in found["methods"].items():
        assert {"class_agnostic", "class_aware", "timing", "counts", "score_threshold"} <= method.keys()
        assert method["score_threshold"] == (0.5 if name == "mask_rcnn" else 0)
        assert (method["class_aware"] is not None) == (name == "mask_rcnn")
        assert method["counts"]["images"] == 5
        assert {"data", "segmentation", "scoring"} <= method["timing"].keys()
        if not method.get("oracle"):
            assert method["timing"]["segmentation"].keys() == {"median", "p95"}
        for track in (method["class_agnostic"], method["class_aware"]):
            if track is not None:
                values = [*(track[key] for key in NUMBERS), *track["coco"]["segm"], *track["coco"]["bbox"]]
                assert all(value is None or 0 <= value <= 1 for value in values)
                assert [len(track["coco"][kind]) for kind in ("segm", "bbox")] == [12, 12]
                assert track["mask_ap"] == track["coco"]["segm"][0]
                assert track["box_ap"] == track["coco"]["bbox"][0]
                assert track["mask_ap_large"] is None  # nothing is large in images of 48 pixels
                assert track["intervals"].keys() <= set(NUMBERS) - {"mask_ap_large"}
                assert all(0 <= low <= high <= 1 for low, high in track["intervals"].values())
                assert {"mask_ap", "box_ap", "miou", "f1_50"} <= track["intervals"].keys()
    assert list(found["comparisons"]) == [name for name in ROWS if name != "mask_rcnn" and "oracle" not in name]
    for name, entries in found["comparisons"].items():
        own, standard = (found["methods"][row]["class_agnostic"] for row in (name, "mask_rcnn"))
        assert entries.keys() <= set(NUMBERS)
        for key, entry in entries.items():
            assert entry["difference"] == pytest.approx(own[key] - standard[key])
            assert entry["low"] <= entry["high"]
            assert 0 < entry["p"] <= 1
    assert found["verdict"][0].startswith("Only 5 images were evaluated")
    assert "has the best mask AP" in found["verdict"][1] or "have the same mask AP" in found["verdict"][1]
    aware = found["methods"]["mask_rcnn"]["class_aware"]
    assert [(entry["id"], entry["name"]) for entry in aware["per_category"]] == [(3, "square"), (7, "bar")]
    data = found["data"]
    assert data["images"] == 5
    assert data["used"] + data["crowd"] + data["dropped"] == data["annotations"] == 12
    assert found["environment"]["threads"] == 1
    assert found["command"].startswith("python evaluate.py checkpoint=run/checkpoints/best.pt")
    assert "NaN" not in (workplace.report / "results.json").read_text()


def plain_aps(truth: Path, detections: Path, max_dets: int, *, categories: bool = True) -> dict[str, float]:
    """Mask AP of written files by pycocotools, -1 where it is undefined."""
    with redirect_stdout(io.StringIO()):
        known = COCO(truth)
        evaluation = COCOeval(known, known.loadRes(str(detections)), "segm")
        evaluation.params.maxDets, evaluation.params.useCats = [1, 10, max_dets], int(categories)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # by IoU, recall, category, size and number of detections
    parts = {"mask_ap": precision[..., 0, 2], "mask_ap50": precision[0, :, :, 0, 2],
             "mask_ap75": precision[5, :, :, 0, 2], "mask_ap_small": precision[..., 1, 2],
             "mask_ap_medium": precision[..., 2, 2], "mask_ap_large": precision[..., 3, 2]}  # fmt: skip
    return {name: values[values > -1].mean() if (values > -1).any() else -1 for name, values in parts.items()}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("row", ROWS)
def test_pycocotools_finds_the_mask_ap_in_the_written_files(row: str, workplace: Workplace, tmp_path: Path) -> None:
    found = results(workplace.report)
    written, tracks = workplace.report / "predictions", found["methods"][row]
    truth, max_dets = written / "ground_truth.class_agnostic.json", found["data"]["max_dets"]
    if row == "mask_rcnn":
        content = json.loads((workplace.data / "val.json").read_text())  # fields that pycocotools needs are missing
        content["annotations"] = GroundTruthSet.of(load_index(workplace.data / "val.json")).truths
        truth = tmp_path / "val.json"
        truth.write_text(json.dumps(content))
        agnostic, aware = (
            plain_aps(truth, written / f"{row}.json", max_dets, categories=every) for every in (False, True)
        )
    else:
        agnostic, aware = plain_aps(truth, written / f"{row}.json", max_dets), None
        assert {record["category_id"] for record in json.loads((written / f"{row}.json").read_text())} == {8}
    for track, expected in (("class_agnostic", agnostic), ("class_aware", aware)):
        for name, value in (expected or {}).items():
            assert (-1 if tracks[track][name] is None else tracks[track][name]) == pytest.approx(value, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "steps", "batch"), [("fp32", 40, 5), ("bf16", 40, 5)])
def test_train_and_evaluate_agree(precision: str, steps: int, batch: int, workplace: Workplace, tmp_path: Path) -> None:
    """On a network that has learned something: at an AP of 0 everything agrees."""
    training = [*SMALL, *data_of(workplace.data), "output_dir=run", f"trainer.precision={precision}"]
    longer = ["segmenter=mask_rcnn_resnet18_fpn", "trainer.epochs=null", f"trainer.max_steps={steps}",
              f"trainer.batch_size={batch}", "schedule.warmup_steps=5", "optimizer.lr=0.003", "segmenter.min_score=0",
              "trainer.ema_decay=0.8", "trainer.validate_every=null", "augmentation=none"]  # fmt: skip
    trained = run("train", *training, *longer, folder=tmp_path)
    assert trained.code == 0, trained.err
    assert trained.result
    assert trained.result > 1e-4
    checkpoint = "checkpoint=run/checkpoints/best.pt"
    found = evaluate(tmp_path, checkpoint, "methods=mask_rcnn", "gallery=0")["methods"]["mask_rcnn"]["class_aware"]
    assert found["mask_ap"] == pytest.approx(trained.result, abs=1e-6)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    validated = json.loads(lines[-1])
    for key in ("mask_ap", "mask_ap50", "box_ap", "miou", "f1_50"):
        assert found[key] == pytest.approx(validated[f"validation/{key}"], abs=1e-6, nan_ok=True)


def test_result_files_give_the_numbers_of_the_row_that_wrote_them(workplace: Workplace, tmp_path: Path) -> None:
    written = workplace.report / "predictions"
    found = evaluate(
        tmp_path, "methods=none", *data_of(workplace.data), f"predictions.otsu={written / 'threshold_otsu.json'}",
        f"predictions.net={written / 'mask_rcnn.json'}", f"predictions.boxes={written / 'mask_rcnn.bbox.json'}",
        "score_threshold=0",
    )  # fmt: skip
    known = results(workplace.report)["methods"]
    assert found["checkpoint"] is None
    assert (found["reference"], found["comparisons"]) == (None, {})
    assert any("none is trained; reference=NAME chooses one" in caveat for caveat in found["warnings"])
    otsu, net, boxes = (found["methods"][name] for name in ("otsu", "net", "boxes"))
    assert otsu["class_agnostic"]["coco"] == known["threshold_otsu"]["class_agnostic"]["coco"]
    for key in NUMBERS:
        assert otsu["class_agnostic"][key] == known["threshold_otsu"]["class_agnostic"][key]
    assert otsu["class_aware"] is None  # every record carries -1
    for track in ("class_agnostic", "class_aware"):
        assert net[track]["coco"]["segm"] == known["mask_rcnn"][track]["coco"]["segm"]
        assert boxes[track]["coco"]["bbox"] == known["mask_rcnn"][track]["coco"]["bbox"]
        assert boxes[track]["coco"]["segm"] is None
        assert [key for key in NUMBERS if boxes[track][key] is not None] == ["box_ap"]
    for name in ("otsu.json", "net.json", "boxes.bbox.json"):
        source = {"otsu.json": "threshold_otsu.json", "net.json": "mask_rcnn.json"}.get(name, "mask_rcnn.bbox.json")
        copy = tmp_path / "report" / "predictions" / name
        assert json.loads(copy.read_text()) == json.loads((written / source).read_text())
    assert {path.name for path in (tmp_path / "report" / "predictions").iterdir()} == {
        "otsu.json", "net.json", "boxes.bbox.json", "ground_truth.class_agnostic.json"
    }  # fmt: skip
    for method in (otsu, net, boxes):
        assert method["timing"].keys() == known["mask_rcnn"]["timing"].keys()
        assert (method["timing"]["data"], method["timing"]["segmentation"]) == (None, None)


def test_operating_points_make_the_numbers_of_a_file_repeatable(workplace: Workplace, tmp_path: Path) -> None:
    known = results(workplace.report)["methods"]["mask_rcnn"]
    path = workplace.report / "predictions" / "mask_rcnn.json"
    arguments = ["methods=none", *data_of(workplace.data), f"predictions.net={path}"]
    found = evaluate(tmp_path, *arguments, f"score_threshold={known['score_threshold']}")["methods"]["net"]
    for key in ("mask_ap", "miou", "fg_iou", "f1_50"):
        assert found["class_aware"][key] == known["class_aware"][key]


def test_rows_come_and_go(workplace: Workplace, tmp_path: Path) -> None:
    arguments = ["methods=classical", *data_of(workplace.data), "gallery=1"]
    dropped = [f"~segmenters.{name}" for name in ROWS[:7]]
    found = evaluate(tmp_path, *arguments, *dropped, "+segmenter@segmenters.mine=threshold_otsu",
                     "segmenters.mine.method.denoise=2.0")  # fmt: skip
    assert list(found["methods"]) == ["edge_canny", "kmeans_lab", "mine"]


def test_the_gallery_needs_images_and_nothing_else_does(workplace: Workplace, tmp_path: Path) -> None:
    found = workplace.report / "predictions" / "mask_rcnn.json"
    arguments = ["methods=none", *data_of(workplace.data), f"predictions.net={found}"]
    evaluate(tmp_path, *arguments, output="with")
    evaluate(tmp_path, *arguments, "data.val_images=null", "data.train_annotations=null", output="without")
    sizes = [(tmp_path / name / "report.html").stat().st_size for name in ("with", "without")]
    pages = [(tmp_path / name / "report.html").read_text() for name in ("with", "without")]
    assert ["data:image" in page for page in pages] == [True, False], sizes
    finished = run("evaluate", *data_of(workplace.data), "methods=classical", "data.val_images=null", folder=tmp_path)
    assert "set data.val_images" in message(finished)


def test_data_of_the_checkpoint_key_by_key(workplace: Workplace, data: Path) -> None:
    folder = data.parent
    (data / "val.json").rename(data / "other.json")
    checkpoint = [f"checkpoint={workplace.best}", "methods=mask_rcnn", "gallery=0"]
    moved = evaluate(folder, *checkpoint, f"data.root={data}", "data.val_annotations=other.json", output="moved")
    assert moved["data"]["annotations_file"] == str(data / "other.json")
    assert moved["data"]["max_dets"] == 100
    track = moved["methods"]["mask_rcnn"]["class_aware"]
    assert track["coco"] == results(workplace.report)["methods"]["mask_rcnn"]["class_aware"]["coco"]
    fewer = evaluate(folder, *checkpoint, "data.max_dets=2", output="fewer")
    assert fewer["data"]["max_dets"] == 2
    assert fewer["methods"]["mask_rcnn"]["counts"]["detections"] <= 2 * 5


@pytest.mark.slow
def test_the_seed_never_changes_a_drawn_split(workplace: Workplace, tmp_path: Path) -> None:
    data = [f"data.root={workplace.data}", "data.train_annotations=train.json", "data.train_images=train"]
    training = [*SMALL, *data, "data.val_fraction=0.4", "seed=3", "trainer.max_steps=1", "output_dir=run"]
    assert run("train", *training, folder=tmp_path).code == 0
    checkpoint = ["checkpoint=run/checkpoints/best.pt", "methods=mask_rcnn", "segmenters.mask_rcnn.precision=fp32"]
    seen = []
    for seed in (3, 4):
        evaluate(tmp_path, *checkpoint, f"seed={seed}", output=str(seed))
        records = json.loads((tmp_path / str(seed) / "predictions" / "mask_rcnn.json").read_text())
        seen.append(({r["image_id"] for r in records}, results(tmp_path / str(seed))["data"]["used"]))
        assert results(tmp_path / str(seed))["data"]["images"] == 2
    assert seen[0] == seen[1]


def test_categories_in_another_order_keep_their_meaning(workplace: Workplace, data: Path) -> None:
    content = json.loads((data / "val.json").read_text())
    swapped = {3: 7, 7: 3}
    for entry in content["categories"]:
        entry["id"] = swapped[entry["id"]]
    for entry in content["annotations"]:
        entry["category_id"] = swapped[entry["category_id"]]
    (data / "val.json").write_text(json.dumps(content))
    arguments = [f"checkpoint={workplace.best}", "methods=mask_rcnn", f"data.root={data}", "gallery=0"]
    found = evaluate(data.parent, *arguments)["methods"]["mask_rcnn"]["class_aware"]
    known = results(workplace.report)["methods"]["mask_rcnn"]["class_aware"]
    assert found["coco"]["segm"] == pytest.approx(known["coco"]["segm"])
    assert found["miou"] == pytest.approx(known["miou"])


@pytest.mark.few(1)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_checkpoint_of_other_categories_is_scored_class_agnostically(
    count: int, workplace: Workplace, data: Path
) -> None:
    content = json.loads((data / "val.json").read_text())
    content["categories"] = [{"id": i, "name": f"other {i}"} for i in range(1, count + 1)]
    for number, entry in enumerate(content["annotations"]):
        entry["category_id"] = 1 + number % count
    (data / "val.json").write_text(json.dumps(content))
    arguments = [f"checkpoint={workplace.best}", "methods=mask_rcnn", *data_of(data), "gallery=0"]
    found = evaluate(data.parent, *arguments, "tracks=class_agnostic")["methods"]["mask_rcnn"]
    known = results(workplace.report)["methods"]["mask_rcnn"]
    assert found["class_agnostic"]["coco"] == known["class_agnostic"]["coco"]
    assert found["class_aware"] is None
    records = json.loads((data.parent / "report" / "predictions" / "mask_rcnn.json").read_text())
    assert {record["category_id"] for record in records} == {1 if count == 1 else count + 1}


def test_a_report_is_replaced_when_asked(workplace: Workplace, tmp_path: Path) -> None:
    shutil.copytree(workplace.report, tmp_path / "report")
    found = evaluate(tmp_path, "methods=none", *data_of(workplace.data), "overwrite=true",
                     "+segmenter@segmenters.otsu=threshold_otsu")  # fmt: skip
    assert list(found["methods"]) == ["otsu"]
    assert "edge_sobel" not in (tmp_path / "report" / "report.md").read_text()
    names = {path.name for path in (tmp_path / "report" / "predictions").iterdir()}
    assert names == {"otsu.json", "ground_truth.class_agnostic.json"}


def test_result_files_of_another_tool_give_the_same_numbers(workplace: Workplace, tmp_path: Path) -> None:
    """Image ids are stems, category ids count from 0, and another row is a whole COCO file."""
    records = json.loads((workplace.report / "predictions" / "mask_rcnn.json").read_text())
    truth = json.loads((workplace.data / "val.json").read_text())
    stems = {image["id"]: Path(image["file_name"]).stem for image in truth["images"]}
    order = sorted(category["id"] for category in truth["categories"])
    theirs = [
        {**one, "image_id": stems[one["image_id"]], "category_id": order.index(one["category_id"])} for one in records
    ]
    (tmp_path / "their results.json").write_text(json.dumps(theirs))
    (tmp_path / "whole.json").write_text(json.dumps({**truth, "annotations": records}))
    found = evaluate(
        tmp_path, "methods=none", *data_of(workplace.data), "predictions.whole=whole.json", "gallery=0",
        'predictions.net={file: "their results.json", category_map: order}', "score_threshold=0.5",
    )  # fmt: skip
    known = results(workplace.report)["methods"]["mask_rcnn"]
    for name in ("net", "whole"):
        for track in ("class_agnostic", "class_aware"):
            assert found["methods"][name][track]["coco"]["segm"] == known[track]["coco"]["segm"]
    assert any("net: image ids are matched as file names" in note for note in found["warnings"])


def test_a_result_file_in_the_folder_itself_is_kept(workplace: Workplace, tmp_path: Path) -> None:
    predictions = Path(shutil.copytree(workplace.report, tmp_path / "report")) / "predictions"
    given = predictions / "mask_rcnn.json"
    before = given.read_bytes()
    arguments = ["methods=none", *data_of(workplace.data), "overwrite=true", "gallery=0"]
    evaluate(tmp_path, *arguments, f"predictions.net={given}")
    assert {path.name for path in predictions.iterdir()} == {"mask_rcnn.json", "net.json"}
    evaluate(tmp_path, *arguments, f"predictions.mask_rcnn={given}")
    assert {path.name for path in predictions.iterdir()} == {"mask_rcnn.json"}
    assert given.read_bytes() == before
    clash = [f"predictions.old={given}", "+segmenter@segmenters.mask_rcnn=threshold_otsu", "output_dir=report"]
    finished = run("evaluate", *arguments, *clash, folder=tmp_path)
    assert "predictions.old: " in message(finished)
    assert "mask_rcnn.json would be replaced" in message(finished)
    assert given.read_bytes() == before


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../../evil"])
def test_names_stay_in_the_folder(workplace: Workplace, tmp_path: Path, name: str) -> None:
    given = workplace.report / "predictions" / "mask_rcnn.json"
    arguments = ["methods=none", *data_of(workplace.data), f"predictions={{{name}:{given}}}", "output_dir=a/b"]
    finished = run("evaluate", *arguments, folder=tmp_path)
    assert f"predictions.{name}: the name leads out of the folder predictions" in message(finished)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_removed_before_all_is_checked(workplace: Workplace, tmp_path: Path) -> None:
    shutil.copytree(workplace.report, tmp_path / "report")
    arguments = ["methods=none", *data_of(workplace.data), "overwrite=true", "output_dir=report"]
    before = sorted(path.name for path in (tmp_path / "report" / "predictions").iterdir())
    message(run("evaluate", *arguments, "predictions.a=absent.json", folder=tmp_path))
    assert sorted(path.name for path in (tmp_path / "report" / "predictions").iterdir()) == before
    assert (tmp_path / "report" / "results.json").exists()


def test_images_are_needed_only_where_they_are_used(workplace: Workplace, data: Path) -> None:
    shutil.rmtree(data / "val")
    found = workplace.report / "predictions" / "mask_rcnn.json"
    arguments = ["methods=none", *data_of(data), f"predictions.net={found}"]
    for gallery in (0, 3):
        finished = run("evaluate", *arguments, f"gallery={gallery}", f"output_dir={gallery}", folder=data.parent)
        assert (finished.code, finished.err) == (0, "")
        assert ("no gallery" in finished.out) == (gallery > 0)
        assert (data.parent / str(gallery) / "report.html").exists()
    finished = run("evaluate", *data_of(data), "methods=classical", "gallery=0", folder=data.parent)
    assert "no such image folder; set data.val_images" in message(finished)


def test_there_must_be_rows_and_true_instances(workplace: Workplace, data: Path) -> None:
    finished = run("evaluate", *data_of(data), "methods=none", folder=data.parent)
    assert "predictions.NAME=FILE" in message(finished)
    assert "methods=" in message(finished)
    content = json.loads((data / "val.json").read_text())
    (data / "val.json").write_text(json.dumps({**content, "annotations": []}))
    found = workplace.report / "predictions" / "mask_rcnn.json"
    finished = run("evaluate", *data_of(data), "methods=none", f"predictions.net={found}", folder=data.parent)
    assert "val.json: no usable annotation among 0" in message(finished)


def test_the_command_names_the_checkpoint_that_was_chosen(workplace: Workplace, tmp_path: Path) -> None:
    best = tmp_path / "runs" / "train" / "a b=(c)'s" / "checkpoints" / "best.pt"
    best.parent.mkdir(parents=True)
    shutil.copy(workplace.best, best)
    arguments = ["methods=mask_rcnn", "gallery=0"]
    found = evaluate(tmp_path, *arguments, output="first")
    assert found["directory"] == str(tmp_path)
    python, script, *typed = shlex.split(found["command"])
    assert (python, script) == ("python", "evaluate.py")
    again = evaluate(tmp_path, *typed, "overwrite=true", output="second")
    assert again["checkpoint"]["path"] == found["checkpoint"]["path"] == str(best)


def test_variants_come_from_the_rows_not_from_their_names(workplace: Workplace, tmp_path: Path) -> None:
    rows = [f"+segmenter@segmenters.my_{name}={name}" for name in ("threshold_mean", "threshold_otsu")]
    found = evaluate(tmp_path, "methods=none", *data_of(workplace.data), "gallery=0", *rows)["methods"]
    assert {name: method["family"] for name, method in found.items()} == {
        "my_threshold_mean": "textbook", "my_threshold_otsu": "robust"
    }  # fmt: skip
    text = (tmp_path / "report" / "report.md").read_text()
    for variant in ("Textbook", "Robust"):
        assert f"{variant} rows" in text


@pytest.mark.slow
def test_renamed_rows_keep_their_claims_comparisons_candidates_and_bounds(workplace: Workplace, data: Path) -> None:
    for path in list((data / "val").iterdir())[::2]:  # objects of two contrasts, for the claim on thresholds
        pixels = np.asarray(Image.open(path))
        noise = np.random.default_rng(0).integers(0, 60, pixels.shape[:2])[..., None]
        Image.fromarray((pixels // 4 + noise).astype(np.uint8)).save(path)  # grey values overlap
    names = {
        "threshold_otsu": "my_otsu",
        "kmeans": "my_clusters",
        "threshold_tuned": "searched",
        "threshold_oracle": "bound",
        "mask_rcnn": "my_net",
    }
    options = {**{name: name for name in names}, "mask_rcnn": "checkpoint"}
    quick = ["methods=none", f"checkpoint={workplace.best}", f"data.root={data}", "tune.trials=5", "gallery=0"]

    def rows(own: dict[str, str]) -> list[str]:
        return [f"+segmenter@segmenters.{own[name]}={option}" for name, option in options.items()]

    before = evaluate(data.parent, *quick, *rows({name: name for name in names}), output="before")
    after = evaluate(data.parent, *quick, *rows(names), output="after")
    assert after["reference"] == "my_net"
    assert list(after["comparisons"]) == ["my_otsu", "my_clusters", "searched"]
    for name, own in names.items():
        old, new = before["methods"][name], after["methods"][own]
        assert new["class_agnostic"] == old["class_agnostic"]
        for key in ("family", "technique", "oracle", "description", "score"):
            assert new.get(key) == old.get(key)
    assert after["methods"]["searched"]["family"] == "tuned"
    assert after["methods"]["bound"]["oracle"]
    assert [*after["comparisons"].values()] == [*before["comparisons"].values()]
    assert after["contrast_gap"]["row"] == names[before["contrast_gap"]["row"]]
    assert len(after["claims"]) == len(before["claims"])
    assert after["mask_ceiling"] == {**before["mask_ceiling"], "input_of": "my_net"}


def test_a_reference_must_be_a_row(workplace: Workplace, tmp_path: Path) -> None:
    arguments = ["methods=none", *data_of(workplace.data), "+segmenter@segmenters.otsu=threshold_otsu"]
    finished = run("evaluate", *arguments, "reference=otsi", folder=tmp_path)
    assert "reference=otsi: there is no such row; did you mean otsu?" in message(finished)
    found = evaluate(tmp_path, *arguments, "+segmenter@segmenters.canny=edge_canny", "reference=otsu", "gallery=0")
    assert (found["reference"], list(found["comparisons"])) == ("otsu", ["canny"])


@pytest.mark.slow
def test_the_numbers_that_coco_published(tmp_path: Path) -> None:
    root = REAL_DATA / "data" / "evaluator_reference"
    if not root.is_dir():
        pytest.skip(f"{root} is not there; set SEGTRAIN_REAL_DATA")
    found = evaluate(
        tmp_path, "methods=none", "data=coco", f"data.root={root}", "data.val_annotations=ground_truth.json",
        f"predictions.segm={root / 'detections_segm.json'}", f"predictions.bbox={root / 'detections_bbox.json'}",
    )  # fmt: skip
    published = json.loads((root / "published.json").read_text())
    for kind in ("segm", "bbox"):
        numbers = found["methods"][kind]["class_aware"]["coco"][kind]
        assert [f"{value:.3f}" for value in numbers] == [f"{value:.3f}" for value in _twelve(published, kind)]


def _twelve(published: dict[str, Any], kind: str) -> list[float]:
    values = published[kind]
    return list(values.values()) if isinstance(values, dict) else values


def test_an_evaluation_that_is_stopped_keeps_its_rows(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["methods=none", "+segmenter@segmenters.a=threshold_otsu", "+segmenter@segmenters.b=threshold_mean"]
    quick = ["gallery=0", "bootstrap.resamples=0", "threads=1"]
    arguments = [*rows, *data_of(workplace.data), "output_dir=report", *quick]
    segment = Method._segment

    def stop(self: Method, *rest: Any) -> Any:
        if self.name == "b":
            os.kill(os.getpid(), signal.SIGTERM)
        return segment(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Method, "_segment", stop)
        stopped = run("evaluate", *arguments, folder=tmp_path)
    assert stopped.code == 143
    assert "stopped with 1 of 2 rows segmented; " in stopped.err
    assert stopped.err.rstrip().endswith("report resume=auto")
    work: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(Method, "_segment", lambda self, *rest: work.append(self.name) or stop(self, *rest))
        again = run("evaluate", *arguments, "overwrite=true", "resume=auto", folder=tmp_path)
    assert (again.code, work) == (143, ["b"])  # what is done is kept although the first command was to replace files
    kept = (tmp_path / "report" / "predictions" / "a.json").read_text()
    again = run("evaluate", *[a for a in arguments if ".a=" not in a], folder=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert ": 1 file of an evaluation that was broken off" in again.out
    names = {path.relative_to(tmp_path / "report").as_posix() for path in (tmp_path / "report").rglob("*.json")}
    assert names == {
        "results.json",
        "suspects.json",
        "predictions/b.json",
        "predictions/ground_truth.class_agnostic.json",
        "unfinished/predictions/a.json",
    }
    assert (tmp_path / "report" / "unfinished" / "predictions" / "a.json").read_text() == kept
    assert not (tmp_path / "report" / ".unfinished").exists()
    with monkeypatch.context() as patch:
        patch.setattr("segtrain.cli.evaluate.write_report", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        stopped = run("evaluate", *arguments, "overwrite=true", folder=tmp_path)
    assert stopped.code == 143
    assert "stopped with 2 of 2 rows segmented and 2 analysed; " in stopped.err
    assert stopped.err.rstrip().endswith("report resume=auto")


def test_settings_of_data_that_a_checkpoint_lacks_have_their_defaults(workplace: Workplace, tmp_path: Path) -> None:
    """As those of earlier versions do."""
    known = load_checkpoint(workplace.best)
    kept = {key: known.config["data"][key] for key in ("root", "val_annotations", "val_images", "fraction")}
    replace(known, config={**known.config, "data": kept}).save(tmp_path / "best.pt")
    found = evaluate(tmp_path, "checkpoint=best.pt", "methods=mask_rcnn", "gallery=0", "bootstrap.resamples=0")
    before = results(workplace.report)["methods"]["mask_rcnn"]["class_aware"]
    assert found["methods"]["mask_rcnn"]["class_aware"]["mask_ap"] == before["mask_ap"]


def test_a_checkpoint_that_knows_nothing_of_its_data_is_evaluated_on_given_data(
    workplace: Workplace, tmp_path: Path
) -> None:
    known = replace(load_checkpoint(workplace.best), contents={}, validations=2, training=None)
    replace(known, config={**known.config, "data": {}}).save(tmp_path / "best.pt")
    given = ["checkpoint=best.pt", *data_of(workplace.data)]
    found = evaluate(tmp_path, *given, "methods=mask_rcnn", "gallery=0", "bootstrap.resamples=0")
    before = results(workplace.report)["methods"]["mask_rcnn"]["class_aware"]
    assert found["methods"]["mask_rcnn"]["class_aware"]["mask_ap"] == before["mask_ap"]


def test_an_evaluation_that_is_complete_is_resumed_without_a_trace(workplace: Workplace, tmp_path: Path) -> None:
    row = f"predictions.otsu={workplace.report / 'predictions' / 'threshold_otsu.json'}"
    arguments = ["methods=none", row, *data_of(workplace.data), "output_dir=report", "gallery=0", "threads=1"]
    assert run("evaluate", *arguments, folder=tmp_path).code == 0
    before = sorted(path for path in (tmp_path / "report").rglob("*") if "hydra" not in str(path))
    again = run("evaluate", *arguments, "resume=auto", folder=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert "moved to" not in again.out
    assert sorted(path for path in (tmp_path / "report").rglob("*") if "hydra" not in str(path)) == before


def test_a_search_that_is_stopped_goes_on(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = ["tune.trials=40", "tune.seconds=null", "tune.images=2", "gallery=0", "bootstrap.resamples=0"]
    arguments = ["methods=none", "+segmenter@segmenters.a=threshold_tuned", *data_of(workplace.data), *limits]
    arguments += ["output_dir=report", "threads=1"]
    searched: list[int | None] = []  # settings that each search begins with
    search = tuning.search

    def stopped_early(*given: Any, show: Any, **named: Any) -> Any:
        def signalled(share: float, trials: int, best: float) -> None:
            show(share, trials, best)
            if trials > 10 and len(searched) == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        searched.append(None if named["begun"] is None else named["begun"].trials)
        return search(*given, show=signalled, **named)

    monkeypatch.setattr(tuning, "search", stopped_early)
    stopped = run("evaluate", *arguments, folder=tmp_path)
    assert stopped.code == 143
    assert "of a search that a signal has interrupted" in stopped.out
    assert "report keeps the settings that were found so far; go on with" in stopped.err
    again = run("evaluate", *arguments, "resume=auto", folder=tmp_path)
    assert (again.code, again.err) == (0, "")
    first, done = searched
    assert first is None
    assert done is not None
    assert 10 < done < 40
    assert f"a: its search goes on after {done} settings on 2 training images in " in again.out
    assert "the best of 40 settings" in again.out
    third = run("evaluate", *arguments, "resume=auto", folder=tmp_path)
    assert third.code == 0
    assert len(searched) == 2


def numbers(folder: Path) -> dict[str, Any]:
    """Content of ``results.json`` without what tells one run from another."""
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    for key in ("command", "directory", "environment", "warnings"):
        del content[key]
    for method in content["methods"].values():
        del method["timing"], method["costs"]
        method.pop("measured", None)
    return content


def test_an_evaluation_goes_on_and_a_later_one_takes_its_rows(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"+segmenter@segmenters.{name}=threshold_{name}" for name in ("mean", "tuned", "oracle")]
    limits = ["bootstrap.resamples=20", "tune.trials=2", "tune.seconds=null", "tune.images=2", "gallery=1"]
    arguments = ["methods=none", *rows, *data_of(workplace.data), *limits, "threads=1"]
    whole = run("evaluate", *arguments, "output_dir=whole", folder=tmp_path)
    assert (whole.code, whole.err) == (0, "")
    work = {"searched": 0, "detected": 0, "analysed": 0}

    def counted(what: str, function: Any, stop_at: int = 0) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            work[what] += 1
            if work[what] == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return function(*given, **named)

        return call

    monkeypatch.setattr(tuning, "search", counted("searched", tuning.search))
    monkeypatch.setattr(Method, "_segment", counted("detected", Method._segment))
    # It is stopped in the last row's choice of settings, then in the second analysis.
    for stopped_in, name in ((OracleMethod, "_segment"), (Analyst, "analyse_row")):
        with monkeypatch.context() as patch:
            what, count = ("detected", 3) if name == "_segment" else ("analysed", 2)
            patch.setattr(stopped_in, name, counted(what, getattr(stopped_in, name), count))
            stopped = run("evaluate", *arguments, "output_dir=mine", "resume=auto", folder=tmp_path)
        assert stopped.code == 143
    assert work == {"searched": 1, "detected": 3, "analysed": 2}
    monkeypatch.setattr(OracleMethod, "_segment", counted("detected", OracleMethod._segment))
    monkeypatch.setattr(Analyst, "analyse_row", counted("analysed", Analyst.analyse_row))
    again = run("evaluate", *arguments, "output_dir=mine", "resume=auto", folder=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert work == {"searched": 1, "detected": 3, "analysed": 4}
    assert numbers(tmp_path / "mine") == numbers(tmp_path / "whole")
    assert "tuned: taken from " in again.out
    assert not (tmp_path / "mine" / ".unfinished").exists()

    # The draws of another seed are others, and so are the searches; masks of fixed settings are the same.
    later = run("evaluate", *arguments, "output_dir=later", "reuse=mine", "seed=1", folder=tmp_path)
    assert (later.code, later.err) == (0, "")
    assert work["searched"] == 2
    content = json.loads((tmp_path / "later" / "results.json").read_text())
    measured = {name: method.get("measured") for name, method in content["methods"].items()}
    assert measured["mean"] is not None
    assert any("Taken from mine, with the times that were measured there on" in line for line in content["warnings"])
    assert (tmp_path / "later" / "predictions" / "mean.json").exists()
    refused = run("evaluate", *arguments, "output_dir=refused", "reuse=nowhere", folder=tmp_path)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "reuse=nowhere: there is no folder rows in it" in refused.err
