"""What a report says of errors, merges and splits."""

from types import SimpleNamespace
from typing import Any

import pytest

from segtrain.evaluation import Detections, GroundTruthSet, score
from segtrain.metrics.tide import MISSES, TYPES
from segtrain.records import Category
from segtrain.report.analysis.errors import errors
from segtrain.report.figures.error_plot import error_plot
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.tables.errors import LOSSES, error_section
from segtrain.report.words import definitions
from segtrain.report.writer import plain
from tests.helpers.random_scenes import CATEGORIES, scene
from tests.helpers.report_examples import HOSTILE, boxes_only, complete, method, results

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
    reference = GroundTruthSet([Category(c, str(c)) for c in sorted(CATEGORIES)], drawn.sizes, drawn.truths)
    rows: Any = {
        "aware": SimpleNamespace(detections=Detections(drawn.predictions, None, True, 0.5)),
        "agnostic": SimpleNamespace(detections=Detections(drawn.predictions, None, False, 0.9)),
        "boxes": SimpleNamespace(detections=Detections(None, drawn.box_predictions, True, 0.5)),
    }
    tracks = score(rows["aware"].detections, reference, MAX_DETS)
    return {"found": errors(rows, reference, MAX_DETS), "tracks": tracks}


def test_each_row_has_its_errors_by_track(measured: dict[str, Any]) -> None:
    rows = measured["found"]
    assert rows["boxes"] is None
    assert rows["agnostic"]["class_aware"] is None
    assert rows["agnostic"]["class_agnostic"] == rows["aware"]["class_agnostic"]
    assert list(rows["aware"]["class_aware"]["lost"]) == [*TYPES, MISSES] == [c.key for c in LOSSES]
    for name, track in measured["tracks"].items():
        assert rows["aware"][name]["ap50"] == pytest.approx(track["mask_ap50"], abs=1e-9)
    # The operating point of the second row leaves out detections that merge.
    assert rows["agnostic"]["touching"]["objects"] == rows["aware"]["touching"]["objects"] > 0
    assert rows["agnostic"]["touching"]["merged"] < rows["aware"]["touching"]["merged"]
    assert plain(rows) == rows


def test_tables_show_what_each_type_costs() -> None:
    section = error_section(with_errors())
    assert section is not None
    assert [row.method for row in section.agnostic.rows] == ["mask_rcnn", "threshold_otsu", "kmeans", "kmeans_oracle"]
    assert [column.key for column in section.agnostic.columns] == [
        "ap50", "location", "duplicates", "background", "misses",
    ]  # fmt: skip
    assert [cell.text for cell in section.agnostic.rows[2].cells] == ["0.500", "0.040", "0.080", "0.100", "0.120"]
    assert section.agnostic.rows[-1].oracle
    assert section.aware is not None
    assert [row.method for row in section.aware.rows] == ["mask_rcnn"]
    assert len(section.aware.columns) == 7
    assert section.objects == 8
    assert section.touching is not None
    assert [cell.text for cell in section.touching.rows[0].cells] == ["7", "6", "75.0", "1", "12.5"]
    assert len(section.plots) == 2


def test_a_row_that_finds_nothing_merges_and_splits_nothing_and_says_why() -> None:
    content = with_errors()
    row = content["methods"]["kmeans"]["errors"]
    row["touching"] = {"objects": 8, "found": 0, "merged": 0, "split": 0}
    lost = row["class_agnostic"]["lost"]
    lost |= {"duplicates": 0.0, "background": 0.0001, "misses": 0.4}
    row["class_agnostic"]["counts"] |= {"duplicates": 0, "background": 1}
    section = error_section(content)
    assert section is not None
    assert section.touching is not None
    (cells,) = (row.cells for row in section.touching.rows if row.method == "kmeans")
    assert [cell.text for cell in cells] == ["0", "–", "–", "–", "–"]
    assert not any(cell.best for cell in cells)
    assert {cell.why for cell in cells[1:]} == {"No object that touches another is found at the row's score threshold."}
    (cells,) = (row.cells for row in section.agnostic.rows if row.method == "kmeans")
    whys = {column.key: cell.why for column, cell in zip(section.agnostic.columns, cells, strict=True) if cell.why}
    assert whys == {
        "duplicates": "There is no such error.",
        "background": "One such error; without it AP50 would hardly rise.",
    }


def test_class_aware_errors_of_a_single_category_are_left_out() -> None:
    content = with_errors()
    row = content["methods"]["mask_rcnn"]["errors"]
    row["class_aware"] = row["class_agnostic"]
    section = error_section(content)
    assert section is not None
    assert section.aware is None
    assert len(section.plots) == 1


@pytest.mark.parametrize("width", [340.0, 860.0])
@pytest.mark.parametrize("scale", [0.001, 1.0, 10.0])
def test_bars_lie_end_to_end_and_are_as_long_as_the_losses(width: float, scale: float) -> None:
    content = with_errors()
    for row in filter(None, (row["errors"] for row in content["methods"].values())):
        lost = row["class_agnostic"]["lost"]
        lost |= {key: value * scale for key, value in lost.items()}
    plot = error_plot(content, "class_agnostic", LOSSES, "title", width)
    assert plot is not None
    unit = (plot.x_ticks[1].at - plot.x_ticks[0].at) / float(plot.x_ticks[1].label)
    assert plot.x_ticks[0].at == plot.frame.left
    assert plot.x_ticks[-1].at <= plot.frame.right + 1e-9
    for bar in plot.bars:
        left = plot.frame.left
        lost = content["methods"][bar.name]["errors"]["class_agnostic"]["lost"]
        for piece in bar.pieces:
            key = LOSSES[piece.slot].key
            assert (piece.x, piece.width) == pytest.approx((left, unit * lost[key]))
            left = piece.x + piece.width
            assert not piece.text or len(piece.text) * 6 < piece.width
        assert left <= plot.frame.right + 1e-9
        assert plot.frame.top <= bar.top < bar.top + plot.thick <= plot.frame.bottom
    tops = [bar.top for bar in plot.bars]
    assert tops == sorted(tops)
    assert plot.bounds_at is not None
    assert tops[-2] + plot.thick < plot.bounds_at < tops[-1]
    assert [kind for _, kind in plot.types] == ["location", "duplicates", "background", "misses"]


def test_bars_at_a_low_ap50_are_faded_and_the_page_says_so() -> None:
    content = with_errors()
    assert "Faded" not in html_report(content, [])
    for name, ap50 in (("kmeans", 0.0499), ("threshold_otsu", 0.05)):
        content["methods"][name]["errors"]["class_agnostic"]["ap50"] = ap50
    plot = error_plot(content, "class_agnostic", LOSSES, "title", 340)
    assert plot is not None
    assert [bar.name for bar in plot.bars if bar.faint] == ["kmeans"]
    assert html_report(content, []).count("Faded: AP50 below 0.05.") == 1
    assert all(bar.pieces for bar in plot.bars)


def test_no_section_without_errors() -> None:
    assert error_section(results()) is None
    only = results({"boxes": boxes_only([]) | {"errors": None}})
    assert error_section(only) is None
    assert 'id="errors"' not in html_report(results(), [])
    assert "#errors" not in html_report(results(), [])
    assert "Errors" not in markdown_report(results())
    assert "Errors" not in dict(definitions(results()))


def test_pages_without_losses_or_touching_objects() -> None:
    content = results({"perfect": method(1.0, 1.0, [], aware=False) | {"errors": found(0, aware=False)}})
    content["methods"]["perfect"]["errors"]["touching"] = {"objects": 0, "found": 0, "merged": 0, "split": 0}
    section = error_section(content)
    assert section is not None
    assert section.plots == ()
    assert section.touching is None
    assert "Objects that touch" not in html_report(content, [])


def test_undefined_losses_are_dashes() -> None:
    content = with_errors()
    row = content["methods"]["kmeans"]["errors"]["class_agnostic"]
    row |= {"ap50": None, "lost": dict.fromkeys(row["lost"])}
    section = error_section(content)
    assert section is not None
    assert {cell.text for cell in section.agnostic.rows[2].cells} == {"–"}
    plot = error_plot(content, "class_agnostic", LOSSES, "title", 860)
    assert plot is not None
    assert "kmeans" not in [bar.name for bar in plot.bars]


def test_both_reports_have_the_section_and_names_are_escaped() -> None:
    content = with_errors()
    content["methods"][HOSTILE] = content["methods"].pop("kmeans")
    page, markdown = html_report(content, []), markdown_report(content)
    assert page.count('<section id="errors">') == page.count('href="#errors"') == 1
    assert page.count('class="inside"') > 0
    assert "<script>alert" not in page
    assert "8 of 20 objects touch or overlap another" in page
    assert "8 of 20 objects touch or overlap another" in markdown
    assert markdown.count("\n## Errors\n") == 1
    assert "| misses |" in markdown
    assert {"Errors", "Touching, merged, split"} <= dict(definitions(content)).keys()
