"""Prediction on new images, which are read ahead, segmented one by one, and written in the chosen kinds of files."""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tifffile
from PIL import Image

from segtrain import visualize
from segtrain.console import Stage, progress
from segtrain.data.images.image_reader import as_tensor
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.images.reading import Reading
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.masks import area, boxes, decode
from segtrain.prediction.applied_model import AppliedModel
from segtrain.prediction.geojson import to_geojson
from segtrain.prediction.object_table import object_rows
from segtrain.prediction.pixel_size import pixel_size_of
from segtrain.prediction.reading_ahead import AllPages, Page, Unreadable, read_ahead
from segtrain.prediction.record_store import RecordStore, Totals
from segtrain.prediction.sources import Source
from segtrain.records import Instances, to_label_map
from segtrain.stopping import stop_if_asked

logger = logging.getLogger(__name__)
Kind = Literal["coco", "overlays", "labels", "masks", "table", "outlines"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_MOST_LABELS = 65_535  # of 16 bits


@dataclass(frozen=True)
class PredictionSettings:
    """Settings of a prediction.

    Attributes:
        save: kinds of files to write.
        score_threshold: least score of an object; None for the model's own.
        pages: treatment of files of several pages; "each" makes every page an image.
        channels: channels that become red, green and blue; None for those of the model's training.
        intensity: ranges by which images are read; None for those of the model.
        max_pixels: largest number of pixels of an image.
        pixel_size: width of a pixel in micrometres; None for what each file states.
        workers: threads that read images.
    """

    save: Collection[Kind] = ("coco", "overlays")
    score_threshold: float | None = None
    pages: AllPages = "each"
    channels: tuple[int, ...] | None = None
    intensity: Intensity | None = None
    max_pixels: int = Reading.max_pixels
    pixel_size: float | None = None
    workers: int = 2


@dataclass
class Outcome:
    """Outcome of a prediction.

    Attributes:
        totals: sums over all images, those of earlier runs included.
        skipped: number of files that earlier runs have segmented.
        unreadable: reason by name of each file that cannot be read.
        written: files and folders that were written, relative to the output folder.
    """

    totals: Totals
    skipped: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)


def predict_files(
    model: AppliedModel, sources: Sequence[Source], out: Path, settings: PredictionSettings, *, overwrite: bool = False
) -> Outcome:
    """Segment image files and write what was found.

    Args:
        model: the segmenter.
        sources: the files; those that an earlier run into the same folder has done are skipped.
        out: output folder.
        settings: settings of reading and writing.
        overwrite: True to begin anew in a folder that holds predictions.

    Raises:
        SegtrainError: the folder holds predictions with other settings, or an image has changed since.
    """
    threshold = model.score_threshold if settings.score_threshold is None else settings.score_threshold
    intensity = model.intensity if settings.intensity is None else settings.intensity
    channels = model.channels if settings.channels is None else settings.channels
    asked = {
        "model": model.fingerprint, "--score": threshold, "--pages": settings.pages, "--channels": channels,
        "--intensity": intensity.to_plain(), "--pixel-size": settings.pixel_size, "--save": sorted(settings.save),
    }  # fmt: skip
    store = RecordStore.open(out, asked, overwrite=overwrite)
    try:
        outcome = Outcome(store.totals)
        waiting = _not_done(sources, store)
        outcome.skipped = len(sources) - len(waiting)
        writer = _Writer(model, out, settings, threshold, store)
        reading = Reading("auto", settings.max_pixels, channels=channels)
        with progress("images", len(waiting)) as stage:
            items = read_ahead(waiting, reading, settings.pages, intensity, settings.workers)
            _segment_all(items, model, writer, store, outcome, stage)
        outcome.totals = store.totals
        outcome.written = writer.finish()
        return outcome
    finally:
        store.close()


def _not_done(sources: Sequence[Source], store: RecordStore) -> list[Source]:
    """List the files that are still to be segmented."""
    waiting = []
    for source in sources:
        known = store.done.get(str(source.path))
        if known is None:
            waiting.append(source)
            continue
        status = source.path.stat()
        if known != (status.st_size, status.st_mtime_ns):
            raise SegtrainError(f"{source.path}: has changed since it was segmented; begin anew with --overwrite")
    return waiting


def _segment_all(
    items: Any, model: AppliedModel, writer: "_Writer", store: RecordStore, outcome: Outcome, stage: Stage
) -> None:
    before, failed = copy(store.totals), False
    for item in items:
        stop_if_asked()
        if isinstance(item, Page):
            (found,) = model.segmenter.segment([as_tensor(item.rgb)])
            writer.add(item, found)
            stage.update(state=f"{store.totals.objects:,} objects")
        elif isinstance(item, Unreadable):
            failed = True
            outcome.unreadable[item.source.name] = item.reason
            logger.warning(f"{item.source.path}: {item.reason}; left out")
        else:
            if failed:
                store.drop_unfinished(before)
            else:
                store.finish_file(item.source.path)
            before, failed = copy(store.totals), False
            stage.advance()


class _Writer:
    """Writer of the files that were asked for."""

    def __init__(
        self, model: AppliedModel, out: Path, settings: PredictionSettings, threshold: float, store: RecordStore
    ) -> None:
        self._model, self._out, self._settings, self._store = model, out, settings, store
        self._threshold = threshold
        self._pixel_sizes: dict[Path, float | None] = {}
        self._write: Mapping[Kind, Callable[[Page, Instances, list[dict[str, Any]]], None]] = {
            "overlays": self._overlay,
            "labels": self._labels,
            "masks": self._masks,
            "table": self._table,
            "outlines": self._outlines,
        }

    def add(self, page: Page, found: Instances) -> None:
        """Write what was found in an image.

        Args:
            page: the image.
            found: instances of all scores.
        """
        full = self._model.max_dets is not None and len(found) >= self._model.max_dets
        found = found[found.scores >= self._threshold]
        totals = self._store.totals
        image_id, first = totals.images + 1, totals.objects + 1
        height, width = found.size
        entry: dict[str, Any] = {"id": image_id, "file_name": page.name, "height": height, "width": width}
        if page.number is not None:
            entry |= {"source": page.source.name, "page": page.number}
        objects = self._annotations(found, image_id, first)
        for kind in self._settings.save:
            if kind in self._write:
                self._write[kind](page, found, objects)
        self._store.add_image(entry, objects)
        self._store.totals += Totals(1, len(found), 0, int(full))

    def finish(self) -> list[str]:
        """Write the files about all images, and return what was written, relative to the output folder."""
        written = []
        if "coco" in self._settings.save:
            about = f"found by {self._model.title}, score >= {self._threshold:g}"
            written.append(self._store.write_coco(self._model.categories, about).name)
        if "table" in self._settings.save:
            written.append(self._store.write_table().name)
        return written + [
            f"{kind}/" for kind in ("overlays", "labels", "masks", "outlines") if kind in self._settings.save
        ]

    def _annotations(self, found: Instances, image_id: int, first: int) -> list[dict[str, Any]]:
        sizes, bounds = area(found.rles), boxes(found.rles)
        categories = self._model.categories
        return [
            {
                "id": first + place, "image_id": image_id,
                "category_id": categories[max(int(label) - 1, 0)].id,
                "segmentation": rle, "area": int(size),
                "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
                "iscrowd": 0, "score": score,
            }
            for place, (label, rle, size, (x0, y0, x1, y1), score) in enumerate(
                zip(found.labels, found.rles, sizes.tolist(), bounds.tolist(), found.scores.tolist(), strict=True)
            )
        ]  # fmt: skip

    def _name_of(self, label: int) -> str:
        return self._model.categories[max(label - 1, 0)].name

    def _overlay(self, page: Page, found: Instances, _: Sequence[Mapping[str, Any]]) -> None:
        learned = self._model.segmenter.scores_are_learned
        texts = [
            f"{self._name_of(label)} {score:.2f}" if learned else ""
            for label, score in zip(found.labels.tolist(), found.scores.tolist(), strict=True)
        ]
        drawn = visualize.draw(page.rgb, found.rles, texts if learned else None)
        self._image(f"overlays/{page.key}.png", drawn)

    def _labels(self, page: Page, found: Instances, _: Sequence[Mapping[str, Any]]) -> None:
        drawn = to_label_map(found)
        self._store.totals.overlaps += int(area(found.rles).sum()) - int(np.count_nonzero(drawn))
        kind = np.uint16 if len(found) <= _MOST_LABELS else np.uint32
        content = BytesIO()
        tifffile.imwrite(content, drawn.astype(kind), compression="zlib")
        write_atomically(self._out / f"labels/{page.key}.tif", content.getvalue(), sync=False)

    def _masks(self, page: Page, found: Instances, objects: Sequence[Mapping[str, Any]]) -> None:
        for rle, entry in zip(found.rles, objects, strict=True):
            self._image(f"masks/{page.key}/{entry['id']:06d}.png", decode(rle) * np.uint8(255))

    def _table(self, page: Page, found: Instances, objects: Sequence[Mapping[str, Any]]) -> None:
        path = page.source.path
        pixel_size = self._settings.pixel_size
        if pixel_size is None:
            if path not in self._pixel_sizes:
                self._pixel_sizes = {path: pixel_size_of(path)}  # the pages of a file follow each other
            pixel_size = self._pixel_sizes[path]
        named = [
            (entry["id"], self._name_of(label), entry["score"], rle)
            for entry, label, rle in zip(objects, found.labels.tolist(), found.rles, strict=True)
        ]
        self._store.add_rows(list(object_rows(page.name, named, page.samples, pixel_size)))

    def _outlines(self, page: Page, found: Instances, objects: Sequence[Mapping[str, Any]]) -> None:
        named = [
            (entry["id"], self._name_of(label), max(label - 1, 0), entry["score"], rle)
            for entry, label, rle in zip(objects, found.labels.tolist(), found.rles, strict=True)
        ]
        write_atomically(self._out / f"outlines/{page.key}.geojson", json.dumps(to_geojson(named)), sync=False)

    def _image(self, name: str, pixels: Any) -> None:
        content = BytesIO()
        Image.fromarray(pixels).save(content, "PNG", compress_level=1)
        write_atomically(self._out / name, content.getvalue(), sync=False)
