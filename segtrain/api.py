"""Functions for notebooks and scripts, offered by ``import segtrain as st``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from segtrain import visualize
from segtrain.benchmark.results import TrackScores
from segtrain.data.check.load import CheckMode, load_index
from segtrain.data.check.run import CheckReport, CheckSettings, run_checks
from segtrain.data.images.headers import PILLOW_LIMIT, Exif
from segtrain.data.images.image_reader import ImageReader, RgbArray, as_tensor
from segtrain.data.images.image_reader import read_image as _read_image
from segtrain.data.loader import evaluation_images
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS, Detections, GroundTruthSet, TrackName, match_categories
from segtrain.evaluation import predict as _predict
from segtrain.evaluation import score as _score
from segtrain.records import Instances
from segtrain.runtime import resolve_device
from segtrain.segmenters import Segmenter, Trainable
from segtrain.training.checkpoint import checkpoint_file, load_checkpoint, load_segmenter

ImageLike = npt.NDArray[np.uint8] | Tensor | Image.Image | str | Path
_MAX_DETS = 100  # COCO's


@dataclass(frozen=True)
class Model:
    """A trained network with what its checkpoint says of it; a `Segmenter` that takes images of any kind.

    Attributes:
        network: the network, in evaluation mode.
        class_names: names of the labels 1..K.
        score_threshold: operating point, chosen on training images; detections of lower scores are mostly wrong.
    """

    network: Trainable
    class_names: Sequence[str]
    score_threshold: float

    @property
    def scores_are_learned(self) -> bool:
        """True: scores estimate how likely a detection is right."""
        return self.network.scores_are_learned

    def segment(self, images: Sequence[ImageLike]) -> list[Instances]:
        """Segment images, one at a time.

        Args:
            images: uint8 RGB arrays (H, W, 3), uint8 RGB tensors (3, H, W), PIL images, or paths of image files.

        Returns:
            The instances of each image, in the image's own frame, best first, of all scores; compare them with
            ``score_threshold``.

        Raises:
            SegtrainError: an image is of another kind, or a file cannot be read.
        """
        return self.network.segment([_as_image(image) for image in images])


def load(path: str | Path, *, device: str = "auto", trust: Sequence[str] = ()) -> Model:
    """Load a trained network.

    Args:
        path: a run's folder, whose best checkpoint is taken, or a checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:N".
        trust: packages beside segtrain whose code the checkpoint may name.

    Raises:
        SegtrainError: there is no checkpoint, it cannot be read, or it asks for foreign code.

    >>> load("runs/none")
    Traceback (most recent call last):
    ...
    segtrain.errors.SegtrainError: runs/none: no such file; give a run's folder or a checkpoint
    """
    path = checkpoint_file(path)
    checkpoint = load_checkpoint(path)
    network = load_segmenter(path, trust=trust).to(resolve_device(device))
    return Model(network, checkpoint.class_names, checkpoint.score_threshold)


def read_image(path: str | Path) -> RgbArray:
    """Read an image file as (H, W, 3) uint8 RGB, upright; of any mode and bit depth.

    Raises:
        SegtrainError: the file is missing, corrupt, truncated, or too large.
    """
    return _read_image(Path(path))


def draw(
    image: ImageLike, instances: Instances, *, class_names: Sequence[str] | None = None, scores: bool = False
) -> Image.Image:
    """Draw instances on an image: crisp outlines around a translucent fill.

    Args:
        image: as `Model.segment` takes it.
        instances: instances of this image.
        class_names: names of the labels 1..K, written at each instance; None for no names.
        scores: whether scores are written beside the names.

    >>> black = np.zeros((40, 60, 3), np.uint8)
    >>> draw(black, Instances.empty((40, 60))).size
    (180, 120)
    """
    texts = None
    if class_names is not None:
        texts = [class_names[label - 1] if label > 0 else "" for label in instances.labels]
    if scores:
        texts = [
            f"{text} {score:.2f}".strip()
            for text, score in zip(texts or [""] * len(instances), instances.scores, strict=True)
        ]
    pixels = _as_image(image).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(visualize.draw(pixels, instances.rles, texts))


def load_coco(
    annotations: str | Path, images: str | Path | None = None, *, check: CheckMode = "strict", exif: Exif = "auto"
) -> Split:
    """Load a COCO data set: the index of its annotations, and a reader of its images.

    Args:
        annotations: the json file.
        images: the image folder; None if scores of result files are all that is wanted.
        check: "strict": annotations that cannot be used are an error; "warn": they are left out and counted; "off":
            masks are looked at when they are used.
        exif: see ``data.exif``.

    Raises:
        SegtrainError: the file is no COCO json, or something in it cannot be used.
    """
    reader = None
    if images is not None:
        if not Path(images).is_dir():
            raise SegtrainError(f"{images}: no such folder; give the folder of the images")
        reader = ImageReader(Path(images), exif, PILLOW_LIMIT)
    return Split("val", load_index(Path(annotations), check), reader)


def check(data: Split, *, against: Split | None = None, max_dets: int = _MAX_DETS) -> CheckReport:
    """Check a data set: its json, every image file, and the set as a whole; ``print`` shows what was found.

    Args:
        data: the data set, with its images.
        against: another data set whose images should not be among these.
        max_dets: detections per image that a model returns; images with more objects are reported.

    Raises:
        SegtrainError: the data set was loaded without images.
    """
    settings = CheckSettings(
        annotations=data.index.path,
        images=_reader(data).folder,
        against=None if against is None else against.index.path,
        against_images=None if against is None else _reader(against).folder,
        exif=_reader(data).exif,
        max_dets=max_dets,
        max_pixels=_reader(data).max_pixels,
    )
    return run_checks(settings, lambda _name, _steps: lambda: None)[0]


def predict(segmenter: Segmenter, data: Split, *, score_threshold: float | None = None) -> Detections:
    """Segment all images of a data set.

    Args:
        segmenter: what `load` returns, or a segmenter of your own.
        data: the data set, with its images.
        score_threshold: operating point of learned scores; None for the model's own, and 0.5 without one.

    Returns:
        COCO result records of all detections, also those below the operating point.

    Raises:
        SegtrainError: the data set was loaded without images, or an image cannot be read.
    """
    categories = data.index.categories
    own = match_categories(segmenter.class_names, categories) if isinstance(segmenter, Model) else categories
    if score_threshold is None:
        score_threshold = segmenter.score_threshold if isinstance(segmenter, Model) else 0.5
    return _predict(
        segmenter,
        evaluation_images(data.index, _reader(data)),
        categories if own is None else own,
        score_threshold,
        foreign=own is None,
    )


def score(detections: Detections, data: Split, *, max_dets: int = _MAX_DETS) -> dict[TrackName, TrackScores | None]:
    """Score detections against a data set, as the benchmark does.

    Args:
        detections: what `predict` returns.
        data: the data set.
        max_dets: detections per image and category that AP and AR use.

    Returns:
        Scores with all categories made one ("class_agnostic") and by category ("class_aware"; None where detections
        name no categories); ``["class_agnostic"].metrics["mask_ap"]`` is the mask AP.
    """
    tracks = _score(detections, GroundTruthSet.of(data.index), max_dets, TRACKS)
    return {name: None if track is None else TrackScores.of(track) for name, track in tracks.items()}


def _reader(data: Split) -> ImageReader:
    if data.images is None:
        raise SegtrainError(f"{data.index.path} was loaded without images: load_coco(annotations, images)")
    return data.images


def _as_image(image: Any) -> Tensor:
    """Convert any image that `Model.segment` takes to a uint8 RGB tensor (3, H, W)."""
    if isinstance(image, str | Path):
        image = read_image(image)
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
