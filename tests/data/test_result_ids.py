"""Result files in the structures of other tools: images and categories found by id, by name, or as the user says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain import masks
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.coco.result_file import ResultFile, load_results
from segtrain.data.coco.result_ids import AS_WRITTEN, ResultIds
from segtrain.errors import SegtrainError
from segtrain.records import Category

SIZE = (6, 8)
IMAGES = [ImageInfo(10, "plate/leaf_a.v1.png", *SIZE), ImageInfo(11, "plate/leaf_b.png", *SIZE)]
NUMBERED = [ImageInfo(1, "000000000139.jpg", *SIZE), ImageInfo(2, "000000000285.jpg", *SIZE)]
CATEGORIES = [Category(1, "leaf"), Category(3, "stem"), Category(4, "root")]
RLE: dict[str, Any] = dict(masks.encode_crop(np.ones((2, 3)), 1, 1, SIZE))
POLYGON = [[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]]


def load(
    folder: Path,
    content: Any,
    ids: ResultIds = AS_WRITTEN,
    images: list[ImageInfo] = IMAGES,
    categories: list[Category] = CATEGORIES,
) -> ResultFile:
    path = folder / "theirs.json"
    path.write_text(json.dumps(content))
    return load_results(path, images=images, categories=categories, ids=ids)


def found(result: ResultFile) -> list[tuple[int, int]]:
    assert result.masks is not None
    for mask in result.masks:
        assert mask["segmentation"] == RLE
    return [(mask["image_id"], mask["category_id"]) for mask in result.masks]


def record(image: Any, category: Any = 1, **changes: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "segmentation": RLE, "score": 0.9} | changes


# What Ultralytics' validation writes: stems, as numbers where they are digits; classes from 0 or from 1.
@pytest.mark.parametrize("with_names", [True, False])
def test_ultralytics(with_names: bool, tmp_path: Path) -> None:
    def entry(stem: Any, name: str) -> dict[str, Any]:
        names = {"file_name": name} if with_names else {}
        return record(stem, 0, bbox=[1.0, 1.0, 3.0, 2.0], score=0.91234) | names

    stems = [entry("leaf_a.v1", "leaf_a.v1.png"), entry("leaf_b", "leaf_b.png")]
    result = load(tmp_path, stems, ResultIds(category_map="order"))
    assert found(result) == [(10, 1), (11, 1)]
    assert len(result.notes) == 1
    numbers = [entry(139, "000000000139.jpg"), entry(285, "000000000285.jpg")]
    assert found(load(tmp_path, numbers, ResultIds(category_map={0: 3}), NUMBERED)) == [(1, 3), (2, 3)]


def test_detectron2_and_mmdetection(tmp_path: Path) -> None:
    """Both write the ids of the annotations; nothing is noted."""
    result = load(tmp_path, [record(10, 3, bbox=[1.0, 1.0, 3.0, 2.0]), record(11, 4, bbox=[1.0, 1.0, 3.0, 2.0])])
    assert found(result) == [(10, 3), (11, 4)]
    assert result.notes == []


def test_torchvision_references(tmp_path: Path) -> None:
    """Run lengths whose counts were bytes, written by json's default=str or decoded."""
    shown = {**RLE, "counts": repr(RLE["counts"].encode())}
    result = load(tmp_path, [record(10), record(11, segmentation=shown)])
    assert found(result) == [(10, 1), (11, 1)]
    assert result.notes == [
        "1 of 2 records have a segmentation in another form than COCO's (the counts b'...' of Python's bytes)"
    ]


def whole(categories: list[dict[str, Any]], ids: tuple[int, int] = (10, 11), **changes: Any) -> dict[str, Any]:
    names = ["leaf_a.v1.png", "leaf_b.png"]
    return {
        "images": [{"id": i, "file_name": f"plate/{name}"} for i, name in zip(ids, names, strict=True)],
        "categories": categories,
        "annotations": [record(i, 7, segmentation=POLYGON, area=6, iscrowd=0) | changes for i in ids],
    }


@pytest.mark.parametrize("ids", [(10, 11), (0, 1), (11, 10)])
def test_a_whole_coco_file_is_matched_by_names(ids: tuple[int, int], tmp_path: Path) -> None:
    result = load(tmp_path, whole([{"id": 7, "name": "stem"}], ids))
    assert found(result) == [(10, 3), (11, 3)]
    assert result.polygons
    assert any("matched by their names" in note for note in result.notes)
    assert any("file names" in note for note in result.notes) == (ids != (10, 11))


def whole_of(*names: str) -> dict[str, Any]:
    """Write a file of images with ids from 1, and a record of each, whose score tells it apart."""
    return {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names, 1)],
        "categories": [{"id": 1, "name": "leaf"}],
        "annotations": [record(number) for number in range(1, len(names) + 1)],
    }


def test_a_prediction_of_more_images_than_are_annotated(tmp_path: Path) -> None:
    """Its ids count its own images: they fit those of the annotations, and mean others."""
    images = [ImageInfo(1, "b.png", *SIZE), ImageInfo(2, "d.png", *SIZE), ImageInfo(3, "e.png", *SIZE)]
    result = load(tmp_path, whole_of("a.png", "b.png", "c.png", "d.png"), images=images)
    assert found(result) == [(1, 1), (2, 1)]
    note = "2 records of 2 images that the annotations lack left out ('a.png', 'c.png')"
    assert note in result.notes
    assert "images are matched by their file names, not by ids (2, 4)" in result.notes
    only = load(tmp_path, whole_of("a.png", "b.png") | {"annotations": [record(1)]}, images=images)
    assert (found(only), only.notes) == ([], ["1 record of 1 image that the annotations lack left out ('a.png')"])


def test_images_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    images = [ImageInfo(1, "a.png", *SIZE), ImageInfo(2, "b.png", *SIZE)]
    with pytest.raises(SegtrainError, match=r"'train/a\.png', 'val/a\.png' both fit a\.png of the annotations"):
        load(tmp_path, whole_of("train/a.png", "val/a.png"), images=images)
    assert found(load(tmp_path, whole_of("b.png", "a.tif", "a.png"), images=images)) == [(2, 1), (1, 1)]
    result = load(tmp_path, whole_of("a.png", "a.tif"), images=images)  # the same ids, and another name
    assert found(result) == [(1, 1), (2, 1)]
    assert result.notes == ["1 image of other names than in the annotations matched by id ('a.tif')"]


def test_annotations_without_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match="no record has a score: these are annotations"):
        load(tmp_path, whole([{"id": 7, "name": "stem"}], score=None))


@pytest.mark.parametrize(
    "names",
    [
        ("plate/leaf_a.v1.png", "plate/leaf_b.png"),
        ("plate\\leaf_a.v1.png", "plate\\leaf_b.png"),
        ("leaf_a.v1.png", "leaf_b.png"),
        ("leaf_a.v1", "leaf_b"),
        ("/data/images/leaf_a.v1.jpg", "/data/images/leaf_b.jpg"),
    ],
)
def test_names_are_found_in_any_form(names: tuple[str, str], tmp_path: Path) -> None:
    result = load(tmp_path, [record(name) for name in names])
    assert found(result) == [(10, 1), (11, 1)]
    assert result.notes == [f"image ids are matched as file names ('{names[0]}', '{names[1]}')".replace("\\", "\\\\")]


def test_a_name_of_two_images_is_none(tmp_path: Path) -> None:
    images = [*IMAGES, ImageInfo(12, "other/leaf_b.png", *SIZE)]
    with pytest.raises(SegtrainError, match="1 of 2 records has an unknown image id"):
        load(tmp_path, [record("leaf_a.v1"), record("leaf_b")], images=images)
    assert found(load(tmp_path, [record("other/leaf_b.png")], images=images)) == [(12, 1)]


def test_ids_as_text(tmp_path: Path) -> None:
    result = load(tmp_path, [record("10", "3"), record("11", "4")])
    assert found(result) == [(10, 3), (11, 4)]
    assert result.notes == ["image ids are text ('10', '11')", "category ids are text or decimal numbers ('3', '4')"]


# Here the numbers in the names are the ids of other images.
CROSSED = [ImageInfo(1, "2.png", *SIZE), ImageInfo(2, "1.png", *SIZE)]


def test_numbers_that_fit_twice_are_ids_and_said_so(tmp_path: Path) -> None:
    result = load(tmp_path, [record(1), record(2, 3)], images=CROSSED)
    assert found(result) == [(1, 1), (2, 3)]
    assert any("images_by: name" in note for note in result.notes)
    assert found(load(tmp_path, [record(1), record(2, 3)], ResultIds(images_by="name"), CROSSED)) == [(2, 1), (1, 3)]
    quiet = load(tmp_path, [record(1), record(2, 3)], ResultIds(images_by="id"), CROSSED)
    assert (found(quiet), quiet.notes) == ([(1, 1), (2, 3)], [])
    result = load(tmp_path, [record(1, file_name="1.png"), record(2, 3, file_name="2.png")], images=CROSSED)
    assert found(result) == [(2, 1), (1, 3)]  # file names are beyond doubt


def test_text_that_fits_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match="fit as ids, and as names of other images; give images_by: id"):
        load(tmp_path, [record("1"), record("2")], images=CROSSED)


def test_an_offset_is_named_and_applied(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match=r"theirs\.json, image_id_offset: 1\}' would fit"):
        load(tmp_path, [record(9), record(10)])
    assert found(load(tmp_path, [record(9), record(10)], ResultIds(image_id_offset=1))) == [(10, 1), (11, 1)]
    with pytest.raises(SegtrainError, match=r"image_id_offset: -90\}' would fit"):
        load(tmp_path, [record(100), record(101)])
    with pytest.raises(SegtrainError, match="2 of 2 records have unknown image ids") as error:
        load(tmp_path, [record(9), record(99)], ResultIds(image_id_offset=5))
    assert "would fit" not in str(error.value)


def test_a_map_of_categories_is_named_and_applied(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match=r"category_map: \{0: 1, 1: 3, 2: 4\}\}' would fit"):
        load(tmp_path, [record(10, 0), record(11, 2)])
    for ids in (ResultIds(category_map={0: 1, "2": "root"}), ResultIds(category_map="order")):
        assert found(load(tmp_path, [record(10, 0), record(11, 2)], ids)) == [(10, 1), (11, 4)]
    with pytest.raises(
        SegtrainError, match=r"category_map: 2 is no category of the annotations, which have 1 \(leaf\)"
    ):
        load(tmp_path, [record(10, 0)], ResultIds(category_map={0: 2}))
    with pytest.raises(SegtrainError, match="no such category in the annotations: 5"):
        load(tmp_path, [record(10, 5)], ResultIds(category_map={0: 1}))
    many = [Category(i, f"c{i}") for i in range(1, 30, 2)]
    with pytest.raises(SegtrainError, match=r"category_map: order\}' would fit"):
        load(tmp_path, [record(10, 0), record(11, 14)], categories=many)
    with pytest.raises(SegtrainError, match=r"category_map: order_from_1\}' would fit"):
        load(tmp_path, [record(10, 1), record(11, 15), record(11, 2)], categories=many)
    with pytest.raises(SegtrainError, match=r"category_map: \{1: 1, 2: 3, 3: 4\}\}' would fit"):
        load(tmp_path, [record(10, 2), record(11, 3)])
    ids = ResultIds(category_map="order_from_1")
    assert found(load(tmp_path, [record(10, 2), record(11, 3)], ids)) == [(10, 3), (11, 4)]


@pytest.mark.parametrize(
    "named",
    [
        {"category_name": "stem"},
        {"category": "stem"},
        {"category": {"id": 9, "name": "stem"}},
        {"category_id": "stem"},
        {"category_name": "stem", "category_id": 0},
        {"category_name": "stem", "category_id": 1},  # an id that counts from 0
    ],
    ids=str,
)
def test_categories_by_name(named: dict[str, Any], tmp_path: Path) -> None:
    entry = {key: value for key, value in record(10).items() if key != "category_id"} | named
    result = load(tmp_path, [entry])
    assert found(result) == [(10, 3)]
    assert result.notes == ["categories are matched by their names ('stem')"]


def test_foreign_names_ask_for_a_map(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match=r"category_map: \{blade: ID\}"):
        load(tmp_path, [record(10, "blade")])
    assert found(load(tmp_path, [record(10, "blade")], ResultIds(category_map={"blade": "leaf"}))) == [(10, 1)]


def test_no_category_at_all_is_class_agnostic(tmp_path: Path) -> None:
    result = load(tmp_path, [{"image_id": 10, "segmentation": RLE, "score": 1}])
    assert (found(result), result.class_aware) == ([(10, -1)], False)
    assert result.notes == ["no record names a category; only class-agnostic scores can be computed"]


def test_one_more_than_the_largest_id_stands_for_none(tmp_path: Path) -> None:
    result = load(tmp_path, [record(10, 5), record(11, 5)])
    assert (found(result), result.class_aware) == ([(10, -1), (11, -1)], False)
    assert result.notes == ["all records have the category id 5, which stands for none; only class-agnostic scores"]
    with pytest.raises(SegtrainError, match="no such category"):  # not in all records
        load(tmp_path, [record(10, 5), record(11, 1)])
    with pytest.raises(SegtrainError, match="no such category"):  # one category is nothing to leave out
        load(tmp_path, [record(10, 2)], categories=CATEGORIES[:1])


@pytest.mark.parametrize(("categories", "expected"), [(CATEGORIES, (-1, False)), ([Category(5, "leaf")], (5, True))])
def test_a_whole_file_of_objects_alone_has_no_category(
    categories: list[Category], expected: tuple[int, bool], tmp_path: Path
) -> None:
    """As predict writes it for a classical method."""
    images = [{"id": 1, "file_name": "leaf_a.v1.png", "height": 6, "width": 8}]
    content = {"images": images, "annotations": [record(1, 1)], "categories": [{"id": 1, "name": "object"}]}
    result = load(tmp_path, content, categories=categories)
    assert (found(result), result.class_aware) == ([(10, expected[0])], expected[1])
    assert "the category 'object' of the file stands for any" in result.notes


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"score": "0.9"}, "a score as text or in a list"),
        ({"score": [0.9]}, "a score as text or in a list"),
        ({"score": None, "confidence": 0.9}, "a confidence in place of a score"),
        ({"bbox": ["1", 1, 3, "2"]}, "a box in another form"),
        ({"segmentation": POLYGON[0]}, r"a segmentation in another form than COCO's \(one flat list\)"),
        ({"segmentation": [RLE]}, r"a segmentation in another form than COCO's \(a list around run lengths\)"),
    ],
    ids=str,
)
def test_values_in_other_forms_are_read_and_noted(changes: dict[str, Any], note: str, tmp_path: Path) -> None:
    usual = {"bbox": [1.0, 1.0, 3.0, 2.0]} if "bbox" in changes else {}
    result = load(tmp_path, [record(10, **usual), record(11, **changes)])
    assert found(result) == [(10, 1), (11, 1)]
    assert result.masks is not None
    assert [mask["score"] for mask in result.masks] == [0.9, 0.9]
    assert len(result.notes) == 1
    assert note.replace("\\", "") in f"1 of 2 records have {result.notes[0].removeprefix('1 of 2 records have ')}"
