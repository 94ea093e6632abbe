"""Prediction on new images, which are read ahead, segmented one by one, and written in the chosen kinds of files."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from segtrain import visualize
from segtrain.console import Stage, counted, progress
from segtrain.convert.outlines import joined_outline
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import as_tensor
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples
from segtrain.io import common_folder, printable
from segtrain.masks import Rle, area, boxes, decode
from segtrain.prediction.applied_model import AppliedModel
from segtrain.prediction.found_objects import FoundObject, found_objects, object_rows
from segtrain.prediction.geojson import to_geojson
from segtrain.prediction.large_files import image_tiles, label_tiles, write_tiles
from segtrain.prediction.overlay_video import OverlayVideo
from segtrain.prediction.pixel_size import pixel_size_of
from segtrain.prediction.prediction_folder import FOLDERS, PredictionFolder, Totals
from segtrain.prediction.reading_ahead import AllPages, Item, Page, Unreadable, read_ahead
from segtrain.prediction.sources import name_sources
from segtrain.records import Instances, to_label_map
from segtrain.report.gallery.encode import EncodedImage
from segtrain.report.gallery.found_images import encode_found
from segtrain.score_thresholds import GivenThreshold, ScoreThresholds
from segtrain.segmenters.windows import ImagePixels, Window
from segtrain.stopping import stop_if_asked

logger = logging.getLogger(__name__)
Kind = Literal["coco", "polygons", "overlays", "labels", "masks", "table", "outlines", "index", "pages"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_KINDS: tuple[Kind, ...] = ("coco", "overlays", "index")
_MOST_LABELS = 65_535  # of 16 bits
_CUT = "--tile SIZE reads it by windows"
_CONVERT = "raise --max-pixels, or save it as a TIFF in tiles, which is read by windows"
# What makes files readable, by the kind of their error.
_REMEDIES = {
    "image-channels": "give --channels, three numbers or one, from 0",
    "image-intensity": "give --intensity LOW,HIGH",
    "image-pages": "give --pages first",
}


@dataclass(frozen=True)
class PredictionSettings:
    """Settings of a prediction.

    Attributes:
        save: kinds of files to write.
        score_threshold: least score of an object, or that of some categories by name; None for the model's own.
        pages: treatment of files of several pages; "each" makes every page an image.
        channels: channels that become red, green and blue; None for those of the model's training.
        intensity: ranges by which images are read; None for those of the model.
        max_pixels: largest number of pixels of an image.
        pixel_size: width of a pixel in micrometres; None for what each file states.
        every: n of the n-th frames of videos that are images, beside the first one.
        workers: threads that read images.
    """

    save: Collection[Kind] = DEFAULT_KINDS
    score_threshold: GivenThreshold = None
    pages: AllPages = "each"
    channels: tuple[int, ...] | None = None
    intensity: Intensity | None = None
    max_pixels: int = Reading.max_pixels
    pixel_size: float | None = None
    every: int = 1
    workers: int = 2


@dataclass
class Outcome:
    """Outcome of a prediction.

    Attributes:
        totals: sums over all images, those of earlier runs included.
        skipped: number of files that earlier runs have segmented.
        unreadable: reason by name of each file that cannot be read.
        faint: images of this run whose range of intensity leaves hardly any grey levels.
        written: files and folders that were written, relative to the output folder.
    """

    totals: Totals
    skipped: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    faint: int = 0
    written: list[str] = field(default_factory=list)


def predict_files(
    model: AppliedModel, images: Sequence[Path], out: Path, settings: PredictionSettings, *, overwrite: bool = False
) -> Outcome:
    """Segment image files and write what was found.

    Args:
        model: the segmenter.
        images: absolute paths of the files; those that an earlier run into the same folder has done are skipped.
        out: output folder.
        settings: settings of reading and writing.
        overwrite: True to begin anew in a folder that holds predictions.

    Raises:
        SegtrainError: the folder holds predictions with other settings or of images elsewhere, or an image has changed
            since.
    """
    names = [category.name for category in model.categories]
    thresholds = model.thresholds.changed(settings.score_threshold, names, "--score")
    intensity = model.intensity if settings.intensity is None else settings.intensity
    channels = model.reading.channels if settings.channels is None else settings.channels
    least = {"all": thresholds.overall, **thresholds.by_category} if thresholds.by_category else thresholds.overall
    asked = {
        "model": model.fingerprint, "--score": least, "--pages": settings.pages, "--channels": channels,
        "--intensity": intensity.to_plain(), "--pixel-size": settings.pixel_size, "--save": sorted(settings.save),
        "--every": settings.every,
    }  # fmt: skip
    folder = PredictionFolder.open(out, asked, common_folder(images), overwrite=overwrite)
    with closing(folder):
        waiting = [path for path in images if not folder.is_done(path)]
        sources = name_sources(waiting, folder.root, folder.keys)
        reading = replace(model.reading, max_pixels=settings.max_pixels, channels=channels)

        def cuts(size: tuple[int, int]) -> bool:
            return model.segmenter.windows(size) > 1

        items = read_ahead(sources, reading, settings.pages, intensity, settings.every, settings.workers, cuts)
        writer = _Writer(model, settings, thresholds, folder)
        outcome = Outcome(folder.totals, len(images) - len(waiting))
        with progress("images", len(sources)) as stage, closing(items), closing(writer):
            _segment_all(items, model, writer, folder, outcome, stage)
        outcome.totals, outcome.written = folder.totals, writer.finish()
        return outcome


def _segment_all(
    items: Generator[Item, None, None],
    model: AppliedModel,
    writer: "_Writer",
    folder: PredictionFolder,
    outcome: Outcome,
    stage: Stage,
) -> None:
    """Segment images and write what was found; note what cannot be read, and what is hard to see."""
    files = 0
    for item in items:
        stop_if_asked()
        if isinstance(item, Page):
            if item.lost is not None and not outcome.faint:
                said, ends = item.lost
                logger.warning(f"{item.source.path}: {said}; give --intensity {ends.low:g},{ends.high:g}")
            outcome.faint += item.lost is not None
            try:
                found = _segment(item, model, partial(_show_share, stage, files))
            except ImageError as error:  # of a part that was read just now
                _leave_out(Unreadable(item.source, error), outcome)
                continue
            writer.add(item, found)
            stage.update(files + item.share, state=f"{folder.totals.objects:,} objects")
        elif isinstance(item, Unreadable):
            _leave_out(item, outcome)
        else:
            writer.close()
            if item.source.name in outcome.unreadable:
                folder.drop_unfinished()
            else:
                folder.finish_file(item.source)
            files += 1
            stage.update(files)


def _leave_out(file: Unreadable, outcome: Outcome) -> None:
    """Note a file that cannot be read, with what makes it readable if that is an option of the command."""
    reason = file.error.reason
    if file.error.kind == "image-too-large":
        reason += f"; {_CUT if file.in_windows else _CONVERT}"
    elif file.error.kind in _REMEDIES:
        reason += f"; {_REMEDIES[file.error.kind]}"
    outcome.unreadable[file.source.name] = reason
    logger.warning(f"{file.source.path}: {reason}; left out")


def _show_share(stage: Stage, files: int, share: float) -> None:
    stage.update(files + share)


def _segment(page: Page, model: AppliedModel, show: Callable[[float], None]) -> Instances:
    """Segment an image.

    Args:
        page: the image.
        model: the segmenter.
        show: called with the share of a large image that is done.
    """
    if page.large is None:
        return model.segmenter.segment_pixels(ImagePixels(as_tensor(page.rgb)), stop_if_asked)
    done, windows = count(1), model.segmenter.windows(page.large.size)

    def advance() -> None:
        stop_if_asked()
        show(next(done) / windows)

    return model.segmenter.segment_pixels(page.large, advance)


class _Writer:
    """Writer of the files that were asked for."""

    def __init__(
        self, model: AppliedModel, settings: PredictionSettings, thresholds: ScoreThresholds, folder: PredictionFolder
    ) -> None:
        self._model, self._settings, self._thresholds, self._folder = model, settings, thresholds, folder
        self._least = thresholds.of_labels([category.name for category in model.categories])
        self._video: OverlayVideo | None = None  # of the file that is read
        self._pixel_size = lru_cache(maxsize=1)(pixel_size_of)  # the pages of a file follow each other

    def add(self, page: Page, found: Instances) -> None:
        """Write what was found in an image.

        Args:
            page: the image.
            found: instances of all scores.
        """
        totals, save = self._folder.totals, self._settings.save
        full = found.complete_above > 0 and found.complete_above >= self._least.min()
        windows = self._model.segmenter.summarise([found.size])
        found = found[(found.scores >= self._least[found.labels]) & (area(found.rles) > 0)]
        objects = found_objects(found, self._model.categories, totals.objects + 1)
        if "overlays" in save:
            self._write_overlay(page, objects)
        overlaps = self._write_labels(page, found) if "labels" in save else 0
        if "masks" in save and page.large is not None:
            logger.warning(f"{page.source.path}: no single masks of so large an image are written")
        elif "masks" in save:
            for one in objects:
                self._write_image(f"masks/{page.key}/{one.number:06d}.png", decode(one.rle) * np.uint8(255))
        if "outlines" in save:
            self._folder.write(f"outlines/{page.key}.geojson", json.dumps(to_geojson(objects)))
        if "pages" in save:
            self._write_page(page)
        image_id, (height, width) = totals.images + 1, found.size
        image: dict[str, Any] = {"id": image_id, "file_name": page.name, "height": height, "width": width}
        if page.number is not None:
            image |= {"source": page.source.name, "page" if page.rate is None else "frame": page.number}
        annotations = _annotations(objects, image_id)
        self._folder.add_image(
            image,
            annotations,
            _with_polygons(annotations) if "polygons" in save else [],
            self._rows(page, objects) if "table" in save else [],
            self._shown(page, objects) if "index" in save else None,
            Totals(1, len(objects), overlaps, int(full), windows.cut, windows.shrunk),
        )

    def close(self) -> None:
        """Complete the video of the frames since the last call, if there were any."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def finish(self) -> list[str]:
        """Write the files about all images, and return what was written, relative to the output folder."""
        save, totals = self._settings.save, self._folder.totals
        written = [f"{kind}/" for kind in FOLDERS if kind in save]
        about = f"found by {self._model.title}, score >= {self._thresholds}"
        for kind, name in (("coco", "predictions.json"), ("polygons", "polygons.json")):
            if kind in save:
                written.append(self._folder.write_coco(name, self._model.categories, about, float(self._least.min())))
        if "table" in save:
            written.append(self._folder.write_table())
        if "index" in save:
            facts = f"{counted(totals.objects, 'object')} in {counted(totals.images, 'image')}"
            if self._learned:
                facts += f", of scores from {self._thresholds}"
            facts += f"; model: {printable(self._model.source)}"
            written.append(self._folder.write_index(f"Found by {self._model.title}", facts, written))
        return written

    @property
    def _learned(self) -> bool:
        return self._model.segmenter.scores_are_learned

    def _shown(self, page: Page, objects: Sequence[FoundObject]) -> EncodedImage:
        """Encode an image for ``index.html``, with a link to its overlay."""
        overlay = quote(os.fsencode(page.overlay)) if "overlays" in self._settings.save else ""
        scores = [one.score for one in objects] if self._learned else None
        names = [one.category.name for one in objects]
        return encode_found(printable(page.name), page.rgb, _drawn(page, objects), names, scores, overlay)

    def _write_overlay(self, page: Page, objects: Sequence[FoundObject]) -> None:
        texts = [f"{one.category.name} {one.score:.2f}" for one in objects] if self._learned else None
        drawn = visualize.draw(page.rgb, _drawn(page, objects), None if page.large else texts)
        if page.rate is None:
            self._write_image(page.overlay, drawn)
            return
        if self._video is None:
            self._video = OverlayVideo(self._folder.place_of(page.overlay), page.rate)
        self._video.write(drawn)

    def _write_labels(self, page: Page, found: Instances) -> int:
        """Write a label map, and return the number of pixels where masks overlap."""
        kind = np.uint16 if len(found) <= _MOST_LABELS else np.uint32
        if page.large is not None:
            name = f"labels/{page.key}.tif"
            visible = write_tiles(self._folder.place_of(name), label_tiles(found), found.size, np.dtype(kind))
            return int(area(found.rles).sum()) - visible
        drawn = to_label_map(found)
        content = BytesIO()
        tifffile.imwrite(content, drawn.astype(kind), compression="zlib")
        self._folder.write(f"labels/{page.key}.tif", content.getvalue())
        return int(area(found.rles).sum()) - int(np.count_nonzero(drawn))

    def _write_page(self, page: Page) -> None:
        """Write an image as a file of its own, by its name in the COCO file: a page with the samples that it has."""
        name = f"pages/{page.name}"
        if page.number is None:
            shutil.copyfile(page.source.path, self._folder.place_of(name))
        elif page.large is not None:
            samples = page.samples.array
            write_tiles(
                self._folder.place_of(name), image_tiles(page.large), page.large.size + samples.shape[2:], samples.dtype
            )
        elif page.rate is None:
            kind = "rgb" if page.samples.array.ndim == 3 else "minisblack"
            tifffile.imwrite(self._folder.place_of(name), page.samples.array, photometric=kind, compression="zlib")
        else:
            self._write_image(name, page.rgb)

    def _write_image(self, name: str, pixels: npt.NDArray[np.uint8]) -> None:
        content = BytesIO()
        Image.fromarray(pixels).save(content, "PNG", compress_level=1)
        self._folder.write(name, content.getvalue())

    def _rows(self, page: Page, objects: Sequence[FoundObject]) -> list[dict[str, Any]]:
        """Measure the objects of an image for the table."""

        def samples(window: Window) -> Samples:
            if page.large is not None:
                return page.large.samples(window)
            x0, y0, x1, y1 = window
            return replace(page.samples, array=page.samples.array[y0:y1, x0:x1], valid=None)

        return list(object_rows(page.name, objects, samples, self._micrometres(page)))

    def _micrometres(self, page: Page) -> float | None:
        return self._settings.pixel_size or self._pixel_size(page.source.path)


def _drawn(page: Page, objects: Sequence[FoundObject]) -> list[Rle]:
    """Return the masks of objects in the size of the image that is shown."""
    rles = [one.rle for one in objects]
    return rles if page.large is None else page.large.reduced(rles)


def _annotations(objects: Sequence[FoundObject], image_id: int) -> list[dict[str, Any]]:
    """Describe objects as COCO's annotations, with scores."""
    bounds = boxes([one.rle for one in objects]).tolist()
    return [
        {
            "id": one.number, "image_id": image_id, "category_id": one.category.id, "segmentation": one.rle,
            "area": one.pixels, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0, "score": one.score,
        }
        for one, (x0, y0, x1, y1) in zip(objects, bounds, strict=True)
    ]  # fmt: skip


def _with_polygons(annotations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Replace the mask of each annotation by one polygon, which has the same pixels."""
    return [{**entry, "segmentation": [joined_outline(entry["segmentation"])]} for entry in annotations]
