"""Windows in training, evaluation and prediction, by their commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segtrain as st
from segtrain import masks
from segtrain.cli.main import main
from segtrain.errors import SegtrainError
from segtrain.training.checkpoint import load_checkpoint
from tests.conftest import Workplace
from tests.helpers.scripts import SMALL, data_of, run


def test_evaluation_cuts_images_as_validation_has(workplace: Workplace, tmp_path: Path) -> None:
    settings = [*SMALL, *data_of(workplace.data), "segmenter.tile=32", "data.max_dets=4", "output_dir=run"]
    trained = run("train", *settings, folder=tmp_path)
    assert (trained.code, trained.err) == (0, "")
    assert "val: 5 images validated in up to 4 windows each" in trained.out
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt")
    assert checkpoint.inputs == {"scale": 1.0, "input": [48, 48], "image": [48, 48]}
    rows = ["methods=none", "+segmenter@segmenters.cut=checkpoint", "+segmenter@segmenters.whole=checkpoint"]
    rows += ["segmenters.whole.tile=auto", "checkpoint=run", "bootstrap.resamples=0", "gallery=0", "threads=1"]
    evaluated = run("evaluate", *rows, "score_threshold=0", "output_dir=report", folder=tmp_path)
    assert (evaluated.code, evaluated.err) == (0, "")
    assert "AP and AR use the 16 best detections of an image" in evaluated.out
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert (found["data"]["max_dets"], found["data"]["windows"]) == (16, 4)
    assert found["methods"]["cut"]["class_aware"]["mask_ap"] == trained.result
    assert found["methods"]["whole"]["counts"]["detections"] <= 5 * 4
    said = [line for line in found["warnings"] if line.startswith(("cut: ", "whole: "))]
    assert said[0].startswith("cut: 5 images larger than those of its training cut into up to 4 windows, each with up")
    assert said[1].startswith("cut: in 5 images all 4 detections that it returns at most for a window reach the score")
    assert said[2].startswith("whole: in 5 images all 4 detections that it returns at most for an image reach the")
    assert len(said) == 3


def test_a_prediction_cuts_what_is_larger_than_in_training(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 130, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    command = ["predict", str(workplace.run), str(tmp_path / "large.png"), "--score", "0", "--save", "coco", "--out"]
    assert main([*command, str(tmp_path / "cut")]) == 0
    assert "1 image cut into windows" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "whole"), "--tile", "off", "--max-dets", "5"]) == 0
    out = capsys.readouterr().out
    assert "cut into windows" not in out
    assert "1 image reached the 5 objects that the network returns at most: there may be more; raise --max-dets" in out
    entries = json.loads((tmp_path / "cut" / "predictions.json").read_text())["annotations"]
    (found,) = st.load(workplace.run).segment([pixels])
    assert [entry["segmentation"] for entry in entries] == list(found[masks.area(found.rles) > 0].rles)
    (whole,) = st.load(workplace.run, tile="off").segment([pixels])
    assert list(whole.rles) != list(found.rles)
    for wrong in ({"tile": 3}, {"tile": "on"}, {"overlap": 0.5}):
        with pytest.raises(SegtrainError, match=f"^load: {next(iter(wrong))}="):
            st.load(workplace.run, **wrong)  # type: ignore[arg-type]
    for option, value in (("--tile", "3"), ("--tile", "on"), ("--overlap", "0.5")):
        assert main([*command, str(tmp_path / "none"), option, value]) != 0
    assert "argument --tile: give auto, off or a whole number from 16" in capsys.readouterr().err


def test_a_method_without_training_takes_whole_images_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.full((40, 150), 30, np.uint8)
    pixels[10:20, 10:140] = 200
    Image.fromarray(pixels).save(tmp_path / "large.png")
    boxes = []
    for number, more in enumerate(([], ["--tile", "auto"], ["--tile", "40"])):
        out = tmp_path / str(number)
        command = ["predict", "threshold_mean", str(tmp_path / "large.png"), "--save", "coco", "--out", str(out)]
        assert main([*command, *more]) == 0
        assert ("cut into windows" in capsys.readouterr().out) == (number == 2)
        entries = json.loads((out / "predictions.json").read_text())["annotations"]
        boxes.append([entry["bbox"] for entry in entries])
    assert boxes[0] == boxes[1] == [[10, 10, 130, 10]]
    assert boxes[2] == boxes[0]
