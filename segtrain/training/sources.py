"""The checkpoints of an evaluation: which rows each of them fills, and which are seeds of one configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segtrain.errors import SegtrainError
from segtrain.nodes import quote_override
from segtrain.training.checkpoint import newest_checkpoint
from segtrain.training.source import Source

_OF_A_SPLIT = ("root", "val_annotations", "val_images", "val_fraction", "split_by")
_OWN_TO_A_RUN = ("seed", "output_dir", "overwrite", "resume", "device", "threads")


def find_sources(config: Mapping[str, Any]) -> list[Source]:
    """The checkpoints that evaluate.py's configuration needs; the first one says what data it is on.

    Returns:
        At least one; a single one without a checkpoint if nothing comes from any.

    Raises:
        SegtrainError: one is needed and not there, cannot be read, is named twice, or was validated on other images
            than the first while the data are to come from there.
    """
    data, loads = config["data"], any(map(Source.is_loader, config["segmenters"].values()))
    if not data["from_checkpoint"] and not loads:
        return [Source(None, None)]
    named = config["checkpoint"]
    given = named if isinstance(named, list) else [newest_checkpoint() if named is None else named]
    paths = [Path(path) for path in given]
    if not paths:
        raise SegtrainError("checkpoint=[]: name at least one, or none at all for the newest")
    places = [path.resolve() for path in paths]
    if repeated := [str(path) for path, place in zip(paths, places, strict=True) if places.count(place) > 1]:
        raise SegtrainError(f"checkpoint: {repeated[0]} is named more than once; name each run once")
    sources = [Source.load(path) for path in paths]
    if data["from_checkpoint"] and all(data[key] is None for key in ("val_annotations", "val_fraction", "split_by")):
        for other in sources[1:]:
            _require_same_images(sources[0], other)
    return sources


def rows_of(name: str, node: Mapping[str, Any], sources: Sequence[Source]) -> dict[str, Source]:
    """The rows that a configured segmenter fills: ``NAME``, or ``NAME/RUN`` for each of several checkpoints.

    Args:
        name: of the segmenter in the configuration.
        node: its configuration.
        sources: the checkpoints.
    """
    if len(sources) == 1 or not Source.is_loader(node):
        return {name: sources[0]}
    paths = [source.path for source in sources if source.path is not None]
    return {f"{name}/{run}": source for run, source in zip(run_names(paths), sources, strict=True)}


def run_names(paths: Sequence[Path]) -> list[str]:
    """The run folders' names, with as many of the folders above as tell them apart.

    Where a folder holds two of the checkpoints, the file's name follows; where all that is not enough, a number.

    Args:
        paths: of checkpoints, absolute, all different.

    Returns:
        A name for each, no two of them equal.
    """
    folders = [path.parent.parent if path.parent.name == "checkpoints" else path.parent for path in paths]
    shared = len(set(folders)) < len(folders)
    endings = [[path.stem] if shared else [] for path in paths]
    for depth in range(1, max(len(folder.parts) for folder in folders)):
        names = ["-".join([*folder.parts[-depth:], *end]) for folder, end in zip(folders, endings, strict=True)]
        if len(set(names)) == len(names):
            return names
    return [f"{folder.name}-{number}" for number, folder in enumerate(folders, start=1)]


def seeds_of_one_configuration(rows: Mapping[str, Source]) -> dict[tuple[str, ...], list[int]]:
    """Rows whose runs differ by their seed alone, each group with its seeds; of equal seeds the first row.

    Args:
        rows: of learned segmenters, with where they come from.
    """
    groups: dict[str, dict[int, str]] = {}
    for name, source in rows.items():
        if source.checkpoint is not None:
            shared = {key: value for key, value in source.checkpoint.config.items() if key not in _OWN_TO_A_RUN}
            groups.setdefault(repr(sorted(shared.items())), {}).setdefault(source.checkpoint.seed, name)
    return {tuple(group.values()): list(group) for group in groups.values() if len(group) > 1}


def override(path: Path | None, named: str | list[str] | None) -> list[str]:
    """What names the checkpoint on a command line where the user left it to the newest run; nothing if he did not.

    Args:
        path: of the checkpoint.
        named: ``checkpoint`` as given.
    """
    if named is not None or path is None:
        return []
    return [f"checkpoint={quote_override(str(path))}"]


def _require_same_images(first: Source, other: Source) -> None:
    assert first.checkpoint is not None
    assert other.checkpoint is not None
    own, others = (source.checkpoint.config["data"] for source in (first, other) if source.checkpoint is not None)
    differing = [key for key in _OF_A_SPLIT if own.get(key) != others.get(key)]
    if differing:
        key = differing[0]
        what = f"data.{key} is {others.get(key)} there and {own.get(key)} in {first.path}"
    elif first.checkpoint.val_ids != other.checkpoint.val_ids:
        what = f"their validation images were drawn with seeds {other.checkpoint.seed} and {first.checkpoint.seed}"
    else:
        return
    raise SegtrainError(
        f"{other.path} was validated on other images: {what}. One may have learned from images of the other; name some "
        "that neither has seen, with data=coco data.root=DIR data.val_annotations=FILE data.val_images=DIR"
    )
