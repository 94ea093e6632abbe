"""Section of images with the detections of each method."""

from collections.abc import Sequence
from statistics import median

from segtrain.benchmark.results import Results
from segtrain.report.blocks import Gallery, Paragraph, Section
from segtrain.report.gallery.encode import Legend, encode
from segtrain.report.gallery.select import GalleryItem


def gallery(results: Results, items: Sequence[GalleryItem], processes: int) -> Section | None:
    """Show the chosen images, outlined in so many processes; None without any."""
    if not items:
        return None
    categories = results.data.categories
    legend = Legend(
        [category.id for category in categories],
        {name for name, method in results.methods.items() if method.class_aware and len(categories) > 1},
        {name for name, method in results.methods.items() if not method.is_classical},
    )
    shown = encode(items, results.ranked, legend=legend, processes=processes)
    methods = [layer.title for layer in shown[0].layers if layer.is_method]
    total = results.data.images
    if len(shown) == total:
        lead = f"{'The one image' if total == 1 else f'All {total:,} images'} of these data"
    else:
        lead = (
            f"{len(shown):,} of {total:,} images, among them those with the highest and those with the lowest F1 of "
            "every method"
        )
        if any(item.apart for item in shown):
            lead += ", and those on which the methods differ most"
    lead += (
        ". They show the true objects, or the detections of a method at its score threshold. F1 is class-agnostic, at "
        "IoU 0.50, of that image alone; hits, errors and missed objects are those that it counts"
    )
    lead += ", except that an object found as another category is an error." if legend.aware else "."
    if any(method.category_thresholds for method in results.methods.values()):
        lead += (
            " Where categories have score thresholds of their own, detections are those that reach them, while F1 uses "
            "the one threshold of all."
        )
    block = Gallery(
        items=shown,
        methods=methods,
        upper_bounds=results.oracles,
        opening=results.reference if results.reference in methods else next(iter(methods), None),
        images=total,
        categories=[category.name for category in categories] if len(categories) > 1 else [],
        ratio=min(1.6, max(0.75, median(item.width / item.height for item in shown))),
    )
    return Section("gallery", "Gallery", [Paragraph(lead), block])
