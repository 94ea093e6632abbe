"""Building parts from their settings, and the check that every part can be built before anything is."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from msgspec import Meta
from omegaconf import OmegaConf

from segtrain.errors import SegtrainError
from segtrain.signatures import check_node, check_value, target_nodes

# What the schemas cannot say: OmegaConf knows neither choices nor ranges.
_COUNT = Annotated[int, Meta(ge=1)]
_VALUES: dict[str, Any] = {
    "seed": Annotated[int, Meta(ge=0)],
    "threads": Literal["auto"] | _COUNT,
    "score_threshold": Literal["auto"] | Annotated[float, Meta(ge=0, le=1)] | None,
    "tracks": Literal["all", "class_agnostic"],
    "precision": Literal["fp32", "bf16"] | None,
    "gallery": Annotated[int, Meta(ge=0)],
    "bootstrap.resamples": Annotated[int, Meta(ge=0)],
    "bootstrap.seed": Annotated[int, Meta(ge=0)],
    "checkpoint": str | list[str] | None,
    "data.max_dets": _COUNT | None,
    "data.on_bad_image": Literal["error", "skip"] | None,
    "data.cache": Literal["none", "ram"] | None,
    "data.check": Literal["strict", "warn", "off"] | None,
    "data.exif": Literal["apply", "ignore", "auto"] | None,
    "data.max_image_pixels": _COUNT | None,
    "data.min_object_pixels": Annotated[int, Meta(ge=0)] | None,
    "data.tune_seconds": Annotated[float, Meta(gt=0)] | None,
    "tune.metric": Literal["mask_ap", "miou"],
    "tune.images": _COUNT | None,
    "tune.seconds": Annotated[float, Meta(gt=0)] | None,
    "tune.trials": _COUNT | None,
    "data.val_fraction": Annotated[float, Meta(gt=0, lt=1)] | None,
}


def build(node: Mapping[str, Any], *missing: Any) -> Any:
    """What a ``_target_`` node stands for.

    Args:
        node: of the configuration.
        missing: the arguments that a ``_partial_`` node still waits for; without them it stays a function.

    Raises:
        SegtrainError: the part refuses its settings.
    """
    try:
        part = instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, SegtrainError):
            raise error.__cause__ from None
        inner = str(error).rpartition("full_key: ")[2] if "full_key: " in str(error) else "settings"
        raise SegtrainError(f"{node['_target_']}: {inner}: {_reason(error.__cause__ or error)}; change it") from error
    try:
        return part(*missing) if missing else part
    except (TypeError, ValueError) as error:
        raise SegtrainError(f"{node['_target_']}: {error}; change its settings") from error


def _reason(error: BaseException) -> str:
    # Of pydantic, which albumentations checks its arguments with.
    details = getattr(error, "errors", None) or getattr(error.__context__, "errors", None)
    if not callable(details):
        return str(error)
    return ", ".join(f"{'.'.join(map(str, d['loc']))}={d['input']}: {d['msg']}" for d in details())


def as_yaml(node: Mapping[str, Any]) -> str:
    """A node as the text of a configuration file."""
    return OmegaConf.to_yaml(dict(node))


def find_problems(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of a root, and with the arguments of its parts; one line each."""
    return [*_check_values(config), *_check_roles(config), *_check_parts(config)]


def check_targets(config: Mapping[str, Any]) -> None:
    """Bind every ``_target_`` node to the signature it names, before anything is built.

    Values of our own parts are also held against their type annotations.

    Raises:
        SegtrainError: lists every argument that is unknown, missing or of the wrong type, with its path.
    """
    if problems := list(_check_parts(config)):
        raise SegtrainError("; ".join(problems))


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


def _check_parts(config: Mapping[str, Any]) -> Iterator[str]:
    for path, node in target_nodes(config):
        yield from check_node(path, node)


def _check_values(config: Mapping[str, Any]) -> Iterator[str]:
    for path, hint in _VALUES.items():
        group, _, key = path.rpartition(".")
        values = config.get(group, {}) if group else config
        if key in values:
            yield from check_value(path, values[key], hint)


def _check_roles(config: Mapping[str, Any]) -> Iterator[str]:
    """Parts that can be built, but not in this place."""
    if "trainer" in config and config["data"]["from_checkpoint"]:
        yield "data: evaluate.py alone takes it from a checkpoint; choose another option, such as data=coco"
    if "trainer" in config and config["score_threshold"] is None:
        yield "score_threshold=null: there is no checkpoint to take it from; give a number, or auto"
    if "segmenters" in config and config["score_threshold"] == "auto":
        yield "score_threshold=auto: train.py alone chooses one; give a number, or null for the checkpoint's"
    network = config.get("segmenter")
    if network is not None and not network.get("_partial_"):
        yield "segmenter: this one does not learn; choose a mask_rcnn_* option"
    for name, node in config.get("segmenters", {}).items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            yield f"segmenters.{name}: not a segmenter; drop the row with '~segmenters.{name}'"
        elif node.get("_partial_"):
            yield f"segmenters.{name}: a network without weights; train it, then use option checkpoint"
    for name, path in config.get("predictions", {}).items():
        if not isinstance(path, str):
            yield f"predictions.{name}: not a path; give a COCO result file, or drop it with '~predictions.{name}'"
        if PurePath(str(name)).is_absolute() or ".." in PurePath(str(name)).parts:
            yield f"predictions.{name}: the name leads out of the folder predictions; choose another"
        if name in config["segmenters"]:
            yield f"predictions.{name}: a segmenter has this name already; choose another"
