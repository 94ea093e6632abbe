"""Samples and batches: complete, reproducible, and honest about bad images."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from segtrain.data.augmentation import Augmentation
from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from segtrain.data.dataset import CocoDataset, Sample, Skipped
from segtrain.data.evaluation_images import evaluation_images
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.loader import Batch, TrainingLoader, pack, unpack
from segtrain.data.sampling import EpochBatches
from segtrain.errors import SegtrainError

import albumentations as A  # isort: skip  # after segtrain, which keeps it from asking the network


def square(x: int, y: int, side: int) -> list[list[int]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


@pytest.fixture
def index(tmp_path: Path) -> CocoIndex:
    """Seven images of different sizes; image k holds k squares of category 20 and a crowd of category 10."""
    drawing = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for k in range(7):
        height, width = 40 + k, 30 + 2 * k
        pixels = drawing.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        images.append({"id": 100 + k, "file_name": f"{k}.png", "height": height, "width": width})
        for n in range(k + 1):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": 100 + k,
                    "category_id": 20 if n < k else 10,
                    "segmentation": square(3 * n, 4 * n, 2 + n),
                    "iscrowd": int(n == k),
                }
            )
    path = tmp_path / "coco.json"
    categories = [{"id": 10, "name": "a"}, {"id": 20, "name": "b"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return load_index(path)


def augmentation() -> Augmentation:
    return Augmentation(
        {
            "crop": A.RandomCrop(32, 32, pad_if_needed=True, p=1),
            "flip": A.HorizontalFlip(p=0.5),
            "affine": A.Affine(rotate=(-30, 30), p=0.8),
            "noise": A.GaussNoise(p=0.5),
        },
        mix=None,
    )


def reader(index: CocoIndex) -> ImageReader:
    return ImageReader(index.path.parent, exif="auto", max_pixels=10**6)


def dataset(index: CocoIndex, **changes: Any) -> CocoDataset:
    options: dict[str, Any] = {"augmentation": augmentation(), "seed": 3} | changes
    return CocoDataset(index, reader(index), options.pop("augmentation"), **options)


def flatten(batch: Batch) -> list[Any]:
    """A batch as comparable values."""
    return [
        batch.image_ids,
        [image.tolist() for image in batch.images],
        [(t.boxes.tolist(), t.labels.tolist(), [m.tolist() for m in t.masks]) for t in batch.targets],
        [(t.ignored_boxes.tolist(), [m.tolist() for m in t.ignored_masks]) for t in batch.targets],
        batch.skipped,
    ]


def test_a_plain_sample_holds_the_annotations(index: CocoIndex) -> None:
    sample = dataset(index, augmentation=None)[0, 3]
    assert isinstance(sample, Sample)
    with Image.open(index.path.parent / "3.png") as image:
        assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), np.array(image))
    assert (sample.image.dtype, sample.image_id) == (torch.uint8, 103)
    assert sample.target.boxes.tolist() == [[0, 0, 2, 2], [3, 4, 6, 7], [6, 8, 10, 12]]
    assert sample.target.labels.tolist() == [2, 2, 2]
    assert [(mask.dtype, mask.tolist()) for mask in sample.target.masks] == [
        (torch.uint8, [[1] * side] * side) for side in (2, 3, 4)
    ]
    assert sample.target.ignored_boxes.tolist() == [[9, 12, 14, 17]]
    assert [mask.tolist() for mask in sample.target.ignored_masks] == [[[1] * 5] * 5]


def test_images_without_instances_are_negatives(index: CocoIndex) -> None:
    for choice in (None, augmentation()):
        sample = dataset(index, augmentation=choice)[0, 0]
        assert isinstance(sample, Sample)
        assert len(sample.target) == 0
        assert sample.target.boxes.shape == (0, 4)


def test_augmentation_drops_what_it_makes_too_small(index: CocoIndex) -> None:
    keep = {"keep": A.HorizontalFlip(p=1)}
    for choice, least, count in ((keep, 1, 6), (keep, 4, 6), (keep, 5, 5), (keep, 10, 4), ({}, 10, 6), (None, 10, 6)):
        chosen = None if choice is None else Augmentation(choice, mix=None)
        sample = dataset(index, augmentation=chosen, min_object_pixels=least)[0, 6]
        assert isinstance(sample, Sample)
        assert len(sample.target) == count


def test_boxes_stay_tight(index: CocoIndex) -> None:
    samples = dataset(index)
    for epoch in range(10):
        sample = samples[epoch, 6]
        assert isinstance(sample, Sample)
        for (x0, y0, x1, y1), mask in zip(sample.target.boxes.int().tolist(), sample.target.masks, strict=True):
            assert mask.shape == (y1 - y0, x1 - x0)
            assert 0 <= x0 < x1 <= sample.image.shape[2]
            assert 0 <= y0 < y1 <= sample.image.shape[1]
            assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()  # noqa: PT018


def test_a_sample_depends_on_seed_epoch_and_position_alone(index: CocoIndex) -> None:
    first, second = dataset(index), dataset(index)
    first[5, 2]
    assert flatten(unpack(pack([first[1, 6]]))) == flatten(unpack(pack([second[1, 6]])))
    for other in (first[2, 6], dataset(index, seed=4)[1, 6]):
        assert flatten(unpack(pack([first[1, 6]]))) != flatten(unpack(pack([other])))


def test_batches_pack_and_unpack(index: CocoIndex) -> None:
    samples = [dataset(index, augmentation=None)[0, position] for position in (2, 0, 5)]
    skipped = Skipped(9, "bad")
    batch = unpack(pack([*samples, skipped]))
    assert (batch.image_ids, batch.skipped) == ([102, 100, 105], [skipped])
    for sample, image, target in zip(samples, batch.images, batch.targets, strict=True):
        assert isinstance(sample, Sample)
        assert torch.equal(sample.image, image)
        assert torch.equal(sample.target.boxes, target.boxes)
        assert torch.equal(sample.target.labels, target.labels)
        assert all(torch.equal(a, b) for a, b in zip(sample.target.masks, target.masks, strict=True))
        assert torch.equal(sample.target.ignored_boxes, target.ignored_boxes)
        assert len(target.ignored_masks) == 1
        assert torch.equal(sample.target.ignored_masks[0], target.ignored_masks[0])
    assert flatten(unpack(pack([skipped]))) == [[], [], [], [], [skipped]]


def test_an_epoch_holds_every_image_once_in_an_order_of_its_own() -> None:
    batches = EpochBatches(length=50, batch_size=4, seed=0)
    orders = []
    for epoch in range(3):
        batches.epoch = epoch
        keys = [key for batch in batches for key in batch]
        assert {e for e, _ in keys} == {epoch}
        orders.append([position for _, position in keys])
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert len(batches) == len(list(batches)) == 13


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_do_not_depend_on_workers_or_resumption(index: CocoIndex, workers: int) -> None:
    samples, batches = dataset(index), EpochBatches(7, 2, seed=5)
    loader = TrainingLoader(dataset(index), batch_size=2, workers=workers, seed=5)
    assert len(loader) == 4
    state = torch.get_rng_state()
    for epoch, start in ((0, 0), (1, 2), (1, 0), (4, 3)):
        batches.epoch = epoch
        expected = [flatten(unpack(pack([samples[key] for key in keys]))) for keys in batches][start:]
        assert [flatten(batch) for batch in loader.epoch(epoch, start)] == expected
    assert torch.equal(torch.get_rng_state(), state)


def test_an_epoch_of_a_part_of_the_images_is_as_long_as_one_of_all(index: CocoIndex) -> None:
    loader = TrainingLoader(dataset(index), batch_size=2, workers=0, seed=5, showings=24 / 7)
    assert len(loader) == 12
    shown = [key for keys in loader.upcoming(0, 0, (), 99) for key in keys]
    assert len(set(shown)) == len(shown) == 24
    assert set(np.bincount([position for _, position in shown]).tolist()) == {3, 4}


def test_an_epoch_may_be_left_early(index: CocoIndex) -> None:
    loader = TrainingLoader(dataset(index), batch_size=2, workers=2, seed=5)
    whole = [flatten(batch) for batch in loader.epoch(1)]
    assert flatten(next(iter(loader.epoch(0)))) != whole[0]
    assert [flatten(batch) for batch in loader.epoch(1)] == whole


def test_workers_use_one_thread_each(index: CocoIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    def threads(*_: Any) -> Skipped:
        return Skipped(0, f"{torch.get_num_threads()} {cv2.getNumThreads()}")

    monkeypatch.setattr(CocoDataset, "__getitem__", threads)
    batches = list(TrainingLoader(dataset(index), batch_size=4, workers=1, seed=0, start_method="fork").epoch(0))
    assert {skip.reason for batch in batches for skip in batch.skipped} == {"1 1"}


@pytest.mark.slow
def test_spawned_workers_load_the_same(index: CocoIndex) -> None:
    loaders = [
        TrainingLoader(dataset(index), batch_size=2, workers=workers, seed=5, start_method=method)
        for workers, method in ((0, None), (1, "spawn"))
    ]
    first, second = ([flatten(batch) for batch in loader.epoch(1)] for loader in loaders)
    assert first == second


def error_of(loader: TrainingLoader) -> str:
    """The message that loading ends with; without keeping a traceback, which would keep the workers."""
    try:
        list(loader.epoch(0))
    except SegtrainError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_an_error_of_one_line(index: CocoIndex, workers: int) -> None:
    (index.path.parent / "4.png").write_bytes(b"broken")
    message = error_of(TrainingLoader(dataset(index), batch_size=2, workers=workers, seed=0))
    assert "4.png: cannot read the image (a text file)" in message
    assert "\n" not in message


@pytest.mark.parametrize("workers", [0, 1])
def test_skipped_images_reach_the_parent(index: CocoIndex, workers: int) -> None:
    (index.path.parent / "4.png").write_bytes(b"broken")
    Image.new("RGB", (5, 5)).save(index.path.parent / "5.png")
    loader = TrainingLoader(dataset(index, on_bad_image="skip"), batch_size=2, workers=workers, seed=0)
    batches = list(loader.epoch(0))
    skipped = {skip.image_id: skip.reason for batch in batches for skip in batch.skipped}
    assert sorted(skipped) == [104, 105]
    assert "5.png: the file is 5x5, the annotations say 45x40" in skipped[105]
    assert sorted(i for batch in batches for i in batch.image_ids) == [100, 101, 102, 103, 106]


def test_a_bad_augmentation_is_never_skipped(index: CocoIndex) -> None:
    crop = Augmentation({"crop": A.RandomCrop(1000, 1000)}, mix=None)
    with pytest.raises(SegtrainError, match="augmentation: CropSizeError"):
        dataset(index, augmentation=crop, on_bad_image="skip")[0, 1]


def test_evaluation_sees_all_images_in_file_order(index: CocoIndex) -> None:
    folder = index.path.parent
    for info, (image_id, image) in zip(index.images, evaluation_images(index.images, reader(index)), strict=True):
        assert (image_id, image.shape, image.dtype) == (info.id, (3, *info.size), torch.uint8)
    (folder / "2.png").unlink()
    with pytest.raises(SegtrainError, match=r"2\.png: cannot read the image \(No such file"):
        list(evaluation_images(index.images, reader(index)))
