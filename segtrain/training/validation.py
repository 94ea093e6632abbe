"""Validation during training."""

from collections.abc import Callable, Iterator

from torch import Tensor

from segtrain import distributed
from segtrain.console import Stage, progress
from segtrain.data.coco.index import CocoIndex
from segtrain.data.dataset import plain_sample
from segtrain.data.evaluation_images import evaluation_images
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.large_image import LargeImage, large_images
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import Detections, GroundTruthSet, gathered, metric_input, predict, reads_windows
from segtrain.io import printable
from segtrain.metrics.registry import METRICS, metric_values
from segtrain.segmenters import Trainable
from segtrain.segmenters.tiles import tiled
from segtrain.training.run_history import CLASS_AGNOSTIC_AP
from segtrain.training.validation_charts import Validated
from segtrain.training.validation_losses import ValidationLosses, evaluating

Show = Callable[[Validated], None]


class Validation:
    """Class-aware scoring of a segmenter on a split.

    Images that are larger than what the network has seen are cut into windows; AP then uses as many detections as all
    windows of an image have together.

    Args:
        split: validation images, all readable, with their true objects.
        max_dets: detections per image or window, and category, that AP uses.
        score_threshold: operating point of mIoU and F1.
        show: function that receives every validation, in the first process.
        losses: True to compute the loss terms as well.
        seed: seed of the draws within the losses.
        class_agnostic: True to add the mask AP without categories, in which classical methods are measured.

    Raises:
        SegtrainError: the split has no images.
    """

    def __init__(
        self,
        split: Split,
        max_dets: int,
        score_threshold: float,
        show: Show,
        *,
        losses: bool = False,
        seed: int = 0,
        class_agnostic: bool = False,
    ) -> None:
        if split.images is None:
            raise SegtrainError("data.val_images is null; name the folder of the validation images")
        self._index, self._images = split.index, split.images
        self._ground_truth = GroundTruthSet.of(split.index)
        self._max_dets, self._score_threshold, self._show = max_dets, score_threshold, show
        self._losses, self._seed, self._class_agnostic = losses, seed, class_agnostic

    def __call__(self, segmenter: Trainable, step: int) -> dict[str, float]:
        """Return the metrics of a segmenter by their names in ``results.json``; undefined ones are nan.

        With `losses` the loss terms come first: ``loss``, their sum, and each term by its name.
        """
        windows = tiled(segmenter).summarise(self._index.images.sizes)
        losses = ValidationLosses(segmenter, self._seed) if self._losses else None
        with progress("validation", len(self._index.images), transient=True) as stage, evaluating(segmenter):
            found = detect(segmenter, self._index, self._images, self._score_threshold, stage, losses)
            means = {} if losses is None else losses.means()
            stage.update(state="scoring")
            return means | distributed.from_first(lambda: self._score(found, step, self._max_dets * windows.most))

    def _score(self, found: Detections | None, step: int, max_dets: int) -> dict[str, float]:
        assert found is not None
        inputs = metric_input(found, self._ground_truth, max_dets, "class_aware")
        scores = metric_values(inputs, [metric for metric in METRICS if metric.validated])
        self._show(Validated(step, found, inputs, scores))
        if not self._class_agnostic:
            return scores.values
        inputs = metric_input(found, self._ground_truth, max_dets, "class_agnostic")
        (mask_ap,) = metric_values(inputs, [metric for metric in METRICS if metric.key == "mask_ap"]).values.values()
        return {**scores.values, CLASS_AGNOSTIC_AP: mask_ap}


def require_windows(segmenter: Trainable, split: Split) -> None:
    """Check that a network cuts the validation images into windows that are too large to be read whole.

    Args:
        segmenter: network to train, with the sizes that it will have seen.
        split: validation images.

    Raises:
        SegtrainError: it segments one of them as a whole.
    """
    network = tiled(segmenter)
    if split.images is None:
        return
    for image in large_images(split.images, split.index.images):
        if not reads_windows(network, image.size):
            tile = "auto" if segmenter.tile == "off" else "SIZE"
            raise SegtrainError(
                f"{split.images.folder}: {printable(image.file_name)} (image {image.id}) is of {image.height}x"
                f"{image.width} pixels, more than data.max_image_pixels, and segmenter.tile={segmenter.tile} validates "
                f"it whole; set segmenter.tile={tile}, or data.max_image_pixels={image.height * image.width}"
            )


def detect(
    segmenter: Trainable,
    index: CocoIndex,
    images: ImageReader,
    score_threshold: float,
    stage: Stage,
    losses: ValidationLosses | None = None,
) -> Detections | None:
    """Segment all images of an index, each in one of the processes that train together.

    Args:
        segmenter: network of this process, the same in all of them.
        index: the images.
        images: reader of their files.
        score_threshold: operating point of the detections.
        stage: advances by the processes' number with each image of this one.
        losses: receives the images that are not cut into windows, with their true objects; None to segment alone.

    Returns:
        The detections in all images; None in all processes but the first.
    """
    positions = distributed.share(range(len(index.images)))
    infos, network = [index.images[position] for position in positions], tiled(segmenter)

    def read() -> Iterator[tuple[int, Tensor | LargeImage]]:
        for position, (image_id, image) in zip(positions, evaluation_images(infos, images), strict=True):
            if losses is not None and isinstance(image, Tensor) and network.windows(index.images[position].size) == 1:
                losses.add(plain_sample(index, position, image))
            yield image_id, image

    def advance() -> None:
        stage.update(min(stage.done + distributed.size(), len(index.images)))

    found = predict(network, read(), index.categories, score_threshold, advance)
    return gathered(found, [image.id for image in index.images])
