"""Networks of a cross-validation, evaluated together: each image by the one that has not seen it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from segtrain.benchmark.checkpoints import find_checkpoints
from segtrain.benchmark.folds import find_folds
from segtrain.errors import SegtrainError
from segtrain.training.checkpoint import load_checkpoint
from tests.cli.test_evaluate import evaluate
from tests.conftest import Workplace
from tests.helpers.scripts import SMALL, data_of, message, run
from tests.helpers.tiny_runs import checkpoint

DRAWN = ("train_annotations", "val_annotations", "val_fraction", "split_by", "folds", "fold")


def config(paths: Sequence[Path], **data: Any) -> dict[str, Any]:
    loader = {"_target_": "segtrain.training.checkpoint.load_segmenter"}
    own = {"from_checkpoint": True, **dict.fromkeys(DRAWN), **data}
    return {"checkpoint": [str(path) for path in paths], "data": own, "segmenters": {"mask_rcnn": loader}}


def saved(folder: Path, fold: int, val_ids: list[int], folds: int | None = 2, **changes: Any) -> Path:
    settings = {**checkpoint().config, "data": {"folds": folds, "fold": fold, "train_annotations": "a.json"}, **changes}
    path = folder / f"{len(list(folder.glob('*.pt')))}.pt"
    seed = changes.get("seed", 0)
    checkpoint(val_ids=val_ids, config={**settings, "seed": seed}, seed=seed).save(path)
    return path


def found(paths: Sequence[Path], **data: Any) -> list[list[str]] | None:
    given = config(paths, **data)
    folds = find_folds(given["data"], find_checkpoints(given))
    return None if folds is None else [[str(own.path and own.path.stem) for own in group] for group in folds.groups]


def test_folds_of_one_cross_validation_belong_together(tmp_path: Path) -> None:
    paths = [saved(tmp_path, 1, [3, 4]), saved(tmp_path, 0, [1, 2])]
    assert found(paths) == [["1", "0"]]
    assert found(paths[:1]) is None
    assert found(paths, val_annotations="own.json") is None
    more = [saved(tmp_path, fold, [fold], seed=7) for fold in (0, 1)]
    assert found([*paths, *more]) == [["1", "0"], ["2", "3"]]


def test_folds_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first = saved(tmp_path, 0, [1, 2])
    cases = {
        "of 3 folds 1 is missing": [saved(tmp_path, fold, [fold], folds=3) for fold in (0, 2)],
        "seed is 5 there and 0 in": [first, saved(tmp_path, 1, [3], seed=5)],
        "optimizer.lr is 3 there and": [first, saved(tmp_path, 1, [3], optimizer={"lr": 3})],
        "image 2 is in the folds of both": [first, saved(tmp_path, 1, [2, 3])],
        "fold 0 of 2 is there twice": [first, saved(tmp_path, 0, [1, 2]), saved(tmp_path, 1, [3])],
        "was validated on other images": [first, saved(tmp_path, 1, [3], folds=None)],
    }
    for said, paths in cases.items():
        with pytest.raises(SegtrainError, match=said):
            found(paths)


@pytest.fixture(scope="module")
def sweep(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two runs, each validated on the other's part of the training images."""
    folder = tmp_path_factory.mktemp("sweep")
    for fold in range(2):
        arguments = [*SMALL, *data_of(workplace.data), "data.folds=2", f"data.fold={fold}", f"output_dir={fold}"]
        finished = run("train", *arguments, "seed=3", folder=folder)
        assert (finished.code, finished.err) == (0, "")
    return folder


@pytest.mark.slow
def test_each_image_is_segmented_by_the_network_that_has_not_seen_it(sweep: Path, tmp_path: Path) -> None:
    paths = [sweep / str(fold) / "checkpoints" / "best.pt" for fold in range(2)]
    options = ["methods=mask_rcnn", "gallery=0", "score_threshold=0.0"]
    named = f"checkpoint=[{','.join(map(str, paths))}]"
    otsu = "+segmenter@segmenters.otsu=threshold_otsu"
    pooled = evaluate(tmp_path, named, *options, otsu, "bootstrap.resamples=50")
    name = "mask_rcnn (2 folds)"
    assert list(pooled["methods"]) == [name, "otsu"]
    assert (pooled["reference"], list(pooled["comparisons"])) == (name, ["otsu"])
    assert list(pooled["checkpoints"]) == [f"{name}, fold 0", f"{name}, fold 1"]
    records = json.loads((tmp_path / "report" / "predictions" / f"{name}.json").read_text())
    seen: set[int] = set()
    assert (tmp_path / "report" / "suspects.json").is_file()
    refused = run("evaluate", f"checkpoint={paths[0]}", *options, "suspects=train", folder=tmp_path)
    assert "has learned from the training images" in message(refused)
    for fold, path in enumerate(paths):
        alone = evaluate(tmp_path, f"checkpoint={path}", *options, "bootstrap.resamples=0", output=str(fold))
        assert list(alone["methods"]) == ["mask_rcnn"]
        ids = load_checkpoint(path).val_ids
        assert ids
        assert seen.isdisjoint(ids)
        seen.update(ids)
        own = json.loads((tmp_path / str(fold) / "predictions" / "mask_rcnn.json").read_text())
        assert [record for record in records if record["image_id"] in ids] == own
    assert pooled["data"]["images"] == len(seen)


def test_classical_methods_judge_the_labels_of_the_training_images(workplace: Workplace, tmp_path: Path) -> None:
    """They have learned from none, whichever checkpoint names the data."""
    options = [
        "methods=none",
        "+segmenter@segmenters.otsu=threshold_otsu",
        "suspects=train",
        "gallery=0",
        "bootstrap.resamples=0",
    ]
    found = evaluate(tmp_path, f"checkpoint={workplace.best}", *options)
    assert found["data"]["images"] == 5
    assert found["data"]["name"] == "train.json"
    written = json.loads((tmp_path / "report" / "suspects.json").read_text())
    assert written["info"]["description"] == f"Labels of {workplace.data / 'train.json'} that otsu contradict"


def test_changed_annotations_are_refused(sweep: Path, workplace: Workplace, tmp_path: Path) -> None:
    content = json.loads((workplace.data / "train.json").read_text())
    content["annotations"].pop()
    (tmp_path / "train.json").write_text(json.dumps(content))
    (tmp_path / "train").symlink_to(workplace.data / "train")
    named = f"checkpoint=[{sweep / '0'},{sweep / '1'}]"
    finished = run("evaluate", named, "methods=mask_rcnn", f"data.root={tmp_path}", folder=tmp_path)
    assert "has had other images or annotations" in message(finished)
