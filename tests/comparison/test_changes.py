"""Changes between two evaluations: paired, from two intervals, and their correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.comparison.changes import corrected, paired_change, unpaired_change
from segtrain.comparison.compared_results import Change
from segtrain.metrics.scores import Interval

NUMBER = st.floats(0, 1)


def test_a_paired_change_is_the_second_value_minus_the_first() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 999)
    change = paired_change(0.5, 0.4, 0.5 + noise, 0.4 + noise)
    assert change.difference == pytest.approx(-0.1)
    assert (change.p, change.outcome) == (0.001, "fell")
    assert paired_change(0.4, 0.5, 0.4 + noise, 0.5 + noise).outcome == "rose"
    assert paired_change(0.4, 0.41, 0.4 + noise, 0.4 + noise[::-1]).outcome == "undecided"


def test_the_same_number_on_all_resamples_is_no_test() -> None:
    values = np.random.default_rng(0).random(99)
    change = paired_change(0.4, 0.4, values, values)
    assert (change.low, change.high, change.p, change.outcome) == (0, 0, None, "same")


def test_a_change_that_is_shown_as_0_is_none() -> None:
    ends = Interval(0.0001, 0.0001), Interval(0.0002, 0.0002)
    change = unpaired_change(0.0001, 0.0002, *ends)
    assert change.p == 0
    assert change.outcome == "undecided"
    assert unpaired_change(0.1, 0.2, Interval(0.1, 0.1), Interval(0.2, 0.2)).outcome == "rose"


def test_what_is_undefined_or_not_resampled_has_no_test() -> None:
    none = np.empty(0)
    assert paired_change(None, 0.4, none, none) == Change(None, 0.4)
    change = paired_change(0.5, 0.4, none, none)
    assert (change.difference, change.low, change.p, change.outcome) == (pytest.approx(-0.1), None, None, "untested")
    assert unpaired_change(0.5, 0.4, None, Interval(0.3, 0.5)).outcome == "untested"


@given(NUMBER, NUMBER, *[st.floats(0, 0.3)] * 4)
def test_two_intervals_are_joined_as_zou_and_donner_do(
    before: float, after: float, low: float, high: float, low_after: float, high_after: float
) -> None:
    ends = Interval(before - low, before + high), Interval(after - low_after, after + high_after)
    change = unpaired_change(before, after, *ends)
    assert change.low is not None
    assert change.high is not None
    assert change.low == pytest.approx(after - before - np.hypot(low_after, high), abs=1e-9)
    assert change.high == pytest.approx(after - before + np.hypot(high_after, low), abs=1e-9)
    assert change.p is not None
    if abs(change.low) > 1e-6 and abs(change.high) > 1e-6:
        assert (change.p < 0.05) == (change.low > 0 or change.high < 0)


def test_correction_counts_the_tested_changes_of_a_metric() -> None:
    tested = Change(0.1, 0.2, 0.1, 0.0, 0.2, 0.03, least_p=0.01)
    changes = {("a", "f1_50"): tested, ("b", "f1_50"): tested, ("c", "f1_50"): Change(0.1, 0.1, 0.0, 0.0, 0.0)}
    found = corrected({**changes, ("a", "miou"): tested})
    assert {path: (own.p, own.least_p) for path, own in found.items()} == {
        ("a", "f1_50"): (0.06, 0.02), ("b", "f1_50"): (0.06, 0.02), ("c", "f1_50"): (None, None),
        ("a", "miou"): (0.03, 0.01),
    }  # fmt: skip
