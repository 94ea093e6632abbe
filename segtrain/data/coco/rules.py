"""Rules of reading annotations, which the user chooses where a COCO file can mean two things."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from segtrain.data.coco.record_tables import AnnotationTable, ImageTable, decode_box, decode_usual
from segtrain.masks.parse import Rings, lacks_mask

BoxesWithoutMasks = Literal["error", "ignore", "box"]
Crowd = Literal["ignore", "objects"]
Frame = Literal["stored", "auto"]
Witnesses = Literal["stored", "masks"]
LONGEST = 128  # bytes of json; a segmentation without an outline, of at most 4 numbers, is shorter


class AnnotationRules(NamedTuple):
    """Meaning of annotations that tools write in more than one sense.

    Attributes:
        boxes_without_masks: an object with a box and without a mask is an error, a region to ignore, or an object whose
            mask is the box.
        crowd: annotations with ``iscrowd`` 1 are regions to ignore, as COCO defines, or ordinary objects.
        rings: several polygons of one annotation are united, as COCO defines, or those inside another one are holes.
        frame: coordinates and run lengths are those of the images ("stored"); or in the frame in which they agree with
            boxes, areas and images, if the check finds one ("auto"); or those of images of a given [H, W].
        witnesses: boxes and areas are those of the file if they are valid ("stored"), or those of the masks.

    >>> AnnotationRules(crowd="objects")
    AnnotationRules(boxes_without_masks='error', crowd='objects', rings='union', frame='stored', witnesses='stored')
    """

    boxes_without_masks: BoxesWithoutMasks = "error"
    crowd: Crowd = "ignore"
    rings: Rings = "union"
    frame: Frame | Sequence[int] = "stored"
    witnesses: Witnesses = "stored"


COCO_RULES = AnnotationRules()


def apply_rules(annotations: AnnotationTable, images: ImageTable, rules: AnnotationRules) -> AnnotationTable:
    """Mark the rows whose box stands for their mask, and the regions to ignore.

    Args:
        annotations: annotations as the file has them.
        images: images of the file.
        rules: rules that the user has chosen.
    """
    if (rules.boxes_without_masks, rules.crowd) == COCO_RULES[:2]:
        return annotations
    rows = annotations.rows.copy()
    if rules.crowd == "objects":
        rows["crowd"] = False
    if rules.boxes_without_masks != "error":
        short = np.flatnonzero(rows["usable"] & (rows["box"] - rows["start"] <= LONGEST))
        for place, text in zip(short.tolist(), annotations.segmentations(rows[short]), strict=True):
            size, box = images[int(rows["image"][place])].size, annotations.box(rows[place])
            if lacks_mask(decode_usual(text, size, box)[0]) and decode_box(box, size) is not None:
                rows["boxed"][place] = True
                rows["crowd"][place] |= rules.boxes_without_masks == "ignore"
    return annotations.with_rows(rows)
