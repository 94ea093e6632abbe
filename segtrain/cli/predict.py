"""The ``predict`` command: a trained network or a classical method on new images."""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from segtrain.cli.model_arguments import add_network_arguments, exit_code
from segtrain.console import CommandParser, counted, positive_number, print_text, whole_number
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.images.opening import PILLOW_LIMIT
from segtrain.data.images.reading import PAGES, check_channels
from segtrain.errors import SegtrainError
from segtrain.io import expand_path, printable
from segtrain.locks import locked_folder
from segtrain.nodes import import_beside_options
from segtrain.prediction.applied_model import AppliedModel, NetworkSettings, load_applied
from segtrain.prediction.predict_files import DEFAULT_KINDS, KINDS, Kind, Outcome, PredictionSettings, predict_files
from segtrain.prediction.sources import find_images
from segtrain.runtime import limit_threads, thread_count
from segtrain.score_thresholds import GivenThreshold
from segtrain.values import Overlap, Precision, TileSetting, check_value

_NAMED = 5  # unreadable files that are named at the end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: arguments of the command; None for those of the process.

    Raises:
        SegtrainError: an argument or the input is at fault.
    """
    goes_on = "the same command goes on with the images that remain"
    given = _with_ranges(sys.argv[1:] if arguments is None else arguments)
    return exit_code(lambda: _predict(_parser().parse_args(given)), goes_on)


def _predict(options: argparse.Namespace) -> int:
    import_beside_options()
    out: Path = options.out
    if isinstance(sys.stdin, io.TextIOWrapper):  # names of files are bytes, whatever the terminal's encoding
        sys.stdin.reconfigure(errors="surrogateescape")
    limit_threads(thread_count("auto", 0))
    images = find_images(options.sources, sys.stdin if "-" in options.sources else (), out)
    model = load_applied(
        options.model,
        NetworkSettings(options.precision, options.max_dets, options.tile, options.overlap),
        device=options.device,
        trust=options.trust,
    )
    settings = PredictionSettings(
        save=_kinds(options.save),
        score_threshold=_score(options.score),
        pages=options.pages,
        channels=_channels(options.channels),
        intensity=_intensity(options.intensity),
        max_pixels=options.max_pixels,
        pixel_size=options.pixel_size,
        every=options.every,
        workers=options.workers,
    )
    names = [category.name for category in model.categories]
    thresholds = model.thresholds.changed(settings.score_threshold, names, "--score")
    print_text(f"{model.title} ({model.source}), score from {thresholds}, on {counted(len(images), 'file')}")
    out.mkdir(parents=True, exist_ok=True)
    with locked_folder(out):
        outcome = predict_files(model, images, out, settings, overwrite=options.overwrite)
    for line in _summary(outcome, model, out):
        print_text(line)
    return 1 if outcome.unreadable and outcome.totals.images == 0 else 0


def _summary(outcome: Outcome, model: AppliedModel, out: Path) -> list[str]:
    totals = outcome.totals
    lines = []
    if outcome.skipped:
        lines.append(f"{counted(outcome.skipped, 'file')} had been segmented before")
    lines.append(f"{counted(totals.objects, 'object')} in {counted(totals.images, 'image')}")
    if totals.cut:
        lines.append(f"{counted(totals.cut, 'image')} cut into windows, whose objects were joined")
    if totals.full:
        each = " for a window" if totals.cut else ""
        lines.append(
            f"{counted(totals.full, 'image')} reached the {model.max_dets} objects that the network returns at most"
            f"{each}: there may be more; raise --max-dets"
        )
    if totals.shrunk:
        remedy = "auto" if model.segmenter.tiling.tile == "off" else "SIZE"
        lines.append(
            f"{counted(totals.shrunk, 'image')} shrunk below the scale of the training: small objects may be missed; "
            f"--tile {remedy} cuts into windows"
        )
    if outcome.faint:
        lines.append(f"{counted(outcome.faint, 'image')} of few grey levels, see above: objects may be missed")
    if totals.overlaps:
        lines.append(f"label maps: {totals.overlaps:,} pixels belong to several masks and have the one of higher score")
    if outcome.unreadable:
        named = [f"{printable(name)} ({reason})" for name, reason in list(outcome.unreadable.items())[:_NAMED]]
        more = f"; and {len(outcome.unreadable) - _NAMED} more" if len(outcome.unreadable) > _NAMED else ""
        lines.append(f"{counted(len(outcome.unreadable), 'file')} cannot be read: {'; '.join(named)}{more}")
    return [*lines, f"written: {', '.join(str(out / name) for name in outcome.written)}"]


def _kinds(text: str) -> tuple[Kind, ...]:
    given = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in given if name not in KINDS]
    if unknown or not given:
        raise SegtrainError(f"--save {text}: choose of {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in given)


def _score(text: str) -> GivenThreshold:
    """Read ``--score``: None for the model's own."""
    if text == "auto":
        return None
    named = [part.rpartition("=") for part in text.split(",")] if "=" in text else []
    try:
        given = {name.strip(): float(number) for name, _, number in named} or float(text)
    except ValueError:
        given = -1.0
    if not all(0 <= value <= 1 for value in (given.values() if isinstance(given, dict) else [given])):
        raise SegtrainError(f"--score {text}: give auto, a number from 0 to 1, or NAME=NUMBER,... for some categories")
    return given


def _channels(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise SegtrainError(f"--channels {text}: give numbers from 0 with commas between them") from None
    return check_channels(numbers, "--channels")


def _with_ranges(arguments: Sequence[str]) -> list[str]:
    """Join ``--intensity`` and a range that begins with a minus, which argparse would take for an option.

    >>> _with_ranges(["a.tif", "--intensity", "-1,1", "--out", "found"])
    ['a.tif', '--intensity=-1,1', '--out', 'found']
    """
    joined: list[str] = []
    for word in arguments:
        if joined[-1:] == ["--intensity"] and word.startswith("-") and "," in word:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _intensity(text: str) -> Intensity | None:
    """Read ``--intensity``: None for the ranges of the model."""
    if text == "auto":
        return None
    if text == "full":
        return Intensity()
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise SegtrainError(f"--intensity {text}: give auto, full, or LOW,HIGH") from None
    return Intensity.given((low, high))


def _tile(text: str) -> TileSetting:
    try:
        value: str | int = int(text)
    except ValueError:
        value = text
    for problem in check_value("--tile", value, TileSetting):
        raise argparse.ArgumentTypeError(problem.partition(": ")[2])
    return cast("TileSetting", value)


def _overlap(text: str) -> float:
    value = positive_number(text)
    for problem in check_value("--overlap", value, Overlap):
        raise argparse.ArgumentTypeError(problem.partition(": ")[2])
    return value


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="segtrain predict",
        description="Segment new images, and write what was found. A second run into the same folder goes on.",
    )
    about = "a run's folder, a checkpoint, a winner of an evaluation (NAME_winner.yaml), or a method (threshold_otsu)"
    parser.add_argument("model", metavar="MODEL", help=about)
    about = "image files, videos, folders, patterns, or - for a list on standard input"
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=about)
    parser.add_argument("--out", type=expand_path, required=True, metavar="DIR", help="folder of the results")
    about = f"of {', '.join(KINDS)} (default: {','.join(DEFAULT_KINDS)})"
    parser.add_argument("--save", default=",".join(DEFAULT_KINDS), metavar="KINDS", help=about)
    about = "least score of an object: a number, or NAME=NUMBER,... for categories (default: auto, the model's own)"
    parser.add_argument("--score", default="auto", metavar="X", help=about)
    add_network_arguments(parser, "most objects of an image, or of each window of one")
    about = "windows for images larger than in training: auto, off, or SIZE of windows in pixels (default: as trained)"
    parser.add_argument("--tile", type=_tile, metavar="auto|off|SIZE", help=about)
    about = "share of a window's side that neighbours have in common, below 0.5 (default: as trained)"
    parser.add_argument("--overlap", type=_overlap, metavar="SHARE", help=about)
    about = "files of several pages: each page is an image, or one is made of them (default: each)"
    parser.add_argument("--pages", choices=["each", *PAGES], default="each", help=about)
    about = "n, for every n-th frame of videos (default: 1, all frames)"
    parser.add_argument("--every", type=whole_number, default=1, metavar="N", help=about)
    about = "channels, from 0, that become red, green and blue (default: as trained)"
    parser.add_argument("--channels", metavar="A,B,C", help=about)
    about = "values that become black and white: auto (as trained), full (range of the type), or LOW,HIGH"
    parser.add_argument("--intensity", default="auto", metavar="RANGE", help=about)
    about = "width of a pixel for objects.csv (default: that of ImageJ and OME TIFFs)"
    parser.add_argument("--pixel-size", type=positive_number, metavar="MICROMETRES", help=about)
    about = "largest number of pixels of an image (default: %(default)s)"
    parser.add_argument("--max-pixels", type=whole_number, default=PILLOW_LIMIT, metavar="N", help=about)
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N (default: auto)")
    about = "precision of the network (default: as trained)"
    parser.add_argument("--precision", choices=get_args(Precision), help=about)
    about = "threads that read images (default: 2)"
    parser.add_argument("--workers", type=whole_number, default=2, metavar="N", help=about)
    parser.add_argument("--overwrite", action="store_true", help="begin anew in a folder that holds predictions")
    return parser
