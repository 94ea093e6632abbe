"""Checks of crowd flags: flags that a drawing tool has set, and files in which everything is ignored."""

import numpy as np
import numpy.typing as npt

from segtrain.data.coco.index import CocoIndex, describe_ignored
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.record_tables import decode_segmentation

_SEVERAL = 1.2  # flagged annotations per image and category; COCO joins all of a crowd into one
_MANY = 0.25  # share of the annotations; in COCO's files it is about .01
_FEWEST = 3  # least number of flagged annotations that look like a tool's
_RUN_LENGTHS = ord("{")  # first byte of their json; polygons begin with a bracket


def check_crowds(index: CocoIndex) -> Issues:
    """Find files in which everything is ignored, and flags that look like a tool's way of marking masks.

    CVAT, and tools that learned from COCO's files, flag every annotation that they write as run lengths. Genuine crowds
    are few, and one annotation holds a whole crowd.

    Args:
        index: data set whose masks are checked.
    """
    issues = Issues()
    rows = index.annotations.rows
    rows = rows[rows["usable"]]
    boxed = rows["boxed"]
    flagged = rows["crowd"] & ~boxed
    count = int(flagged.sum())
    if len(rows) and rows["crowd"].all():
        issues.add("crowd-only", describe_ignored(rows))
        return issues
    if count < _FEWEST:
        return issues
    own = rows[flagged]
    each = count / len(np.unique(np.stack([own["image"], own["label"]]), axis=1).T)
    run_lengths = index.annotations.text.array[rows["start"]] == _RUN_LENGTHS
    by_form = bool((run_lengths == flagged)[~boxed].all())  # all run lengths are flagged, and nothing else is
    if (by_form and each > _SEVERAL) or count >= _MANY * len(rows):
        if not by_form and _are_rectangles(index, own):  # boxes that a corrected copy states as regions to ignore
            return issues
        how = "all" if by_form else f"{int((run_lengths & flagged).sum())} of them"
        issues.add(
            "crowd-by-tool",
            f"{index.path.name}: {count} of {len(rows)} annotations have iscrowd 1, {each:.1f} per image and category; "
            f"{how} are run-length masks{', and no other annotation is' if by_form else ''}",
        )
    return issues


def _are_rectangles(index: CocoIndex, rows: npt.NDArray[np.void]) -> bool:
    """Return True if all segmentations are single polygons of four corners along the axes of the image."""
    for text in index.annotations.segmentations(rows):
        segmentation = decode_segmentation(text)
        if not isinstance(segmentation, list) or [len(part) for part in segmentation if isinstance(part, list)] != [8]:
            return False
        x, y = segmentation[0][0::2], segmentation[0][1::2]
        if not (len(set(x)) == len(set(y)) == 2):
            return False
    return True
