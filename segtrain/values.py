"""Types of configuration values: ranges and choices, their description in words, and the check of a value."""

from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

Natural = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]
PositiveFloat = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
ProperFraction = Annotated[float, Meta(gt=0, lt=1)]
ThresholdSetting = Fraction | dict[str, Fraction]  # of all categories, or of some by name
Share = Annotated[float, Meta(gt=0, le=1)]
TileSetting = Literal["auto", "off"] | Annotated[int, Meta(ge=16)]  # or the side of a window in pixels of the image
Overlap = Annotated[float, Meta(gt=0, lt=0.5)]  # of windows, as a share of their side
OVERLAP: Overlap = 0.25  # unless it is set
Precision = Literal["fp32", "bf16", "fp16"]  # of matrix products and convolutions
TunedMetric = Literal["mask_ap", "miou"]
CategoryOrder = Literal["order", "order_from_1"]  # ids that count the categories, from 0 or from 1
IntensityRule = Literal["auto", "full", "percentile"]
IntensitySetting = IntensityRule | tuple[float, float] | dict[str, tuple[float, float]]  # a range, or one for each type

_WORDS = {NoneType: "null", bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def check_value(path: str, value: object, hint: Any) -> Iterator[str]:
    """Check a value against its type.

    Args:
        path: place of the value in the configuration.
        value: plain value.
        hint: type of the value; ``Annotated[..., msgspec.Meta(...)]`` for a range.

    Yields:
        One line if the value does not fit.

    >>> list(check_value("seed", -1, Annotated[int, msgspec.Meta(ge=0)]))
    ['seed=-1: give a whole number from 0']
    """
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        verb = "choose" if all(get_origin(kind) is Literal for kind in _alternatives(hint)) else "give"
        yield f"{path}={describe_value(value)}: {verb} {describe_type(hint)}"
    except TypeError:  # a type that plain values cannot have, such as a tensor's
        return


def describe_value(value: object) -> str:
    """Return a plain value as it is typed in an override.

    >>> describe_value(None), describe_value(True), describe_value([1, 2])
    ('null', 'true', '[1, 2]')
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def describe_type(hint: Any) -> str:
    """Describe a type and its range in words.

    Args:
        hint: type of a value; ``Annotated[..., msgspec.Meta(...)]`` for a range.

    >>> describe_type(Literal["auto", "frozen", "batch"])
    'auto, frozen or batch'
    >>> describe_type(Annotated[float, msgspec.Meta(gt=0, le=1)] | None)
    'a number above 0 and at most 1, or null'
    """
    texts: list[str] = []
    for kind in _alternatives(hint):
        texts += map(str, get_args(kind)) if get_origin(kind) is Literal else [_describe_one(kind)]
    return join_choices(texts)


def join_choices(names: Sequence[str]) -> str:
    """Join alternatives with commas, and "or" before the last.

    >>> join_choices(["a", "b", "c"])
    'a, b or c'
    """
    *first, last = names
    comma = "," if any(" of " in name or " from " in name or " above " in name for name in first) else ""
    return f"{', '.join(first)}{comma} or {last}" if first else last


def _alternatives(hint: Any) -> Sequence[Any]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _describe_one(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return describe_type(parts[0]) + "".join(_describe_range(meta) for meta in parts[1:])
    if origin is tuple and parts[-1] is not Ellipsis:
        return f"a list of {len(parts)} {_plural(describe_type(parts[0]))}"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list of {_plural(describe_type(parts[0]))}"
    return _WORDS.get(kind, "a mapping")


def _plural(text: str) -> str:
    """Return the plural of a description such as "a whole number from 1"."""
    noun = next((noun for noun in ("list", "number") if noun in text), "")
    return text.removeprefix("a ").replace(noun, f"{noun}s", 1) if noun else text


def _describe_range(meta: Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        bounds = [f"from {meta.ge} to {meta.le}"]
    else:
        limits = {"from": meta.ge, "above": meta.gt, "at most": meta.le, "below": meta.lt}
        bounds = [f"{words} {limit}" for words, limit in limits.items() if limit is not None]
    length = "" if meta.min_length is None else f" ({meta.min_length} or more)"
    return (f" {' and '.join(bounds)}" if bounds else "") + length
