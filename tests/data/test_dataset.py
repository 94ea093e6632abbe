"""A sample against the slow way: one plane for each instance, pycocotools and albumentations by themselves."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from segtrain import masks
from segtrain.data.augmentation import Augmentation
from segtrain.data.check.load import load_index
from segtrain.data.dataset import CocoDataset, Sample
from segtrain.data.images.image_reader import ImageReader
from tests.helpers.random_instances import scene

import albumentations as A  # isort: skip  # after segtrain, which keeps it from asking the network

SEED, LEAST = 5, 6


def chain() -> dict[str, Any]:
    return {
        "flip": A.HorizontalFlip(p=0.5),
        "light": A.RandomBrightnessContrast(p=1),
        "affine": A.Affine(rotate=(-40, 40), scale=(0.6, 1.5), translate_percent=(-0.3, 0.3), p=1),
        "crop": A.RandomCrop(32, 32, pad_if_needed=True, p=1),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    categories = [{"id": number, "name": str(number)} for number in (7, 3, 90)]
    records: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": categories}
    for image_id, count in ((4, 12), (9, 0), (2, 320)):
        rng = np.random.default_rng(image_id)
        size = (48, 60) if image_id == 4 else (40, 52)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{image_id}.png")
        records["images"].append({"id": image_id, "file_name": f"{image_id}.png", "height": size[0], "width": size[1]})
        for plane in scene(rng, size, count):
            rle = masks.encode(plane)
            x0, y0, x1, y1 = masks.boxes([rle])[0].tolist()
            records["annotations"].append(
                {
                    "id": len(records["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.choice([7, 3, 90])),
                    "segmentation": rle,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(plane.sum()),
                    "iscrowd": int(rng.random() < 0.2),
                }
            )
    (folder / "a.json").write_text(json.dumps(records))
    return folder


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools under NumPy 2
@pytest.mark.parametrize("augmented", [False, True])
def test_samples_are_those_of_the_slow_way(folder: Path, augmented: bool, capsys: pytest.CaptureFixture[str]) -> None:
    augmentation = Augmentation(chain(), mix=None) if augmented else None
    reader = ImageReader(folder, "auto", 10**6)
    dataset = CocoDataset(load_index(folder / "a.json"), reader, augmentation, seed=SEED, min_object_pixels=LEAST)
    coco = COCO(folder / "a.json")
    label_of = {category: label for label, category in enumerate(sorted(coco.cats), start=1)}
    seen, ignored_seen = 0, 0
    for position, image_id in enumerate((4, 9, 2)):
        everything = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        records = [r for r in everything if not r["iscrowd"]]
        crowds = np.zeros(coco.annToMask(everything[0]).shape if everything else (1, 1), np.uint8)
        for number, record in enumerate((r for r in everything if r["iscrowd"]), start=1):
            crowds[coco.annToMask(record) > 0] = number
        image = np.array(Image.open(folder / f"{image_id}.png"))
        planes = [coco.annToMask(record) for record in records]
        for epoch in range(5):
            moved, left, ignored = image, planes, crowds
            if augmented:
                compose = A.Compose(list(chain().values()), mask_interpolation=0)
                seed = int(np.random.SeedSequence([SEED, epoch, position]).generate_state(1)[0])
                compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
                result = compose(image=image, **({"masks": [*planes, crowds]} if planes else {}))
                moved, (*left, ignored) = result["image"], result.get("masks", [crowds])
            kept = [n for n, plane in enumerate(left) if plane.sum() >= (LEAST if augmented else 1)]
            sample = dataset[epoch, position]
            assert isinstance(sample, Sample)
            assert np.array_equal(sample.image.permute(1, 2, 0), moved)
            assert sample.target.labels.tolist() == [label_of[records[n]["category_id"]] for n in kept]
            for n, box, mask in zip(kept, sample.target.boxes.tolist(), sample.target.masks, strict=True):
                rows, columns = np.nonzero(left[n])
                x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                assert box == [x0, y0, x1, y1]
                assert np.array_equal(mask, left[n][y0:y1, x0:x1])
            regions = [n for n in range(1, crowds.max() + 1) if (ignored == n).any()]
            target = sample.target
            for n, box, mask in zip(regions, target.ignored_boxes.tolist(), target.ignored_masks, strict=True):
                rows, columns = np.nonzero(ignored == n)
                x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                assert box == [x0, y0, x1, y1]
                assert np.array_equal(mask, (ignored == n)[y0:y1, x0:x1])
            seen += len(kept)
            ignored_seen += len(regions)
    assert seen > 300
    assert ignored_seen > 50
