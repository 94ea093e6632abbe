"""Functions for notebooks and scripts, offered by ``import segtrain as st``."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segtrain import visualize
from segtrain.arrays import RgbArray
from segtrain.data.check.load import CheckMode, load_index, refuse_errors, with_image_files
from segtrain.data.check.run import CheckReport, CheckSettings, run_checks
from segtrain.data.coco.category_names import learned_categories
from segtrain.data.coco.joined_files import AnnotationFiles, annotation_file
from segtrain.data.coco.result_file import load_results as _load_results
from segtrain.data.coco.result_ids import ResultIds
from segtrain.data.coco.rules import AnnotationRules, BoxesWithoutMasks, Crowd, Frame, Witnesses
from segtrain.data.evaluation_images import evaluation_images
from segtrain.data.frames.result_frames import check_frame_of_results
from segtrain.data.images.decode import decode, decode_pages
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import ImageReader, as_tensor, lost_levels, range_of_image
from segtrain.data.images.intensities.intensity import FULL, Intensity, Range, to_rgb
from segtrain.data.images.opening import PILLOW_LIMIT
from segtrain.data.images.orientation import Exif
from segtrain.data.images.reading import Pages, Reading, check_channels, one_image_pages
from segtrain.data.images.samples import Samples
from segtrain.data.split_intensity import headers_of, set_intensity
from segtrain.data.splits import Split
from segtrain.data.storage.address import Address, expand_location
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.data.storage.image_store import ImageFile
from segtrain.data.storage.open_folder import open_file_of, open_folder
from segtrain.errors import SegtrainError
from segtrain.evaluation import (
    SCORE_THRESHOLD,
    TRACKS,
    Detections,
    GroundTruthSet,
    TrackName,
)
from segtrain.evaluation import predict as _predict
from segtrain.evaluation import score as _score
from segtrain.io import expand_path, printable
from segtrain.masks import area
from segtrain.masks.parse import Rings
from segtrain.metrics.scores import TrackScores
from segtrain.nodes import build, nearest, read_yaml
from segtrain.prediction.applied_model import NetworkSettings, load_network, method_files
from segtrain.prediction.reading_ahead import Page, Unreadable, read_ahead
from segtrain.prediction.sources import Source, find_images
from segtrain.records import Category, Instances
from segtrain.score_thresholds import GivenThreshold, ScoreThresholds
from segtrain.segmenters import Segmenter
from segtrain.segmenters.classical.regions import LabelMap
from segtrain.segmenters.classical.segmenter import LabelMapSegmenter, check_setting, check_settings, method_name
from segtrain.segmenters.tiles import TiledSegmenter
from segtrain.values import CategoryOrder, IntensitySetting, Natural, Overlap, Positive, TileSetting

ImageLike = RgbArray | Tensor | Image.Image | str | Path
_SEED = 0  # of the draw of images that a range is found from, as in configs/train.yaml
_MAX_DETS, _CACHE_GB = 100, 50  # as in configs/data/coco.yaml
_MIN_AREA = 16  # as in configs/segmenter/
_TILE = "networks loaded with tile=SIZE read TIFFs by windows"


@dataclass(frozen=True, repr=False)
class Model:
    """A `Segmenter` that takes images of any kind, with the names of its labels; `load` and `classical` return one.

    Attributes:
        segmenter: the network, in evaluation mode, or the classical method.
        title: name of the network or of the method.
        class_names: names of the labels 1..K; empty for a classical method, whose labels are all 0.
        score_threshold: operating point, chosen on training images: detections of lower scores are mostly wrong; 0 for
            a classical method, whose scores only rank.
        intensity: ranges by which image files are read: those of the training; the full range of each type of samples
            for a classical method.
        channels: channels of image files that become red, green and blue, as in the training; None for the colours that
            files declare.
        exif: treatment of the EXIF orientations of image files, as in the training; see `read_image`.
        category_thresholds: operating point of the classes that have their own, by name; `predict` applies it.

    >>> import segtrain as st
    >>> st.load("runs/train/cells")
    <Mask R-CNN, 3 classes, score threshold 0.50>
    """

    segmenter: Segmenter
    title: str
    class_names: Sequence[str]
    score_threshold: float
    intensity: Intensity = FULL
    channels: tuple[int, ...] | None = None
    exif: Exif = "auto"
    category_thresholds: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        if not self.class_names:
            return f"<{self.title}, class-agnostic>"
        classes = "1 class" if len(self.class_names) == 1 else f"{len(self.class_names)} classes"
        own = ", or by class" if self.category_thresholds else ""
        return f"<{self.title}, {classes}, score threshold {self.score_threshold:.2f}{own}>"

    @property
    def thresholds(self) -> ScoreThresholds:
        """Operating point, and that of single classes."""
        return ScoreThresholds(self.score_threshold, self.category_thresholds)

    @property
    def scores_are_learned(self) -> bool:
        """True if scores estimate how likely a detection is right; False if they only rank."""
        return self.segmenter.scores_are_learned

    def segment(self, images: Sequence[ImageLike]) -> list[Instances]:
        """Segment images, one at a time.

        Args:
            images: uint8 RGB arrays (H, W, 3), uint8 RGB tensors (3, H, W), PIL images, or paths of image files.

        Returns:
            The instances of each image, in the image's own frame, best first, of all scores; compare them with
            ``score_threshold``.

        Raises:
            SegtrainError: an image is of another kind, or a file cannot be read.

        >>> import segtrain as st
        >>> st.load("runs/train/cells").segment(["cells/images/val/000001.png"])[0].size
        (96, 96)
        """
        if isinstance(images, str | Path | Image.Image) or getattr(images, "ndim", 4) < 4:
            raise SegtrainError("segment takes a list of images; write segment([image])")
        return self.segmenter.segment([_as_image(image, self) for image in images])

    def predict(self, images: ImageLike | Sequence[ImageLike], *, every: int = 1) -> list[Instances]:
        """Segment images and keep the instances above the score thresholds; the command ``segtrain predict`` in Python.

        Instances whose mask has no pixel are left out.

        Args:
            images: an image, or a list of images, as of `segment`; or the path of a folder, of which all image files
                and videos are taken by name, those of folders below included. Each page of a file, and each frame of a
                video, is an image.
            every: n to take only every n-th frame of videos, from the first one on.

        Returns:
            The instances of each image, in the image's own frame, best first.

        Raises:
            SegtrainError: an image is of another kind, a file cannot be read, or a folder holds no images.

        >>> import segtrain as st
        >>> [len(found) > 5 for found in st.classical("threshold_otsu").predict("cells/images/val")]
        [True, True]
        """
        single = isinstance(images, str | Path | Image.Image) or getattr(images, "ndim", 4) < 4
        given: Sequence[Any] = [images] if single else images  # type: ignore[assignment]
        found = (one for image in given for one in self._found(image, every))
        least = self.thresholds.of_labels(self.class_names)
        return [one[(one.scores >= least[one.labels]) & (area(one.rles) > 0)] for one in found]

    def _found(self, image: Any, every: int) -> Iterator[Instances]:
        """Yield the instances of an image, or of each page and frame of files."""
        if not isinstance(image, str | Path):
            yield from self.segment([image])
            return
        cutting = self.segmenter if isinstance(self.segmenter, TiledSegmenter) else None
        sources = [Source(path, path.name, path.name) for path in find_images([str(image)])]
        reading = Reading(self.exif, channels=self.channels)

        def cuts(size: tuple[int, int]) -> bool:
            return cutting is not None and cutting.windows(size) > 1

        with (
            closing(read_ahead(sources, reading, "each", self.intensity, every, 1, cuts)) as items,
            _image_errors(_TILE),
        ):
            for item in items:
                if isinstance(item, Unreadable):
                    raise item.error
                if isinstance(item, Page):
                    _warn_of_loss(item.lost, item.source.path)
                    if item.large is not None and cutting is not None:
                        yield cutting.segment_pixels(item.large)
                    else:
                        yield from self.segmenter.segment([as_tensor(item.rgb)])


def load(
    path: str | Path,
    *,
    device: str = "auto",
    max_dets: int | None = None,
    tile: TileSetting | None = None,
    overlap: float | None = None,
    trust: Sequence[str] = (),
) -> Model:
    """Load a trained network.

    Args:
        path: a run's folder, whose best checkpoint is taken, or a checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:N".
        max_dets: largest number of instances of an image, or of each window of one; None for that of the training.
        tile: "auto" to cut images larger than those of training and validation into windows, "off" never to, or the
            side of square windows in pixels of the image; None for what the training has set.
        overlap: least share of a window's side that neighbours have in common, in (0, 0.5); None for that of the
            training.
        trust: packages beside segtrain whose code the checkpoint may name.

    Raises:
        SegtrainError: there is no checkpoint, it cannot be read, or it names code of a package that is not trusted.

    >>> import segtrain as st
    >>> st.load("runs/train/cells", device="cpu").class_names
    ['round', 'spindle', 'lobed']
    """
    for name, value, hint in (
        ("max_dets", max_dets, Positive | None),
        ("tile", tile, TileSetting | None),
        ("overlap", overlap, Overlap | None),
    ):
        check_setting("load", name, value, hint)
    settings = NetworkSettings(max_dets=max_dets, tile=tile, overlap=overlap)
    model = load_network(path, settings, device=device, trust=trust)
    names, reading = [category.name for category in model.categories], model.reading
    return Model(
        model.segmenter, model.title, names, model.thresholds.overall, model.intensity, reading.channels, reading.exif,
        model.thresholds.by_category,
    )  # fmt: skip


def classical(method: str | Callable[..., LabelMap], *, min_area: int | None = None, **settings: Any) -> Model:
    """Build a classical segmenter from a method of the benchmark, or from a function.

    Args:
        method: name of a YAML file in ``configs/segmenter/``, such as "threshold_otsu", "edge_canny" or "kmeans_lab";
            or a function from float32 RGB (H, W, 3) in [0, 1] to a label map (H, W), 0 for background.
        min_area: least area of a region in pixels, at least 0; None for the method's own, which is 16 for a function.
        settings: arguments of the function in place of its defaults, such as ``polarity="dark"``.

    Returns:
        A model whose labels are all 0, and whose scores rank by contrast.

    Raises:
        SegtrainError: there is no such method, it has no such setting, or a value is of a wrong type or out of range.

    >>> import segtrain as st
    >>> st.classical("threshold_otsu", min_area=30, polarity="bright")
    <threshold_otsu, class-agnostic>
    >>> st.classical(st.threshold.mean).segment(["cells/images/val/000001.png"])[0].size
    (96, 96)
    """
    if callable(method):
        title = method_name(method)
        segmenter = LabelMapSegmenter(method, _MIN_AREA, title, None, None)
    else:
        title, segmenter = method, _classical_row(method)
    check_settings(title, segmenter.method, settings)
    segmenter.method = partial(segmenter.method, **settings)
    if min_area is not None:
        check_setting(title, "min_area", min_area, Natural)
        segmenter.min_area = int(min_area)
    return Model(segmenter, title, (), 0.0)


def read_image(
    path: str | Path,
    *,
    max_pixels: int = PILLOW_LIMIT,
    pages: Pages = "error",
    channels: Sequence[int] | None = None,
    intensity: IntensitySetting | Intensity = FULL,
    exif: Exif = "auto",
) -> RgbArray:
    """Read an image file of any mode and bit depth, upright.

    Args:
        path: path of the file.
        max_pixels: greatest number of pixels of an image; larger ones are refused before they are decoded.
        pages: treatment of a file of several pages or frames that differ: "error" to refuse it, or "first", "max" or
            "mean" to read the first page, or the maximum or mean of all.
        channels: numbers from 0 of the channels that become red, green and blue, or of the one that is read as grey;
            None for the colours that the file declares.
        intensity: sample values that become black and white in images of more than 8 bits: a pair (low, high); pairs by
            the type of samples, such as {"uint16": (0, 4095)}; `Model.intensity`; or "full" for the full range of the
            type.
        exif: "apply" and "auto": the image is turned upright by its EXIF orientation; "ignore": it is read as stored.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        SegtrainError: the file is missing, corrupt, truncated, too large, or of a type without a range; or it does not
            say which of its pages or channels are the image.

    Warns:
        UserWarning: the image uses so little of the range of its type that hardly any grey levels remain.

    >>> import segtrain as st
    >>> st.read_image("cells/images/val/000001.png").shape
    (96, 96, 3)
    """
    file = open_file_of(expand_location(path))
    numbers = None if channels is None else check_channels(channels, "channels")
    reading = Reading(exif, max_pixels, one_image_pages(pages), numbers)
    with _image_errors():
        return _convert(decode(file, None, reading), _given(intensity), file)


def read_pages(
    path: str | Path,
    *,
    max_pixels: int = PILLOW_LIMIT,
    channels: Sequence[int] | None = None,
    intensity: IntensitySetting | Intensity = FULL,
    exif: Exif = "auto",
) -> list[RgbArray]:
    """Read each page or frame of an image file as an image, such as the slices of a TIFF; see `read_image`.

    Args:
        path: path of the file.
        max_pixels: greatest number of pixels of a page.
        channels: channels of a page that become red, green and blue; see `read_image`.
        intensity: sample values that become black and white; see `read_image`.
        exif: treatment of EXIF orientations; see `read_image`.

    Returns:
        (H, W, 3) uint8 RGB for each page of the size of the first; thumbnails and levels of a pyramid are left out.

    Raises:
        SegtrainError: see `read_image`.

    >>> import segtrain as st
    >>> [page.shape for page in st.read_pages("cells/images/val/000001.png")]
    [(96, 96, 3)]
    """
    file, ranges = open_file_of(expand_location(path)), _given(intensity)
    numbers = None if channels is None else check_channels(channels, "channels")
    with _image_errors():
        pages = decode_pages(file, Reading(exif, max_pixels, channels=numbers))
        return [_convert(samples, ranges, file) for samples in pages]


def draw(
    image: ImageLike, instances: Instances, *, class_names: Sequence[str] | None = None, scores: bool = False
) -> Image.Image:
    """Draw instances on an image: crisp outlines around a translucent fill.

    Args:
        image: uint8 RGB array (H, W, 3), uint8 RGB tensor (3, H, W), PIL image, or path of an image file.
        instances: instances of this image.
        class_names: names of the labels 1..K, written at each instance; None for no names.
        scores: True to write scores beside the names.

    Returns:
        The drawn image; a small one is enlarged two or three times, so that outlines do not hide the objects.

    Raises:
        SegtrainError: the instances are those of an image of another size, or a label has no name.

    >>> import segtrain as st
    >>> image = st.read_image("cells/images/val/000001.png")
    >>> st.draw(image, st.classical("threshold_otsu").segment([image])[0]).size
    (288, 288)
    """
    pixels = _as_image(image).permute(1, 2, 0).cpu().numpy()
    if pixels.shape[:2] != tuple(instances.size):
        raise SegtrainError(
            f"the instances lie in an image of {_size(instances.size)} pixels, and this one has "
            f"{_size(pixels.shape)}; give the image that was segmented"
        )
    texts = None
    if class_names is not None:
        if (most := instances.labels.max(initial=0)) > len(class_names):
            raise SegtrainError(f"label {most} has no name among the {len(class_names)} given; give one for each label")
        texts = [class_names[label - 1] if label > 0 else "" for label in instances.labels]
    if scores:
        texts = [
            f"{text} {score:.2f}".strip()
            for text, score in zip(texts or [""] * len(instances), instances.scores, strict=True)
        ]
    return Image.fromarray(visualize.draw(pixels, instances.rles, texts))


def load_coco(
    annotations: AnnotationFiles,
    images: str | Path | None = None,
    *,
    check: CheckMode = "strict",
    exif: Exif = "auto",
    boxes_without_masks: BoxesWithoutMasks = "error",
    crowd: Crowd = "ignore",
    rings: Rings = "union",
    pages: Pages = "error",
    channels: Sequence[int] | None = None,
    intensity: IntensitySetting | Intensity = "auto",
    frame: Frame | tuple[int, int] = "stored",
    witnesses: Witnesses = "stored",
    cache: Literal["none", "disk"] = "none",
    cache_gb: float = _CACHE_GB,
) -> Split:
    """Load a COCO data set: the index of its annotations, and a reader of its images.

    Args:
        annotations: the json file or its address (``s3://``, ``https://``), or several of one data set.
        images: the image folder or its address; None to load the annotations alone, which suffice to score result
            files.
        check: "strict": annotations that cannot be used are an error; "warn": they are left out and counted; "off":
            masks are looked at when they are used.
        exif: "apply": images are turned upright by their EXIF orientation; "ignore": they are read as they are stored;
            "auto": they are read in the way that has the size in the json.
        boxes_without_masks: "error": an object with a box and without a mask is an error; "ignore": it is a region that
            is neither learned nor counted; "box": the box is its mask.
        crowd: "ignore": annotations with ``iscrowd`` 1 are regions that are neither learned nor counted; "objects":
            they are ordinary objects.
        rings: "union": several polygons of one object are united, as COCO defines; "even_odd": one inside another is
            a hole.
        pages: treatment of image files of several pages; see `read_image`.
        channels: channels of the images that become red, green and blue; see `read_image`.
        intensity: sample values that become black and white: "auto" and "percentile" find a range for all images from
            at most 200 of them; for other values see `read_image`.
        frame: "stored": coordinates and run lengths are those of the images; "auto": they are moved into the frame in
            which they agree with boxes, areas and images, if the check finds one; or the (H, W) of the images that
            they belong to.
        witnesses: "stored": boxes and areas are those of the file; "masks": they are taken from the masks.
        cache: "disk": remote images are kept in the user's cache folder; "none": each reading transfers them.
        cache_gb: greatest size of that cache, in gigabytes.

    Raises:
        SegtrainError: the file is no COCO json, or something in it cannot be used; or an image is missing.

    >>> import segtrain as st
    >>> st.load_coco("cells/annotations/instances_val.json", "cells/images/val")
    <cells/annotations/instances_val.json: 2 images, 26 annotations of round, spindle, lobed>
    """
    rules = AnnotationRules(boxes_without_masks, crowd, rings, frame, witnesses)
    kinds = (CheckMode, Exif, BoxesWithoutMasks, Crowd, Rings, Frame, Witnesses)
    for value, choices in zip((check, exif, *rules), map(get_args, kinds), strict=True):
        if value not in choices and not (value is frame and _is_size(value)):
            raise SegtrainError(f"{value!r} is no choice of load_coco; use {', '.join(choices)}")
    reader = None
    if images is not None:
        location = expand_location(images)
        folder = open_folder(location, DiskCache.open(cache_gb) if cache == "disk" else None)
        if folder is None:
            raise SegtrainError(f"{location}: no such folder; give the folder of the images")
        numbers = None if channels is None else check_channels(channels, "channels")
        reader = ImageReader(folder, exif, PILLOW_LIMIT, one_image_pages(pages), numbers)
    given = [annotations] if isinstance(annotations, str | Path | Address) else annotations
    path = annotation_file([expand_location(one) for one in given])
    index = load_index(path, "off" if check == "off" else "warn", rules, reader)
    index, absent = with_image_files(index, None if reader is None else reader.folder)
    if check == "strict":
        refuse_errors(index.issues, str(path), 'check="warn"')
        absent.refuse(index, "images")
    split = Split("val", index, reader, absent=absent)
    if isinstance(intensity, Intensity):
        return split if reader is None else replace(split, images=replace(reader, intensity=intensity))
    splits, readings = set_intensity({"val": split}, {"val": headers_of(split, check)}, intensity, _SEED)
    if check == "strict":
        refuse_errors(readings["val"], str(annotations), 'check="warn"')
    return splits["val"]


def _is_size(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    return all(type(side) is int and side > 0 for side in value)


def check(data: Split, *, against: Split | None = None, max_dets: int = _MAX_DETS) -> CheckReport:
    """Check a data set: its json, every image file, and the set as a whole; ``print`` shows the report.

    Args:
        data: the data set, with its images.
        against: another data set whose images should not be among these.
        max_dets: detections per image that a model returns; images with more objects are reported.

    Raises:
        SegtrainError: the data set was loaded without images.

    >>> import segtrain as st
    >>> report = st.check(st.load_coco("cells/annotations/instances_val.json", "cells/images/val"))
    >>> report.errors
    0
    """
    settings = CheckSettings(
        annotations=data.index.path,
        images=_reader(data).folder,
        against=None if against is None else against.index.path,
        against_images=None if against is None else _reader(against).folder,
        exif=_reader(data).exif,
        pages=_reader(data).pages,
        channels=_reader(data).channels,
        max_dets=max_dets,
        max_pixels=_reader(data).max_pixels,
        rules=data.index.rules,
        intensity=_reader(data).intensity,
    )
    return run_checks(settings, lambda _name, _steps: lambda: None)[0]


def predict(segmenter: Segmenter, data: Split, *, score_threshold: GivenThreshold = None) -> Detections:
    """Segment all images of a data set.

    Args:
        segmenter: result of `load` or `classical`, or any other segmenter.
        data: the data set, with its images.
        score_threshold: operating point of learned scores, or that of some categories by name, in class-aware numbers;
            None for the model's own, and 0.5 without one.

    Returns:
        COCO result records of all detections, also those below the operating point.

    Raises:
        SegtrainError: the data set was loaded without images, an image cannot be read, or there is no category of a
            given name.

    Warns:
        UserWarning: the model's classes are not the categories of the data, so that its labels are ignored.

    >>> import segtrain as st
    >>> data = st.load_coco("cells/annotations/instances_val.json", "cells/images/val")
    >>> detections = st.predict(st.classical("threshold_otsu"), data)
    >>> detections.masks[0]["image_id"]
    1
    """
    reader = _reader(data)
    if isinstance(segmenter, Model) and segmenter.class_names and reader.intensity.rule == "auto":
        ranges = {**reader.intensity.ranges, **segmenter.intensity.ranges}
        reader = replace(reader, intensity=replace(segmenter.intensity, ranges=ranges))
    images = evaluation_images(data.index.images, reader)
    categories = data.index.categories
    own: Sequence[Category] | None = categories
    if isinstance(segmenter, Model) and segmenter.class_names:
        own = learned_categories(segmenter.class_names, data.index)
        if own is None:
            warnings.warn(
                f"the model finds {', '.join(segmenter.class_names)}, and the data have "
                f"{', '.join(category.name for category in categories)}: its labels are dropped, and only "
                "class-agnostic scores can be computed",
                stacklevel=2,
            )
    stated = segmenter.thresholds if isinstance(segmenter, Model) else ScoreThresholds(SCORE_THRESHOLD)
    chosen = stated.changed(score_threshold, [category.name for category in own or categories], "score_threshold")
    with _image_errors():
        bare = segmenter.segmenter if isinstance(segmenter, Model) else segmenter
        found = _predict(
            bare, images, own or categories, chosen.overall,
            foreign=own is None, category_thresholds=chosen.by_id(own or categories),
        )  # fmt: skip
    return replace(found, masks=list(found.masks or ()))  # plain records, which `json.dump` takes


def load_results(
    path: str | Path,
    data: Split,
    *,
    score_threshold: GivenThreshold = None,
    image_id_offset: int = 0,
    images_by: Literal["id", "name"] | None = None,
    category_map: Mapping[Any, Any] | CategoryOrder | None = None,
) -> Detections:
    """Load the detections that another tool has written as a COCO result file.

    Args:
        path: path of a list of records, or of a whole COCO file whose annotations have scores. Images may be given by
            id or file name, categories by id or name.
        data: the data set.
        score_threshold: operating point of the scores, or that of some categories by name, in class-aware numbers; None
            for the one that the file states, as those of ``segtrain predict`` do, and 0.5 without one.
        image_id_offset: number to add to every image id of the file.
        images_by: image ids are ids ("id") or file names ("name"); None to take the reading that fits.
        category_map: category of the data set, by id or name, for each id or name of the file; "order" if the ids of
            the file count the categories of the data set from 0, "order_from_1" if from 1; None to take them as
            they are.

    Raises:
        SegtrainError: the file is no result file, or a record is broken or has an unknown id.

    Warns:
        UserWarning: values were read in another sense than they are written, such as ids that are file names.

    >>> import json, segtrain as st
    >>> data = st.load_coco("cells/annotations/instances_val.json", "cells/images/val")
    >>> found = st.predict(st.classical("threshold_otsu"), data)
    >>> _ = Path("otsu.json").write_text(json.dumps(found.masks))
    >>> st.load_results("otsu.json", data).masks == found.masks
    True
    """
    if images_by not in (None, "id", "name"):
        raise SegtrainError(f"{images_by!r} is no choice of load_results; use id, name or None")
    index, ids = data.index, ResultIds(image_id_offset, images_by, category_map)
    content = _load_results(
        expand_path(path), images=index.images, categories=index.categories, ids=ids, merged=index.merged
    )
    for note in (*content.notes, *check_frame_of_results(content, index.images, expand_path(path))):
        warnings.warn(f"{path}: {note}", stacklevel=2)
    stated = SCORE_THRESHOLD if content.score_threshold is None else content.score_threshold
    names = [category.name for category in index.categories]
    chosen = ScoreThresholds(stated).changed(score_threshold, names, "score_threshold")
    return Detections(
        content.masks, content.boxes, content.class_aware, chosen.overall, polygons=content.polygons,
        category_thresholds=chosen.by_id(index.categories) if content.class_aware else {},
    )  # fmt: skip


def score(detections: Detections, data: Split, *, max_dets: int = _MAX_DETS) -> dict[TrackName, TrackScores | None]:
    """Score detections against a data set, as the benchmark does.

    Args:
        detections: result of `predict` or `load_results`.
        data: the data set.
        max_dets: detections per image and category that AP and AR use.

    Returns:
        Scores by track: "class_agnostic" with all categories treated as one, and "class_aware", which is None if the
        detections have no categories.

    >>> import segtrain as st
    >>> data = st.load_coco("cells/annotations/instances_val.json", "cells/images/val")
    >>> scores = st.score(st.predict(st.classical("threshold_otsu"), data), data)
    >>> 0 < scores["class_agnostic"].metrics["mask_ap"] < 1
    True
    """
    return _score(detections, GroundTruthSet.of(data.index), max_dets, TRACKS)


def _given(intensity: IntensitySetting | Intensity) -> Intensity:
    """Return the ranges of a setting that needs no data set."""
    ranges = intensity if isinstance(intensity, Intensity) else Intensity.given(intensity)
    if ranges is None:
        raise SegtrainError(f"{intensity!r} needs a data set (load_coco); give full, or a range (low, high)")
    return ranges


def _convert(samples: Samples, intensity: Intensity, path: ImageFile) -> RgbArray:
    """Convert samples to 8-bit RGB, and warn where a full range leaves hardly any grey levels."""
    bounds = range_of_image(samples, intensity, path)
    _warn_of_loss(lost_levels(samples, intensity, bounds), path)
    return to_rgb(samples, bounds)


def _warn_of_loss(lost: tuple[str, Range] | None, path: ImageFile) -> None:
    if lost is not None:
        said, ends = lost
        warnings.warn(f"{path}: {said}; give intensity=({ends.low:g}, {ends.high:g})", stacklevel=4)


def _reader(data: Split) -> ImageReader:
    if data.images is None:
        raise SegtrainError(f"{data.index.path} was loaded without images: load_coco(annotations, images)")
    return data.images


def _classical_row(name: str) -> LabelMapSegmenter:
    """Build the segmenter of a YAML file."""
    known = method_files()
    if name not in known:
        raise SegtrainError(f"{name}: no such classical method; {nearest(name, list(known))}")
    segmenter = build(read_yaml(known[name]))
    assert isinstance(segmenter, LabelMapSegmenter)
    return segmenter


@contextmanager
def _image_errors(large: str = "raise max_pixels if you trust it") -> Iterator[None]:
    """Report unreadable images without the keys of the configuration, which only the commands have.

    Args:
        large: remedy for images that are too large.
    """
    try:
        yield
    except ImageError as error:
        remedies = {
            "image-too-large": large,
            "image-intensity": "give intensity=(low, high)",
            "image-channels": "give channels=(a, b, c), or one number, as read_image takes them",
            "image-pages": "give pages, as read_image takes them",
            "image-not-transferred": "try again later",
        }
        remedy = remedies.get(error.kind, "replace the file")
        raise SegtrainError(f"{printable(error.place)}: {error.reason}; {remedy}") from None


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _as_image(image: Any, model: Model | None = None) -> Tensor:
    """Convert any image that `Model.segment` takes to a uint8 RGB tensor (3, H, W)."""
    if isinstance(image, str | Path):
        read = {} if model is None else {key: getattr(model, key) for key in ("intensity", "channels", "exif")}
        image = read_image(image, **read)
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return as_tensor(np.ascontiguousarray(image))
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] == 3:
        return image
    kind = f"{type(image).__name__} {getattr(image, 'dtype', '')} {tuple(getattr(image, 'shape', ()))}"
    raise SegtrainError(
        f"{kind} is no image: give a uint8 RGB array (H, W, 3), a uint8 RGB tensor (3, H, W), a PIL image, or a path"
    )
