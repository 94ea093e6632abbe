"""Kinds of labels that ``segtrain convert`` reads, and how each is recognised."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from segtrain.data.foreign.glance import FIRST, Glance, keys_of, read_head, read_keys
from segtrain.io import printable

_COCO = ("coco", "cvat-coco", "labelstudio", "livecell", "roboflow")
_LISTS = {"images", "annotations", "categories"}
# Paths of images that Label Studio states: of its own disk, of its uploads, or relative to its export.
_UPLOAD = re.compile(
    rb'"file_name"\s*:\s*"(?:[^"]*local-files/?\?d=|[^"]*[\\/]upload[\\/]|(?:[^"]*[\\/])?[0-9a-f]{8}-|images\\\\)'
)
MAP_FOLDERS = ("masks", "mask", "labels", "label", "label_maps", "labelmaps", "gt", "instances", "targets")
# Endings of the stems of label maps; such as Cellpose's ``_cp_masks``.
MAP_ENDING = re.compile(
    r"(?i)[_-](?:cp_masks|masks?|labels?|label_?map|labelimage|instances|objects|nuclei|cells|seg|gt)$"
)
RASTERS = (".png", ".tif", ".tiff", ".bmp", ".gif")  # without losses


@dataclass(frozen=True)
class LabelKind:
    """Kind of labels.

    Attributes:
        name: value of ``--format``.
        title: description in a few words.
        recognise: returns True for a file or folder of this kind.
    """

    name: str
    title: str
    recognise: Callable[[Glance], bool]


def _is_labelme(found: Glance) -> bool:
    return any({"shapes", "imagePath"} <= set(keys) for _, keys in found.jsons())


def _is_via(found: Glance) -> bool:
    csvs = found.ending(".csv")[:FIRST]
    return any(_has_via_keys(keys) for _, keys in found.jsons()) or any(is_via(found.place(name)) for name in csvs)


def is_via(path: Path) -> bool:
    """Return True for a json or csv file of the VGG Image Annotator."""
    if path.suffix.lower() == ".csv":
        return b"region_shape_attributes" in read_head(path)
    return _has_via_keys(read_keys(path))


def _has_via_keys(keys: Mapping[str, Any]) -> bool:
    first = keys_of(next(iter(keys.values()), b""))
    return "_via_img_metadata" in keys or {"filename", "regions"} <= set(first)


def _is_cvat_xml(found: Glance) -> bool:
    return any(is_cvat_xml(found.place(name)) for name in found.ending(".xml")[:FIRST])


def is_cvat_xml(path: Path) -> bool:
    """Return True for an XML of CVAT."""
    head = read_head(path)
    return b"<annotations" in head and (b"<image " in head or b"<meta>" in head or b"<track " in head)


def _is_supervisely(found: Glance) -> bool:
    return any({"objects", "size"} <= set(keys) for name, keys in found.jsons() if name != "meta.json")


def _is_roboflow(found: Glance) -> bool:
    return any(PurePosixPath(name).name == "_annotations.coco.json" for name in found.names)


def _is_coco(found: Glance) -> bool:
    return any(set(keys) >= _LISTS for _, keys in found.jsons())


def _is_livecell(found: Glance) -> bool:
    return any(set(keys) >= _LISTS and bytes(keys["annotations"])[:1] == b"{" for _, keys in found.jsons() if keys)


def _is_label_studio(found: Glance) -> bool:
    return _is_coco(found) and any(_UPLOAD.search(found.head(name)) for name in found.ending(".json")[:FIRST])


def _is_cvat_coco(found: Glance) -> bool:
    for _, keys in found.jsons():
        if set(keys) >= _LISTS:
            first = bytes(keys["annotations"])[:20_000]
            if b'"attributes"' in first and b'"occluded"' in first:
                return True
    return False


def _is_yolo(found: Glance) -> bool:
    for name in found.ending(".yaml", ".yml")[:FIRST]:
        head = found.head(name)
        if re.search(rb"^names\s*:", head, re.MULTILINE) and re.search(rb"^(?:train|val|path)\s*:", head, re.MULTILINE):
            return True
    texts = [name for name in found.ending(".txt") if not PurePosixPath(name).stem.lower().startswith("classes")]
    return any(map(found.holds_numbers, texts[:20]))


def _is_voc(found: Glance) -> bool:
    return any("segmentationobject/" in name.lower() for name in found.images)


def _is_mask_folders(found: Glance) -> bool:
    """Recognise a folder for each image, which holds that image alone beside its masks; or a folder of its masks."""
    paths = [PurePosixPath(name) for name in found.images]
    masks = {path.parent.parent for path in paths if path.parent.name.lower() == "masks"} - {PurePosixPath()}
    images = [path for path in paths if path.parent.name.lower() in ("images", "image")]
    beside = [path.parent.parent for path in images if path.parent.parent in masks]
    if beside and len(beside) == len(set(beside)):
        return True
    stems = {path.stem for path in images}
    return any(path.parent.parent.name.lower() == "masks" and path.parent.name in stems for path in paths)


def _is_imagej(found: Glance) -> bool:
    if any(found.head(name)[:4] == b"Iout" for name in found.ending(".roi")[:FIRST]):
        return True
    return any(b".roi" in found.head(name)[:300] for name in found.ending(".zip")[:FIRST])


def _is_label_maps(found: Glance) -> bool:
    """Recognise label maps by a folder or an ending that names them; their pixels are not looked at."""
    rasters = [name for name in found.images if name.lower().endswith(RASTERS)]
    if any(MAP_ENDING.search(PurePosixPath(name).stem) for name in rasters):
        return True
    parents = {_parent(name) for name in rasters} | ({found.path.absolute().name} if found.is_folder else set())
    return bool(rasters) and any(map(names_label_maps, parents))


def names_label_maps(folder: str) -> bool:
    """Return True for the name of a folder that may hold label maps.

    >>> names_label_maps("masks"), names_label_maps("train_labels"), names_label_maps("images")
    (True, True, False)
    """
    return any(word in MAP_FOLDERS for word in (folder.lower(), *re.split(r"[_\-. ]", folder.lower())))


def _parent(name: str) -> str:
    return PurePosixPath(name).parent.name.lower()


# In the order in which they are tried: special kinds before general ones.
LABEL_KINDS = (
    LabelKind("labelme", "labels of labelme, a json for each image", _is_labelme),
    LabelKind("via", "labels of the VGG Image Annotator 2, json or csv", _is_via),
    LabelKind("cvat", "labels of CVAT for images, XML", _is_cvat_xml),
    LabelKind("supervisely", "labels of Supervisely, folders ann and img", _is_supervisely),
    LabelKind("roboflow", "Roboflow's COCO files, one in each of train, valid and test", _is_roboflow),
    LabelKind("livecell", "LIVECELL's COCO files, with a dictionary of annotations", _is_livecell),
    LabelKind("labelstudio", "Label Studio's COCO files", _is_label_studio),
    LabelKind("cvat-coco", "CVAT's COCO files", _is_cvat_coco),
    LabelKind("coco", "COCO files", _is_coco),
    LabelKind("yolo", "YOLO's polygons, a text for each image", _is_yolo),
    LabelKind("voc", "Pascal VOC's PNGs, folders SegmentationObject and SegmentationClass", _is_voc),
    LabelKind("masks", "mask files, one for each object, as in the 2018 Data Science Bowl", _is_mask_folders),
    LabelKind("imagej", "ImageJ's regions of interest, .roi or .zip", _is_imagej),
    LabelKind("labelmaps", "label maps, an integer for each object (Cellpose, StarDist, CellProfiler)", _is_label_maps),
)  # fmt: skip


def recognise(path: Path) -> list[LabelKind]:
    """List the kinds of labels that a file or folder may be, the most likely first.

    Args:
        path: the file or folder; one that does not exist is of no kind.
    """
    if not path.exists():
        return []
    found = Glance(path)
    return [kind for kind in LABEL_KINDS if kind.recognise(found)]


def conversion_advice(path: Path) -> str | None:
    """Describe the labels of a file or folder that is no COCO json, with the command that converts them.

    Args:
        path: the file or folder.

    Returns:
        The end of a sentence; None if the labels are not recognised, or are a COCO file.
    """
    kind = next(iter(recognise(path)), None)
    if kind is None or (path.is_file() and kind.name in _COCO):
        return None
    source = _whole(path, kind.name)
    out = source.with_name(f"{source.stem if source.is_file() else source.name}_coco.json")
    command = shlex.join(["segtrain", "convert", printable(source), printable(out)])
    return f"{kind.title}; convert them: {command}"


def _whole(path: Path, kind: str) -> Path:
    """Return the folder of all files where each image has one of its own."""
    if path.is_dir():
        return path
    if kind == "supervisely":
        return path.absolute().parent.parent.parent if path.absolute().parent.name == "ann" else path.parent
    return path.parent if kind in ("labelme", "yolo", "labelmaps") else path
