"""Advice before a training: parts of the data that do not suit the network, and settings that would suit them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from segtrain.arrays import FloatArray, IntArray
from segtrain.console import counted
from segtrain.data.coco.index import CocoIndex
from segtrain.segmenters import Trainable
from segtrain.segmenters.anchors import AnchorLayout
from segtrain.segmenters.inputs import SHRUNK, fixed_scale
from segtrain.segmenters.tiles import tiled
from segtrain.segmenters.windows import WindowGrid

_BACKGROUND, _OBJECT = 0.3, 0.7  # IoU below which an anchor is background, and from which it is an object
_MOST_MISSED = 0.05  # share of objects without an anchor beyond `_BACKGROUND` that calls for other anchors ...
_FEWER = 0.6  # ... if these leave at most this part of them
_FACTORS = tuple(2.0 ** (power / 2) for power in range(-6, 7))  # of anchors that are tried
_IMAGES = 2000  # whose boxes are compared with anchors; those of all images of COCO would take a minute
_HUGE = 10**6  # pixels of a side that reaches every limit of an input
_TILE_STEP = 32  # pixels of which the side of suggested windows is a multiple
_DRAWN = 8  # shrunk images whose augmented samples tell whether the training cuts them into crops
_ROOM = 1.25  # proposals for each object of the most crowded image, at least


@dataclass(frozen=True)
class Advice:
    """Comparison of a data set with a network.

    Attributes:
        objects: number of objects that were compared with the anchors, those whose boxes the file states.
        side: 5 %, 50 % and 95 % quantile of the objects' sides (square root of the box), in input pixels.
        recall_at_object: largest share of objects that can have an anchor of IoU 0.7 or more, with which it learns
            them; None for a network without anchors.
        recall_at_background: the same for IoU 0.3; the others have only the anchors that fit them best.
        anchor_sizes: sizes of anchors that would miss fewer; None where the present ones do.
        anchor_recall: `recall_at_background` with these.
        most_objects: number of objects of the most crowded image that is not cut into windows.
        crowded_images: number of such images with more than ``data.max_dets`` objects.
        shrunk_images: number of images that are shrunk below the network's own scale when they are trained whole.
        tile: side of square windows, in pixels of the image, that are not shrunk, hold no more than ``data.max_dets``
            objects, and overlap by the size of nearly all objects; None where whole images suit, or no window does.
        facts: sizes of the objects beside the anchors, in words; empty without objects that can be compared.
        lines: what is to be done, in words.
    """

    objects: int
    side: tuple[float, float, float] | None
    recall_at_object: float | None
    recall_at_background: float | None
    anchor_sizes: Sequence[Sequence[float]] | None
    anchor_recall: float | None
    most_objects: int
    crowded_images: int
    shrunk_images: int
    tile: int | None
    facts: str
    lines: Sequence[str]

    def to_plain(self) -> dict[str, Any]:
        """Convert to plain values, for json."""
        return asdict(self)


def advise(
    index: CocoIndex,
    network: Trainable,
    max_dets: int,
    drawn: Callable[[Sequence[int]], Sequence[tuple[int, int]]] | None = None,
) -> Advice:
    """Compare the objects of a data set with a network.

    Args:
        index: training images.
        network: network that is to be trained on them.
        max_dets: detections per image, or window, that the network returns.
        drawn: function that returns the (H, W) of the augmented samples of some images, by their places in the index;
            called if images would be shrunk whole. None to presume crops of a network that was mostly trained at its
            own scale.
    """
    inputs = _input_boxes(index, network)
    sides = np.concatenate([np.sqrt((own[:, 2:] - own[:, :2]).prod(axis=1)) for own, _ in inputs] or [np.zeros(0)])
    lines: list[str] = []
    recalls: tuple[float | None, float | None] = None, None
    other, other_recall = None, None
    if network.anchors is not None and len(sides):
        fit = _fit(network.anchors, inputs)
        recalls = float(np.mean(fit >= _OBJECT)), float(np.mean(fit >= _BACKGROUND))
        other, other_recall = _better_anchors(network.anchors, inputs, fit)
        if other is not None:
            lines.append(_about_anchors(network, other, recalls[1], other_recall))
    objects, windows = index.objects_per_image, tiled(network)
    whole = np.array([windows.windows(size) == 1 for size in index.images.sizes], dtype=np.bool_)
    most, crowded = int(objects[whole].max(initial=0)), int((objects[whole] > max_dets).sum())
    shares = _shares(index, network, drawn)
    shrunk = shares[shares < SHRUNK]
    of_large = np.flatnonzero(whole & (objects > max_dets) | (shares < SHRUNK))
    tile = _tile(index, network, of_large, max_dets)
    if crowded:
        windows_do = "" if tile is None else f", and so do windows with fewer, segmenter.tile={tile}"
        lines.append(
            f"{counted(crowded, 'image')} with more objects than data.max_dets={max_dets}, up to {most:,}: "
            f"data.max_dets={_round_up(most)} finds them all{windows_do}"
        )
    if network.proposals is not None and most * _ROOM > network.proposals:
        lines.append(
            f"up to {most:,} objects in an image, and {network.proposals:,} proposals: "
            f"segmenter.rpn_proposals_test={_round_up(2 * most)} leaves room for those that overlap"
        )
    if len(shrunk):
        crop = "augmentation.transforms.crop"
        of_size = "" if tile is None else f" {crop}.height={tile} {crop}.width={tile} segmenter.tile={tile}"
        lines.append(
            f"{counted(len(shrunk), 'image')} trained whole would be shrunk, to {shrunk.min():.2f} of the network's "
            f"scale at the least: train on crops (augmentation=fixed_crop{of_size}), or raise segmenter.max_size; "
            "large images are then segmented in windows"
        )
    side = None if not len(sides) else tuple(np.round(np.quantile(sides, [0.05, 0.5, 0.95]), 1).tolist())
    return Advice(
        len(sides),
        side,
        *recalls,
        None if other is None else other.sizes,
        other_recall,
        most,
        crowded,
        len(shrunk),
        tile,
        _facts(len(sides), side, *recalls),
        lines,
    )


def _facts(
    objects: int, side: tuple[float, float, float] | None, at_object: float | None, at_background: float | None
) -> str:
    """Describe the sizes of the objects, and the best recall that the anchors allow."""
    if side is None:
        return ""
    low, middle, high = side
    text = (
        f"{counted(objects, 'object')} of {low:.0f} to {high:.0f} pixels at the network's input (median {middle:.0f})"
    )
    if at_object is None or at_background is None:
        return text
    return (
        f"{text}; best possible recall of its anchors: {at_object:.2f} at an IoU of {_OBJECT}, "
        f"{at_background:.2f} at {_BACKGROUND}"
    )


def _boxes(index: CocoIndex, places: IntArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield some images that have objects with known boxes, and these, (N, 4) xyxy."""
    rows = index.annotations.rows
    rows = rows[rows["usable"] & ~rows["crowd"]]
    rows = rows[np.isin(rows["image"], places)]
    boxes = index.annotations.valid_boxes(rows, index.images)
    # Boxes that the file lacks would have to be taken from the masks, which takes long for many images.
    known = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    boxes, owners = boxes[known], rows["image"][known]
    if not len(boxes):
        return
    boxes[:, 2:] += boxes[:, :2]
    order = np.argsort(owners, kind="stable")
    owners, first = np.unique(owners[order], return_index=True)
    yield from zip(owners.tolist(), np.split(boxes[order], first[1:]), strict=True)


def _spread(places: IntArray) -> IntArray:
    """Take `_IMAGES` of some images, evenly over the set."""
    chosen: IntArray = places[np.linspace(0, len(places) - 1, min(len(places), _IMAGES)).astype(np.int64)]
    return chosen


def _input_boxes(index: CocoIndex, network: Trainable) -> list[tuple[FloatArray, tuple[int, int]]]:
    """Return the boxes of each image, (N, 4) xyxy in input pixels, and the (H, W) of its input."""
    found = []
    for place, own in _boxes(index, _spread(np.flatnonzero(index.objects_per_image))):
        height, width = index.images.sizes[place]
        scale = _scale(network, height, width)
        found.append((own * scale, (max(int(height * scale), 1), max(int(width * scale), 1))))
    return found


def _tile(index: CocoIndex, network: Trainable, places: IntArray, max_dets: int) -> int | None:
    """Choose the largest windows that suit some images, see `Advice.tile`; None if none do."""
    own = dict(_boxes(index, _spread(places)))
    if not own:
        return None
    lengths = np.concatenate([(boxes[:, 2:] - boxes[:, :2]).max(axis=1) for boxes in own.values()])
    least = float(np.quantile(lengths, 0.95)) / network.overlap if network.overlap else 1.0
    most = max(max(index.images.sizes[place]) for place in own)
    scale = fixed_scale(network.input_scale)
    if scale is not None:
        most = min(most, int(network.input_scale(_HUGE, _HUGE) * _HUGE / scale))
    side = float(most)
    while (tile := int(side) // _TILE_STEP * _TILE_STEP) >= max(least, _TILE_STEP):
        if all(_most_in_window(boxes, index.images.sizes[place], tile, network.overlap) <= max_dets
               for place, boxes in own.items()):  # fmt: skip
            return tile
        side /= 2**0.5
    return None


def _most_in_window(boxes: FloatArray, size: tuple[int, int], tile: int, overlap: float) -> int:
    """Return the largest number of objects of which a window of an image shows a part."""
    shared = max(int(tile * overlap), 1)
    grid = WindowGrid(size, (tile, tile), (shared, shared))
    left, top, right, bottom = boxes.T
    return max(
        int(((left < window.x1) & (right > window.x0) & (top < window.y1) & (bottom > window.y0)).sum())
        for window in grid
    )


def _scale(network: Trainable, height: int, width: int) -> float:
    """Return the scale of an image; an image that is cut into windows, or crops, has that of the training."""
    if network.inputs is not None and tiled(network).windows((height, width)) > 1:
        return network.inputs.scale
    return network.input_scale(height, width)


def _fit(anchors: AnchorLayout, inputs: Sequence[tuple[FloatArray, tuple[int, int]]]) -> FloatArray:
    return np.concatenate([anchors.best_iou(boxes, size) for boxes, size in inputs])


def _better_anchors(
    anchors: AnchorLayout, inputs: Sequence[tuple[FloatArray, tuple[int, int]]], fit: FloatArray
) -> tuple[AnchorLayout | None, float | None]:
    """Find larger or smaller anchors that miss clearly fewer objects, and their recall; None if there are none."""
    missed = float(np.mean(fit < _BACKGROUND))
    if missed <= _MOST_MISSED:
        return None, None
    tried = [anchors.scaled(factor) for factor in _FACTORS]
    fits = [_fit(layout, inputs) for layout in tried]
    best = max(range(len(tried)), key=lambda place: (np.mean(fits[place] >= _BACKGROUND), fits[place].mean()))
    left = float(np.mean(fits[best] < _BACKGROUND))
    return (tried[best], 1 - left) if left <= _FEWER * missed else (None, None)


def _about_anchors(network: Trainable, other: AnchorLayout, recall: float | None, better: float | None) -> str:
    assert network.anchors is not None
    assert recall is not None
    assert better is not None
    sizes = json.dumps([list(sides) for sides in other.sizes]).replace(" ", "")
    line = (
        f"{1 - recall:.0%} of the objects have no anchor with an IoU of {_BACKGROUND} or more; with "
        f"'segmenter.anchor_sizes={sizes}' {1 - better:.0%}"
    )
    factor = network.anchors.sizes[0][0] / other.sizes[0][0]
    scale = fixed_scale(network.input_scale)
    if scale is not None and factor > 1:
        line += f", or with larger inputs: segmenter.scale={scale * factor:.2g}"
    return line


def _shares(
    index: CocoIndex, network: Trainable, drawn: Callable[[Sequence[int]], Sequence[tuple[int, int]]] | None
) -> FloatArray:
    """Return the share of the network's own scale at which each image is trained whole, (images,); 1 on crops."""
    scale = fixed_scale(network.input_scale)
    if scale is None:
        return np.ones(len(index.images))
    shares: FloatArray = np.array([network.input_scale(*size) / scale for size in index.images.sizes])
    shrunk = np.flatnonzero(shares < SHRUNK)
    if drawn is None:
        is_cropped = network.inputs is not None and network.inputs.scale >= SHRUNK * scale
    else:
        some = shrunk[np.linspace(0, len(shrunk) - 1, min(len(shrunk), _DRAWN)).astype(np.int64)].tolist()
        sampled = [network.input_scale(*size) / scale for size in (drawn(some) if some else ())]
        is_cropped = bool(sampled) and float(np.median(sampled)) >= SHRUNK
    return np.ones(len(shares)) if is_cropped else shares


def _round_up(number: int) -> int:
    """Return a round number that is not smaller.

    >>> _round_up(375), _round_up(100), _round_up(1201)
    (400, 100, 1300)
    """
    return -(-number // 100) * 100
