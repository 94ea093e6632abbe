"""Table of the formats that ``segtrain convert`` reads and writes."""

import os
from dataclasses import dataclass
from pathlib import Path

from segtrain.convert.coco_files import read_coco, read_cvat_coco
from segtrain.convert.cvat import read_cvat
from segtrain.convert.imagej import read_imagej
from segtrain.convert.label_maps import read_label_maps
from segtrain.convert.labelled import Reader, Writer
from segtrain.convert.labelme import read_labelme
from segtrain.convert.mask_folders import are_label_maps, read_mask_folders
from segtrain.convert.pascal_voc import read_pascal_voc
from segtrain.convert.supervisely import read_supervisely
from segtrain.convert.to_label_maps import write_label_maps
from segtrain.convert.to_labelme import write_labelme
from segtrain.convert.to_yolo import write_yolo
from segtrain.convert.via import read_via
from segtrain.convert.yolo import read_yolo
from segtrain.data.foreign.label_kinds import LABEL_KINDS, LabelKind, recognise
from segtrain.errors import SegtrainError


@dataclass(frozen=True)
class Format:
    """A format of labels.

    Attributes:
        kind: its name, its line of help, and what recognises it.
        read: reader.
    """

    kind: LabelKind
    read: Reader


_READERS: dict[str, Reader] = {
    "labelme": read_labelme,
    "via": read_via,
    "cvat": read_cvat,
    "supervisely": read_supervisely,
    "roboflow": read_coco,
    "livecell": read_coco,
    "labelstudio": read_coco,
    "cvat-coco": read_cvat_coco,
    "coco": read_coco,
    "yolo": read_yolo,
    "voc": read_pascal_voc,
    "masks": read_mask_folders,
    "imagej": read_imagej,
    "labelmaps": read_label_maps,
}
WRITERS: dict[str, Writer] = {"yolo": write_yolo, "labelmaps": write_label_maps, "labelme": write_labelme}
FORMATS = {kind.name: Format(kind, _READERS[kind.name]) for kind in LABEL_KINDS}


def choose_format(source: Path, name: str) -> tuple[Format, list[str]]:
    """Return the format of a source.

    Args:
        source: file or folder of labels.
        name: key of `FORMATS`, or "auto" to recognise it.

    Returns:
        The format, and the names of others that it might be.

    Raises:
        SegtrainError: there is no such source, or none of the formats is recognised.
    """
    if not os.path.exists(source):  # noqa: PTH110 - Path.exists raises for names that are too long
        raise SegtrainError(f"{source}: no such file or folder; give the labels that are to be converted")
    if name != "auto":
        return FORMATS[name], []
    names = [kind.name for kind in recognise(source)]
    if {"masks", "labelmaps"} <= set(names) and are_label_maps(source):
        names.remove("masks")  # its layout is that of a single label map for each image, too
    found = [FORMATS[name] for name in names]
    if not found:
        raise SegtrainError(
            f"{source}: holds no labels that are recognised; name their kind with --format: {', '.join(FORMATS)}"
        )
    return found[0], [other.kind.name for other in found[1:]]
