"""Charts of a report: axes, series, and their drawing as SVG.

Colours are variables of the page's style sheet, so that the same drawing suits the light theme, the dark one and print.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from segtrain.report.labels import fit_all, place_labels, width_of
from segtrain.report.text import number_text, time_text

# Pixels. A chart is laid out for a desktop and again for a phone, or narrow enough for both: its text stays legible.
WIDE, NARROW, BOTH, SMALL = 780.0, 340.0, 360.0, 180.0
# Colours --m0 to --m6 of templates/report.css.jinja, distinct without one kind of cones too; --m7 is the upper bounds'.
PALETTE = 7
# Each further round of the colours has another mark (names of classes in the style sheet) and other dashes.
_MARKS = ("", "ring", "diamond", "ring diamond")
_DASHES = ("", "7 4", "2 3", "10 3 2 3", "12 3 2 3 2 3")
_LANE, _LANES_GAP = 24.0, 28.0  # pixels from one lane to the next, and above the upper bounds
_BAR = 18.0  # pixels
_NAME = 136.0  # most pixels of a lane's name; a point's label may take a little more
_DOT = 1.2  # radius of the circle at a value of a line, which the line's own width fills


@dataclass(frozen=True)
class Style:
    """Appearance of a method in every chart and table: colour slot, shape of its marks, dashes of its lines."""

    slot: int
    mark: str = ""
    dash: str = ""

    @property
    def colour(self) -> str:
        """Inline style that sets the colour variable ``--c``."""
        return f"--c: var(--m{self.slot})"


def series_styles(names: Sequence[str], upper_bounds: Collection[str] = ()) -> dict[str, Style]:
    """Assign a style to every method, in the order of their ranks; upper bounds share one.

    Args:
        names: names of the methods, best first.
        upper_bounds: names of the methods that are upper bounds.
    """
    contenders = [name for name in names if name not in upper_bounds]
    styles = {}
    for i, name in enumerate(contenders):
        turn = i // PALETTE
        styles[name] = Style(i % PALETTE, _MARKS[turn % len(_MARKS)], _DASHES[turn % len(_DASHES)])
    return {name: styles.get(name, Style(PALETTE, "ring", "2 3")) for name in names}


@dataclass(frozen=True)
class Axis:
    """A numeric axis.

    Attributes:
        title: quantity of the axis.
        low: value at the start of the axis.
        high: value at the end of the axis; None to fit the largest value of the series.
        ticks: values and labels; None to choose round ones.
        log: True for a logarithmic axis of times in seconds, with its own range and ticks.
    """

    title: str
    low: float = 0.0
    high: float | None = None
    ticks: Sequence[tuple[float, str]] | None = None
    log: bool = False


UNIT_TICKS = ((0.0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1.0, "1"))


def unit_axis(title: str) -> Axis:
    """Make an axis from 0 to 1 with a tick at each quarter."""
    return Axis(title, 0.0, 1.0, UNIT_TICKS)


@dataclass(frozen=True)
class Lane:
    """One method of a chart whose upper axis lists methods, one below the other.

    Attributes:
        name: text at the left.
        number: text beside the name.
        title: tooltip.
        upper_bound: True to draw it in the lower part, under a line.
        faint: True for faded bars.
    """

    name: str
    number: str
    title: str
    upper_bound: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Lanes:
    """An axis of methods, upper bounds last; with a ``title`` the numbers of lanes are a column with this header."""

    lanes: Sequence[Lane]
    title: str = ""


@dataclass(frozen=True)
class Line:
    """A line through (x, y) values.

    Attributes:
        points: values on both axes.
        style: style of the method; None for a dotted line of reference.
        name: name of the method, for the tooltip and the legend.
        dots: True to mark each value.
    """

    points: Sequence[tuple[float, float]]
    style: Style | None = None
    name: str = ""
    dots: bool = False


@dataclass(frozen=True)
class Point:
    """A mark at a value.

    Attributes:
        x: value on the lower axis.
        y: value on the upper axis, or the index of a lane.
        style: style of the method.
        title: tooltip.
        label: name that is placed beside the mark.
        x_interval: ends of a whisker along the lower axis.
        y_interval: ends of a whisker along the upper axis.
        radius: radius in pixels.
    """

    x: float
    y: float
    style: Style
    title: str
    label: str = ""
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None
    radius: float = 5.5


@dataclass(frozen=True)
class Bar:
    """Values of one lane laid end to end: (colour slot, name, value) each, at least 0."""

    lane: int
    pieces: Sequence[tuple[int, str, float]]


Series = Line | Point | Bar


@dataclass(frozen=True)
class Chart:
    """A chart: title, two axes, and series that are drawn in their order.

    Attributes:
        title: title of the chart.
        x: lower axis.
        y: upper axis, numeric or a list of methods.
        series: lines, points and bars.
        widths: width of a single layout, or of one for a desktop and one for a phone.
        aspect: height over width; ignored by charts of lanes and of labelled points.
        note: text in the upper right corner.
    """

    title: str
    x: Axis
    y: Axis | Lanes
    series: Sequence[Series]
    widths: Sequence[float] = (BOTH,)
    aspect: float = 0.86
    note: str = ""

    @property
    def description(self) -> str:
        """Content in words, for screen readers."""
        if isinstance(self.y, Lanes):
            return "; ".join(f"{lane.title}{' (upper bound)' * lane.upper_bound}" for lane in self.y.lanes) + "."
        points = [series.title for series in self.series if isinstance(series, Point)]
        if points:
            return "; ".join(points) + "."
        return f"{self.y.title} over {self.x.title}, one line each for {', '.join(self.legend)}."

    @property
    def legend(self) -> dict[str, Style]:
        """Styles of the named lines, the one drawn last, which lies on top, first; of lines of one name its style."""
        lines = [series for series in self.series if isinstance(series, Line)]
        return dict(reversed({line.name: line.style for line in lines if line.style}.items()))

    def svg(self) -> Markup:
        """Write the chart once for each of its widths; the style sheet shows the one that fits."""
        kinds = ("",) if len(self.widths) == 1 else (" wide", " narrow")
        return Markup("\n").join(
            _Drawing(self, width, kind).svg() for width, kind in zip(self.widths, kinds, strict=True)
        )


def frontier(points: Iterable[Point]) -> Line:
    """Compute the staircase of the best points (Pareto front): a smaller x and a larger y are better."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted(((point.x, point.y) for point in points), key=lambda place: (place[0], -place[1])):
        if not corners or y > corners[-1][1]:
            if corners:
                corners.append((x, corners[-1][1]))
            corners.append((x, y))
    return Line([*corners, (math.inf, corners[-1][1])])


def nice_scale(value: float, room: float = math.inf) -> tuple[float, float]:
    """Choose the end of an axis that starts at 0, a little above the value, and its round step.

    Args:
        value: largest value to show, at least 0; up to 1 the end is at most 1.
        room: pixels of an axis whose labels stand side by side.
    """
    steps = [digit * 10.0**power for power in range(-3, 3) for digit in (1, 2, 5)]
    counts = [max(1, math.ceil(value / step * 1.04)) for step in steps]
    step, count = next(
        (step, count)
        for step, count in zip(steps, counts, strict=True)
        if value / step <= 6 and count * (8.0 * (_decimals(step) + 2) + 8.0) <= room  # digits, and air between labels
    )
    return (min(1.0, step * count) if value <= 1 else step * count), step


def axis_from_zero(title: str, high: float, least_step: float = 0.0) -> Axis:
    """Make an axis from 0 to a number, with up to five round steps.

    Args:
        title: quantity of the axis.
        high: largest value to show, at least 0.
        least_step: smallest distance of two ticks, such as 1 for an axis of counts.

    >>> axis = axis_from_zero("images", 1300)
    >>> axis.high, [label for _, label in axis.ticks]
    (1500.0, ['0', '500', '1,000', '1,500'])
    """
    high = high if high > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(high))
    step = next(digit * power for digit in (0.2, 0.5, 1.0, 2.0) if high / (digit * power) <= 5.001)
    step = max(step, least_step)
    count = math.ceil(high / step - 1e-9)
    return Axis(title, 0.0, count * step, [(n * step, f"{n * step:,.6g}") for n in range(count + 1)])


def step_ticks(high: float, step: float) -> list[tuple[float, str]]:
    """List every whole step of an axis from 0 to its end, with its label."""
    return [(i * step, f"{i * step:.{_decimals(step)}f}") for i in range(math.floor(high / step + 1e-9) + 1)]


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _time_axis(times: Sequence[float], few: bool) -> tuple[float, float, list[tuple[float, str]]]:
    """Compute the logarithms of an axis' ends, and ticks at 1-2-5 steps for few decades, else at powers of ten."""
    logs = [math.log10(time) for time in times]
    # A quarter of a decade on both sides is room for the marks, and always holds a tick.
    pad = max(0.25, 0.12 * (max(logs) - min(logs)))
    low, high = min(logs) - pad, max(logs) + pad
    digits = (1, 2, 5) if high - low < (1.4 if few else 2.6) else (1,)
    ticks = [d * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for d in digits]
    return low, high, [(time, time_text(time)) for time in ticks if low <= math.log10(time) <= high]


class _Drawing:
    """One chart at one width: the rectangle between its axes, in pixels, and what is drawn there."""

    def __init__(self, chart: Chart, width: float, kind: str) -> None:
        self.chart, self.width, self.kind = chart, width, kind
        points = [series for series in chart.series if isinstance(series, Point)]
        if isinstance(chart.y, Lanes):
            lanes = chart.y.lanes
            self.names = fit_all([lane.name for lane in lanes], _NAME)
            names = max(map(width_of, self.names))
            numbers = 52.0 if chart.y.title else 0.0  # pixels beside the names; at the right without a title
            gap = _LANES_GAP if any(lane.upper_bound for lane in lanes) else 0.0
            self.numbers_at = names + numbers if numbers else width
            self.left, self.right = names + numbers + 12, width - (16 if numbers else 48)
            self.top = 20.0 if numbers else 12.0
            self.bottom = self.top + len(lanes) * _LANE + gap
            self.height = self.bottom + 40
        else:
            labels = sum(bool(point.label) for point in points)
            # Many names need height where they have no width.
            labelled = 400.0 + (14 * max(0, labels - 13) if width < 500 else 0)
            self.height = labelled if labels else chart.aspect * width
            self.left, self.top, self.right, self.bottom = 44.0, 28.0, width - 14, self.height - 46
        x_values = [*(p.x for p in points), *(end for p in points for end in p.x_interval or ())]
        y_values = [*(p.y for p in points), *(end for p in points for end in p.y_interval or ())]
        for series in chart.series:
            if isinstance(series, Line):
                x_values += [x for x, _ in series.points]
                y_values += [y for _, y in series.points]
            elif isinstance(series, Bar):
                x_values.append(sum(value for *_, value in series.pieces))
        self.x_of, self.x_ticks = _axis(chart.x, x_values, self.left, self.right)
        if isinstance(chart.y, Axis):
            self.y_of, self.y_ticks = _axis(chart.y, y_values, self.bottom, self.top)
        else:
            self.y_of, self.y_ticks = self._middle_of_lane, []

    def svg(self) -> Markup:
        """Write axes, lanes and series."""
        content = [*self._axes(), *self._lanes()]
        for series in self.chart.series:
            if isinstance(series, Line):
                content += self._line(series)
            elif isinstance(series, Bar):
                content.append(self._bar(series))
        content += self._points([series for series in self.chart.series if isinstance(series, Point)])
        if self.chart.note:
            content.append(svg_text(self.right, 12, self.chart.note, "number", "end"))
        return svg_tag(
            "svg", *content,
            class_=f"figure{self.kind}", style=f"max-width: {self.width:.0f}px",
            viewBox=f"0 0 {self.width:.0f} {self.height:.0f}", role="img",
            aria_label=f"{self.chart.title}. {self.chart.description}",
        )  # fmt: skip

    def _middle_of_lane(self, index: float) -> float:
        assert isinstance(self.chart.y, Lanes)
        gap = _LANES_GAP * self.chart.y.lanes[int(index)].upper_bound
        return self.top + (index + 0.5) * _LANE + gap

    def _axes(self) -> list[Markup]:
        found = []
        for i, (value, label) in enumerate(self.y_ticks):
            y = self.y_of(value)
            found.append(svg_tag("line", class_="grid" if i else "axis", x1=self.left, x2=self.right, y1=y, y2=y))
            found.append(svg_text(self.left - 8, y + 4, label, "tick", "end"))
        for i, (value, label) in enumerate(self.x_ticks):
            x, is_axis = self.x_of(value), not i and not self.y_ticks
            found.append(svg_tag("line", class_="axis" if is_axis else "grid", x1=x, x2=x, y1=self.top, y2=self.bottom))
            found.append(svg_text(x, self.bottom + 17, label, "tick", "middle"))
        found.append(svg_text(self.right, self.bottom + 36, f"{self.chart.x.title} →", "title", "end"))
        if isinstance(self.chart.y, Axis):
            found.append(svg_text(0, 12, f"{self.chart.y.title} ↑", "title"))
        return found

    def _lanes(self) -> list[Markup]:
        if not isinstance(self.chart.y, Lanes):
            return []
        found, lanes = [], self.chart.y.lanes
        if self.chart.y.title:
            found.append(svg_text(self.numbers_at, 12, self.chart.y.title, "title", "end"))
        bounds = [i for i, lane in enumerate(lanes) if lane.upper_bound]
        if bounds:
            line = self.top + bounds[0] * _LANE + 7
            found.append(svg_text(0, line + 14, "upper bounds", "title"))
            found.append(svg_tag("line", class_="axis", x1=0, x2=self.width, y1=line, y2=line))
        for i, lane in enumerate(lanes):
            y = self.y_of(i) + 4
            found.append(
                svg_tag(
                    "g",
                    svg_tag("title", escape(lane.title)),
                    svg_text(0, y, self.names[i], "title" if lane.upper_bound else "name"),
                    svg_text(self.numbers_at, y, lane.number, "title" if lane.upper_bound else "number", "end"),
                )
            )
        return found

    def _line(self, line: Line) -> list[Markup]:
        places = [(min(self.right, self.x_of(x)) if x < math.inf else self.right, self.y_of(y)) for x, y in line.points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        if line.style is None:
            return [svg_tag("path", class_="frontier", d=path)]
        if line.dots:
            half = f"a{_DOT} {_DOT} 0 1 0"
            circle = f"{half} {2 * _DOT:.1f} 0{half} {-2 * _DOT:.1f} 0"
            path += "".join(f"M{x - _DOT:.1f} {y:.1f}{circle}" for x, y in places)
        return [
            svg_tag(
                "path", svg_tag("title", escape(line.name)),
                class_="curve", data_series=line.name, d=path,
                stroke_dasharray=line.style.dash or None, style=line.style.colour,
            )
        ]  # fmt: skip

    def _bar(self, bar: Bar) -> Markup:
        assert isinstance(self.chart.y, Lanes)
        lane, middle, left = self.chart.y.lanes[bar.lane], self.y_of(bar.lane), 0.0
        found = [svg_tag("title", escape(lane.title))]
        for slot, name, value in bar.pieces:
            start, width = self.x_of(left), self.x_of(left + value) - self.x_of(left)
            left += value
            if width < 0.5:
                continue
            found.append(
                svg_tag(
                    "rect", svg_tag("title", escape(f"{name}: {number_text(value)}")),
                    class_="piece", x=start, y=middle - _BAR / 2, width=width, height=_BAR,
                    style=f"--c: var(--e{slot})",
                )
            )  # fmt: skip
            if width > width_of(name) + 8 and not lane.upper_bound and not lane.faint:
                found.append(svg_text(start + width / 2, middle + 4, name, "inside", "middle"))
        return svg_tag("g", *found, class_=f"{'bound' * lane.upper_bound}{' faint' * lane.faint}".strip() or None)

    def _points(self, points: Sequence[Point]) -> list[Markup]:
        """Draw whiskers, then marks, large ones below small ones, then labels."""
        found, labels = [], []
        spots = [(self.x_of(point.x), self.y_of(point.y)) for point in points]
        upright = [
            (self.y_of(point.y_interval[0]), self.y_of(point.y_interval[1])) if point.y_interval else None
            for point in points
        ]
        for point, (x, y), ends in zip(points, spots, upright, strict=True):
            d = f"M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}" if ends else ""
            if point.x_interval:
                d = f"M{self.x_of(point.x_interval[0]):.1f} {y:.1f}H{self.x_of(point.x_interval[1]):.1f}"
            if d:
                bound = "bound" if point.style.slot == PALETTE else None
                whisker = svg_tag("path", svg_tag("title", escape(point.title)), class_="whisker", d=d)
                found.append(svg_tag("g", whisker, class_=bound, style=point.style.colour))
        if any(point.label for point in points):
            names = fit_all([point.label for point in points], min(1.2 * _NAME, 0.36 * self.width))
            frame = (self.left, self.top, self.width, self.bottom)
            for point, (x, y), name, label in zip(
                points, spots, names, place_labels(spots, names, upright, frame), strict=True
            ):
                colour, title = point.style.colour, svg_tag("title", escape(point.title))
                if label.leader:
                    x2, y2 = label.leader
                    found.append(svg_tag("line", class_="leader", x1=x, y1=y, x2=x2, y2=y2, style=colour))
                labels.append(svg_text(label.x, label.y, name, "halo", label.anchor, title, style=colour))
        order = sorted(range(len(points)), key=lambda i: -points[i].radius)
        return [*found, *(_mark(points[i], *spots[i]) for i in order), *labels]


def _axis(
    axis: Axis, values: Sequence[float], begin: float, end: float
) -> tuple[Callable[[float], float], Sequence[tuple[float, str]]]:
    """Map values to pixels, and choose ticks."""
    values = [value for value in values if math.isfinite(value)]
    if axis.log:
        low, high, ticks = _time_axis(values, few=abs(end - begin) < 440)
        return lambda value: begin + (math.log10(value) - low) / (high - low) * (end - begin), ticks
    if axis.high is None:
        # Labels of an upright axis stand one above the other.
        top, step = nice_scale(max([0.0, *values]), end - begin if end > begin else math.inf)
        given: Sequence[tuple[float, str]] = step_ticks(top, step)
    else:
        top, given = axis.high, axis.ticks or ()
    return lambda value: begin + (value - axis.low) / (top - axis.low) * (end - begin), axis.ticks or given


def _mark(point: Point, x: float, y: float) -> Markup:
    title, class_ = svg_tag("title", escape(point.title)), f"point {point.style.mark}".strip()
    if "diamond" in point.style.mark:
        r = 1.25 * point.radius
        d = f"M{x:.1f} {y - r:.1f}l{r:.1f} {r:.1f} {-r:.1f} {r:.1f} {-r:.1f} {-r:.1f}z"
        return svg_tag("path", title, class_=class_, d=d, style=point.style.colour)
    return svg_tag("circle", title, class_=class_, cx=x, cy=y, r=point.radius, style=point.style.colour)


def svg_text(
    x: float, y: float, text: str, class_: str, anchor: str | None = None, *children: Markup, style: str | None = None
) -> Markup:
    """Write a text at a place in pixels; its anchor is the start by default."""
    return svg_tag("text", escape(text), *children, class_=class_, x=x, y=y, text_anchor=anchor, style=style)


def svg_tag(name: str, *children: Markup, **attributes: str | float | None) -> Markup:
    """Write an element; None leaves an attribute out, and an underscore in its name is a hyphen."""
    written = []
    for key, value in attributes.items():
        if value is not None:
            text = value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
            written.append(f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    return Markup(f"<{name}{''.join(written)}>{''.join(children)}</{name}>")
