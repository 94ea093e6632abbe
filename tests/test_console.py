"""Progress in a terminal and without one."""

import io

import pytest
from rich.console import Console

from segtrain.console import Heartbeat, progress, with_progress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pipe() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


def lines_of(clock: Clock) -> tuple[list[str], Heartbeat]:
    said: list[str] = []
    return said, Heartbeat(said.append, clock)


def test_without_a_terminal_a_line_every_30_seconds_says_where_it_is(clock: Clock, pipe: Console) -> None:
    said, heartbeat = lines_of(clock)
    with progress("scoring", 100, console=pipe, heartbeat=heartbeat) as stage:
        for _ in range(100):
            clock.now += 1
            stage.advance()
    assert said == [
        "scoring: 30 of 100, 0:00:30 (0:01:10 left)",
        "scoring: 60 of 100, 0:01:00 (0:00:40 left)",
        "scoring: 90 of 100, 0:01:30 (0:00:10 left)",
    ]


def test_short_stages_share_the_30_seconds(clock: Clock, pipe: Console) -> None:
    said, heartbeat = lines_of(clock)
    for number in range(4):
        with progress(f"stage {number}", 2, console=pipe, heartbeat=heartbeat) as stage:
            for _ in range(2):
                clock.now += 6
                stage.advance()
    assert said == ["stage 2: 1 of 2, 0:00:06 (0:00:06 left)"]


def test_a_share_is_told_in_percent_with_its_state(clock: Clock, pipe: Console) -> None:
    said, heartbeat = lines_of(clock)
    with progress("tuning otsu", console=pipe, heartbeat=heartbeat) as stage:
        clock.now += 3700
        stage.update(0.426, "17 trials, best 0.512")
        clock.now += 29
        stage.update(0.9)
        clock.now += 1
        stage.update(1.2)
    assert said == [
        "tuning otsu: 43 %, 17 trials, best 0.512, 1:01:40 (1:23:05 left)",
        "tuning otsu: 100 %, 17 trials, best 0.512, 1:02:10",
    ]


@pytest.mark.parametrize("total", [None, 4])
def test_a_terminal_has_a_bar_and_no_lines(clock: Clock, total: int | None) -> None:
    said, heartbeat = lines_of(clock)
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=100)
    with progress("drawing", total, console=terminal, heartbeat=heartbeat) as stage:
        clock.now += 100
        stage.update(1, "cells")
    assert not said
    assert "drawing" in shown.getvalue()
    assert ("100 %" if total is None else "1 of 4") in shown.getvalue()
    assert "cells" in shown.getvalue()


def test_items_are_passed_on() -> None:
    assert list(with_progress("counting", [3, 1, 2])) == [3, 1, 2]


def test_a_stage_of_less_than_a_second_says_nothing(clock: Clock, pipe: Console) -> None:
    said, heartbeat = lines_of(clock)
    for seconds in (100, 0.9, 1):
        clock.now += 100  # a line is due
        with progress(f"{seconds} s", 1, console=pipe, heartbeat=heartbeat) as stage:
            clock.now += seconds
            stage.advance()
    assert said == ["100 s: 1 of 1, 0:01:40", "1 s: 1 of 1, 0:00:01"]


def test_a_stage_within_a_stage_has_its_own_bar() -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=100)
    with progress("training", console=terminal) as outer, progress("validation", 2, console=terminal) as inner:
        inner.advance()
        outer.update(0.5)
    assert "1 of 2" in shown.getvalue()
    assert "50 %" in shown.getvalue()
