"""``report.html``: one file that needs no network, for a browser, a phone or a printer."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader

from segtrain.reporting.figures import hues, precision_recall, speed_quality
from segtrain.reporting.gallery import GalleryItem
from segtrain.reporting.pictures import exhibits
from segtrain.reporting.tables import Results, category_table, cost_table, ranking, seconds, track_table, tracks_agree
from segtrain.reporting.words import definitions, notes, verdict

WIDE, NARROW = 860.0, 340.0  # a figure is laid out for a desktop and again for a phone, so that its text stays legible


def html_report(results: Results, gallery: Sequence[GalleryItem]) -> str:
    """The report as one self-contained HTML page.

    Args:
        results: the content of ``results.json``.
        gallery: images to show, may be empty.
    """
    environment = Environment(
        loader=PackageLoader("segtrain.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    order = ranking(results)
    curve_titles = {"iou50": "At IoU 0.50", "mean": "Mean over IoU 0.50 to 0.95"}
    curves = [precision_recall(results, key, title, width=370.0) for key, title in curve_titles.items()]
    return environment.get_template("report.html.jinja").render(
        results=results,
        verdict=verdict(results),
        headline=track_table(results, "class_agnostic"),
        class_aware=track_table(results, "class_aware"),
        same_tracks=tracks_agree(results),
        categories=category_table(results),
        costs=cost_table(results),
        speed=[figure for width in (WIDE, NARROW) if (figure := speed_quality(results, width)) is not None],
        untimed=[name for name in order if seconds(results["methods"][name]) is None],
        curves=[figure for figure in curves if figure is not None],
        gallery=exhibits(gallery, order),
        hues=hues(results),
        order=order,
        definitions=definitions(results),
        notes=notes(results),
    )
