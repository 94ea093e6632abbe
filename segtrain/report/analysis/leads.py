"""How sure the difference of two rows is, and whether the data can tell them apart."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from segtrain.metrics.bootstrap import CLEAR
from segtrain.report.analysis.mappings import Results, number
from segtrain.report.text import p_phrase as p_said

Answer = Literal["apart", "cannot", "few"]


class Lead(NamedTuple):
    """By how much one row is better than another.

    Attributes:
        low: lower end of the 95 % interval.
        high: upper end.
        p: of the two being equal; corrected where one of them is Mask R-CNN, that of the pair alone otherwise.
        least_p: the least that p can be with so many resamples; None if it is not known.
        rows: how many p is corrected for.
    """

    low: float
    high: float
    p: float
    least_p: float | None
    rows: int

    @property
    def answer(self) -> Answer:
        """Whether the data tell the two apart, cannot, or could not have: no p is small with so few resamples."""
        if self.p < CLEAR:
            return "apart"
        return "few" if self.least_p is not None and self.p <= self.least_p else "cannot"

    @property
    def words(self) -> str:
        """The interval and p, and what made p large where the interval lies to one side of 0."""
        low, high = (f"{round(end, 3) + 0.0:.3f}".replace("-", "−") for end in (self.low, self.high))  # no "-0.000"
        said = f"the difference lies between {low} and {high}, {p_said(self.p, self.least_p)}"
        one_sided = self.low > 0 or self.high < 0
        return (
            f"{said} after correction for {self.rows} rows" if one_sided and self.p >= CLEAR and self.rows > 1 else said
        )


def lead(results: Results, better: str, worse: str, key: str) -> Lead | None:
    """How sure the difference of two rows is: one of them Mask R-CNN, or both the best; None where it is not known."""
    standard, known = results["reference"], results.get("comparisons") or {}
    if standard in (better, worse):
        other = worse if better == standard else better
        rows = sum(key in (entries or {}) for entries in known.values())
        return _read((known.get(other) or {}).get(key), rows, turned=better == standard)
    contest = (results.get("contests") or {}).get(key) or {}
    if {contest.get("first"), contest.get("second")} != {better, worse}:
        return None
    return _read(contest, 1, turned=contest["first"] == worse)


def _read(entry: Mapping[str, Any] | None, rows: int, *, turned: bool) -> Lead | None:
    low, high, p, least = (number((entry or {}).get(part)) for part in ("low", "high", "p", "least_p"))
    if low is None or high is None or p is None:
        return None
    return Lead(-high, -low, p, least, rows) if turned else Lead(low, high, p, least, rows)
