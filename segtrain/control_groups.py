"""Control groups of this process on Linux, which limit its memory and its processor time as a container does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


class ControlGroup(NamedTuple):
    """Control group that limits a process.

    Attributes:
        folder: folder of its files; it need not exist.
        version: 1 or 2, which name their files differently.
    """

    folder: Path
    version: int


def control_groups(
    controller: Literal["memory", "cpu"], root: Path = _ROOT, membership: Path = _MEMBERSHIP
) -> Iterator[ControlGroup]:
    """Yield the control groups that may limit this process: its own ones, and those that they are in.

    Args:
        controller: what they limit.
        root: folder where control groups are mounted.
        membership: file that lists those of the process, as ``/proc/self/cgroup`` does.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:  # no Linux
        return
    for _, controllers, own in lines:
        if controllers and controller not in controllers.split(","):  # of version 1, about something else
            continue
        base, version = (root / controller, 1) if controllers else (root, 2)
        place = base / own.lstrip("/")
        # In a container the path may be that of the host, and the group itself is mounted at the root.
        for folder in (place, *(parent for parent in place.parents if parent.is_relative_to(base))):
            yield ControlGroup(folder, version)
