"""The ``convert`` command: labels of other tools to COCO json."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from segtrain.console import CommandParser, counted, print_text, with_progress
from segtrain.convert.coco_writer import write_coco
from segtrain.convert.formats import FORMATS, WRITERS, choose_format
from segtrain.convert.label_files import read_text
from segtrain.convert.labelled import LabelledImage, Request, Tally
from segtrain.convert.outputs import held_files, require_new, write_held
from segtrain.convert.preparation import chosen_classes, divided, joined_images, settled_images, with_parts
from segtrain.data.check.command import main as check
from segtrain.data.foreign.source_files import is_file
from segtrain.errors import SegtrainError
from segtrain.io import common_folder, expand_path
from segtrain.nodes import quote_override, shell_line

Parts = Mapping[str, Sequence[LabelledImage]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: arguments of the command; None for those of the process.

    Raises:
        SegtrainError: an argument or the input is at fault.
    """
    return _convert(_parser().parse_args(arguments))


def _convert(options: argparse.Namespace) -> int:
    out, tally = options.out, Tally()
    if options.to is None and out.suffix.lower() != ".json":
        raise SegtrainError(f"{out}: the COCO file has to end in .json")
    require_new(out, folder=options.to is not None)
    chosen, others = choose_format(options.source, options.format)
    what = f"{options.source}: {chosen.kind.title} (--format {chosen.kind.name})"
    print_text(what + (f"; it may also be {' or '.join(others)}" if others else ""))
    stated = options.format != "auto"
    request = Request(options.source, options.images, _classes(options.classes), tally, stated, _shown)
    images, categories = chosen_classes(chosen.read(request), request)
    images = joined_images(with_parts(settled_images(images, tally), request), tally)
    parts = divided(held_files(images, request.folder, _folder_of_held(out)))
    if options.to is not None:
        return _write_other(options.to, parts, categories, out, tally)
    return _write_json(parts, categories, out, options.images, tally)


def _write_other(to: str, parts: Parts, categories: Sequence[str], out: Path, tally: Tally) -> int:
    """Write a folder of another format; return the exit code."""
    write = WRITERS[to](parts, categories, out, tally)
    _write_held(parts, out)
    write()
    count = sum(map(len, parts.values()))
    print_text("\n".join([*tally.lines(), f"written: {out}, {counted(count, 'image')} as {to}"]))
    return 0


def _write_json(parts: Parts, categories: Sequence[str], out: Path, stated: Path | None, tally: Tally) -> int:
    """Write a COCO json for each part, and check them; return the exit code."""
    outs = {part: out.with_name(f"{out.stem}_{part}{out.suffix}") if part else out for part in parts}
    for path in outs.values():
        require_new(path)
    _write_held(parts, out)
    folder = common_folder([image.path for images in parts.values() for image in images])
    if stated is not None and folder.is_relative_to(stated.absolute()):
        folder = stated.absolute()
    written = [write_coco(images, categories, folder, outs[part], tally) for part, images in parts.items()]
    for text in [*tally.lines(), *written, f"images: {_shown_path(folder)}"]:
        print_text(text)
    print_text(f"train: {_training_command(outs, folder)}", flush=True)
    return max(check([str(path), str(folder)]) for path in outs.values())


def _folder_of_held(out: Path) -> Path:
    """Return the folder for image files that the labels alone hold."""
    return out.absolute().with_name(f"{out.stem}_images")


def _write_held(parts: Parts, out: Path) -> None:
    if count := write_held([image for images in parts.values() for image in images]):
        print_text(f"written: {_folder_of_held(out)}, {counted(count, 'image')} that the labels hold")


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


def _training_command(outs: Mapping[str, Path], folder: Path) -> str:
    """Return the command that trains on what was written, as a shell reads it."""
    if len(outs) > 1 and "train" in outs and "val" in outs:
        settings = {f"data.{part}_annotations": str(_shown_path(outs[part])) for part in ("train", "val")}
    else:
        settings = {"data.train_annotations": str(_shown_path(next(iter(outs.values())))), "data.val_fraction": "0.2"}
    settings["data.train_images"] = str(_shown_path(folder))
    given = [f"{key}={quote_override(value)}" for key, value in settings.items()]
    return shell_line(["segtrain", "train", "experiment=finetune", *given])


def _shown(name: str, items: Sequence[object]) -> object:
    return with_progress(name, items, transient=True)


def _shown_path(path: Path) -> Path:
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _parser() -> argparse.ArgumentParser:
    kinds = "\n".join(f"  {name:<12}{chosen.kind.title}" for name, chosen in FORMATS.items())
    parser = CommandParser(
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
