"""Where marks, ticks and lines stand."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import segtrain.report
from segtrain.report.figures.axes import scale, ticks
from segtrain.report.figures.curves import f1_over_iou, precision_recall
from segtrain.report.figures.drawing import PALETTE, Figure, hues
from segtrain.report.figures.interval_plot import interval_plot
from segtrain.report.figures.labels import Box, Label, place_labels
from segtrain.report.figures.scatter import speed_quality
from segtrain.report.figures.text import fit, width_of
from tests.helpers.report_examples import boxes_only, complete, method, results

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
    assert places["m0"] == pytest.approx((across["1 ms"], up["0.1"]))
    assert places["m1"] == pytest.approx((across["10 ms"], up["0.2"]))
    assert places["m2"] == pytest.approx((across["1 s"], up["0.5"]))


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
    rows = {f"m{i}": method(0.5, 1, [], aware=False) for i in range(30)}
    looks = list(hues(results(rows)).values())
    assert len({(look.slot, look.dash) for look in looks}) == 30
    assert len({(look.slot, look.mark) for look in looks[: 4 * PALETTE]}) == 4 * PALETTE


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


# What eyes see that lack the cones of long or of middle waves (Machado, Oliveira and Fernandes 2009, severity 1).
EYES = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
FRAME = (46.0, 30.0, 340.0, 354.0)


def stylesheet() -> str:
    return (Path(segtrain.report.__file__).parent / "templates/report.css.jinja").read_text()


def colours(theme: str) -> dict[str, np.ndarray]:
    """The style sheet's colours of one theme, by name: sRGB in [0, 1]."""
    block = stylesheet().split(f"color-scheme: {theme};")[1].split("%}" if theme == "dark" else "}")[0]
    stated = re.findall(r"--([a-z0-9-]+): #(\w{6});", block)
    return {name: np.array([int(value[i : i + 2], 16) / 255 for i in (0, 2, 4)]) for name, value in stated}


def linear(colour: np.ndarray) -> np.ndarray:
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def lab(colour: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    relative = (XYZ @ np.clip(eyes @ linear(colour), 0, 1)) / XYZ.sum(1)
    x, y, z = (math.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in relative)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(a: np.ndarray, b: np.ndarray) -> float:
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_of_methods_can_be_told_apart_and_read(theme: str) -> None:
    stated = colours(theme)
    page, methods = stated["page"], [stated[f"m{i}"] for i in range(PALETTE + 1)]
    for eyes in EYES.values():
        seen = [lab(colour, np.asarray(eyes)) for colour in methods]
        assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 20
    assert min(contrast(colour, page) for colour in methods[:PALETTE]) > 4.6  # names are written in them
    # Whiskers let the page shine through; those of the oracles, the last colour, less so.
    opacity, of_bounds = (
        float(re.search(rf"{rule} {{[^}}]*opacity: ([\d.]+)", stylesheet())[1])  # type: ignore[index]
        for rule in (r"svg \.whisker", r"svg \.bound \.whisker")
    )
    for colour, part in zip(methods, [opacity] * PALETTE + [of_bounds], strict=True):
        assert contrast(part * colour + (1 - part) * page, page) > 3


def distance(box: Box, spot: tuple[float, float]) -> float:
    return math.hypot(max(box[0] - spot[0], 0, spot[0] - box[2]), max(box[1] - spot[1], 0, spot[1] - box[3]))


def boxes(labels: list[Label], names: list[str]) -> list[Box]:
    """Where names stand, from what SVG is told."""
    found = []
    for label, name in zip(labels, names, strict=True):
        length = width_of(name)
        left = label.x - {"start": 0, "middle": length / 2, "end": length}[label.anchor]
        found.append((left, label.y - 10.5, left + length, label.y + 2.5))
    return found


def test_names_stand_at_their_own_marks() -> None:
    # Three marks that cover one another and two that almost do, as in a report of nuclei.
    spots = [(400.0, 200.0), (405.0, 201.0), (411.0, 200.0), (425.0, 186.0), (160.0, 310.0), (168.0, 306.0)]
    names = ["edge_tuned", "kmeans_tuned", "edge_canny", "kmeans_lab", "threshold_multi", "threshold_mean"]
    labels = place_labels(spots, names, [(y - 30, y + 30) for _, y in spots], (46, 30, 780, 354))
    placed = boxes(labels, names)
    for i, (label, box) in enumerate(zip(labels, placed, strict=True)):
        own = distance(box, spots[i])
        assert own <= 1 + min(distance(box, spot) for spot in spots)
        assert (label.leader is not None) == (own > 12)
        assert label.leader is None or distance(box, label.leader) < 1e-9
        assert not any(box[0] < x < box[2] and y - 30 < box[3] and box[1] < y + 30 for x, y in spots)
        for other in placed[:i]:
            assert box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]


@given(st.lists(st.tuples(st.floats(60, 320), st.floats(40, 340)), min_size=1, max_size=12, unique=True))
def test_names_stay_inside_the_frame(spots: list[tuple[float, float]]) -> None:
    names = ["threshold_local"] * len(spots)
    for box in boxes(place_labels(spots, names, [None] * len(spots), FRAME), names):
        assert FRAME[0] <= box[0] < box[2] <= FRAME[2]
        assert FRAME[1] - 9 <= box[1] < box[3] <= FRAME[3] + 9


@given(st.text(min_size=1, max_size=60), st.floats(40, 200))
def test_names_are_shortened_to_the_room_there_is(name: str, room: float) -> None:
    short = fit(name, room)
    assert width_of(short) <= room
    assert (short == name) == (width_of(name) <= room)
    assert "…" in short or short == name
    assert name.startswith(short[0])
    assert name.endswith(short[-1])


@given(st.floats(0, 1), st.floats(60, 800))
def test_labels_of_an_axis_do_not_run_together(value: float, room: float) -> None:
    top, step = scale(value, room)
    marked = ticks(top, step)
    assert value <= top <= 1
    assert 2 <= len(marked) <= 8
    assert [float(label) for _, label in marked] == pytest.approx([fraction * top for fraction, _ in marked])
    assert all(8 * len(label) <= room * marked[1][0] for _, label in marked)


def test_losses_may_add_up_to_more_than_1() -> None:
    assert scale(2.9) == (3.5, 0.5)
    assert ticks(3.5, 0.5)[-1] == (1.0, "3.5")
