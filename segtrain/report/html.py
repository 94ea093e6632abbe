"""``report.html``: one file that needs no network, for a browser, a phone or a printer."""

from collections.abc import Sequence

from segtrain.benchmark.results import Results
from segtrain.report.blocks import Block
from segtrain.report.charts import series_styles
from segtrain.report.gallery.select import GalleryItem
from segtrain.report.page import page_environment
from segtrain.report.sections import build_sections
from segtrain.report.sections.about import data_title, notes, summary
from segtrain.visualize import COLOURS


def html_report(results: Results, images: Sequence[GalleryItem] = ()) -> str:
    """Write the report as one self-contained HTML page.

    Args:
        results: an evaluation.
        images: images of the gallery.
    """
    environment = page_environment()
    environment.filters["kind"] = _kind
    environment.globals |= {"styles": series_styles(results.ranked, results.oracles), "colours": COLOURS}
    subject = data_title(results)
    return environment.get_template("report.html.jinja").render(
        title=f"Segmentation benchmark{f': {subject}' if subject else ''}",
        summary=summary(results),
        notes=notes(results),
        sections=build_sections(results, images),
    )


def _kind(block: Block) -> str:
    """Return the name of the macro that draws a block."""
    return type(block).__name__.lower()
