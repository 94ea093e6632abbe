"""Segmenters that consist of a labelling function, and scores that rank the labelled regions."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, get_type_hints

import numpy as np
from torch import Tensor

from segtrain import masks
from segtrain.arrays import Float32Array, RgbArray
from segtrain.errors import SegtrainError
from segtrain.nodes import nearest
from segtrain.records import Instances
from segtrain.segmenters import SegmenterInfo
from segtrain.segmenters.classical.contrast import contrast
from segtrain.segmenters.classical.regions import ImageArray, LabelMap, as_rgb, drop_small
from segtrain.segmenters.classical.shared_steps import shared_step
from segtrain.values import Natural, check_value


class LabelMapSegmenter:
    """Segmenter without training: a labelling function, and `contrast` as the score of its regions.

    Args:
        method: function from float32 RGB (H, W, 3) in [0, 1] to a label map (H, W), 0 for background.
        min_area: least area in pixels, at least 0; smaller regions are dropped.
        description: one sentence for the report.
        technique: kind of method, such as ``threshold``, ``edges`` or ``kmeans``; None for no kind.
        variant: ``textbook`` as tutorials write it, ``robust`` with the background found by the image border and
            touching objects split, ``tuned`` with settings searched on training images; None for none of these.

    Raises:
        SegtrainError: the variant is none of these.

    >>> import torch
    >>> from segtrain.segmenters.classical import threshold
    >>> image = torch.zeros(3, 4, 8, dtype=torch.uint8)
    >>> image[:, 1:3, 1:3], image[:, 1:3, 5:7] = 255, 200
    >>> segmenter = LabelMapSegmenter(threshold.mean, 1, "Mean threshold.", "threshold", None)
    >>> print(segmenter.segment([image])[0].scores.round(2))
    [1.   0.78]
    """

    scores_are_learned = False

    def __init__(
        self,
        method: Callable[[Any], LabelMap],
        min_area: Natural,
        description: str,
        technique: str | None,
        variant: str | None,
    ) -> None:
        if variant not in ("textbook", "robust", "tuned", None):
            raise SegtrainError(f"variant '{variant}' is unknown; use textbook, robust, tuned or null")
        self.method = method
        self.min_area = min_area
        self.info = SegmenterInfo(
            description=description, technique=technique, variant=variant, ranked_by=contrast.__name__
        )

    def segment(self, images: Sequence[Tensor]) -> list[Instances]:
        """Segment images; labels are all 0, for no category.

        Args:
            images: uint8 RGB tensors (3, H, W), of any sizes.

        Raises:
            SegtrainError: the function has returned something else than a label map of the image.
        """
        return [self._segment(image) for image in images]

    def _label(self, rgb: ImageArray) -> LabelMap:
        labels: object = self.method(rgb)
        size = rgb.shape[:2]
        if not isinstance(labels, np.ndarray):
            found = type(labels).__name__
        elif labels.shape != size or not np.issubdtype(labels.dtype, np.integer):
            found = f"an array of type {labels.dtype} and shape {labels.shape}"
        elif (least := labels.min(initial=0)) < 0:
            found = f"a region with number {least}"
        else:
            return labels.astype(np.int64) if labels.dtype == np.uint64 else labels
        raise SegtrainError(
            f"{method_name(self.method)} returned {found}; let it return an integer array {size}: 0 for background, "
            "and n for region n"
        )

    def _scored(self, image: RgbArray) -> tuple[LabelMap, Float32Array]:
        """Label an image, and score the regions that are large enough."""
        # Functions of segtrain take bytes too, which need a quarter of the memory while they run.
        labels = drop_small(self._label(image if _is_own(self.method) else as_rgb(image)), self.min_area)
        return labels, contrast(image, labels)

    def _segment(self, image: Tensor) -> Instances:
        labels, scores = self._scored(_pixels(image))
        order = np.argsort(-scores, kind="stable")
        rles = masks.pack_labels(labels).where(order)
        return Instances(
            size=labels.shape,
            boxes=masks.boxes(rles).astype(np.float32),
            labels=np.zeros(len(rles), dtype=np.int64),
            scores=scores[order],
            rles=rles,
        )


@shared_step
def _pixels(image: Tensor) -> RgbArray:
    pixels: RgbArray = image.permute(1, 2, 0).cpu().numpy()
    return pixels


def method_name(method: Callable[..., object]) -> str:
    """Return the name of a labelling function, without its settings.

    >>> method_name(partial(contrast, labels=None))
    'contrast'
    """
    function = _function(method)
    return str(getattr(function, "__name__", type(function).__name__))


def _function(method: Callable[..., object]) -> Callable[..., object]:
    return method.func if isinstance(method, partial) else method


def _is_own(method: Callable[..., object]) -> bool:
    """Tell whether a labelling function is one of this package."""
    function = _function(method)
    return inspect.isfunction(function) and function.__module__.startswith("segtrain.")


def check_setting(name: str, key: str, value: object, hint: Any) -> None:
    """Check the type and range of a value; numbers may be Python's or NumPy's.

    Args:
        name: name of the segmenter, for the message.
        key: name of the setting.
        value: value of the setting.
        hint: type of the setting, as `check_value` takes it.

    Raises:
        SegtrainError: the value is of a wrong type or outside its range.

    >>> check_setting("otsu", "min_area", np.int64(16), Natural)
    """
    plain = value.item() if isinstance(value, np.generic) else value
    for problem in check_value(key, plain, hint):
        raise SegtrainError(f"{name}: {problem}")


def check_settings(name: str, method: Callable[..., object], settings: Mapping[str, Any]) -> None:
    """Check that a labelling function has all of some settings, and that their values have the right types.

    Values are checked for functions of segtrain only, by their annotations.

    Args:
        name: name of the segmenter, for the message.
        method: labelling function, whose first argument is the image.
        settings: arguments by name.

    Raises:
        SegtrainError: a setting is unknown, or its value is of a wrong type or outside its range.

    >>> from segtrain.segmenters.classical.threshold import otsu
    >>> check_settings("otsu", otsu, {"denoise": 1.5})
    """
    known = list(inspect.signature(method).parameters)[1:]
    function = _function(method)
    hints = get_type_hints(function, include_extras=True) if _is_own(method) else {}
    for key, value in settings.items():
        if not known:
            raise SegtrainError(f"{name} has no settings, and so no {key!r}; leave it out")
        if key not in known:
            raise SegtrainError(f"{name} has no setting {key!r}; {nearest(key, known)}")
        if key in hints:
            check_setting(name, key, value, hints[key])
