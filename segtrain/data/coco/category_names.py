"""Categories of two data sets, or of a network and a data set, matched by their names."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.io import printable
from segtrain.records import Category


@dataclass(frozen=True)
class CategoryMatch:
    """Categories of a data set by the names that a network has learned.

    Attributes:
        categories: category of each name; a new one, with an id above all others, for a name that the data lack.
        lacking: the new ones among these categories.
        unknown: categories of the data that have none of the names.
    """

    categories: list[Category]
    lacking: list[Category]
    unknown: list[Category]


def match_categories(names: Sequence[str], categories: Sequence[Category]) -> CategoryMatch:
    """Match categories by name, whatever their ids and order; spaces around a name are ignored.

    Args:
        names: learned names, in the order of the labels 1..K.
        categories: categories of a data set. A name that occurs twice in either list is not matched, unless both lists
            hold the same names in the same order.

    >>> match = match_categories(["b", "a", "c"], [Category(1, "a"), Category(7, "b ")])
    >>> [category.id for category in match.categories], [category.name for category in match.lacking]
    ([7, 1, 8], ['c'])
    """
    given, own = _trimmed(names), _trimmed(category.name for category in categories)
    if given == own:
        return CategoryMatch(list(categories), [], [])
    repeated = {name for name, count in (Counter(given) | Counter(own)).items() if count > 1}
    by_name = {name: category for name, category in zip(own, categories, strict=True) if name not in repeated}
    free = max((category.id for category in categories), default=0) + 1
    lacking: list[Category] = []
    matched: list[Category] = []
    for name, trimmed in zip(names, given, strict=True):
        if trimmed not in by_name:
            lacking.append(Category(free + len(lacking), name))
        matched.append(by_name[trimmed] if trimmed in by_name else lacking[-1])
    unknown = [category for category in categories if category not in matched]
    return CategoryMatch(matched, lacking, unknown)


def compare_categories(learned: CocoIndex, other: CocoIndex) -> Issues:
    """Find the categories in which a validation set differs from the training set.

    Args:
        learned: index of the training set.
        other: index of the validation set.
    """
    issues = Issues()
    names = [category.name for category in learned.categories]
    match = match_categories(names, other.categories)
    counts = _annotations(other)
    for category in match.unknown:
        count, name = counts[category.id], _quoted(category.name)
        if count:
            what = f"{count:,} annotation{'s' * (count > 1)} of {name}"
            issues.add("category-not-learned", f"{what} in {other.path.name}{describe_nearest(category.name, names)}")
        else:
            issues.add("category-left-out", f"category {category.id} ({name})")
    lacking = {category.id for category in match.lacking}
    for mine, theirs in zip(learned.categories, match.categories, strict=True):
        if theirs.id in lacking:
            issues.add("category-not-validated", f"category {mine.id} ({_quoted(mine.name)})")
        elif mine.id != theirs.id:
            issues.add("category-other-id", f"{_quoted(mine.name)}: {mine.id} in training, {theirs.id} in validation")
    return issues


def with_labels_of(learned: CocoIndex, other: CocoIndex) -> CocoIndex:
    """Return a validation set with the categories and labels of the training set.

    Args:
        learned: index of the training set.
        other: index of the validation set; annotations of categories that training lacks become unusable.
    """
    names = [category.name for category in learned.categories]
    if _trimmed(names) == _trimmed(category.name for category in other.categories):
        return other
    match = match_categories(names, other.categories)
    label_of = {category.id: label for label, category in enumerate(match.categories, start=1)}
    labels = np.array([0, *(label_of.get(category.id, 0) for category in other.categories)], dtype=np.int32)
    rows = other.annotations.rows.copy()
    rows["label"] = labels[rows["label"]]
    rows["usable"] &= rows["label"] > 0
    return replace(other, categories=list(learned.categories), annotations=other.annotations.with_rows(rows))


def learned_categories(names: Sequence[str], index: CocoIndex) -> list[Category] | None:
    """Find the category of each of a network's labels 1..K in a data set.

    Args:
        names: names of the labels.
        index: index of the data set.

    Returns:
        The categories; new ones, with ids above all others, for names that the data lack. None if the data have
        annotations of a category that the network does not know, or none of its categories.
    """
    match = match_categories(names, index.categories)
    counts = _annotations(index)
    foreign = any(counts[category.id] for category in match.unknown) or len(match.lacking) == len(names)
    return None if foreign else match.categories


def with_learned_categories(names: Sequence[str], index: CocoIndex) -> CocoIndex:
    """Add the categories that a network has learned and a data set lacks; they have no objects.

    Args:
        names: names of the network's labels.
        index: index of the data set; returned unchanged if the network has learned none of its categories, or lacks one
            that has annotations.
    """
    categories = learned_categories(names, index)
    lacking = [] if categories is None else match_categories(names, index.categories).lacking
    return replace(index, categories=[*index.categories, *lacking]) if lacking else index


def describe_nearest(name: str, names: Sequence[str]) -> str:
    """Return a hint to one of some names that differs from a name only in case or spaces; empty if there is none.

    >>> describe_nearest("cell wall", ["Cell  wall", "debris"])
    ", which has 'Cell  wall': the names differ only in case or spaces"
    """
    alike = [own for own in names if loose_name(own) == loose_name(name) and own.strip() != name.strip()]
    return f", which has {_quoted(alike[0])}: the names differ only in case or spaces" if alike else ""


def loose_name(name: str) -> str:
    """Return a name without case and spaces, to compare names that a typist may have confused."""
    return "".join(name.casefold().split())


def _annotations(index: CocoIndex) -> dict[int, int]:
    """Count the usable annotations of each category, crowds included, by category id."""
    rows = index.annotations.rows
    counts = np.bincount(rows["label"][rows["usable"]], minlength=len(index.categories) + 1)
    return {category.id: int(counts[label]) for label, category in enumerate(index.categories, start=1)}


def _trimmed(names: Iterable[str]) -> list[str]:
    return [name.strip() for name in names]


def _quoted(name: str) -> str:
    return f"'{printable(name)}'"
