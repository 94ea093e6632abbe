"""The root category that Roboflow adds: left out where nothing has it, and kept otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from segtrain.data.check.fix import write_fixed
from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from tests.data.test_issues import annotation, coco

ROOT = {"id": 0, "name": "cell", "supercategory": "none"}
CELL = {"id": 1, "name": "cell", "supercategory": "cell"}
DEBRIS = {"id": 2, "name": "debris", "supercategory": "cell"}


def load(folder: Path, categories: list[Any], used: tuple[int, ...] = (1, 2, 1)) -> CocoIndex:
    entries = [annotation(id=number, category_id=identifier) for number, identifier in enumerate(used, start=1)]
    path = folder / "coco.json"
    path.write_text(json.dumps(coco(*entries, categories=categories)))
    return load_index(path)


@pytest.mark.parametrize("name", ["cell", "cells-abc"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_root_without_objects_is_left_out(name: str, order: int, tmp_path: Path) -> None:
    categories = [ROOT | {"name": name}, CELL | {"supercategory": name}, DEBRIS | {"supercategory": name}]
    index = load(tmp_path, categories[::order])
    assert [(category.id, category.name) for category in index.categories] == [(1, "cell"), (2, "debris")]
    assert [truth["category_id"] for truth in index.truths(7)] == [1, 2, 1]
    assert index.issues["category-root"].examples == [f"category 0 ('{name}')"]
    assert not index.issues["category-same-name"].count
    fixed = load_index(write_fixed(index, {}, tmp_path / "fixed.json").path)
    assert [category.name for category in fixed.categories] == ["cell", "debris"]
    assert [truth["category_id"] for truth in fixed.truths(7)] == [1, 2, 1]


@pytest.mark.parametrize(
    ("categories", "used"),
    [
        ([ROOT, CELL, DEBRIS], (0, 1, 2)),  # it has an object
        ([ROOT, CELL, DEBRIS | {"supercategory": "dirt"}], (1, 2)),  # not the parent of all
        ([ROOT, CELL | {"supercategory": "none"}, DEBRIS], (1, 2)),  # two without parent
        ([ROOT, CELL | {"supercategory": None}, DEBRIS], (1, 2)),
        ([ROOT | {"supercategory": "cell"}, CELL, DEBRIS], (1, 2)),  # its own parent, as in COCO
        ([{"id": 0, "name": "", "supercategory": ""}, CELL | {"supercategory": ""}], (1,)),
        ([ROOT], (0,)),
    ],
    ids=str,
)
def test_other_categories_are_kept(categories: list[Any], used: tuple[int, ...], tmp_path: Path) -> None:
    index = load(tmp_path, categories, used)
    assert [category.id for category in index.categories] == [category["id"] for category in categories]
    assert [truth["category_id"] for truth in index.truths(7)] == list(used)
    assert not index.issues["category-root"].count
