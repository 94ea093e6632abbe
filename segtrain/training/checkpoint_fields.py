"""Fields of a checkpoint's file: their types and ranges, and the check of what was read."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from torch import Tensor

from segtrain.errors import SegtrainError
from segtrain.io import printable
from segtrain.values import Fraction, Natural, NonNegativeFloat, Positive, PositiveFloat, Precision, describe_type

_MOST_VALUES, _DEEPEST = 100_000, 30  # of a configuration
_PARTS = ("data", "segmenter", "augmentation", "optimizer", "schedule", "trainer")
_FIELDS: dict[str, Any] = {
    "config": dict[str, Any],
    "class_names": Annotated[list[str], Meta(min_length=1)],
    "category_ids": list[int],
    "max_dets": Positive,
    "score_threshold": Fraction,
    "precision": Precision,
    "seed": Natural,
    "val_ids": list[int] | None,
    "epoch": Natural,
    "step": Natural,
    "minutes": NonNegativeFloat,
    "metrics": dict[str, float],
    "threshold_images": Natural | None,
    "training_images": Natural,
    "training_objects": Natural,
    "intensity": dict[str, Any],
    "validations": Natural | None,
    "contents": dict[str, str],
    "inputs": dict[str, Any] | None,
    "ended": str | None,
    "category_thresholds": dict[str, Fraction],
}
_INTENSITY: dict[str, Any] = {
    "ranges": dict[str, tuple[float, float]],
    "others": tuple[float, float] | str | None,
    "rule": str,
    "images": Natural,
}
_INPUTS: dict[str, Any] = {"scale": PositiveFloat, "input": tuple[Positive, Positive], "image": tuple[Natural, Natural]}
_TRAINING: dict[str, Any] = {
    "ema_updates": Natural | None,
    "batch": Natural,
    "batch_size": Positive,
    "earlier": list[tuple[Positive, Natural]],
    "best": float,
    "validated_at": Annotated[int, Meta(ge=-1)],
    "epochs": NonNegativeFloat,
    "schedule_origin": tuple[NonNegativeFloat, Natural, NonNegativeFloat] | None,
}
_LATER: dict[str, Any] = {"processes": Positive, "optimizer_entries": Natural}  # which files of before lack
_METER_LATER: dict[str, Any] = {"left_out_in_a_row": Natural}
_METER: dict[str, Any] = {
    "losses": dict[str, float],
    "steps": Natural,
    "images": Natural,
    "seconds": NonNegativeFloat,
    "waited": NonNegativeFloat,
    "norm": NonNegativeFloat,
    "skipped": list[int],
    "left_out": Natural,
}
_PATIENCE: dict[str, Any] = {"monitor": str, "best": float, "step": Natural, "waited": Natural}
_SCALER: dict[str, Any] = {
    "scale": PositiveFloat,
    "growth_factor": PositiveFloat,
    "backoff_factor": PositiveFloat,
    "growth_interval": Positive,
    "_growth_tracker": Natural,
}
_OPTIMIZER: dict[str, Any] = {"state": dict[int, dict[str, Any]], "param_groups": list[dict[str, Any]]}


def check_fields(content: Mapping[str, Any], source: str) -> None:
    """Check the types and ranges of all fields of a checkpoint.

    Args:
        content: fields by name, as read from the file.
        source: path of the file, for messages.

    Raises:
        SegtrainError: a field is not what it should be; the message names it.
    """
    _check(content, _FIELDS, source, "")
    _check_state(content["model"], source, "model")
    if not math.isfinite(content["minutes"]):
        raise _wrong(source, "minutes", content["minutes"], NonNegativeFloat)
    names = content["class_names"]
    if len(set(names)) < len(names) or len(content["category_ids"]) != len(names):
        raise SegtrainError(f"{source}: its categories contradict each other; the file is damaged")
    if not set(content["category_thresholds"]) <= set(names):
        raise SegtrainError(f"{source}: has a score threshold of a category that it lacks; the file is damaged")
    _check_config(content["config"], source)
    _check(content["intensity"], _INTENSITY, source, "intensity.")
    if content["inputs"] is not None:
        _check(content["inputs"], _INPUTS, source, "inputs.")
    if content["training"] is not None:
        _check_training(content["training"], source)


def _check_training(training: object, source: str) -> None:
    """Check the state that only resuming needs."""
    training = _mapping(training, source, "training")
    _check(training, _TRAINING, source, "training.")
    meter = _mapping(training.get("meter"), source, "training.meter")
    _check(meter, _METER, source, "training.meter.")
    _check(_mapping(training.get("optimizer"), source, "training.optimizer"), _OPTIMIZER, source, "training.optimizer.")
    for number, group in enumerate(training["optimizer"]["param_groups"]):
        _check(group, {"params": list[Natural]}, source, f"training.optimizer.param_groups[{number}].")
    for part, later, prefix in ((training, _LATER, "training."), (meter, _METER_LATER, "training.meter.")):
        _check(part, {name: hint for name, hint in later.items() if name in part}, source, prefix)
    if "patience" in training:
        _check(_mapping(training["patience"], source, "training.patience"), _PATIENCE, source, "training.patience.")
    if "scaler" in training:  # of a run in float16
        _check(_mapping(training["scaler"], source, "training.scaler"), _SCALER, source, "training.scaler.")
    _check_state(training.get("model"), source, "training.model")


def _check_state(state: object, source: str, name: str) -> None:
    """Check a dictionary of tensors by name."""
    for key, value in _mapping(state, source, name).items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise SegtrainError(f"{source}: its {name} holds more than tensors by name; the file is damaged")


def _check_config(config: Mapping[str, Any], source: str) -> None:
    """Check that a configuration holds a segmenter, that its parts are mappings, and that it has an end."""
    for part in _PARTS:
        if part in config and part != "segmenter":
            _mapping(config[part], source, f"config.{part}")
    node = config.get("segmenter")
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise SegtrainError(f"{source}: its config has no segmenter; the file is damaged")
    level: list[Any] = [config]
    total = 0
    for _ in range(_DEEPEST):
        level = [
            value
            for part in level
            if isinstance(part, Mapping | list | tuple)
            for value in (part.values() if isinstance(part, Mapping) else part)
        ]
        total += len(level)
        if not level:
            return
        if total > _MOST_VALUES:
            break
    raise SegtrainError(f"{source}: its config has no end; do not use this file")


def _check(values: Mapping[str, Any], hints: Mapping[str, Any], source: str, prefix: str) -> None:
    for name, hint in hints.items():
        value = values.get(name)
        try:
            msgspec.convert(value, hint)
        except (msgspec.ValidationError, TypeError, RecursionError):
            if name not in values:
                raise SegtrainError(f"{source}: lacks {prefix}{name}; the file is damaged") from None
            raise _wrong(source, f"{prefix}{name}", value, hint) from None


def _mapping(value: object, source: str, name: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(source, name, value, dict[str, Any])
    return value


def _wrong(source: str, name: str, value: object, hint: Any) -> SegtrainError:
    found = printable(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return SegtrainError(f"{source}: its {name} is {found}, not {describe_type(hint)}; the file is damaged")
