"""Proof that a figure is one function from results to a section, and its entry in the list of sections."""

from pathlib import Path

import pytest

from segtrain.benchmark.results import Results
from segtrain.metrics.registry import METRICS
from segtrain.report import sections
from segtrain.report.blocks import Charts, Section, Term
from segtrain.report.charts import Chart, Point, Style, unit_axis
from segtrain.report.writer import write_report
from tests.helpers.report_examples import results


def ap_over_time(found: Results) -> Section:
    """Draw mask AP over the seconds of an image."""
    points = [
        Point(method.seconds or 0.0, method.metric("mask_ap") or 0.0, Style(0), f"{name} in the new figure")
        for name, method in found.methods.items()
    ]
    chart = Chart("AP over time", unit_axis("seconds"), unit_axis("mask AP"), points)
    return Section("new", "A new figure", [Charts([chart], "Said beside it.")], definitions=[Term("New", "Defined.")])


def test_a_new_figure_is_drawn_listed_and_defined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "FINDINGS", (*sections.FINDINGS, ap_over_time))
    write_report(tmp_path, Results.of(results()))
    page, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    for said in ('<section id="new">', '<a href="#new">', "mask_rcnn in the new figure", "Said beside it."):
        assert said in page
    for said in ("## A new figure", "**New**"):
        assert said in text


def test_every_metric_is_defined_with_its_source(tmp_path: Path) -> None:
    write_report(tmp_path, Results.of(results()))
    text = (tmp_path / "report.md").read_text()
    for metric in METRICS:
        assert f"{metric.definition} Source: " in text
    assert "Source: Kirillov et al., Panoptic Segmentation (2019)." in text
