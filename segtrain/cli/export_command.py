"""The ``export`` command: a trained network for other programs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segtrain.cli.command_line import logging_to_terminal
from segtrain.console import CommandParser, print_error, print_text
from segtrain.errors import SegtrainError
from segtrain.export.export_files import TARGETS, export_network
from segtrain.nodes import import_beside_options
from segtrain.prediction.applied_model import method_files
from segtrain.runtime import limit_threads, thread_count
from segtrain.stopping import Stopped, stop_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: arguments of the command; None for those of the process.

    Raises:
        SegtrainError: an argument or the input is at fault.
    """
    try:
        options = _parser().parse_args(arguments)
        with stop_signals(), logging_to_terminal():
            return _export(options)
    except Stopped as stop:
        print_error("stopped; nothing was written")
        return stop.exit_code


def _export(options: argparse.Namespace) -> int:
    import_beside_options()
    _refuse_methods(options.checkpoint)
    limit_threads(thread_count("auto", 0))
    done = export_network(
        options.checkpoint,
        options.out,
        to=options.to,
        images=options.image,
        max_dets=options.max_dets,
        trust=options.trust.split(",") if options.trust else (),
        overwrite=options.overwrite,
    )
    for line in done.notes:
        print_text(line)
    print_text(f"written: {', '.join(map(str, done.files))}")
    return 0


def _refuse_methods(source: str) -> None:
    """Say what to do with a classical method in place of exporting it."""
    is_file = Path(source).suffix.lower() in (".yaml", ".yml")
    if is_file or (not Path(source).exists() and source in method_files()):
        raise SegtrainError(
            f"{source}: a method without weights, so there is no network to export; apply it with segtrain predict "
            f"{source} IMAGES --out DIR, or in Python with st.classical"
        )


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="segtrain export", description="Write a trained network for other programs, and check what it finds."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder, or a checkpoint")
    parser.add_argument("out", metavar="OUT", help="file to write, or a folder; code to load it is written beside it")
    parser.add_argument("--to", choices=TARGETS, required=True, help="form of the network")
    about = "image on which both networks are compared; may be given several times (default: data of the training)"
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help=about)
    about = "most objects of an image (default: as trained)"
    parser.add_argument("--max-dets", type=_whole, metavar="N", help=about)
    parser.add_argument("--trust", metavar="A,B", help="packages whose code a checkpoint may name")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    return parser
