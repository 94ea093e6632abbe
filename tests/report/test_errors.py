"""Errors, merges and splits in the report."""

from types import SimpleNamespace
from typing import Any

import pytest

from segtrain.benchmark.results import Results
from segtrain.benchmark.runner import MethodResult
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.evaluation import TRACKS, Detections, score
from segtrain.metrics.tide import MISSES, TYPES
from segtrain.report.blocks import Charts
from segtrain.report.charts import Bar, Chart, Lanes
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.row_analysis import Analyst
from segtrain.report.sections.error_types import TYPES as LOSSES
from segtrain.report.sections.error_types import error_chart, loss_table, touching_table
from segtrain.report.sections.error_types import errors as errors_section
from segtrain.report.tables import Table
from tests.helpers.charts import drawings
from tests.helpers.random_scenes import ground_truth_of, scene
from tests.helpers.report_examples import HOSTILE, boxes_only, complete, glossary, method, results

MAX_DETS = 5


def found(scale: float, *, aware: bool) -> dict[str, Any]:
    lost = {c.key: scale * (i + 1) / 100 for i, c in enumerate(LOSSES)}
    agnostic = {key: value for key, value in lost.items() if key not in ("category", "both")}
    return {
        "class_agnostic": {"ap50": 0.5, "lost": agnostic, "counts": dict.fromkeys(agnostic, 3)},
        "class_aware": {"ap50": 0.4, "lost": lost, "counts": dict.fromkeys(lost, 2)} if aware else None,
        "touching": {"objects": 8, "found": 7, "merged": 6, "split": 1},
    }


def with_errors() -> Any:
    content = complete()
    for name, row in content["methods"].items():
        row["errors"] = None if name == "boxes" else found(2 if name == "kmeans" else 1, aware=name == "mask_rcnn")
    return content


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    drawn = scene(3, predictions=300)
    reference = ground_truth_of(drawn)
    rows = {
        "aware": MethodResult(Detections(drawn.predictions, None, True, 0.5)),
        "agnostic": MethodResult(Detections(drawn.predictions, None, False, 0.9)),
        "boxes": MethodResult(Detections(None, drawn.box_predictions, True, 0.5)),
    }
    tracks = score(rows["aware"].detections, reference, MAX_DETS)
    infos = [ImageInfo(image_id, f"{image_id}.png", *size) for image_id, size in reference.sizes.items()]
    split: Any = SimpleNamespace(images=None, index=SimpleNamespace(images=infos))
    analyst = Analyst(split, reference, MAX_DETS, TRACKS, resamples=0, seed=0)
    return {"found": {name: analyst.analyse_row(row).errors for name, row in rows.items()}, "tracks": tracks}


def test_each_row_has_its_errors_by_track(measured: dict[str, Any]) -> None:
    rows = measured["found"]
    assert rows["boxes"] is None
    assert rows["agnostic"].class_aware is None
    assert rows["agnostic"].class_agnostic == rows["aware"].class_agnostic
    assert list(rows["aware"].class_aware.lost) == [*TYPES, MISSES] == [c.key for c in LOSSES]
    for name, track in measured["tracks"].items():
        assert getattr(rows["aware"], name).ap50 == pytest.approx(track.value("mask_ap50"), abs=1e-9)
    # The operating point of the second row leaves out detections that merge.
    assert rows["agnostic"].touching.objects == rows["aware"].touching.objects > 0
    assert rows["agnostic"].touching.merged < rows["aware"].touching.merged


def agnostic(content: Any) -> Table:
    return loss_table(Results.of(content), "class_agnostic", "label", "caption")


def chart_of(content: Any) -> Chart | None:
    return error_chart(Results.of(content), "class_agnostic", "title")


def charts_of(content: Any) -> list[Charts]:
    section = errors_section(Results.of(content))
    assert section is not None
    return [block for block in section.blocks if isinstance(block, Charts)]


def test_tables_show_what_each_type_costs() -> None:
    content = with_errors()
    table, touching = agnostic(content), touching_table(Results.of(content))
    assert [row.method for row in table.rows] == ["mask_rcnn", "threshold_otsu", "kmeans", "kmeans_oracle"]
    assert [column.key for column in table.columns] == ["ap50", "location", "duplicates", "background", "misses"]
    assert [cell.text for cell in table.rows[2].cells] == ["0.500", "0.040", "0.080", "0.100", "0.120"]
    assert table.rows[-1].upper_bound
    aware = loss_table(Results.of(content), "class_aware", "label", "caption")
    assert [row.method for row in aware.rows] == ["mask_rcnn"]
    assert len(aware.columns) == 7
    assert touching is not None
    assert [cell.text for cell in touching.rows[0].cells] == ["7", "6", "75.0", "1", "12.5"]
    assert len(charts_of(content)) == 2


def test_a_row_that_finds_nothing_merges_and_splits_nothing_and_says_why() -> None:
    content = with_errors()
    row = content["methods"]["kmeans"]["errors"]
    row["touching"] = {"objects": 8, "found": 0, "merged": 0, "split": 0}
    lost = row["class_agnostic"]["lost"]
    lost |= {"duplicates": 0.0, "background": 0.0001, "misses": 0.4}
    row["class_agnostic"]["counts"] |= {"duplicates": 0, "background": 1}
    touching, table = touching_table(Results.of(content)), agnostic(content)
    assert touching is not None
    (cells,) = (row.cells for row in touching.rows if row.method == "kmeans")
    assert [cell.text for cell in cells] == ["0", "–", "–", "–", "–"]
    assert not any(cell.best for cell in cells)
    assert {cell.why for cell in cells[1:]} == {"No object that touches another is found at the score threshold."}
    (cells,) = (row.cells for row in table.rows if row.method == "kmeans")
    whys = {column.key: cell.why for column, cell in zip(table.columns, cells, strict=True) if cell.why}
    assert whys == {
        "duplicates": "There is no such error.",
        "background": "One such error; without it AP50 would hardly rise.",
    }


def test_class_aware_errors_of_a_single_category_are_left_out() -> None:
    content = with_errors()
    row = content["methods"]["mask_rcnn"]["errors"]
    row["class_aware"] = row["class_agnostic"]
    assert len(charts_of(content)) == 1


@pytest.mark.parametrize("scale", [0.001, 1.0, 10.0])
def test_bars_lie_end_to_end_and_are_as_long_as_the_losses(scale: float) -> None:
    content = with_errors()
    for row in filter(None, (row["errors"] for row in content["methods"].values())):
        lost = row["class_agnostic"]["lost"]
        lost |= {key: value * scale for key, value in lost.items()}
    chart = chart_of(content)
    assert chart is not None
    for svg in drawings(chart):
        ticks = svg.x_ticks()
        unit = (ticks[1][1] - ticks[0][1]) / float(ticks[1][0])
        assert ticks[-1][1] <= svg.width
        bars = svg.bars()
        for name, bar in zip((lane.name for lane in lanes_of(chart)), bars, strict=True):
            left = ticks[0][1]
            lost = [value * unit for value in content["methods"][name]["errors"]["class_agnostic"]["lost"].values()]
            assert bar[0][0] == pytest.approx(left, abs=0.1)
            shown = [value for value in lost if value >= 0.5]
            assert [width for _, _, width in bar] == pytest.approx(shown, abs=0.1)
            assert bar[-1][0] + bar[-1][2] <= svg.width
        tops = [bar[0][1] for bar in bars]
        assert tops == sorted(tops)
    assert charts_of(content)[0].bars == [(1, "location"), (3, "duplicates"), (4, "background"), (5, "misses")]


def lanes_of(chart: Chart) -> Any:
    assert isinstance(chart.y, Lanes)
    return chart.y.lanes


def test_bars_at_a_low_ap50_are_faded_and_the_page_says_so() -> None:
    content = with_errors()
    assert "Faded" not in html_report(Results.of(content))
    for name, ap50 in (("kmeans", 0.0499), ("threshold_otsu", 0.05)):
        content["methods"][name]["errors"]["class_agnostic"]["ap50"] = ap50
    chart = chart_of(content)
    assert chart is not None
    assert [lane.name for lane in lanes_of(chart) if lane.faint] == ["kmeans"]
    assert html_report(Results.of(content)).count("Faded: AP50 below 0.05.") == 1
    assert all(series.pieces for series in chart.series if isinstance(series, Bar))


def test_no_section_without_errors() -> None:
    assert errors_section(Results.of(results())) is None
    assert errors_section(Results.of(results({"boxes": boxes_only([])}))) is None
    assert 'id="errors"' not in html_report(Results.of(results()))
    assert "#errors" not in html_report(Results.of(results()))
    assert "Errors" not in markdown_report(Results.of(results()))
    assert "Errors" not in glossary(results())


def test_pages_without_losses_or_touching_objects() -> None:
    content = results({"perfect": method(1.0, 1.0, [], aware=False) | {"errors": found(0, aware=False)}})
    content["methods"]["perfect"]["errors"]["touching"] = {"objects": 0, "found": 0, "merged": 0, "split": 0}
    assert charts_of(content) == []
    assert touching_table(Results.of(content)) is None
    assert "Objects that touch" not in html_report(Results.of(content))


def test_undefined_losses_are_dashes() -> None:
    content = with_errors()
    row = content["methods"]["kmeans"]["errors"]["class_agnostic"]
    row |= {"ap50": None, "lost": dict.fromkeys(row["lost"])}
    assert {cell.text for cell in agnostic(content).rows[2].cells} == {"–"}
    chart = chart_of(content)
    assert chart is not None
    assert "kmeans" not in [lane.name for lane in lanes_of(chart)]


def test_both_reports_have_the_section_and_names_are_escaped() -> None:
    content = with_errors()
    content["methods"][HOSTILE] = content["methods"].pop("kmeans")
    page, markdown = html_report(Results.of(content)), markdown_report(Results.of(content))
    assert page.count('<section id="errors">') == page.count('href="#errors"') == 1
    assert page.count('class="inside"') > 0
    assert "<script>alert" not in page
    assert "8 of 20 objects touch or overlap another" in page
    assert "8 of 20 objects touch or overlap another" in markdown
    assert markdown.count("\n## Errors\n") == 1
    assert "| misses |" in markdown
    assert {"Errors", "Touching, merged, split"} <= glossary(content).keys()
