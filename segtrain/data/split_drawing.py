"""Random validation splits: stratified by category, grouped by a field, written as COCO files of their own."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.check.copies import join_groups
from segtrain.data.coco.ids import Ids, as_whole_number
from segtrain.data.coco.index import CategoryCounts, CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.json_file import decode_leniently, read_strictly
from segtrain.data.coco.record_tables import names_of_files
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically

logger = logging.getLogger(__name__)
T = TypeVar("T")
_FIELDS_LISTED = 20
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
# Gain in squared deviation below which no unit is moved: about that of a category whose share is 0.3 % off.
_NEGLIGIBLE = 1e-5


class _Images(msgspec.Struct):
    images: list[msgspec.Raw]


def image_field(path: Path, field: str, places: Sequence[int]) -> list[str | float]:
    """Read the values of a field of a file's images.

    Args:
        path: COCO json.
        field: a key of the entries of ``images``; ``extra.patient`` is the key ``patient`` within ``extra``.
        places: positions of the entries to read.

    Returns:
        Value of each of these entries.

    Raises:
        SegtrainError: no image has the field, an image lacks it, or a value is neither text nor a number.
    """
    raws = _decode(path, read_strictly(path)[0], _Images).images
    entries = [_decode(path, raws[place], dict[str, Any]) for place in places]
    values = [_value(entry, field) for entry in entries]
    missing = [entry for entry, value in zip(entries, values, strict=True) if value is None]
    if len(missing) == len(entries):
        there = sorted({name for entry in entries for name in _fields(entry)})
        more = ", ..." if len(there) > _FIELDS_LISTED else ""
        raise SegtrainError(
            f"{path}: no image has the field {field!r} that data.split_by names; there are "
            f"{', '.join(there[:_FIELDS_LISTED])}{more}"
        )
    if missing:
        raise SegtrainError(
            f"{path}: image {missing[0].get('id')} has no {field!r}, which data.split_by names ({len(missing)} of "
            f"{len(entries)} images lack it); add it to the json"
        )
    for entry, value in zip(entries, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise SegtrainError(
                f"{path}: the {field!r} of image {entry.get('id')} is neither text nor a number, as data.split_by "
                "needs it; correct it, or choose another field"
            )
    return values


def write_split(source: Path, val: Collection[int], folder: Path) -> None:
    """Write a split of a file as two complete COCO files, ``train.json`` and ``val.json``.

    Entries are copied byte by byte, and both files hold everything but images and annotations. Annotations follow
    their image; those of an unknown image go to the training file.

    Args:
        source: COCO json.
        val: positions in ``images`` of the validation images; all others are training images.
        folder: folder of the two files; created if it does not exist.

    Raises:
        SegtrainError: the file is not COCO json.
    """
    root = _decode(source, read_strictly(source)[0], dict[str, msgspec.Raw])
    images, names = (_read_key(source, root["images"], key) for key in ("id", "file_name"))
    originals = _originals(images, names)
    chosen = {originals[position] for position in val}
    ids = Ids(images, "image", Issues())
    ids.take_names(lambda: names_of_files(names))
    owners, _ = ids.find_all(_read_key(source, root["annotations"], "image_id"))
    sides = {
        "images": [position in chosen for position in originals],
        "annotations": [owner >= 0 and originals[owner] in chosen for owner in owners.tolist()],
    }
    for name, side in (("train", False), ("val", True)):
        write_atomically(folder / f"{name}.json", _assemble(source, root, sides, side))


def _assemble(source: Path, root: Mapping[str, msgspec.Raw], sides: Mapping[str, list[bool]], side: bool) -> bytes:
    """Write the file's content with those entries of each list that belong to this side."""
    parts: list[bytes | msgspec.Raw] = []
    for key, value in root.items():
        parts += [b",\n" if parts else b"{", msgspec.json.encode(key), b": "]
        if key in sides:
            entries = _decode(source, value, list[msgspec.Raw])
            kept = (entry for entry, its in zip(entries, sides[key], strict=True) if its is side)
            parts.append(b"[")
            # Joined only once, at the end: the lists are most of the file.
            for number, entry in enumerate(kept):
                parts += [b",\n", entry] if number else [entry]
            parts.append(b"]")
        else:
            parts.append(value)
    return b"".join([*parts, b"}\n"])


def _originals(identifiers: Sequence[Any], names: Sequence[Any]) -> list[int]:
    """Find the position of the image that each one repeats, or its own; both must be in the same split."""
    first: dict[str, int] = {}
    keys = (repr(pair) for pair in zip(identifiers, names, strict=True))
    return [first.setdefault(key, position) for position, key in enumerate(keys)]


def _read_key(path: Path, entries: msgspec.Raw, key: str) -> list[Any]:
    """Read one key of each entry; None for entries that are no objects."""
    kind = msgspec.defstruct("_Entry", [(key, msgspec.Raw, msgspec.Raw(b""))], gc=False)
    decoder = msgspec.json.Decoder(kind)
    found = []
    for entry in _decode(path, entries, list[msgspec.Raw]):
        try:
            found.append(decode_leniently(bytes(getattr(decoder.decode(entry), key))))
        except (ValueError, RecursionError):
            found.append(None)
    return found


def _decode(path: Path, content: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:
        raise SegtrainError(f"{path}: cannot be split ({error}); export it again as COCO json") from error


def _value(entry: Mapping[str, Any], field: str) -> Any:
    """Return the value at a dotted path; None if there is none."""
    key, _, rest = field.partition(".")
    value = entry.get(key)
    if not rest:
        return value
    return _value(value, rest) if isinstance(value, Mapping) else None


def _fields(entry: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted paths of all fields that ``_value`` can read."""
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def stratified(
    counts: CategoryCounts, ids: _Ints, fraction: float, seed: int, groups: _Ints | None = None
) -> npt.NDArray[np.bool_]:
    """Draw the images of a validation split, stratified by category.

    Iterative stratification: units (images or groups of images) are assigned one by one, those of the category with the
    fewest remaining units first, each to the split that lacks it more. The lack is measured in objects, since units
    hold several, and over all categories of the unit; images, and images without objects, count as two more categories.
    Then single units change sides as long as this moves the shares closer to the fraction, or adds a category to a
    split without it.

    Args:
        counts: number of true objects of each image and category.
        ids: (N,) ids of the images, unique; they determine the order, so the order in the file does not matter.
        fraction: share of the validation split, in (0, 1).
        seed: seed of the draw, not negative.
        groups: (N,) group of each image, at least two different ones; a group stays in one split. None to draw each
            image by itself.

    Returns:
        (N,), true for validation; neither all nor none. A category of several units is in both splits, unless every
        move that would add it to one removes another category.

    Source: K. Sechidis, G. Tsoumakas, I. Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD 2011.

    >>> labels = np.array([1, 1, 1, 1, 2, 2])  # one object in each of six images
    >>> counts = CategoryCounts(images=np.arange(6), labels=labels, objects=np.ones(6, np.int64))
    >>> val = stratified(counts, np.arange(6), 0.5, seed=0)
    >>> sorted(labels[val].tolist())
    [1, 1, 2]
    """
    unit = np.unique(ids if groups is None else _by_smallest(groups, ids), return_inverse=True)[1]
    unit = np.random.default_rng(seed).permutation(unit.max() + 1)[unit]
    pairs = _Pairs.of(counts, unit)
    chosen = _give_away(pairs, fraction)
    _improve(pairs, fraction, chosen)
    return chosen[unit]


def _by_smallest(groups: _Ints, ids: _Ints) -> _Ints:
    """Identify each image's group by the smallest image id in it."""
    group = np.unique(groups, return_inverse=True)[1]
    smallest = np.full(group.max() + 1, ids.max())
    np.minimum.at(smallest, group, ids)
    return smallest[group]


@dataclass(frozen=True)
class _Pairs:
    """Amount of each class in each unit; classes are the categories, images, and images without objects.

    Attributes:
        units: (P,) number of each pair's unit, not decreasing; every unit occurs.
        classes: (P,) number of each pair's class; 0 for images.
        shares: (P,) share of all objects of the class that the unit holds, in (0, 1].
    """

    units: _Ints
    classes: _Ints
    shares: _Floats

    @property
    def weights(self) -> _Floats:
        """Weights of the classes, (C,).

        Images weigh as much as all other classes together; otherwise validation would hold more images than its share,
        those with few objects.
        """
        return np.append(float(self.classes.max()), np.ones(self.classes.max()))

    @classmethod
    def of(cls, counts: CategoryCounts, unit: _Ints) -> "_Pairs":
        empty = np.setdiff1d(np.arange(len(unit)), counts.images)
        many = int(counts.labels.max(initial=0)) + 2
        classes = np.concatenate([counts.labels, np.zeros(len(unit), np.int64), np.full(len(empty), many - 1)])
        keys = unit[np.concatenate([counts.images, np.arange(len(unit)), empty])] * many + classes
        numbers = np.concatenate([counts.objects, np.ones(len(unit) + len(empty), np.int64)])
        found, place = np.unique(keys, return_inverse=True)
        held = np.bincount(place, numbers)
        units, classes = np.divmod(found, many)
        return cls(units, classes, held / np.bincount(classes, held)[classes])


def _give_away(pairs: _Pairs, fraction: float) -> npt.NDArray[np.bool_]:
    """Assign every unit to the split that lacks it more; true for validation."""
    count, many = int(pairs.units[-1]) + 1, int(pairs.classes.max()) + 1
    first = np.searchsorted(pairs.units, np.arange(count + 1)).tolist()
    by_class = np.argsort(pairs.classes, kind="stable")
    holders = np.split(pairs.units[by_class], np.searchsorted(pairs.classes[by_class], np.arange(1, many)))
    left = np.array([len(units) or count + 1 for units in holders])
    # Plain lists are faster than arrays in a loop over single numbers.
    classes, shares, weights = pairs.classes.tolist(), pairs.shares.tolist(), pairs.weights.tolist()
    missed = {side: [part] * many for side, part in ((True, fraction), (False, 1 - fraction))}
    given: dict[int, bool] = {}
    while len(given) < count:
        rarest = int(left.argmin())
        for unit in holders[rarest].tolist():
            if unit in given:
                continue
            own = range(first[unit], first[unit + 1])
            # How the weighted sum over classes of (missed share)^2 / (split's share) changes if a split takes the unit.
            val, train = (
                sum(weights[classes[k]] * shares[k] * (shares[k] - 2 * missed[side][classes[k]]) for k in own) / part
                for side, part in ((True, fraction), (False, 1 - fraction))
            )
            given[unit] = val < train
            for k in own:
                missed[val < train][classes[k]] -= shares[k]
            left[pairs.classes[own]] -= 1
        left[rarest] = count + 1
    return np.array([given[unit] for unit in range(count)])


def _improve(pairs: _Pairs, fraction: float, chosen: npt.NDArray[np.bool_]) -> None:
    """Move single units to the other split, the one with the largest gain first, until no move is worth it."""
    units, classes, shares, weights = pairs.units, pairs.classes, pairs.shares, pairs.weights[pairs.classes]
    holders = np.bincount(classes)[classes]
    absence = 2 * pairs.weights.sum() * (holders > 1)  # worse than any deviation
    for _ in range(len(chosen)):
        side = chosen[units]
        held = np.bincount(classes, side)[classes]  # units of validation that hold the class
        here, there = np.where(side, (held, holders - held), (holders - held, held))
        deviation = (np.bincount(classes, shares * side) - fraction)[classes]
        nearer = weights * shares * (np.where(side, 2 * deviation, -2 * deviation) - shares)
        gains = np.bincount(units, nearer + absence * ((there == 0) * 1.0 - (here == 1)))
        best = int(gains.argmax())
        if gains[best] < _NEGLIGIBLE:
            return
        chosen[best] = not chosen[best]


def draw_validation_ids(
    index: CocoIndex, fraction: float, seed: int, split_by: str | None, copies: _Ints | None = None
) -> set[int]:
    """Draw the ids of about a fraction of the images and of each category's objects; see ``stratified``.

    Args:
        index: index of the whole file.
        fraction: share of the validation split, in (0, 1).
        seed: seed of the draw, not negative.
        split_by: field of the file's images; images with the same value stay in one split. None to draw each image by
            itself.
        copies: (N,) group of each image; images of a group stay in one split. None if no image is a copy of another.

    Raises:
        SegtrainError: the fraction leaves one side empty, or the groups do not divide the images.
    """
    if not 0 < fraction < 1:
        raise SegtrainError(f"data.val_fraction={fraction} lies outside (0, 1); give a share such as 0.2")
    if not 0 < round(fraction * len(index.images)) < len(index.images):
        raise SegtrainError(
            f"data.val_fraction={fraction} leaves one split of {index.path} ({len(index.images)} images) empty; "
            "change it, or give data.val_annotations"
        )
    ids = index.images.rows["id"].astype(np.int64)
    groups = copies if split_by is None else _groups(index, split_by)
    if split_by is not None and copies is not None:
        assert groups is not None
        groups = join_groups([groups.tolist(), copies.tolist()])
    if groups is not None and len(np.unique(groups)) < 2:
        raise SegtrainError(
            f"{index.path}: all images are connected, as copies of one picture or by data.split_by, so "
            "data.val_fraction leaves one split empty; give data.val_annotations"
        )
    chosen = stratified(index.category_counts(), ids, fraction, seed, groups)
    return set(ids[chosen].tolist())


def require_known_ids(index: CocoIndex, ids: Collection[int]) -> set[int]:
    """Check that the file holds all images of a split that was drawn before, and return their ids.

    Raises:
        SegtrainError: the file lacks some of them.
    """
    unknown = set(ids) - set(index.images.rows["id"].tolist())
    if unknown:
        raise SegtrainError(
            f"{index.path}: lacks {len(unknown)} of the {len(ids)} validation images of the checkpoint, first id "
            f"{min(unknown)}; give the file that it was trained on, or data.val_annotations"
        )
    return set(ids)


def _groups(index: CocoIndex, field: str) -> npt.NDArray[np.int64]:
    """Number the groups of images with the same value of a field."""
    number: dict[str | float, int] = {}
    groups = [
        number.setdefault(as_whole_number(value) or value, len(number))  # 1, 1.0 and "1" are the same patient
        for value in image_field(index.path, field, index.images.rows["entry"].tolist())
    ]
    if len(number) < 2:
        raise SegtrainError(
            f"{index.path}: all images have the {field} {next(iter(number))!r}, so data.split_by={field} leaves one "
            "split empty; choose another field, or give data.val_annotations"
        )
    return np.array(groups)
