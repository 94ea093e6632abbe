import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage
from skimage.morphology import convex_hull_image

from segtrain import masks
from segtrain.data.cells import KINDS, LEAST_VISIBLE, draw, shape
from segtrain.data.synthetic import Generator
from segtrain.errors import SegtrainError

CONFIGS = Path(__file__).parents[2] / "configs"


def generator(**changes: object) -> Generator:
    """As configured, but few images."""
    configured: Generator = instantiate(OmegaConf.load(CONFIGS / "data/synthetic.yaml").generator, _convert_="all")
    return replace(configured, **{"train_images": 6, "val_images": 4, **changes})


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def read(root: Path, split: str) -> dict:
    return json.loads((root / f"annotations/instances_{split}.json").read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "data" / "cells"
    generator().ensure(folder)
    return folder


def test_it_is_a_coco_folder(root: Path) -> None:
    assert {path.name for path in root.parent.iterdir()} == {"cells"}, "the draft was left behind"
    for split, count in (("train", 6), ("val", 4)):
        records = read(root, split)
        assert [category["name"] for category in records["categories"]] == list(KINDS)
        assert [image["difficulty"] for image in records["images"]] == ["easy", "hard"] * (count // 2)
        assert [annotation["id"] for annotation in records["annotations"]] == [
            *range(1, len(records["annotations"]) + 1)
        ]
        for image in records["images"]:
            with Image.open(root / "images" / split / image["file_name"]) as opened:
                assert (opened.mode, opened.size) == ("RGB", (image["width"], image["height"]))


def test_annotations_are_the_visible_masks(root: Path) -> None:
    records = read(root, "train")
    for image in records["images"]:
        own = [a for a in records["annotations"] if a["image_id"] == image["id"]]
        planes = np.array([masks.decode_crop(a["segmentation"])[0].sum() for a in own])
        assert planes.tolist() == [a["area"] for a in own]
        covered = masks.area([masks.union([a["segmentation"] for a in own], (image["height"], image["width"]))])
        assert covered == planes.sum(), "visible masks overlap"
        for annotation in own:
            crop, x, y = masks.decode_crop(annotation["segmentation"])
            assert annotation["bbox"] == [x, y, crop.shape[1], crop.shape[0]]
            assert annotation["iscrowd"] == 0


def test_the_same_settings_give_the_same_files(root: Path, tmp_path: Path) -> None:
    generator().ensure(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(root)
    generator(seed=1).ensure(tmp_path / "other")
    assert contents(tmp_path / "other")["images/val/000001.png"] != contents(root)["images/val/000001.png"]


def test_an_image_does_not_depend_on_how_many_there_are() -> None:
    _, few = generator().drawing("val", 3)
    _, many = generator(train_images=100, val_images=50).drawing("val", 3)
    assert np.array_equal(few.rgb, many.rgb)
    assert not np.array_equal(few.rgb, generator().drawing("train", 3)[1].rgb)


def test_what_is_there_is_kept_and_other_settings_replace_it(tmp_path: Path) -> None:
    root = tmp_path / "cells"
    generator().ensure(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    generator().ensure(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    generator(val_images=2).ensure(root)
    assert len(read(root, "val")["images"]) == 2
    (root / "images/val/000001.png").unlink()
    generator(val_images=2).ensure(root)
    assert (root / "images/val/000001.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_what_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    (foreign / "annotations").mkdir(parents=True)
    (foreign / "annotations/instances_train.json").write_text('{"info": {"description": "mine"}}')
    ours_and_more = tmp_path / "cells"
    generator().ensure(ours_and_more)
    (ours_and_more / "notes.txt").write_text("mine")
    file = tmp_path / "file"
    file.write_text("mine")
    for root in (foreign, ours_and_more, file):
        before = contents(tmp_path)
        with pytest.raises(SegtrainError, match=r"data\.root"):
            generator(seed=5).ensure(root)
        assert contents(tmp_path) == before


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    generator().ensure(tmp_path)
    assert len(read(tmp_path, "train")["images"]) == 6


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SegtrainError, match="cannot be written"):
        generator().ensure(tmp_path / "cells")


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SegtrainError, match="cannot be written"):
        generator().ensure(tmp_path / "file" / "cells")


@pytest.mark.parametrize("seed", range(20))
def test_shapes_tell_the_kinds_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        cell = shape(rng, kind, rng.uniform(6, 10)) > 0
        assert ndimage.label(cell, np.ones((3, 3)))[1] == 1
        assert cell[1:-1, 1:-1].sum() == cell.sum(), "the patch cuts the cell"
        rows, columns = np.nonzero(cell)
        small, large = np.linalg.eigvalsh(np.cov(rows, columns)) ** 0.5
        hull = convex_hull_image(cell).sum() / cell.sum()
        if kind == "round":
            assert large / small < 1.35
            assert hull < 1.1
        elif kind == "spindle":
            assert large / small > 2.5
        else:
            assert large / small < 2.4
            assert hull > 1.12 or large / small > 1.6, "neither three lobes or more, nor a waist between two"


def test_hard_images_have_contact_and_easy_ones_none() -> None:
    maker = generator()
    touching = Counter()
    for number in range(1, 13):
        difficulty, drawing = maker.drawing("train", number)
        rest = {cell: drawing.cells * (drawing.cells != cell) for cell in range(1, len(drawing.kinds) + 1)}
        for cell, others in rest.items():
            near = ndimage.binary_dilation(drawing.cells == cell, iterations=2)
            touching[difficulty] += bool((others[near] > 0).any())
    assert touching["easy"] == 0
    assert touching["hard"] >= 10


def test_cells_stay_mostly_visible() -> None:
    maker = generator()
    look = maker.hard
    drawings = [
        draw(np.random.default_rng(number), look, size=96, cells=(12, 12), radius=(8, 8), dark=0.5)
        for number in range(8)
    ]
    smallest = min(np.bincount(drawing.cells.ravel())[1:].min() for drawing in drawings)
    # A spindle is the smallest kind. Cut by the image's border and by other cells, it keeps both shares.
    assert smallest > 0.9 * LEAST_VISIBLE**2 * 1.1 * 8**2


@pytest.mark.slow
def test_the_default_is_not_rigged(tmp_path: Path) -> None:
    """Otsu's row does well on the easy half and fairly on the whole: pycocotools' AP, class-agnostic."""
    generator(train_images=0, val_images=80).ensure(tmp_path / "cells")
    records = read(tmp_path / "cells", "val")
    for annotation in records["annotations"]:
        annotation["category_id"] = 1
    records["categories"] = [{"id": 1, "name": "cell"}]
    truth = COCO()
    truth.dataset = records
    truth.createIndex()
    otsu = instantiate(OmegaConf.load(CONFIGS / "segmenter/threshold_otsu.yaml"), _convert_="all")
    found = []
    for image in records["images"]:
        rgb = np.array(Image.open(tmp_path / "cells/images/val" / image["file_name"]))
        (instances,) = otsu.segment([torch.from_numpy(rgb).permute(2, 0, 1)])
        found += [
            {"image_id": image["id"], "category_id": 1, "segmentation": dict(rle), "score": float(score)}
            for rle, score in zip(instances.rles, instances.scores, strict=True)
        ]
    results = truth.loadRes(found)

    def ap(image_ids: list[int]) -> float:
        evaluator = COCOeval(truth, results, "segm")
        evaluator.params.imgIds = image_ids
        evaluator.evaluate()
        evaluator.accumulate()
        return float(evaluator.eval["precision"][:, :, 0, 0, 2].mean())

    assert ap([image["id"] for image in records["images"] if image["difficulty"] == "easy"]) >= 0.60
    assert ap([image["id"] for image in records["images"]]) >= 0.20
