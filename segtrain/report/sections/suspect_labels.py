"""Section of labels to look at: those that methods contradict, with their pictures."""

from segtrain.benchmark.results import Results
from segtrain.benchmark.suspects import Kind
from segtrain.report.blocks import Block, CropItem, Crops, Listing, Paragraph, Section
from segtrain.report.gallery.suspect_crops import SuspectEntry, SuspectList

WEAK = 0.75  # F1 at IoU .50 of the best method, below which a reader is warned
_WORDS: dict[Kind, str] = {
    "missed": "not found",
    "unlabelled": "found without a label",
    "category": "found as another category",
    "outline": "found with another outline",
    "merged": "found as several objects",
}


def suspect_labels(results: Results, found: SuspectList | None) -> Section | None:
    """Show the labels that methods contradict; None where no method is of use.

    Args:
        results: an evaluation.
        found: its suspects; None if they were not looked for.
    """
    if found is None or not found.methods:
        return None
    total, shown = sum(found.kinds.values()), len(found.entries)
    names = ", ".join(found.methods)
    title = "Labels to look at"
    if not total:
        return Section("suspects", title, [Paragraph(f"No label is clearly contradicted by {names}.")])
    counts = ", ".join(f"{found.kinds[kind]:,} {words}" for kind, words in _WORDS.items() if found.kinds.get(kind))
    lead = (
        f"Labels, and places without one, that {names} contradict{'s' if len(found.methods) == 1 else ''}, those first "
        "that would be the rarest mistakes of these methods. These are suspicions, not findings: the methods may be "
        f"wrong. Of {total:,} suspects: {counts}. All are in {{}}, a COCO file for re-annotation"
    )
    more = f"; the first {shown} are shown here, {total - shown:,} more there." if total > shown else "."
    blocks: list[Block] = [Paragraph(lead + more, "suspects.json")]
    best = max(results.methods[name].metric("f1_50") or 0.0 for name in found.methods)
    if best < WEAK:
        blocks.append(
            Paragraph(
                f"The methods are weak here: the best F1 is {best:.2f}. Most contradictions are then mistakes of the "
                "methods, so that only the head of the list is worth a look."
            )
        )
    rows = _listing(results, found)
    if all(entry.crop is None for entry in found.entries):
        blocks.append(rows)
    else:
        items = [
            CropItem(
                entry.crop,
                f"{rank}. {_WORDS[entry.kind]}",
                [words for words in (_category(results, entry), _annotation(entry)) if words],
                entry.file_name,
                ", ".join(entry.methods),
            )
            for rank, entry in enumerate(found.entries, 1)
        ]
        blocks.append(Crops(items, rows))
    return Section("suspects", title, blocks)


def _listing(results: Results, found: SuspectList) -> Listing:
    heads = ["Image", "Suspicion", "Category", "Annotation", "Methods"]
    rows = [
        [
            entry.file_name,
            _WORDS[entry.kind],
            _category(results, entry) or "–",
            "–" if entry.annotation_id is None else str(entry.annotation_id),
            ", ".join(entry.methods),
        ]
        for entry in found.entries
    ]
    return Listing(heads, rows, "Labels to look at, the most suspect one first")


def _category(results: Results, entry: SuspectEntry) -> str:
    names = {category.id: category.name for category in results.data.categories}
    said = names.get(entry.category_id, "") if entry.category_id is not None else ""
    if entry.found_category_id is not None:
        said += f", found as {names.get(entry.found_category_id, entry.found_category_id)}"
    return said


def _annotation(entry: SuspectEntry) -> str:
    return "" if entry.annotation_id is None else f"annotation {entry.annotation_id}"
