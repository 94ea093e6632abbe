"""The benchmarks of inference and of a step's memory: that they run, on drawn data, and measure what they say."""

import mmap
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from agreement import require_agreement
from dense_memory import measure_targets, peak_growth, scene
from detectors import find_as_many, recognise_regions, stock_detections
from items import Item, spread_over
from networks import pair
from predict import Sides

from segtrain import masks
from segtrain.records import Category
from segtrain.segmenters.mask_rcnn.preprocess import InputSize
from tests.benchmarks.test_benchmarks import measured
from tests.helpers.tiny_networks import CLASSES, picture, settings

CATEGORIES = [Category(3, "round"), Category(7, "square")]


@pytest.fixture(scope="module")
def sides() -> Sides:
    ours, stock = pair(settings("resnet18_fpn", min_score=0.05), CLASSES, [picture(0, 96, 128, 5)[0]], 96)
    ours.input_size = InputSize(None, 400, 1.5)
    return Sides(ours.eval(), stock.eval(), CATEGORIES)


def items() -> list[Item]:
    return [Item(n, picture(n, *size, 4)[0], 4) for n, size in ((1, (96, 128)), (2, (120, 90)))]


def test_both_sides_find_as_many_as_they_are_told_and_the_same(sides: Sides) -> None:
    images = [item.image for item in items()]
    recognise_regions(sides.stock, sides.ours.input_size, images)
    find_as_many(sides.stock, sides.ours.input_size, images, [5, 5])
    sides.ours.load_state_dict(sides.stock.state_dict())
    require_agreement(sides.ours, sides.stock, items())
    counts = [len(stock_detections(sides.stock, sides.ours.input_size, image)["scores"]) for image in images]
    assert sum(counts) == pytest.approx(10, abs=5)
    assert min(counts) > 0
    for item in items():
        ours, stock = sides.run_ours(item), sides.run_stock(item)
        assert [record.keys() for record in ours] == [record.keys() for record in stock]
        for mine, theirs in zip(ours, stock, strict=True):
            assert mine["image_id"] == theirs["image_id"] == item.image_id
            assert mine["category_id"] == theirs["category_id"]
            assert mine["category_id"] in (3, 7)
            differ = masks.decode(mine["segmentation"]) != masks.decode(theirs["segmentation"])
            assert differ.mean() < 5e-3  # exact against whole pixels: parts of the outline


def test_a_difference_stops_the_benchmark(sides: Sides) -> None:
    layer = sides.stock.roi_heads.box_predictor.bbox_pred
    with torch.no_grad():
        layer.bias += 0.5
    try:
        with pytest.raises(SystemExit, match="image 1"):
            require_agreement(sides.ours, sides.stock, items())
    finally:
        with torch.no_grad():
            layer.bias -= 0.5


def test_only_proposals_may_differ(sides: Sides) -> None:
    dropped = sides.ours.rpn.nms_thresh
    sides.ours.rpn.nms_thresh = 0.1  # keeps others
    try:
        require_agreement(sides.ours, sides.stock, items())
    finally:
        sides.ours.rpn.nms_thresh = dropped


def test_images_are_spread_over_all_sizes_with_the_densest() -> None:
    many = [SimpleNamespace(image_id=number, objects=number % 17) for number in range(100)]
    chosen = spread_over(many, 6)  # type: ignore[arg-type]
    assert [item.image_id for item in chosen] == [0, 20, 40, 60, 80, 16]


def test_the_peak_counts_what_comes_and_goes() -> None:
    def take(size: int) -> None:
        # Straight from the system: the allocator may serve an array from a hole in its heap, and keep it.
        with mmap.mmap(-1, size) as memory:
            memory[:: mmap.PAGESIZE] = bytes(size // mmap.PAGESIZE)

    def work() -> None:
        take(2**26)
        take(2**27)

    assert peak_growth(work) == pytest.approx(128, abs=8)
    assert peak_growth(lambda: None) == pytest.approx(0, abs=2)


def test_planes_take_many_times_the_memory_of_crops() -> None:
    size, objects = (600, 900), 60
    ours, stock = (measure_targets(side, size, objects) for side in ("ours", "stock"))
    planes = 600 * 900 * objects * 4 / 2**20  # in float32, at least twice
    assert stock > 2 * planes > 10 * ours


def test_scenes_have_tight_crops() -> None:
    image, target = scene(80, 90, 7)
    assert image.shape == (3, 80, 90)
    for box, mask in zip(target.boxes.tolist(), target.masks, strict=True):
        assert tuple(mask.shape) == (box[3] - box[1], box[2] - box[0])
        assert mask.amax(0).all()
        assert mask.amax(1).all()


@pytest.mark.slow
def test_inference_runs_on_drawn_data(tmp_path: Path) -> None:
    rows, printed = measured("predict.py", tmp_path, "--images", "2", "--photographs", "1", "--steps", "1")
    assert list(rows) == ["nuclei", "coco_resnet50", "nuclei_rate", "nuclei_files"]
    assert rows["nuclei"]["ratio"] > 1
    assert printed.count("drawn data") == 4


@pytest.mark.slow
def test_memory_runs(tmp_path: Path) -> None:
    rows, _ = measured("dense_memory.py", tmp_path, "--size", "200", "300", "--objects", "20")
    assert list(rows) == ["total", "targets"]
    assert all(values["ratio"] > 1 for values in rows.values())
