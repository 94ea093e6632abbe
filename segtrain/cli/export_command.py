"""The ``export`` command: a trained network for other programs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segtrain.cli.model_arguments import add_network_arguments, exit_code
from segtrain.console import CommandParser, print_text
from segtrain.errors import SegtrainError
from segtrain.export.export_files import TARGETS, export_network
from segtrain.nodes import import_beside_options
from segtrain.prediction.applied_model import method_files
from segtrain.runtime import limit_threads, thread_count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: arguments of the command; None for those of the process.

    Raises:
        SegtrainError: an argument or the input is at fault.
    """
    return exit_code(lambda: _export(_parser().parse_args(arguments)), "nothing was written")


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
        trust=options.trust,
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


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="segtrain export", description="Write a trained network for other programs, and check what it finds."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder, or a checkpoint")
    parser.add_argument("out", metavar="OUT", help="file to write, or a folder; code to load it is written beside it")
    parser.add_argument("--to", choices=TARGETS, required=True, help="form of the network")
    about = "image on which both networks are compared; may be given several times (default: data of the training)"
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help=about)
    add_network_arguments(parser, "most objects of an image")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    return parser
