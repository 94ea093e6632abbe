"""The two evaluations of a comparison: their results, their true objects, and the detections beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segtrain.benchmark.results import Results
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.result_file import load_results
from segtrain.data.open_data import open_annotations
from segtrain.data.splits import Split, fingerprint_of, same_contents
from segtrain.errors import SegtrainError
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.records import Category

_ADVICE = "name the annotations with --annotations FILE"


@dataclass(frozen=True)
class Side:
    """An evaluation.

    Attributes:
        path: path of its ``results.json``.
        results: content of the file.
    """

    path: Path
    results: Results

    @classmethod
    def load(cls, path: Path) -> "Side":
        """Read an evaluation.

        Args:
            path: path of a ``results.json``, or of a folder that holds one.

        Raises:
            SegtrainError: the file is missing, or no ``results.json`` of this version.
        """
        file = path / "results.json" if path.is_dir() else path
        return cls(file, Results.load(file))

    @property
    def categories(self) -> list[Category]:
        """Categories of the data, those that only a network knows included."""
        return [Category(own.id, own.name) for own in self.results.data.categories]

    def truth(self, index: CocoIndex) -> GroundTruthSet:
        """Collect the true objects, with the categories of this evaluation.

        Args:
            index: the evaluated annotations.
        """
        found = GroundTruthSet.of(index)
        return GroundTruthSet(self.categories, found.sizes, found.truths)

    def detections(self, name: str, index: CocoIndex) -> Detections:
        """Read the detections of a method from the files beside the results.

        Args:
            name: name of the method.
            index: the evaluated annotations.

        Raises:
            SegtrainError: a file is missing, or does not belong to these images.
        """
        row, folder = self.results.methods[name], self.path.parent / "predictions"
        masks, boxes = folder / f"{name}.json", folder / f"{name}.bbox.json"
        needed = masks if row.has_masks else boxes
        if not needed.is_file():
            raise SegtrainError(f"{needed}: no such file; copy the folder predictions as well as results.json")

        found = {
            path: load_results(path, images=index.images, categories=self.categories, merged=index.merged)
            for path in (masks, boxes)
            if path.is_file()
        }
        return Detections(
            found[masks].masks if row.has_masks else None,
            found[boxes].boxes if boxes in found else None,
            row.class_aware is not None,
            row.score_threshold,
            category_thresholds={
                own.id: row.category_thresholds[own.name]
                for own in self.categories
                if own.name in row.category_thresholds
            },
        ).by_column()


def same_data(first: Side, second: Side) -> bool | None:
    """Return whether two evaluations are of the same images and true objects; None if one does not tell enough."""
    one, other = first.results.data, second.results.data
    if (one.images, one.used, one.crowd) != (other.images, other.used, other.crowd):
        return False
    if one.contents is None or other.contents is None:  # made by an earlier version
        return None
    return same_contents(one.contents, other.contents)


def read_data(first: Side, second: Side, annotations: Path | None) -> Split:
    """Read the data that two evaluations have in common, from the place that one of them states.

    Args:
        first: an evaluation.
        second: another one of the same data.
        annotations: file to read in place of the one that they state; None for that.

    Raises:
        SegtrainError: the annotations are not found, or have changed since then.
    """
    problems = []
    for side in (second, first):
        try:
            return _read(side, annotations)
        except SegtrainError as error:
            problems.append(str(error))
    raise SegtrainError(problems[0])


def _read(side: Side, annotations: Path | None) -> Split:
    source = side.results.data.source
    if source is None:
        raise SegtrainError(f"{side.path}: does not state where its data are; evaluate again")
    settings = dict(source.settings)
    key = "train_annotations" if settings["val_annotations"] is None else "val_annotations"
    if annotations is not None:
        settings[key] = str(annotations.absolute())
    try:
        split = open_annotations(settings, source.image_ids)
    except (SegtrainError, OSError) as error:
        raise SegtrainError(f"its annotations cannot be read again ({error}); {_ADVICE}") from error
    known = side.results.data.contents
    if known is None or not same_contents(known, fingerprint_of(split)):
        how = "has changed since" if annotations is None else "holds other data than"
        raise SegtrainError(f"{split.index.path}: {how} {side.path}; {_ADVICE}")
    return split


def differing_facts(first: Side, second: Side) -> Mapping[str, tuple[str, str]]:
    """List the versions, settings and facts about the data in which two evaluations differ.

    Args:
        first: an evaluation.
        second: another one.
    """
    facts = [_facts(side) for side in (first, second)]
    keys = dict.fromkeys(key for own in facts for key in own)
    values = {key: (facts[0].get(key, "–"), facts[1].get(key, "–")) for key in keys}
    return {key: pair for key, pair in values.items() if pair[0] != pair[1]}


def _facts(side: Side) -> dict[str, str]:
    results, data = side.results, side.results.data
    own = {key: str(value) for key, value in results.environment.items() if key != "date"}
    thresholds = {f"score threshold of {name}": f"{row.score_threshold:.4g}" for name, row in results.methods.items()}
    return {
        "annotations": data.annotations_file,
        "images": str(data.images),
        "objects": str(data.used),
        "detections per image": str(data.max_dets),
        **thresholds,
        **own,
    }
