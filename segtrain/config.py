"""Schemas of the two roots, and the check that every part can be built before anything is."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import msgspec
from hydra.core.config_store import ConfigStore
from hydra.utils import get_object, instantiate
from omegaconf import MISSING, OmegaConf

from segtrain.errors import SegtrainError

Node = dict[str, Any]


@dataclass
class DataConfig:
    """COCO-format data; paths relative to ``root``, which is relative to where the command was typed."""

    root: str | None = None
    train_annotations: str | None = None
    train_images: str | None = None
    val_annotations: str | None = None
    val_images: str | None = None
    val_fraction: float | None = None
    max_dets: int | None = None
    on_bad_image: str | None = None
    min_object_pixels: int | None = None
    generator: Any = None
    from_checkpoint: bool = False


@dataclass
class RunConfig:
    """What both scripts have."""

    output_dir: str = MISSING
    overwrite: bool = MISSING
    seed: int = MISSING
    device: str = MISSING
    threads: Any = MISSING  # auto | int
    score_threshold: float | None = MISSING
    data: DataConfig = field(default_factory=DataConfig)


@dataclass
class TrainConfig(RunConfig):
    """Root of train.py."""

    resume: str | None = None
    segmenter: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)


@dataclass
class EvaluateConfig(RunConfig):
    """Root of evaluate.py."""

    checkpoint: Any = None  # a path or a list of paths
    tracks: str = MISSING
    precision: str | None = None
    gallery: int = MISSING
    segmenters: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, Any] = field(default_factory=dict)


def register_schemas() -> None:
    """Make the schemas known to Hydra as ``train_schema`` and ``evaluate_schema``."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    schema = OmegaConf.structured(EvaluateConfig)
    # The names of result files are the user's: the one dictionary that takes new keys without `+`.
    OmegaConf.set_struct(schema.predictions, False)
    store.store(name="evaluate_schema", node=schema)


def build(node: Mapping[str, Any]) -> Any:
    """What a ``_target_`` node stands for; with ``_partial_`` something that still waits for arguments."""
    return instantiate(dict(node), _convert_="all")


def check_targets(config: Mapping[str, Any]) -> None:
    """Bind every ``_target_`` node to the signature it names, before anything is built.

    Values of our own parts are also held against their type annotations.

    Raises:
        SegtrainError: lists every argument that is unknown, missing or of the wrong type, with its path.
    """
    problems = [problem for path, node in target_nodes(config) for problem in _check_node(path, node)]
    if problems:
        raise SegtrainError("; ".join(problems))


def target_nodes(config: object, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every node with a ``_target_``, with its dotted path."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield path, dict(config)
        for key, value in config.items():
            yield from target_nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield from target_nodes(value, f"{path}[{index}]")


def require_own_targets(config: object, source: str) -> None:
    """Refuse parts that are not segtrain's.

    A configuration out of a file is code: what its ``_target_`` names will be called.

    Raises:
        SegtrainError: names the target.
    """
    for path, node in target_nodes(config):
        name = node["_target_"]
        try:
            module = getattr(get_object(name), "__module__", None) if str(name).startswith("segtrain.") else None
        except (ImportError, ValueError):
            module = None
        if not isinstance(module, str) or module.partition(".")[0] != "segtrain":
            raise SegtrainError(
                f"{source}: its config asks to run {name!r} ({path}), which is not part of segtrain; "
                "do not use this file unless you know who made it"
            )


def _check_node(path: str, node: Node) -> Iterator[str]:
    try:
        target: Callable[..., object] = get_object(node["_target_"])
    except (ImportError, ValueError) as error:
        yield f"{path}._target_: {' '.join(str(error).split())}"
        return
    arguments = {key: value for key, value in node.items() if not (key.startswith("_") and key.endswith("_"))}
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in arguments:
        if name not in parameters and not takes_any:
            yield f"{path}.{name}: {node['_target_']} has no such argument (it has {', '.join(parameters)})"
    for name, parameter in parameters.items():
        fillable = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and fillable and name not in arguments and not node.get("_partial_"):
            yield f"{path}.{name}: missing, {node['_target_']} needs it"
    if getattr(target, "__module__", "").startswith("segtrain"):
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
        for name in arguments.keys() & hints.keys():
            if next(target_nodes(arguments[name]), None) is None:
                yield from _check_value(f"{path}.{name}", arguments[name], hints[name])


def _check_value(path: str, value: object, hint: Any) -> Iterator[str]:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        yield f"{path}={value}: {str(error)[:1].lower()}{str(error)[1:]}"
    except TypeError:  # a type that plain values cannot have, such as a tensor's
        return
