"""Run-length masks: codec, set operations, areas, boxes and IoU; the only package that imports ``pycocotools.mask``.

A mask is a COCO run-length encoding: lengths of alternating runs of 0s and 1s, starting with 0s, down the columns
(Fortran order) of an (H, W) plane. Only ``encode`` and ``decode`` use full planes; time and memory of all other
functions grow with the outlines of the masks, not with their areas or the image.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from segtrain.arrays import BoolArray, FloatArray, IntArray, blocks
from segtrain.masks import codec, sweep
from segtrain.masks.rles import PackedRles as PackedRles
from segtrain.masks.rles import Rle as Rle
from segtrain.masks.sweep import Overlaps as Overlaps
from segtrain.masks.sweep import Runs as Runs

_Integers = npt.NDArray[np.integer[Any]]
_COLUMNS = 2**21  # pixels of a label map that are read at a time; bounds the memory
_CROPS = 2**22  # pixels of crops that are decoded at a time, if one has no more; likewise


def encode(mask: npt.NDArray[Any]) -> Rle:
    """Encode a full plane.

    Args:
        mask: (H, W), nonzero where the object is.

    >>> encode(np.ones((2, 3)))
    {'size': [2, 3], 'counts': '06'}
    """
    rle = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return _text(rle)


def decode(rle: Rle) -> BoolArray:
    """Decode a mask to its full (H, W) plane.

    >>> decode({"size": [2, 3], "counts": "222"}).astype(int).tolist()  # runs of 2 zeros, 2 ones, 2 zeros
    [[0, 1, 0], [0, 1, 0]]
    """
    # pycocotools' decode raises a warning for every mask under NumPy 2.
    height, width = rle["size"]
    counts = counts_of(rle)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def encode_crop(crop: npt.NDArray[Any], x: int, y: int, size: tuple[int, int]) -> Rle:
    """Encode a mask given as a crop of the image, without the full plane.

    Args:
        crop: (h, w), nonzero where the object is.
        x: column of the crop's left edge in the image; the part of the crop outside the image is cut off.
        y: row of the crop's top edge.
        size: (H, W) of the image.

    >>> boxes([encode_crop(np.ones((2, 3)), x=4, y=1, size=(10, 10))]).tolist()
    [[4.0, 1.0, 7.0, 3.0]]
    """
    height, width = size
    crop = crop[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
    x, y = max(x, 0), max(y, 0)
    # A frame of zeros above and below closes every vertical run inside its own column.
    framed = np.zeros((crop.shape[1], crop.shape[0] + 2), dtype=np.int8)
    framed[:, 1:-1] = crop.T != 0
    column, row = np.nonzero(np.diff(framed, axis=1))
    return _from_flips((x + column) * height + y + row, size)


def encode_labels(labels: npt.NDArray[np.integer[Any]]) -> list[Rle]:
    """Encode every region of a label map in one pass over it.

    Args:
        labels: (H, W), 0 for background, region n has the value n.

    Returns:
        One mask for each n in 1..max; an unused number gives an empty mask.

    >>> area(encode_labels(np.array([[1, 1, 0], [3, 1, 0]]))).tolist()
    [3, 0, 1]
    """
    return list(pack_labels(labels))


def pack_labels(labels: npt.NDArray[np.integer[Any]]) -> PackedRles:
    """Encode every region of a label map, packed; see `encode_labels`.

    >>> pack_labels(np.array([[1, 1, 0], [3, 1, 0]]))[2]
    {'size': [2, 3], 'counts': '114'}
    """
    height, width = labels.shape
    starts, stops, owner = _label_runs(labels)
    flips: _Integers = np.stack([starts, stops], axis=1).reshape(-1)
    del starts, stops  # as large as the plane where regions are ragged
    return pack_flips(flips, np.repeat(owner, 2), int(labels.max(initial=0)), (height, width))


def _label_runs(labels: _Integers) -> tuple[_Integers, _Integers, _Integers]:
    """Find the runs of all regions of a label map, sorted by region: first position, position after the last, owner."""
    height, width = labels.shape
    narrow: type[np.integer[Any]] = np.int32 if height * width < 2**31 else np.int64
    found: tuple[list[_Integers], ...] = ([np.zeros(0, narrow)], [np.zeros(0, narrow)], [np.zeros(0, np.int32)])
    # Some columns at a time: the runs take less memory than the plane.
    step = max(1, _COLUMNS // max(height, 1))
    for first in range(0, width, step):
        framed = np.zeros((min(step, width - first), height + 2), dtype=labels.dtype)
        framed[:, 1:-1] = labels[:, first : first + step].T
        column, row = np.nonzero(framed[:, 1:] != framed[:, :-1])
        above, below = framed[column, row], framed[column, row + 1]
        # A change between two regions ends a run of the one and starts a run of the other.
        position = ((first + column) * height + row).astype(narrow)
        for parts, own in zip(found, (position[below > 0], position[above > 0], below[below > 0]), strict=True):
            parts.append(own)
    owner = np.concatenate(found[2]).astype(np.int32) - np.int32(1)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(found[0])[order], np.concatenate(found[1])[order], owner[order]


def decode_crop(rle: Rle) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Decode a mask within its bounding box alone.

    Returns:
        The (h, w) uint8 crop of 0 and 1, and the column x and row y of its top left pixel; for an empty mask a crop of
        shape (0, 0), and 0, 0.

    >>> crop, x, y = decode_crop(encode(np.eye(4)))
    >>> crop.shape, x, y
    ((4, 4), 0, 0)
    """
    return next(decode_crops([rle]))


def decode_crops(rles: Sequence[Rle]) -> Iterator[tuple[npt.NDArray[np.uint8], int, int]]:
    """Decode masks of an image within their bounding boxes; many together take a fraction of the time of each alone.

    Yields:
        What ``decode_crop`` returns, for each mask.

    >>> [crop.tolist() for crop, _, _ in decode_crops(encode_labels(np.array([[1, 1, 0], [1, 2, 2]])))]
    [[[1, 1], [1, 0]], [[1, 1]]]
    """
    box = boxes(rles).astype(np.int64)
    sides = box[:, 2:] - box[:, :2]
    for chosen in blocks(sides.prod(axis=1), _CROPS):
        pixels = sweep.drawn(runs(rles[chosen]), box[chosen], rles[0]["size"][0])
        stops = np.cumsum(sides[chosen].prod(axis=1)).tolist()
        for (x, y, *_), (width, height), stop in zip(box[chosen].tolist(), sides[chosen].tolist(), stops, strict=True):
            crop = pixels[stop - width * height : stop].reshape(width, height)
            yield np.ascontiguousarray(crop.T) if crop.size else np.zeros((0, 0), dtype=np.uint8), x, y


def from_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Rle:
    """Rasterise the union of polygons, as COCO does.

    Args:
        polygons: [x1, y1, x2, y2, ...] in pixels, each of at least six finite numbers near the image: the C code behind
            this trusts its input (``segtrain.masks.parse`` checks it).
        size: (H, W) of the image.

    Source: ``rleFrPoly`` of pycocotools' ``maskApi.c``.

    >>> area([from_polygons([[1, 1, 5, 1, 5, 4, 1, 4]], (8, 8))]).tolist()
    [12]
    """
    return _text(coco_mask.merge(coco_mask.frPyObjects(list(polygons), *size)))


def from_box(box: Sequence[float], size: tuple[int, int]) -> Rle:
    """Rasterise a box, as COCO does; what lies outside of the image is cut off.

    Args:
        box: x, y, width and height in pixels.
        size: (H, W) of the image.

    Source: ``rleFrBbox`` of pycocotools' ``maskApi.c``.

    >>> boxes([from_box([1, 2, 3, 40], (8, 8))]).tolist()
    [[1.0, 2.0, 4.0, 8.0]]
    """
    height, width = size
    x, y, w, h = box
    x0, x1 = (min(max(edge, 0), width) for edge in (x, x + w))
    y0, y1 = (min(max(edge, 0), height) for edge in (y, y + h))
    return from_polygons([[x0, y0, x0, y1, x1, y1, x1, y0]], size)


def to_polygons(rle: Rle) -> list[IntArray]:
    """Trace the outlines of a mask along the edges of its pixels.

    Returns:
        Closed outlines, (P, 2) corners (x, y) in pixels each, without points between collinear ones: clockwise around
        the mask's parts (with y downwards), counter-clockwise around its holes. Pixels that share a corner alone belong
        to different outlines. COCO's polygons cannot represent holes: pycocotools fills them.

    >>> square = np.zeros((4, 5), np.uint8)
    >>> square[1:3, 1:4] = 1
    >>> [outline.tolist() for outline in to_polygons(encode(square))]
    [[[1, 1], [4, 1], [4, 3], [1, 3]]]
    """
    crop, x0, y0 = decode_crop(rle)
    inside = np.pad(crop, 1).astype(np.int8)
    # Edges with the mask on their right: (start, step) by the differences between neighbouring pixels.
    follows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    down, right = np.diff(inside, axis=0)[:, 1:-1], np.diff(inside, axis=1)[1:-1]
    for edges, move, shift in (
        (down == 1, (1, 0), (0, 0)),
        (down == -1, (-1, 0), (1, 0)),
        (right == 1, (0, -1), (0, 1)),
        (right == -1, (0, 1), (0, 0)),
    ):
        for y, x in np.argwhere(edges).tolist():
            follows.setdefault((x + shift[0], y + shift[1]), []).append(move)
    outlines = []
    while follows:
        # The highest corner, of these the left one, has a single edge: there the outline begins and ends.
        point = first = min(follows, key=lambda corner: corner[::-1])
        move, corners = (0, 0), list[tuple[int, int]]()
        while not corners or point != first:
            moves = follows[point]
            # Where two pixels share a corner alone, the turn to the right stays with the same pixel.
            turn = (-move[1], move[0])
            following = turn if turn in moves else moves[0]
            moves.remove(following)
            if not moves:
                del follows[point]
            if following != move:
                corners.append((point[0] + x0, point[1] + y0))
            move = following
            point = (point[0] + move[0], point[1] + move[1])
        outlines.append(np.array(corners, dtype=np.int64))
    return outlines


def from_flips(positions: IntArray, owners: IntArray, count: int, size: tuple[int, int]) -> list[Rle]:
    """Encode many masks from the column-major positions at which they change between 0 and 1.

    A run that ends at the bottom of a column and one that starts at the top of the next one become a single run.

    Args:
        positions: positions of the changes, sorted within each mask; see ``codec.text_of``.
        owners: index of each change's mask, not decreasing.
        count: number of masks; a mask without changes is empty.
        size: (H, W) of the image.

    >>> from_flips(np.array([2, 4]), np.array([1, 1]), 2, (2, 3))
    [{'size': [2, 3], 'counts': '6'}, {'size': [2, 3], 'counts': '222'}]
    """
    return list(pack_flips(positions, owners, count, size))


def pack_flips(positions: _Integers, owners: _Integers, count: int, size: tuple[int, int]) -> PackedRles:
    """Encode many masks from the positions at which they change, packed; see `from_flips`.

    >>> pack_flips(np.array([2, 4]), np.array([1, 1]), 2, (2, 3))[1]
    {'size': [2, 3], 'counts': '222'}
    """
    return PackedRles.of_one_size(*codec.text_of(positions, owners, count, int(size[0]) * int(size[1])), size)


def from_runs(lengths: IntArray, size: tuple[int, int]) -> Rle:
    """Encode a mask from its run lengths.

    Args:
        lengths: lengths of alternating runs in column-major order, starting with 0s; they sum to H x W.
        size: (H, W) of the image.

    >>> from_runs(np.array([2, 2, 2]), (2, 3))["counts"]
    '222'
    """
    return _from_flips(np.cumsum(lengths)[:-1], size)


def area(rles: Sequence[Rle]) -> IntArray:
    """Count the pixels of each mask.

    Returns:
        (N,) int64; pycocotools' own uint32 would wrap around below 0 when subtracted.

    >>> area([encode(np.ones((2, 3))), encode(np.zeros((2, 3)))]).tolist()
    [6, 0]
    """
    if isinstance(rles, PackedRles):
        return rles.areas.copy()
    # In pieces: under NumPy 2 pycocotools 2.0.11 stores the number of masks in 8 bits, and fails at 256.
    pieces = [coco_mask.area(list(rles[start : start + 255])) for start in range(0, len(rles), 255)]
    return np.concatenate([np.zeros(0, np.int64), *pieces]).astype(np.int64)


def boxes(rles: Sequence[Rle]) -> FloatArray:
    """Compute the bounding boxes of masks.

    Returns:
        (N, 4) xyxy in pixels; 0, 0, 0, 0 for an empty mask.

    >>> boxes([encode(np.ones((1, 1)))]).tolist()  # a single pixel at (0, 0)
    [[0.0, 0.0, 1.0, 1.0]]
    """
    if not len(rles):
        return np.zeros((0, 4))
    if isinstance(rles, PackedRles):
        return _packed_boxes(rles)
    xywh = np.asarray(coco_mask.toBbox(list(rles)), dtype=np.float64).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def _packed_boxes(rles: PackedRles) -> FloatArray:
    """Compute bounding boxes, (N, 4) xyxy, some masks at a time; zeros for masks without a pixel."""
    found = [np.zeros((0, 4))]
    for part in rles.parts():
        mask, starts, stops = part.runs()
        height = part.heights[mask]
        left, right = starts // height, (stops - 1) // height
        whole = right > left  # a run that goes on in the next column reaches from its foot to the top of that one
        top = np.where(whole, 0, starts - left * height)
        foot = np.where(whole, height, stops - right * height)
        first = np.flatnonzero(np.diff(mask, prepend=-1))
        corners = np.zeros((len(part), 4))
        if len(first):
            sides = [np.minimum.reduceat(own, first) for own in (left, top)]
            sides += [np.maximum.reduceat(own, first) for own in (right + 1, foot)]
            corners[mask[first]] = np.stack(sides, axis=1)
        found.append(corners)
    return np.concatenate(found)


def union(rles: Sequence[Rle], size: tuple[int, int]) -> Rle:
    """Unite masks.

    Args:
        rles: masks of this size; without any, the union is empty.
        size: (H, W) of the image.

    >>> area([union(encode_labels(np.array([[1, 2, 0]])), (1, 3))]).tolist()
    [2]
    """
    _, starts, stops = runs(rles)
    _, starts, stops = sweep.merged((np.zeros_like(starts), starts, stops), size[0] * size[1])
    return _from_flips(np.stack([starts, stops], axis=1).reshape(-1), size)


def intersection(first: Rle, second: Rle) -> Rle:
    """Intersect two masks.

    >>> area([intersection(encode(np.ones((3, 3))), encode(np.eye(3)))]).tolist()
    [3]
    """
    return _text(coco_mask.merge([first, second], intersect=True))


def difference(first: Rle, second: Rle) -> Rle:
    """Remove the pixels of the second mask from the first.

    >>> area([difference(encode(np.ones((3, 3))), encode(np.eye(3)))]).tolist()
    [6]
    """
    return intersection(first, complement(second))


def complement(rle: Rle) -> Rle:
    """Invert a mask.

    >>> area([complement(encode(np.eye(3)))]).tolist()
    [6]
    """
    height, width = rle["size"]
    return from_runs(np.concatenate([[0], counts_of(rle)]), (height, width))


def empty(size: tuple[int, int]) -> Rle:
    """Return an empty mask of the given (H, W).

    >>> area([empty((2, 3))]).tolist()
    [0]
    """
    return _from_flips(np.zeros(0, dtype=np.int64), size)


def iou(detections: Sequence[Rle], truths: Sequence[Rle], crowd: Sequence[bool | int]) -> FloatArray:
    """Compute COCO's IoU of all pairs of masks; for many masks, ``overlaps`` finds the pairs that share pixels.

    Against a crowd the union is the area of the detection, so a detection inside a crowd has an IoU of 1.

    Args:
        detections: D masks.
        truths: G masks of the same size.
        crowd: (G,) true for crowds.

    Returns:
        (D, G) in [0, 1].

    Source: ``rleIou`` of pycocotools' ``maskApi.c``.

    >>> half, whole = encode(np.array([[1, 0]])), encode(np.array([[1, 1]]))
    >>> iou([half], [whole, whole], [False, True]).tolist()
    [[0.5, 1.0]]
    """
    if not len(detections) or not len(truths):
        return np.zeros((len(detections), len(truths)))
    return np.asarray(coco_mask.iou(list(detections), list(truths), [int(c) for c in crowd]), dtype=np.float64)


def overlaps(
    first: Sequence[Rle],
    second: Sequence[Rle],
    first_group: IntArray | None = None,
    second_group: IntArray | None = None,
) -> Overlaps:
    """Find the pairs of masks of two lists that share pixels; time and memory do not grow with the number of all pairs.

    Args:
        first: N masks.
        second: M masks.
        first_group: (N,) group of each mask, such as its image; None if all masks are one group. Only masks of the same
            group, which have the same size, are compared.
        second_group: (M,) group of each mask of the second list.

    Returns:
        Indices of both masks of each pair and the number of pixels that they share, sorted by the first, then by the
        second.

    >>> whole, half = encode(np.ones((2, 2))), encode(np.array([[1, 0], [1, 0]]))
    >>> [column.tolist() for column in overlaps([half, whole], [half])]
    [[0, 1], [0, 0], [2, 2]]
    """
    groups = (
        np.zeros(len(rles), dtype=np.int64) if group is None else group
        for rles, group in ((first, first_group), (second, second_group))
    )
    return sweep.overlaps_by_group(PackedRles.of(first), PackedRles.of(second), *groups)


def counts_of(rle: Rle) -> IntArray:
    """Decode the lengths of the alternating runs, starting with 0s.

    >>> counts_of({"size": [2, 3], "counts": "222"}).tolist()
    [2, 2, 2]
    """
    return codec.counts(rle["counts"])


def runs(rles: Sequence[Rle]) -> Runs:
    """Decode the runs of 1s of all masks together, without a loop over the masks.

    Args:
        rles: masks, which may differ in size.

    Returns:
        For each run the index of its mask, not decreasing, its first column-major position in the plane, and the
        position after its last one; runs of length 0 are left out.

    >>> [column.tolist() for column in runs([from_runs(np.array([2, 2, 2]), (2, 3))])]
    [[0], [2], [4]]
    """
    return PackedRles.of(rles).runs()


def _from_flips(positions: IntArray, size: tuple[int, int]) -> Rle:
    return from_flips(positions, np.zeros_like(positions), 1, size)[0]


def _text(rle: dict[str, Any]) -> Rle:
    height, width = rle["size"]
    return Rle(size=[int(height), int(width)], counts=rle["counts"].decode("ascii"))
