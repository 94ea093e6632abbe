"""Properties of the evaluated data that make all its numbers doubtful, for the head of the report."""

from collections.abc import Mapping

from segtrain.data.check.image_checks import LEVELS_OF_CONSTANT
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import FRAME_ERRORS, ISSUE_TYPES

_MANY = 0.5  # share of the truth that is ignored, from which numbers say little
_SEVERAL = 0.1  # share of the truth that is wrong or missing, from which numbers say little


def data_doubts(index: CocoIndex, greys: Mapping[int, tuple[int, int]]) -> list[str]:
    """List properties of the evaluated data that make all numbers doubtful.

    Args:
        index: evaluated data.
        greys: least and greatest value, of 255, of each image that a method has read, by image id.

    Returns:
        Sentences without capital and full stop, with their remedies.
    """
    return [*_constant_images(greys), *_other_frame(index), *_common_doubts(index)]


def box_doubts(index: CocoIndex) -> list[str]:
    """List properties of the evaluated data that make box AP doubtful, but no other number.

    Args:
        index: evaluated data.

    Returns:
        Sentences without capital and full stop, with their remedies.
    """
    remedy = "box AP compares with them as they are; data.witnesses=masks takes the true boxes from the masks"
    return [f"{example.partition(': ')[2]}; {remedy}" for example in index.issues["boxes-wrong"].examples]


def _other_frame(index: CocoIndex) -> list[str]:
    """Return a doubt if masks contradict their boxes or images, which ``data.check=strict`` refuses."""
    found = [(kind, example) for kind in FRAME_ERRORS for example in index.issues[kind].examples]
    return [f"{example.partition(': ')[2]}; {ISSUE_TYPES[kind].action.partition(';')[0]}" for kind, example in found]


def _common_doubts(index: CocoIndex) -> list[str]:
    return [doubt for doubt in (_ignored_truth(index), _lost_boxes(index), _filled_holes(index)) if doubt]


def _constant_images(greys: Mapping[int, tuple[int, int]]) -> list[str]:
    """Return a doubt if most of the images are nearly constant as they are read."""
    constant = [(low, high) for low, high in greys.values() if high - low < LEVELS_OF_CONSTANT]
    if len(constant) <= _MANY * len(greys):
        return []
    low, high = min(low for low, _ in constant), max(high for _, high in constant)
    return [
        f"{len(constant):,} of {len(greys):,} images read as nearly constant, grey {low} to {high} of 255, so that no "
        "method can see objects in them; set data.intensity to the range that their samples use"
    ]


def _ignored_truth(index: CocoIndex) -> str:
    """Return a doubt if many of the true objects are ignored, with the settings that do it; else an empty text."""
    rows = index.annotations.rows
    crowd, boxed = (int((rows["usable"] & rows["crowd"] & kind).sum()) for kind in (~rows["boxed"], rows["boxed"]))
    total = int(rows["usable"].sum())
    if crowd + boxed == 0 or (crowd + boxed < _MANY * total and not index.issues["crowd-by-tool"].count):
        return ""
    parts = []
    if crowd:
        parts.append(
            f"{crowd:,} as crowd regions (if they are objects, as brush masks of CVAT are, set data.crowd=objects)"
        )
    if boxed:
        parts.append(f"{boxed:,} as boxes without masks (data.boxes_without_masks=box takes the boxes as masks)")
    return f"{crowd + boxed:,} of {total:,} annotations are ignored in every number: {' and '.join(parts)}"


def _lost_boxes(index: CocoIndex) -> str:
    """Return a doubt if objects without masks are left out, so that detections of them count as wrong."""
    lost, total = index.issues["box-without-mask"].count, len(index.annotations.rows)
    if lost <= _SEVERAL * total:
        return ""
    return (
        f"{lost:,} of {total:,} annotations are left out, as they are boxes without masks, and what is found there "
        "counts as wrong; data.boxes_without_masks=ignore counts nothing there, =box takes the boxes as masks"
    )


def _filled_holes(index: CocoIndex) -> str:
    """Return a doubt if polygons inside others are filled, although the stated areas take them as holes."""
    filled, total = index.issues["rings-as-holes"].count, index.counts.used
    if filled <= _SEVERAL * total:
        return ""
    return (
        f"{filled:,} of {total:,} objects seem to have holes, given as polygons inside others, and are filled; "
        "data.rings=even_odd cuts them out"
    )
