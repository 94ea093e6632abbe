"""The ``convert`` command: labels of other tools to COCO json."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from segtrain.console import print_error, with_progress
from segtrain.convert.coco_writer import joined_images, only_classes, sort_categories, write_coco
from segtrain.convert.formats import FORMATS, WRITERS, choose_format
from segtrain.convert.label_files import read_text
from segtrain.convert.labelled import LabelledImage, Labels, Request, Tally
from segtrain.convert.picture_files import common_folder
from segtrain.data.check.command import main as check
from segtrain.data.layouts import part_above, part_of
from segtrain.errors import SegtrainError
from segtrain.io import expand_path, without_controls, write_atomically

_OTHERS = "others"  # part of images that neither the source nor a folder puts into one


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: arguments of the command; None for those of the process.
    """
    try:
        options = _parser().parse_args(arguments)
        return _convert(options)
    except (SegtrainError, OSError) as error:
        print_error(error)
        return 1


def _convert(options: argparse.Namespace) -> int:
    _require_out(options.out, options.to)
    tally = Tally()
    chosen, others = choose_format(options.source, options.format)
    what = f"{options.source}: {chosen.kind.title} (--format {chosen.kind.name})"
    _say(what + (f"; it may also be {' or '.join(others)}" if others else ""))
    request = Request(options.source, options.images, _classes(options.classes), tally, _shown)
    labels = chosen.read(request)
    images, categories = _selected(labels, request)
    images = joined_images(_with_files(images, options.out), tally)
    folder = common_folder([image.path for image in images])
    if options.images is not None and folder.is_relative_to(options.images.absolute()):
        folder = options.images.absolute()
    parts = _divide(images, folder)
    if options.to is not None:
        WRITERS[options.to](parts, categories, options.out, tally)
        _say("\n".join([*tally.lines(), f"written: {options.out}, {len(images):,} images as {options.to}"]))
        return 0
    outs = {}
    for part, own in parts.items():
        path = options.out.with_name(f"{options.out.stem}_{part}{options.out.suffix}") if part else options.out
        _require_out(path, None)
        outs[part] = write_coco(own, categories, folder, path, tally)
    for line in tally.lines():
        _say(line)
    for written in outs.values():
        _say(written)
    place = _shown_path(folder)
    _say(f"images: {place}")
    if len(outs) > 1 and "train" in outs and "val" in outs:
        files = [f"data.{part}_annotations={_shown_path(outs[part].path)}" for part in ("train", "val")]
    else:
        files = [f"data.train_annotations={_shown_path(next(iter(outs.values())).path)}", "data.val_fraction=0.2"]
    command = ["segtrain", "train", "experiment=finetune", *files, f"data.train_images={place}"]
    _say(f"train: {shlex.join(command)}", flush=True)
    return max(check([str(written.path), str(folder)]) for written in outs.values())


def _require_out(out: Path, to: str | None) -> None:
    """Check that the output has a fitting name, and replaces nothing."""
    if to is None and out.suffix.lower() != ".json":
        raise SegtrainError(f"{out}: the COCO file has to end in .json")
    if out.exists() and not (to is not None and out.is_dir() and not any(out.iterdir())):
        raise SegtrainError(f"{out}: exists already, and nothing is replaced; choose another name")


def _classes(given: str | None) -> list[str] | None:
    """Read the names of classes: a text file of one a line, or names with commas between them."""
    if given is None:
        return None
    path = Path(given)
    names = read_text(path).splitlines() if path.suffix == ".txt" or path.is_file() else given.split(",")
    classes = [name.strip() for name in names if name.strip()]
    if not classes:
        raise SegtrainError(f"--classes {given}: holds no name; give names as A,B or a text file of one a line")
    return classes


def _selected(labels: Labels, request: Request) -> tuple[list[LabelledImage], list[str]]:
    """Keep the classes that the user named; return the images, and the names of all classes."""
    names = sort_categories(labels.images, labels.categories)
    if request.classes is None:
        return list(labels.images), names
    if names and not set(request.classes) & set(names):
        raise SegtrainError(
            f"--classes {','.join(request.classes)}: {request.source} has none of these; it has {', '.join(names)}"
        )
    return only_classes(labels.images, request.classes, request.tally), list(request.classes)


def _divide(images: Sequence[LabelledImage], folder: Path) -> dict[str, list[LabelledImage]]:
    """Divide images into the parts that their source or their folders put them in.

    Args:
        images: images.
        folder: folder that holds all of them.

    Returns:
        Images by the name of the part; all under "" where there is one part alone.
    """
    parts: dict[str, list[LabelledImage]] = {}
    for image in images:
        own = part_of(image.split) if image.split else part_above(image.path.absolute(), folder)
        own = own or _OTHERS
        parts.setdefault(own, []).append(image)
    order = [part for part in ("train", "val", "test", _OTHERS) if part in parts]
    return {part: parts[part] for part in order} if len(parts) > 1 else {"": list(images)}


def _with_files(images: Sequence[LabelledImage], out: Path) -> list[LabelledImage]:
    """Write the image files that the labels alone hold, into a folder beside the json."""
    held = [image for image in images if image.content is not None]
    if not held:
        return list(images)
    folder = out.absolute().with_name(f"{out.stem}_images")
    if folder.exists():
        raise SegtrainError(f"{folder}: exists already; images would be written there; choose another OUT")
    written = []
    for number, image in enumerate(images):
        if image.content is not None:
            name = image.path.name if image.path.suffix else f"{image.path.name}.png"
            path = folder / name if not (folder / name).exists() else folder / f"{number}_{name}"
            write_atomically(path, image.content)
            image = replace(image, path=path, content=None)
        written.append(image)
    _say(f"written: {folder}, {len(held):,} images that the labels hold")
    return written


def _say(text: object, *, flush: bool = False) -> None:
    """Print text that may hold names of a file, without the characters by which these would control a terminal."""
    print(without_controls(str(text)), flush=flush)


def _shown(name: str, items: Sequence[object]) -> object:
    return with_progress(name, items, transient=True)


def _shown_path(path: Path) -> Path:
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


class _Parser(argparse.ArgumentParser):
    """Parser whose errors are those of all commands: one line, and exit code 1."""

    def error(self, message: str) -> NoReturn:
        raise SegtrainError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    kinds = "\n".join(f"  {name:<12}{chosen.kind.title}" for name, chosen in FORMATS.items())
    parser = _Parser(
        prog="segtrain convert",
        description="Convert labels of other tools to COCO json, and check the result.",
        epilog=f"formats:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=expand_path, metavar="SOURCE", help="file or folder of labels")
    about = "COCO json to write; with folders of parts, such as train and valid, OUT_train.json and so on"
    parser.add_argument("out", type=expand_path, metavar="OUT.json", help=about)
    about = "folder of the images (default: looked for where SOURCE is)"
    parser.add_argument("--images", type=expand_path, metavar="DIR", help=about)
    parser.add_argument(
        "--format", choices=["auto", *FORMATS], default="auto", metavar="NAME", help="see below (default: recognised)"
    )
    about = "classes to keep, in this order; names where SOURCE has none; or a text file of one name a line"
    parser.add_argument("--classes", metavar="A,B", help=about)
    about = "write a folder OUT of another format instead of COCO json"
    parser.add_argument("--to", choices=list(WRITERS), help=about)
    return parser
