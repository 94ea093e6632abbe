"""Parser of drawn charts: marks, lines, bars and ticks, read from the SVG."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from segtrain.report.charts import Chart

Place = tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """One layout of a chart."""

    root: ElementTree.Element

    @property
    def width(self) -> float:
        return float(self.root.attrib["viewBox"].split()[2])

    @property
    def height(self) -> float:
        return float(self.root.attrib["viewBox"].split()[3])

    def of_class(self, name: str) -> list[ElementTree.Element]:
        return [element for element in self.root.iter() if name in element.attrib.get("class", "").split()]

    def x_ticks(self) -> list[tuple[str, float]]:
        """Read labels and positions on the lower axis."""
        return [
            (t.text or "", float(t.attrib["x"])) for t in self.of_class("tick") if t.attrib["text-anchor"] == "middle"
        ]

    def y_ticks(self) -> list[tuple[str, float]]:
        """Read labels and positions on the upper axis; their text is 4 pixels lower."""
        ticks = [tick for tick in self.of_class("tick") if tick.attrib["text-anchor"] == "end"]
        return [(tick.text or "", float(tick.attrib["y"]) - 4) for tick in ticks]

    def points(self) -> dict[str, Place]:
        """Read the positions of the round marks, by tooltip."""
        return {
            "".join(mark.itertext()): (float(mark.attrib["cx"]), float(mark.attrib["cy"]))
            for mark in self.of_class("point")
            if "cx" in mark.attrib
        }

    def lines(self, name: str = "curve") -> list[list[Place]]:
        """Read the points of the lines of a class, in the order in which they are drawn."""
        return [
            [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", line.attrib["d"])]
            for line in self.of_class(name)
        ]

    def bars(self) -> list[list[tuple[float, float, float]]]:
        """Read left, top and width of the pieces of each bar."""
        groups = [g for g in self.root.iter() if any("piece" in e.attrib.get("class", "") for e in g)]
        return [
            [tuple(float(e.attrib[k]) for k in ("x", "y", "width")) for e in g if e.attrib.get("class") == "piece"]  # type: ignore[misc]
            for g in groups
        ]


def drawings(chart: Chart) -> Iterator[Drawing]:
    """Parse every layout of a chart."""
    for svg in re.findall(r"<svg.*?</svg>", str(chart.svg()), flags=re.DOTALL):
        yield Drawing(ElementTree.fromstring(svg))
