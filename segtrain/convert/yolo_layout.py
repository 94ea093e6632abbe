"""Files of YOLO's data: ``data.yaml`` with names and parts, lists of images, and the text of an image."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from segtrain.convert.label_files import number, read_text
from segtrain.convert.labelled import Tally
from segtrain.convert.picture_files import PictureFiles, common_end
from segtrain.data.foreign.source_files import is_file, is_folder, is_hidden, source_files
from segtrain.data.images.names.name_forms import plain_path
from segtrain.data.images.names.near_files import leads_out
from segtrain.data.layouts import part_among, part_of
from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS

_PARTS = ("train", "val", "valid", "test")
_NEEDED = ("train", "val")  # whose folders have to exist; files often name a test set that was never made
Settings = Mapping[str, Any]


def settings_file(source: Path) -> Path | None:
    """Find the ``data.yaml`` of a source; None if it has none."""
    if source.is_file():
        return source if source.suffix.lower() in (".yaml", ".yml") else None
    found = [source / name for name in ("data.yaml", "data.yml", "dataset.yaml") if is_file(source / name)]
    others = sorted(path for path in source.glob("*.y*ml") if not is_hidden(path.name) and is_file(path))
    found += [path for path in others if "names:" in read_text(path)]
    return found[0] if found else None


def read_settings(path: Path) -> Settings:
    """Read a ``data.yaml``.

    Raises:
        SegtrainError: it cannot be read, or is no YAML file of keys.
    """
    try:
        settings = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SegtrainError(f"{path}: not a YAML file ({' '.join(str(error).split())}); correct it") from error
    if not isinstance(settings, dict):
        raise SegtrainError(f"{path}: no YAML file of keys; it has to name the classes as names: [...]")
    return settings


def class_names(settings: Settings, path: Path | None, folder: Path) -> dict[int, str]:
    """Return the names of classes by their numbers: those of ``data.yaml``, else of a ``classes.txt``, else none.

    Args:
        settings: content of the ``data.yaml``.
        path: its path, for the error; None without one.
        folder: folder in which a ``classes.txt`` is looked for.

    Raises:
        SegtrainError: a number of a class is none.
    """
    value = settings.get("names")
    if isinstance(value, Mapping):
        try:
            found = {int(number(key)): name for key, name in value.items()}
        except ValueError as error:
            raise SegtrainError(f"{path}: names: {error}; write names as {{0: cell, 1: wall}}") from error
    elif isinstance(value, list):
        found = dict(enumerate(value))
    else:
        listed = [name for name in source_files(folder, "classes.txt") if PurePosixPath(name).name == "classes.txt"]
        found = dict(enumerate(read_text(folder / listed[0]).splitlines())) if listed else {}
    named = {kind: str(name).strip() for kind, name in sorted(found.items()) if name is not None}
    return {kind: name for kind, name in named.items() if name}


def names_parts(settings: Settings) -> bool:
    """Return True if a ``data.yaml`` says where images are."""
    return any(settings.get(part) for part in _PARTS)


def images_of_parts(path: Path, settings: Settings, pictures: PictureFiles, tally: Tally) -> Iterator[tuple[Path, str]]:
    """Yield the images that a ``data.yaml`` leads to, with their parts.

    Args:
        path: path of the file.
        settings: its content.
        pictures: images of the source, for lists of paths on another machine.
        tally: receives images of lists, and a test set, that do not exist.

    Raises:
        SegtrainError: the folder or list of a part that is needed does not exist.
    """
    base = str(settings.get("path") or ".")
    for part in _PARTS:
        stated = settings.get(part) or []
        for entry in stated if isinstance(stated, list) else [stated]:
            place = _existing(path.parent, base, str(entry)) or _moved(path.parent, str(entry), part)
            if place is None and part in _NEEDED:
                raise SegtrainError(f"{path}: {part} names {entry}, which does not exist; correct the path in the file")
            if place is None:
                tally.add("left out", f"the {part} set, which {path.name} names and which does not exist", str(entry))
            elif place.is_dir():
                yield from ((place / name, part) for name in source_files(place, *IMAGE_EXTENSIONS))
            else:
                yield from ((image, part) for image in _listed(place, base, part, pictures, tally))


def _listed(path: Path, base: str, part: str, pictures: PictureFiles, tally: Tally) -> Iterator[Path]:
    """Yield the images of a list, a path a line."""
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        if (image := _existing(path.parent, base, line)) is not None:
            yield image
        elif (match := pictures.find(line, path, part=part_of(part))) is not None:
            yield match.path
        else:
            tally.add("left out", f"images that {path.name} lists and that do not exist", line)


def _existing(folder: Path, base: str, entry: str) -> Path | None:
    """Return the place that a path of a ``data.yaml`` means; Roboflow writes ``../train`` for ``train``."""
    inner = entry.replace("\\", "/")
    shorter = inner.removeprefix("../").removeprefix("./")
    tried = [folder / base / inner, folder / inner, folder / base / shorter, folder / shorter]
    return next((path.resolve() for path in tried if is_file(path) or is_folder(path)), None)


def _moved(folder: Path, entry: str, part: str) -> Path | None:
    """Return the place in a folder of a path on another machine: its end, from the step on that names the part."""
    steps = plain_path(entry).split("/") if leads_out(entry) else []
    ends = (steps[place:] for place in range(len(steps)))
    tried = (folder.joinpath(*end) for end in ends if part_among(end) == part_of(part))
    return next((path.resolve() for path in tried if is_folder(path)), None)


class LabelTexts:
    """Texts of labels, by the images that they are about.

    Args:
        folder: folder of the source.
        anywhere: True if texts may lie outside of it, beside images that a ``data.yaml`` leads to.

    Attributes:
        used: texts that were found for an image.
    """

    def __init__(self, folder: Path, *, anywhere: bool) -> None:
        self.used: set[Path] = set()
        self._folder, self._anywhere = folder, anywhere

    @cached_property
    def _by_stem(self) -> Mapping[str, list[PurePosixPath]]:
        found: defaultdict[str, list[PurePosixPath]] = defaultdict(list)
        for name in source_files(self._folder, ".txt"):
            found[PurePosixPath(name).stem].append(PurePosixPath(name))
        return found

    def find(self, picture: Path, base: Path, part: str | None) -> Path | None:
        """Find the text of an image: in ``labels`` beside ``images``, beside it, else one of its name in the source.

        Args:
            picture: path of the image.
            base: folder of the images, whose folders texts may be divided into as well.
            part: part of the data that the image is in; None for the one that its folders name.

        Raises:
            SegtrainError: several texts may be meant.
        """
        steps = list(picture.parts)
        places = [place for place, step in enumerate(steps) if step.lower() == "images"]
        tried = [Path(*steps[:place], "labels", *steps[place + 1 :]) for place in reversed(places)] + [picture]
        texts = [path.with_suffix(".txt") for path in tried]
        root = self._folder.absolute()
        found = next((p for p in texts if is_file(p) and (self._anywhere or p.absolute().is_relative_to(root))), None)
        if found is None:
            inner = picture.relative_to(base) if picture.is_relative_to(base) else Path(picture.name)
            found = self._of_name(picture, inner, part or part_among(inner.parts[:-1]))
        if found is not None:
            self.used.add(found)
        return found

    def _of_name(self, picture: Path, inner: Path, part: str | None) -> Path | None:
        texts = self._by_stem.get(picture.stem, [])
        texts = [text for text in texts if part is None or part_among(text.parts[:-1]) in (None, part)]
        ranks = {text: common_end(text.parts[:-1], inner.parts[:-1]) for text in texts}
        best = [text for text in texts if ranks[text] == max(ranks.values())]
        if len(best) > 1:
            raise SegtrainError(
                f"{picture}: its labels may be {self._folder / best[0]} or {self._folder / best[1]}; give the folder "
                "of one of them"
            )
        return self._folder / best[0] if best else None

    def unused(self) -> list[Path]:
        """List the texts in the folders of those that were found, which are about no image."""
        folders = {text.parent for text in self.used}
        found = (text for folder in folders for text in folder.glob("*.txt") if not is_hidden(text.name))
        return sorted(text for text in found if text not in self.used and not text.stem.startswith("classes"))
