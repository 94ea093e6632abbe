"""Marks, ticks and lines of charts."""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import segtrain.report
from segtrain.benchmark.results import Results
from segtrain.report.blocks import Charts
from segtrain.report.charts import PALETTE, Chart, Lanes, Line, nice_scale, series_styles, step_ticks
from segtrain.report.labels import Box, Label, fit, place_labels, width_of
from segtrain.report.sections.cost import speed_chart
from segtrain.report.sections.curves import curves
from segtrain.report.sections.headline import interval_chart
from tests.helpers.charts import Drawing, drawings
from tests.helpers.report_examples import boxes_only, complete, method, results

measured = st.tuples(st.floats(1e-5, 1e3), st.floats(0, 1))


def scatter(pairs: list[tuple[float, float]]) -> list[Drawing]:
    rows = {f"m{i}": method(quality, seconds, [], aware=False) for i, (seconds, quality) in enumerate(pairs)}
    chart = speed_chart(Results.of(results(rows)))
    assert chart is not None
    return list(drawings(chart))


def by_name(drawing: Drawing) -> dict[str, tuple[float, float]]:
    return {title.split(":")[0]: place for title, place in drawing.points().items()}


@given(st.lists(measured, min_size=1, max_size=7))
def test_points_lie_between_the_axes_in_the_order_of_their_values(pairs: list[tuple[float, float]]) -> None:
    for drawing in scatter(pairs):
        places = by_name(drawing)
        for i, (seconds, quality) in enumerate(pairs):
            x, y = places[f"m{i}"]
            assert 0 < x < drawing.width
            assert 0 < y < drawing.height
            for j, (other_seconds, other_quality) in enumerate(pairs):
                if other_seconds > seconds:
                    assert places[f"m{j}"][0] >= x
                if other_quality > quality:
                    assert places[f"m{j}"][1] <= y


@given(st.lists(measured, min_size=1, max_size=12))
def test_axes_have_ticks_and_not_too_many(pairs: list[tuple[float, float]]) -> None:
    for drawing in scatter(pairs):
        across, up = drawing.x_ticks(), drawing.y_ticks()
        assert 1 <= len(across) <= 10
        assert 2 <= len(up) <= 8
        assert len({label for label, _ in across}) == len(across)


@given(st.lists(measured, min_size=1, max_size=7))
def test_frontier_touches_exactly_the_methods_that_none_beats(pairs: list[tuple[float, float]]) -> None:
    for drawing in scatter(pairs):
        (corners,) = drawing.lines("frontier")
        places = list(by_name(drawing).values())
        for x, y in places:
            beaten = any(ox <= x and oy <= y and (ox, oy) != (x, y) for ox, oy in places)
            assert beaten or min(math.dist((x, y), corner) for corner in corners) < 0.2


def test_values_stand_where_the_ticks_say() -> None:
    for drawing in scatter([(0.001, 0.1), (0.01, 0.2), (1.0, 0.5)]):
        across, up, places = dict(drawing.x_ticks()), dict(drawing.y_ticks()), by_name(drawing)
        assert places["m0"] == pytest.approx((across["1 ms"], up["0.1"]), abs=0.11)
        assert places["m1"] == pytest.approx((across["10 ms"], up["0.2"]), abs=0.11)
        assert places["m2"] == pytest.approx((across["1 s"], up["0.5"]), abs=0.11)


def curve_charts(content: Any) -> dict[str, Chart]:
    section = curves(Results.of(content))
    blocks = section.blocks if section else []
    return {chart.title: chart for block in blocks if isinstance(block, Charts) for chart in block.charts}


def test_curves_run_from_recall_0_to_1_with_the_best_on_top() -> None:
    chart = curve_charts(results())["Precision-recall at IoU 0.50"]
    lines = [series for series in chart.series if isinstance(series, Line)]
    assert [line.name for line in lines] == ["kmeans", "threshold_otsu", "mask_rcnn"]
    assert list(chart.legend) == ["mask_rcnn", "threshold_otsu", "kmeans"]
    (drawing,) = drawings(chart)
    best, across, up = drawing.lines()[-1], dict(drawing.x_ticks()), dict(drawing.y_ticks())
    assert best[0] == pytest.approx((across["0"], up["1"]), abs=0.11)
    assert best[-1] == pytest.approx((across["1"], up["0"]), abs=0.11)


def test_no_chart_without_numbers() -> None:
    content = Results.of(results({"boxes": boxes_only([])}))
    assert speed_chart(content) is None
    assert curves(content) is None
    assert interval_chart(content, "mask_ap") is None
    assert "F1 over IoU" not in curve_charts(results())


def test_no_two_methods_look_alike() -> None:
    styles = list(series_styles([f"m{i}" for i in range(30)]).values())
    assert len({(style.slot, style.dash) for style in styles}) == 30
    assert len({(style.slot, style.mark) for style in styles[: 4 * PALETTE]}) == 4 * PALETTE


def test_whiskers_span_the_interval_around_the_mark() -> None:
    chart = interval_chart(Results.of(complete()), "mask_ap")
    assert chart is not None
    assert isinstance(chart.y, Lanes)
    assert [lane.name for lane in chart.y.lanes] == ["mask_rcnn", "threshold_otsu", "kmeans", "kmeans_oracle"]
    assert "kmeans_oracle: mask AP 0.900, 95 % interval 0.720 to 0.990 (upper bound)" in chart.description
    (drawing,) = drawings(chart)
    (_, zero), (label, one) = drawing.x_ticks()[:2]
    unit = (one - zero) / float(label)
    ends = [tuple(map(float, re.findall(r"[\d.]+", w.attrib["d"]))) for w in drawing.of_class("whisker")]
    for (low, y, high), (x, at), value in zip(ends, drawing.points().values(), (0.5, 0.3, 0.11, 0.9), strict=True):
        assert [(end - zero) / unit for end in (low, high, x)] == pytest.approx(
            [0.8 * value, 1.1 * value, value], abs=0.002
        )
        assert y == pytest.approx(at, abs=0.11)
    (line,) = (line for line in drawing.of_class("axis") if line.attrib["x1"] == "0")
    heights = [y for _, y in drawing.points().values()]
    assert heights[-2] < float(line.attrib["y1"]) < heights[-1]  # the upper bound stands below the line


def test_upper_bounds_have_no_curve_no_point_and_look_alike() -> None:
    content = Results.of(complete())
    assert all("kmeans_oracle" not in chart.legend for chart in curve_charts(complete()).values())
    chart = speed_chart(content)
    assert chart is not None
    assert "kmeans_oracle" not in chart.description
    styles = series_styles(content.ranked, content.oracles)
    assert styles.pop("kmeans_oracle").slot == PALETTE
    assert styles == series_styles(content.contenders)


def test_f1_over_iou_runs_from_50_to_95() -> None:
    (drawing,) = drawings(curve_charts(complete())["F1 over IoU"])
    best, across, up = drawing.lines()[-1], dict(drawing.x_ticks()), dict(drawing.y_ticks())
    unit = up["0"] - up["1"]
    assert best[0] == pytest.approx((across["0.5"], up["0"] - 0.9 * unit), abs=0.11)
    assert best[-1][1] == pytest.approx(up["0"] - 0.15 * unit, abs=0.11)
    assert best[-1][0] - across["0.9"] == pytest.approx((across["0.9"] - across["0.8"]) / 2, abs=0.11)


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
    top, step = nice_scale(value, room)
    marked = step_ticks(top, step)
    assert value <= top <= 1
    assert 2 <= len(marked) <= 8
    assert [float(label) for _, label in marked] == pytest.approx([at for at, _ in marked])
    assert all(8 * len(label) <= room * marked[1][0] / top for _, label in marked)


def test_losses_may_add_up_to_more_than_1() -> None:
    assert nice_scale(2.9) == (3.5, 0.5)
    assert step_ticks(3.5, 0.5)[-1] == (3.5, "3.5")
