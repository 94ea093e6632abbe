"""Sections on the evaluation itself: methods, data, environment and the command that repeats it."""

import shlex
from collections.abc import Mapping
from pathlib import PurePath

from msgspec.structs import asdict

from segtrain.benchmark.results import MethodScores, Results
from segtrain.console import counted
from segtrain.nodes import config_folder
from segtrain.report.blocks import Block, Bullets, Command, Figures, Folded, Heading, Paragraph, Section, Term, Terms
from segtrain.report.tables import Column, Row, Table, make_cells
from segtrain.report.text import fact_text, sentence
from segtrain.report.verdict import is_useful

_COUNTS = ("images", "annotations", "used", "crowd", "dropped", "repaired")
_VARIANTS = {
    "textbook": (
        "Textbook rows",
        "follow the textbook rule unchanged: every region beyond the threshold or inside an edge is an object, and "
        "touching objects are not separated.",
    ),
    "robust": (
        "Robust rows",
        "decide by the image border which side is background, and separate touching objects.",
    ),
    "tuned": (
        "Tuned rows",
        "use settings that were searched on images of the training split, within the budget of the cost table; the "
        "validation images were not used. Their YAML files are in tuned/segmenter of the evaluation's folder.",
    ),
}


def methods(results: Results) -> Section:
    """Describe every method."""
    terms = [Term(name, _described(results.methods[name])) for name in results.ranked]
    return Section("methods", "Methods", [Terms(terms, methods=True)], definitions=_definitions(results))


def data(results: Results) -> Section:
    """Describe the data: counts, issues and categories."""
    known = results.data
    counts = [(key, getattr(known, key)) for key in _COUNTS]
    blocks: list[Block] = [Figures([*counts, *([("max_dets", known.max_dets)] if known.max_dets else [])])]
    if known.annotations_file:
        blocks.append(Paragraph("From {}.", code=known.annotations_file))
    blocks.append(
        Paragraph(
            "used + crowd + dropped = annotations. Crowd regions are ignored in every number. Repaired annotations had "
            "a mistake that could be corrected and are among the used and crowd ones."
        )
    )
    if known.issues:
        blocks.append(Folded("Issues found by the check of the data", [Bullets(known.issues)]))
    if known.categories:
        columns = (Column("id", "id", "", None, 0), Column("annotations", "objects", "", None, 0))
        rows = [
            Row("", make_cells(columns, {"id": own.id, "annotations": own.annotations}), own.name)
            for own in known.categories
        ]
        blocks.append(Table(columns, tuple(rows), "Categories of the data", "Categories"))
    return Section("data", "Data", blocks)


def environment(results: Results) -> Section:
    """Describe the machine, its software, and the checkpoints."""
    blocks: list[Block] = [Terms(fact_terms(results.environment), "small")]
    for name, checkpoint in checkpoint_facts(results).items():
        blocks += [Heading(name), Terms(fact_terms(checkpoint), "small")]
    return Section("environment", "Environment", blocks)


def reproduce(results: Results) -> Section:
    """State the command that repeats the evaluation, and the one that applies its best method."""
    where = (
        Paragraph("Run this in the folder {}:", code=results.directory)
        if results.directory
        else Paragraph("Run this where the report was made:")
    )
    blocks: list[Block] = [where, Command(results.command)]
    best = next((name for name in results.ranked if not results.methods[name].oracle), None)
    if best is not None and is_useful(results, best) and (model := _model_of(results, best)) is not None:
        blocks.append(Paragraph("In the folder of this report, this applies the best method to new images:"))
        blocks.append(Command(f"segtrain predict {shlex.quote(model)} IMAGES --out DIR"))
    return Section("reproduce", "Reproduce", blocks)


def _model_of(results: Results, name: str) -> str | None:
    """Return what ``segtrain predict`` takes for a method; None for results of other programs."""
    checkpoint = results.checkpoints.get(name)
    if checkpoint is not None:
        return checkpoint.path
    if results.methods[name].variant == "tuned":
        return f"tuned/segmenter/{name}_winner.yaml"
    return name if (config_folder() / "segmenter" / f"{name}.yaml").exists() else None


def data_title(results: Results) -> str:
    """Name the data: the folder and the annotation file in it."""
    path = results.data.annotations_file
    folders = [part for part in PurePath(path).parent.parts if part not in ("annotations", "/")] if path else []
    return ", ".join(filter(None, [*folders[-1:], results.data.name]))


def summary(results: Results) -> str:
    """State the extent and the date of the evaluation in a line."""
    counts = (
        counted(results.data.images, "image"),
        counted(results.data.used, "object"),
        counted(len(results.methods), "method"),
    )
    return f"{', '.join(counts)}{f' · {date}' if (date := results.environment.get('date')) else ''}"


def notes(results: Results) -> list[str]:
    """List notes of the evaluation that a reader should know before trusting the numbers."""
    found = [sentence(warning) for warning in results.caveats]
    if dropped := results.data.dropped:
        what = "annotation could not be used and was" if dropped == 1 else "annotations could not be used and were"
        found.append(f"{dropped} {what} dropped.")
    if unreadable := results.data.unreadable_images:
        found.append(f"{unreadable} image{'s' if unreadable > 1 else ''} could not be read; their objects are dropped.")
    return found


def checkpoint_facts(results: Results) -> dict[str, Mapping[str, object]]:
    """Collect the facts that the checkpoints hold about their training, by heading."""
    known = {f"Checkpoint of {name}": checkpoint for name, checkpoint in results.checkpoints.items()}
    return {
        heading: asdict(checkpoint)
        for heading, checkpoint in (known or {"Checkpoint": results.checkpoint}).items()
        if checkpoint
    }


def fact_terms(known: Mapping[str, object]) -> list[Term]:
    """List facts, without those that are unknown or no single value."""
    return [
        Term(key, fact_text(value))
        for key, value in known.items()
        if value is not None and not isinstance(value, Mapping)
    ]


def _described(method: MethodScores) -> str:
    description = f"{method.description.rstrip('.')}. " if method.description else ""
    ranked = f", ranked by {method.ranked_by}" if method.ranked_by else ""
    own = "; by category in class-aware numbers" if method.category_thresholds else ""
    return f"{description}Score threshold {method.score_threshold or 0:g}{own}{ranked}."


def _definitions(results: Results) -> list[Term]:
    methods = results.methods
    terms = []
    if scores := sorted({method.ranked_by for method in methods.values() if method.ranked_by}):
        terms.append(
            Term(
                "Scores of classical methods",
                f"A threshold has no confidence, so regions are ranked by a substitute ({', '.join(scores)}). "
                "“contrast” is the colour distance between a region and the ring around it. It only ranks; it is not a "
                "probability. Judge these rows by F1 and IoU as well as by AP.",
            )
        )
    for variant, (title, text) in _VARIANTS.items():
        if names := [name for name, method in methods.items() if method.variant == variant]:
            terms.append(Term(title, f"{', '.join(names)}: these {text}"))
    if results.oracles:
        terms.append(
            Term(
                "Oracle rows",
                f"{', '.join(results.oracles)}: upper bound: best setting per image of a fixed grid and of the other "
                "rows of the same kind, chosen with its ground truth (F1 at IoU 0.50, then foreground IoU); excluded "
                "from ranking. It bounds each image's F1; the F1 of all images together may be higher in another row.",
            )
        )
    return terms
