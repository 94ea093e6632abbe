"""Settings that a resumed run changes: their search, messages, and the refusal of those that cannot change."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from segtrain.values import describe_value

logger = logging.getLogger(__name__)
Changes = dict[str, tuple[Any, Any]]  # dotted key -> value of before, value of now
_OF_THE_COMMAND = ("output_dir", "overwrite", "resume")
# They decide which images come next, so an epoch under way is not finished as it was begun.
_OF_THE_ORDER = ("seed", "trainer.aspect_grouping", "trainer.repeat_threshold")


def changed_settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """Return the settings that differ between two configurations, by dotted key; absent ones are None.

    Args:
        then: configuration of the run that is resumed.
        now: configuration of this run.

    >>> changed_settings({"optimizer": {"lr": 0.1}, "seed": 0}, {"optimizer": {"lr": 0.01}, "seed": 0})
    {'optimizer.lr': (0.1, 0.01)}
    """
    before, after = dict(_flat(then)), dict(_flat(now))
    keys = [key for key in {**before, **after} if key.split(".")[0] not in _OF_THE_COMMAND]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def log_changes(changes: Changes, *, within_epoch: bool) -> None:
    """Log each change in a line.

    Args:
        changes: result of `changed_settings`.
        within_epoch: True if the run goes on within an epoch.
    """
    for key, (then, now) in changes.items():
        anew = "; the rest of the epoch is drawn anew" if within_epoch and key in _OF_THE_ORDER else ""
        logger.info(f"changed: {key} {describe_value(then)} -> {describe_value(now)}{anew}")


def _flat(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
