"""Categories of two data sets: matched by name, whatever their ids and order."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.data.check.command import main as check
from segtrain.data.coco.category_names import learned_categories, match_categories, with_learned_categories
from segtrain.data.coco.index import CocoIndex
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.records import Category
from tests.data.test_splits import open_with, root, write  # noqa: F401 - a fixture

Data = Path


def rename(path: Path, categories: list[tuple[int, str]], label: Any = None) -> None:
    """Replace the categories of a json; its annotations get the ids in turn, or all this one."""
    content = json.loads(path.read_text())
    content["categories"] = [{"id": identifier, "name": name} for identifier, name in categories]
    for number, annotation in enumerate(content["annotations"]):
        annotation["category_id"] = categories[number % len(categories)][0] if label is None else label
    path.write_text(json.dumps(content))


def named(split: Split) -> list[tuple[int, str]]:
    """The image and the category of each object."""
    index = split.index
    return [
        (image.id, index.categories[label - 1].name)
        for place, image in enumerate(index.images)
        for label in index.objects(place)[0].tolist()
    ]


def load(path: Path) -> CocoIndex:
    from segtrain.data.check.load import load_index

    return load_index(path)


@given(st.permutations(range(5)), st.permutations(range(5)), st.integers(0, 5))
def test_names_are_matched_in_any_order(names: list[int], order: list[int], count: int) -> None:
    own = [Category(10 * place + 1, f" class {number}") for place, number in enumerate(order[:count])]
    match = match_categories([f"class {number}" for number in names], own)
    assert [category.name.strip() for category in match.categories] == [f"class {number}" for number in names]
    assert len({category.id for category in match.categories}) == 5
    assert {category.id for category in own} == {c.id for c in match.categories} - {c.id for c in match.lacking}
    assert not match.unknown


def test_a_name_that_occurs_twice_is_matched_only_where_both_lists_are_equal() -> None:
    twice = [Category(1, "a"), Category(2, "a")]
    assert match_categories(["a", "a"], twice).categories == twice
    match = match_categories(["a", "b"], [*twice, Category(3, "b")])
    assert [category.name for category in match.lacking] == ["a"]
    assert match.unknown == twice


def test_validation_gets_the_labels_of_training(root: Data, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    rename(root / "train.json", [(1, "a"), (2, "b")])
    rename(root / "val.json", [(1, "b "), (7, "a")])
    with caplog.at_level("INFO"):
        splits = open_with(root)
    assert [category.name for category in splits["val"].index.categories] == ["a", "b"]
    assert named(splits["val"]) == [(number, "ba"[number % 2]) for number in range(5)]
    assert "with another id in validation: 2, first 'a': 1 in training, 7 in validation; matched by name" in caplog.text


def test_validation_may_lack_a_category(root: Data, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    rename(root / "train.json", [(1, "a"), (2, "b")])
    rename(root / "val.json", [(9, "b")])
    with caplog.at_level("INFO"):
        index = open_with(root)["val"].index
    assert [category.name for category in index.categories] == ["a", "b"]
    assert {name for _, name in named(Split("val", index, None))} == {"b"}
    assert "category of training that validation lacks: 1, category 1 ('a')" in caplog.text


@pytest.mark.parametrize(
    ("name", "said"),
    [("c", "5 annotations of 'c' in val.json;"), ("B", "which has 'b': the names differ only in case or spaces")],
)
def test_training_must_not_lack_a_category_of_validation(root: Data, name: str, said: str) -> None:  # noqa: F811
    write(root / "val.json", list(range(5)), names=("a", name), category_id=2)
    with pytest.raises(SegtrainError, match=said) as caught:
        open_with(root)
    assert "name it in the categories of training" in str(caught.value)
    write(root / "val.json", list(range(5)), names=("a", "b", name))  # without annotations
    assert [category.name for category in open_with(root)["val"].index.categories] == ["a", "b"]


def test_the_check_compares_the_categories(root: Data, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    arguments = [str(root / "train.json"), str(root / "train"), "--against", str(root / "val.json"), "--json"]
    check(arguments)
    before = {issue["kind"] for issue in json.loads(capsys.readouterr().out)["findings"]}
    assert {kind for kind in before if kind.startswith("category-")} == {"category-unused"}
    rename(root / "val.json", [(4, "a"), (5, "c"), (6, "d")], label=5)
    assert check(arguments) == 1
    found = {issue["kind"]: issue for issue in json.loads(capsys.readouterr().out)["findings"]}
    kinds = {kind: issue["severity"] for kind, issue in found.items() if kind.startswith("category-")}
    assert kinds == {
        "category-not-learned": "error",
        "category-not-validated": "note",
        "category-left-out": "note",
        "category-other-id": "note",
        "category-unused": "note",
    }
    assert found["category-not-learned"]["examples"] == ["5 annotations of 'c' in val.json"]


def test_a_network_and_data(root: Data) -> None:  # noqa: F811
    index = load(root / "val.json")  # a: 1, b: 2; all objects are of a
    assert learned_categories(["b", "a", "x"], index) == [*index.categories[::-1], Category(3, "x")]
    assert learned_categories(["a"], index) == index.categories[:1]  # b has no object
    assert learned_categories(["b", "x"], index) is None
    assert learned_categories(["x"], index) is None
    assert with_learned_categories(["b", "x"], index) is index
    assert [category.id for category in with_learned_categories(["x", "a", "y"], index).categories] == [1, 2, 3, 4]
