"""Layouts of COCO data: which json files of a folder are for training and validation, and where their images are."""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segtrain.data.foreign.label_kinds import conversion_advice
from segtrain.data.foreign.source_files import is_folder, is_hidden
from segtrain.data.images.names.near_files import is_missing
from segtrain.errors import SegtrainError

logger = logging.getLogger(__name__)
VAL_FRACTION = 0.2  # share of the training images that is drawn for validation where a folder has no validation images
_PART = re.compile(r"(?i)(?:stage\d_)?(train|val|test)(?:ing|id|idation)?(?:[_-]?\d{4}|[_-]?set)?")
_COCO = re.compile(rb'\s*\{\s*"(?:images|annotations|categories|info|licenses|segtrain_joined)"\s*:')
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
# Names of json files that hold no masks: those of COCO's other tasks, and hidden files of tools.
_OTHER_TASKS = re.compile(r"(?i)caption|keypoint|stuff|panoptic|image_info|result|predict")
_DEEPEST = 3  # levels of folders that are searched
_FOLDERS = 500  # folders that are searched
_READ = 2**22  # bytes of a json that are searched for names of images, from its beginning and from its end
_SAMPLE = 50  # names of images that are looked for


def part_of(name: str) -> str | None:
    """Return the part of the data that a folder's name means: "train", "val" or "test"; None for other names.

    >>> part_of("train2017"), part_of("valid"), part_of("images")
    ('train', 'val', None)
    """
    found = _PART.fullmatch(name)
    return found[1].lower() if found else None


def part_of_file(name: str) -> str | None:
    """Return the part of the data that a file's name means, by one of its words.

    >>> part_of_file("instances_val2017.json"), part_of_file("result.json")
    ('val', None)
    """
    return next((part for word in re.split(r"[_\-. ]", name) if (part := part_of(word))), None)


def with_layout(data: Mapping[str, Any], needed: str = "train") -> dict[str, Any]:
    """Complete the settings of data if only the root is given, and log the files and folders that were found.

    Args:
        data: ``data`` node of the configuration.
        needed: part whose annotations are needed, "train" or "val".

    Returns:
        The settings; unchanged if these annotations are given, if data are drawn, and without a root.

    Raises:
        SegtrainError: the root holds no COCO json, or several candidates, or no images of it.
    """
    root, named = data["root"], data[f"{needed}_annotations"]
    drawn_split = data["val_fraction"] is not None or data["folds"] is not None
    drawn = data["generator"] is not None or (needed == "val" and drawn_split)
    if root is None or "://" in root or named is not None or drawn:
        return dict(data)
    folder = Path(root).expanduser().absolute()
    layout = find_layout(folder, needed)
    taken: dict[str, Any] = {}
    for part, pair in layout.items():
        free = data[f"{part}_annotations"] is None and (part == "train" or not drawn_split)
        taken |= _keys(part, pair, folder, data) if free else {}
    if "val" not in layout and data["val_annotations"] is None and not drawn_split:
        taken["val_fraction"] = VAL_FRACTION
    logger.info("%s: taken %s", folder, " ".join(f"data.{name}={value}" for name, value in taken.items()))
    return {**data, **taken}


def with_folds(data: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the validation files out of the settings where a fold of the training images is validated on.

    Args:
        data: ``data`` node of the configuration.

    >>> with_folds({"folds": 5, "fold": 1, "val_annotations": None, "val_images": "val"})["val_images"] is None
    True
    """
    if data["folds"] is None:
        return dict(data)
    if data["val_annotations"] is not None:
        shown = f"fold {data['fold']} of {data['folds']} of the training images is validated on"
        logger.info("data.folds: %s; %s is not read", shown, data["val_annotations"])
    return {**data, "val_annotations": None, "val_images": None}


def _keys(part: str, pair: tuple[Path, Path], root: Path, data: Mapping[str, Any]) -> dict[str, str]:
    own = {f"{part}_annotations": pair[0], f"{part}_images": pair[1]}
    relative = {key: path.relative_to(root).as_posix() for key, path in own.items()}
    return {key: path for key, path in relative.items() if data[key] is None}


def find_layout(root: Path, needed: str = "train") -> dict[str, tuple[Path, Path]]:
    """Find the COCO data of a folder in the layouts of COCO 2017, Roboflow, CVAT and others.

    Args:
        root: the folder.
        needed: part that has to be there, "train" or "val".

    Returns:
        The json and the image folder of each of "train" and "val" that was found.

    Raises:
        SegtrainError: the folder holds no COCO json, or several candidates, or no images of it.
    """
    if not root.is_dir():
        raise SegtrainError(f"{root}: no such folder; set data.root")
    folders = list(_folders(root))
    files = _annotation_files(folders)
    if not files:
        advice = conversion_advice(root)
        reason = "holds no COCO json" if advice is None else f"holds no COCO json, but {advice}"
        raise SegtrainError(f"data.root={root}: {reason}; set data.train_annotations")
    parts: dict[str | None, list[Path]] = {}
    for path in files:
        parts.setdefault(part_of_file(path.name) or part_above(path, root), []).append(path)
    if "train" not in parts and None in parts:
        parts["train"] = parts.pop(None)  # CVAT's instances_default.json, or a single file
    chosen = {part: _only(part, parts[part], root) for part in ("train", "val") if part in parts}
    if needed not in chosen:
        names = ", ".join(path.relative_to(root).as_posix() for path in files[:3])
        raise SegtrainError(f"data.root={root}: none of {names} is named {needed}; set data.{needed}_annotations")
    return {part: (path, _image_folder(path, part, folders, root)) for part, path in chosen.items()}


def _folders(root: Path) -> Iterator[Path]:
    """Yield a folder and those in it, the outermost first."""
    waiting, count = [(root, 0)], 0
    while waiting and count < _FOLDERS:
        folder, depth = waiting.pop(0)
        count += 1
        yield folder
        if depth < _DEEPEST:
            try:
                with os.scandir(folder) as entries:
                    inner = sorted(Path(entry) for entry in entries if is_folder(entry) and not is_hidden(entry.name))
            except OSError:  # such as a folder that only others may enter
                continue
            waiting += [(path, depth + 1) for path in inner]


def _annotation_files(folders: Sequence[Path]) -> list[Path]:
    """List the files that begin like COCO json; where some are named instances, those alone."""
    files = [
        path
        for folder in folders
        for path in sorted(folder.glob("*.json"))
        if not (is_hidden(path.name) or _OTHER_TASKS.search(path.name)) and _COCO.match(_read(path)[:4096])
    ]
    return [path for path in files if "instances" in path.name.lower()] or files


def _read(path: Path, size: int = 4096, *, end: bool = False) -> bytes:
    try:
        with path.open("rb") as stream:
            if end:
                stream.seek(max(0, path.stat().st_size - size))
            return stream.read(size)
    except OSError:
        return b""


def part_above(path: Path, root: Path) -> str | None:
    """Return the part that the folders of a file name, the innermost first; None if none does.

    Args:
        path: path of the file, below `root`.
        root: folder at which the search ends.

    >>> part_above(Path("/data/images/val2017/a.jpg"), Path("/data"))
    'val'
    """
    return part_among(path.relative_to(root).parts[:-1])


def part_among(folders: Sequence[str]) -> str | None:
    """Return the part that names of folders name, the innermost first; None if none does.

    Args:
        folders: names of folders, the outermost first.

    >>> part_among(["val", "images", "train2017", "a"])
    'train'
    """
    return next((part for name in reversed(folders) if (part := part_of(name))), None)


def _only(part: str, paths: Sequence[Path], root: Path) -> Path:
    if len(paths) > 1:
        names = " and ".join(path.relative_to(root).as_posix() for path in paths[:3])
        raise SegtrainError(f"data.root={root}: {names} may be meant for {part}; set data.{part}_annotations")
    return paths[0]


def _image_folder(path: Path, part: str, folders: Sequence[Path], root: Path) -> Path:
    """Find the folder that holds the most of a file's images; of several, the one whose name fits the file best."""
    names = _image_names(path)
    if not names:
        raise SegtrainError(f"{path}: names no images; set data.{part}_images")

    def rank(folder: Path) -> tuple[int, bool, bool, int]:
        held = sum(not is_missing(os.fspath(folder), name.replace("\\", "/")) for name in names)
        own = part_above(folder / "x", root)
        return held, own == part, folder == path.parent, -len(folder.parts)

    best = max(folders, key=rank)
    if rank(best)[0] == 0:
        raise SegtrainError(
            f"{path}: its images, such as {names[0]}, are in no folder of {root}; set data.{part}_images"
        )
    return best


def _image_names(path: Path) -> list[str]:
    for end in (False, True):
        found = _FILE_NAME.findall(_read(path, _READ, end=end))
        if found:
            some = found[:: len(found) // _SAMPLE + 1]
            return [str(json.loads(name)) for name in some]
    return []
