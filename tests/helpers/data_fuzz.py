"""Randomly damaged data sets, and the properties that must hold for each of them.

    PYTHONPATH=. python tests/data_fuzz.py FOLDER KIND FIRST COUNT [--times]

examines these seeds, one after the other, and prints each before it begins, so that a crash can be repeated.
"""

import faulthandler
import io
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import pycocotools.mask
import pytest
import torch
from pycocotools.coco import COCO

from segtrain import masks
from segtrain.data.augmentation import Augmentation
from segtrain.data.check import command
from segtrain.data.check.load import load_index
from segtrain.data.coco import json_file
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.rules import AnnotationRules
from segtrain.data.dataset import Sample, Skipped
from segtrain.data.open_data import open_data, training_samples
from segtrain.data.splits import open_splits, save_split
from segtrain.errors import SegtrainError
from tests.data.test_pieces import assert_same
from tests.helpers.damaged_data import damage, original, write
from tests.helpers.reading_guard import guarded

ROOT = Path(__file__).parents[2]
_MEGABYTES = 700  # that one case may add to the peak
_DRAWN = 2**22  # larger planes are measured, but not drawn


def examine(kind: str, seed: int, folder: Path) -> None:
    """Damage a data set, and use it in every way; any exception is an error of segtrain."""
    done = damage(kind, seed, folder)
    try:
        write(original("generated"), folder / "good")
        with guarded(folder):
            for mode in ("strict", "warn", "off"):
                _load(folder, mode)
            for mode, skip in (("strict", False), ("warn", False), ("warn", True), ("off", False), ("off", True)):
                _use(folder, mode, skip)
            if "deep_nest" not in done:  # how deep one may be depends on how deep its reader is called
                _read_in_pieces(folder / "coco.json")
            _split(folder)
            _check(folder, as_json=bool(seed % 2))
    except BaseException as error:
        error.add_note(f"{kind} {seed}: {', '.join(done)}")
        raise


def _is_one_line(error: SegtrainError, *names: object) -> None:
    text = str(error)
    assert "\n" not in text, text
    assert len(text) < 5000, text
    assert any(str(name) in text for name in names), text


def _load(folder: Path, mode: Any) -> None:
    path = folder / "coco.json"
    try:
        index = load_index(path, mode)
    except SegtrainError as error:
        _is_one_line(error, path)
        return
    counts = index.counts
    assert counts.used + counts.crowd + counts.dropped == counts.annotations
    assert counts.repaired <= counts.used + counts.crowd
    if mode == "off":
        try:
            _look_at_truths(index, checked=False)
        except SegtrainError as error:
            _is_one_line(error, path)
    else:
        _look_at_truths(index, checked=True)


def _look_at_truths(index: CocoIndex, *, checked: bool) -> None:
    for place, image in enumerate(index.images):
        truths = index.truths(image.id)
        labels, rles = index.objects(place)
        true = [truth for truth in truths if not truth["iscrowd"]]
        assert [truth["segmentation"] for truth in true] == rles
        assert [index.label_of[truth["category_id"]] for truth in true] == labels.tolist()
        for truth in truths:
            rle = truth["segmentation"]
            assert rle["size"] == list(image.size)
            assert truth["area"] > 0
            assert np.isfinite(truth["bbox"]).all()
            assert min(truth["bbox"][2:]) > 0 or not checked
            area = int(masks.area([rle])[0])
            assert area > 0 or not checked
            if image.height * image.width <= _DRAWN:
                plane = pycocotools.mask.decode({**rle, "counts": rle["counts"].encode()})
                assert plane.shape == image.size
                assert int(plane.sum()) == area == int(masks.decode(rle).sum())


def _use(folder: Path, mode: str, skip: bool) -> None:
    """Use a data set as the scripts do: splits, samples, truths."""
    data = {
        "root": str(folder), "train_annotations": "coco.json", "train_images": "images",
        "val_annotations": "good/coco.json", "val_images": "good/images", "val_fraction": None, "split_by": None,
        "folds": None, "fold": None,
        "fraction": 1.0,
        "max_dets": 3, "check": mode, "on_bad_image": "skip" if skip else "error", "exif": "auto",
        "max_image_pixels": 200_000_000, "min_object_pixels": 4, "cache": "none", "generator": None,
        "pages": "first" if skip else "error", "channels": None,
        **{"strict": AnnotationRules(), "warn": AnnotationRules("ignore", "ignore", "even_odd"),
           "off": AnnotationRules("box", "objects")}[mode]._asdict(),
        "intensity": "auto",
    }  # fmt: skip
    chain = {"flip": albumentations.HorizontalFlip(p=0.5), "turn": albumentations.Affine(rotate=(-20, 20), p=0.5)}
    try:
        split = open_data(data, ["train"] if mode == "off" else ["train", "val"], 0)["train"]
        dataset = training_samples(split, Augmentation(chain, None), 0, data)
        for position, image in enumerate(split.index.images):
            sample = dataset[0, position]
            if isinstance(sample, Sample):
                assert sample.image.shape[0] == 3
                assert len(sample.target.labels) == len(sample.target.masks) == len(sample.target.boxes)
                assert (sample.target.boxes[:, 2:] > sample.target.boxes[:, :2]).all()
            else:
                assert isinstance(sample, Skipped)
                assert skip
                assert "\n" not in sample.reason
            assert sample.image_id == image.id
    except SegtrainError as error:
        _is_one_line(error, folder)


def _read_in_pieces(path: Path) -> None:
    """Read a file as if it were large, and require the same index or the same error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_file, "_LARGE", 1)
        patch.setattr(json_file, "_PIECE", 700)
        patch.setattr(json_file, "_HEAD", 50)
        assert_same(path)


def _split(folder: Path) -> None:
    """Draw a validation split, write it as two files, and compare their content with the original."""
    settings: dict[str, Any] = {"exif": "auto", "max_image_pixels": 10**8, "check": "warn", "images": "unused"}
    paths = {"train_annotations": "coco.json", "train_images": None, "val_annotations": None, "val_images": None}
    try:
        splits = open_splits(root=folder, **paths, **settings, val_fraction=0.5, seed=0, need=["train", "val"])
        save_split(splits, folder)
    except SegtrainError as error:
        _is_one_line(error, folder)
        return
    for name in ("train", "val"):
        written = load_index(folder / "split" / f"{name}.json", "warn")
        assert [image.file_name for image in written.images] == [image.file_name for image in splits[name].index.images]
        assert written.counts.used == splits[name].index.counts.used


def _run_check(*arguments: object) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = command.main([str(argument) for argument in arguments])
    text = out.getvalue() + err.getvalue()
    assert code in (0, 1)
    assert "Traceback" not in text
    assert "\x1b" not in text
    assert err.getvalue().count("\n") <= 1
    assert (not err.getvalue()) or (err.getvalue().startswith("error: ") and code == 1)
    assert len(text) < 200_000
    return code, out.getvalue()


def _check(folder: Path, *, as_json: bool) -> None:
    path, images, fixed = folder / "coco.json", folder / "images", folder / "fixed.json"
    code, out = _run_check(path, images, "--fix", fixed, *(["--json"] if as_json else []))
    if as_json and out:
        report = json.loads(out)
        assert (report["errors"] > 0) == (code == 1) or not fixed.exists()
    if not fixed.exists():
        assert code == 1
        assert not (folder / "fixed.log").exists()
        return
    index = load_index(fixed, "warn")
    errors = [issue.kind for issue in index.issues.of("error")]
    assert errors in ([], ["crowd-only"])  # what was left out may have been all of the objects
    assert index.counts.dropped == index.counts.repaired == 0
    with redirect_stdout(io.StringIO()):
        reference = COCO(str(fixed))
    assert sorted(reference.anns) == list(range(1, index.counts.annotations + 1))
    for image in index.images:
        entries = reference.loadAnns(reference.getAnnIds(imgIds=[image.id]))
        truths = index.truths(image.id)
        assert len(truths) == len(entries)
        for truth, entry in zip(truths, entries, strict=True):
            assert all(truth[key] == entry[key] for key in ("category_id", "bbox", "area", "iscrowd"))
            theirs = reference.annToRLE(entry)
            assert int(pycocotools.mask.area(theirs)) == int(masks.area([truth["segmentation"]])[0])
            if image.height * image.width <= _DRAWN:
                assert np.array_equal(masks.decode(truth["segmentation"]), pycocotools.mask.decode(theirs))
    assert _run_check(fixed, images)[0] == len(errors)


def main(arguments: Sequence[str]) -> None:
    """Examine a range of seeds; after a native crash or a hang the last printed seed is the culprit."""
    folder, kind, first, count = Path(arguments[0]), arguments[1], int(arguments[2]), int(arguments[3])
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    torch.set_num_threads(1)
    for seed in range(first, first + count):
        print(f"{kind} {seed}", flush=True)
        faulthandler.dump_traceback_later(60, exit=True)  # what holds on to the interpreter gets no signal
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        case = folder / f"{kind}-{seed}"
        examine(kind, seed, case)
        shutil.rmtree(case)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < _MEGABYTES, f"{kind} {seed} took {grown:.0f} MB"
        if "--times" in arguments:
            print(f"    {time.perf_counter() - started:.3f} s, {grown:.0f} MB", flush=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(sys.argv[1:])
