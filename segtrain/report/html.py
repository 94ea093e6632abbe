"""HTML pages, each in one file that needs no network, for a browser, a phone or a printer."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader

if TYPE_CHECKING:
    from segtrain.benchmark.results import Results
    from segtrain.report.blocks import Block
    from segtrain.report.gallery.select import GalleryItem
    from segtrain.report.gallery.suspect_crops import SuspectList


@cache
def page_environment() -> Environment:
    """Return the Jinja environment that holds the templates of this package, of which each page extends one.

    It is made once: the curves of a running training are drawn again and again, and to compile their templates takes
    longer than to fill them.
    """
    environment = Environment(
        loader=PackageLoader("segtrain.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = _kind
    return environment


def html_report(
    results: "Results",
    images: "Sequence[GalleryItem]" = (),
    suspects: "SuspectList | None" = None,
    processes: int = 1,
) -> str:
    """Write ``report.html``, the report as one self-contained HTML page.

    Args:
        results: an evaluation.
        images: images of the gallery.
        suspects: labels to look at; None if they were not looked for.
        processes: number of processes that outline the objects of the gallery.
    """
    # These import torch, which the page of a data check starts faster without.
    from segtrain.metrics.tide import TYPES
    from segtrain.report.charts import series_styles
    from segtrain.report.gallery.outcomes import KINDS
    from segtrain.report.sections import build_sections
    from segtrain.report.sections.about import data_title, notes, summary
    from segtrain.visualize import COLOURS, ERROR_COLOURS

    false = dict.fromkeys((*TYPES, "crowd"), ERROR_COLOURS["false"])
    outcome_colours = false | {"hit": ERROR_COLOURS["hit"], "missed": ERROR_COLOURS["missed"], "crowd": (160, 160, 160)}
    subject = data_title(results)
    return (
        page_environment()
        .get_template("report.html.jinja")
        .render(
            styles=series_styles(results.ranked, results.oracles),
            colours=COLOURS,
            outcome_names=KINDS,
            outcome_colours=outcome_colours,
            title=f"Segmentation benchmark{f': {subject}' if subject else ''}",
            command="report",
            facts=summary(results),
            notes=notes(results),
            sections=build_sections(results, images, suspects, processes),
        )
    )


def _kind(block: "Block") -> str:
    """Return the name of the macro that draws a block."""
    return type(block).__name__.lower()
