"""Images under several ids: one image with all annotations, or an error where these contradict each other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segtrain
from segtrain.data.check.command import main as check
from segtrain.data.check.load import load_index, with_image_files
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.result_file import load_results
from segtrain.data.splits import Split, save_split
from segtrain.errors import SegtrainError
from tests.data.test_splits import open_with


def square(x: int, y: int, side: int = 6) -> list[list[int]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def write(folder: Path, *entries: tuple[str, list[Any]], size: int = 32, **changes: Any) -> Path:
    """Write a json of images with the segmentations and categories of each, and the files."""
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    (folder / "images").mkdir(exist_ok=True)
    for number, (name, objects) in enumerate(entries):
        identifier = 1000 * (number + 1)
        content["images"].append({"id": identifier, "file_name": name, "height": size, "width": size} | changes)
        changes = {}
        Image.new("L", (size, size), sum(name.encode()) % 256).save(folder / "images" / name.rpartition("/")[2])
        for segmentation, category in objects:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": identifier,
                    "category_id": category,
                    "segmentation": segmentation,
                }
            )
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


def merged(path: Path) -> CocoIndex:
    return with_image_files(load_index(path, "warn"), path.parent / "images")[0]


def planes(index: CocoIndex, image_id: int) -> set[bytes]:
    return {segtrain.masks.decode(truth["segmentation"]).tobytes() for truth in index.truths(image_id)}


def test_objects_of_two_annotators_come_together(tmp_path: Path) -> None:
    parts = [square(1, 1), 1], [square(20, 1), 2], [square(1, 20), 1]
    apart = write(tmp_path, ("x.png", parts[:1]), ("y.png", parts[:2]), ("x.png", parts[1:]), ("x.png", []))
    index = merged(apart)
    assert [(image.id, image.file_name) for image in index.images] == [(1000, "x.png"), (2000, "y.png")]
    assert planes(index, 2000) < planes(index, 1000)
    whole = merged(write(tmp_path, ("x.png", list(parts)), ("y.png", parts[:2])))
    assert planes(index, 1000) == planes(whole, 1000)
    assert index.objects_per_image.tolist() == whole.objects_per_image.tolist() == [3, 2]
    assert (index.counts.used, index.counts.dropped) == (5, 0)
    assert index.issues["same-file-merged"].examples == ["x.png (images 1000, 3000, 4000): 1 + 2 + 0 annotations"]
    assert index.merged == ((2, 3000, 1000), (3, 4000, 1000))
    assert not index.issues.of("error")


def test_names_that_mean_one_file_are_merged_too(tmp_path: Path) -> None:
    index = merged(write(tmp_path, ("x.png", [(square(1, 1), 1)]), ("x.png", [(square(20, 1), 1)])))
    path = tmp_path / "coco.json"
    path.write_text(path.read_text().replace("x.png", "sub\\\\x.png", 1).replace('"x.png', '"sub/x.png'))
    (tmp_path / "images" / "sub").mkdir()
    (tmp_path / "images" / "x.png").rename(tmp_path / "images" / "sub" / "x.png")
    assert planes(merged(path), 1000) == planes(index, 1000)


def test_what_both_have_counts_once(tmp_path: Path) -> None:
    both = [(square(1, 1), 1), (square(20, 1), 2)]
    index = merged(write(tmp_path, ("x.png", both), ("x.png", [*both, (square(1, 20), 1)])))
    assert index.objects_per_image.tolist() == [3]
    assert index.counts.dropped == 2
    assert index.issues["annotation-repeated"].count == 2
    assert not index.issues.of("error")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ((square(1, 1), 2), "annotation 1 and annotation 3 are the same object as a and b"),
        ((square(2, 1), 1), "annotation 1 and annotation 3 are the same object with different outlines"),
    ],
)
def test_an_object_with_two_truths_is_an_error(second: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, ("x.png", [(square(1, 1), 1), (square(20, 1), 1)]), ("x.png", [second, (square(1, 20), 1)]))
    index = merged(path)
    assert said in index.issues["same-file-contradictory"].examples[0]
    assert index.counts.dropped == 2  # the later entry
    assert index.objects_per_image.tolist() == [2]
    with pytest.raises(SegtrainError, match=said):
        segtrain.load_coco(path, tmp_path / "images")
    assert check([str(path), str(tmp_path / "images")]) == 1


def test_neighbours_that_overlap_a_little_are_two_objects(tmp_path: Path) -> None:
    index = merged(write(tmp_path, ("x.png", [(square(1, 1, 9), 1)]), ("x.png", [(square(6, 1, 9), 1)])))  # IoU .29
    assert index.objects_per_image.tolist() == [2]
    assert not index.issues.of("error")


def test_two_sizes_of_one_file_are_an_error(tmp_path: Path) -> None:
    index = merged(write(tmp_path, ("x.png", []), ("x.png", [(square(1, 1), 1)]), height=40))
    assert "the sizes 40x32 and 32x32" in index.issues["same-file-contradictory"].examples[0]


def test_crowds_are_compared_with_crowds(tmp_path: Path) -> None:
    path = write(tmp_path, ("x.png", [(square(1, 1), 1)]), ("x.png", [(square(1, 1, 7), 1)]))
    content = json.loads(path.read_text())
    content["annotations"][1]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    index = merged(path)
    assert (index.counts.used, index.counts.crowd) == (1, 1)
    assert not index.issues.of("error")


def test_a_drawn_split_keeps_them_on_one_side(tmp_path: Path) -> None:
    entries = [(f"{number}.png", [(square(1, 1), 1)]) for number in range(8)]
    entries += [(f"{number}.png", [(square(20, 1), 2)]) for number in range(8)]
    write(tmp_path, *entries)
    one = {"train_annotations": "coco.json", "train_images": "images", "val_annotations": None, "val_images": None}
    splits: dict[Any, Split] = open_with(tmp_path, **one, val_fraction=0.5)
    names = {side: [image.file_name for image in split.index.images] for side, split in splits.items()}
    assert sorted(names["train"] + names["val"]) == [f"{number}.png" for number in range(8)]
    save_split(splits, tmp_path / "run")
    for side in ("train", "val"):
        content = json.loads((tmp_path / "run" / "split" / f"{side}.json").read_text())
        assert sorted(image["file_name"] for image in content["images"]) == sorted(2 * names[side])
        assert len(content["annotations"]) == 2 * len(names[side])


def test_the_corrected_copy_lists_it_once(tmp_path: Path) -> None:
    path = write(tmp_path, ("x.png", [(square(1, 1), 1)]), ("x.png", [(square(20, 1), 2)]))
    assert check([str(path), str(tmp_path / "images"), "--fix", str(tmp_path / "fixed.json")]) == 0
    fixed = json.loads((tmp_path / "fixed.json").read_text())
    assert [image["id"] for image in fixed["images"]] == [1000]
    assert [annotation["image_id"] for annotation in fixed["annotations"]] == [1000, 1000]


@pytest.mark.parametrize(
    ("ids", "left", "said"), [([1000, 3000], 1, "0 records moved to it, 1 left"), ([3000], 1, "1 records moved")]
)
def test_detections_under_either_id_are_of_the_image(ids: list[int], left: int, said: str, tmp_path: Path) -> None:
    parts = [(square(1, 1), 1)]
    path = write(tmp_path, ("x.png", parts), ("y.png", parts), ("x.png", [(square(20, 1), 1)]))
    records = [
        {"image_id": identifier, "category_id": 1, "segmentation": square(1, 1), "score": 0.5}
        for identifier in (2000, *ids)
    ]
    (tmp_path / "found.json").write_text(json.dumps(records))
    index = segtrain.load_coco(path, tmp_path / "images").index
    found = load_results(tmp_path / "found.json", images=index.images, categories=index.categories, merged=index.merged)
    assert found.masks is not None
    assert [record["image_id"] for record in found.masks] == [2000, *[1000] * left]
    assert said in found.notes[0]


def test_masks_that_were_not_looked_at_are_compared_too(tmp_path: Path) -> None:
    path = write(tmp_path, ("x.png", [(square(1, 1), 1)]), ("x.png", [(square(20, 1), 2)]))
    data = segtrain.load_coco(path, tmp_path / "images", check="off")
    assert data.index.objects_per_image.tolist() == [2]
    assert np.all([len(data.index.truths(1000)) == 2])
