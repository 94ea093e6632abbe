"""Space of a search: what the overrides of a sweep leave open, in Hydra's grammar."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep, Transformer
from omegaconf import DictConfig, OmegaConf

from segtrain.errors import SegtrainError

_DIGITS = 4  # significant digits of a drawn number
Kind = Literal["float", "int", "choice"]


@dataclass(frozen=True)
class Dimension:
    """Setting that a search varies.

    Attributes:
        key: key or group as an override names it, with ``+`` where the command has it.
        given: its values, as typed.
        kind: type of a drawn value; a choice is drawn as text.
        low: least number.
        high: largest number, inclusive.
        step: distance of numbers; None if all between the ends count, or none but 1 for logarithmic integers.
        log: True to draw the logarithm of the number.
        choices: values of a choice, as text.
    """

    key: str
    given: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    choices: tuple[str, ...] = ()

    def override(self, value: str | float) -> str:
        """Return the override that sets a drawn value, numbers to four significant digits.

        >>> Dimension("optimizer.lr", "interval(0,1)", "float", 0.0, 1.0).override(0.123456)
        'optimizer.lr=0.1235'
        """
        if self.kind == "float":
            value = min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)
        return f"{self.key}={value}"

    def as_drawn(self, value: Any) -> str | float | None:
        """Return a value of the configuration in the type of a drawn one; None if it could not be drawn.

        Args:
            value: value of the key, or name of the option that is chosen in the group.

        >>> Dimension("x", "null,0.9", "choice", choices=("null", "0.9")).as_drawn(None)
        'null'
        """
        if self.kind == "choice":
            text = Transformer.str(value)
            return text if text in self.choices else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return None
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        if abs(steps - round(steps)) > 1e-9 or (self.kind == "int" and value != int(value)):
            return None
        return int(value) if self.kind == "int" else float(value)


@dataclass(frozen=True)
class Space:
    """Settings of a search.

    Attributes:
        dimensions: what it varies.
        fixed: overrides that all of its jobs share.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...]

    @property
    def given(self) -> list[str]:
        """Overrides that describe it, as typed."""
        return [*self.fixed, *(f"{dimension.key}={dimension.given}" for dimension in self.dimensions)]

    def own_values(self, config: DictConfig) -> dict[str, str | float | None]:
        """Return the values that the configuration has without the search, by key; None for one that lies outside.

        Args:
            config: composed configuration of the command, with Hydra's own.
        """
        choices = config.hydra.runtime.choices
        found: dict[str, str | float | None] = {}
        for dimension in self.dimensions:
            key = dimension.key.lstrip("+")
            own = choices[key] if key in choices else OmegaConf.select(config, key)
            found[dimension.key] = dimension.as_drawn(OmegaConf.to_container(own) if OmegaConf.is_config(own) else own)
        return found

    def overrides(self, values: dict[str, Any]) -> list[str]:
        """Return the overrides of a job.

        Args:
            values: drawn values by key.
        """
        return [*self.fixed, *(dimension.override(values[dimension.key]) for dimension in self.dimensions)]


def read_space(arguments: Sequence[str]) -> Space:
    """Read the space that overrides describe; of a key that is given twice the last override counts.

    Args:
        arguments: overrides in Hydra's grammar: ``interval``, ``range``, ``choice`` or values with commas, ``glob``,
            each also in ``tag(log, ...)``; others are fixed. Hydra must be initialised for ``glob``.

    Raises:
        SegtrainError: nothing is left open, or the values cannot be drawn from.

    >>> space = read_space(["seed=3", "optimizer.lr=tag(log, interval(1e-4, 1e-2))", "optimizer=sgd,adamw"])
    >>> space.fixed, [(dimension.kind, dimension.log) for dimension in space.dimensions]
    (('seed=3',), [('float', True), ('choice', False)])
    """
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None
    overrides = OverridesParser.create(loader).parse_overrides(list(arguments))
    last = {override.get_key_element().lstrip("+"): override for override in overrides}.values()
    dimensions = tuple(_dimension(override) for override in last if override.is_sweep_override())
    fixed = tuple(str(override.input_line) for override in last if not override.is_sweep_override())
    if not dimensions:
        raise SegtrainError(
            "nothing to search: give a key several values, such as 'optimizer.lr=tag(log, interval(1e-4, 1e-2))', or "
            "choose a space with sweep=NAME"
        )
    return Space(dimensions, fixed)


def _dimension(override: Override) -> Dimension:
    key, given, value = override.get_key_element(), override.get_value_string(), override.value()
    log = isinstance(value, Sweep) and "log" in value.tags
    if isinstance(value, IntervalSweep):
        return _numbers(key, given, value.start, value.end, None, log)
    if isinstance(value, RangeSweep):
        drawn: list[Any] = list(override.sweep_iterator())
        return _numbers(key, given, min(drawn, default=None), max(drawn, default=None), abs(value.step), log)
    choices = tuple(sorted(set(override.sweep_string_iterator())))  # as shuffle() leaves no order
    if not choices:
        raise SegtrainError(f"{key}={given}: matches no option; --help lists them")
    return Dimension(key, given, "choice", choices=choices)


def _numbers(key: str, given: str, low: float | None, high: float | None, step: float | None, log: bool) -> Dimension:
    """Make a dimension of numbers, integers if both ends are such.

    Raises:
        SegtrainError: there is no number between the ends, or none that has a logarithm.
    """
    where = f"{key}={given}"
    if low is None or high is None or not low <= high:
        raise SegtrainError(f"{where}: give the lower end first, and then a higher one")
    if log and low <= 0:
        raise SegtrainError(f"{where}: a logarithmic scale needs numbers above 0")
    if log and step not in (None, 1):
        raise SegtrainError(f"{where}: a logarithmic scale has no steps; write interval() or choice()")
    kind: Kind = "int" if isinstance(low, int) and isinstance(high, int) else "float"
    return Dimension(key, given, kind, low, high, None if log else step, log)
