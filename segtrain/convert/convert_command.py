"""The ``convert`` command: labels of other tools to COCO json."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from segtrain.console import print_error, with_progress
from segtrain.convert.coco_writer import write_coco
from segtrain.convert.formats import FORMATS, WRITERS, choose_format
from segtrain.convert.label_files import read_text
from segtrain.convert.labelled import LabelledImage, Request, Tally
from segtrain.convert.outputs import held_files, require_new, write_held
from segtrain.convert.picture_files import common_folder
from segtrain.convert.preparation import chosen_classes, divided, joined_images, settled_images, with_parts
from segtrain.data.check.command import main as check
from segtrain.data.foreign.source_files import is_file
from segtrain.errors import SegtrainError
from segtrain.io import expand_path, without_controls
from segtrain.nodes import quote_override


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
    out, to = options.out, options.to
    if to is None and out.suffix.lower() != ".json":
        raise SegtrainError(f"{out}: the COCO file has to end in .json")
    require_new(out, folder=to is not None)
    tally = Tally()
    chosen, others = choose_format(options.source, options.format)
    what = f"{options.source}: {chosen.kind.title} (--format {chosen.kind.name})"
    _say(what + (f"; it may also be {' or '.join(others)}" if others else ""))
    stated = options.format != "auto"
    request = Request(options.source, options.images, _classes(options.classes), tally, stated, _shown)
    images, categories = chosen_classes(chosen.read(request), request)
    images = joined_images(with_parts(settled_images(images, tally), request), tally)
    held_folder = out.absolute().with_name(f"{out.stem}_images")
    images = held_files(images, request.folder, held_folder)
    parts = divided(images)
    if to is not None:
        write = WRITERS[to](parts, categories, out, tally)
    outs = {part: out.with_name(f"{out.stem}_{part}{out.suffix}") if part else out for part in parts}
    if to is None:
        for path in outs.values():
            require_new(path)
    if count := write_held(images):
        _say(f"written: {held_folder}, {count:,} images that the labels hold")
    if to is not None:
        write()
        _say("\n".join([*tally.lines(), f"written: {out}, {len(images):,} images as {to}"]))
        return 0
    folder = _image_folder(images, options.images)
    written = {part: write_coco(own, categories, folder, outs[part], tally) for part, own in parts.items()}
    for text in [*tally.lines(), *written.values()]:
        _say(text)
    _say(f"images: {_shown_path(folder)}")
    _say(f"train: {_training_command(outs, folder)}", flush=True)
    return max(check([str(path), str(folder)]) for path in outs.values())


def _classes(given: str | None) -> list[str] | None:
    """Read the names of classes: a text file of one a line, or names with commas between them."""
    if given is None:
        return None
    path = Path(given)
    names = read_text(path).splitlines() if given.endswith(".txt") or is_file(path) else given.split(",")
    classes = [name.strip() for name in names if name.strip()]
    if not classes:
        raise SegtrainError(f"--classes {given}: holds no name; give names as A,B or a text file of one a line")
    return classes


def _image_folder(images: Sequence[LabelledImage], stated: Path | None) -> Path:
    """Return the folder that the names of images are relative to: the user's, if it holds all of them."""
    folder = common_folder([image.path for image in images])
    return stated.absolute() if stated is not None and folder.is_relative_to(stated.absolute()) else folder


def _training_command(outs: Mapping[str, Path], folder: Path) -> str:
    """Return the command that trains on what was written, as a shell reads it."""
    if len(outs) > 1 and "train" in outs and "val" in outs:
        settings = {f"data.{part}_annotations": str(_shown_path(outs[part])) for part in ("train", "val")}
    else:
        settings = {"data.train_annotations": str(_shown_path(next(iter(outs.values())))), "data.val_fraction": "0.2"}
    settings["data.train_images"] = str(_shown_path(folder))
    given = [f"{key}={quote_override(value)}" for key, value in settings.items()]
    return shlex.join(["segtrain", "train", "experiment=finetune", *given])


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
    about = "classes to keep, in this order; their names where SOURCE names none; or a text file of one name a line"
    parser.add_argument("--classes", metavar="A,B", help=about)
    about = "write a folder OUT of another format instead of COCO json"
    parser.add_argument("--to", choices=list(WRITERS), help=about)
    return parser
