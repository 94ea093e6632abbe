"""Where marks, ticks and lines stand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reporting_examples import boxes_only, complete, method, results

from segtrain.reporting.figures.curves import f1_over_iou, precision_recall
from segtrain.reporting.figures.drawing import PALETTE, Figure, hues
from segtrain.reporting.figures.interval_plot import interval_plot
from segtrain.reporting.figures.scatter import speed_quality

measured = st.tuples(st.floats(1e-5, 1e3), st.floats(0, 1))


def scatter(pairs: list[tuple[float, float]], width: float = 860) -> Figure:
    rows = {f"m{i}": method(quality, seconds, [], aware=False) for i, (seconds, quality) in enumerate(pairs)}
    figure = speed_quality(results(rows), width)
    assert figure is not None
    return figure


@given(st.lists(measured, min_size=1, max_size=12), st.sampled_from([340.0, 860.0]))
def test_points_lie_in_the_frame_in_the_order_of_their_values(pairs: list[tuple[float, float]], width: float) -> None:
    figure = scatter(pairs, width)
    places = {point.text: point for point in figure.points}
    for i, (seconds, quality) in enumerate(pairs):
        point = places[f"m{i}"]
        assert figure.frame.left < point.x < figure.frame.right
        assert figure.frame.top - 1e-9 <= point.y <= figure.frame.bottom + 1e-9
        for j, (other_seconds, other_quality) in enumerate(pairs):
            if other_seconds > seconds:
                assert places[f"m{j}"].x >= point.x
            if other_quality > quality:
                assert places[f"m{j}"].y <= point.y


@given(st.lists(measured, min_size=1, max_size=12), st.sampled_from([340.0, 860.0]))
def test_axes_have_ticks_and_not_too_many(pairs: list[tuple[float, float]], width: float) -> None:
    figure = scatter(pairs, width)
    assert 1 <= len(figure.x_ticks) <= 10
    assert 2 <= len(figure.y_ticks) <= 8
    assert all(figure.frame.left <= tick.at <= figure.frame.right for tick in figure.x_ticks)
    assert [tick.label for tick in figure.x_ticks] == list(dict.fromkeys(tick.label for tick in figure.x_ticks))


@given(st.lists(measured, min_size=1, max_size=8))
def test_frontier_touches_exactly_the_methods_that_none_beats(pairs: list[tuple[float, float]]) -> None:
    figure = scatter(pairs)
    corners = {(float(x), float(y)) for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", figure.frontier)}
    for point in figure.points:
        beaten = any(o.x <= point.x and o.y <= point.y and (o.x, o.y) != (point.x, point.y) for o in figure.points)
        if not beaten:
            assert (round(point.x, 1), round(point.y, 1)) in {(round(x, 1), round(y, 1)) for x, y in corners}


def test_values_stand_where_the_ticks_say() -> None:
    figure = scatter([(0.001, 0.1), (0.01, 0.2), (1.0, 0.5)])
    across = {tick.label: tick.at for tick in figure.x_ticks}
    up = {tick.label: tick.at for tick in figure.y_ticks}
    places = {point.text: (point.x, point.y) for point in figure.points}
    assert places["m0"] == pytest.approx((across["1 ms"], up["0.10"]))
    assert places["m1"] == pytest.approx((across["10 ms"], up["0.20"]))
    assert places["m2"] == pytest.approx((across["1 s"], up["0.50"]))


def test_curves_run_from_recall_0_to_1_with_the_best_on_top() -> None:
    figure = precision_recall(results(), "iou50", "title", 400)
    assert figure is not None
    assert [curve.method for curve in figure.curves] == ["kmeans", "threshold_otsu", "mask_rcnn"]
    frame = figure.frame
    assert figure.curves[-1].path.startswith(f"M{frame.left:.1f} {frame.top:.1f}L")
    assert figure.curves[-1].path.endswith(f"L{frame.right:.1f} {frame.bottom:.1f}")


def test_no_figure_without_numbers() -> None:
    content = results({"boxes": boxes_only([])})
    assert speed_quality(content, 860) is None
    assert precision_recall(content, "mean", "title", 400) is None
    assert interval_plot(content, "mask_ap", 400) is None
    assert f1_over_iou(results(), 400) is None  # results from before there was such a curve


def test_no_two_methods_look_alike() -> None:
    rows = {f"m{i}": method(0.5, 1, [], aware=False) for i in range(3 * PALETTE)}
    looks = hues(results(rows))
    assert len({(look.slot, look.dash) for look in looks.values()}) == 3 * PALETTE


def test_whiskers_span_the_interval_around_the_mark() -> None:
    plot = interval_plot(complete(), "mask_ap", 400)
    assert plot is not None
    assert [mark.name for mark in plot.marks] == ["mask_rcnn", "threshold_otsu", "kmeans", "kmeans_oracle"]
    zero, step = plot.x_ticks[0].at, plot.x_ticks[1].at - plot.x_ticks[0].at
    unit = step / float(plot.x_ticks[1].label)
    for mark, value in zip(plot.marks, (0.5, 0.3, 0.11, 0.9), strict=True):
        assert mark.whisker is not None
        assert [(x - zero) / unit for x in (*mark.whisker, mark.x)] == pytest.approx([0.8 * value, 1.1 * value, value])
        assert plot.frame.left <= mark.whisker[0] < mark.x < mark.whisker[1] <= plot.frame.right + 1e-9
        assert plot.frame.top < mark.y < plot.frame.bottom
    assert plot.bounds_at is not None
    assert plot.marks[-2].y < plot.bounds_at < plot.marks[-1].y  # the oracle stands below the line
    assert "kmeans_oracle: mask AP 0.900, 95 % interval 0.720 to 0.990 (upper bound)" in plot.description
    figure = speed_quality(complete(), 860)
    assert figure is not None
    for point in figure.points:
        assert point.whisker is not None
        assert point.whisker[0] > point.y > point.whisker[1] >= figure.frame.top


def test_marks_without_intervals_and_without_oracles() -> None:
    plot = interval_plot(results(), "miou", 400)
    assert plot is not None
    assert plot.bounds_at is None
    assert all(mark.whisker is None for mark in plot.marks)


def test_oracles_have_no_curve_no_point_and_look_alike() -> None:
    content = complete()
    for figure in (precision_recall(content, "mean", "title", 400), f1_over_iou(content, 400)):
        assert figure is not None
        assert [curve.method for curve in figure.curves] == ["kmeans", "threshold_otsu", "mask_rcnn"]
    assert "kmeans_oracle" not in {point.text for point in getattr(speed_quality(content, 860), "points", ())}
    assert hues(content)["kmeans_oracle"].slot == PALETTE
    assert {name: hue for name, hue in hues(content).items() if name != "kmeans_oracle"} == hues(results())


def test_f1_over_iou_runs_from_50_to_95() -> None:
    figure = f1_over_iou(complete(), 400)
    assert figure is not None
    frame, path = figure.frame, figure.curves[-1].path
    first, last = path[1:].split("L")[0], path.split("L")[-1]
    assert [float(v) for v in first.split()] == pytest.approx([frame.left, *frame.at(0, 0.9)[1:]], abs=0.06)
    assert [float(v) for v in last.split()] == pytest.approx([frame.right, *frame.at(1, 0.15)[1:]], abs=0.06)
    assert figure.x_ticks[0].at == pytest.approx(frame.left)
