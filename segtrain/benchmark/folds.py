"""Cross-validations among the evaluated checkpoints: each image is segmented by the network that has not seen it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from segtrain.benchmark.checkpoints import DRAWING, EvaluatedCheckpoint, loads_checkpoint, pools_folds
from segtrain.benchmark.evaluated_runs import methods_of
from segtrain.benchmark.fingerprints import PLACES, digest
from segtrain.benchmark.methods import Advance, Method, TrainedMethod
from segtrain.benchmark.runner import Benchmark
from segtrain.console import counted
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.splits import Split, fingerprint_of, same_contents
from segtrain.errors import SegtrainError
from segtrain.evaluation import Detections, joined
from segtrain.nodes import flat_settings
from segtrain.score_thresholds import ScoreThresholds
from segtrain.training.settings import WITHOUT_EFFECT

if TYPE_CHECKING:
    from segtrain.training.checkpoint import Checkpoint

_IGNORED = ("data.fold", *WITHOUT_EFFECT, *(f"data.{key}" for key in PLACES))  # settings in which folds may differ


@dataclass(frozen=True)
class Folds:
    """Cross-validations whose networks are evaluated together, each on the images that it has not seen.

    Attributes:
        groups: checkpoints of each cross-validation, in the order of their folds.
    """

    groups: Sequence[Sequence[EvaluatedCheckpoint]]

    def check(self, split: Split) -> None:
        """Check that the evaluated images are those that the folds were drawn from.

        Args:
            split: all images of the folds.

        Raises:
            SegtrainError: an image is in no fold, or the images or annotations of a fold have changed.
        """
        present = {image.id for image in split.index.images}
        for group in self.groups:
            if strange := present.difference(*(_own(source).val_ids or () for source in group)):
                raise SegtrainError(
                    f"{split.index.path}: {counted(len(strange), 'image')}, first id {min(strange)}, in no fold of "
                    f"{group[0].path} and the others; evaluate with the file that they were trained on"
                )
            for source in group:
                held = present.intersection(_own(source).val_ids or ())
                fold = replace(split, index=split.index.subset(held))
                known = _own(source).contents.get("val")
                if known is not None and not same_contents(known, fingerprint_of(fold)):
                    raise SegtrainError(
                        f"{source.path}: its fold of {split.index.path} has had other images or annotations; evaluate "
                        "with the data that it was trained on, or train the folds again"
                    )

    def pooled(self, methods: Sequence[Method], segmenters: Mapping[str, Mapping[str, Any]]) -> list[Method]:
        """Replace the methods of the single networks by one method for each cross-validation.

        Args:
            methods: methods of an evaluation, with one for each of the networks.
            segmenters: configuration of the segmenters.
        """
        others: list[Method] = [method for method in methods if not isinstance(method, TrainedMethod)]
        trained = iter([method for method in methods if isinstance(method, TrainedMethod)])
        networks = sum(map(len, self.groups))
        found: list[Method] = []
        for name, node in segmenters.items():
            if loads_checkpoint(node):
                by_path = {_of(method).path: method for method in islice(trained, networks)}
                rows = methods_of(name, node, [group[0] for group in self.groups])
                for row, group in zip(rows, self.groups, strict=True):
                    parts = [by_path[source.path] for source in group]
                    found.append(FoldedMethod(f"{row} ({len(parts)} folds)", parts))
        return [*found, *others]


class FoldedMethod(Method):
    """Networks of a cross-validation, each of which segments the images of the fold that it has not seen.

    The operating point is the mean of theirs. Training costs are those of one network, on average.

    Args:
        name: name of its row.
        parts: method of each network, in the order of the folds.
    """

    def __init__(self, name: str, parts: Sequence[TrainedMethod]) -> None:
        super().__init__(name, parts[0].segmenter, _mean_thresholds([part.thresholds for part in parts]))
        self.checkpoint, self._parts = parts[0].checkpoint, parts
        self._number = {image: n for n, part in enumerate(parts) for image in _own(_of(part)).val_ids or ()}
        self.fingerprint = digest([part.fingerprint for part in parts], sorted(self._number.items()))
        self.costs |= {key: _mean([part.costs.get(key) for part in parts]) for key in parts[0].costs}
        for key in ("training_images", "training_objects"):
            if (mean := self.costs.get(key)) is not None:
                self.costs[key] = round(mean)

    @property
    def networks(self) -> dict[str, EvaluatedCheckpoint]:
        """Checkpoint of each network by its name; see `Method`."""
        return {f"{self.name}, fold {number}": _of(part) for number, part in enumerate(self._parts)}

    def describe(self, evaluated: Split) -> str:
        """Describe the cross-validation and its first network; see `Method`."""
        held = [image.id for image in evaluated.index.images if self._number[image.id] == 0]
        first = self._parts[0].describe(replace(evaluated, index=evaluated.index.subset(held)))
        thresholds = [part.score_threshold for part in self._parts]
        text = f"{len(self._parts)} networks, each on the images of the fold that it has not seen. {first.rstrip('.')}"
        if min(thresholds) < max(thresholds):
            text += f". The score threshold is the mean of theirs, {min(thresholds):.2f} to {max(thresholds):.2f}"
        return text

    def reads_windows(self, size: tuple[int, int]) -> bool:
        """See `Method`."""
        return all(part.reads_windows(size) for part in self._parts)

    @property
    def remedy_for_windows(self) -> str:
        """See `Method`."""
        return self._parts[0].remedy_for_windows

    def most_windows(self, benchmark: Benchmark) -> int:
        """See `Method`."""
        return max(part.most_windows(benchmark) for part in self._parts)

    def notes_on_windows(self, benchmark: Benchmark, max_dets: int) -> list[str]:
        """Give the notes on the first network, which are those on the others too; see `Method`."""
        first = self._parts[0]
        first.detections = self.detections
        notes = first.notes_on_windows(benchmark, max_dets)
        return [f"{self.name}: {note.removeprefix(f'{first.name}: ')}" for note in notes]

    def _segment(self, infos: Sequence[ImageInfo], benchmark: Benchmark, advance: Advance) -> Detections:
        shares = [[info for info in infos if self._number[info.id] == number] for number in range(len(self._parts))]
        held = [(part, own) for part, own in zip(self._parts, shares, strict=True) if own] or [(self._parts[0], [])]
        found = [part._segment(own, benchmark, advance) for part, own in held]
        seconds: dict[str, list[float]] = {}
        for kind in found[0].seconds:
            of_image = {
                info.id: spent
                for (_, own), part in zip(held, found, strict=True)
                for info, spent in zip(own, part.seconds[kind], strict=True)
            }
            seconds[kind] = [of_image[info.id] for info in infos]
        every = joined(found, [info.id for info in infos])
        categories = benchmark.ground_truth.categories
        own_thresholds = self.thresholds.by_id(categories) if every.class_aware else {}
        return replace(every, seconds=seconds, score_threshold=self.score_threshold, category_thresholds=own_thresholds)


def whole_training(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data settings by which all training images are evaluated.

    Args:
        data: the ``data`` node, the checkpoint's values filled in.
    """
    whole = {"val_annotations": data["train_annotations"], "val_images": data["train_images"]}
    return {**data, **dict.fromkeys(DRAWING), **whole}


def _own(source: EvaluatedCheckpoint) -> "Checkpoint":
    assert source.checkpoint is not None
    return source.checkpoint


def _of(method: TrainedMethod) -> EvaluatedCheckpoint:
    assert method.checkpoint is not None
    return method.checkpoint


def _mean_thresholds(given: Sequence[ScoreThresholds]) -> ScoreThresholds:
    names = dict.fromkeys(name for own in given for name in own.by_category)
    by_category = {name: fmean(own.by_category.get(name, own.overall) for own in given) for name in names}
    return ScoreThresholds(fmean(own.overall for own in given), by_category)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def find_folds(data: Mapping[str, Any], checkpoints: Sequence[EvaluatedCheckpoint]) -> Folds | None:
    """Find the cross-validations whose networks are to be evaluated together.

    Args:
        data: the ``data`` node of evaluate.py.
        checkpoints: the evaluated checkpoints.

    Returns:
        None for a single checkpoint, for networks that were not trained on folds, and for data of the user's own,
        which none of the networks has seen.

    Raises:
        SegtrainError: a fold is missing or there twice, or the folds are not of one cross-validation.
    """
    if not pools_folds(data, checkpoints):
        return None
    groups: dict[str, list[EvaluatedCheckpoint]] = {}
    for source in checkpoints:
        groups.setdefault(repr(sorted(_settings(source).items())), []).append(source)
    found = [sorted(group, key=_fold) for group in groups.values()]
    for group in found:
        _require_whole(group, [source for other in found if other is not group for source in other])
    return Folds(found)


def _fold(source: EvaluatedCheckpoint) -> int:
    return int(_own(source).config["data"]["fold"])


def _settings(source: EvaluatedCheckpoint) -> dict[str, Any]:
    """Return the settings of a run in which the folds of a cross-validation agree."""
    return flat_settings(_own(source).config, ignored=_IGNORED)


def _require_whole(group: Sequence[EvaluatedCheckpoint], others: Sequence[EvaluatedCheckpoint]) -> None:
    """Check that each fold of a cross-validation is there once, and that no image is in two folds.

    Args:
        group: checkpoints of the same settings, in the order of their folds.
        others: checkpoints of other settings.
    """
    count, first = _own(group[0]).config["data"]["folds"], group[0]
    for one, other in pairwise(group):
        if _fold(one) == _fold(other):
            raise SegtrainError(
                f"checkpoint: fold {_fold(one)} of {count} is there twice, in {one.path} and {other.path}; name one"
            )
    missing = sorted(set(range(count)) - set(map(_fold, group)))
    for other in others if missing else ():
        there, here = _settings(other), _settings(first)
        key = next(key for key in [*there, *here] if there.get(key) != here.get(key))
        if _fold(other) in missing:
            raise SegtrainError(
                f"{other.path}: {key} is {there.get(key)} there and {here.get(key)} in {first.path}; the folds of one "
                "cross-validation differ by data.fold alone"
            )
    if missing:
        numbers = ", ".join(map(str, missing))
        raise SegtrainError(
            f"checkpoint: of {count} folds {numbers} {'is' if len(missing) == 1 else 'are'} missing beside "
            f"{first.path}; train with data.fold={numbers}, or name a single checkpoint, evaluated on its own fold"
        )
    seen: dict[int, EvaluatedCheckpoint] = {}
    for source in group:
        for image in _own(source).val_ids or ():
            if (other := seen.setdefault(image, source)) is not source:
                raise SegtrainError(
                    f"{source.path} and {other.path}: image {image} is in the folds of both, so that they were drawn "
                    "from other data; train the folds again"
                )
