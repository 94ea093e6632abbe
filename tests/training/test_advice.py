"""Advice before a training: anchors, crowded and shrunk images, and nothing where nothing is to be done."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from segtrain.records import Instances
from segtrain.segmenters import Trainable
from segtrain.segmenters.anchors import AnchorLayout
from segtrain.segmenters.inputs import KnownInputs
from segtrain.training.advice import advise


class Network(Trainable):
    """Network that enlarges images twice, to 400 pixels at the most."""

    title = "Test"

    def __init__(self, sizes: tuple[int, ...] = (16, 32, 64, 128, 256), proposals: int = 500) -> None:
        super().__init__()
        self.layout = AnchorLayout([[size] for size in sizes], [0.5, 1.0, 2.0], (4, 8, 16, 32, 64), centred=True)
        self.limit = proposals

    @property
    def anchors(self) -> AnchorLayout:
        return self.layout

    @property
    def proposals(self) -> int:
        return self.limit

    def input_scale(self, height: int, width: int) -> float:
        return min(2.0, 400 / max(height, width))

    def losses(self, images: object, targets: object) -> dict[str, Tensor]:
        return {"mask": torch.zeros(())}

    def segment_one(self, image: Tensor) -> Instances:
        return Instances.empty((1, 1))


def index_of(folder: Path, side: int, objects: int = 20, image: int = 200) -> CocoIndex:
    boxes = [[7 * place % (image - side), 13 * place % (image - side), side, side] for place in range(objects)]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": image, "width": image}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "bbox": [x, y, w, h], "area": w * h,
             "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
            for n, (x, y, w, h) in enumerate(boxes, start=1)
        ],
    }  # fmt: skip
    (folder / "a.json").write_text(json.dumps(content))
    return load_index(folder / "a.json", "warn")


def test_nothing_is_said_where_nothing_is_to_be_done(tmp_path: Path) -> None:
    advice = advise(index_of(tmp_path, 16), Network(), max_dets=100)
    assert advice.lines == []
    assert advice.side == (32.0, 32.0, 32.0)
    assert advice.recall_at_background == 1.0
    assert advice.tile is None
    assert advice.facts.startswith("20 objects of 32 to 32 pixels at the network's input (median 32); best possible ")
    assert json.loads(json.dumps(advice.to_plain()))["most_objects"] == 20


def test_other_anchors_or_larger_inputs_are_suggested_for_small_objects(tmp_path: Path) -> None:
    advice = advise(index_of(tmp_path, 8), Network((64, 128, 256, 512, 1024)), max_dets=100)
    (line,) = advice.lines
    assert line.startswith(
        "100% of the objects have no anchor with an IoU of 0.3 or more; with 'segmenter.anchor_sizes=[["
    )
    assert advice.anchor_sizes is not None
    better = Network(tuple(int(sizes[0]) for sizes in advice.anchor_sizes))
    again = advise(index_of(tmp_path, 8), better, max_dets=100)
    assert again.recall_at_background == advice.anchor_recall == 1.0
    assert "or with larger inputs: segmenter.scale=" in line


def test_crowded_images_are_compared_with_limits(tmp_path: Path) -> None:
    lines = advise(index_of(tmp_path, 16, objects=120), Network(proposals=130), max_dets=100).lines
    assert lines == [
        "1 image with more objects than data.max_dets=100, up to 120: data.max_dets=200 finds them all, and so do "
        "windows with fewer, segmenter.tile=128",
        "up to 120 objects in an image, and 130 proposals: segmenter.rpn_proposals_test=300 leaves room for those that "
        "overlap",
    ]


def test_shrunk_images_are_told_and_limits_of_windows_are_not_theirs(tmp_path: Path) -> None:
    advice = advise(index_of(tmp_path, 32, objects=120, image=800), Network(), max_dets=100)
    assert (advice.shrunk_images, advice.crowded_images) == (1, 0)
    (line,) = advice.lines
    assert line.startswith("1 image trained whole would be shrunk, to 0.25 of the network's scale at the least")


@pytest.mark.parametrize(("drawn", "shrunk"), [((800, 800), 1), ((150, 150), 0), (None, 1)])
def test_a_minority_of_images_that_are_shrunk_is_told_unless_they_are_cropped(
    tmp_path: Path, drawn: tuple[int, int] | None, shrunk: int
) -> None:
    index_of(tmp_path, 16)
    content = json.loads((tmp_path / "a.json").read_text())
    sides = (200, 200, 800)
    content["images"] = [content["images"][0] | {"id": n, "height": side, "width": side, "file_name": f"{n}.png"}
                         for n, side in enumerate(sides, start=1)]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(content))
    index, network, asked = load_index(tmp_path / "a.json", "warn"), Network(), list[int]()
    network.inputs = KnownInputs.of(network.input_scale, index.images.sizes, [])
    assert network.inputs.scale == 2  # most images have the network's own

    def draw(places: Sequence[int]) -> list[tuple[int, int]]:
        asked.extend(places)
        return [] if drawn is None else [drawn for _ in places]

    advice = advise(index, network, max_dets=100, drawn=draw)
    assert asked == [2]
    assert advice.shrunk_images == shrunk
    assert len(advice.lines) == shrunk
    assert advise(index, network, max_dets=100).shrunk_images == 0  # of a trained one, which may have seen crops


def test_windows_are_not_shrunk_hold_the_objects_and_overlap_by_their_size(tmp_path: Path) -> None:
    advice = advise(index_of(tmp_path, 32, objects=120, image=800), Network(), max_dets=100)
    assert advice.tile == 192  # of 200 pixels that enter the network at twice their size
    crop = "augmentation.transforms.crop"
    assert f"(augmentation=fixed_crop {crop}.height=192 {crop}.width=192 segmenter.tile=192)" in advice.lines[0]
    assert advise(index_of(tmp_path, 64, image=800), Network(), max_dets=100).tile is None  # overlap of 50 pixels


def test_data_without_objects_have_no_advice(tmp_path: Path) -> None:
    assert advise(index_of(tmp_path, 16, objects=0), Network(), max_dets=100).lines == []
