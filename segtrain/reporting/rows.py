"""The rows of the benchmark: what each method found, with its numbers."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from segtrain.data.coco import Category
from segtrain.data.images import image_path, read_image
from segtrain.data.loading import evaluation_images
from segtrain.data.result_files import load_results
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import Findings, Reference, TrackName, predict, score
from segtrain.reporting.gallery import GalleryItem, build
from segtrain.reporting.results import Row
from segtrain.runtime import write_atomically
from segtrain.segmenters.base import Segmenter, Trainable

Advance = Callable[[], None]


def segmenter_row(
    segmenter: Segmenter,
    split: Split,
    reference: Reference,
    categories: Sequence[Category] | None,
    *,
    max_dets: int,
    score_threshold: float,
    tracks: Sequence[TrackName],
    advance: Advance,
) -> Row:
    """Run a segmenter over the images and score it.

    Args:
        segmenter: whose row it is.
        split: with images.
        reference: the truth about them.
        categories: of its labels 1..K; None if they mean nothing here.
        max_dets: detections per image and category that AP and AR use.
        score_threshold: operating point of learned scores.
        tracks: which to compute.
        advance: called after each image.

    Raises:
        SegtrainError: there are no images, or one cannot be read.
    """
    if split.images is None:
        raise SegtrainError("data.val_images is null: name the image folder, or use methods=none with predictions.NAME=FILE")
    images = evaluation_images(split.index, split.images)
    learned = isinstance(segmenter, Trainable)
    found = predict(segmenter, images, categories or reference.categories, score_threshold, advance)
    own_score = getattr(segmenter, "score", None)
    description = getattr(segmenter, "description", "Fine-tuned Mask R-CNN" if learned else type(segmenter).__name__)
    return _row(found, reference, max_dets, tracks if categories else ["class_agnostic"], description, own_score)


def file_row(
    path: Path, reference: Reference, *, max_dets: int, score_threshold: float, tracks: Sequence[TrackName]
) -> Row:
    """Score a COCO result file.

    Raises:
        SegtrainError: the file is not one, or does not belong to these images.
    """
    ids = [category.id for category in reference.categories]
    content = load_results(path, image_ids=reference.sizes, category_ids=ids, sizes=reference.sizes)
    found = Findings(content.masks, content.boxes, content.class_aware, score_threshold)
    return _row(found, reference, max_dets, tracks, f"Results from {path.name}", None)


def write_predictions(folder: Path, name: str, found: Findings) -> None:
    """Write ``NAME.json``, and ``NAME.bbox.json`` where the method predicts boxes itself; any COCO tool reads them."""
    for suffix, records in ((".json", found.masks), (".bbox.json", found.boxes)):
        if records is not None:
            write_atomically(folder / f"{name}{suffix}", json.dumps(records))


def choose_images(rows: Mapping[str, Row], split: Split, reference: Reference, each: int) -> list[GalleryItem]:
    """The report's gallery: ``each`` images of each kind, none if there are no images or none are wanted."""
    folder = split.images
    if folder is None or not each:
        return []
    return build(
        split.index.images,
        reference.truths,
        {name: row.findings.masks for name, row in rows.items() if row.findings.masks is not None},
        {name: row.findings.score_threshold for name, row in rows.items()},
        lambda image: read_image(image_path(folder, image.file_name), image.size),
        each,
    )


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[str], Advance]]:
    """A bar over all images of all methods; give it a method's name for what to call after each of its images."""
    columns = (TextColumn("{task.description:<16}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)

        def method(name: str) -> Advance:
            progress.update(task, description=name)
            return lambda: progress.advance(task)

        yield method


def _row(
    found: Findings, reference: Reference, max_dets: int, tracks: Sequence[TrackName], description: str, own_score: str | None
) -> Row:
    started = time.perf_counter()
    numbers = score(found, reference, max_dets, tracks)
    return Row(found, numbers, time.perf_counter() - started, description, own_score)
