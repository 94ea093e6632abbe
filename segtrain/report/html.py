"""``report.html``: one file that needs no network, for a browser, a phone or a printer."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader

from segtrain.report.figures.curves import f1_over_iou, precision_recall
from segtrain.report.figures.drawing import hues
from segtrain.report.figures.interval_plot import interval_plot
from segtrain.report.figures.kinds import kind_figures, kind_tables, kind_words
from segtrain.report.figures.reliability import reliability_plots
from segtrain.report.figures.scatter import speed_quality
from segtrain.report.gallery.choice import GalleryItem
from segtrain.report.gallery.pictures import exhibits
from segtrain.report.provenance import checkpoints, data_title, facts
from segtrain.report.tables.categories import category_table, tracks_agree
from segtrain.report.tables.cells import Results, contenders, ranking, seconds, track_table
from segtrain.report.tables.costs import cost_table
from segtrain.report.tables.errors import error_section
from segtrain.report.tables.f1 import f1_table
from segtrain.report.tables.limits import calibration_sentences, calibration_table, ceiling_sentences, ceiling_table
from segtrain.report.tables.reasons import explained, explained_categories, reason_lines
from segtrain.report.tables.seeds import seed_table
from segtrain.report.tables.standings import difference_table, headline_table
from segtrain.report.words import definitions, notes
from segtrain.visualize import COLOURS

# Pixels. A figure is laid out for a desktop and again for a phone, or narrow enough for both: its text stays legible.
WIDE, NARROW, BOTH = 780.0, 340.0, 360.0

Drawn = TypeVar("Drawn")


def html_report(results: Results, gallery: Sequence[GalleryItem]) -> str:
    """The report as one self-contained HTML page.

    Args:
        results: the content of ``results.json``.
        gallery: images to show, may be empty.
    """
    environment = Environment(
        loader=PackageLoader("segtrain.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    order, fair = ranking(results), contenders(results)
    headline = explained(headline_table(results), results, "class_agnostic")
    f1_curve = f1_over_iou(results, BOTH)
    shown = exhibits(gallery, order)
    methods = [layer.title for layer in shown[0].layers if layer.is_method] if shown else []
    titles = {"iou50": "Precision-recall at IoU 0.50", "mean": "Precision-recall, mean over IoU"}
    return environment.get_template("report.html.jinja").render(
        results=results,
        sentences=results["verdict"],
        headline=headline,
        reference=results.get("reference"),
        seeds=seed_table(results),
        checkpoints=checkpoints(results),
        with_intervals=any(cell.details for row in headline.rows for cell in row.cells),
        marks=_drawn(interval_plot(results, key, BOTH) for key in ("mask_ap", "miou")),
        differences=difference_table(results),
        agnostic=explained(track_table(results, "class_agnostic", intervals=False), results, "class_agnostic"),
        class_aware=explained(track_table(results, "class_aware", intervals=False), results, "class_aware"),
        same_tracks=tracks_agree(results),
        categories=explained_categories(category_table(results), results),
        costs=cost_table(results),
        speed=_drawn(speed_quality(results, width) for width in (WIDE, NARROW)),
        untimed=[name for name in fair if seconds(results["methods"][name]) is None],
        curves=_drawn([*(precision_recall(results, *pair, BOTH) for pair in titles.items()), f1_curve]),
        with_f1=f1_curve is not None,
        f1=f1_table(results),
        errors=error_section(results, WIDE, NARROW),
        kind_figures=kind_figures(results, BOTH),
        kind_tables=kind_tables(results),
        kind_words=kind_words(results),
        gallery=shown,
        shown_methods=methods,
        opening=reference if (reference := results.get("reference")) in methods else next(iter(methods), None),
        ratio=min(1.6, max(0.75, median(item.width / item.height for item in shown))) if shown else 1.0,
        colours=COLOURS,
        hues=hues(results),
        order=order,
        oracles=[name for name in order if name not in fair],
        definitions=definitions(results),
        notes=notes(results),
        limits=limits_shown(results),
        subject=data_title(results),
        facts=facts,
        reasons=reason_lines(results),
    )


def limits_shown(results: Results) -> dict[str, Any] | None:
    """What the section on Mask R-CNN's limits shows; None if nothing of it is known."""
    ceiling, calibration = ceiling_table(results), calibration_table(results)
    if not ceiling and not calibration:
        return None
    return {
        "sentences": ceiling_sentences(results),
        "ceiling": ceiling,
        "calibration": calibration,
        "said": calibration_sentences(results),
        "plots": reliability_plots(results, BOTH),
    }


def _drawn(figures: Iterable[Drawn | None]) -> list[Drawn]:
    """Those for which there was something to draw."""
    return [figure for figure in figures if figure is not None]
