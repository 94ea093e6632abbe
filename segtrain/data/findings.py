"""What was found in a data set: by kind, counted, with a few examples."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from segtrain.data.finding_kinds import KINDS, SEVERITIES, Severity

_EXAMPLES_KEPT = 3


@dataclass
class Finding:
    """How often something was found, and where.

    Attributes:
        kind: a key of ``KINDS``.
        count: of occurrences.
        examples: the first few, one line each: file, annotation or image id, and what is wrong.
    """

    kind: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def severity(self) -> Severity:
        """Of its kind."""
        return KINDS[self.kind].severity

    @property
    def line(self) -> str:
        """What, how often, the first example, and what was done or can be."""
        return self.told(KINDS[self.kind].action)

    @property
    def done(self) -> str:
        """The same where all has been done that can be: what is left to the user otherwise has been left out."""
        action = KINDS[self.kind].action
        return self.told(action.partition("; else ")[2] or action)

    def told(self, action: str) -> str:
        """What, how often, the first example, and an action."""
        title = KINDS[self.kind].title
        return f"{title}: {self.count}, {'first ' if self.count > 1 else ''}{self.examples[0]}; {action}"


class Findings:
    """Findings by kind; iterates by severity, errors first, and by the table's order within."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count an occurrence.

        Args:
            kind: a key of ``KINDS``.
            example: one line that names the culprit; kept if it is among the first.
            count: occurrences that the example stands for.
        """
        assert kind in KINDS, kind
        finding = self._found.setdefault(kind, Finding(kind))
        finding.count += count
        if len(finding.examples) < _EXAMPLES_KEPT:
            finding.examples.append(example)

    def extend(self, kind: str, places: Sequence[Any] | npt.NDArray[Any], example: Callable[[Any], str]) -> None:
        """Count an occurrence at each place.

        Args:
            kind: a key of ``KINDS``.
            places: anything that ``example`` can tell apart.
            example: one line about a place; asked for the first few only.
        """
        for place in places[:_EXAMPLES_KEPT]:
            self.add(kind, example(place))
        if len(places) > _EXAMPLES_KEPT:
            self._found[kind].count += len(places) - _EXAMPLES_KEPT

    def merge(self, other: Iterable[Finding]) -> None:
        """Take over what another collector holds."""
        for finding in other:
            own = self._found.setdefault(finding.kind, Finding(finding.kind))
            own.count += finding.count
            own.examples += finding.examples[: _EXAMPLES_KEPT - len(own.examples)]

    def of(self, severity: Severity) -> list[Finding]:
        """Those of one severity."""
        return [finding for finding in self if finding.severity == severity]

    def lines(self, severities: Collection[Severity]) -> list[str]:
        """A sentence for each kind of these severities: what, how often, the first example, and what was done."""
        return [finding.line for finding in self if finding.severity in severities]

    def __iter__(self) -> Iterator[Finding]:
        order = {kind: (SEVERITIES.index(entry.severity), place) for place, (kind, entry) in enumerate(KINDS.items())}
        return iter(sorted(self._found.values(), key=lambda finding: order[finding.kind]))

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, kind: str) -> Finding:
        return self._found.get(kind, Finding(kind))
