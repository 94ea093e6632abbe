"""Sections of a report, one module each: its numbers, tables, charts and words."""

from collections.abc import Callable, Sequence

from segtrain.benchmark.results import Results
from segtrain.report.blocks import Section
from segtrain.report.gallery.select import GalleryItem
from segtrain.report.gallery.suspect_crops import SuspectList
from segtrain.report.glossary import definitions
from segtrain.report.sections.about import data, environment, methods, reproduce
from segtrain.report.sections.categories import categories, class_aware, numbers
from segtrain.report.sections.category_curves import category_curves
from segtrain.report.sections.confusions import confusions
from segtrain.report.sections.cost import cost
from segtrain.report.sections.curves import curves
from segtrain.report.sections.error_types import errors
from segtrain.report.sections.examples import gallery
from segtrain.report.sections.headline import differences, headline, verdict
from segtrain.report.sections.limits import limits
from segtrain.report.sections.object_strata import strata
from segtrain.report.sections.reasons import reasons
from segtrain.report.sections.suspect_labels import suspect_labels
from segtrain.report.sections.training_runs import runs

Maker = Callable[[Results], Section | None]

# In the order of a report, the gallery between findings and details. None: there is nothing to show.
FINDINGS: tuple[Maker, ...] = (verdict, headline, runs, reasons, cost, curves, errors, strata)
DETAILS: tuple[Maker, ...] = (
    differences,
    limits,
    numbers,
    class_aware,
    categories,
    category_curves,
    confusions,
)
ABOUT: tuple[Maker, ...] = (data, environment, reproduce)


def build_sections(
    results: Results, images: Sequence[GalleryItem] = (), suspects: SuspectList | None = None, processes: int = 1
) -> list[Section]:
    """Build all sections that have something to show, with the glossary of their terms.

    Args:
        results: an evaluation.
        images: images of the gallery.
        suspects: labels to look at; None if they were not looked for.
        processes: number of processes that outline the objects of the gallery.
    """
    made = [
        *(make(results) for make in FINDINGS),
        gallery(results, images, processes),
        *(make(results) for make in DETAILS),
        suspect_labels(results, suspects),
        methods(results),
    ]
    terms = [term for section in made if section for term in section.definitions]
    made += [definitions(results, terms), *(make(results) for make in ABOUT)]
    return [section for section in made if section]
