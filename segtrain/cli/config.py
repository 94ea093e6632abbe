"""Types and ranges of every key of both commands; Hydra's schemas and the checks of values derive from them.

A key is defined in two places: here with its type and range, and in its YAML file with its default and the comment that
``--help`` prints. The arguments of parts (``_target_``) are defined by the signature of the part instead.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, make_dataclass
from functools import cache
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from msgspec import Meta, Struct
from omegaconf import MISSING, OmegaConf

from segtrain.data.storage.address import expand_location
from segtrain.errors import SegtrainError
from segtrain.io import expand_path
from segtrain.nodes import config_folder, find_argument_problems, nearest, read_yaml
from segtrain.values import (
    CategoryOrder,
    IntensitySetting,
    Natural,
    Positive,
    PositiveFloat,
    Precision,
    ProperFraction,
    Share,
    ThresholdSetting,
    TunedMetric,
    check_value,
)

# Keys whose values are paths, or lists of paths; `*` stands for any name.
_PATHS = (
    "output_dir", "resume.path", "reuse", "checkpoint", "data.root", "data.train_annotations", "data.train_images",
    "data.val_annotations", "data.val_images", "sweep.reference", "segmenter.weights", "segmenters.*.path",
    "predictions.*", "predictions.*.file",
)  # fmt: skip


class Data(Struct):
    """``data``: COCO-format data; paths are relative to ``root``.

    With ``data=checkpoint`` every key may be null, and then has the value of the checkpoint.
    """

    root: str | None
    train_annotations: str | list[str] | None
    train_images: str | None
    val_annotations: str | list[str] | None
    val_images: str | None
    val_fraction: ProperFraction | None
    split_by: str | None
    folds: Annotated[int, Meta(ge=2)] | None
    fold: Natural | None
    fraction: Share
    max_dets: Positive
    check: Literal["strict", "warn", "off"]
    on_bad_image: Literal["error", "skip"]
    exif: Literal["apply", "ignore", "auto"]
    pages: Literal["error", "first", "max", "mean", "each"]
    channels: list[Natural] | None
    boxes_without_masks: Literal["error", "ignore", "box"]
    crowd: Literal["ignore", "objects"]
    rings: Literal["union", "even_odd"]
    intensity: IntensitySetting
    frame: Literal["stored", "auto"] | tuple[Positive, Positive]
    witnesses: Literal["stored", "masks"]
    max_image_pixels: Positive
    min_object_pixels: Natural
    cache: Literal["none", "ram", "disk"]
    cache_gb: PositiveFloat
    generator: Any
    from_checkpoint: bool


class Run(Struct):
    """Keys of both commands."""

    output_dir: str
    overwrite: bool
    seed: Natural
    device: str
    threads: Literal["auto"] | Positive
    data: Data


class Resume(Struct):
    """``resume``: state that a training goes on with."""

    path: str | None
    schedule: Literal["keep", "restart"]


class Sweep(Struct):
    """``sweep``: what the page of a sweep compares with."""

    reference: str | None


class Train(Run):
    """Root of ``train``."""

    resume: Resume
    sweep: Sweep
    score_threshold: Literal["auto"] | ThresholdSetting
    logger: list[Literal["tensorboard", "mlflow", "wandb", "trackio"]]
    segmenter: dict[str, Any]
    augmentation: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    trainer: dict[str, Any]


class Bootstrap(Struct):
    """``bootstrap``: resamples of the images behind the intervals."""

    resamples: Natural


class Tune(Struct):
    """``tune``: cost of a search for settings, and the metric that it maximises."""

    metric: TunedMetric
    images: Positive | None
    seconds: PositiveFloat | None
    trials: Positive | None


class ResultFile(Struct):
    """``predictions.NAME``, where a result file needs more than its path."""

    file: str
    image_id_offset: int
    images_by: Literal["id", "name"] | None
    category_map: CategoryOrder | dict[Any, Any] | None


class Resumption(Struct):
    """``resume``: whether an evaluation goes on with what is done in its folder."""

    path: Literal["auto"] | None


class Evaluate(Run):
    """Root of ``evaluate``."""

    resume: Resumption
    reuse: str | list[str] | None
    checkpoint: str | list[str] | None
    trust: list[str]
    reference: str
    tracks: Literal["all", "class_agnostic"]
    score_threshold: float | dict[str, float] | None  # scores of result files may be percents, or have no bounds
    precision: Precision | None
    gallery: Natural
    suspects: Literal["val", "train"]
    bootstrap: Bootstrap
    tune: Tune
    segmenters: dict[str, Any]
    predictions: dict[str, Any]


def minutes_of_presets() -> dict[str, float]:
    """Return ``trainer.max_minutes`` of each experiment that sets it.

    >>> minutes_of_presets()["photos"]
    8.0
    """
    files = {path.stem: read_yaml(path) for path in config_folder().glob("experiment/*.yaml")}
    minutes = {name: preset.get("trainer", {}).get("max_minutes") for name, preset in files.items()}
    return {name: float(value) for name, value in minutes.items() if value is not None}


@cache
def register_schemas() -> None:
    """Make the schemas known to Hydra as ``train_schema`` and ``evaluate_schema``, and the resolver of paths."""
    OmegaConf.register_new_resolver("expand_path", lambda path: str(expand_path(path)), replace=True)
    store = ConfigStore.instance()
    store.store(name="train_schema", node=schema(Train))
    evaluate = OmegaConf.structured(schema(Evaluate))
    # The names of result files are the user's: the one dictionary that takes new keys without `+`.
    OmegaConf.set_struct(evaluate.predictions, False)
    store.store(name="evaluate_schema", node=evaluate)


@cache
def schema(record: type[Struct]) -> type:
    """Return the dataclass into which Hydra merges YAML files and overrides; it has types, but no choices or ranges.

    Args:
        record: keys and their types.
    """
    fields: list[Any] = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        kind = _merged_type(hint)
        if isinstance(hint, type) and issubclass(hint, Struct):
            fields.append((name, kind, field(default_factory=kind)))
        elif get_origin(kind) in (dict, list):
            fields.append((name, kind, field(default_factory=get_origin(kind))))
        elif issubclass(record, Data):  # data=checkpoint names none of its keys
            fields.append((name, kind | None, None))
        else:
            fields.append((name, kind, MISSING))
    return make_dataclass(record.__name__, fields)


def _merged_type(hint: Any) -> Any:
    """Return a type that OmegaConf supports and that can hold every value of this type."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        return schema(hint)
    if get_origin(hint) is Annotated:
        return _merged_type(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0])
    if get_origin(hint) is list:
        return list[_merged_type(get_args(hint)[0])]  # type: ignore[misc]
    if get_origin(hint) not in (Union, UnionType):
        return hint
    kinds = {_merged_type(choice) for choice in get_args(hint)}
    others = kinds - {NoneType}
    kind = others.pop() if len(others) == 1 else Any
    return kind | None if NoneType in kinds else kind


def _check_result_file(key: str, given: Any) -> Iterator[str]:
    """Yield the problems of the value of a row from a result file."""
    if isinstance(given, str):
        return
    if not isinstance(given, Mapping) or "file" not in given:
        yield f"{key}: not a path; give a COCO result file, or {{file: FILE, ...}}, or drop it with '~{key}'"
        return
    keys = list(get_type_hints(ResultFile))
    if unknown := [name for name in given if name not in keys]:
        yield f"{key}.{unknown[0]}: no such key; {nearest(str(unknown[0]), keys)}"
    yield from check_values(ResultFile, given, f"{key}.")


def expand_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Replace ``~`` and environment variables in the values of all keys that name files or folders.

    Args:
        config: plain, resolved values of a root.

    Returns:
        A copy with expanded paths.

    Raises:
        SegtrainError: a variable is not set; the message begins with the key.

    >>> from pathlib import Path
    >>> expand_paths({"seed": 0, "checkpoint": ["runs/a", "~"]})["checkpoint"][1] == str(Path.home())
    True
    """
    expanded: dict[str, Any] = dict(config)
    for key in _PATHS:
        expanded = _with_expanded(expanded, key.split("."), "")
    return expanded


def _with_expanded(node: Any, names: Sequence[str], key: str) -> Any:
    """Expand the paths below a node.

    Args:
        node: part of the configuration.
        names: names that lead from the node to the paths.
        key: dotted key of the node, for errors.
    """
    if not names:
        if isinstance(node, list):
            return [_with_expanded(path, names, key) for path in node]
        return _expanded(node, key) if isinstance(node, str) else node
    if not isinstance(node, Mapping):
        return node
    chosen = [name for name in node if names[0] in ("*", name)]
    return {**node, **{name: _with_expanded(node[name], names[1:], f"{key}.{name}".lstrip(".")) for name in chosen}}


def _expanded(path: str, key: str) -> str:
    try:
        # A path without `~` and `$` stays as typed: it may also be a word, such as the name of published weights.
        return str(expand_location(path)) if path.startswith("~") or "$" in path else path
    except SegtrainError as error:
        raise SegtrainError(f"{key}={error}") from error


def type_of(config_name: str, key: str) -> Any:
    """Return the type of a key.

    Args:
        config_name: root among the YAML files: "train" or "evaluate".
        key: dotted key that the root's schema knows.

    >>> type_of("train", "data.check")
    typing.Literal['strict', 'warn', 'off']
    """
    hint: Any = Train if config_name == "train" else Evaluate
    for name in key.split("."):
        hint = get_type_hints(hint, include_extras=True)[name]
    return hint


def find_problems(config: Mapping[str, Any], changed: Collection[str] | None = None) -> list[str]:
    """List the problems of the values of a root, and of the arguments of its parts; one line each.

    Args:
        config: plain, resolved values of the root.
        changed: dotted keys; only the arguments of parts that contain such a key, or lie below one, are bound. None to
            bind those of all parts.
    """
    root = Train if "trainer" in config else Evaluate
    misplaced = [*_check_roles(config), *_check_folds(config["data"], trains=root is Train)]
    # With a part in the wrong place, arguments are not looked at: those of others may refer to it.
    arguments = [] if misplaced else find_argument_problems(config, changed)
    return [*check_values(root, config), *misplaced, *arguments]


def check_values(record: type[Struct], values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Find values that are not of the type or in the range of their key.

    Args:
        record: keys and their types.
        values: values by key.
        prefix: start of the keys in messages, such as ``"data."``.
    """
    may_be_null = bool(values.get("from_checkpoint"))
    for name, hint in get_type_hints(record, include_extras=True).items():
        if name not in values or (values[name] is None and may_be_null):
            continue
        if isinstance(hint, type) and issubclass(hint, Struct):
            yield from check_values(hint, values[name], f"{prefix}{name}.")
        else:
            yield from check_value(f"{prefix}{name}", values[name], hint)


def _check_folds(data: Mapping[str, Any], *, trains: bool) -> Iterator[str]:
    """Yield the problem of folds that do not say which images are validated on."""
    folds, fold = data["folds"], data["fold"]
    if fold is not None and folds is None and not data["from_checkpoint"]:
        yield f"data.fold={fold}: give the number of folds too, such as data.folds=5"
    elif folds is not None and fold is None:
        yield f"data.folds={folds}: give the fold to validate on, data.fold=0" + (
            f", or all in turn with --multirun data.folds={folds} 'data.fold=range({folds})'" if trains else ""
        )
    elif isinstance(folds, int) and isinstance(fold, int) and fold >= folds:
        yield f"data.fold={fold}: the {folds} folds are numbered from 0 to {folds - 1}"
    if folds is not None and data["val_fraction"] is not None:
        yield "data.folds and data.val_fraction exclude each other; set one of them to null"


def _check_roles(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a problem for each part that can be built, but not in this place."""
    if "trainer" in config and config["data"]["from_checkpoint"]:
        yield "data=checkpoint: there is no checkpoint to take the data from; choose coco or synthetic"
    network = config.get("segmenter")
    if network is not None and not network.get("_partial_"):
        if str(network.get("_target_")).startswith("segtrain."):
            yield "segmenter: this one does not learn; choose a mask_rcnn_* option"
        else:
            yield "segmenter: add '_partial_: true' to its YAML file: the class names come from the data"
    for name, node in config.get("segmenters", {}).items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            yield f"segmenters.{name}: not a segmenter; drop the row with '~segmenters.{name}'"
        elif node.get("_partial_"):
            yield f"segmenters.{name}: a network without weights; train it, then use option checkpoint"
    for name, given in config.get("predictions", {}).items():
        yield from _check_result_file(f"predictions.{name}", given)
        if PurePath(str(name)).is_absolute() or ".." in PurePath(str(name)).parts:
            yield f"predictions.{name}: the name leads out of the folder predictions; choose another"
        if name in config["segmenters"]:
            yield f"predictions.{name}: a segmenter has this name already; choose another"
